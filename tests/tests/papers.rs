//! What the papers name exists: files, links, identifiers, tests, commands, flags, metrics.
//!
//! A piece of inline code is read as what it looks like. What looks like nothing of the project
//! (an expression, a value, bytes) is not checked; `OTHERS` lists what only looks like ours.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use fanal_tests::cli::{repository, run};
use fanal_tests::papers::{Link, Paper, Place, Repository};

/// Names that are not ours, though they look so, and whose they are.
const OTHERS: [(&str, &str); 2] = [("serverAuth", "X.509"), ("clientAuth", "X.509")];

/// Extensions that make a name a file's.
const EXTENSIONS: [&str; 10] = ["rs", "md", "toml", "json", "yaml", "yml", "py", "ndjson", "service", "js"];

/// What a piece of inline code is.
#[derive(Debug, PartialEq, Eq, Hash, Clone, Copy, PartialOrd, Ord)]
enum Kind {
    Command,
    Flag,
    Metric,
    Variable,
    Package,
    File,
    Identifier,
    Other,
}

fn is_word(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn kind(code: &str) -> Kind {
    let stem = code.strip_suffix("()").unwrap_or(code);
    let is_path = |text: &str| {
        text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)) && !text.starts_with('/')
    };
    let extension = Path::new(code).extension().and_then(|name| name.to_str()).unwrap_or_default();
    let words: Vec<&str> = stem.split("::").collect();
    if code.starts_with("fanal ") {
        Kind::Command
    } else if code.starts_with("--") && code.len() > 2 {
        Kind::Flag
    } else if code.starts_with("fanal_") && is_word(code.split('{').next().unwrap_or_default()) {
        Kind::Metric
    } else if code.starts_with("FANAL_") && is_word(code) {
        Kind::Variable
    } else if code.starts_with("fanal-") && is_path(code) && !code.contains('/') {
        Kind::Package
    } else if is_path(code) && code.len() > 1 && (EXTENSIONS.contains(&extension) || code.contains('/')) {
        Kind::File
    } else if words.iter().all(|word| is_word(word))
        && (words.len() > 1 || stem != code || stem.contains('_') || stem.chars().any(char::is_uppercase))
    {
        Kind::Identifier
    } else {
        Kind::Other
    }
}

/// Help texts of the binary, by command.
struct Helps(HashMap<String, String>);

impl Helps {
    fn ask() -> Helps {
        let help = |args: &[&str]| run(args).stdout.join("\n");
        let general = help(&["--help"]);
        // Commands stand in groups, before the flags; their names alone begin at the third column.
        let (_, listed) = general.split_once("<COMMAND>").unwrap();
        let (listed, _) = listed.split_once("\nOptions:").unwrap();
        let names = listed.lines().filter_map(|line| line.strip_prefix("  "));
        let names = names.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
        let names: Vec<String> =
            names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
        assert!(names.len() >= 10, "{general}");
        let mut all: HashMap<String, String> =
            names.into_iter().map(|name| (name.clone(), help(&[&name, "--help"]))).collect();
        let nested = [
            ("subscriptions", "list"),
            ("subscriptions", "remove"),
            ("subscriptions", "update"),
            ("filter", "test"),
            ("store", "check"),
            ("store", "dump"),
            ("store", "repair"),
        ];
        for (command, nested) in nested {
            let text = help(&[command, nested, "--help"]);
            all.entry(command.to_owned()).or_default().push_str(&text);
        }
        all.insert(String::new(), general);
        Helps(all)
    }

    fn has_flag(&self, command: &str, flag: &str) -> bool {
        let has = |text: &String| {
            text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == flag)
        };
        match command {
            "" => self.0.values().any(has),
            command => self.0.get(command).is_some_and(has),
        }
    }

    /// What is wrong with `fanal COMMAND --flag …`.
    fn fault(&self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let command = words.iter().find(|word| !word.starts_with('-')).copied().unwrap_or_default();
        let command = command.split('|').next().unwrap_or_default();
        if !self.0.contains_key(command) {
            return Some(format!("there is no command {command:?}"));
        }
        let flags = words.iter().filter(|word| word.starts_with("--"));
        let flag = |word: &&&str| word.split(['=', '[', ']', ',']).next().unwrap_or_default().to_owned();
        flags
            .map(|word| flag(&word))
            .find(|flag| !self.has_flag(command, flag))
            .map(|flag| format!("{command:?} has no flag {flag}"))
    }
}

