//! Arithmetic, functions, durations and paths: what they are read as, what they say, and in which
//! words they are refused.

use super::*;
use crate::json::JsonPayload;
use crate::path::PathErrorReason;
use crate::value::Timestamp;

const DAY_ONE: Timestamp = Timestamp { seconds: 1_714_521_600, nanos: 0 };

fn event() -> Vec<(&'static str, Value<'static>)> {
    let later = Timestamp { seconds: DAY_ONE.seconds + 90, nanos: 500_000_000 };
    vec![
        ("n", Value::Int(7)),
        ("zero", Value::Int(0)),
        ("max", Value::Int(i64::MAX)),
        ("min", Value::Int(i64::MIN)),
        ("f", Value::Float(2.5)),
        ("nan", Value::Float(f64::NAN)),
        ("inf", Value::Float(f64::INFINITY)),
        ("s", Value::Str("Straße")),
        ("five", Value::Str("5")),
        ("at", Value::Str("2024-05-01T00:00:00Z")),
        ("length", Value::Str("1m30s")),
        ("t", Value::Bool(true)),
        ("y", Value::Bytes(b"x")),
        ("time", Value::Timestamp(later)),
        ("start", Value::Timestamp(DAY_ONE)),
    ]
}

fn assert_all(cases: &[&str], expected: Truth) {
    for text in cases {
        assert_eq!(evaluate(text, &event()), expected, "{text}");
    }
}

#[test]
fn a_text_that_is_too_long_is_read_as_nothing() {
    let (fits, beyond) = ("0".repeat(1_023) + "7", "0".repeat(1_024) + "7");
    for (text, expected) in [(&fits, Truth::True), (&beyond, Truth::Unknown)] {
        let event = [("s", Value::Str(text))];
        for filter in ["INT(s) = 7", "FLOAT(s) = 7.0"] {
            assert_eq!(Filter::parse(filter).unwrap().evaluate(&event), expected, "{filter}");
        }
        let filter = Filter::parse("IS_INT(s)").unwrap();
        assert_eq!(filter.evaluate(&event), Truth::from(expected == Truth::True));
    }
}

#[test]
fn operators_bind_as_in_cesql() {
    let cases = [
        ("a+b*c-d = 1", "a + b * c - d = 1"),
        ("(a + b) + c > 0", "a + b + c > 0"),
        ("a + (b + c) > 0", "a + (b + c) > 0"),
        ("(a * b) % c > 0", "a * b % c > 0"),
        ("a * (b % c) > 0", "a * (b % c) > 0"),
        ("(a * b) + (c / d) > 0", "a * b + c / d > 0"),
        ("(a + b) * -c > 0", "(a + b) * -c > 0"),
        ("-(a + b) > - - c", "-(a + b) > - -c"),
        ("(-a) * b > a - -b", "-a * b > a - -b"),
        ("a - -5 > -(5)", "a - -5 > -5"),
        ("a BETWEEN b - 1 AND (b + 1)", "a BETWEEN b - 1 AND b + 1"),
        ("a + 1 NOT BETWEEN 2 AND 3", "a + 1 NOT BETWEEN 2 AND 3"),
        ("-a IN (1)", "-a IN (1)"),
        ("(a + b) in (1)", "(a + b) IN (1)"),
        ("Length(s) > 3 and lower(s) LIKE 'x%'", "LENGTH(s) > 3 AND LOWER(s) LIKE 'x%'"),
        ("is_int(a)", "IS_INT(a)"),
        ("BOOL(a AND (b OR c))", "BOOL(a AND (b OR c))"),
        ("concat(a,'x' , data.b)='ax'", "CONCAT(a, 'x', data.b) = 'ax'"),
    ];
    for (text, expected) in cases {
        assert_eq!(canonical(text), expected, "{text}");
        assert_eq!(canonical(expected), expected, "{text}");
        assert!(!Filter::parse(text).unwrap().tree().unwrap().has_unused(), "{text}");
    }
}

