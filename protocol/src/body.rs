//! The body of an event: what its publisher wrote, forwarded byte for byte (PROTOCOL.md 4).
//!
//! A MessagePack map with small integer keys. Invariants:
//! 1. [`BodyView::parse`] accepts exactly the bodies that PROTOCOL.md 4 allows; keys it does
//!    not know are stepped over and stay in the bytes.
//! 2. Parsing reads heads and attribute values, never the payload: O(keys + attributes).
//! 3. No attribute is called `id`, `source`, `time` or `topic`.

use bytes::Bytes;

use crate::error::WireError;
use crate::msgpack::{Bad, NESTING_MAX, Reader, put_bin, put_int, put_map, put_str, put_uint};

mod key {
    pub(super) const ID: u64 = 1;
    pub(super) const SOURCE: u64 = 2;
    pub(super) const TIME: u64 = 3;
    pub(super) const ORDERING_KEY: u64 = 4;
    pub(super) const ATTRIBUTES: u64 = 5;
    pub(super) const CONTENT_TYPE: u64 = 6;
    pub(super) const REPLY_TO: u64 = 7;
    pub(super) const CORRELATION: u64 = 8;
    pub(super) const PAYLOAD: u64 = 9;
    pub(super) const KNOWN_MAX: u64 = PAYLOAD;
}

/// Most attributes of one event.
pub const ATTRIBUTES_MAX: usize = 256;
/// Longest attribute name and longest id, source, ordering key, content type, reply-to and
/// correlation, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Names that no attribute may take: they are fields of every event.
pub const CORE_NAMES: [&str; 4] = ["id", "source", "time", "topic"];

/// A point in time: seconds since the Unix epoch and nanoseconds in `0..1_000_000_000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z; negative before.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

/// The value of an attribute, borrowed from a body.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AttributeValue<'a> {
    /// True or false.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A 64-bit float.
    Float(f64),
    /// Text.
    Str(&'a str),
    /// Binary data.
    Bytes(&'a [u8]),
    /// A point in time.
    Timestamp(Timestamp),
}

/// A body read without copying: the fields that are known, and where the attributes are.
#[derive(Debug, Clone, Copy, Default)]
pub struct BodyView<'a> {
    /// The event's id; when absent it is `publisher:epoch:sequence`.
    pub id: Option<&'a str>,
    /// Where the event comes from, as its publisher says.
    pub source: Option<&'a str>,
    /// When it happened.
    pub time: Option<Timestamp>,
    /// Events of one ordering key keep their order on redelivery.
    pub ordering_key: Option<&'a str>,
    /// Media type of the payload.
    pub content_type: Option<&'a str>,
    /// Topic for a reply.
    pub reply_to: Option<&'a str>,
    /// Joins a reply to its request.
    pub correlation: Option<&'a str>,
    /// What the event carries.
    pub payload: &'a [u8],
    attributes: &'a [u8],
    attribute_count: usize,
}

impl<'a> BodyView<'a> {
    /// Reads and checks a body.
    ///
    /// # Errors
    /// [`WireError::Body`] with the field and the rule that it breaks.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let mut view = BodyView::default();
        let mut seen = 0u32;
        let fields = reader.map().map_err(|bad| WireError::body(format!("not a map: {}", bad.text())))?;
        for _ in 0..fields {
            let key = reader.uint().map_err(|bad| WireError::body(format!("a key: {}", bad.text())))?;
            if key <= key::KNOWN_MAX {
                if seen & (1 << key) != 0 {
                    return Err(WireError::body(format!("key {key} stands twice")));
                }
                seen |= 1 << key;
            }
            view.read_field(key, &mut reader, bytes)?;
        }
        if !reader.is_at_end() {
            return Err(WireError::body(format!("{} bytes after the map", bytes.len() - reader.position())));
        }
        Ok(view)
    }

    fn read_field(&mut self, key: u64, reader: &mut Reader<'a>, bytes: &'a [u8]) -> Result<(), WireError> {
        match key {
            key::ID => self.id = Some(text(reader, "id")?),
            key::SOURCE => self.source = Some(text(reader, "source")?),
            key::TIME => self.time = Some(timestamp(reader).map_err(|bad| field_error("time", bad))?),
            key::ORDERING_KEY => self.ordering_key = Some(text(reader, "ordering key")?),
            key::CONTENT_TYPE => self.content_type = Some(text(reader, "content type")?),
            key::REPLY_TO => self.reply_to = Some(text(reader, "reply-to")?),
            key::CORRELATION => self.correlation = Some(text(reader, "correlation")?),
            key::PAYLOAD => self.payload = reader.bin().map_err(|bad| field_error("payload", bad))?,
            key::ATTRIBUTES => {
                self.attribute_count = reader.map().map_err(|bad| field_error("attributes", bad))?;
                let start = reader.position();
                check_attributes(reader, self.attribute_count)?;
                self.attributes = &bytes[start..reader.position()];
            }
            _ => reader
                .skip(NESTING_MAX - 1)
                .map_err(|bad| WireError::body(format!("key {key}: {}", bad.text())))?,
        }
        Ok(())
    }

    /// The attributes in the publisher's order. O(attributes).
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes { reader: Reader::new(self.attributes), left: self.attribute_count }
    }
}

