//! The TOML file: its values, the line of each, and what in it is not known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};
use toml::de::{DeTable, DeValue};

use super::keys::KEYS;

/// The one key of a peer.
const PEER_KEYS: [&str; 1] = ["address"];
/// The keys of a rule.
const RULE_KEYS: [&str; 2] = ["topic", "when_full"];

/// A file that was read.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    pub(crate) values: Dict,
    /// Path of a key to the number of its line, from 1.
    lines: BTreeMap<String, usize>,
}

impl File {
    /// Reads a file and checks its keys.
    ///
    /// # Errors
    /// All problems, one a line, each with `FILE:LINE`.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!("cannot read configuration file {}: {error}; `fanal check-config --defaults` writes one to start from", path.display())
        })?;
        File::parse(path, &text)
    }

    /// As [`File::read`], of text.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let root = DeTable::parse(text).map_err(|error| syntax(path, text, &error))?;
        let mut found = Found { text, lines: BTreeMap::new(), unknown: Vec::new() };
        found.walk("", root.get_ref());
        let file = File { path: path.to_owned(), values: values(path, text)?, lines: found.lines };
        if found.unknown.is_empty() {
            return Ok(file);
        }
        let problems = found.unknown.iter().map(|unknown| {
            format!("{}: unknown key `{unknown}`{}", file.place(unknown), suggestion(unknown))
        });
        Err(problems.collect::<Vec<_>>().join("\n"))
    }

    /// `FILE:LINE` of a key.
    pub(crate) fn place(&self, key: &str) -> String {
        match self.lines.get(key) {
            Some(line) => format!("{}:{line}", self.path.display()),
            None => self.path.display().to_string(),
        }
    }
}

fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| line_of(text, span.start));
    format!("{}:{line}: not TOML: {}", path.display(), error.message())
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

fn values(path: &Path, text: &str) -> Result<Dict, String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| syntax(path, text, &error))?;
    let value = Value::serialize(table).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(value.into_dict().unwrap_or_default())
}

struct Found<'t> {
    text: &'t str,
    lines: BTreeMap<String, usize>,
    unknown: Vec<String>,
}

impl Found<'_> {
    fn walk(&mut self, table: &str, content: &DeTable<'_>) {
        for (key, value) in content {
            let path = match table {
                "" => key.get_ref().to_string(),
                table => format!("{table}.{}", key.get_ref()),
            };
            self.lines.insert(path.clone(), line_of(self.text, key.span().start));
            match value.get_ref() {
                DeValue::Table(inner) if is_table(table, &path) => self.walk(&path, inner),
                _ if is_key(table, key.get_ref(), &path) || is_table(table, &path) => {}
                _ => self.unknown.push(path),
            }
        }
        self.unknown.sort_by_key(|path| self.lines.get(path).copied());
    }
}

fn is_table(table: &str, path: &str) -> bool {
    matches!((table, path), ("", "limits" | "peers" | "rules") | ("peers" | "rules", _))
}

fn is_key(table: &str, key: &str, path: &str) -> bool {
    if table.starts_with("peers.") {
        return PEER_KEYS.contains(&key);
    }
    if table.starts_with("rules.") {
        return RULE_KEYS.contains(&key);
    }
    KEYS.iter().any(|known| known.path == path)
}

/// What the writer may have meant.
fn suggestion(unknown: &str) -> String {
    let (table, name) = unknown.rsplit_once('.').unwrap_or(("", unknown));
    if table.starts_with("peers.") {
        return ": a peer has `address` only".into();
    }
    if table.starts_with("rules.") {
        return ": a rule has `topic` and `when_full`".into();
    }
    let known = KEYS.iter().map(|key| key.path).chain(["peers", "limits", "rules"]);
    let score = |path: &str| {
        let last = path.rsplit('.').next().unwrap_or(path);
        strsim::normalized_damerau_levenshtein(last, name)
    };
    let best = known.map(|path| (score(path), path)).max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((score, path)) if score >= 0.6 => match path.rsplit_once('.') {
            Some((of, last)) if of != table => format!(": did you mean `{last}` in [{of}]?"),
            _ => format!(": did you mean `{path}`?"),
        },
        _ => ": `fanal check-config --defaults` shows every key".into(),
    }
}
