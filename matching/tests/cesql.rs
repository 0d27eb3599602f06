//! The test kit of CloudEvents SQL 1.0.0, which belongs to its specification and is not copied here:
//! `FANAL_CESQL_TCK` names its directory, else it is looked for beside the repository.
//!
//! 1. Every case passes but the one that contradicts the text, for which the text is followed.
//! 2. A kit of another size fails: a case that was not read would otherwise pass.

use std::io::Write;
use std::path::{Path, PathBuf};

use fanal_matching::strict::{ErrorKind, Expression, Outcome, Primitive};
use fanal_matching::{Filter, Truth, Value};
use yaml_rust2::{Yaml, YamlLoader};

const FILES: usize = 18;
const CASES: usize = 275;

/// `NOT 10`: section 3.7 casts an integer other than 0 to true, and gives no error for it. The kit
/// still has what a draft said.
const CONTRADICTS_THE_TEXT: (&str, &str) = ("Not operator", "Invalid int cast");

struct Case {
    file: String,
    name: String,
    expression: String,
    /// A case with an error may leave it out.
    result: Option<Primitive>,
    error: Option<String>,
    event: Vec<(String, Yaml)>,
}

/// The directory of the kit; `None` when it is not there, which was said.
fn directory(test: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/cesql_tck");
    let named = std::env::var_os("FANAL_CESQL_TCK").map(PathBuf::from);
    let kit = named.clone().unwrap_or(beside);
    if kit.is_dir() {
        return Some(kit);
    }
    assert!(named.is_none(), "FANAL_CESQL_TCK names {}, which is no directory", kit.display());
    // Not `eprintln!`, which the test harness keeps to itself when the test passes.
    let why = "the test kit of CESQL is missing: FANAL_CESQL_TCK names a copy of cesql/cesql_tck";
    writeln!(std::io::stderr(), "SKIPPED: {test}: {why}").expect("standard error is open");
    None
}

/// A scalar as text: `TRUE` and `0` are no strings in YAML. Keywords are read in any case.
fn text(yaml: &Yaml) -> Option<String> {
    match yaml {
        Yaml::String(text) => Some(text.clone()),
        Yaml::Boolean(known) => Some(known.to_string()),
        Yaml::Integer(number) => Some(number.to_string()),
        Yaml::BadValue => None,
        other => panic!("a scalar of another kind: {other:?}"),
    }
}

fn primitive(yaml: &Yaml) -> Option<Primitive> {
    match yaml {
        Yaml::Boolean(known) => Some(Primitive::Bool(*known)),
        Yaml::Integer(number) => Some(Primitive::Int(i32::try_from(*number).expect("32 bits"))),
        Yaml::String(text) => Some(Primitive::Str(text.clone())),
        Yaml::BadValue => None,
        other => panic!("a result of another kind: {other:?}"),
    }
}

/// The required attributes, and what the case has of its own.
fn event(case: &Yaml) -> Vec<(String, Yaml)> {
    let own = [&case["event"], &case["eventOverrides"]].into_iter().filter_map(Yaml::as_hash);
    let own = own.flatten().map(|(name, value)| (name.as_str().expect("a name").to_owned(), value.clone()));
    let own: Vec<(String, Yaml)> = own.collect();
    let required = [("specversion", "1.0"), ("id", "id"), ("source", "localhost"), ("type", "type")];
    let required = required.map(|(name, value)| (name.to_owned(), Yaml::String(value.to_owned())));
    own.into_iter().chain(required).collect()
}

fn value(yaml: &Yaml) -> Value<'_> {
    match yaml {
        Yaml::Boolean(known) => Value::Bool(*known),
        Yaml::Integer(number) => Value::Int(*number),
        Yaml::String(text) => Value::Str(text),
        other => panic!("an attribute of another kind: {other:?}"),
    }
}

fn cases_of(path: &Path) -> Vec<Case> {
    let content = std::fs::read_to_string(path).expect("a readable file");
    let documents = YamlLoader::load_from_str(&content).expect("a file of YAML");
    let file = text(&documents[0]["name"]).expect("a file has a name");
    let tests = documents[0]["tests"].as_vec().expect("a file has tests");
    let read = |case: &Yaml| Case {
        file: file.clone(),
        name: text(&case["name"]).expect("a case has a name"),
        expression: text(&case["expression"]).expect("a case has an expression"),
        result: primitive(&case["result"]),
        error: text(&case["error"]),
        event: event(case),
    };
    tests.iter().map(read).collect()
}

fn cases(kit: &Path) -> Vec<Case> {
    let entries = std::fs::read_dir(kit).expect("a readable directory");
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    files.sort();
    assert_eq!(files.len(), FILES, "files of the kit");
    files.iter().flat_map(|path| cases_of(path)).collect()
}

fn outcome(case: &Case) -> Outcome {
    let event: Vec<(&str, Value<'_>)> =
        case.event.iter().map(|(name, yaml)| (name.as_str(), value(yaml))).collect();
    match Expression::parse(&case.expression) {
        Ok(expression) => {
            let again = Expression::parse(expression.as_str()).expect("canonical text parses");
            assert_eq!(again, expression);
            let outcome = expression.evaluate(&event);
            assert_eq!(again.evaluate(&event), outcome, "{expression}");
            check_filter(case, &event, &outcome);
            outcome
        }
        Err(error) => Outcome { value: Primitive::Bool(false), error: Some(ErrorKind::of(&error)) },
    }
}

/// As a filter only a true without error is a match (section 1.2).
fn check_filter(case: &Case, event: &Vec<(&str, Value<'_>)>, outcome: &Outcome) {
    let expected = match (&outcome.value, outcome.error) {
        (Primitive::Bool(known), None) => Truth::from(*known),
        _ => Truth::Unknown,
    };
    if let Ok(filter) = Filter::parse_strict(&case.expression) {
        assert!(filter.is_strict());
        assert_eq!(filter.evaluate(event), expected, "{filter}");
    } else {
        assert_eq!(expected, Truth::Unknown, "{}", case.expression);
    }
}

#[test]
fn the_test_kit_of_cesql_passes() {
    let Some(kit) = directory("the_test_kit_of_cesql_passes") else { return };
    let cases = cases(&kit);
    assert_eq!(cases.len(), CASES, "cases of the kit");
    let mut failed = Vec::new();
    let mut contradicted = 0;
    for case in &cases {
        let given = outcome(case);
        let error = given.error.map(ErrorKind::as_str);
        if (case.file.as_str(), case.name.as_str()) == CONTRADICTS_THE_TEXT {
            contradicted += 1;
            assert_eq!((given.value, error), (Primitive::Bool(false), None), "{}", case.expression);
        } else if error != case.error.as_deref()
            || case.result.as_ref().is_some_and(|result| *result != given.value)
        {
            failed.push(format!(
                "{}, {}: `{}` gives {:?}, {error:?}; the kit has {:?}, {:?}",
                case.file, case.name, case.expression, given.value, case.result, case.error
            ));
        }
    }
    assert_eq!(contradicted, 1, "the case that contradicts the text");
    assert!(failed.is_empty(), "{} of {CASES} fail:\n{}", failed.len(), failed.join("\n"));
}