/// Whether the sources hold a name: each part as a word, the last two in one file.
fn has_identifier(all: &Repository, code: &str) -> bool {
    let words: Vec<&str> = code.trim_end_matches("()").split("::").collect();
    let [.., first, last] = &words[..] else { return words.iter().all(|word| all.words.contains(*word)) };
    all.files.iter().filter(|file| file.extension().is_some_and(|name| name == "rs")).any(|file| {
        let text = std::fs::read_to_string(repository().join(file)).unwrap_or_default();
        let has =
            |wanted: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == wanted);
        has(first) && has(last)
    }) || (all.words.contains(*first) && all.words.contains(*last) && first.starts_with("fanal"))
}

/// `targets/NAME.rs`: a part in capitals stands for many.
fn is_pattern(path: &str) -> bool {
    let stem = |part: &str| part.split('.').next().unwrap_or_default().to_owned();
    path.split('/').map(stem).any(|part| part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase()))
}

fn fault(all: &Repository, helps: &Helps, paper: &Paper, code: &str) -> Option<String> {
    let unknown = |what: &str| Some(format!("no such {what}: {code}"));
    match kind(code) {
        Kind::Command => helps.fault(code),
        Kind::Flag => {
            let flag = code.split([' ', '=', '[']).next().unwrap_or_default();
            let script = std::fs::read_to_string(repository().join("tests/run")).unwrap();
            // Of the binary, of the test command, or of a tool of ours.
            let is_known = helps.has_flag("", flag) || script.contains(flag) || all.has_literal(flag);
            if is_known { None } else { unknown("flag") }
        }
        Kind::Metric | Kind::Variable => {
            let name = code.split('{').next().unwrap_or_default();
            // What Prometheus makes of a histogram.
            let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            if all.words.contains(name) || stem.is_some_and(|stem| all.words.contains(stem)) {
                None
            } else {
                unknown("name")
            }
        }
        // What a program makes, speaks or calls itself stands in a source; builds make `target`.
        Kind::Package | Kind::File => {
            let is_known = all.packages.contains(code)
                || code.starts_with("target/")
                || is_pattern(code)
                || all.has_vector(code)
                || all.has_path(paper, code)
                || all.has_literal(code.trim_start_matches("./"));
            if is_known { None } else { unknown("file or package") }
        }
        Kind::Identifier => {
            if has_identifier(all, code) {
                None
            } else {
                unknown("identifier")
            }
        }
        Kind::Other => None,
    }
}

#[test]
fn what_the_papers_name_exists() {
    let (all, helps) = (Repository::read(), Helps::ask());
    let mut faults = String::new();
    let mut checked: HashMap<Kind, usize> = HashMap::new();
    let mut excused = HashSet::new();
    for paper in &all.papers() {
        for Place { line, text } in &paper.codes {
            *checked.entry(kind(text)).or_default() += 1;
            let Some(fault) = fault(&all, &helps, paper, text) else { continue };
            match OTHERS.iter().find(|(name, _)| name == text) {
                Some((name, _)) => _ = excused.insert(*name),
                None => writeln!(faults, "{}:{line}: {fault}", paper.path.display()).unwrap(),
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
    let idle: Vec<&str> =
        OTHERS.iter().map(|(name, _)| *name).filter(|name| !excused.contains(name)).collect();
    assert!(idle.is_empty(), "excused, and not needed any more: {idle:?}");
    // The test reads something: each kind occurs.
    for kind in [Kind::Command, Kind::Flag, Kind::Package, Kind::File, Kind::Identifier, Kind::Variable] {
        assert!(checked.get(&kind).is_some_and(|count| *count > 0), "{kind:?}: {checked:?}");
    }
}

/// `a/b/../c` → `a/c`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut out, part| {
        match part {
            Component::ParentDir => _ = out.pop(),
            part => out.push(part),
        }
        out
    })
}

