//! Random arithmetic, functions, durations and paths against a second, naive reading of them: its
//! own syntax tree, its own printer in many spellings, its own evaluation in wide integers and
//! vectors of characters. And conditions in every order, which must not matter.

use std::cmp::Ordering;

use fanal_matching::json::JsonPayload;
use fanal_matching::value::Duration;
use fanal_matching::{Filter, FilterErrorReason, Timestamp, Truth, Value};
use proptest::prelude::*;

type Json = serde_json::Value;

#[derive(Clone, Debug)]
enum Expr {
    Int(i64),
    Float(f64),
    Str(&'static str),
    Bool(bool),
    Time(i64),
    /// In nanoseconds.
    Length(i64),
    Name(&'static str),
    /// Members of the payload's object, then of theirs.
    Path(&'static [&'static str]),
    Minus(Box<Expr>),
    Arithmetic(Box<Expr>, char, Box<Expr>),
    Call(&'static str, Vec<Expr>),
    Condition(Box<Cond>),
}

#[derive(Clone, Debug)]
enum Cond {
    Bare(Expr),
    Exists(Expr),
    IsNull(Expr, bool),
    Not(Box<Cond>),
    Compare(Expr, &'static str, Expr),
    Between(Expr, Expr, Expr, bool),
    In(Expr, Vec<Expr>, bool),
    Chain(&'static str, Vec<Cond>),
}

/// What an expression gives.
#[derive(Clone, Debug, PartialEq)]
enum Given {
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(String),
    Bytes,
    /// In nanoseconds since the epoch.
    Time(i128),
    Length(i128),
}

const NAMES: [&str; 4] = ["a", "b", "time", "source"];
const PATHS: [&[&str]; 5] = [&["p"], &["q", "r"], &["q", "odd key"], &["l", "0"], &["gone", "x"]];
const TEXTS: [&str; 12] =
    ["", "x", "Straße", "5", "-7", "2.5", "1e3", "TRUE", "2024-05-01T00:00:00Z", "1h30m", " y ", "日本"];
const INTS: [i64; 9] = [0, 1, -1, 2, 7, -90, i64::MIN, i64::MAX, (1 << 53) + 1];
const FLOATS: [f64; 7] = [0.0, 0.5, -2.5, 7.0, 1e300, 9_007_199_254_740_992.0, 1e-9];
const LENGTHS: [i64; 6] = [0, 1, -1_500_000_000, 60_000_000_000, 90_000_000_000, i64::MAX];
const NANOS: i128 = 1_000_000_000;
const TIME_FIRST: i128 = -62_167_219_200 * NANOS;
const TIME_END: i128 = 253_402_300_800 * NANOS;

mod generate {
    use super::*;

    fn named() -> impl Strategy<Value = Expr> {
        prop_oneof![
            4 => prop::sample::select(&NAMES[..2]).prop_map(Expr::Name),
            1 => prop::sample::select(&PATHS[..]).prop_map(Expr::Path),
        ]
    }

    fn call(name: &'static str, arguments: Vec<Expr>) -> Expr {
        Expr::Call(name, arguments)
    }

    fn arithmetic(left: Expr, operator: char, right: Expr) -> Expr {
        Expr::Arithmetic(Box::new(left), operator, Box::new(right))
    }

    /// Expressions that may be of the wanted type.
    struct Typed {
        number: BoxedStrategy<Expr>,
        text: BoxedStrategy<Expr>,
        time: BoxedStrategy<Expr>,
        length: BoxedStrategy<Expr>,
    }

    fn leaves() -> Typed {
        let ints = prop::sample::select(&INTS[..]).prop_map(Expr::Int);
        let floats = prop::sample::select(&FLOATS[..]).prop_map(Expr::Float);
        let texts = prop::sample::select(&TEXTS[..]).prop_map(Expr::Str);
        let times = prop_oneof![Just(Expr::Name("time")), (0..3_i64).prop_map(Expr::Time)];
        let lengths = prop::sample::select(&LENGTHS[..]).prop_map(Expr::Length);
        let name = prop::sample::select(&NAMES[..2]).prop_map(Expr::Name);
        Typed {
            number: prop_oneof![3 => ints, 2 => floats, 4 => named()].boxed(),
            text: prop_oneof![3 => texts, 3 => named(), 1 => Just(Expr::Name("source"))].boxed(),
            time: prop_oneof![3 => times, 2 => name].boxed(),
            length: lengths.boxed(),
        }
    }

    fn above(inner: &Typed) -> Typed {
        let Typed { number, text, time, length } = inner;
        let (n, s, t, l) = (|| number.clone(), || text.clone(), || time.clone(), || length.clone());
        let operator = || prop::sample::select(vec!['+', '-', '*', '/', '%']);
        let sign = || prop::sample::select(vec!['+', '-']);
        let any = || prop_oneof![n(), s(), t(), l()];
        Typed {
            number: prop_oneof![
                3 => n(),
                6 => (n(), operator(), n()).prop_map(|(a, o, b)| arithmetic(a, o, b)),
                1 => n().prop_map(|a| Expr::Minus(Box::new(a))),
                1 => n().prop_map(|a| call("ABS", vec![a])),
                1 => s().prop_map(|a| call("LENGTH", vec![a])),
                1 => prop_oneof![n(), s()].prop_map(|a| call("INT", vec![a])),
                1 => prop_oneof![n(), s()].prop_map(|a| call("FLOAT", vec![a])),
                1 => (l(), l()).prop_map(|(a, b)| arithmetic(a, '/', b)),
            ]
            .boxed(),
            text: prop_oneof![
                3 => s(),
                1 => (prop::sample::select(vec!["LOWER", "UPPER", "TRIM"]), s())
                    .prop_map(|(name, a)| call(name, vec![a])),
                1 => (prop::sample::select(vec!["LEFT", "RIGHT", "SUBSTRING"]), s(), n())
                    .prop_map(|(name, a, b)| call(name, vec![a, b])),
                1 => (s(), n(), n()).prop_map(|(a, b, c)| call("SUBSTRING", vec![a, b, c])),
                1 => proptest::collection::vec(s(), 0..4).prop_map(|all| call("CONCAT", all)),
                1 => proptest::collection::vec(s(), 1..4).prop_map(|all| call("CONCAT_WS", all)),
                1 => any().prop_map(|a| call("STRING", vec![a])),
            ]
            .boxed(),
            time: prop_oneof![
                3 => t(),
                2 => (t(), sign(), l()).prop_map(|(a, o, b)| arithmetic(a, o, b)),
                1 => (l(), t()).prop_map(|(a, b)| arithmetic(a, '+', b)),
                1 => s().prop_map(|a| call("TIMESTAMP", vec![a])),
            ]
            .boxed(),
            length: prop_oneof![
                2 => l(),
                3 => (t(), t()).prop_map(|(a, b)| arithmetic(a, '-', b)),
                2 => (l(), prop::sample::select(vec!['+', '-', '%']), l())
                    .prop_map(|(a, o, b)| arithmetic(a, o, b)),
                2 => (l(), prop::sample::select(vec!['*', '/']), n()).prop_map(|(a, o, b)| arithmetic(a, o, b)),
                1 => (n(), l()).prop_map(|(a, b)| arithmetic(a, '*', b)),
                1 => l().prop_map(|a| Expr::Minus(Box::new(a))),
                1 => l().prop_map(|a| call("ABS", vec![a])),
                1 => s().prop_map(|a| call("DURATION", vec![a])),
            ]
            .boxed(),
        }
    }

    pub(super) fn condition() -> impl Strategy<Value = Cond> {
        let typed = above(&above(&leaves()));
        let every = prop_oneof![
            4 => typed.number.clone(),
            2 => typed.text.clone(),
            1 => typed.time.clone(),
            1 => typed.length.clone()
        ]
        .boxed();
        let comparison = prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]);
        let pair = prop_oneof![
            4 => (typed.number.clone(), typed.number.clone()),
            2 => (typed.text.clone(), typed.text.clone()),
            2 => (typed.time.clone(), typed.time.clone()),
            2 => (typed.length.clone(), typed.length.clone()),
        ]
        .boxed();
        let tests = vec!["IS_INT", "IS_FLOAT", "IS_BOOL", "IS_TIMESTAMP", "IS_DURATION"];
        let leaf = prop_oneof![
            6 => (pair.clone(), comparison).prop_map(|((a, b), c)| Cond::Compare(a, c, b)),
            2 => (pair.clone(), pair, any::<bool>())
                .prop_map(|((low, value), (_, high), not)| Cond::Between(value, low, high, not)),
            1 => (typed.number, any::<bool>())
                .prop_map(|(value, not)| Cond::In(value, vec![Expr::Int(1), Expr::Float(2.5)], not)),
            1 => (typed.text.clone(), any::<bool>())
                .prop_map(|(value, not)| Cond::In(value, vec![Expr::Str("x"), Expr::Str("5")], not)),
            1 => (prop::sample::select(tests), every.clone())
                .prop_map(|(name, value)| Cond::Bare(call(name, vec![value]))),
            1 => prop_oneof![named(), typed.text].prop_map(|value| Cond::Bare(call("BOOL", vec![value]))),
            1 => named().prop_map(Cond::Bare),
            1 => named().prop_map(Cond::Exists),
            1 => (named(), any::<bool>()).prop_map(|(name, not)| Cond::IsNull(name, not)),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let chain = proptest::collection::vec(inner.clone(), 2..4);
            prop_oneof![
                3 => (prop::sample::select(vec!["AND", "OR", "XOR"]), chain)
                    .prop_map(|(connective, all)| Cond::Chain(connective, all)),
                1 => inner.clone().prop_map(|inner| Cond::Not(Box::new(inner))),
                1 => (inner, any::<bool>()).prop_map(|(inner, known)| {
                    Cond::Compare(Expr::Condition(Box::new(inner)), "=", Expr::Bool(known))
                }),
            ]
        })
    }

    fn value() -> impl Strategy<Value = Value<'static>> {
        let odd = vec![f64::NAN, f64::INFINITY, -0.0];
        prop_oneof![
            4 => prop::sample::select(&INTS[..]).prop_map(Value::Int),
            4 => prop::sample::select(&FLOATS[..]).prop_map(Value::Float),
            1 => prop::sample::select(odd).prop_map(Value::Float),
            4 => prop::sample::select(&TEXTS[..]).prop_map(Value::Str),
            1 => any::<bool>().prop_map(Value::Bool),
            2 => (0..3_i64).prop_map(|seconds| Value::Timestamp(Timestamp { seconds, nanos: 5 })),
            1 => Just(Value::Bytes(b"x")),
        ]
    }

