//! The schemas of `protocol/schemas`, and real answers held against them.
//!
//! Invariants:
//! 1. An answer must be valid under the schema as it is published, and under its strict form, in
//!    which no object may have a member that is not described.
//! 2. What was seen is kept, so that a schema that describes what never comes is found: see
//!    [`Schemas::unseen`]. A member counts as seen where it is not null.
//! 3. Nothing is fetched: a reference that `protocol/schemas` does not hold is an error.
//!
//! How schemas are written, and what a new output needs: `protocol/schemas/README.md`.

pub mod mutant;
pub mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jsonschema::{Registry, Validator};
use serde_json::Value;

use crate::cli::repository;

/// The file that holds what others refer to; no output of its own.
pub const COMMON: &str = "common";

/// Where references are resolved.
const BASE: &str = "json-schema:///";

/// Where the schemas are.
pub fn directory() -> PathBuf {
    repository().join("protocol/schemas")
}

/// One schema, and what was seen of it.
pub struct Schema {
    /// The file as it is.
    pub document: Value,
    /// The same without references.
    pub plain: Value,
    published: Validator,
    strict: Validator,
    answers: Vec<Value>,
}

impl Schema {
    /// Whether consumers accept it.
    pub fn accepts(&self, answer: &Value) -> bool {
        self.published.is_valid(answer)
    }

    /// Whether it is valid and has no member that is not described.
    pub fn describes(&self, answer: &Value) -> bool {
        self.strict.is_valid(answer)
    }

    /// What was checked against it.
    pub fn answers(&self) -> &[Value] {
        &self.answers
    }

    fn problems(&self, answer: &Value) -> Vec<String> {
        let published = self.published.iter_errors(answer).map(|error| ("", error));
        let strict = self.strict.iter_errors(answer).map(|error| ("strict: ", error));
        let all = published.chain(strict);
        all.map(|(form, error)| format!("{form}at `{}`: {error}", error.instance_path())).collect()
    }
}

/// Every schema of the repository by name: the file's without `.json`.
pub struct Schemas(BTreeMap<String, Schema>);

impl Schemas {
    /// Reads them all.
    ///
    /// # Panics
    /// When one of them is no schema or refers to something that is not there.
    pub fn read() -> Schemas {
        let documents = documents();
        let common = &documents[COMMON];
        let (as_is, strict) = (registry(common.clone()), registry(walk::strict(common)));
        let build = |registry: &Registry<'_>, name: &str, document: &Value| {
            let built = jsonschema::options().with_registry(registry).build(document);
            built.unwrap_or_else(|error| panic!("{name}.json is no schema: {error}"))
        };
        let outputs = documents.iter().filter(|(name, _)| *name != COMMON);
        let schemas = outputs.map(|(name, document)| {
            let schema = Schema {
                document: document.clone(),
                plain: walk::without_references(document, common),
                published: build(&as_is, name, document),
                strict: build(&strict, name, &walk::strict(document)),
                answers: Vec::new(),
            };
            (name.clone(), schema)
        });
        Schemas(schemas.collect())
    }

    /// One schema.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn get(&self, name: &str) -> &Schema {
        self.0.get(name).unwrap_or_else(|| panic!("there is no schema {name}.json"))
    }

    /// All of them by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Schema)> {
        self.0.iter().map(|(name, schema)| (name.as_str(), schema))
    }

    /// Holds an answer against a schema and its strict form.
    ///
    /// # Panics
    /// When it does not fit, with every place where it does not.
    pub fn check(&mut self, name: &str, answer: &Value) {
        let schema = self.0.get_mut(name).unwrap_or_else(|| panic!("there is no schema {name}.json"));
        let problems = schema.problems(answer);
        assert!(problems.is_empty(), "{name}.json: {}\n{answer:#}", problems.join("\n"));
        schema.answers.push(answer.clone());
    }

    /// As [`Schemas::check`], of a text that holds one JSON value; gives the value.
    ///
    /// # Panics
    /// When it is not JSON, or does not fit.
    pub fn check_text(&mut self, name: &str, text: &str) -> Value {
        let answer = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}: {text:?}"));
        self.check(name, &answer);
        answer
    }

    /// Members that are described and that no answer had, as `NAME: PATH`; a schema without any
    /// answer as `NAME`.
    pub fn unseen(&self) -> BTreeSet<String> {
        let mut out = BTreeSet::new();
        for (name, schema) in &self.0 {
            if schema.answers.is_empty() {
                out.insert(name.clone());
                continue;
            }
            let seen: BTreeSet<String> = schema.answers.iter().flat_map(walk::seen).collect();
            let described = walk::described(&schema.plain);
            out.extend(described.difference(&seen).map(|path| format!("{name}: {path}")));
        }
        out
    }
}

/// Every file of the directory, parsed.
///
/// # Panics
/// When one cannot be read or is not JSON.
pub fn documents() -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(directory()).expect("the schemas") {
        let path = entry.expect("a file").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("a file that can be read");
            let document = serde_json::from_str(&text);
            out.insert(name, document.unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        }
    }
    out
}

fn registry(common: Value) -> Registry<'static> {
    let uri = format!("{BASE}{COMMON}.json");
    let prepared = Registry::new().add(uri, common).and_then(|registry| registry.prepare());
    prepared.expect("common.json holds definitions")
}
