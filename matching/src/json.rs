//! A JSON payload, read once and only if a filter asks.
//!
//! 1. Nothing is read before the first [`JsonPayload::get`], and at most one pass over the bytes
//!    is ever made: `O(bytes)`, plus sorting the members of large objects.
//! 2. A lookup costs `O(segments × log members)`, whatever the payload.
//! 3. Of a member that stands twice, the last counts (as in ECMAScript and most readers).
//! 4. What is no JSON text (RFC 8259) as a whole, nests deeper than [`PATH_SEGMENTS_MAX`] or holds
//!    a number beyond 64-bit floats has no values at all: every path into it is missing.
//! 5. Memory: at most 48 bytes for each byte of the payload while it is read, given back with the
//!    event.
//!
//! Numbers without fraction and exponent that fit an i64 are integers, and so is negative zero;
//! all others are floats, read to the nearest. `null` is missing. Objects and arrays exist and
//! compare with nothing.

use std::cell::OnceCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::path::{PATH_SEGMENTS_MAX, Path, Segment};
use crate::value::{Attributes, Value};

/// Objects with more members are searched by their sorted names.
const LINEAR_MEMBERS_MAX: usize = 8;

/// Whether a payload of this content type is read as JSON: `application/json`, `text/json`,
/// anything that ends in `+json` (RFC 6839), whatever its parameters, and none given.
pub fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let ends_with = |suffix: &str| {
        essence
            .len()
            .checked_sub(suffix.len())
            .and_then(|start| essence.get(start..))
            .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    essence.eq_ignore_ascii_case("application/json")
        || essence.eq_ignore_ascii_case("text/json")
        || ends_with("+json")
}

/// The payload of one event, for paths.
pub struct JsonPayload<'a> {
    bytes: &'a [u8],
    document: OnceCell<Option<Document<'a>>>,
}

impl<'a> JsonPayload<'a> {
    /// A payload that nobody has asked about yet. Costs nothing.
    pub fn new(bytes: &'a [u8]) -> JsonPayload<'a> {
        JsonPayload { bytes, document: OnceCell::new() }
    }

    /// The value at `path`, or `None` where there is none or it is null. The first call reads the
    /// payload, `O(bytes)`; the others cost `O(segments × log members)`.
    ///
    /// Objects and arrays are empty byte strings: they exist and compare with nothing.
    pub fn get(&self, path: &Path) -> Option<Value<'_>> {
        let document = self.document.get_or_init(|| Document::parse(self.bytes)).as_ref()?;
        document.value(document.find(path)?)
    }

    /// The whole payload as one value, or `None` for what is no JSON. Reads it if nobody has.
    pub fn root(&self) -> Option<JsonValue<'_>> {
        let document = self.document.get_or_init(|| Document::parse(self.bytes)).as_ref()?;
        Some(JsonValue { document, node: document.root })
    }

    /// Whether the payload was read already.
    pub fn is_read(&self) -> bool {
        self.document.get().is_some()
    }
}

impl fmt::Debug for JsonPayload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, is_read) = (self.bytes.len(), self.is_read());
        f.debug_struct("JsonPayload").field("bytes", &bytes).field("is_read", &is_read).finish()
    }
}

/// Attributes and a payload: an event for tests and small tools.
impl<A: Attributes> Attributes for (A, JsonPayload<'_>) {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        self.0.get(name)
    }

    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s str, Value<'s>)) {
        self.0.visit(see);
    }

    fn data(&self, path: &Path) -> Option<Value<'_>> {
        self.1.get(path)
    }

    fn payload(&self) -> Option<JsonValue<'_>> {
        self.1.root()
    }
}

/// A value within a payload that was read.
#[derive(Clone, Copy)]
pub struct JsonValue<'d> {
    document: &'d Document<'d>,
    node: Node<'d>,
}

impl<'d> JsonValue<'d> {
    /// Whether it is null.
    pub fn is_null(self) -> bool {
        matches!(self.node, Node::Null)
    }