    fn json() -> impl Strategy<Value = Json> {
        prop_oneof![
            prop::sample::select(&INTS[..]).prop_map(Json::from),
            prop::sample::select(&FLOATS[..]).prop_map(Json::from),
            prop::sample::select(&TEXTS[..]).prop_map(Json::from),
            any::<bool>().prop_map(Json::from),
            Just(Json::Null),
            Just(serde_json::json!([])),
        ]
    }

    pub(super) fn event() -> impl Strategy<Value = Event> {
        let maybe = |value| proptest::option::weighted(0.85, value);
        let payload = (json(), json(), json(), json(), any::<bool>()).prop_map(|(p, r, odd, l, is_json)| {
            is_json.then(|| serde_json::json!({"p": p, "q": {"r": r, "odd key": odd}, "l": [l]}))
        });
        (maybe(value().boxed()), maybe(value().boxed()), 0..3_i64, payload).prop_map(
            |(a, b, seconds, payload)| {
                let time = Value::Timestamp(Timestamp { seconds, nanos: 0 });
                let known = [("a", a), ("b", b), ("time", Some(time)), ("source", Some(Value::Str("x")))];
                let attributes = known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
                let text = payload.as_ref().map_or_else(|| "no JSON".to_owned(), Json::to_string);
                Event { attributes, payload: payload.unwrap_or(Json::Null), text }
            },
        )
    }
}

