//! Each refusal with its exact words, and the answers that the language promises. Random filters
//! are tried in `tests/language.rs`.

use super::*;
use crate::value::Value;

mod expressions;

fn refused(text: &str) -> FilterError {
    match Filter::parse(text) {
        Err(error) => error,
        Ok(filter) => panic!("{text:?} was read as {filter}"),
    }
}

/// The first line of the message: `line:column: …`.
fn message(text: &str) -> String {
    refused(text).to_string().lines().next().unwrap().to_owned()
}

fn canonical(text: &str) -> String {
    match Filter::parse(text) {
        Ok(filter) => filter.to_string(),
        Err(error) => panic!("{error}"),
    }
}

fn evaluate(text: &str, event: &[(&str, Value<'_>)]) -> Truth {
    Filter::parse(text).unwrap().evaluate(event)
}

#[test]
fn a_missing_value_is_asked_for_at_the_end() {
    let text = "amount >";
    assert_eq!(
        refused(text).to_string(),
        "1:9: expected a value after `>`: a number, a string, TRUE, FALSE or a name\n  \
         amount >\n          ^"
    );
}

#[test]
fn what_is_out_of_place_is_named() {
    let cases = [
        (
            "a AND",
            "1:6: expected a condition after `AND`: a comparison such as `amount > 10`, a name, EXISTS, NOT or `(`",
        ),
        ("a = )", "1:5: expected a value after `=`, found `)`: a number, a string, TRUE, FALSE or a name"),
        ("a b", "1:3: expected an operator or the end after `a`, found `b`"),
        (
            "a betwen 1 AND 2",
            "1:3: expected an operator or the end after `a`, found `betwen`; did you mean BETWEEN?",
        ),
        ("EXIST a", "1:7: expected an operator or the end after `EXIST`, found `a`; did you mean EXISTS?"),
        ("(a = 1", "1:7: expected `)` for the `(` at 1:1 after `1`"),
        ("a = 1)", "1:6: expected an operator or the end after `1`, found `)`"),
        ("a NOT b", "1:7: expected IN, LIKE or BETWEEN after `NOT`, found `b`"),
        ("a NOT LIEK 'x'", "1:7: expected IN, LIKE or BETWEEN after `NOT`, found `LIEK`; did you mean LIKE?"),
        ("a IS 5", "1:6: expected NULL, TRUE or FALSE, or NOT and one of them after `IS`, found `5`"),
        ("a BETWEEN 1 OR 2", "1:13: expected AND after `1`, found `OR`"),
        ("a BETWEEN 1 AND", "1:16: expected a value after `AND`: a number, a string, TRUE, FALSE or a name"),
        ("a IN 5", "1:6: expected `(` after `IN`, found `5`"),
        (
            "a IN ()",
            "1:7: expected a literal after `(`, found `)`: a number, a string, TRUE, FALSE or TIMESTAMP('…')",
        ),
        (
            "a IN (b)",
            "1:7: expected a literal after `(`, found `b`: a number, a string, TRUE, FALSE or TIMESTAMP('…')",
        ),
        ("a IN (1 2)", "1:9: expected `,` or `)` after `1`, found `2`"),
        ("a LIKE b", "1:8: expected a string after `LIKE`, found `b` in single or double quotes"),
        ("EXISTS 'a'", "1:8: expected the name of an attribute after `EXISTS`, found `'a'`"),
        ("a IN (-b)", "1:8: expected a number after `-`, found `b`"),
        ("a IN (TIMESTAMP(5))", "1:17: expected a string after `(`, found `5` in single or double quotes"),
        ("t > TIMESTAMP('2024-05-01T00:00:00Z'", "1:37: expected `,` or `)` after `'2024-05-01T00:00:00Z'`"),
    ];
    for (text, expected) in cases {
        assert_eq!(message(text), expected, "{text}");
    }
}

#[test]
fn habits_of_other_languages_are_told_what_to_write() {
    let cases = [
        ("a == 1", "1:3: `==` is not an operator of filters: use `=`"),
        ("a === 1", "1:3: `===` is not an operator of filters: use `=`"),
        ("a && b", "1:3: `&&` is not an operator of filters: use `AND`"),
        ("a || b", "1:3: `||` is not an operator of filters: use `OR`"),
        ("!a", "1:1: `!` is not an operator of filters: use `NOT`"),
        ("a => 1", "1:3: `=>` is not an operator of filters: use `>=`"),
        ("a = NULL", "1:5: NULL is not a value: write `name IS NULL` or `name IS NOT NULL`"),
        ("a = 'it''s'", "1:9: a quote within a string is written with a backslash: \\'"),
        ("a = “x”", "1:5: `“` has no meaning here: quote strings with ' or \""),
        ("`a` = 1", "1:1: ``` has no meaning here: write names without quotes, strings with ' or \""),
        (
            "größe > 1",
            "1:3: `ö` has no meaning here: names hold the letters A to Z, digits and `_`, other text needs quotes",
        ),
        ("a = 1;", "1:6: `;` has no meaning here: a filter is one expression"),
        ("a \0", "1:3: `\\0` has no meaning here"),
        ("a --1 > 2", "1:3: `--` is not an operator of filters: use `- -`"),
        (
            "content-type = 'x'",
            "1:16: a number or a duration and a string never compare, there are no implicit casts: arithmetic gives no string (names hold letters, digits and `_` only, `a-b` is a minus b)",
        ),
        (
            "order.amount > 1",
            "1:1: `order` has no members: a path into the payload begins with `data`, as in `data.order.items[0]`, and the name of an attribute holds letters, digits and `_` only",
        ),
        (
            "1 < a < 3",
            "1:7: comparisons do not chain: join two with AND, as in `a < b AND b < c`, or write BETWEEN",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(message(text), expected, "{text}");
    }
}

#[test]
fn literals_are_checked() {
    let out_of_range = "the integer does not fit 64 bits, -9223372036854775808 to 9223372036854775807: write it with `.0` to compare as a float";
    let cases = [
        ("a = 9223372036854775808", format!("1:5: {out_of_range}")),
        ("a = -9223372036854775809", format!("1:6: {out_of_range}")),
        ("a = 1e999", "1:5: the number is greater than a 64-bit float can be".into()),
        ("a = 1.2.3", "1:5: `1.2.3` is not a number: write `12`, `0.5` or `1e-3`".into()),
        ("a = 5.", "1:5: `5.` is not a number: write `12`, `0.5` or `1e-3`".into()),
        ("a = .5", "1:5: `.` is not a number: write `12`, `0.5` or `1e-3`".into()),
        ("a = 12ab", "1:5: `12ab` is not a number: write `12`, `0.5` or `1e-3`".into()),
        ("a = 'x", "1:5: the string that begins here has no closing '".into()),
        ("a = \"x\\\"", "1:5: the string that begins here has no closing \"".into()),
        ("a = 'x\\d'", "1:7: `\\d` is no escape: a backslash is written `\\\\`".into()),
        (
            "a = '5\\%'",
            "1:7: `\\%` is no escape outside a LIKE pattern: a backslash is written `\\\\`".into(),
        ),
        (
            "t > TIMESTAMP('2024-05-01')",
            "1:15: not an RFC 3339 timestamp: expected `T` and a time, as in `2024-05-01T12:30:00Z` at character 11; write TIMESTAMP('2024-05-01T12:30:00Z')".into(),
        ),
        (
            "t > timestmap('x')",
            "1:5: unknown function `timestmap`: did you mean TIMESTAMP?".into(),
        ),
        ("contains(a, 'x')", "1:1: unknown function `contains`: did you mean LIKE '%text%'?".into()),
    ];
    for (text, expected) in cases {
        assert_eq!(message(text), expected, "{text}");
    }
    assert_eq!(canonical("a = -9223372036854775808"), "a = -9223372036854775808");
}

#[test]
fn types_that_are_known_must_fit() {
    let cases = [
        ("5", "1:1: expected a condition, but this is a number: compare it with something"),
        ("a AND 'x'", "1:7: expected a condition, but this is a string: compare it with something"),
        ("NOT time", "1:5: expected a condition, but this is a timestamp: compare it with something"),
        (
            "1 = 'x'",
            "1:5: a number and a string never compare, there are no implicit casts: quote both or none",
        ),
        (
            "time > '2024'",
            "1:8: a timestamp and a string never compare, there are no implicit casts: write the time as TIMESTAMP('2024-05-01T12:30:00Z')",
        ),
        ("id IN ('a', TRUE)", "1:13: a string and a truth value never compare, there are no implicit casts"),
        ("a > TRUE", "1:5: truth values have no order: use `=` or `!=`"),
        ("a BETWEEN 1 AND TRUE", "1:17: truth values have no order: use `=` or `!=`"),
        ("time LIKE '2024%'", "1:6: LIKE matches strings, and this is a timestamp"),
        ("5 IS NULL", "1:3: IS NULL asks whether an attribute is missing: put a name or a path before IS"),
    ];
    for (text, expected) in cases {
        assert_eq!(message(text), expected, "{text}");
    }
}

#[test]
fn what_cesql_and_sql_read_differently_is_refused_with_both_readings() {
    let cases = [
        (
            "a = 1 OR b AND c",
            "1:12: AND, OR and XOR on one level need parentheses: write `(a = 1 OR b) AND c` (as CESQL reads it) or `a = 1 OR (b AND c)` (as SQL reads it)",
        ),
        ("a AND b OR c", "1:9: AND, OR and XOR on one level need parentheses: write `(a AND b) OR c`"),
        (
            "a OR b XOR c AND d",
            "1:8: AND, OR and XOR on one level need parentheses: write `((a OR b) XOR c) AND d` (as CESQL reads it) or `a OR (b XOR (c AND d))` (as SQL reads it)",
        ),
        (
            "NOT a = b",
            "1:1: NOT before a comparison needs parentheses: write `(NOT a) = b` (as CESQL reads it) or `NOT (a = b)` (as SQL reads it)",
        ),
        (
            "x AND NOT a NOT IN (1)",
            "1:7: NOT before a comparison needs parentheses: write `NOT (a NOT IN (1))` (as SQL reads it); CESQL reads `(NOT a) NOT IN (1)`, with a cast that is made in strict mode only",
        ),
        (
            "NOT a LIKE 'x%'",
            "1:1: NOT before a comparison needs parentheses: write `NOT (a LIKE 'x%')` (as SQL reads it); CESQL reads `(NOT a) LIKE 'x%'`, with a cast that is made in strict mode only",
        ),
        (
            "NOT a BETWEEN 1 AND 2",
            "1:1: NOT before a comparison needs parentheses: write `NOT (a BETWEEN 1 AND 2)`",
        ),
        ("NOT a IS NULL", "1:1: NOT before a comparison needs parentheses: write `NOT (a IS NULL)`"),
    ];
    for (text, expected) in cases {
        assert_eq!(message(text), expected, "{text}");
    }
    for text in ["a AND b AND c", "a OR (b AND c)", "NOT a AND b", "NOT EXISTS a", "NOT NOT a"] {
        assert_eq!(canonical(text), text);
    }
}

#[test]
fn a_long_mixed_chain_shows_its_beginning() {
    let text = format!("{}a OR b", "a AND ".repeat(20));
    assert!(message(&text).ends_with("a) OR b`"), "{}", message(&text));
    let text = format!("a OR b{}", " AND c".repeat(2_000));
    assert!(message(&text).len() < 300, "{}", message(&text));
    let text = "a AND b OR ".repeat(1_000) + "a";
    assert!(message(&text).len() < 300, "{}", message(&text));
    let text = "a OR ".repeat(1_000) + "b AND c";
    assert!(message(&text).len() < 400, "{}", message(&text));
    assert!(message(&text).contains("OR a OR (b AND c)` (as SQL reads it)"), "{}", message(&text));
}

#[test]
fn the_caret_stands_under_the_place_where_characters_are_wide_or_none() {
    for (text, column, before) in
        [("a = '日本語😀' AND b == 2", 18, 21), ("a = 'e\u{301}' AND b == 2", 16, 14)]
    {
        let message = refused(text).to_string();
        assert!(message.starts_with(&format!("1:{column}: ")), "{message}");
        let caret = message.lines().last().unwrap();
        assert_eq!(caret, format!("  {}^", " ".repeat(before)), "{message}");
    }
}

#[test]
fn nothing_of_a_filter_turns_the_writing_of_a_message() {
    let message = refused("a = '\u{202e}x\u{2066}' AND").to_string();
    assert!(message.chars().all(|c| !('\u{200e}'..='\u{2069}').contains(&c)), "{message:?}");
}

#[test]
fn a_filter_over_a_bound_is_refused_by_its_name() {
    use FilterErrorReason::*;
    let empty = |text: &str| refused(text).reason;
    assert_eq!(empty(""), Empty);
    assert_eq!(empty(" \n\t"), Empty);

    let limit = TEXT_BYTES_MAX;
    let long = |count: usize| format!("a = '{}'", "x".repeat(count));
    assert!(Filter::parse(&long(limit - 6)).is_ok());
    assert_eq!(refused(&long(limit - 5)).reason, TooLong { got: limit + 1, limit });

    let limit = DEPTH_MAX;
    let deep = |count| format!("{}a{}", "(".repeat(count), ")".repeat(count));
    assert!(Filter::parse(&deep(limit)).is_ok());
    assert_eq!(refused(&deep(limit + 1)).reason, TooDeep { limit });
    assert!(Filter::parse(&("NOT ".repeat(limit) + "a")).is_ok());
    assert_eq!(refused(&("NOT ".repeat(limit + 1) + "a")).reason, TooDeep { limit });

    let limit = NODES_MAX;
    let wide = |count| format!("a IN ({}1)", "1,".repeat(count));
    assert!(Filter::parse(&wide(4_000)).is_ok());
    assert_eq!(refused(&wide(5_000)).reason, TooManyNodes { limit });
    let names = |count| "a OR ".repeat(count) + "a";
    assert!(Filter::parse(&names(3_000)).is_ok());
    assert_eq!(refused(&format!("({})", "a=b OR ".repeat(2_000) + "a")).reason, TooManyNodes { limit });

    let pattern = |count| format!("a LIKE '%{}%'", "_".repeat(count));
    assert!(Filter::parse(&pattern(64)).is_ok());
    assert_eq!(refused(&pattern(65)).reason, PatternTooLong { got: 65, limit: 64 });
}

/// `a=1` prints as `a = 1`: what is accepted must still be accepted when it comes back.
#[test]
fn the_canonical_text_keeps_the_bound_of_length() {
    let text = "a<>1e15 OR ".repeat(1_300) + "a";
    assert!(text.len() < TEXT_BYTES_MAX);
    assert!(message(&text).contains("in canonical form"), "{}", message(&text));
    let error = refused(&text).reason;
    assert!(matches!(error, FilterErrorReason::CanonicalTooLong { got, .. } if got > TEXT_BYTES_MAX));
}

#[test]
fn a_nested_chain_is_kept_as_small_as_a_flat_one() {
    let nested = format!("{}{}{}", "(".repeat(60), "a AND ".repeat(1_000) + "a", " AND a)".repeat(60));
    let nested = Filter::parse(&nested).unwrap();
    let flat = Filter::parse(&("a AND ".repeat(1_060) + "a")).unwrap();
    assert_eq!(nested, flat);
    let size = |filter: &Filter| filter.tree().map(|tree| (tree.size(), tree.has_unused()));
    assert_eq!(size(&nested), size(&flat));
    assert_eq!(size(&nested).map(|(_, has_unused)| has_unused), Some(false));
}

#[test]
fn places_count_characters_and_lines() {
    let error = refused("a = 'é'\n  AND b = ?");
    assert_eq!((error.line, error.column, error.position), (2, 11, 19));
    assert_eq!(error.to_string().lines().nth(1), Some("    AND b = ?"));
    assert_eq!(error.to_string().lines().nth(2), Some("            ^"));
}

#[test]
fn a_long_line_is_cut_around_the_caret() {
    let text = format!("{}? {}", "a AND ".repeat(100), "b".repeat(100));
    let shown = refused(&text).to_string();
    let lines: Vec<&str> = shown.lines().collect();
    let caret = lines[2].chars().count();
    assert_eq!(lines[1].chars().nth(caret - 1), Some('?'));
    assert!(lines[1].chars().count() < 110 && lines[1].contains("  …") && lines[1].ends_with('…'));
}

#[test]
fn a_control_character_does_not_reach_the_terminal() {
    let shown = refused("a = \u{1b}[31m").to_string();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    assert!(!message("a = 5 'x\u{1b}[31my'").contains('\u{1b}'));
    assert!(!message("a OR b AND c = '\u{1b}[31m'").contains('\u{1b}'));
}

#[test]
fn spellings_of_one_filter_have_one_canonical_text() {
    let cases = [
        ("((a))", "a"),
        ("true", "TRUE"),
        (" a<>1 ", "a != 1"),
        ("a = \"it's\"", "a = 'it\\'s'"),
        ("a = '\\\"\\\\'", "a = '\"\\\\'"),
        ("(a and b) AND (c AND (d))", "a AND b AND c AND d"),
        ("a AND (b OR c)", "a AND (b OR c)"),
        ("a in (3, 1, 2.5, 1.0, 1)", "a IN (1, 2.5, 3)"),
        ("a IN ('b', 2, true, 'a', False)", "a IN (FALSE, TRUE, 2, 'a', 'b')"),
        ("a = 1.50", "a = 1.5"),
        ("a = - 0.0", "a = 0.0"),
        ("a = 1E3", "a = 1000.0"),
        ("a = 1e300", "a = 1e300"),
        ("a = 007", "a = 7"),
        ("a like '%%x\\%\\\\_%'", "a LIKE '%x\\%\\\\_%'"),
        ("a not between 1 and (b)", "a NOT BETWEEN 1 AND b"),
        ("a is not null", "a IS NOT NULL"),
        ("not (exists a)", "NOT EXISTS a"),
        ("(not a) = b", "(NOT a) = b"),
        ("a = (exists b)", "a = EXISTS b"),
        ("a = (b > 1)", "a = (b > 1)"),
        ("time >= timestamp('2024-05-01T02:00:00.500+02:00')", "time >= TIMESTAMP('2024-05-01T00:00:00.5Z')"),
        ("timestamp > 5 AND in_ = 1", "timestamp > 5 AND in_ = 1"),
    ];
    for (text, expected) in cases {
        assert_eq!(canonical(text), expected);
        assert_eq!(canonical(expected), expected);
        assert_eq!(Filter::parse(text), Filter::parse(expected));
    }
}

#[test]
fn missing_and_ill_typed_are_unknown() {
    let event = [("n", Value::Int(5)), ("s", Value::Str("x")), ("y", Value::Bytes(b"x"))];
    for text in [
        "gone = 1",
        "gone != 1",
        "s = 1",
        "s != 1",
        "n = 'x'",
        "n LIKE 'x'",
        "n NOT LIKE 'x'",
        "s > 1",
        "s = TRUE",
        "n",
        "gone",
        "NOT n",
        "y = 'x'",
        "y = y",
        "y IN ('x')",
        "gone IN (1)",
        "s NOT IN (1)",
        "n IN (1, 'x')",
        "gone BETWEEN 1 AND 2",
        "n XOR TRUE",
        "gone AND TRUE",
        "gone OR FALSE",
        "(gone = 1) = TRUE",
        "n BETWEEN 5 AND gone",
    ] {
        assert_eq!(evaluate(text, &event), Truth::Unknown, "{text}");
    }
}

#[test]
fn what_decides_alone_decides_beside_an_unknown() {
    let event = [("n", Value::Int(5)), ("t", Value::Bool(true)), ("y", Value::Bytes(b""))];
    for text in [
        "gone OR TRUE",
        "TRUE OR gone",
        "NOT (gone AND FALSE)",
        "gone IS NULL",
        "n IS NOT NULL",
        "EXISTS y",
        "y IS NOT NULL",
        "NOT EXISTS gone",
        "n NOT BETWEEN 6 AND gone",
        "n IN ('x', 5)",
        "t",
        "t = TRUE",
        "t != (n > 5)",
        "(gone OR t) AND n = 5",
    ] {
        assert_eq!(evaluate(text, &event), Truth::True, "{text}");
    }
}

#[test]
fn numbers_compare_exactly() {
    let event = [("n", Value::Int(9_007_199_254_740_993)), ("nan", Value::Float(f64::NAN))];
    assert_eq!(evaluate("n = 9007199254740992.0", &event), Truth::False);
    assert_eq!(evaluate("n > 9007199254740992.0", &event), Truth::True);
    assert_eq!(evaluate("n IN (9007199254740992.0)", &event), Truth::False);
    for text in ["nan = nan", "nan != 1", "nan < 1", "nan IN (1)", "nan BETWEEN 0 AND 1"] {
        assert_eq!(evaluate(text, &event), Truth::Unknown, "{text}");
    }
}

#[test]
fn strings_compare_by_bytes_and_times_by_instant() {
    let time = crate::Timestamp { seconds: 1_714_521_600, nanos: 1 };
    let event = [("s", Value::Str("Zz")), ("time", Value::Timestamp(time))];
    for text in [
        "s < 'a'",
        "s >= 'Z'",
        "s LIKE 'Z_'",
        "time > TIMESTAMP('2024-05-01T02:00:00+02:00')",
        "time < TIMESTAMP('2024-05-01T00:00:00.000000002Z')",
        "time IN (TIMESTAMP('2024-05-01T00:00:00.000000001Z'))",
    ] {
        assert_eq!(evaluate(text, &event), Truth::True, "{text}");
    }
}

#[test]
fn a_filter_evaluates_a_trait_object_too() {
    let filter = Filter::parse("n = 1").unwrap();
    let event: &dyn Attributes = &[("n", Value::Int(1))];
    assert_eq!(filter.evaluate(event), Truth::True);
}