    /// A truth value, number or string; `None` for null, an object and an array.
    pub fn scalar(self) -> Option<Value<'d>> {
        match self.node {
            Node::Array(_) | Node::Object(_) => None,
            node => self.document.value(node),
        }
    }

    /// The member of that name, if this is an object that has one.
    pub fn member(self, name: &str) -> Option<JsonValue<'d>> {
        let Node::Object(run) = self.node else { return None };
        let document = self.document;
        document.member(run, name).map(|node| JsonValue { document, node })
    }

    /// The elements, if this is an array.
    pub fn elements(self) -> Option<impl Iterator<Item = JsonValue<'d>>> {
        let Node::Array(run) = self.node else { return None };
        let document = self.document;
        Some(document.items[run.range()].iter().map(move |node| JsonValue { document, node: *node }))
    }
}

impl fmt::Debug for JsonValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JsonValue").field(&self.scalar()).finish()
    }
}

/// A payload that was read: values whose containers hold runs of `items` or `members`.
struct Document<'a> {
    root: Node<'a>,
    items: Vec<Node<'a>>,
    members: Vec<Member<'a>>,
    /// Strings that were written with escapes, without them.
    decoded: String,
}

#[derive(Clone, Copy)]
enum Node<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Text<'a>),
    /// A run of `items`.
    Array(Run),
    /// A run of `members`, sorted by name if it is longer than [`LINEAR_MEMBERS_MAX`]; members of
    /// one name keep their order.
    Object(Run),
}

#[derive(Clone, Copy)]
struct Member<'a> {
    name: Text<'a>,
    value: Node<'a>,
}

#[derive(Clone, Copy)]
enum Text<'a> {
    Borrowed(&'a str),
    Decoded(Run),
}

#[derive(Clone, Copy)]
struct Run {
    start: u32,
    count: u32,
}

impl Run {
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.count as usize
    }
}

impl<'a> Document<'a> {
    /// `None` for what is no JSON, or more than can be addressed.
    fn parse(bytes: &'a [u8]) -> Option<Document<'a>> {
        u32::try_from(bytes.len()).ok()?;
        let text = std::str::from_utf8(bytes).ok()?;
        let mut builder = Builder::default();
        let mut reader = serde_json::Deserializer::from_str(text);
        let root = Reading { builder: &mut builder, depth: 0 }.deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        let Builder { items, members, decoded, .. } = builder;
        Some(Document { root, items, members, decoded })
    }

    fn find(&self, path: &Path) -> Option<Node<'a>> {
        path.segments().iter().try_fold(self.root, |node, segment| match (node, segment) {
            (Node::Object(run), Segment::Member(name)) => self.member(run, name),
            (Node::Array(run), Segment::Element(index)) => {
                self.items[run.range()].get(*index as usize).copied()
            }
            _ => None,
        })
    }

    fn member(&self, run: Run, name: &str) -> Option<Node<'a>> {
        let members = &self.members[run.range()];
        let is_it = |member: &&Member<'a>| self.text(member.name) == name;
        let found = if members.len() <= LINEAR_MEMBERS_MAX {
            members.iter().rev().find(is_it)
        } else {
            let after = members.partition_point(|member| self.text(member.name) <= name);
            members[..after].last().filter(is_it)
        };
        found.map(|member| member.value)
    }

    fn value(&self, node: Node<'a>) -> Option<Value<'_>> {
        match node {
            Node::Null => None,
            Node::Bool(known) => Some(Value::Bool(known)),
            Node::Int(number) => Some(Value::Int(number)),
            Node::Float(number) => Some(Value::Float(number)),
            Node::Str(text) => Some(Value::Str(self.text(text))),
            Node::Array(_) | Node::Object(_) => Some(Value::Bytes(&[])),
        }
    }

    fn text(&self, text: Text<'a>) -> &str {
        text.of(&self.decoded)
    }
}

impl<'a> Text<'a> {
    fn of<'d>(self, decoded: &'d str) -> &'d str
    where
        'a: 'd,
    {
        match self {
            Text::Borrowed(text) => text,
            Text::Decoded(run) => &decoded[run.range()],
        }
    }
}