#[derive(Clone, Debug)]
struct Event {
    attributes: Vec<(&'static str, Value<'static>)>,
    payload: Json,
    text: String,
}

impl Event {
    fn evaluate(&self, filter: &Filter) -> Truth {
        filter.evaluate(&(&self.attributes, JsonPayload::new(self.text.as_bytes())))
    }
}

/// The naive evaluation: every operand each time, numbers in i128, texts as characters.
mod naive {
    use super::*;

    pub(super) fn truth(cond: &Cond, event: &Event) -> Truth {
        match cond {
            Cond::Bare(expr) => match give(expr, event) {
                Some(Given::Bool(known)) => known.into(),
                _ => Truth::Unknown,
            },
            Cond::Exists(expr) => give(expr, event).is_some().into(),
            Cond::IsNull(expr, not) => (give(expr, event).is_none() != *not).into(),
            Cond::Not(inner) => !truth(inner, event),
            Cond::Compare(left, operator, right) => compare(give(left, event), operator, give(right, event)),
            Cond::Between(value, low, high, not) => {
                let value = give(value, event);
                let above = compare(value.clone(), ">=", give(low, event));
                let below = compare(value, "<=", give(high, event));
                negate(join("AND", above, below), *not)
            }
            Cond::In(value, list, not) => {
                let value = give(value, event);
                let equal = list.iter().map(|one| compare(value.clone(), "=", give(one, event)));
                negate(equal.reduce(|a, b| join("OR", a, b)).expect("not empty"), *not)
            }
            Cond::Chain(connective, all) => {
                let all = all.iter().map(|one| truth(one, event));
                all.reduce(|a, b| join(connective, a, b)).expect("two or more")
            }
        }
    }

