//! The builder of one publish.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanal_protocol::{AttributeValue, Body, BodyBuilder, Class, Code, Timestamp};

use super::channel::{Channel, Prepared};
use super::receipt::{PendingReceipt, Receipt};
use crate::error::{PublishError, Refused};

/// Values that an attribute can have.
pub trait IntoAttribute {
    /// The value as the wire has it.
    fn attribute(&self) -> AttributeValue<'_>;
}

macro_rules! attributes {
    ($($ty:ty, |$value:ident| $make:expr;)*) => {$(
        impl IntoAttribute for $ty {
            fn attribute(&self) -> AttributeValue<'_> {
                let $value = self;
                $make
            }
        }
    )*};
}

attributes! {
    bool, |value| AttributeValue::Bool(*value);
    i8, |value| AttributeValue::Int(i64::from(*value));
    i16, |value| AttributeValue::Int(i64::from(*value));
    i32, |value| AttributeValue::Int(i64::from(*value));
    i64, |value| AttributeValue::Int(*value);
    u8, |value| AttributeValue::Int(i64::from(*value));
    u16, |value| AttributeValue::Int(i64::from(*value));
    u32, |value| AttributeValue::Int(i64::from(*value));
    f32, |value| AttributeValue::Float(f64::from(*value));
    f64, |value| AttributeValue::Float(*value);
    &str, |value| AttributeValue::Str(value);
    String, |value| AttributeValue::Str(value);
    &String, |value| AttributeValue::Str(value);
    &[u8], |value| AttributeValue::Bytes(value);
    Vec<u8>, |value| AttributeValue::Bytes(value);
    Bytes, |value| AttributeValue::Bytes(value);
    Timestamp, |value| AttributeValue::Timestamp(*value);
    AttributeValue<'_>, |value| *value;
}

/// One publish. Await it for the receipt, or [`send`](PublishBuilder::send) it and await the
/// receipt later, so that many are outstanding.
///
/// Cost: the body's allocation, one for fields other than the payload, and one for the future when
/// it is awaited directly. [`encoded`](PublishBuilder::encoded) and [`post`](PublishBuilder::post)
/// avoid all of them: some 0.2 µs for an event.
#[must_use = "nothing is published before the builder is awaited or sent"]
pub struct PublishBuilder<'a> {
    channel: Arc<Channel>,
    topic: &'a str,
    /// Boxed, so that an event with nothing but a payload does not carry their room along.
    fields: Option<Box<BodyBuilder>>,
    payload: Bytes,
    id: Option<String>,
    encoded: Option<Body>,
    class: Class,
    wants_receipt: bool,
    ttl: Option<Duration>,
    timeout: Option<Duration>,
}

impl<'a> PublishBuilder<'a> {
    pub(crate) fn new(channel: Arc<Channel>, topic: &'a str) -> Self {
        PublishBuilder {
            channel,
            topic,
            fields: None,
            payload: Bytes::new(),
            id: None,
            encoded: None,
            class: Class::AtLeastOnce,
            wants_receipt: false,
            ttl: None,
            timeout: None,
        }
    }

    fn field(mut self, set: impl FnOnce(BodyBuilder) -> BodyBuilder) -> Self {
        let fields = self.fields.get_or_insert_default();
        **fields = set(std::mem::take(&mut **fields));
        self
    }

    /// Adds an attribute, which filters can see. The same name twice is refused, and so are the
    /// names `id`, `source`, `time` and `topic`.
    pub fn attr(self, name: &str, value: impl IntoAttribute) -> Self {
        self.field(|fields| fields.attribute(name, value.attribute()))
    }