/// A document that is being read, from its leaves up: what a container holds waits in `open_…`
/// until it ends and then becomes one run.
#[derive(Default)]
struct Builder<'a> {
    items: Vec<Node<'a>>,
    members: Vec<Member<'a>>,
    decoded: String,
    open_items: Vec<Node<'a>>,
    open_members: Vec<Member<'a>>,
}

impl<'a> Builder<'a> {
    fn decoded(&mut self, text: &str) -> Text<'a> {
        // A string is not longer without its escapes, and the payload fits 32 bits.
        let run = Run { start: self.decoded.len() as u32, count: text.len() as u32 };
        self.decoded.push_str(text);
        Text::Decoded(run)
    }

    fn end_array(&mut self, from: usize) -> Node<'a> {
        let start = self.items.len();
        self.items.extend(self.open_items.drain(from..));
        Node::Array(Run { start: start as u32, count: (self.items.len() - start) as u32 })
    }

    fn end_object(&mut self, from: usize) -> Node<'a> {
        let start = self.members.len();
        self.members.extend(self.open_members.drain(from..));
        let members = &mut self.members[start..];
        let count = members.len();
        if count > LINEAR_MEMBERS_MAX {
            let decoded = &self.decoded;
            members.sort_by(|a, b| a.name.of(decoded).cmp(b.name.of(decoded)));
        }
        Node::Object(Run { start: start as u32, count: count as u32 })
    }
}

/// Reads one value into the builder.
struct Reading<'b, 'a> {
    builder: &'b mut Builder<'a>,
    /// Containers around it.
    depth: usize,
}

impl<'a> Reading<'_, 'a> {
    fn inner(&mut self) -> Reading<'_, 'a> {
        Reading { builder: self.builder, depth: self.depth + 1 }
    }

    fn enter<E: Error>(&self) -> Result<(), E> {
        if self.depth < PATH_SEGMENTS_MAX { Ok(()) } else { Err(E::custom("nests too deep")) }
    }
}