    fn negate(truth: Truth, not: bool) -> Truth {
        if not { !truth } else { truth }
    }

    fn join(connective: &str, a: Truth, b: Truth) -> Truth {
        let decisive = match connective {
            "AND" => Truth::False,
            "OR" => Truth::True,
            _ if a == Truth::Unknown || b == Truth::Unknown => return Truth::Unknown,
            _ => return (a != b).into(),
        };
        match (a, b) {
            _ if a == decisive || b == decisive => decisive,
            (Truth::Unknown, _) | (_, Truth::Unknown) => Truth::Unknown,
            _ => !decisive,
        }
    }

    fn compare(left: Option<Given>, operator: &str, right: Option<Given>) -> Truth {
        let (Some(left), Some(right)) = (left, right) else { return Truth::Unknown };
        let ordered = !matches!(operator, "=" | "!=");
        let order = match (&left, &right) {
            (Given::Bool(a), Given::Bool(b)) if !ordered => Some(a.cmp(b)),
            (Given::Str(a), Given::Str(b)) => Some(a.cmp(b)),
            (Given::Time(a), Given::Time(b)) | (Given::Length(a), Given::Length(b)) => Some(a.cmp(b)),
            _ => number(&left).zip(number(&right)).and_then(|(a, b)| a.partial_cmp(&b)),
        };
        let Some(order) = order else { return Truth::Unknown };
        Truth::from(match operator {
            "=" => order == Ordering::Equal,
            "!=" => order != Ordering::Equal,
            "<" => order == Ordering::Less,
            "<=" => order != Ordering::Greater,
            ">" => order == Ordering::Greater,
            _ => order != Ordering::Less,
        })
    }

    /// A number as (how infinite, whole part, fraction), which compares lexicographically.
    fn number(given: &Given) -> Option<(f64, i128, f64)> {
        match given {
            Given::Int(number) => Some((0.0, *number, 0.0)),
            Given::Float(number) if number.is_nan() => None,
            Given::Float(number) if number.abs() > 1e30 => Some((*number, 0, 0.0)),
            Given::Float(number) => Some((0.0, number.floor() as i128, number - number.floor())),
            _ => None,
        }
    }

    pub(super) fn give(expr: &Expr, event: &Event) -> Option<Given> {
        match expr {
            Expr::Int(number) => Some(Given::Int((*number).into())),
            Expr::Float(number) => Some(Given::Float(*number)),
            Expr::Str(text) => Some(Given::Str((*text).to_owned())),
            Expr::Bool(known) => Some(Given::Bool(*known)),
            Expr::Time(seconds) => Some(Given::Time(i128::from(*seconds) * NANOS)),
            Expr::Length(nanos) => Some(Given::Length((*nanos).into())),
            Expr::Name(name) => {
                let (_, value) = event.attributes.iter().find(|(known, _)| known == name)?;
                Some(of_value(*value))
            }
            Expr::Path(path) => of_json(path.iter().try_fold(&event.payload, |json, member| match json {
                Json::Array(items) => items.get(member.parse::<usize>().ok()?),
                json => json.get(member),
            })?),
            Expr::Minus(inner) => match give(inner, event)? {
                Given::Int(number) => int(-number),
                Given::Float(number) => float(-number),
                Given::Length(nanos) => length(-nanos),
                _ => None,
            },
            Expr::Arithmetic(left, operator, right) => {
                arithmetic(give(left, event)?, *operator, give(right, event)?)
            }
            Expr::Call(name, arguments) => {
                let arguments: Option<Vec<Given>> = arguments.iter().map(|one| give(one, event)).collect();
                call(name, &arguments?)
            }
            Expr::Condition(cond) => match truth(cond, event) {
                Truth::Unknown => None,
                known => Some(Given::Bool(known.is_true())),
            },
        }
    }

    fn of_value(value: Value<'_>) -> Given {
        match value {
            Value::Bool(known) => Given::Bool(known),
            Value::Int(number) => Given::Int(number.into()),
            Value::Float(number) => Given::Float(number),
            Value::Str(text) => Given::Str(text.to_owned()),
            Value::Bytes(_) => Given::Bytes,
            Value::Timestamp(time) => Given::Time(nanos_of(time)),
        }
    }

