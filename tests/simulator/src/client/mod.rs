//! Simulated clients: programs that publish and subscribe, and what the client library does for them.

use bytes::Bytes;
use fanal_protocol::{AttributeValue, BodyBuilder, BodyView};

use crate::ask::Facts;
use crate::oracle::EventNo;

pub(crate) mod publisher;
pub(crate) mod subscriber;

/// The body of an event: its facts as attributes, its number as the payload's beginning.
pub(crate) fn body(event: EventNo, facts: &Facts, padding: usize) -> Bytes {
    let mut builder = BodyBuilder::new();
    if let Some(n) = facts.n {
        builder = builder.attribute("n", AttributeValue::Int(n));
    }
    if let Some(s) = facts.s {
        builder = builder.attribute("s", AttributeValue::Str(s));
    }
    let mut payload = (event as u64).to_be_bytes().to_vec();
    payload.resize(8 + padding, b'.');
    // Two short attributes break no rule.
    builder.payload(payload).build().map(|body| body.bytes().clone()).unwrap_or_default()
}

/// The number in a body.
pub(crate) fn event_number(body: &[u8]) -> Option<EventNo> {
    let payload = BodyView::parse(body).ok()?.payload;
    let number: [u8; 8] = payload.get(..8)?.try_into().ok()?;
    Some(u64::from_be_bytes(number) as usize)
}