impl<'a> DeserializeSeed<'a> for Reading<'_, 'a> {
    type Value = Node<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Node<'a>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Reading<'_, 'a> {
    type Value = Node<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node<'a>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, known: bool) -> Result<Node<'a>, E> {
        Ok(Node::Bool(known))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node<'a>, E> {
        Ok(Node::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node<'a>, E> {
        Ok(i64::try_from(number).map_or(Node::Float(number as f64), Node::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node<'a>, E> {
        // `-0` comes as a float.
        Ok(if number == 0.0 && number.is_sign_negative() { Node::Int(0) } else { Node::Float(number) })
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Node<'a>, E> {
        Ok(Node::Str(Text::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node<'a>, E> {
        Ok(Node::Str(self.builder.decoded(text)))
    }

    fn visit_seq<S: SeqAccess<'a>>(mut self, mut elements: S) -> Result<Node<'a>, S::Error> {
        self.enter()?;
        let from = self.builder.open_items.len();
        while let Some(node) = elements.next_element_seed(self.inner())? {
            self.builder.open_items.push(node);
        }
        Ok(self.builder.end_array(from))
    }

    fn visit_map<M: MapAccess<'a>>(mut self, mut members: M) -> Result<Node<'a>, M::Error> {
        self.enter()?;
        let from = self.builder.open_members.len();
        while let Some(name) = members.next_key_seed(Name(self.builder))? {
            let value = members.next_value_seed(self.inner())?;
            self.builder.open_members.push(Member { name, value });
        }
        Ok(self.builder.end_object(from))
    }
}

/// Reads the name of a member.
struct Name<'b, 'a>(&'b mut Builder<'a>);

impl<'a> DeserializeSeed<'a> for Name<'_, 'a> {
    type Value = Text<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Text<'a>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Name<'_, 'a> {
    type Value = Text<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Text<'a>, E> {
        Ok(Text::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'a>, E> {
        Ok(self.0.decoded(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Json = serde_json::Value;

    /// The value at `path`, as text: `i5`, `f0.5`, `"x"`, `true`, `[]` for a container.
    fn at(payload: &JsonPayload<'_>, path: &str) -> Option<String> {
        Some(match payload.get(&Path::parse(path).unwrap())? {
            Value::Bool(known) => known.to_string(),
            Value::Int(number) => format!("i{number}"),
            Value::Float(number) => format!("f{number:?}"),
            Value::Str(text) => format!("{text:?}"),
            Value::Bytes(_) => "[]".to_owned(),
            Value::Timestamp(timestamp) => panic!("{timestamp}"),
        })
    }

    fn read(json: &str, path: &str) -> Option<String> {
        at(&JsonPayload::new(json.as_bytes()), path)
    }

    #[test]
    fn types_of_json_become_types_of_filters() {
        let json = r#" {"n": 5, "neg": -9223372036854775808, "big": 9223372036854775808, "f": 5.0,
            "e": 1e2, "tenth": 0.1, "z": -0, "t": true, "s": "x", "no": null, "o": {}, "a": [1, null, [2]],
            "esc": "a\u00e9\n\ud83d\ude00", "odd key": "é", "": 1, "e\"": 2} "#;
        let payload = JsonPayload::new(json.as_bytes());
        assert!(!payload.is_read());
        for (path, expected) in [
            ("data.n", "i5"),
            ("data.neg", "i-9223372036854775808"),
            ("data.big", "f9.223372036854776e18"),
            ("data.f", "f5.0"),
            ("data.e", "f100.0"),
            ("data.tenth", "f0.1"),
            ("data.z", "i0"),
            ("data.t", "true"),
            ("data.s", "\"x\""),
            ("data.o", "[]"),
            ("data.a", "[]"),
            ("data.a[0]", "i1"),
            ("data.a[2][0]", "i2"),
            ("data.esc", "\"aé\\n😀\""),
            ("data['odd key']", "\"é\""),
            ("data['']", "i1"),
            ("data['e\"']", "i2"),
        ] {
            assert_eq!(at(&payload, path).as_deref(), Some(expected), "{path}");
        }
        for path in
            ["data.no", "data.gone", "data.a[1]", "data.a[3]", "data.a.n", "data.n.x", "data[0]", "data.s[0]"]
        {
            assert_eq!(at(&payload, path), None, "{path}");
        }
        assert!(payload.is_read());
    }

    #[test]
    fn what_is_no_json_has_no_values() {
        for json in [
            "",
            " ",
            "{",
            "{\"a\":1}x",
            "{'a':1}",
            "{\"a\":01}",
            "{\"a\":1,}",
            "{\"a\":1e999}",
            "{\"a\":\"\\ud800\"}",
        ] {
            assert_eq!(read(json, "data.a"), None, "{json}");
        }
        let latin1 = b"{\"a\":1,\"b\":\"\xe9\"}";
        assert_eq!(at(&JsonPayload::new(latin1), "data.a"), None);
        assert_eq!(read("[1]", "data[0]").as_deref(), Some("i1"));
        assert_eq!(read("5", "data[0]"), None);
    }

    #[test]
    fn the_last_member_of_a_name_counts_in_small_and_large_objects() {
        assert_eq!(read(r#"{"a":1,"b":0,"a":2}"#, "data.a").as_deref(), Some("i2"));
        assert_eq!(read(r#"{"a":1,"a":null}"#, "data.a"), None);
        assert_eq!(read(r#"{"a":{"x":1},"a":{"y":2}}"#, "data.a.x"), None);
        let members: Vec<String> = (0..100).map(|n| format!(r#""k{}":{n}"#, n % 40)).collect();
        let json = format!("{{{}}}", members.join(","));
        let payload = JsonPayload::new(json.as_bytes());
        for name in 0..40 {
            let last = if name < 20 { 80 + name } else { 40 + name };
            assert_eq!(at(&payload, &format!("data.k{name}")), Some(format!("i{last}")));
        }
        assert_eq!(at(&payload, "data.k40"), None);
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let path = format!("data{}", "[0]".repeat(64));
        assert_eq!(read(&nested(64), &path).as_deref(), Some("i1"));
        assert_eq!(read(&nested(65), "data[0]"), None);
        assert_eq!(read(&"[".repeat(1_000_000), "data[0]"), None);
    }

    /// 100,000 members asked 100,000 times, half of them with escapes: minutes if a lookup walked.
    #[test]
    fn lookups_in_a_large_object_do_not_walk_it() {
        let name = |n: usize| if n.is_multiple_of(2) { format!("k{n}") } else { format!("k\\u0030{n}") };
        let members: Vec<String> = (0..100_000).map(|n| format!("\"{}\":{n}", name(n))).collect();
        let json = format!("{{{}}}", members.join(","));
        let payload = JsonPayload::new(json.as_bytes());
        for n in 0..100_000 {
            let zero = if n % 2 == 0 { "" } else { "0" };
            assert_eq!(at(&payload, &format!("data.k{zero}{n}")), Some(format!("i{n}")));
        }
    }

    #[test]
    fn content_types_of_json() {
        for yes in [
            None,
            Some("application/json"),
            Some("Application/JSON; charset=utf-8"),
            Some("text/json"),
            Some("application/cloudevents+json"),
            Some("application/ld+JSON ;x=1"),
            Some("+json"),
        ] {
            assert!(is_json(yes), "{yes:?}");
        }
        for no in
            ["text/plain", "application/jsonl", "json", "", "application/json5", "é", "text/plain;x=+json"]
        {
            assert!(!is_json(Some(no)), "{no:?}");
        }
    }

    fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            "\\PC{0,4}|[\"\\\\\n]{1,3}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 60, 12, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..12).prop_map(Json::from),
                proptest::collection::hash_map("[a-f]|\\PC{0,2}", inner, 0..14)
                    .prop_map(|members| Json::Object(members.into_iter().collect())),
            ]
        })
    }

    /// All places of a value, with the segments that lead there.
    fn places<'j>(json: &'j Json, to: &mut Vec<Segment>, see: &mut dyn FnMut(&[Segment], &'j Json)) {
        if !to.is_empty() {
            see(to, json);
        }
        let mut go = |segment, inner: &'j Json| {
            to.push(segment);
            places(inner, to, see);
            to.pop();
        };
        match json {
            Json::Array(items) => {
                items.iter().enumerate().for_each(|(i, item)| go(Segment::Element(i as u32), item));
            }
            Json::Object(members) => {
                members.iter().for_each(|(name, item)| go(Segment::Member(name.as_str().into()), item));
            }
            _ => {}
        }
    }

    proptest! {
        /// The oracle is the same text as serde_json's own tree has it.
        #[test]
        fn every_place_holds_what_was_written(json in json(), pretty in any::<bool>()) {
            let text = if pretty { format!("{json:#}") } else { json.to_string() };
            let tree: Json = serde_json::from_str(&text).unwrap();
            let payload = JsonPayload::new(text.as_bytes());
            places(&tree, &mut Vec::new(), &mut |segments, expected| {
                let path = Path::new(segments.to_vec()).unwrap();
                let got = payload.get(&path);
                match expected {
                    Json::Null => assert_eq!(got, None),
                    Json::Bool(known) => assert_eq!(got, Some(Value::Bool(*known))),
                    Json::Number(number) if number.is_i64() => {
                        assert_eq!(got, number.as_i64().map(Value::Int), "{path}");
                    }
                    Json::Number(number) => {
                        let expected = number.as_f64().unwrap();
                        assert_eq!(got.unwrap().equals(&Value::Float(expected)), Some(true), "{path}");
                    }
                    Json::String(text) => assert_eq!(got, Some(Value::Str(text))),
                    Json::Array(_) | Json::Object(_) => assert_eq!(got, Some(Value::Bytes(&[]))),
                }
            });
        }

        #[test]
        fn any_bytes_are_read_or_have_no_values(bytes in proptest::collection::vec(any::<u8>(), 0..40),
            text in "[\\[\\]{}\":,a0-9.eE+\\\\ -]{0,24}") {
            for payload in [JsonPayload::new(&bytes), JsonPayload::new(text.as_bytes())] {
                let _ = payload.get(&Path::parse("data.a[0]").unwrap());
                let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(payload.bytes).is_ok();
                let document = payload.document.get().expect("it was read");
                // What serde skips over it reads less strictly: numbers that no float holds.
                prop_assert!(is_json || document.is_none());
            }
        }
    }
}