#[test]
fn constants_are_computed_when_the_filter_is_read() {
    let cases = [
        ("n > 60 * 60 * 24", "n > 86400"),
        ("n > 1 + 2 * 3 - n", "n > 7 - n"),
        ("n + 1 + 2 > 0", "n + 1 + 2 > 0"),
        ("n > 7 / 2 AND n > -7 / 2 AND n > -7 % 4", "n > 3 AND n > -3 AND n > -3"),
        ("n > 1 / 2.0", "n > 0.5"),
        ("n = 0.1 + 0.2", "n = 0.30000000000000004"),
        ("n > -(3 - 5)", "n > 2"),
        ("s = UPPER('straße')", "s = 'STRASSE'"),
        ("s = CONCAT_WS('-', 'a', STRING(5), STRING(TRUE), STRING(0.5))", "s = 'a-5-true-0.5'"),
        ("s = CONCAT()", "s = ''"),
        ("n = INT('-5') AND n = FLOAT('1e3') AND t = BOOL('True')", "n = -5 AND n = 1000.0 AND t = TRUE"),
        ("n > LENGTH('日本')", "n > 2"),
        ("IS_INT('x') OR t", "FALSE OR t"),
        ("time - start > DURATION('90s')", "time - start > DURATION('1m30s')"),
        ("time - start > DURATION('PT1H') * 36", "time - start > DURATION('1d12h')"),
        ("time - start > -DURATION('250ms')", "time - start > DURATION('-0.25s')"),
        ("n > DURATION('1h') / DURATION('1m')", "n > 60"),
        (
            "time > TIMESTAMP('2024-05-01T00:00:00Z') - DURATION('1d')",
            "time > TIMESTAMP('2024-04-30T00:00:00Z')",
        ),
        ("s = STRING(TIMESTAMP('2024-05-01T02:00:00+02:00'))", "s = '2024-05-01T00:00:00Z'"),
        ("s = STRING(DURATION('90m'))", "s = '1h30m'"),
    ];
    for (text, expected) in cases {
        assert_eq!(canonical(text), expected, "{text}");
        assert_eq!(canonical(expected), expected, "{text}");
        assert!(!Filter::parse(text).unwrap().tree().unwrap().has_unused(), "{text}");
    }
}

#[test]
fn arithmetic_is_exact_or_unknown() {
    assert_all(
        &[
            "n + 3 = 10",
            "n - 10 = -3",
            "n * -2 = -14",
            "n / 2 = 3",
            "-n / 2 = -3",
            "n % 4 = 3",
            "-n % 4 = -3",
            "n % -4 = 3",
            "min % -1 = 0",
            "-n = 0 - 7",
            "n / 2 * 2 = 6",
            "n / 2.0 = 3.5",
            "f + n = 9.5",
            "f % 1 = 0.5",
            "f - f % 1 = 2",
            "n - 7 = 0 AND f - f = 0.0",
            "max - 1 < max",
            "n + f BETWEEN n AND n + n",
            "(n + 1) IN (8, 9)",
            "n * n > n + n AND t",
            "ABS(-n) = 7 AND ABS(f - n) = 4.5",
        ],
        Truth::True,
    );
    assert_all(
        &[
            "max + 1 > 0",
            "min - 1 < 0",
            "max * 2 > 0",
            "-min > 0",
            "ABS(min) > 0",
            "min / -1 > 0",
            "n / zero = 0",
            "n % zero = 0",
            "f / 0 > 0",
            "f / 0.0 > 0",
            "f % 0.0 = f",
            "f * 1e308 > 0",
            "inf + 1 > 0",
            "inf - inf = 0",
            "nan + 1 > 0",
            "ABS(nan) >= 0",
            "max + 0.5 > 0",
            "max * 1.0 = max",
            "gone + 1 > 0",
            "s + 1 > 0",
            "t + 1 > 0",
            "y + 1 > 0",
            "start + start = n",
            "-s = n",
            "-y = 1",
            "(n / zero) IN (1)",
            "n BETWEEN zero AND max + 1",
        ],
        Truth::Unknown,
    );
    assert_eq!(evaluate("n BETWEEN 8 AND max + 1", &event()), Truth::False);
}

