//! The papers of the repository, read as a person's eye reads them: code in the text, links, blocks.
//!
//! Invariants:
//! 1. A paper is every tracked-looking `*.md` of the repository: none is left out by a list.
//! 2. Words of the source come from the sources alone, never from a paper.
//!
//! What must hold for them is decided in `tests/papers.rs` and `tests/readme.rs`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

use crate::cli::repository;

/// Files whose words count as source: what a paper may name.
const SOURCES: [&str; 9] = ["rs", "toml", "py", "js", "json", "yaml", "yml", "service", "proto"];

/// One page of Markdown.
#[derive(Debug)]
pub struct Paper {
    /// Relative to the repository's root.
    pub path: PathBuf,
    /// Inline code, in order.
    pub codes: Vec<Place>,
    /// Links and pictures, in order.
    pub links: Vec<Link>,
    /// Blocks of code, in order.
    pub blocks: Vec<Block>,
    /// Headings as anchors, as forges make them.
    pub anchors: HashSet<String>,
}

/// A piece of text and where it stands.
#[derive(Debug, Clone)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// The text.
    pub text: String,
}

/// A link or a picture.
#[derive(Debug)]
pub struct Link {
    /// Where it stands, and its target.
    pub target: Place,
    /// The text that is clicked.
    pub text: String,
    /// Whether that is nothing but one piece of code.
    pub is_code: bool,
}

/// A block of code.
#[derive(Debug)]
pub struct Block {
    /// Where it begins, and the whole text.
    pub body: Place,
    /// The language behind the fence; `None`: indented, which in these papers is for commands.
    pub language: Option<String>,
    /// The heading that it stands under.
    pub heading: String,
}

impl Block {
    /// Whether it is for a shell.
    pub fn is_commands(&self) -> bool {
        self.language.as_deref().is_none_or(|language| language == "sh")
    }
}

impl Paper {
    /// Reads one.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn read(path: &Path) -> Paper {
        let text = std::fs::read_to_string(repository().join(path)).expect("a paper that can be read");
        let mut paper = Paper {
            path: path.to_owned(),
            codes: Vec::new(),
            links: Vec::new(),
            blocks: Vec::new(),
            anchors: HashSet::new(),
        };
        paper.take(&text);
        paper
    }

    fn take(&mut self, text: &str) {
        let line_of = |offset: usize| text[..offset].bytes().filter(|byte| *byte == b'\n').count() + 1;
        let mut heading: Option<String> = None;
        let mut under = String::new();
        let mut link: Option<Link> = None;
        let mut block: Option<Block> = None;
        for (event, range) in Parser::new_ext(text, pulldown_cmark::Options::ENABLE_TABLES).into_offset_iter()
        {
            let line = line_of(range.start);
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    under = heading.take().unwrap_or_default();
                    self.anchors.insert(anchor(&under));
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    let target = Place { line, text: dest_url.into_string() };
                    link = Some(Link { target, text: String::new(), is_code: false });
                }
                Event::End(TagEnd::Link | TagEnd::Image) => self.links.extend(link.take()),
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => Some(language.into_string()),
                        CodeBlockKind::Indented => None,
                    };
                    let body = Place { line, text: String::new() };
                    block = Some(Block { body, language, heading: under.clone() });
                }
                Event::End(TagEnd::CodeBlock) => self.blocks.extend(block.take()),
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&code);
                    }
                    if let Some(link) = &mut link {
                        link.is_code = link.text.is_empty();
                        link.text.push_str(&code);
                    }
                    self.codes.push(Place { line, text: code.into_string() });
                }
                Event::Text(text) => {
                    if let Some(block) = &mut block {
                        block.body.text.push_str(&text);
                    }
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                    if let Some(link) = &mut link {
                        link.is_code = false;
                        link.text.push_str(&text);
                    }
                }
                _ => {}
            }
        }
    }
}

/// The anchor that forges make of a heading: lower case, blanks as hyphens, no punctuation.
pub fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

/// The repository as papers may name it.
pub struct Repository {
    /// Every file, relative to the root, sorted.
    pub files: Vec<PathBuf>,
    /// Every directory, likewise.
    pub directories: HashSet<PathBuf>,
    /// Every source, with its text.
    pub sources: Vec<(PathBuf, String)>,
    /// Every word of the sources.
    pub words: HashSet<String>,
    /// Names of the packages.
    pub packages: HashSet<String>,
}

impl Repository {
    /// Walks it.
    ///
    /// # Panics
    /// When a file cannot be read.
    pub fn read() -> Repository {
        let mut all = Repository {
            files: Vec::new(),
            directories: HashSet::new(),
            sources: Vec::new(),
            words: HashSet::new(),
            packages: HashSet::new(),
        };
        all.walk(Path::new(""));
        all.files.sort();
        all
    }

    fn walk(&mut self, directory: &Path) {
        for entry in std::fs::read_dir(repository().join(directory)).expect("a directory") {
            let entry = entry.expect("an entry");
            let path = directory.join(entry.file_name());
            let is_kept = !matches!(entry.file_name().to_str(), Some("target" | ".git" | "__pycache__"));
            match entry.file_type().expect("a type").is_dir() {
                true if is_kept => {
                    self.walk(&path);
                    self.directories.insert(path);
                }
                true => {}
                false => self.take(path),
            }
        }
    }

    fn take(&mut self, path: PathBuf) {
        let extension = path.extension().and_then(|name| name.to_str()).unwrap_or_default();
        let is_script = extension.is_empty() && path.starts_with("tests");
        // The papers' own tests hold names as data.
        let is_about_papers = path.ends_with("papers.rs") || path.ends_with("readme.rs");
        if (SOURCES.contains(&extension) || is_script) && !is_about_papers {
            let text = std::fs::read(repository().join(&path)).expect("a source");
            let text = String::from_utf8_lossy(&text).into_owned();
            let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            self.words.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
            if path.ends_with("Cargo.toml") {
                self.packages.extend(
                    text.lines()
                        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
                        .map(str::to_owned),
                );
            }
            self.sources.push((path.clone(), text));
        }
        self.files.push(path);
    }

    /// Every paper.
    pub fn papers(&self) -> Vec<Paper> {
        let is_paper = |path: &&PathBuf| path.extension().is_some_and(|name| name == "md");
        self.files.iter().filter(is_paper).map(|path| Paper::read(path)).collect()
    }

    /// Whether a source holds this text in quotes, whole.
    pub fn has_literal(&self, text: &str) -> bool {
        let quoted = format!("\"{text}\"");
        self.sources.iter().any(|(_, source)| source.contains(&quoted))
    }

    /// Whether a name is `FILE/VECTOR` of the protocol's test vectors.
    pub fn has_vector(&self, name: &str) -> bool {
        let Some((file, vector)) = name.split_once('/') else { return false };
        let path = Path::new("protocol/vectors").join(file).with_extension("json");
        let quoted = format!("\"name\": \"{vector}\"");
        self.sources.iter().any(|(source, text)| *source == path && text.contains(&quoted))
    }

    /// Whether a name is a file or directory: from the root, from the paper's directory, or the end
    /// of a file's path.
    pub fn has_path(&self, paper: &Paper, name: &str) -> bool {
        let name = Path::new(name.trim_end_matches('/'));
        let beside = paper.path.parent().unwrap_or(Path::new("")).join(name);
        let is_there =
            |path: &Path| self.files.iter().any(|file| file == path) || self.directories.contains(path);
        is_there(name) || is_there(&beside) || self.files.iter().any(|file| file.ends_with(name)) || {
            self.directories.iter().any(|directory| directory.ends_with(name))
        }
    }
}