    /// Sets the payload.
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self
    }

    /// Sets the event's id; without one it is `publisher:epoch:sequence`.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        let id = id.into();
        self.id = Some(id.clone());
        self.field(|fields| fields.id(id))
    }

    /// Sets where the event comes from.
    pub fn source(self, source: impl Into<String>) -> Self {
        self.field(|fields| fields.source(source))
    }

    /// Sets when the event happened.
    pub fn time(self, time: Timestamp) -> Self {
        self.field(|fields| fields.time(time))
    }

    /// Sets the ordering key: redeliveries keep the order of events that share it.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.field(|fields| fields.ordering_key(key))
    }

    /// Sets the payload's media type.
    pub fn content_type(self, content_type: impl Into<String>) -> Self {
        self.field(|fields| fields.content_type(content_type))
    }

    /// Sets the topic for a reply.
    pub fn reply_to(self, topic: impl Into<String>) -> Self {
        self.field(|fields| fields.reply_to(topic))
    }

    /// Joins a reply to its request.
    pub fn correlation(self, correlation: impl Into<String>) -> Self {
        self.field(|fields| fields.correlation(correlation))
    }

    /// Sends a body that is encoded already, instead of the fields of this builder. The cheapest
    /// way to publish the same body, or one that came from elsewhere: nothing is copied before
    /// the write.
    pub fn encoded(mut self, body: Body) -> Self {
        self.encoded = Some(body);
        self
    }

    /// How long the event is of use. It is not delivered after that, and not sent any more.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Best effort: never stored, never sent twice. Without [`receipt`](PublishBuilder::receipt)
    /// the outcome is known when the event was handed to the connection: a receipt with code 204.
    pub fn best_effort(mut self) -> Self {
        self.class = Class::BestEffort;
        self
    }

    /// Best effort only: asks for a receipt (202).
    pub fn receipt(mut self) -> Self {
        self.wants_receipt = true;
        self
    }

    /// How long to try, through refusals that say "later" and lost connections. Default: 30 s,
    /// or what [`ClientBuilder::publish_timeout`](crate::ClientBuilder::publish_timeout) said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Hands the event over and returns; awaits only for room in the window. The receipt comes
    /// with the future that is given back.
    ///
    /// # Errors
    /// [`PublishError`] when the event cannot be sent at all.
    pub async fn send(mut self) -> Result<PendingReceipt, PublishError> {
        let event = self.prepare(true)?;
        let slot = self.channel.push(event).await?;
        Ok(PendingReceipt { channel: self.channel, slot, id: self.id, is_done: false })
    }

    /// As [`send`](PublishBuilder::send), but never waits.
    ///
    /// # Errors
    /// [`PublishError::WindowFull`] without room; else as `send`.
    pub fn try_send(mut self) -> Result<PendingReceipt, PublishError> {
        let event = self.prepare(true)?;
        let slot = self.channel.try_push(&event)?.ok_or(PublishError::WindowFull)?;
        Ok(PendingReceipt { channel: self.channel, slot, id: self.id, is_done: false })
    }

    /// As [`send`](PublishBuilder::send), without a receipt for the program: what became of it
    /// is only counted in [`Publisher::stats`](crate::Publisher::stats). The cheapest path.
    ///
    /// # Errors
    /// As `send`.
    pub async fn post(mut self) -> Result<(), PublishError> {
        let event = self.prepare(false)?;
        self.channel.push(event).await.map(drop)
    }

    /// As [`post`](PublishBuilder::post), but never waits.
    ///
    /// # Errors
    /// [`PublishError::WindowFull`] without room; else as `send`.
    pub fn try_post(mut self) -> Result<(), PublishError> {
        let event = self.prepare(false)?;
        self.channel.try_push(&event)?.map(drop).ok_or(PublishError::WindowFull)
    }

    fn prepare(&mut self, wants_slot: bool) -> Result<Prepared<'a>, PublishError> {
        let body = match self.encoded.take() {
            Some(body) => body,
            None => {
                let fields = self.fields.take().map(|fields| *fields).unwrap_or_default();
                fields.payload(std::mem::take(&mut self.payload)).build()?
            }
        };
        let shared = self.channel.shared.upgrade().ok_or(PublishError::Closed)?;
        let (len, max) = (body.bytes().len() as u64, shared.body_bytes_max());
        if len > max {
            let reason = format!(
                "the event's body has {len} bytes, the broker takes at most {max}: split the payload or raise the broker's limit"
            );
            return Err(PublishError::Refused(Refused::new(Code::TooLarge, "body_too_large", reason)));
        }
        Ok(Prepared {
            topic: self.topic,
            body,
            class: self.class,
            wants_receipt: self.wants_receipt && self.class == Class::BestEffort,
            ttl: self.ttl,
            timeout: self.timeout.unwrap_or(shared.options.publish_timeout),
            wants_slot,
        })
    }
}

impl<'a> IntoFuture for PublishBuilder<'a> {
    type Output = Result<Receipt, PublishError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.send().await?.await })
    }
}