    fn of_json(json: &Json) -> Option<Given> {
        Some(match json {
            Json::Null => return None,
            Json::Bool(known) => Given::Bool(*known),
            Json::Number(number) => match number.as_i64() {
                Some(number) => Given::Int(number.into()),
                None => Given::Float(number.as_f64()?),
            },
            Json::String(text) => Given::Str(text.clone()),
            Json::Array(_) | Json::Object(_) => Given::Bytes,
        })
    }

    fn nanos_of(time: Timestamp) -> i128 {
        i128::from(time.seconds) * NANOS + i128::from(time.nanos)
    }

    fn int(number: i128) -> Option<Given> {
        i64::try_from(number).ok().map(|number| Given::Int(number.into()))
    }

    fn float(number: f64) -> Option<Given> {
        number.is_finite().then_some(Given::Float(if number == 0.0 { 0.0 } else { number }))
    }

    fn length(nanos: i128) -> Option<Given> {
        i64::try_from(nanos.div_euclid(NANOS)).ok().map(|_| Given::Length(nanos))
    }

    fn time(nanos: i128) -> Option<Given> {
        (TIME_FIRST..TIME_END).contains(&nanos).then_some(Given::Time(nanos))
    }

    /// The float that is the same number.
    fn exactly(given: &Given) -> Option<f64> {
        match given {
            Given::Float(number) => Some(*number),
            // As long as its odd part has at most 53 bits.
            Given::Int(number) => {
                let odd = number.checked_shr(number.trailing_zeros()).unwrap_or(0).unsigned_abs();
                (odd < 1 << 53).then_some(*number as f64)
            }
            _ => None,
        }
    }

    fn arithmetic(left: Given, operator: char, right: Given) -> Option<Given> {
        use Given::{Float, Int, Length, Time};
        match (&left, operator, &right) {
            (Int(_), '/' | '%', Int(0)) | (Length(_), '/', Int(0)) => None,
            (Int(a), '+', Int(b)) => int(a + b),
            (Int(a), '-', Int(b)) => int(a - b),
            (Int(a), '*', Int(b)) => int(a * b),
            (Int(a), '/', Int(b)) => int(a / b),
            (Int(a), '%', Int(b)) => int(a % b),
            (Int(_) | Float(_), _, Int(_) | Float(_)) => {
                let (a, b) = (exactly(&left)?, exactly(&right)?);
                float(match operator {
                    '+' => a + b,
                    '-' => a - b,
                    '*' => a * b,
                    '/' => a / b,
                    _ => a % b,
                })
            }
            (Time(a), '-', Time(b)) => length(a - b),
            (Time(a), '+', Length(b)) | (Length(b), '+', Time(a)) => time(a + b),
            (Time(a), '-', Length(b)) => time(a - b),
            (Length(_), '/' | '%', Length(0)) => None,
            (Length(a), '+', Length(b)) => length(a + b),
            (Length(a), '-', Length(b)) => length(a - b),
            (Length(a), '%', Length(b)) => length(a % b),
            (Length(a), '/', Length(b)) => int(a / b),
            (Length(a), '*', Int(b)) | (Int(b), '*', Length(a)) => length(a.checked_mul(*b)?),
            (Length(a), '/', Int(b)) => length(a / b),
            _ => None,
        }
    }

