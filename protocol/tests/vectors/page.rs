//! PROTOCOL.md against the vectors: its examples are vectors, its tables are covered, and the
//! sections that vectors name exist.
//!
//! An example is an indented block of nothing but bytes in hexadecimal. The text before it names
//! its vector as `FILE/NAME` in backquotes, FILE without `.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::json::{bytes, file, hex, text};

const FILES: [&str; 8] =
    ["bodies", "frames", "interest", "predicates", "receipts", "streams", "topics", "violations"];

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("PROTOCOL.md")).unwrap()
}

/// Every vector of every file.
fn all() -> Vec<(&'static str, Value)> {
    let mut out = Vec::new();
    for name in FILES {
        let file = file(&format!("{name}.json"));
        let lists = file.as_object().unwrap().values().filter_map(Value::as_array);
        out.extend(lists.flatten().map(|vector| (name, vector.clone())));
    }
    out
}

fn by_name() -> BTreeMap<String, Value> {
    let named = all().into_iter().filter(|(_, vector)| vector.get("name").is_some());
    let mut out = BTreeMap::new();
    for (file, vector) in named {
        let name = format!("{file}/{}", text(&vector["name"]));
        assert!(out.insert(name.clone(), vector).is_none(), "{name} stands twice");
    }
    out
}

/// A line of an example: its digits.
fn example_line(line: &str) -> Option<&str> {
    let digits = line.strip_prefix("    ")?;
    let is_byte = |word: &str| word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!digits.is_empty() && digits.split(' ').all(is_byte)).then_some(digits)
}

/// The examples of the page: the vectors named before them, and their digits.
fn examples(page: &str) -> Vec<(Vec<String>, String)> {
    let mut out: Vec<(Vec<String>, String)> = Vec::new();
    let (mut named, mut in_example) = (Vec::new(), false);
    for line in page.lines() {
        match example_line(line) {
            Some(digits) if in_example => {
                let (_, all) = out.last_mut().expect("an example has begun");
                all.push_str(digits);
            }
            Some(digits) => out.push((std::mem::take(&mut named), digits.to_owned())),
            None => {
                let quoted = line.split('`').skip(1).step_by(2);
                named.extend(
                    quoted
                        .filter(|name| {
                            FILES
                                .iter()
                                .any(|file| name.strip_prefix(file).is_some_and(|rest| rest.starts_with('/')))
                        })
                        .map(str::to_owned),
                );
            }
        }
        in_example = example_line(line).is_some();
    }
    assert!(named.is_empty(), "no example follows {named:?}");
    out
}

#[test]
fn every_example_is_a_vector() {
    let (page, vectors) = (page(), by_name());
    let examples = examples(&page);
    assert!(examples.len() >= 30, "{} examples", examples.len());
    for (named, digits) in examples {
        let [name] = named.as_slice() else { panic!("{named:?} stand before {digits}") };
        let vector = vectors.get(name).unwrap_or_else(|| panic!("there is no vector {name}"));
        assert_eq!(bytes(&digits), hex(vector), "{name}");
    }
}

/// The first two cells of each row of the table under a heading.
fn table(page: &str, heading: &str) -> Vec<(u64, String)> {
    let from = page.find(heading).unwrap_or_else(|| panic!("no heading {heading}"));
    let section = page[from + heading.len()..].split("\n#").next().unwrap();
    let rows = section.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        Some((cells.next()?.parse().ok()?, cells.next()?.to_owned()))
    });
    rows.collect()
}

#[test]
fn every_frame_of_the_table_has_a_vector() {
    let rows = table(&page(), "### 3.6 ");
    assert!(rows.len() > 35);
    let vectors = file("frames.json");
    let known: BTreeSet<(u64, &str)> = vectors["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|vector| (vector["type"].as_u64().unwrap(), text(&vector["frame"])))
        .collect();
    let listed: BTreeSet<(u64, &str)> = rows.iter().map(|(number, name)| (*number, name.as_str())).collect();
    assert_eq!(known, listed, "frames of the vectors, and of the table");
}

/// All numbers that stand as a code somewhere in a vector.
fn codes(value: &Value, out: &mut BTreeSet<u64>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match name.as_str() {
                    "code" => out.extend(member.as_u64()),
                    "runs" => out.extend(member.as_array().unwrap().iter().filter_map(|run| run[0].as_u64())),
                    _ => codes(member, out),
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|one| codes(one, out)),
        _ => {}
    }
}

#[test]
fn every_code_of_the_table_stands_in_a_vector() {
    let rows = table(&page(), "## 7 ");
    let numbers: Vec<u64> = rows.iter().map(|(number, _)| *number).collect();
    let known: Vec<u64> = fanal_protocol::Code::ALL.iter().map(|code| code.number().into()).collect();
    assert_eq!(numbers, known, "the table is that of the source");
    for (number, text) in &rows {
        let code = fanal_protocol::Code::from_number(*number as u16).unwrap();
        assert_eq!(code.text(), text);
    }
    let mut used = BTreeSet::new();
    all().iter().for_each(|(_, vector)| codes(vector, &mut used));
    // 204 and 301 are in no frame of this version.
    let unused: Vec<u64> = numbers.into_iter().filter(|number| !used.contains(number)).collect();
    assert_eq!(unused, [204, 301]);
}

#[test]
fn sections_that_vectors_name_exist() {
    let page = page();
    let headings: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")))
        .filter_map(|heading| heading.split(' ').next())
        .collect();
    for (file, vector) in all() {
        let section = text(&vector["section"]);
        assert!(headings.contains(section), "{file}.json: there is no section {section}");
    }
}