/// Iterator of [`BodyView::attributes`].
pub struct Attributes<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a str, AttributeValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let name = self.reader.str().ok()?;
        Some((name, attribute_value(&mut self.reader).ok()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

fn field_error(field: &str, bad: Bad) -> WireError {
    WireError::body(format!("{field}: {}", bad.text()))
}

fn text<'a>(reader: &mut Reader<'a>, field: &str) -> Result<&'a str, WireError> {
    let text = reader.str().map_err(|bad| field_error(field, bad))?;
    check_text(field, text)?;
    Ok(text)
}

fn check_text(field: &str, text: &str) -> Result<(), WireError> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        let len = text.len();
        return Err(WireError::body(format!("{field} of {len} bytes: 1 to {TEXT_BYTES_MAX} are allowed")));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), WireError> {
    check_text("attribute name", name)?;
    if CORE_NAMES.contains(&name) {
        return Err(WireError::body(format!(
            "attribute `{name}` has the name of a field that every event has: rename it"
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(WireError::body(format!("attribute name {name:?} holds a control character")));
    }
    Ok(())
}

fn check_attributes(reader: &mut Reader<'_>, count: usize) -> Result<(), WireError> {
    check_count(count)?;
    for _ in 0..count {
        let name = reader.str().map_err(|bad| field_error("attribute name", bad))?;
        check_name(name)?;
        attribute_value(reader).map_err(|bad| field_error(&format!("attribute `{name}`"), bad))?;
    }
    Ok(())
}

fn check_count(count: usize) -> Result<(), WireError> {
    if count > ATTRIBUTES_MAX {
        return Err(WireError::body(format!("{count} attributes: at most {ATTRIBUTES_MAX} are allowed")));
    }
    Ok(())
}

fn attribute_value<'a>(reader: &mut Reader<'a>) -> Result<AttributeValue<'a>, Bad> {
    use rmp::Marker::*;
    Ok(match reader.peek()? {
        True | False => AttributeValue::Bool(reader.bool()?),
        F32 | F64 => AttributeValue::Float(reader.float()?),
        FixStr(_) | Str8 | Str16 | Str32 => AttributeValue::Str(reader.str()?),
        Bin8 | Bin16 | Bin32 => AttributeValue::Bytes(reader.bin()?),
        FixExt4 | FixExt8 | Ext8 => AttributeValue::Timestamp(timestamp(reader)?),
        FixPos(_) | FixNeg(_) | U8 | U16 | U32 | U64 | I8 | I16 | I32 | I64 => {
            AttributeValue::Int(reader.int()?)
        }
        _ => {
            return Err(Bad::Type(
                "a boolean, an integer below 2^63, a float, a string, binary data or a timestamp",
            ));
        }
    })
}

/// MessagePack's timestamp: extension -1 in its three lengths.
fn timestamp(reader: &mut Reader<'_>) -> Result<Timestamp, Bad> {
    const EXPECTED: Bad = Bad::Type("a timestamp (extension -1)");
    let (kind, data) = reader.ext().map_err(|_| EXPECTED)?;
    if kind != -1 {
        return Err(EXPECTED);
    }
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |acc, &byte| acc << 8 | u64::from(byte));
    let (seconds, nanos) = match data.len() {
        4 => (number(data) as i64, 0),
        8 => ((number(data) & 0x3_ffff_ffff) as i64, (number(data) >> 34) as u32),
        12 => (number(&data[4..]) as i64, number(&data[..4]) as u32),
        _ => return Err(EXPECTED),
    };
    if nanos >= 1_000_000_000 {
        return Err(Bad::Type("nanoseconds below 1,000,000,000"));
    }
    Ok(Timestamp { seconds, nanos })
}

fn put_timestamp(out: &mut Vec<u8>, time: Timestamp) {
    match (u64::try_from(time.seconds), time.nanos) {
        (Ok(seconds @ 0..=0xffff_ffff), 0) => {
            out.extend_from_slice(&[0xd6, 0xff]);
            out.extend_from_slice(&(seconds as u32).to_be_bytes());
        }
        (Ok(seconds @ 0..=0x3_ffff_ffff), nanos) => {
            out.extend_from_slice(&[0xd7, 0xff]);
            out.extend_from_slice(&(u64::from(nanos) << 34 | seconds).to_be_bytes());
        }
        _ => {
            out.extend_from_slice(&[0xc7, 12, 0xff]);
            out.extend_from_slice(&time.nanos.to_be_bytes());
            out.extend_from_slice(&time.seconds.to_be_bytes());
        }
    }
}