    fn call(name: &str, arguments: &[Given]) -> Option<Given> {
        let text = |index: usize| match arguments.get(index) {
            Some(Given::Str(text)) => Some(text.as_str()),
            _ => None,
        };
        let count = |index: usize| match arguments.get(index) {
            Some(Given::Int(number)) => Some(*number),
            _ => None,
        };
        let first = &arguments.first();
        match name {
            "ABS" => match first.cloned()? {
                Given::Int(number) => int(number.abs()),
                Given::Float(number) => float(number.abs()),
                Given::Length(nanos) => length(nanos.abs()),
                _ => None,
            },
            "LENGTH" => Some(Given::Int(text(0)?.chars().count() as i128)),
            "LOWER" => Some(Given::Str(text(0)?.to_lowercase())),
            "UPPER" => Some(Given::Str(text(0)?.to_uppercase())),
            "TRIM" => Some(Given::Str(text(0)?.trim().to_owned())),
            "CONCAT" => joined("", arguments),
            "CONCAT_WS" => joined(text(0)?, &arguments[1..]),
            "LEFT" => Some(Given::Str(cut(text(0)?, 0, usize::try_from(count(1)?).ok()?))),
            "RIGHT" => {
                let (all, wanted) = (text(0)?.chars().count(), usize::try_from(count(1)?).ok()?);
                Some(Given::Str(cut(text(0)?, all.saturating_sub(wanted), wanted)))
            }
            "SUBSTRING" => {
                let wanted = match arguments.len() {
                    2 => usize::MAX,
                    _ => usize::try_from(count(2)?).ok()?,
                };
                substring(text(0)?, count(1)?, wanted).map(Given::Str)
            }
            "STRING" => string(first.cloned()?).map(Given::Str),
            "INT" => cast_int((*first)?),
            "FLOAT" => cast_float((*first)?),
            "BOOL" => cast_bool((*first)?),
            "TIMESTAMP" => cast_time((*first)?),
            "DURATION" => cast_length((*first)?),
            "IS_INT" => Some(Given::Bool(cast_int((*first)?).is_some())),
            "IS_FLOAT" => Some(Given::Bool(cast_float((*first)?).is_some())),
            "IS_BOOL" => Some(Given::Bool(cast_bool((*first)?).is_some())),
            "IS_TIMESTAMP" => Some(Given::Bool(cast_time((*first)?).is_some())),
            "IS_DURATION" => Some(Given::Bool(cast_length((*first)?).is_some())),
            name => panic!("{name}"),
        }
    }

    fn joined(delimiter: &str, parts: &[Given]) -> Option<Given> {
        let parts: Option<Vec<&str>> = parts
            .iter()
            .map(|part| if let Given::Str(text) = part { Some(text.as_str()) } else { None })
            .collect();
        Some(Given::Str(parts?.join(delimiter)))
    }

    fn cut(text: &str, skipped: usize, wanted: usize) -> String {
        text.chars().skip(skipped).take(wanted).collect()
    }

    fn substring(text: &str, position: i128, wanted: usize) -> Option<String> {
        let all = text.chars().count() as i128;
        match position {
            0 => Some(String::new()),
            _ if position > all || position < -all => None,
            _ if position > 0 => Some(cut(text, (position - 1) as usize, wanted)),
            _ => Some(cut(text, (all + position) as usize, wanted)),
        }
    }

    fn string(given: Given) -> Option<String> {
        Some(match given {
            Given::Str(text) => text,
            Given::Bool(known) => known.to_string(),
            Given::Int(number) => number.to_string(),
            Given::Float(number) => match float(number)? {
                Given::Float(number) => format!("{number:?}"),
                _ => return None,
            },
            Given::Time(nanos) => {
                let seconds = nanos.div_euclid(NANOS) as i64;
                Timestamp { seconds, nanos: nanos.rem_euclid(NANOS) as u32 }.to_string()
            }
            Given::Length(nanos) => Duration::from_nanos(nanos)?.to_string(),
            Given::Bytes => return None,
        })
    }

    fn cast_int(given: &Given) -> Option<Given> {
        match given {
            Given::Bool(known) => Some(Given::Int((*known).into())),
            Given::Int(_) => Some(given.clone()),
            Given::Float(number) if number.fract() == 0.0 && number.abs() < 1e19 => int(*number as i128),
            Given::Str(text) => int(text.parse::<i64>().ok()?.into()),
            _ => None,
        }
    }

    fn cast_float(given: &Given) -> Option<Given> {
        match given {
            Given::Bool(known) => Some(Given::Float(if *known { 1.0 } else { 0.0 })),
            Given::Int(_) | Given::Float(_) => float(exactly(given)?),
            Given::Str(text) => {
                let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
                let ends = |text: &str| {
                    text.starts_with(|c: char| c.is_ascii_digit())
                        && text.ends_with(|c: char| c.is_ascii_digit())
                };
                let is_literal = ends(unsigned)
                    && unsigned
                        .split(['.', 'e', 'E'])
                        .all(|part| ends(part.strip_prefix(['+', '-']).unwrap_or(part)));
                is_literal.then(|| float(text.parse().ok()?))?
            }
            _ => None,
        }
    }

    fn cast_bool(given: &Given) -> Option<Given> {
        match given {
            Given::Bool(_) => Some(given.clone()),
            Given::Int(number) => Some(Given::Bool(*number != 0)),
            Given::Float(number) => number.is_finite().then_some(Given::Bool(*number != 0.0)),
            Given::Str(text) => match text.to_lowercase().as_str() {
                "true" => Some(Given::Bool(true)),
                "false" => Some(Given::Bool(false)),
                _ => None,
            },
            _ => None,
        }
    }

