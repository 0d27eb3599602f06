//! Writes the first inputs of every fuzz target, made of `protocol/vectors`.
//!
//!     fanal-fuzz-seeds VECTORS CORPUS
//!
//! One file per vector in `CORPUS/TARGET/`, in the form that the target reads. Each target gets
//! some, or the program fails: a target that starts from nothing may never leave the first check.

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

type Failed = Box<dyn std::error::Error>;

/// Target, file of vectors, list, and how a vector becomes an input.
const SEEDS: &[(&str, &str, &str, fn(&Value) -> Vec<u8>)] = &[
    ("control", "frames", "vectors", control),
    ("control", "violations", "vectors", control),
    ("event_stream", "streams", "vectors", stream),
    ("event_stream", "frames", "vectors", event_frame),
    ("event_stream", "violations", "vectors", event_frame),
    ("body", "bodies", "vectors", stream),
    ("receipts", "receipts", "vectors", frame),
    ("topics", "topics", "matches", topics),
    ("topics", "topics", "filters", text),
    ("topics", "topics", "topics", text),
    ("filters", "predicates", "vectors", predicate),
    ("filters", "predicates", "refused", predicate),
    ("payload", "predicates", "vectors", payload),
    ("strict", "strict", "vectors", predicate),
    ("strict", "strict", "refused", predicate),
    ("dialects", "dialects", "vectors", predicate),
    ("dialects", "dialects", "refused", predicate),
];

/// More than a hundred vectors of one kind are a sign of a loop; fewer than five, of another format.
const SEEDS_MIN: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [vectors, corpus] = arguments.as_slice() else {
        eprintln!("usage: fanal-fuzz-seeds VECTORS CORPUS");
        return ExitCode::from(2);
    };
    match write_all(Path::new(vectors), Path::new(corpus)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seeds: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_all(vectors: &Path, corpus: &Path) -> Result<(), Failed> {
    for (target, file, list, make) in SEEDS {
        let path = vectors.join(format!("{file}.json"));
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let json: Value =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let all = json[*list].as_array().ok_or_else(|| format!("{}: no list `{list}`", path.display()))?;
        let directory = corpus.join(target);
        std::fs::create_dir_all(&directory)?;
        let seeds = all.iter().map(make).filter(|seed| !seed.is_empty());
        let mut written = 0;
        for (number, seed) in seeds.enumerate() {
            std::fs::write(directory.join(format!("{file}-{list}-{number:03}")), seed)?;
            written += 1;
        }
        if written < SEEDS_MIN {
            return Err(format!("{}: {written} seeds for {target}", path.display()).into());
        }
    }
    Ok(())
}

fn hex(vector: &Value) -> Vec<u8> {
    let digits = vector["hex"].as_str().unwrap_or_default().as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    digits.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn stream(vector: &Value) -> Vec<u8> {
    hex(vector)
}

/// Without its length.
fn frame(vector: &Value) -> Vec<u8> {
    let bytes = hex(vector);
    let prefix = bytes.first().map_or(0, |first| 1usize << (first >> 6));
    bytes.get(prefix..).unwrap_or_default().to_vec()
}

fn control(vector: &Value) -> Vec<u8> {
    if vector["stream"] == "control" { hex(vector) } else { Vec::new() }
}

fn event_frame(vector: &Value) -> Vec<u8> {
    if vector["stream"] == "control" { Vec::new() } else { hex(vector) }
}

fn topics(vector: &Value) -> Vec<u8> {
    let part = |name: &str| vector[name].as_str().unwrap_or_default();
    format!("{}\n{}", part("filter"), part("topic")).into_bytes()
}

fn text(vector: &Value) -> Vec<u8> {
    vector["text"].as_str().unwrap_or_default().as_bytes().to_vec()
}

fn predicate(vector: &Value) -> Vec<u8> {
    [b"\x01seed\0\0\0".as_slice(), &text(vector)].concat()
}

/// A path of the predicate with the payload of an event; nothing for a predicate without paths.
fn payload(vector: &Value) -> Vec<u8> {
    let text = vector["canonical"].as_str().unwrap_or_default();
    let Some(start) = text.find("data") else { return Vec::new() };
    let path = text[start..].split([' ', ')']).next().unwrap_or_default();
    let events = vector["events"].as_array();
    let payloads = events.into_iter().flatten().filter_map(|event| event["payload"].as_str());
    payloads.last().map(|payload| format!("{path}\n{payload}").into_bytes()).unwrap_or_default()
}