#[test]
fn times_have_distances_and_distances_have_lengths() {
    assert_all(
        &[
            "time - start = DURATION('90.5s')",
            "time - start > DURATION('90s') AND start - time < DURATION('0s')",
            "start + DURATION('90.5s') = time",
            "DURATION('90.5s') + start = time",
            "time - DURATION('90.5s') = start",
            "(time - start) / DURATION('1s') = 90",
            "(time - start) % DURATION('1s') = DURATION('500ms')",
            "(time - start) * 2 = DURATION('3m1s')",
            "2 * (time - start) - DURATION('1s') = DURATION('3m')",
            "(time - start) / 2 = DURATION('45.25s')",
            "-(time - start) = start - time",
            "ABS(start - time) = time - start",
            "time - start BETWEEN DURATION('1m') AND DURATION('2m')",
            "DURATION(length) + DURATION('0.5s') = time - start",
            "TIMESTAMP(at) = start",
            "TIMESTAMP(start) = start",
            "STRING(time) = '2024-05-01T00:01:30.5Z'",
            "STRING(time - start) = '1m30.5s'",
            "IS_TIMESTAMP(at) AND IS_DURATION(length) AND IS_DURATION(time - start)",
            "NOT IS_TIMESTAMP(s) AND NOT IS_DURATION(n) AND IS_TIMESTAMP(time)",
        ],
        Truth::True,
    );
    assert_all(
        &[
            "DURATION(s) > DURATION('1s')",
            "TIMESTAMP(s) > start",
            "(time - start) / (start - start) = 1",
            "(time - start) / zero > DURATION('1s')",
            "(time - start) * f > DURATION('1s')",
            "(time - start) * max > DURATION('1s')",
            "start + DURATION('9223372036854775807s') > start",
            "start - n > start",
            "gone - start > DURATION('1s')",
        ],
        Truth::Unknown,
    );
    assert_eq!(evaluate("TIMESTAMP(n) > start", &event()), Truth::Unknown);
}

#[test]
fn functions_over_text() {
    assert_all(
        &[
            "LENGTH(s) = 6",
            "LOWER(s) = 'straße' AND UPPER(s) = 'STRASSE'",
            "LEFT(s, 2) = 'St' AND RIGHT(s, 2) = 'ße' AND LEFT(s, 99) = s",
            "SUBSTRING(s, 4) = 'aße' AND SUBSTRING(s, -3, 2) = 'aß' AND SUBSTRING(s, 0) = ''",
            "TRIM(CONCAT(' ', s, ' ')) = s",
            "LEFT(UPPER(s), 3) = 'STR' AND RIGHT(UPPER(s), 3) = 'SSE' AND SUBSTRING(UPPER(s), 3, 2) = 'RA'",
            "CONCAT(s, '/', five) = 'Straße/5' AND CONCAT_WS('', s, five) = 'Straße5'",
            "CONCAT_WS('/', s) = s AND CONCAT_WS(five) = ''",
            "LOWER(s) LIKE 'stra_e' AND UPPER(s) IN ('STRASSE')",
            "LENGTH(LOWER(s)) + LENGTH(five) = n",
        ],
        Truth::True,
    );
    assert_all(
        &[
            "LENGTH(n) = 1",
            "LENGTH(y) = 1",
            "LENGTH(gone) = 0",
            "LOWER(t) = 'true'",
            "CONCAT(s, n) = 'x'",
            "CONCAT(s, gone) = s",
            "CONCAT_WS(gone, s) = s",
            "LEFT(s, -1) = s",
            "RIGHT(s, f) = s",
            "LEFT(s, five) = s",
            "SUBSTRING(s, 99) = ''",
            "SUBSTRING(s, 1, -1) = ''",
            "SUBSTRING(s, min) = ''",
        ],
        Truth::Unknown,
    );
}

