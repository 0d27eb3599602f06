//! A pattern as JSON, and in the filter language.
//!
//! The attributes of the outermost objects are translated where the language says exactly the same. The
//! rest stays one pattern, so that the members of the payload go on being looked for in the same
//! elements; so does a `$or` that looks into the payload.

use std::fmt::{self, Write};

use super::super::json::write_string;
use super::super::language;
use super::{Field, How, Match, Members, Pattern, Range, Refused, Text, Wanted};

impl Pattern {
    pub(in super::super) fn write_json(&self, out: &mut String) -> fmt::Result {
        write_members(out, &self.0.fields, &self.0.choices)
    }

    /// Writes a condition that is true exactly where the pattern matches.
    pub(in super::super) fn translate(&self, out: &mut String) -> fmt::Result {
        translate(out, &self.0)
    }
}

fn write_list<T>(
    out: &mut String,
    list: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T) -> fmt::Result,
) -> fmt::Result {
    out.write_char('[')?;
    for (index, element) in list.into_iter().enumerate() {
        out.write_str(if index == 0 { "" } else { "," })?;
        write(out, element)?;
    }
    out.write_char(']')
}

fn write_members<'p>(
    out: &mut String,
    fields: impl IntoIterator<Item = &'p Field>,
    choices: impl IntoIterator<Item = &'p Vec<Members>>,
) -> fmt::Result {
    out.write_char('{')?;
    let mut is_first = true;
    let mut comma = move || if std::mem::take(&mut is_first) { "" } else { "," };
    for field in fields {
        out.write_str(comma())?;
        write_string(out, &field.name)?;
        out.write_char(':')?;
        match &field.wanted {
            Wanted::Value(matches) => write_list(out, matches, write_match)?,
            Wanted::Members(members) => write_members(out, &members.fields, &members.choices)?,
        }
    }
    for choice in choices {
        write!(out, "{}\"$or\":", comma())?;
        write_list(out, choice, |out, members| write_members(out, &members.fields, &members.choices))?;
    }
    out.write_char('}')
}

fn write_match(out: &mut String, wanted: &Match) -> fmt::Result {
    match wanted {
        Match::Null => out.write_str("null"),
        Match::Bool(known) => write!(out, "{known}"),
        Match::Number(number) => write!(out, "{number}"),
        Match::Text(text) => match text.word() {
            None => write_string(out, &text.text),
            Some(_) => write_text(out, text),
        },
        Match::AnythingBut(refused) => {
            out.write_str("{\"anything-but\":")?;
            write_refused(out, refused)?;
            out.write_char('}')
        }
        Match::Range(range) => {
            out.write_str("{\"numeric\":")?;
            write_list(out, range.parts(), |out, (operator, number)| write!(out, "\"{operator}\",{number}"))?;
            out.write_char('}')
        }
        Match::Exists(exists) => write!(out, "{{\"exists\":{exists}}}"),
        Match::Network(network) => write!(out, "{{\"cidr\":\"{}/{}\"}}", network.address, network.bits),
    }
}

fn write_text(out: &mut String, text: &Text) -> fmt::Result {
    let word = text.word().unwrap_or("exactly");
    let is_within = text.ignores_case && !matches!(text.how, How::Exact);
    write!(out, "{{\"{word}\":{}", if is_within { "{\"equals-ignore-case\":" } else { "" })?;
    write_string(out, &text.text)?;
    out.write_str(if is_within { "}}" } else { "}" })
}

fn write_refused(out: &mut String, refused: &Refused) -> fmt::Result {
    match refused {
        Refused::Numbers(numbers) => write_list(out, numbers, |out, number| write!(out, "{number}")),
        Refused::Texts(texts) => {
            let word = texts.first().and_then(Text::word);
            word.map_or(Ok(()), |word| write!(out, "{{\"{word}\":"))?;
            write_list(out, texts, |out, text| write_string(out, &text.text))?;
            out.write_str(word.map_or("", |_| "}"))
        }
    }
}

impl Text {
    /// What names the test; a plain string needs none.
    fn word(&self) -> Option<&'static str> {
        match (&self.how, self.ignores_case) {
            (How::Exact, false) => None,
            (How::Exact, true) => Some("equals-ignore-case"),
            (How::Prefix, _) => Some("prefix"),
            (How::Suffix, _) => Some("suffix"),
            (How::Wildcard(_), _) => Some("wildcard"),
        }
    }
}

impl Range {
    /// The operators and their numbers, as a pattern and the language write them.
    fn parts(&self) -> impl Iterator<Item = (&'static str, super::Number)> {
        let low = self.low.map(|bound| (if bound.is_included { ">=" } else { ">" }, bound.number));
        let high = self.high.map(|bound| (if bound.is_included { "<=" } else { "<" }, bound.number));
        self.equal.map(|number| ("=", number)).into_iter().chain(low).chain(high)
    }
}

