//! Filters in other languages against plain interpreters of those languages, and their translations.
//!
//! The interpreters read the JSON itself and follow the documents: the Subscriptions API section 3.2.4,
//! and event-ruler's README; for arrays they enumerate what event-ruler calls array membership.

#![allow(clippy::unwrap_used, reason = "the interpreters read what the generators of this file made")]

use fanal_matching::{
    Attributes, Filter, FilterErrorReason, JsonPayload, Path, Timestamp, Truth, Value, strict,
};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

/// Attributes and the text of a payload.
type Event = (Vec<(&'static str, Value<'static>)>, String);

fn truth(filter: &Filter, (attributes, payload): &Event) -> Truth {
    filter.evaluate(&(attributes.clone(), JsonPayload::new(payload.as_bytes())))
}

/// The filter, after its canonical text was read again.
fn parse(text: &str) -> Filter {
    let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let again = Filter::parse(filter.as_str()).unwrap_or_else(|error| panic!("{filter}: {error}"));
    assert_eq!(again.as_str(), filter.as_str(), "{text}");
    again
}

fn time(seconds: i64) -> Value<'static> {
    Value::Timestamp(Timestamp { seconds, nanos: 0 })
}

const NAMES: [&str; 9] = ["a", "b", "c", "5g", "and", "odd-name", "id", "topic", "time"];

/// Texts that attributes have and filters ask for; many look like something else.
const TEXTS: [&str; 26] = [
    "x",
    "xy",
    "y",
    "X",
    "é",
    "É",
    "it's",
    "%",
    "_",
    "\\",
    "x%",
    "1",
    "12",
    "-1",
    "1.5",
    "5",
    "5.0",
    "1e300",
    "true",
    "t",
    "e",
    "1970-01-01T00:00:00Z",
    "1970-01-01T01:00:00+01:00",
    "1970",
    "0Z",
    "10.1.2.3",
];

fn text() -> impl Strategy<Value = &'static str> {
    prop::sample::select(TEXTS.to_vec())
}

fn value() -> impl Strategy<Value = Value<'static>> {
    let number = prop::sample::select(vec![1, 12, -1, 5, 0, i64::MAX]);
    let float = prop::sample::select(vec![1.5, 5.0, 12.0, -0.0, 1e300, f64::NAN, f64::INFINITY]);
    prop_oneof![
        5 => text().prop_map(Value::Str),
        3 => number.prop_map(Value::Int),
        2 => float.prop_map(Value::Float),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => prop::sample::select(vec![0, 1, -1]).prop_map(time),
        1 => Just(Value::Bytes(b"\xb6\xbb\x9e")),
    ]
}

fn attributes() -> impl Strategy<Value = Vec<(&'static str, Value<'static>)>> {
    let attribute = |name| proptest::option::weighted(0.7, value().prop_map(move |value| (name, value)));
    let own: Vec<_> = NAMES[..6].iter().map(|name| attribute(*name)).collect();
    let core = (text(), text(), proptest::option::weighted(0.7, prop::sample::select(vec![0, 1])));
    (own, core).prop_map(|(own, (id, topic, seconds))| {
        let core = [("id", Value::Str(id)), ("topic", Value::Str(topic))];
        let seconds = seconds.map(|seconds| ("time", time(seconds)));
        own.into_iter().flatten().chain(core).chain(seconds).collect()
    })
}

/// The Subscriptions API.
mod cloudevents {
    use super::*;

    fn form(value: &Value<'_>) -> Option<String> {
        match value {
            Value::Str(text) => Some((*text).to_owned()),
            Value::Bool(known) => Some(known.to_string()),
            Value::Int(number) => Some(number.to_string()),
            Value::Float(number) if !number.is_finite() => None,
            Value::Float(number) if *number == number.trunc() && number.abs() < 1e15 => {
                Some((*number as i64).to_string())
            }
            Value::Float(number) => Some(format!("{number:?}")),
            Value::Timestamp(timestamp) => Some(timestamp.to_string()),
            Value::Bytes(_) => None,
        }
    }

    fn fits(how: &str, value: &Value<'_>, text: &str) -> bool {
        if let (Value::Timestamp(instant), "exact") = (value, how) {
            return Timestamp::parse_rfc3339(text).is_ok_and(|wanted| wanted == *instant);
        }
        form(value).is_some_and(|form| match how {
            "exact" => form == text,
            "prefix" => form.starts_with(text),
            _ => form.ends_with(text),
        })
    }

    pub(super) fn passes(filter: &Json, event: &Event) -> bool {
        if let Json::Array(filters) = filter {
            return filters.iter().all(|filter| passes(filter, event));
        }
        let (dialect, given) = filter.as_object().unwrap().iter().next().unwrap();
        match dialect.as_str() {
            "all" => given.as_array().unwrap().iter().all(|filter| passes(filter, event)),
            "any" => given.as_array().unwrap().iter().any(|filter| passes(filter, event)),
            "not" => !passes(given, event),
            "sql" => {
                let outcome = strict::Expression::parse(given.as_str().unwrap()).unwrap().evaluate(&event.0);
                outcome == strict::Outcome { value: strict::Primitive::Bool(true), error: None }
            }
            how => given.as_object().unwrap().iter().all(|(name, text)| {
                let value = event.0.iter().find(|(known, _)| known == name);
                value.is_some_and(|(_, value)| fits(how, value, text.as_str().unwrap()))
            }),
        }
    }

