//! Bodies of events.
//!
//! 1. A body is read exactly where a second reading of PROTOCOL.md 4, over another MessagePack
//!    decoder, allows it.
//! 2. What is read are the fields of that reading; attributes are given out whole.
//! 3. A body built from what was read reads the same.
//!
//! The input is a body.
#![no_main]

use bytes::Bytes;
use fanal_protocol::body::{ATTRIBUTES_MAX, CORE_NAMES, TEXT_BYTES_MAX};
use fanal_protocol::{AttributeValue, Body, BodyBuilder, BodyView};
use rmpv::{Value, ValueRef};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let view = BodyView::parse(bytes);
    assert_eq!(Body::parse(Bytes::copy_from_slice(bytes)).is_ok(), view.is_ok());
    let oracle = oracle::fields(bytes);
    if view.is_err() && bytes.contains(&0xc1) {
        return; // rmpv reads the reserved byte as nil
    }
    assert_eq!(view.is_ok(), oracle.is_some(), "{view:?}");
    if let (Ok(view), Some(fields)) = (view, oracle) {
        check_fields(&view, &fields);
        rebuild(&view);
    }
});

fn check_fields(view: &BodyView<'_>, fields: &[(u64, Value)]) {
    let field = |key| fields.iter().find(|(number, _)| *number == key).map(|(_, value)| value);
    let text = |key| field(key).and_then(Value::as_str);
    assert_eq!((view.id, view.source, view.ordering_key), (text(1), text(2), text(4)));
    assert_eq!((view.content_type, view.reply_to, view.correlation), (text(6), text(7), text(8)));
    assert_eq!(view.time.is_some(), field(3).is_some());
    assert_eq!(view.payload, field(9).and_then(Value::as_slice).unwrap_or_default());
    let attributes = field(5).and_then(Value::as_map).map(Vec::as_slice).unwrap_or_default();
    assert_eq!(view.attributes().count(), attributes.len());
    for ((name, value), (wanted_name, wanted)) in view.attributes().zip(attributes) {
        assert_eq!(Some(name), wanted_name.as_str());
        match value {
            AttributeValue::Bool(value) => assert_eq!(Some(value), wanted.as_bool()),
            AttributeValue::Int(value) => assert_eq!(Some(value), wanted.as_i64()),
            AttributeValue::Float(value) => {
                assert_eq!(Some(value.to_bits()), wanted.as_f64().map(f64::to_bits))
            }
            AttributeValue::Str(value) => assert_eq!(Some(value), wanted.as_str()),
            AttributeValue::Bytes(value) => assert_eq!(Some(value), wanted.as_slice()),
            AttributeValue::Timestamp(_) => assert!(wanted.is_ext()),
        }
    }
}

fn rebuild(view: &BodyView<'_>) {
    let mut builder = BodyBuilder::new().payload(view.payload.to_vec());
    for (name, value) in view.attributes() {
        builder = builder.attribute(name, value);
    }
    if let Some(time) = view.time {
        builder = builder.time(time);
    }
    macro_rules! texts {
        ($($field:ident)*) => { $( if let Some(text) = view.$field { builder = builder.$field(text); } )* };
    }
    texts!(id source ordering_key content_type reply_to correlation);
    let Ok(body) = builder.build() else {
        let mut names: Vec<_> = view.attributes().map(|(name, _)| name).collect();
        names.sort_unstable();
        assert!(names.windows(2).any(|pair| pair[0] == pair[1]), "only a name that stands twice is refused");
        return;
    };
    // By their text, in which a NaN is like itself.
    let shown = |view: &BodyView<'_>| {
        let attributes: Vec<_> = view.attributes().collect();
        let texts = (view.id, view.source, view.ordering_key, view.content_type);
        format!(
            "{texts:?} {:?} {:?} {:?} {:?} {attributes:?}",
            view.reply_to, view.correlation, view.time, view.payload
        )
    };
    assert_eq!(shown(&body.view()), shown(view));
}

/// PROTOCOL.md 4, once more and plainly.
mod oracle {
    use super::*;

    const NESTING_MAX: u16 = 16;

    /// The fields of a body, if it is one.
    pub(super) fn fields(bytes: &[u8]) -> Option<Vec<(u64, Value)>> {
        let mut rest = bytes;
        let value = rmpv::decode::read_value_ref_with_max_depth(&mut rest, 64).ok()?;
        let ValueRef::Map(pairs) = value else { return None };
        let mut fields: Vec<(u64, Value)> = Vec::new();
        for (key, value) in pairs {
            let key = key.as_u64()?;
            let value = value.to_owned();
            let twice = key <= 9 && fields.iter().any(|(known, _)| *known == key);
            if twice || !is_allowed(key, &value) {
                return None;
            }
            fields.push((key, value));
        }
        rest.is_empty().then_some(fields)
    }

    fn is_allowed(key: u64, value: &Value) -> bool {
        match key {
            1 | 2 | 4 | 6 | 7 | 8 => value.as_str().is_some_and(is_text),
            3 => is_timestamp(value),
            5 => value.as_map().is_some_and(|attributes| {
                attributes.len() <= ATTRIBUTES_MAX
                    && attributes
                        .iter()
                        .all(|(name, value)| name.as_str().is_some_and(is_name) && is_value(value))
            }),
            9 => matches!(value, Value::Binary(_)),
            _ => nesting(value) < NESTING_MAX,
        }
    }

    fn is_text(text: &str) -> bool {
        !text.is_empty() && text.len() <= TEXT_BYTES_MAX
    }

    fn is_name(name: &str) -> bool {
        is_text(name) && !CORE_NAMES.contains(&name) && !name.chars().any(char::is_control)
    }

    fn is_value(value: &Value) -> bool {
        match value {
            Value::Boolean(_) | Value::F32(_) | Value::F64(_) | Value::Binary(_) => true,
            Value::Integer(number) => number.as_i64().is_some(),
            Value::String(text) => text.is_str(),
            other => is_timestamp(other),
        }
    }

    fn is_timestamp(value: &Value) -> bool {
        let Value::Ext(-1, data) = value else { return false };
        let nanos = |bytes: &[u8]| bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        match data.len() {
            4 => true,
            8 => nanos(data) >> 34 < 1_000_000_000,
            12 => nanos(&data[..4]) < 1_000_000_000,
            _ => false,
        }
    }

    fn nesting(value: &Value) -> u16 {
        match value {
            Value::Array(all) => 1 + all.iter().map(nesting).max().unwrap_or(0),
            Value::Map(all) => {
                1 + all.iter().map(|(key, value)| nesting(key).max(nesting(value))).max().unwrap_or(0)
            }
            _ => 0,
        }
    }
}