/// Members of an outermost object.
fn translate(out: &mut String, members: &Members) -> fmt::Result {
    let (embedded_fields, fields): (Vec<_>, Vec<_>) =
        members.fields.iter().partition(|field| !is_translatable_field(field));
    let (embedded_choices, choices): (Vec<_>, Vec<_>) =
        members.choices.iter().partition(|choice| choice.iter().any(looks_into_payload));
    let fields = fields.into_iter().map(Part::Field);
    let choices = choices.into_iter().map(|choice| Part::Choice(choice));
    let embedded = (!embedded_fields.is_empty() || !embedded_choices.is_empty())
        .then_some(Part::Embedded(embedded_fields, embedded_choices));
    language::join(out, "AND", fields.chain(choices).chain(embedded), |out, part| match part {
        Part::Field(field) => translate_field(out, field),
        Part::Choice(choice) => language::join(out, "OR", choice, translate),
        Part::Embedded(fields, choices) => embed(out, fields, choices),
    })
}

/// What becomes one condition.
enum Part<'p> {
    Field(&'p Field),
    Choice(&'p [Members]),
    /// What the language cannot say.
    Embedded(Vec<&'p Field>, Vec<&'p Vec<Members>>),
}

fn looks_into_payload(members: &Members) -> bool {
    members.fields.iter().any(|field| matches!(field.wanted, Wanted::Members(_)))
        || members.choices.iter().flatten().any(looks_into_payload)
}

fn embed(out: &mut String, fields: Vec<&Field>, choices: Vec<&Vec<Members>>) -> fmt::Result {
    let mut json = String::new();
    write_members(&mut json, fields, choices)?;
    out.write_str("EVENTBRIDGE(")?;
    language::put_string(out, &json)?;
    out.write_char(')')
}

fn is_translatable_field(field: &Field) -> bool {
    match &field.wanted {
        Wanted::Members(_) => false,
        Wanted::Value(matches) => {
            language::is_name(&field.name) && matches.iter().all(|one| is_translatable(&field.name, one))
        }
    }
}

fn translate_field(out: &mut String, field: &Field) -> fmt::Result {
    match &field.wanted {
        Wanted::Value(matches) => {
            language::join(out, "OR", matches, |out, one| translate_match(out, &field.name, one))
        }
        Wanted::Members(_) => embed(out, vec![field], Vec::new()),
    }
}

fn is_translatable(name: &str, wanted: &Match) -> bool {
    match wanted {
        Match::Network(_) => false,
        Match::Text(text) => is_translatable_text(name, text),
        Match::AnythingBut(Refused::Texts(texts)) => {
            texts.iter().all(|text| is_translatable_text(name, text))
        }
        _ => true,
    }
}

/// LIKE matches strings alone, while a pattern matches timestamps as well.
fn is_translatable_text(name: &str, text: &Text) -> bool {
    match (&text.how, text.ignores_case) {
        (_, true) => false,
        (How::Exact, _) => true,
        (How::Prefix | How::Suffix, _) => language::is_no_part_of_time(name, &text.text),
        (How::Wildcard(_), _) => {
            let exact: String = text.text.chars().filter(|c| !matches!(c, '*' | '\\')).collect();
            language::is_no_part_of_time(name, &exact)
        }
    }
}

fn translate_match(out: &mut String, name: &str, wanted: &Match) -> fmt::Result {
    match wanted {
        // An attribute that is null is missing.
        Match::Null => out.write_str("FALSE"),
        Match::Bool(known) => language::is_bool(out, name, *known),
        Match::Number(number) => language::compare(out, name, "=", *number),
        Match::Text(text) => translate_text(out, name, text),
        Match::Range(range) => language::join(out, "AND", range.parts(), |out, (operator, number)| {
            language::compare(out, name, operator, number)
        }),
        Match::Exists(true) => write!(out, "{name} IS NOT NULL"),
        Match::Exists(false) => write!(out, "{name} IS NULL"),
        Match::AnythingBut(refused) => {
            write!(out, "{name} IS NOT NULL AND (")?;
            match refused {
                Refused::Numbers(numbers) => language::join(out, "OR", numbers, |out, number| {
                    language::compare(out, name, "=", *number)
                })?,
                Refused::Texts(texts) => {
                    language::join(out, "OR", texts, |out, text| translate_text(out, name, text))?;
                }
            }
            out.write_str(") IS NOT TRUE")
        }
        Match::Network(_) => embed(out, Vec::new(), Vec::new()),
    }
}

fn translate_text(out: &mut String, name: &str, text: &Text) -> fmt::Result {
    match &text.how {
        How::Exact => language::equals_string(out, name, &text.text),
        How::Prefix => language::like(out, name, "", &text.text, "%"),
        How::Suffix => language::like(out, name, "%", &text.text, ""),
        How::Wildcard(pattern) => write!(out, "{name} LIKE '{pattern}'"),
    }
}