fn put_value(out: &mut Vec<u8>, value: AttributeValue<'_>) {
    match value {
        AttributeValue::Bool(value) => out.push(if value { 0xc3 } else { 0xc2 }),
        AttributeValue::Int(value) => put_int(out, value),
        AttributeValue::Float(value) => {
            out.push(0xcb);
            out.extend_from_slice(&value.to_bits().to_be_bytes());
        }
        AttributeValue::Str(value) => put_str(out, value),
        AttributeValue::Bytes(value) => put_bin(out, value),
        AttributeValue::Timestamp(value) => put_timestamp(out, value),
    }
}

/// A checked body that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body(Bytes);

impl Body {
    /// Checks bytes that came from elsewhere.
    ///
    /// # Errors
    /// As [`BodyView::parse`].
    pub fn parse(bytes: Bytes) -> Result<Self, WireError> {
        BodyView::parse(&bytes)?;
        Ok(Body(bytes))
    }

    /// The bytes as they travel.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The fields. O(keys + attributes).
    pub fn view(&self) -> BodyView<'_> {
        // Checked when made; were it not, an empty view is the harmless answer.
        BodyView::parse(&self.0).unwrap_or_default()
    }

    /// The payload, sharing the body's memory.
    pub fn payload(&self) -> Bytes {
        self.0.slice_ref(self.view().payload)
    }
}

/// Writes a body; fields that are not set are left out.
#[derive(Debug, Clone, Default)]
pub struct BodyBuilder {
    texts: [Option<String>; 6],
    time: Option<Timestamp>,
    attributes: Vec<u8>,
    names: Vec<String>,
    payload: Bytes,
}

macro_rules! text_fields {
    ($($(#[$doc:meta])* $name:ident, $key:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, text: impl Into<String>) -> Self {
            self.texts[text_slot(key::$key)] = Some(text.into());
            self
        }
    )*};
}

/// The text fields' keys in the order of the wire, without time and attributes between them.
const TEXT_KEYS: [(u64, &str); 6] = [
    (key::ID, "id"),
    (key::SOURCE, "source"),
    (key::ORDERING_KEY, "ordering key"),
    (key::CONTENT_TYPE, "content type"),
    (key::REPLY_TO, "reply-to"),
    (key::CORRELATION, "correlation"),
];

fn text_slot(key: u64) -> usize {
    TEXT_KEYS.iter().position(|(known, _)| *known == key).unwrap_or(0)
}

impl BodyBuilder {
    /// An empty body.
    pub fn new() -> Self {
        Self::default()
    }

    text_fields! {
        /// Sets the event's id.
        id, ID;
        /// Sets where the event comes from.
        source, SOURCE;
        /// Sets the ordering key.
        ordering_key, ORDERING_KEY;
        /// Sets the payload's media type.
        content_type, CONTENT_TYPE;
        /// Sets the topic for a reply.
        reply_to, REPLY_TO;
        /// Joins a reply to its request.
        correlation, CORRELATION;
    }

    /// Sets when the event happened.
    pub fn time(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// Sets the payload.
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self
    }

    /// Adds an attribute; the same name twice is refused by [`BodyBuilder::build`].
    pub fn attribute(mut self, name: &str, value: AttributeValue<'_>) -> Self {
        put_str(&mut self.attributes, name);
        put_value(&mut self.attributes, value);
        self.names.push(name.to_owned());
        self
    }

    /// Encodes the body. O(bytes).
    ///
    /// # Errors
    /// [`WireError::Body`] when a name or a text breaks a rule of PROTOCOL.md 4.
    pub fn build(mut self) -> Result<Body, WireError> {
        self.check()?;
        let fields = self.texts.iter().flatten().count()
            + usize::from(self.time.is_some())
            + usize::from(!self.names.is_empty())
            + usize::from(!self.payload.is_empty());
        let mut out = Vec::with_capacity(64 + self.attributes.len() + self.payload.len());
        put_map(&mut out, fields);
        self.put_texts(&mut out, 0..2);
        if let Some(time) = self.time {
            put_uint(&mut out, key::TIME);
            put_timestamp(&mut out, time);
        }
        self.put_texts(&mut out, 2..3);
        if !self.names.is_empty() {
            put_uint(&mut out, key::ATTRIBUTES);
            put_map(&mut out, self.names.len());
            out.extend_from_slice(&self.attributes);
        }
        self.put_texts(&mut out, 3..6);
        if !self.payload.is_empty() {
            put_uint(&mut out, key::PAYLOAD);
            put_bin(&mut out, &self.payload);
        }
        Ok(Body(Bytes::from(out)))
    }

