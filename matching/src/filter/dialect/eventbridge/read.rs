//! A pattern from JSON.
//!
//! 1. What event-ruler refuses is refused, at its place.
//! 2. `$or` that event-ruler would take for a name (fewer than two objects, or its own words in one of
//!    them) is refused too: it hides a mistake.

use super::super::super::error::{Dialect, FilterError, FilterErrorReason};
use super::super::super::lexer::brief;
use super::super::super::near::nearest;
use super::super::super::pattern::{Element, Pattern as LikePattern};
use super::super::json::{Json, Kind, Member};
use super::{Bound, Field, How, Match, Members, Network, PAYLOAD, Pattern, Range, Refused, Text, Wanted};

const MATCHES: &[&str] = &[
    "anything-but",
    "cidr",
    "equals-ignore-case",
    "exactly",
    "exists",
    "numeric",
    "prefix",
    "suffix",
    "wildcard",
];

/// The words that may stand within `anything-but`.
const REFUSED: &[&str] = &["equals-ignore-case", "prefix", "suffix", "wildcard"];

const OR: &str = "$or";

impl Pattern {
    /// The pattern that a JSON value is.
    pub(in super::super) fn read(text: &str, json: &Json) -> Result<Pattern, FilterError> {
        let reader = Reader { text };
        let members = match &json.kind {
            Kind::Object(members) => reader.members(json, members, true)?,
            _ => return reader.expected(json, "an object"),
        };
        Ok(Pattern(members))
    }
}

struct Reader<'t> {
    text: &'t str,
}

type Read<T> = Result<T, FilterError>;