/// What is wrong with a link; `None` for one that leads outside.
fn broken(all: &Repository, papers: &[Paper], paper: &Paper, link: &Link) -> Option<String> {
    let target = &link.target.text;
    if target.starts_with("https://") || target.starts_with("http://127.0.0.1") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => paper.path.clone(),
        file => plain(&paper.path.parent().unwrap_or(Path::new("")).join(file)),
    };
    if !all.files.contains(&path) && !all.directories.contains(&path) {
        return Some(format!("leads nowhere: {target}"));
    }
    let led = papers.iter().find(|other| other.path == path);
    if !anchor.is_empty() && !led.is_some_and(|led| led.anchors.contains(anchor)) {
        return Some(format!("no such heading: {target}"));
    }
    let is_source = path.extension().is_some_and(|name| name == "rs" || name == "py");
    if link.is_code && is_source && is_word(&link.text) {
        let text = std::fs::read_to_string(repository().join(&path)).unwrap();
        let is_defined = [format!("fn {}(", link.text), format!("def {}(", link.text)];
        let is_defined = is_defined.iter().any(|definition| text.contains(definition));
        return (!is_defined).then(|| format!("{} has no {}", path.display(), link.text));
    }
    None
}

#[test]
fn links_lead_somewhere_and_named_tests_stand_where_they_lead() {
    let all = Repository::read();
    let papers = all.papers();
    let mut faults = String::new();
    for paper in &papers {
        for link in &paper.links {
            if let Some(fault) = broken(&all, &papers, paper, link) {
                writeln!(faults, "{}:{}: {fault}", paper.path.display(), link.target.line).unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

/// A promise without a test is a wish.
#[test]
fn every_guarantee_names_a_test_that_holds_it() {
    let paper = Paper::read(Path::new("docs/GUARANTEES.md"));
    let text = std::fs::read_to_string(repository().join(&paper.path)).unwrap();
    let sections: Vec<&str> = text.split("\n## ").skip(1).collect();
    assert!(sections.len() >= 8, "{}", sections.len());
    for section in sections {
        let name = section.lines().next().unwrap();
        assert!(section.contains("[`") && section.contains(".rs)"), "{name}: no test");
    }
    let mut unmarked = BTreeSet::new();
    for link in paper.links.iter().filter(|link| link.is_code) {
        let file = plain(&paper.path.parent().unwrap().join(&link.target.text));
        let text = std::fs::read_to_string(repository().join(file)).unwrap();
        let Some(at) = text.find(&format!("fn {}(", link.text)) else { continue };
        // `#[test]`, `#[tokio::test]`, or inside `proptest!`, which may hold its attribute.
        let before: Vec<&str> = text[..at].lines().rev().take(4).collect();
        if !before.iter().any(|line| line.contains("test]") || line.contains("test(")) {
            unmarked.insert(link.text.clone());
        }
    }
    assert!(unmarked.is_empty(), "not tests: {unmarked:?}");
}

/// Commands in blocks are ones that the binary, cargo or this repository has.
#[test]
fn commands_in_blocks_exist_with_their_flags() {
    let (all, helps) = (Repository::read(), Helps::ask());
    let mut faults = String::new();
    let mut seen = 0;
    for paper in &all.papers() {
        for block in paper.blocks.iter().filter(|block| block.is_commands()) {
            let commands = block.body.text.lines().filter(|line| line.starts_with("fanal "));
            for line in commands {
                seen += 1;
                // Only what stands before a pipe, and no arguments in quotes.
                let bare: String = line.split('\'').step_by(2).collect::<Vec<_>>().join("x");
                let bare = bare.split(" | ").next().unwrap_or_default();
                if let Some(fault) = helps.fault(bare) {
                    writeln!(faults, "{}:{}: {fault}: {line}", paper.path.display(), block.body.line)
                        .unwrap();
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
    assert!(seen > 10, "{seen}");
}