#[test]
fn casts_change_no_number() {
    assert_all(
        &[
            "INT(five) = 5 AND FLOAT(five) = 5.0 AND INT(t) = 1 AND FLOAT(t) = 1",
            "INT(f + f) = 5 AND FLOAT(n) = 7 AND INT(n) = n",
            "INT('+7') = n AND INT('-0') = 0 AND FLOAT('-0') = 0 AND FLOAT('1.5E+2') = 150",
            "BOOL(n) AND BOOL(f) AND BOOL('TRUE') AND BOOL(t)",
            "NOT BOOL(zero) AND NOT BOOL(zero * 0.5)",
            "STRING(n) = '7' AND STRING(f) = '2.5' AND STRING(t) = 'true' AND STRING(s) = s",
            "STRING(f * -0.0) = '0.0' AND STRING(f * 1e300) = '2.5e300'",
            "IS_INT(n) AND IS_INT(five) AND IS_INT(t) AND IS_INT(f + f) AND IS_FLOAT(n) AND IS_FLOAT(f)",
            "IS_BOOL(t) AND IS_BOOL(n) AND IS_FLOAT('1e3')",
        ],
        Truth::True,
    );
    assert_all(
        &[
            "IS_INT(f)",
            "IS_INT(s)",
            "IS_INT(y)",
            "IS_INT(nan)",
            "IS_INT(time)",
            "IS_INT('')",
            "IS_INT(' 5')",
            "IS_INT('5.0')",
            "IS_INT('9223372036854775808')",
            "IS_FLOAT(max)",
            "IS_FLOAT(nan)",
            "IS_FLOAT('inf')",
            "IS_FLOAT('nan')",
            "IS_FLOAT('1e999')",
            "IS_FLOAT('.5')",
            "IS_BOOL(s)",
            "IS_BOOL(nan)",
            "IS_TIMESTAMP(n)",
        ],
        Truth::False,
    );
    assert_all(
        &[
            "INT(f) = 2",
            "INT(s) = 0",
            "INT(y) = 0",
            "INT(inf) > 0",
            "FLOAT(max) > 0",
            "FLOAT(nan) = 0",
            "BOOL(s)",
            "BOOL(nan)",
            "STRING(y) = 'x'",
            "STRING(inf) = 'inf'",
            "IS_INT(gone)",
            "IS_FLOAT(max + 1)",
        ],
        Truth::Unknown,
    );
}

#[test]
fn paths_are_values_like_names() {
    let json = br#"{"price": 12.5, "n": 3, "items": [{"sku": "a1", "tags": []}], "ok": true, "no": null,
        "odd key": "x", "at": "2024-05-01T00:00:00Z"}"#;
    let event = || (event(), JsonPayload::new(json));
    let says = |text: &str| Filter::parse(text).unwrap_or_else(|error| panic!("{error}")).evaluate(&event());
    for text in [
        "data.price > 12 AND data.n = 3",
        "data.n * data.price = 37.5",
        "data.items[0].sku LIKE 'a_'",
        "data['odd key'] IN ('x') AND data.ok",
        "data.ok AND NOT (data.n > 5)",
        "EXISTS data.items AND EXISTS data.items[0].tags AND data.items IS NOT NULL",
        "data.no IS NULL AND NOT EXISTS data.no AND data.gone.x IS NULL AND data.items[1] IS NULL",
        "TIMESTAMP(data.at) = start",
        "UPPER(data.items[0].sku) = 'A1'",
        "data IS NULL",
    ] {
        assert_eq!(says(text), Truth::True, "{text}");
    }
    for text in
        ["data.gone = 1", "data.no = 1", "data.items = 'x'", "data.items", "data.price LIKE 'x'", "data.n"]
    {
        assert_eq!(says(text), Truth::Unknown, "{text}");
    }
    assert_eq!(evaluate("data.n = 3", &[]), Truth::Unknown);
    assert_eq!(
        canonical("data['a'][\"b c\"][00] = 1 AND exists data.in"),
        "data.a['b c'][0] = 1 AND EXISTS data.in"
    );
    let paths = Filter::parse("data.a > 1 OR data.b[0] IS NULL OR n = 1").unwrap();
    assert_eq!(paths.paths().iter().map(Path::as_str).collect::<Vec<_>>(), ["data.a", "data.b[0]"]);
}