    fn put_texts(&self, out: &mut Vec<u8>, slots: std::ops::Range<usize>) {
        for slot in slots {
            if let Some(text) = &self.texts[slot] {
                put_uint(out, TEXT_KEYS[slot].0);
                put_str(out, text);
            }
        }
    }

    fn check(&mut self) -> Result<(), WireError> {
        for ((_, field), text) in TEXT_KEYS.iter().zip(&self.texts) {
            text.as_ref().map_or(Ok(()), |text| check_text(field, text))?;
        }
        check_count(self.names.len())?;
        self.names.iter().try_for_each(|name| check_name(name))?;
        let mut sorted: Vec<&String> = self.names.iter().collect();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(WireError::body(format!("attribute `{}` stands twice", pair[0])));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> BodyBuilder {
        BodyBuilder::new()
            .id("a-1")
            .source("/till/7")
            .time(Timestamp { seconds: 1_357_034_400, nanos: 5 })
            .ordering_key("till-7")
            .attribute("amount", AttributeValue::Int(-70_000))
            .attribute("ratio", AttributeValue::Float(0.5))
            .attribute("late", AttributeValue::Bool(true))
            .attribute("region", AttributeValue::Str("eu"))
            .attribute("raw", AttributeValue::Bytes(&[0, 255]))
            .attribute("due", AttributeValue::Timestamp(Timestamp { seconds: -1, nanos: 999_999_999 }))
            .content_type("text/plain")
            .reply_to("replies/7")
            .correlation("c")
            .payload("hello")
    }

    #[test]
    fn a_full_body_reads_back_as_written() {
        let body = full().build().unwrap();
        let view = body.view();
        assert_eq!((view.id, view.source, view.ordering_key), (Some("a-1"), Some("/till/7"), Some("till-7")));
        assert_eq!(view.time, Some(Timestamp { seconds: 1_357_034_400, nanos: 5 }));
        assert_eq!(
            (view.content_type, view.reply_to, view.correlation),
            (Some("text/plain"), Some("replies/7"), Some("c"))
        );
        assert_eq!(body.payload(), "hello");
        let attributes: Vec<_> = view.attributes().collect();
        assert_eq!(attributes.len(), 6);
        assert_eq!(attributes[0], ("amount", AttributeValue::Int(-70_000)));
        assert_eq!(
            attributes[5],
            ("due", AttributeValue::Timestamp(Timestamp { seconds: -1, nanos: 999_999_999 }))
        );
    }

    #[test]
    fn unknown_fields_are_stepped_over() {
        // {1: "x", 99: [1, {"a": nil}], 9: bin 0x07}
        let bytes = [0x83, 1, 0xa1, b'x', 99, 0x92, 1, 0x81, 0xa1, b'a', 0xc0, 9, 0xc4, 1, 7];
        let view = BodyView::parse(&bytes).unwrap();
        assert_eq!((view.id, view.payload), (Some("x"), &[7u8][..]));
    }

    #[test]
    fn rules_are_enforced_on_both_sides() {
        for name in CORE_NAMES {
            let error = BodyBuilder::new().attribute(name, AttributeValue::Int(1)).build().unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        let twice =
            BodyBuilder::new().attribute("a", AttributeValue::Int(1)).attribute("a", AttributeValue::Int(2));
        assert!(twice.build().is_err());
        assert!(BodyBuilder::new().id("x".repeat(TEXT_BYTES_MAX + 1)).build().is_err());
        for bytes in [
            &[][..],
            &[0x81],
            &[0x82, 1, 0xa1, b'x', 1, 0xa1, b'y'],
            &[0x80, 0],
            &[0x81, 5, 0x81, 0xa4, b't', b'i', b'm', b'e', 1],
        ] {
            assert!(BodyView::parse(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn every_prefix_and_every_flip_of_a_body_is_read_or_refused_without_panic() {
        let body = full().build().unwrap();
        let bytes = body.bytes().to_vec();
        for len in 0..bytes.len() {
            assert!(BodyView::parse(&bytes[..len]).is_err());
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                if let Ok(view) = BodyView::parse(&flipped) {
                    view.attributes().for_each(drop);
                }
            }
        }
    }

    #[test]
    fn unknown_fields_nest_sixteen_deep_the_bodys_map_included() {
        let nested = |levels: usize| {
            let mut bytes = vec![0x81, 99];
            bytes.extend(std::iter::repeat_n(0x91, levels - 1));
            bytes.push(0xc0);
            BodyView::parse(&bytes).map(drop)
        };
        assert!(nested(16).is_ok());
        assert!(nested(17).is_err());
        assert!(nested(1_000_000).is_err());
    }
}