    fn cast_time(given: &Given) -> Option<Given> {
        match given {
            Given::Time(_) => Some(given.clone()),
            Given::Str(text) => Some(Given::Time(nanos_of(Timestamp::parse_rfc3339(text).ok()?))),
            _ => None,
        }
    }

    fn cast_length(given: &Given) -> Option<Given> {
        match given {
            Given::Length(_) => Some(given.clone()),
            Given::Str(text) => Some(Given::Length(Duration::parse(text).ok()?.nanos())),
            _ => None,
        }
    }
}

/// Prints with spellings chosen by the bits of a seed.
struct Speller {
    seed: u64,
}

impl Speller {
    fn coin(&mut self) -> bool {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.seed >> 63 == 1
    }

    fn word(&mut self, word: &str) -> String {
        if self.coin() { word.to_lowercase() } else { word.to_owned() }
    }

    fn space(&mut self) -> &'static str {
        if self.coin() { " " } else { "" }
    }

    /// In parentheses if they are needed, or by chance.
    fn wrapped(&mut self, text: String, needed: bool) -> String {
        if needed || self.coin() { format!("({text})") } else { text }
    }

    fn quoted(&mut self, text: &str) -> String {
        let quote = if self.coin() { '"' } else { '\'' };
        format!("{quote}{}{quote}", text.replace('\\', "\\\\").replace(quote, &format!("\\{quote}")))
    }

    fn expr(&mut self, expr: &Expr) -> String {
        match expr {
            Expr::Int(number) => number.to_string(),
            Expr::Float(number) if self.coin() => format!("{number:e}"),
            Expr::Float(number) => format!("{number:?}"),
            Expr::Str(text) => self.quoted(text),
            Expr::Bool(known) => self.word(if *known { "TRUE" } else { "FALSE" }),
            Expr::Time(seconds) => {
                let name = self.word("TIMESTAMP");
                let text = if self.coin() { "Z" } else { "+00:00" };
                format!("{name}('1970-01-01T00:00:0{seconds}{text}')")
            }
            Expr::Length(nanos) => self.length(*nanos),
            Expr::Name(name) => (*name).to_owned(),
            Expr::Path(path) => self.path(path),
            Expr::Minus(inner) => {
                let needed = matches!(&**inner, Expr::Arithmetic(..));
                let inner = self.expr(inner);
                let inner = self.wrapped(inner, needed);
                format!("- {inner}")
            }
            Expr::Arithmetic(left, operator, right) => {
                let tight = "*/%".contains(*operator);
                let loose = |expr: &Expr| matches!(expr, Expr::Arithmetic(_, '+' | '-', _));
                let is_arithmetic = matches!(&**right, Expr::Arithmetic(..));
                let (left_needed, right_needed) =
                    (tight && loose(left), if tight { is_arithmetic } else { loose(right) });
                let (left, right) = (self.expr(left), self.expr(right));
                let (left, right) = (self.wrapped(left, left_needed), self.wrapped(right, right_needed));
                format!("{left}{}{operator} {right}", self.space())
            }
            Expr::Call(name, arguments) => {
                let arguments: Vec<String> = arguments.iter().map(|one| self.expr(one)).collect();
                let comma = if self.coin() { "," } else { " , " };
                format!("{}{}({})", self.word(name), self.space(), arguments.join(comma))
            }
            Expr::Condition(cond) => {
                let cond = self.cond(cond);
                self.wrapped(cond, true)
            }
        }
    }

    fn length(&mut self, nanos: i64) -> String {
        let (sign, seconds) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs() / 1_000_000_000);
        let fraction = nanos.unsigned_abs() % 1_000_000_000;
        let text = if self.coin() {
            format!("{sign}PT{seconds}.{fraction:09}S")
        } else {
            format!("{sign}{}m{}.{fraction:09}s", seconds / 60, seconds % 60)
        };
        format!("{}({})", self.word("DURATION"), self.quoted(&text))
    }

    fn path(&mut self, path: &[&str]) -> String {
        let mut text = "data".to_owned();
        for member in path {
            text += &match member.parse::<u32>() {
                Ok(index) => format!("[{index}]"),
                Err(_) if member.contains(' ') || self.coin() => format!("[{}]", self.quoted(member)),
                Err(_) => format!(".{member}"),
            };
        }
        text
    }

    fn cond(&mut self, cond: &Cond) -> String {
        let not = |not: bool| if not { "NOT " } else { "" };
        match cond {
            Cond::Bare(expr) => self.expr(expr),
            Cond::Exists(expr) => format!("{} {}", self.word("EXISTS"), self.expr(expr)),
            Cond::IsNull(expr, negated) => format!("{} IS {}NULL", self.expr(expr), not(*negated)),
            Cond::Not(inner) => {
                let inner = self.cond(inner);
                format!("{} ({inner})", self.word("NOT"))
            }
            Cond::Compare(left, operator, right) => {
                let (left, right) = (self.expr(left), self.expr(right));
                let (left, right) = (self.wrapped(left, false), self.wrapped(right, false));
                format!("{left} {operator} {right}")
            }
            Cond::Between(value, low, high, negated) => {
                let (value, low, high) = (self.expr(value), self.expr(low), self.expr(high));
                format!("{value} {}BETWEEN {low} AND {high}", not(*negated))
            }
            Cond::In(value, list, negated) => {
                let needed = matches!(value, Expr::Arithmetic(..));
                let value = self.expr(value);
                let value = self.wrapped(value, needed);
                let list: Vec<String> = list.iter().map(|one| self.expr(one)).collect();
                format!("{value} {}IN ({})", not(*negated), list.join(", "))
            }
            Cond::Chain(connective, all) => {
                let connective = format!(" {} ", self.word(connective));
                let all: Vec<String> = all
                    .iter()
                    .map(|one| {
                        let text = self.cond(one);
                        self.wrapped(text, matches!(one, Cond::Chain(..)))
                    })
                    .collect();
                all.join(&connective)
            }
        }
    }

    /// The same with the operands of each chain in another order.
    fn reordered(&mut self, cond: &Cond) -> Cond {
        match cond {
            Cond::Not(inner) => Cond::Not(Box::new(self.reordered(inner))),
            Cond::Chain(connective, all) => {
                let mut all: Vec<Cond> = all.iter().map(|one| self.reordered(one)).collect();
                for index in 1..all.len() {
                    if self.coin() {
                        all.swap(index - 1, index);
                    }
                }
                Cond::Chain(connective, all)
            }
            other => other.clone(),
        }
    }
}