impl Reader<'_> {
    fn refuse<T>(&self, position: usize, expected: &'static str) -> Read<T> {
        let reason = FilterErrorReason::NotInDialect { dialect: Dialect::EventBridge, expected };
        Err(FilterError::new(self.text, position, reason))
    }

    fn expected<T>(&self, json: &Json, expected: &'static str) -> Read<T> {
        self.refuse(json.start, expected)
    }

    /// The members of an object, of the whole pattern or within a payload.
    fn members(&self, json: &Json, given: &[Member], is_outermost: bool) -> Read<Members> {
        let mut members = Members::default();
        for member in given {
            if member.name == OR {
                members.choices.push(self.choice(&member.value, is_outermost)?);
                continue;
            }
            let wanted = self.wanted(member, is_outermost)?;
            if wanted.is_payload(&member.name) && is_outermost && has_payload(&members) {
                return self.refuse(member.start, "`data` or `detail`, which both name the payload, once");
            }
            let name =
                if wanted.is_payload(&member.name) && is_outermost { PAYLOAD[0] } else { &member.name };
            members.fields.push(Field { name: name.to_owned(), wanted });
        }
        if given.is_empty() {
            return self.expected(json, "one member or more");
        }
        members.fields.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(members)
    }

    fn wanted(&self, member: &Member, is_outermost: bool) -> Read<Wanted> {
        match &member.value.kind {
            Kind::Object(_) if is_outermost && !PAYLOAD.contains(&member.name.as_str()) => self.refuse(
                member.value.start,
                "an array: attributes have no members, only `data` and `detail` have, which lead into the payload",
            ),
            Kind::Object(members) => {
                Ok(Wanted::Members(self.members(&member.value, members, false)?))
            }
            Kind::Array(matches) if !matches.is_empty() => {
                Ok(Wanted::Value(matches.iter().map(|json| self.one_match(json)).collect::<Read<_>>()?))
            }
            _ => self.expected(&member.value, "an array of values, or an object"),
        }
    }

    fn choice(&self, json: &Json, is_outermost: bool) -> Read<Vec<Members>> {
        let expected = "an array of two objects or more behind `$or`";
        let Kind::Array(alternatives) = &json.kind else { return self.expected(json, expected) };
        if alternatives.len() < 2 {
            return self.expected(json, expected);
        }
        let members = |json: &Json| match &json.kind {
            Kind::Object(members) => match members
                .iter()
                .find(|member| MATCHES.contains(&member.name.as_str()))
            {
                Some(member) => self.refuse(member.start, "the name of a field: this is a word of patterns"),
                None => self.members(json, members, is_outermost),
            },
            _ => self.expected(json, expected),
        };
        alternatives.iter().map(members).collect()
    }

    fn one_match(&self, json: &Json) -> Read<Match> {
        match &json.kind {
            Kind::Null => Ok(Match::Null),
            Kind::Bool(known) => Ok(Match::Bool(*known)),
            Kind::Number(number) => Ok(Match::Number(*number)),
            Kind::Str(text) => Ok(Match::Text(exact(text))),
            Kind::Object(members) => self.named_match(self.only(json, members)?),
            Kind::Array(_) => self.expected(json, "a value, or an object such as {\"prefix\": \"eu-\"}"),
        }
    }

    fn only<'j>(&self, json: &Json, members: &'j [Member]) -> Read<&'j Member> {
        match members {
            [member] => Ok(member),
            [] => self.expected(json, "a word such as `prefix` in the object"),
            [_, second, ..] => self.refuse(second.start, "one word in the object"),
        }
    }

    fn named_match(&self, member: &Member) -> Read<Match> {
        let value = &member.value;
        match member.name.as_str() {
            "exactly" => Ok(Match::Text(exact(self.string(value)?))),
            "equals-ignore-case" | "prefix" | "suffix" | "wildcard" => {
                Ok(Match::Text(self.text(&member.name, value)?))
            }
            "anything-but" => Ok(Match::AnythingBut(self.anything_but(value)?)),
            "numeric" => Ok(Match::Range(self.range(value)?)),
            "exists" => match value.kind {
                Kind::Bool(known) => Ok(Match::Exists(known)),
                _ => self.expected(value, "true or false"),
            },
            "cidr" => self.network(value),
            _ => self.unknown(member, MATCHES),
        }
    }

    /// Refuses a word that is none of those which may stand there.
    fn unknown<T>(&self, member: &Member, known: &[&'static str]) -> Read<T> {
        let reason = FilterErrorReason::UnknownDialectWord {
            dialect: Dialect::EventBridge,
            found: brief(&member.name),
            near: nearest(&member.name, known),
        };
        Err(FilterError::new(self.text, member.start, reason))
    }

    fn string<'j>(&self, json: &'j Json) -> Read<&'j str> {
        match &json.kind {
            Kind::Str(text) => Ok(text),
            _ => self.expected(json, "a string"),
        }
    }

    /// What `prefix` and its like ask for; a prefix or suffix may ignore case.
    fn text(&self, name: &str, json: &Json) -> Read<Text> {
        let within = match (&json.kind, name) {
            (Kind::Object(members), "prefix" | "suffix") => {
                let member = self.only(json, members)?;
                if member.name != "equals-ignore-case" {
                    return self.refuse(member.start, "`equals-ignore-case`");
                }
                Some(&member.value)
            }
            _ => None,
        };
        let text = self.string(within.unwrap_or(json))?.to_owned();
        let how = match name {
            "prefix" => How::Prefix,
            "suffix" => How::Suffix,
            "wildcard" => How::Wildcard(self.wildcard(json, &text)?),
            _ => How::Exact,
        };
        let ignores_case = within.is_some() || name == "equals-ignore-case";
        Ok(Text { how, ignores_case, text })
    }

    fn wildcard(&self, json: &Json, text: &str) -> Read<LikePattern> {
        let mut elements = Vec::new();
        let mut given = text.chars();
        while let Some(character) = given.next() {
            elements.push(match character {
                '*' if elements.last() == Some(&Element::AnyText) => {
                    return self.expected(json, "a wildcard without two `*` in a row");
                }
                '*' => Element::AnyText,
                '\\' => match given.next() {
                    Some(escaped @ ('*' | '\\')) => Element::Exact(escaped),
                    _ => {
                        return self
                            .expected(json, "a wildcard with a backslash only before `*` or a backslash");
                    }
                },
                character => Element::Exact(character),
            });
        }
        // Without `_` no part of a pattern is too long.
        LikePattern::new(&elements).or_else(|_| self.expected(json, "a shorter wildcard"))
    }

    fn anything_but(&self, json: &Json) -> Read<Refused> {
        match &json.kind {
            Kind::Str(_) | Kind::Number(_) => self.refused(json, std::slice::from_ref(json)),
            Kind::Array(values) if !values.is_empty() => self.refused(json, values),
            Kind::Object(members) => {
                let member = self.only(json, members)?;
                match member.name.as_str() {
                    name if REFUSED.contains(&name) => Ok(Refused::Texts(self.texts(name, &member.value)?)),
                    name if MATCHES.contains(&name) => self.refuse(
                        member.start,
                        "`prefix`, `suffix`, `equals-ignore-case` or `wildcard` within `anything-but`",
                    ),
                    _ => self.unknown(member, REFUSED),
                }
            }
            _ => self.expected(json, "a string, a number, an array of one kind, or an object"),
        }
    }

    fn refused(&self, json: &Json, values: &[Json]) -> Read<Refused> {
        let number = |json: &Json| match &json.kind {
            Kind::Number(number) => Some(*number),
            _ => None,
        };
        let text = |json: &Json| match &json.kind {
            Kind::Str(text) => Some(exact(text)),
            _ => None,
        };
        let numbers = values.iter().map(number).collect::<Option<_>>().map(Refused::Numbers);
        let refused = numbers.or_else(|| values.iter().map(text).collect::<Option<_>>().map(Refused::Texts));
        refused.map_or_else(|| self.expected(json, "strings alone or numbers alone"), Ok)
    }

    fn texts(&self, name: &str, json: &Json) -> Read<Vec<Text>> {
        let one = |json: &Json| match &json.kind {
            Kind::Str(text) if !text.is_empty() || name == "equals-ignore-case" => self.text(name, json),
            _ => self.expected(json, "a string that is not empty"),
        };
        match &json.kind {
            Kind::Array(texts) if !texts.is_empty() => texts.iter().map(one).collect(),
            Kind::Array(_) => self.expected(json, "one string or more"),
            _ => Ok(vec![one(json)?]),
        }
    }

    fn range(&self, json: &Json) -> Read<Range> {
        let Kind::Array(parts) = &json.kind else {
            return self.expected(json, "an array such as [\">\", 0, \"<=\", 5]");
        };
        let mut range = Range::default();
        for pair in parts.chunks(2) {
            let [operator, number] = pair else { return self.expected(json, "a number after each operator") };
            self.add_bound(&mut range, operator, number)?;
        }
        match (range.low, range.high) {
            (Some(low), Some(high)) if !is_below(low, high) => {
                self.expected(json, "a lower bound below the upper one")
            }
            (None, None) if range.equal.is_none() => self.expected(json, "an operator and a number"),
            _ => Ok(range),
        }
    }

    /// `=` stands alone, a lower bound comes before an upper one.
    fn add_bound(&self, range: &mut Range, operator: &Json, number: &Json) -> Read<()> {
        let Kind::Number(value) = number.kind else { return self.expected(number, "a number") };
        let operator_text = self.string(operator)?;
        let bound = |is_included| Some(Bound { number: value, is_included });
        let is_first = range.low.is_none();
        let is_open = range.equal.is_none() && range.high.is_none();
        match operator_text {
            "=" if is_first && is_open => range.equal = Some(value),
            ">" | ">=" if is_first && is_open => range.low = bound(operator_text == ">="),
            "<" | "<=" if is_open => range.high = bound(operator_text == "<="),
            "=" | ">" | ">=" | "<" | "<=" => {
                return self.expected(operator, "`=` alone, or `>` or `>=` and then `<` or `<=`");
            }
            _ => return self.expected(operator, "one of `=`, `<`, `<=`, `>` and `>=`"),
        }
        Ok(())
    }

    fn network(&self, json: &Json) -> Read<Match> {
        let expected = "addresses such as 10.0.0.0/8 or 2001:db8::/32";
        let network = self.string(json)?.split_once('/').and_then(|(address, bits)| {
            let address: std::net::IpAddr = address.parse().ok()?;
            let bits_max = if address.is_ipv4() { 32 } else { 128 };
            let is_number = bits.bytes().all(|byte| byte.is_ascii_digit());
            let bits = bits.parse().ok().filter(|bits| is_number && *bits <= bits_max)?;
            Some(Match::Network(Network { address, bits }))
        });
        network.map_or_else(|| self.expected(json, expected), Ok)
    }
}

fn exact(text: &str) -> Text {
    Text { how: How::Exact, ignores_case: false, text: text.to_owned() }
}

fn has_payload(members: &Members) -> bool {
    members.fields.iter().any(|field| field.wanted.is_payload(&field.name))
}

/// Whether there may be a number between two bounds.
fn is_below(low: Bound, high: Bound) -> bool {
    match low.number.value().compare(&high.number.value()) {
        Some(std::cmp::Ordering::Less) => true,
        Some(std::cmp::Ordering::Equal) => low.is_included && high.is_included,
        _ => false,
    }
}