    pub(super) fn filter() -> impl Strategy<Value = Json> {
        let name = || prop::sample::select(NAMES.to_vec());
        let how = prop::sample::select(vec!["exact", "exact", "prefix", "suffix"]);
        let texts = proptest::collection::btree_map(name(), text(), 1..3);
        let sql = prop::sample::select(vec![
            "a = 'x'",
            "INT(b) > 1",
            "NOT EXISTS c",
            "5g LIKE '1%'",
            "a",
            "a = b OR TRUE",
        ]);
        let leaf = prop_oneof![
            6 => (how, texts).prop_map(|(how, texts)| json!({ how: texts })),
            1 => sql.prop_map(|sql| json!({ "sql": sql })),
        ];
        leaf.prop_recursive(4, 24, 3, |inner| {
            let several = proptest::collection::vec(inner.clone(), 1..4);
            prop_oneof![
                several.clone().prop_map(|all| json!({ "all": all })),
                several.prop_map(|any| json!({ "any": any })),
                inner.prop_map(|not| json!({ "not": not })),
            ]
        })
    }
}

/// Event patterns.
mod eventbridge {
    use super::*;

    /// A value at the end of a path, and which element of which array it stands in.
    #[derive(Clone, Debug)]
    struct Leaf<'e> {
        path: Vec<String>,
        value: Scalar<'e>,
        membership: Vec<(String, usize)>,
    }

    #[derive(Clone, Debug)]
    enum Scalar<'e> {
        Null,
        Bool(bool),
        Number(f64),
        Text(&'e str),
        Time(Timestamp),
        Bytes,
    }

    fn flatten<'e>(
        value: &'e Json,
        path: Vec<String>,
        place: String,
        membership: Vec<(String, usize)>,
        into: &mut Vec<Leaf<'e>>,
    ) {
        let value = match value {
            Json::Object(members) => {
                for (name, member) in members {
                    let path = [path.clone(), vec![name.clone()]].concat();
                    flatten(member, path, format!("{place}.{name}"), membership.clone(), into);
                }
                return;
            }
            Json::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    let membership = [membership.clone(), vec![(place.clone(), index)]].concat();
                    flatten(element, path.clone(), format!("{place}[{index}]"), membership, into);
                }
                return;
            }
            Json::Null => Scalar::Null,
            Json::Bool(known) => Scalar::Bool(*known),
            Json::Number(number) => Scalar::Number(number.as_f64().unwrap()),
            Json::String(text) => Scalar::Text(text),
        };
        into.push(Leaf { path, value, membership });
    }

    fn scalar(value: Value<'static>) -> Scalar<'static> {
        match value {
            Value::Bool(known) => Scalar::Bool(known),
            Value::Int(number) => Scalar::Number(number as f64),
            Value::Float(number) => Scalar::Number(number),
            Value::Str(text) => Scalar::Text(text),
            Value::Timestamp(instant) => Scalar::Time(instant),
            Value::Bytes(_) => Scalar::Bytes,
        }
    }

    /// A rule: each path with what its value may be. `$or` is multiplied out.
    type Rule<'p> = Vec<(Vec<String>, &'p [Json])>;

    fn rules<'p>(members: &'p Json, path: &[String]) -> Vec<Rule<'p>> {
        let mut rules: Vec<Rule<'p>> = vec![Vec::new()];
        for (name, wanted) in members.as_object().unwrap() {
            let path = [path, std::slice::from_ref(name)].concat();
            let options: Vec<Rule<'p>> = match wanted {
                Json::Array(alternatives) if name == "$or" => {
                    let path = &path[..path.len() - 1];
                    alternatives.iter().flat_map(|members| self::rules(members, path)).collect()
                }
                Json::Array(matches) => vec![vec![(path, matches.as_slice())]],
                members => self::rules(members, &path),
            };
            let joined = |rule: &Rule<'p>, option: &Rule<'p>| [rule.clone(), option.clone()].concat();
            rules = rules
                .iter()
                .flat_map(|rule| options.iter().map(move |option| joined(rule, option)))
                .collect();
        }
        rules
    }

    fn is_consistent(a: &[(String, usize)], b: &[(String, usize)]) -> bool {
        a.iter().all(|(array, index)| b.iter().all(|(other, at)| array != other || index == at))
    }

    /// Every way to find some of the fields, and then whether the others are absent.
    fn matches_rule(
        rule: &[(Vec<String>, &[Json])],
        leaves: &[Leaf<'_>],
        chosen: &[(String, usize)],
        left_out: &[&[String]],
    ) -> bool {
        let Some(((path, wanted), rest)) = rule.split_first() else {
            let is_absent = |path: &&[String]| {
                !leaves.iter().any(|leaf| leaf.path == **path && is_consistent(&leaf.membership, chosen))
            };
            return left_out.iter().all(is_absent);
        };
        let may_be_absent = wanted.contains(&json!({ "exists": false }));
        let leave_out = || matches_rule(rest, leaves, chosen, &[left_out, &[path]].concat());
        if may_be_absent && leave_out() {
            return true;
        }
        leaves.iter().any(|leaf| {
            leaf.path == *path
                && is_consistent(&leaf.membership, chosen)
                && wanted.iter().any(|wanted| fits(wanted, &leaf.value))
                && matches_rule(rest, leaves, &[chosen, &leaf.membership].concat(), left_out)
        })
    }

    fn fits(wanted: &Json, value: &Scalar<'_>) -> bool {
        match (wanted, value) {
            (Json::Null, Scalar::Null) => true,
            (Json::Bool(wanted), Scalar::Bool(given)) => wanted == given,
            (Json::Number(wanted), Scalar::Number(given)) => wanted.as_f64() == Some(*given),
            (Json::String(wanted), value) => is_text(wanted, value),
            (Json::Object(members), value) => {
                let (word, given) = members.iter().next().unwrap();
                named(word, given, value)
            }
            _ => false,
        }
    }

    fn is_text(wanted: &str, value: &Scalar<'_>) -> bool {
        match value {
            Scalar::Text(given) => *given == wanted,
            Scalar::Time(instant) => Timestamp::parse_rfc3339(wanted) == Ok(*instant),
            _ => false,
        }
    }

    fn named(word: &str, given: &Json, value: &Scalar<'_>) -> bool {
        let form = match value {
            Scalar::Text(text) => Some((*text).to_owned()),
            Scalar::Time(instant) => Some(instant.to_string()),
            _ => None,
        };
        match (word, given) {
            ("exists", Json::Bool(exists)) => *exists,
            ("anything-but", refused) => !one_or_more(refused).iter().any(|refused| match refused {
                Json::Object(members) => {
                    let (word, texts) = members.iter().next().unwrap();
                    one_or_more(texts).iter().any(|text| named(word, text, value))
                }
                refused => fits(refused, value),
            }),
            ("numeric", Json::Array(parts)) => match value {
                Scalar::Number(given) => parts.chunks(2).all(|pair| {
                    let bound = pair[1].as_f64().unwrap();
                    match pair[0].as_str().unwrap() {
                        "=" => *given == bound,
                        "<" => *given < bound,
                        "<=" => *given <= bound,
                        ">" => *given > bound,
                        _ => *given >= bound,
                    }
                }),
                _ => false,
            },
            ("cidr", Json::String(network)) => match value {
                Scalar::Text(address) => is_within(network, address),
                _ => false,
            },
            ("exactly", Json::String(text)) => is_text(text, value),
            ("prefix", Json::Object(within)) => {
                let text = lower(within["equals-ignore-case"].as_str().unwrap());
                form.is_some_and(|form| lower(&form).starts_with(&text))
            }
            ("suffix", Json::Object(within)) => {
                let text = lower(within["equals-ignore-case"].as_str().unwrap());
                form.is_some_and(|form| lower(&form).ends_with(&text))
            }
            (word, Json::String(text)) => form.is_some_and(|form| match word {
                "prefix" => form.starts_with(text),
                "suffix" => form.ends_with(text),
                "equals-ignore-case" => lower(&form) == lower(text),
                _ => wildcard(&text.chars().collect::<Vec<_>>(), &form.chars().collect::<Vec<_>>()),
            }),
            other => panic!("{other:?}"),
        }
    }

    fn one_or_more(json: &Json) -> &[Json] {
        json.as_array().map_or(std::slice::from_ref(json), Vec::as_slice)
    }

    fn lower(text: &str) -> String {
        text.to_lowercase()
    }

    fn wildcard(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            (['*', rest @ ..], text) => (0..=text.len()).any(|at| wildcard(rest, &text[at..])),
            (['\\', wanted, rest @ ..] | [wanted, rest @ ..], [given, text @ ..]) => {
                wanted == given && wildcard(rest, text)
            }
            (_, []) => false,
        }
    }

    fn bits(address: &str) -> Option<String> {
        let bytes = match address.parse::<std::net::IpAddr>().ok()? {
            std::net::IpAddr::V4(address) => address.octets().to_vec(),
            std::net::IpAddr::V6(address) => address.octets().to_vec(),
        };
        Some(bytes.iter().map(|byte| format!("{byte:08b}")).collect())
    }

    fn is_within(network: &str, address: &str) -> bool {
        let (network, length) = network.split_once('/').unwrap();
        let (network, length) = (bits(network).unwrap(), length.parse::<usize>().unwrap());
        bits(address)
            .is_some_and(|address| address.len() == network.len() && address[..length] == network[..length])
    }

    pub(super) fn matches(pattern: &Json, (attributes, payload): &Event) -> bool {
        let leaf = |(name, value): &(&str, Value<'static>)| Leaf {
            path: vec![(*name).to_owned()],
            value: scalar(*value),
            membership: Vec::new(),
        };
        let mut leaves: Vec<Leaf<'_>> = attributes.iter().map(leaf).collect();
        let payload: Json = serde_json::from_str(payload).unwrap_or(Json::Object(Default::default()));
        flatten(&payload, vec!["data".to_owned()], "data".to_owned(), Vec::new(), &mut leaves);
        // The name `data` with an array is an attribute.
        leaves.retain(|leaf| leaf.path.len() > 1 || leaf.path[0] != "data");
        rules(pattern, &[]).iter().any(|rule| matches_rule(rule, &leaves, &[], &[]))
    }

    fn one_match() -> impl Strategy<Value = Json> {
        let number = || {
            prop::sample::select(vec![
                json!(1),
                json!(5),
                json!(5.0),
                json!(1.5),
                json!(-1),
                json!(0),
                json!(1e300),
            ])
        };
        let word = prop::sample::select(vec!["prefix", "suffix", "equals-ignore-case", "exactly"]);
        let folding = prop::sample::select(vec!["prefix", "suffix"]);
        let wildcard = || {
            prop::sample::select(vec![
                "*", "x*", "*x", "1*2", "*T*Z", "\\*", "x\\\\*", "i*'*", "1970*", "*\u{e9}",
            ])
        };
        let refusing = prop::sample::select(vec!["prefix", "suffix", "equals-ignore-case"]);
        let numeric = prop::sample::select(vec![
            json!(["=", 5]),
            json!(["<", 5]),
            json!(["<=", 5]),
            json!([">", 1, "<", 12]),
            json!([">=", 1.5, "<=", 5]),
            json!([">=", 1, "<=", 1]),
        ]);
        let cidr = prop::sample::select(vec![
            "10.0.0.0/8",
            "10.1.2.0/24",
            "10.1.3.0/24",
            "0.0.0.0/0",
            "10.1.2.3/32",
            "::/0",
        ]);
        prop_oneof![
            6 => text().prop_map(|text| json!(text)),
            3 => number(),
            1 => any::<bool>().prop_map(|known| json!(known)),
            1 => Just(Json::Null),
            3 => (word, text()).prop_map(|(word, text)| json!({ word: text })),
            1 => (folding, text()).prop_map(|(word, text)| json!({ word: { "equals-ignore-case": text } })),
            2 => wildcard().prop_map(|text| json!({ "wildcard": text })),
            2 => proptest::collection::vec(text(), 1..3).prop_map(|texts| json!({ "anything-but": texts })),
            1 => text().prop_map(|text| json!({ "anything-but": text })),
            1 => proptest::collection::vec(number(), 1..3).prop_map(|numbers| json!({ "anything-but": numbers })),
            1 => (refusing, proptest::collection::vec(text(), 1..3)).prop_map(|(word, texts)| json!({ "anything-but": { word: texts } })),
            1 => wildcard().prop_map(|text| json!({ "anything-but": { "wildcard": text } })),
            2 => numeric.prop_map(|range| json!({ "numeric": range })),
            2 => any::<bool>().prop_map(|exists| json!({ "exists": exists })),
            2 => cidr.prop_map(|network| json!({ "cidr": network })),
        ]
    }

    fn list() -> impl Strategy<Value = Json> {
        proptest::collection::vec(one_match(), 1..3).prop_map(Json::Array)
    }

    /// What a payload's values are often like: this is about where they stand.
    fn common() -> impl Strategy<Value = Json> {
        let matches = vec![
            json!("x"),
            json!("y"),
            json!(1),
            json!(null),
            json!({ "exists": true }),
            json!({ "exists": false }),
            json!({ "exists": false }),
            json!({ "prefix": "x" }),
            json!({ "anything-but": "x" }),
            json!({ "numeric": ["<", 5] }),
        ];
        proptest::collection::vec(prop_oneof![8 => prop::sample::select(matches), 1 => one_match()], 1..4)
            .prop_map(Json::Array)
    }

    /// Members within a payload. `$or` has names of its own, so that no object stands in two places.
    fn within() -> impl Strategy<Value = Json> {
        let names = |names: &[&'static str]| prop::sample::select(names.to_vec());
        let leaf =
            proptest::collection::btree_map(names(&["p", "q"]), common(), 1..3).prop_map(|all| json!(all));
        leaf.prop_recursive(2, 8, 2, move |inner| {
            let own = proptest::collection::btree_map(
                names(&["p", "q"]),
                prop_oneof![common(), inner.clone()],
                0..3,
            );
            let other =
                proptest::collection::btree_map(names(&["r", "s"]), prop_oneof![common(), inner], 1..3);
            let choice = proptest::option::weighted(
                0.3,
                proptest::collection::vec(other.prop_map(|all| json!(all)), 2..3),
            );
            (own, choice).prop_filter_map("no member", |(own, choice)| joined(json!(own), choice))
        })
    }

    fn joined(mut own: Json, choice: Option<Vec<Json>>) -> Option<Json> {
        if let Some(choice) = choice {
            own.as_object_mut()?.insert("$or".to_owned(), Json::Array(choice));
        }
        (!own.as_object()?.is_empty()).then_some(own)
    }

    pub(super) fn pattern() -> impl Strategy<Value = Json> {
        let names = || prop::sample::select(NAMES.to_vec());
        let attributes = || proptest::collection::btree_map(names(), list(), 0..3).prop_map(|all| json!(all));
        let with_payload = |members: Json, payload: Option<Json>| {
            let mut members = members;
            if let Some(payload) = payload {
                members.as_object_mut()?.insert("data".to_owned(), payload);
            }
            (!members.as_object()?.is_empty()).then_some(members)
        };
        // What `$or` asks of the payload has names of its own as well.
        let other = within().prop_map(|members| json!({ "other": members }));
        let alternative = (attributes(), proptest::option::weighted(0.3, other))
            .prop_filter_map("no member", move |(members, payload)| with_payload(members, payload));
        let choice = proptest::option::weighted(0.4, proptest::collection::vec(alternative, 2..3));
        let own = (attributes(), proptest::option::weighted(0.6, within()));
        (own, choice).prop_filter_map("no member", move |((members, payload), choice)| {
            joined(with_payload(members, payload).unwrap_or(json!({})), choice)
        })
    }

    /// Payloads alone, of which the half match.
    pub(super) fn payload_pattern() -> impl Strategy<Value = Json> {
        within().prop_map(|members| json!({ "data": members }))
    }

    pub(super) fn payload() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            6 => prop::sample::select(vec![json!("x"), json!("y"), json!("xy"), json!(1), json!(null)]),
            1 => text().prop_map(|text| json!(text)),
            1 => any::<bool>().prop_map(|known| json!(known)),
        ];
        let value = leaf.prop_recursive(4, 16, 3, |inner| {
            let names = prop::sample::select(vec!["p", "q", "r", "s"]);
            let object =
                proptest::collection::btree_map(names, inner.clone(), 0..5).prop_map(|all| json!(all));
            prop_oneof![
                1 => proptest::collection::vec(inner, 0..3).prop_map(Json::Array),
                1 => proptest::collection::vec(object.clone(), 1..4).prop_map(Json::Array),
                1 => object,
            ]
        });
        let names = prop::sample::select(vec!["p", "q", "r", "s", "other"]);
        let object = proptest::collection::btree_map(names, value.clone(), 2..6)
            .prop_map(|all| json!(all).to_string());
        prop_oneof![12 => object, 1 => value.prop_map(|json| json.to_string()), 1 => Just("no JSON".to_owned())]
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn a_cloudevents_filter_says_what_the_document_says(
        filter in cloudevents::filter(),
        events in proptest::collection::vec(attributes(), 4),
    ) {
        let parsed = parse(&filter.to_string());
        let embedded = parse(&format!("CLOUDEVENTS('{}')", escaped(&filter)));
        for attributes in events {
            let event = (attributes, String::new());
            let expected = cloudevents::passes(&filter, &event);
            prop_assert_eq!(truth(&parsed, &event).is_true(), expected, "{} as {}", filter, parsed);
            prop_assert_eq!(truth(&embedded, &event), Truth::from(expected), "{}", embedded);
        }
    }

    #[test]
    fn an_eventbridge_pattern_says_what_the_document_says(
        pattern in prop_oneof![eventbridge::pattern(), eventbridge::payload_pattern()],
        events in proptest::collection::vec((attributes(), eventbridge::payload()), 4),
    ) {
        let parsed = parse(&pattern.to_string());
        let embedded = parse(&format!("EVENTBRIDGE('{}')", escaped(&pattern)));
        for event in events {
            let expected = eventbridge::matches(&pattern, &event);
            prop_assert_eq!(truth(&parsed, &event).is_true(), expected, "{} as {}, {}", pattern, parsed, event.1);
            prop_assert_eq!(truth(&embedded, &event), Truth::from(expected), "{}, {}", embedded, event.1);
        }
    }
}