/// Reads a filter that is right but for constants and types that could never fit.
fn read(text: &str) -> Option<Filter> {
    use FilterErrorReason::{
        ArgumentType, MalformedDuration, MalformedTimestamp, NoOperand, NoValue, OperandsDiffer, TypesDiffer,
    };
    match Filter::parse(text) {
        Ok(filter) => Some(filter),
        Err(error) => match error.reason {
            NoValue { .. } | MalformedTimestamp { .. } | MalformedDuration { .. } => None,
            TypesDiffer { .. } | NoOperand { .. } | OperandsDiffer { .. } | ArgumentType { .. } => None,
            _ => panic!("{error}"),
        },
    }
}

fn spelt(cond: &Cond, seed: u64) -> Option<Filter> {
    read(&Speller { seed }.cond(cond))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_500, max_global_rejects: 100_000, ..ProptestConfig::default()
    })]

    #[test]
    fn expressions_give_what_the_naive_reading_gives_in_every_spelling(
        cond in generate::condition(),
        events in proptest::collection::vec(generate::event(), 1..6),
        seeds in any::<[u64; 2]>(),
    ) {
        let Some(filter) = spelt(&cond, seeds[0]) else {
            return Err(TestCaseError::reject("constants or types never fit"));
        };
        let respelt = spelt(&cond, seeds[1]);
        prop_assert_eq!(Some(&filter), respelt.as_ref());
        let again = Filter::parse(filter.as_str()).unwrap_or_else(|error| panic!("{error}"));
        prop_assert_eq!(again.as_str(), filter.as_str());
        for event in &events {
            let expected = naive::truth(&cond, event);
            prop_assert_eq!(event.evaluate(&filter), expected, "{} {:?}", filter, event);
            prop_assert_eq!(event.evaluate(&again), expected, "{} {:?}", filter, event);
        }
    }

    #[test]
    fn the_order_of_conditions_never_matters(
        cond in generate::condition(),
        events in proptest::collection::vec(generate::event(), 1..6),
        seed in any::<u64>(),
    ) {
        let reordered = Speller { seed }.reordered(&cond);
        let (Some(one), Some(other)) = (spelt(&cond, seed), spelt(&reordered, seed)) else {
            return Err(TestCaseError::reject("constants or types never fit"));
        };
        for event in &events {
            prop_assert_eq!(event.evaluate(&one), event.evaluate(&other), "{} and {} {:?}", one, other, event);
        }
    }
}
