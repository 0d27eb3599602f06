//! The test kit of CloudEvents SQL 1.0.0 against the binary: `fanal filter test --strict --json-lines`
//! gives what the kit wants. The kit belongs to its specification and is not copied here:
//! `FANAL_CESQL_TCK` names its directory, else it is looked for beside the repository.
//!
//! The driver is as simple as anybody's would be: YAML becomes JSON as it is.

#![expect(clippy::unwrap_used, reason = "a test that cannot run its command has failed")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};
use yaml_rust2::{Yaml, YamlLoader};

const CASES: usize = 275;

/// `NOT 10`: section 3.7 of the specification casts an integer to true, the kit still has what a draft
/// said.
const CONTRADICTS_THE_TEXT: &str = "Invalid int cast";

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
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
    None
}

fn json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::String(text) => text.as_str().into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::Boolean(known) => (*known).into(),
        Yaml::Hash(members) => {
            let member = |(name, value): (&Yaml, &Yaml)| (name.as_str().unwrap().to_owned(), json(value));
            members.iter().map(member).collect::<Map<String, Value>>().into()
        }
        Yaml::BadValue | Yaml::Null => Value::Null,
        other => panic!("{other:?}"),
    }
}

/// The required attributes, and what the case has of its own.
fn event(case: &Yaml) -> Value {
    let mut event = json!({ "specversion": "1.0", "id": "id", "source": "localhost", "type": "type" });
    for own in ["event", "eventOverrides"] {
        if let (Value::Object(own), Some(event)) = (json(&case[own]), event.as_object_mut()) {
            event.extend(own);
        }
    }
    event
}

fn cases(kit: &Path) -> Vec<Yaml> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(kit).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let read = |file: &PathBuf| YamlLoader::load_from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    files.iter().flat_map(|file| read(file)[0]["tests"].as_vec().unwrap().clone()).collect()
}

fn answers(questions: &str) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fanal"))
        .args(["filter", "test", "--strict", "--json-lines"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, text) = (child.stdin.take().unwrap(), questions.to_owned());
    let feeding = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_test_kit_of_cesql_passes_through_the_command_line() {
    let Some(kit) = directory("the_test_kit_of_cesql_passes_through_the_command_line") else { return };
    let cases = cases(&kit);
    assert_eq!(cases.len(), CASES, "cases of the kit");
    let question = |case: &Yaml| json!({ "expression": json(&case["expression"]), "event": event(case) });
    // Blank lines and null are no questions.
    let questions: Vec<String> = cases.iter().map(|case| format!("\nnull\n{}\n", question(case))).collect();
    let answers = answers(&questions.concat());
    assert_eq!(answers.len(), CASES, "one answer a question");
    let mut failed = Vec::new();
    for (case, answer) in cases.iter().zip(&answers) {
        let wanted = json!({ "result": json(&case["result"]), "error": json(&case["error"]) });
        let is_any = wanted["result"].is_null();
        let fits = answer["error"] == wanted["error"] && (is_any || answer["result"] == wanted["result"]);
        if json(&case["name"]) == CONTRADICTS_THE_TEXT && !fits {
            assert_eq!(*answer, json!({ "result": false, "error": null }));
        } else if !fits {
            failed.push(format!("{}: {answer}, not {wanted}", question(case)));
        }
    }
    assert!(failed.is_empty(), "{} of {CASES} fail:\n{}", failed.len(), failed.join("\n"));
}