fn escaped(json: &Json) -> String {
    json.to_string().replace('\\', "\\\\").replace('\'', "\\'")
}

#[test]
fn what_the_language_can_say_is_said_in_it() {
    let cases = [
        (json!({ "exact": { "type": "com.github.push" } }), "type = 'com.github.push'"),
        (json!([{ "prefix": { "type": "com.github." } }]), "type LIKE 'com.github.%'"),
        (
            json!({ "suffix": { "subject": ".png", "type": "100%" } }),
            r"subject LIKE '%.png' AND type LIKE '%100\%'",
        ),
        (json!({ "exact": { "n": "5" } }), "n IN (5, '5')"),
        (json!({ "exact": { "n": "true" } }), "n IN (TRUE, 'true')"),
        (
            json!({ "exact": { "time": "1970-01-01T01:00:00+01:00" } }),
            "time = TIMESTAMP('1970-01-01T00:00:00Z')",
        ),
        (json!({ "exact": { "time": "noon" } }), "FALSE"),
        (json!({ "prefix": { "n": "12" } }), r#"CLOUDEVENTS('{"prefix":{"n":"12"}}')"#),
        (json!({ "suffix": { "n": "0Z" } }), r#"CLOUDEVENTS('{"suffix":{"n":"0Z"}}')"#),
        (json!({ "prefix": { "n": "tr" } }), r#"CLOUDEVENTS('{"prefix":{"n":"tr"}}')"#),
        (json!({ "prefix": { "topic": "12" } }), "topic LIKE '12%'"),
        (json!({ "exact": { "odd-name": "x" } }), r#"CLOUDEVENTS('{"exact":{"odd-name":"x"}}')"#),
        (
            json!({ "any": [{ "not": { "exact": { "a": "x" } } }, { "sql": "int(hop) < 5" }] }),
            "(a = 'x') IS NOT TRUE OR CESQL('INT(hop) < 5')",
        ),
        (
            json!([{ "all": [{ "exact": { "a": "x" } }, { "any": [{ "exact": { "b": "y" } }, { "exact": { "c": "z" } }] }] }]),
            "a = 'x' AND (b = 'y' OR c = 'z')",
        ),
        (json!({ "source": ["aws.ec2", "aws.s3"] }), "source = 'aws.ec2' OR source = 'aws.s3'"),
        (json!({ "n": [{ "numeric": [">", 0, "<=", 5] }] }), "n > 0 AND n <= 5"),
        (json!({ "n": [5, true, null] }), "n = 5 OR n = TRUE OR FALSE"),
        (json!({ "a": [{ "wildcard": "a*_\\*" }] }), r"a LIKE 'a%\_*'"),
        (json!({ "a": [{ "exists": true }], "b": [{ "exists": false }] }), "a IS NOT NULL AND b IS NULL"),
        (
            json!({ "a": [{ "anything-but": ["x", "y"] }] }),
            "a IS NOT NULL AND (a = 'x' OR a = 'y') IS NOT TRUE",
        ),
        (
            json!({ "region": ["eu"], "detail": { "state": ["running"], "ip": [{ "cidr": "10.0.0.0/8" }] } }),
            r#"region = 'eu' AND EVENTBRIDGE('{"data":{"ip":[{"cidr":"10.0.0.0/8"}],"state":["running"]}}')"#,
        ),
        (
            json!({ "a": ["x"], "$or": [{ "b": ["y"] }, { "c": ["z"], "d": [1] }] }),
            "a = 'x' AND (b = 'y' OR (c = 'z' AND d = 1))",
        ),
        (json!({ "detail-type": ["x"] }), r#"EVENTBRIDGE('{"detail-type":["x"]}')"#),
    ];
    for (json, expected) in cases {
        let filter = parse(&format!(" {json}"));
        assert_eq!(filter.as_str(), expected, "{json}");
        assert_eq!(filter, Filter::parse(expected).unwrap());
    }
}

/// The sample event and the rules of event-ruler's README.
#[test]
fn the_examples_of_event_ruler_match_its_example() {
    let event: Event = (
        vec![
            ("id", Value::Str("ddddd4-aaaa-7777-4444-345dd43cc333")),
            ("detail-type", Value::Str("EC2 Instance State-change Notification")),
            ("source", Value::Str("aws.ec2")),
            ("time", time(1_506_961_489)),
        ],
        json!({
            "c-count": 5, "d-count": 3, "x-limit": 301.8, "source-ip": "10.0.0.33",
            "instance-id": "i-000000aaaaaa00000", "state": "running",
            "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-000000aaaaaa00000"],
        })
        .to_string(),
    );
    let matching = [
        json!({
            "detail-type": ["EC2 Instance State-change Notification"],
            "detail": {
                "state": ["initializing", "running"],
                "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-000000aaaaaa00000"],
            },
        }),
        json!({ "time": [{ "prefix": "2017-10-02" }] }),
        json!({ "source": [{ "suffix": { "equals-ignore-case": "EC2" } }] }),
        json!({ "source": [{ "wildcard": "aws*2" }] }),
        json!({ "detail": { "state": [{ "anything-but": "initializing" }], "x-limit": [{ "anything-but": [100, 200, 300] }] } }),
        json!({ "detail": { "state": [{ "anything-but": { "equals-ignore-case": ["Stopped", "OverLoaded"] } }] } }),
        json!({ "detail": {
            "c-count": [{ "numeric": [">", 0, "<=", 5] }],
            "d-count": [{ "numeric": ["<", 10] }],
            "x-limit": [{ "numeric": ["=", 3.018e2] }],
            "source-ip": [{ "cidr": "10.0.0.0/24" }],
        } }),
        json!({ "detail": { "c-count": [{ "exists": true }], "e-count": [{ "exists": false }] } }),
    ];
    for pattern in &matching {
        assert_eq!(truth(&parse(&pattern.to_string()), &event), Truth::True, "{pattern}");
    }
    let others = [
        json!({ "detail": { "state": [{ "anything-but": { "prefix": "run" } }] } }),
        json!({ "detail": { "c-count": [{ "exists": false }] } }),
        json!({ "detail": { "source-ip": [{ "cidr": "10.0.1.0/24" }] } }),
        json!({ "detail": { "e-count": [{ "anything-but": 1 }] } }),
        json!({ "time": [{ "prefix": "2017-10-03" }] }),
    ];
    for pattern in &others {
        assert!(!truth(&parse(&pattern.to_string()), &event).is_true(), "{pattern}");
    }
}

#[test]
fn the_members_of_one_object_are_found_in_one_element() {
    let matches = |pattern: Json, payload: Json| {
        truth(&parse(&json!({ "data": pattern }).to_string()), &(Vec::new(), payload.to_string())).is_true()
    };
    let items = json!({ "items": [{ "sku": "a", "count": 1 }, { "sku": "b", "count": 2 }] });
    assert!(matches(json!({ "items": { "sku": ["b"], "count": [2] } }), items.clone()));
    assert!(!matches(json!({ "items": { "sku": ["a"], "count": [2] } }), items.clone()));
    // Absent beside what was found, but not if nothing was.
    let some = json!({ "items": [{ "sku": "a" }, { "sku": "b", "count": 2 }] });
    assert!(matches(json!({ "items": { "sku": ["a"], "count": [{ "exists": false }] } }), some.clone()));
    assert!(!matches(json!({ "items": { "sku": ["b"], "count": [{ "exists": false }] } }), some.clone()));
    assert!(!matches(json!({ "items": { "count": [{ "exists": false }] } }), some));
    assert!(matches(json!({ "items": { "price": [{ "exists": false }] } }), items));
    assert!(matches(json!({ "tags": ["y"] }), json!({ "tags": ["x", ["y"]] })));
    assert!(matches(json!({ "tags": [{ "anything-but": "x" }] }), json!({ "tags": ["x", "y"] })));
    assert!(
        matches(json!({ "a": [null] }), json!({ "a": null })) && !matches(json!({ "a": [null] }), json!({}))
    );
    assert!(!matches(json!({ "a": [{ "exists": true }] }), json!({ "a": { "b": 1 } })));
}

#[test]
fn what_cannot_be_is_refused_at_its_place() {
    let cases = [
        (r#"{"exact": {"a": 5}}"#, 17),
        (r#"{"exact": {"a": ""}}"#, 17),
        (r#"{"exact": {}}"#, 11),
        (r#"{"exact": {"": "x"}}"#, 12),
        (r#"{"exact": {"a": "x"}, "prefix": {"a": "x"}}"#, 23),
        (r#"{"all": []}"#, 9),
        (r#"[]"#, 1),
        (r#"[{"exakt": {"a": "x"}}]"#, 3),
        (r#"{"not": [{"exact": {"a": "x"}}]}"#, 9),
        (r#"{"sql": "int(a) <\u0020 'x"}"#, 25),
        (r#"{"sql": "FOO(a)"}"#, 10),
        (r#"{"a": "x"}"#, 7),
        (r#"{"a": []}"#, 7),
        (r#"{}"#, 1),
        (r#"{"a": {"b": ["x"]}}"#, 7),
        (r#"{"data": {}}"#, 10),
        (r#"{"data": {"a": ["x"]}, "detail": {"a": ["x"]}}"#, 24),
        (r#"{"a": [{"prefx": "x"}]}"#, 9),
        (r#"{"a": [{"prefix": "x", "suffix": "y"}]}"#, 24),
        (r#"{"a": [{"prefix": 5}]}"#, 19),
        (r#"{"a": [["x"]]}"#, 8),
        (r#"{"a": [{"wildcard": "a**b"}]}"#, 21),
        (r#"{"a": [{"wildcard": "a\\b"}]}"#, 21),
        (r#"{"a": [{"numeric": [">", "x"]}]}"#, 26),
        (r#"{"a": [{"numeric": [">"]}]}"#, 20),
        (r#"{"a": [{"numeric": []}]}"#, 20),
        (r#"{"a": [{"numeric": ["=", 1, "<", 5]}]}"#, 29),
        (r#"{"a": [{"numeric": ["<", 5, ">", 1]}]}"#, 29),
        (r#"{"a": [{"numeric": [">", 5, "<", 1]}]}"#, 20),
        (r#"{"a": [{"exists": "yes"}]}"#, 19),
        (r#"{"a": [{"cidr": "10.0.0.0/33"}]}"#, 17),
        (r#"{"a": [{"cidr": "10.0.0.0/+8"}]}"#, 17),
        (r#"{"a": [{"anything-but": [1, "x"]}]}"#, 25),
        (r#"{"a": [{"anything-but": {"prefix": ""}}]}"#, 36),
        (r#"{"$or": [{"a": ["x"]}]}"#, 9),
        (r#"{"$or": [{"prefix": ["x"]}, {"a": ["x"]}]}"#, 11),
        (r#"{"a": ["x"], "a": ["y"]}"#, 14),
        (r#"{"a": ["x"]"#, 12),
        (r#"{"a": ["x"]} AND b"#, 14),
    ];
    for (text, column) in cases {
        let error = Filter::parse(text).err().unwrap_or_else(|| panic!("{text} was read"));
        assert_eq!((error.line, error.column), (1, column), "{text}: {error}");
    }
}

#[test]
fn a_refusal_says_what_may_be_meant() {
    let message = |text: &str| Filter::parse(text).unwrap_err().reason.to_string();
    assert_eq!(
        message(r#"{"a": [{"prefx": "x"}]}"#),
        "an EventBridge pattern has no `prefx`, did you mean prefix?"
    );
    assert_eq!(
        message(r#"[{"exat": {"a": "x"}}]"#),
        "a CloudEvents filter has no `exat`, did you mean exact?"
    );
    assert!(message("EVENTBRIGE('{}')").ends_with("did you mean EVENTBRIDGE?"));
}

#[test]
fn a_text_that_both_dialects_read_is_refused() {
    let text = r#"{"any": [{"prefix": {"equals-ignore-case": "x"}}]}"#;
    assert_eq!(Filter::parse(text).unwrap_err().reason, FilterErrorReason::AmbiguousDialect);
    assert!(parse(&format!("[{text}]")).as_str().starts_with("CLOUDEVENTS("));
    assert!(parse(&format!("EVENTBRIDGE('{text}')")).as_str().starts_with("EVENTBRIDGE("));
}

#[test]
fn a_mistake_within_an_embedded_condition_has_its_place() {
    let column = |text: &str| Filter::parse(text).unwrap_err().column;
    assert_eq!(column(r#"a = 1 AND EVENTBRIDGE('{"it\'s": ["x", {"prefx": 1}]}')"#), 41);
    assert_eq!(column("CESQL('a = \\'x\\' AND')"), 21);
    assert_eq!(column("CESQL(a)"), 7);
    assert_eq!(column("CLOUDEVENTS('{}', 1)"), 14);
    assert_eq!(column("CLOUDEVENTS('[]"), 13);
}

/// What a hostile pattern asks of a hostile payload ends.
#[test]
fn the_work_of_a_pattern_is_bounded() {
    let payload = json!({ "a": vec![vec![json!({ "b": "x".repeat(64) }); 100]; 100] }).to_string();
    let wanted: Vec<Json> = (0..400).map(|n| json!({ "wildcard": format!("*{n}*y") })).collect();
    let pattern = parse(&json!({ "data": { "a": { "b": wanted } } }).to_string());
    let began = std::time::Instant::now();
    assert_eq!(truth(&pattern, &(Vec::new(), payload)), Truth::Unknown);
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

/// What was too much to find out is neither so nor not so: its negation matched.
#[test]
fn a_pattern_that_would_take_too_much_work_matches_neither_way() {
    let mut wanted: Vec<Json> = (0..5).map(|n| json!({ "wildcard": format!("*x{n}") })).collect();
    wanted.push(json!({ "prefix": "a" }));
    let pattern = json!({ "data": { "s": wanted } }).to_string();
    let condition = format!("EVENTBRIDGE('{pattern}')");
    for (count, expected) in [(3, Truth::True), (1 << 20, Truth::Unknown)] {
        let event = (Vec::new(), json!({ "s": "a".repeat(count) }).to_string());
        assert_eq!(truth(&parse(&condition), &event), expected, "{count}");
        assert_eq!(truth(&parse(&format!("NOT {condition}")), &event), !expected, "{count}");
    }
}

#[test]
fn within_anything_but_the_words_are_named_that_may_stand_there() {
    let message = |text: &str| Filter::parse(text).unwrap_err().to_string();
    let refused = message(r#"{"a": [{"anything-but": {"numeric": [">", 1]}}]}"#);
    assert!(refused.contains("`equals-ignore-case` or `wildcard` within `anything-but`"), "{refused}");
    assert!(!refused.contains("did you mean"), "{refused}");
    let refused = message(r#"{"a": [{"anything-but": {"sufix": "x"}}]}"#);
    assert!(refused.contains("has no `sufix`, did you mean suffix?"), "{refused}");
}

#[test]
fn is_true_and_is_false_are_never_unknown() {
    let event = [("yes", Value::Bool(true)), ("no", Value::Bool(false)), ("n", Value::Int(1))];
    let says = |text: &str| parse(text).evaluate(&event);
    for (text, expected) in [
        ("yes IS TRUE", true),
        ("no IS TRUE", false),
        ("none IS TRUE", false),
        ("none IS NOT TRUE", true),
        ("none IS FALSE", false),
        ("none IS NOT FALSE", true),
        ("no IS FALSE", true),
        ("(n = 'x') IS NOT TRUE", true),
        ("(n = 1 AND yes) IS NOT FALSE", true),
    ] {
        assert_eq!(says(text), Truth::from(expected), "{text}");
    }
    assert!(Filter::parse("NOT yes IS TRUE").is_err());
    assert!(Filter::parse("1 IS TRUE").is_err() && Filter::parse("id IS TRUE").is_err());
}

/// A payload is looked at through the event alone: an event that has none has nothing.
#[test]
fn an_event_without_payload_has_nothing_in_it() {
    let event = [("data", Value::Str("x"))];
    assert!(Attributes::payload(&event).is_none());
    assert_eq!(Attributes::data(&event, &Path::parse("data.x").unwrap()), None);
    assert!(parse(r#"{"data": ["x"]}"#).evaluate(&event).is_true());
    assert!(parse(r#"{"data": {"x": [{"exists": false}]}}"#).evaluate(&event).is_true());
}