#[test]
fn what_never_fits_is_refused() {
    let cases = [
        (
            "'x' + 1 > 2",
            "1:1: `+` has no meaning with a string: join texts with CONCAT, or read numbers with INT or FLOAT",
        ),
        ("n * 'x' > 2", "1:5: `*` has no meaning with a string: read a number with INT or FLOAT"),
        ("n - TRUE > 2", "1:5: `-` has no meaning with a truth value: INT makes 1 and 0 of truth values"),
        ("-topic = 'x'", "1:2: `-` has no meaning with a string: read a number with INT or FLOAT"),
        ("-time > time", "1:2: `-` has no meaning with a timestamp"),
        ("time + time > time", "1:6: `+` has no meaning between a timestamp and a timestamp"),
        (
            "time + 5 > time",
            "1:6: `+` has no meaning between a timestamp and a number: write a length of time as DURATION('90s')",
        ),
        (
            "DURATION('1s') < 5",
            "1:18: a duration and a number never compare, there are no implicit casts: write DURATION('90s'), or divide by DURATION('1s') to get seconds",
        ),
        (
            "age > DURATION('1h')",
            "1:7: an attribute and a duration never compare, there are no implicit casts: no event holds one, DURATION(…) reads one from a text and a minus between two timestamps gives one",
        ),
        (
            "data.at > time",
            "1:11: a truth value, a number or a string and a timestamp never compare, there are no implicit casts: TIMESTAMP(data.…) reads one from a text",
        ),
        ("a + b", "1:1: expected a condition, but this is a number: compare it with something"),
        ("LENGTH(a)", "1:1: expected a condition, but this is a number: compare it with something"),
        ("LENGTH(5) > 0", "1:8: LENGTH takes a string here, and this is a number: STRING makes a text of it"),
        (
            "LEFT(a, 'x') = 'y'",
            "1:9: LEFT takes a number here, and this is a string: INT and FLOAT read numbers",
        ),
        (
            "CONCAT(a, b > 1) = 'x'",
            "1:11: CONCAT takes a string here, and this is a truth value: STRING makes a text of it",
        ),
        ("ABS(time) > time", "1:5: ABS takes a number or a duration here, and this is a timestamp"),
        ("INT(time) > 0", "1:5: INT takes a truth value, a number or a string here, and this is a timestamp"),
        ("LEFT(a) = 'x'", "1:7: LEFT takes 2 arguments"),
        ("LENGTH(a, b) > 1", "1:11: LENGTH takes 1 argument"),
        ("SUBSTRING(a, 1, 2, 3) = 'x'", "1:20: SUBSTRING takes 2 to 3 arguments"),
        ("CONCAT_WS() = 'x'", "1:11: CONCAT_WS takes 1 argument or more"),
        ("LENGTH() > 1", "1:8: LENGTH takes 1 argument"),
        (
            "CONCAT(a,) = 'x'",
            "1:10: expected a value after `,`, found `)`: a number, a string, TRUE, FALSE or a name",
        ),
        ("CONCAT(a b) = 'x'", "1:10: expected `,` or `)` after `a`, found `b`"),
        (
            "n > 5 / 0",
            "1:5: `5 / 0` has no value: a division by zero, a result out of range, or a cast that does not fit",
        ),
        (
            "n > 1 + INT('x')",
            "1:9: `INT('x')` has no value: a division by zero, a result out of range, or a cast that does not fit",
        ),
        (
            "n = 9223372036854775807 + 1",
            "1:5: `9223372036854775807 + 1` has no value: a division by zero, a result out of range, or a cast that does not fit",
        ),
        (
            "time > TIMESTAMP('9999-12-31T23:59:59Z') + DURATION('1s')",
            "1:8: `TIMESTAMP('9999-12-31T23:59:59Z') + DURA…` has no value: a division by zero, a result out of range, or a cast that does not fit",
        ),
        (
            "time - start > DURATION('5 m')",
            "1:25: not a duration: expected whole numbers with a unit (d h m s ms) each, the largest unit first; write DURATION('90s'), DURATION('1h30m') or DURATION('PT90S')",
        ),
        (
            "time - start > DURATION('P1Y')",
            "1:25: not a duration: years and months have no fixed length: write days; write DURATION('90s'), DURATION('1h30m') or DURATION('PT90S')",
        ),
        (
            "time > NOW() - DURATION('1h')",
            "1:8: there is no NOW: a filter looks at the event alone, so that it says the same whenever and wherever it is asked; compare with `time`, another attribute or TIMESTAMP('…')",
        ),
        ("LENGHT(s) > 1", "1:1: unknown function `LENGHT`: did you mean LENGTH?"),
        ("substr(s, 1) = 'x'", "1:1: unknown function `substr`: did you mean SUBSTRING?"),
        ("startswith(s, 'x')", "1:1: unknown function `startswith`: did you mean LIKE 'text%'?"),
        (
            "frobnicate(s) = 1",
            "1:1: unknown function `frobnicate`: there are ABS, BOOL, CONCAT, CONCAT_WS, DURATION, FLOAT, INT, IS_BOOL, IS_DURATION, IS_FLOAT, IS_INT, IS_TIMESTAMP, LEFT, LENGTH, LOWER, RIGHT, STRING, SUBSTRING, TIMESTAMP, TRIM, UPPER",
        ),
        ("a = +5", "1:5: expected a value after `=`, found `+`: a number, a string, TRUE, FALSE or a name"),
        ("a IN (1 + 2)", "1:9: expected `,` or `)` after `1`, found `+`"),
        (
            "a IN (LOWER('X'))",
            "1:7: expected a literal after `(`, found `LOWER`: a number, a string, TRUE, FALSE or TIMESTAMP('…')",
        ),
        ("a // 2 = 1", "1:3: `//` is not an operator of filters: use `/`"),
        (
            "data. > 1",
            "1:6: not a path into the payload: expected a member after `.`: letters, digits and `_`, or [\"any text\"] without the `.`; write `data.order.items[0]['odd key']`",
        ),
        (
            "x = data[1",
            "1:11: not a path into the payload: expected `]`; write `data.order.items[0]['odd key']`",
        ),
        (
            "LENGTH(data['é'].) > 1",
            "1:18: not a path into the payload: expected a member after `.`: letters, digits and `_`, or [\"any text\"] without the `.`; write `data.order.items[0]['odd key']`",
        ),
        ("data [0] = 1", "1:6: `[` has no meaning here: group with ( and )"),
    ];
    for (text, expected) in cases {
        assert_eq!(message(text), expected, "{text}");
    }
    let reason = FilterErrorReason::MalformedPath { error: PathErrorReason::IndexOutOfRange };
    assert_eq!(refused("data[4294967296] = 1").reason, reason);
}

