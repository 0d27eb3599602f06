//! `bodies.json`: bodies that are read, and bodies that are refused.

use bytes::Bytes;
use fanal_protocol::{AttributeValue, Body, BodyBuilder, BodyView, Timestamp};
use serde_json::Value;

use super::json::{hex, text, vectors};

/// A value of an attribute that owns what it holds.
#[derive(Debug, PartialEq)]
enum Owned {
    Bool(bool),
    Int(i64),
    /// By its bits: a NaN equals itself, and the zeros differ.
    Float(u64),
    Str(String),
    Bytes(Vec<u8>),
    Timestamp(Timestamp),
}

impl Owned {
    fn of(value: AttributeValue<'_>) -> Self {
        match value {
            AttributeValue::Bool(value) => Owned::Bool(value),
            AttributeValue::Int(value) => Owned::Int(value),
            AttributeValue::Float(value) => Owned::Float(value.to_bits()),
            AttributeValue::Str(value) => Owned::Str(value.to_owned()),
            AttributeValue::Bytes(value) => Owned::Bytes(value.to_vec()),
            AttributeValue::Timestamp(value) => Owned::Timestamp(value),
        }
    }

    fn from_json(value: &Value) -> Self {
        match value {
            Value::Bool(value) => Owned::Bool(*value),
            Value::Number(value) => Owned::Int(value.as_i64().expect("an i64")),
            Value::String(value) => Owned::Str(value.clone()),
            _ if value.get("float").is_some() => {
                Owned::Float(text(&value["float"]).parse::<f64>().expect("a float").to_bits())
            }
            _ if value.get("timestamp").is_some() => Owned::Timestamp(timestamp(value).unwrap()),
            _ => Owned::Bytes(hex(value)),
        }
    }

    fn as_value(&self) -> AttributeValue<'_> {
        match self {
            Owned::Bool(value) => AttributeValue::Bool(*value),
            Owned::Int(value) => AttributeValue::Int(*value),
            Owned::Float(bits) => AttributeValue::Float(f64::from_bits(*bits)),
            Owned::Str(value) => AttributeValue::Str(value),
            Owned::Bytes(value) => AttributeValue::Bytes(value),
            Owned::Timestamp(value) => AttributeValue::Timestamp(*value),
        }
    }
}

fn timestamp(value: &Value) -> Option<Timestamp> {
    let parts = value.get("timestamp")?;
    let nanos = u32::try_from(parts["nanos"].as_u64().unwrap()).unwrap();
    Some(Timestamp { seconds: parts["seconds"].as_i64().unwrap(), nanos })
}

fn attributes(value: &Value) -> Vec<(String, Owned)> {
    let list = value["attributes"].as_array().unwrap();
    list.iter().map(|pair| (text(&pair[0]).to_owned(), Owned::from_json(&pair[1]))).collect()
}

fn check_fields(view: &BodyView<'_>, value: &Value) {
    assert_eq!(view.id, value["id"].as_str());
    assert_eq!(view.source, value["source"].as_str());
    assert_eq!(view.time, timestamp(&value["time"]));
    assert_eq!(view.ordering_key, value["ordering_key"].as_str());
    assert_eq!(view.content_type, value["content_type"].as_str());
    assert_eq!(view.reply_to, value["reply_to"].as_str());
    assert_eq!(view.correlation, value["correlation"].as_str());
    assert_eq!(view.payload, hex(&value["payload"]));
    let found: Vec<_> = view.attributes().map(|(name, value)| (name.to_owned(), Owned::of(value))).collect();
    assert_eq!(found, attributes(value));
}

fn build(value: &Value) -> Body {
    let attributes = attributes(value);
    let mut builder = BodyBuilder::new().payload(hex(&value["payload"]));
    macro_rules! texts {
        ($($field:ident)*) => {$(
            if let Some(text) = value[stringify!($field)].as_str() {
                builder = builder.$field(text);
            }
        )*};
    }
    texts!(id source ordering_key content_type reply_to correlation);
    if let Some(time) = timestamp(&value["time"]) {
        builder = builder.time(time);
    }
    for (name, value) in &attributes {
        builder = builder.attribute(name, value.as_value());
    }
    builder.build().unwrap()
}

#[test]
fn valid_bodies_are_read_and_invalid_ones_refused() {
    let mut refused = 0;
    for (name, vector) in vectors("bodies.json", "vectors") {
        println!("{name}"); // shown when one fails
        let bytes = hex(&vector);
        let view = BodyView::parse(&bytes);
        assert_eq!(Body::parse(Bytes::from(bytes.clone())).is_ok(), view.is_ok());
        if vector["valid"] == false {
            assert_eq!(vector["code"], 400);
            assert!(view.is_err(), "was read as {view:?}");
            refused += 1;
            continue;
        }
        check_fields(&view.unwrap(), &vector["value"]);
        if vector["encodes"] == true {
            assert_eq!(build(&vector["value"]).bytes(), &bytes, "encodes to other bytes");
        }
    }
    assert!(refused > 20);
}