#[test]
fn what_arithmetic_makes_ambiguous_is_refused_with_both_readings() {
    let cases = [
        (
            "a + b IN (1)",
            "1:7: arithmetic before IN and LIKE needs parentheses: write `(a + b) IN (1)` (as SQL reads it); CESQL reads `a + (b IN (1))`, with a cast that is made in strict mode only",
        ),
        ("x AND a - b * c NOT LIKE 'x%'", "1:21: LIKE matches strings, and this is a number"),
        (
            "a - b * c NOT IN (1)",
            "1:15: arithmetic before IN and LIKE needs parentheses: write `(a - b * c) NOT IN (1)` (as SQL reads it); CESQL reads `a - b * (c NOT IN (1))`, with a cast that is made in strict mode only",
        ),
        (
            "NOT a + b = c",
            "1:1: NOT before a comparison needs parentheses: write `NOT (a + b = c)` (as SQL reads it); CESQL reads `(NOT a) + b = c`, with a cast that is made in strict mode only",
        ),
        (
            "NOT a * b > c",
            "1:1: NOT before a comparison needs parentheses: write `NOT (a * b > c)` (as SQL reads it); CESQL reads `(NOT a) * b > c`, with a cast that is made in strict mode only",
        ),
        ("NOT a + b", "1:5: expected a condition, but this is a number: compare it with something"),
        ("NOT -a", "1:5: expected a condition, but this is a number: compare it with something"),
        (
            "NOT -a = b",
            "1:1: NOT before a comparison needs parentheses: write `NOT (-a = b)` (as SQL reads it); CESQL reads `(NOT -a) = b`, with a cast that is made in strict mode only",
        ),
        (
            "a = b IN (1)",
            "1:7: comparisons side by side need parentheses: write `a = (b IN (1))`, or join two conditions with AND",
        ),
        (
            "a = b IS NULL",
            "1:7: comparisons side by side need parentheses: write `a = (b IS NULL)`, or join two conditions with AND",
        ),
        (
            "a LIKE 'x' = b",
            "1:12: comparisons side by side need parentheses: write `(a LIKE 'x') …`, or join two conditions with AND",
        ),
        (
            "a IS NULL IS NULL",
            "1:11: comparisons side by side need parentheses: write `(a IS NULL) …`, or join two conditions with AND",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(message(text), expected, "{text}");
    }
    assert!(message(&("a".to_owned() + &" IN (1)".repeat(2_000))).len() < 200);
}

#[test]
fn expressions_are_bounded() {
    use FilterErrorReason::{NoValue, TooCostly, TooDeep, TooManyNodes};
    let sum = |count| format!("a{} > 1", " + a".repeat(count));
    assert_eq!(Filter::parse(&sum(4_000)).unwrap().evaluate(&[("a", Value::Int(1))]), Truth::True);
    assert_eq!(refused(&sum(4_094)).reason, TooManyNodes { limit: NODES_MAX });
    let minus = |count| format!("{}a > 1", "- ".repeat(count));
    assert!(Filter::parse(&minus(DEPTH_MAX)).is_ok());
    assert_eq!(refused(&minus(DEPTH_MAX + 1)).reason, TooDeep { limit: DEPTH_MAX });
    let calls = |count| format!("{}a{} = 'x'", "TRIM(".repeat(count), ")".repeat(count));
    assert!(Filter::parse(&calls(DEPTH_MAX)).is_ok());
    assert_eq!(refused(&calls(DEPTH_MAX + 1)).reason, TooDeep { limit: DEPTH_MAX });

    let makers = |count| format!("CONCAT({}) = 'x'", vec!["LOWER(a)"; count].join(", "));
    assert!(Filter::parse(&makers(61)).unwrap().cost() <= COST_MAX);
    assert_eq!(refused(&makers(63)).reason, TooCostly { limit: COST_MAX });
    assert_eq!(refused(&makers(70)).column, "CONCAT(".len() + 63 * "LOWER(a), ".len() + 1);
    assert!(Filter::parse(&makers(200).replace("(a)", "('A')")).is_ok());

    let long = "x".repeat(MADE_TEXT_BYTES_MAX);
    let of = |text: &str, value: &str| Filter::parse(text).unwrap().evaluate(&[("a", Value::Str(value))]);
    assert_eq!(of("LENGTH(UPPER(a)) = 16384", &long), Truth::True);
    assert_eq!(of("LENGTH(CONCAT(a, 'x')) > 0", &long), Truth::Unknown);
    assert_eq!(of("LENGTH(LEFT(CONCAT(a, a), 1)) > 0", &long), Truth::Unknown);
    assert_eq!(of("LENGTH(a) > 0 AND TRIM(a) = a", &long.repeat(9)), Truth::True);
    let doubled = format!("CONCAT('{0}', '{0}', '{0}') = a", "ß".repeat(2_700));
    assert!(Filter::parse(&doubled).is_ok());
    assert!(matches!(
        refused(&doubled.replace("CONCAT", "UPPER").replace("', '", "ΐΐ").replace('ß', "ΐ")).reason,
        NoValue { .. }
    ));
}

#[test]
fn a_nested_sum_is_kept_as_small_as_a_flat_one() {
    let nested = format!("{}{}{} > 0", "(".repeat(60), "a + ".repeat(1_000) + "a", " - a)".repeat(60));
    let nested = Filter::parse(&nested).unwrap();
    let flat = Filter::parse(&("a + ".repeat(1_000) + "a" + &" - a".repeat(60) + " > 0")).unwrap();
    assert_eq!(nested, flat);
    assert_eq!(nested.cost(), flat.cost());
}
