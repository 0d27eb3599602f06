//! Reading what is under deploy/: YAML, a Containerfile, a unit, and HTTP by another name.
//!
//! Invariant: a reader gives nothing where a key is missing; the test says what must be there.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use fanal_tests::cli::repository;
use fanal_tests::wait::BOUND;
use yaml_rust2::{Yaml as Node, YamlLoader};

/// A path under deploy/.
pub(crate) fn deploy(path: &str) -> PathBuf {
    repository().join("deploy").join(path)
}

/// A file under deploy/.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(deploy(path)).unwrap_or_else(|error| panic!("deploy/{path}: {error}"))
}

/// A value of a YAML file. `<<` is followed.
#[derive(Clone)]
pub(crate) struct Yaml(pub(crate) Node);

impl Yaml {
    pub(crate) fn read(path: &str) -> Yaml {
        let documents = YamlLoader::load_from_str(&read(path));
        Yaml(documents.unwrap_or_else(|error| panic!("deploy/{path}: {error}")).remove(0))
    }

    pub(crate) fn get(&self, key: &str) -> Yaml {
        match (&self.0[key], &self.0["<<"]) {
            (Node::BadValue, merged @ Node::Hash(_)) => Yaml(merged[key].clone()),
            (found, _) => Yaml(found.clone()),
        }
    }

    /// Whether a key is there, with or without a value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries().iter().any(|(name, _)| name == key)
    }

    pub(crate) fn is_there(&self) -> bool {
        !self.0.is_badvalue()
    }

    pub(crate) fn is(&self, flag: bool) -> bool {
        self.0.as_bool() == Some(flag)
    }

    pub(crate) fn items(&self) -> Vec<Yaml> {
        self.0.as_vec().into_iter().flatten().cloned().map(Yaml).collect()
    }

    pub(crate) fn entries(&self) -> Vec<(String, Yaml)> {
        let entries = self.0.as_hash().into_iter().flatten();
        entries.map(|(key, value)| (Yaml(key.clone()).text(), Yaml(value.clone()))).collect()
    }

    pub(crate) fn text(&self) -> String {
        match &self.0 {
            Node::String(text) | Node::Real(text) => text.clone(),
            Node::Integer(number) => number.to_string(),
            _ => String::new(),
        }
    }
}

/// Instructions in order, continued lines joined.
pub(crate) struct Containerfile {
    text: String,
    instructions: Vec<(String, String)>,
}

impl Containerfile {
    pub(crate) fn read(path: &str) -> Containerfile {
        let text = read(path);
        let code: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let joined = code.join("\n").replace("\\\n", " ");
        let instruction = |line: &str| {
            let (word, rest) = line.trim().split_once(' ')?;
            Some((word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" ")))
        };
        Containerfile { instructions: joined.lines().filter_map(instruction).collect(), text }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn values(&self, word: &str) -> Vec<String> {
        let of = self.instructions.iter().filter(|(instruction, _)| instruction == word);
        of.map(|(_, rest)| rest.clone()).collect()
    }

    /// From the last `FROM` on: what is in the image.
    pub(crate) fn last_stage(&self) -> Containerfile {
        let from = self.instructions.iter().rposition(|(word, _)| word == "FROM").unwrap();
        Containerfile { text: self.text.clone(), instructions: self.instructions[from..].to_vec() }
    }

    pub(crate) fn words(&self, word: &str) -> Vec<String> {
        self.values(word).iter().flat_map(|rest| rest.split(' ')).map(str::to_owned).collect()
    }

    /// The JSON list of an instruction.
    pub(crate) fn list(&self, word: &str) -> Vec<String> {
        serde_json::from_str(&self.values(word)[0]).unwrap()
    }

    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let pairs = self.words("ENV");
        pairs.iter().map(|pair| pair.split_once('=').unwrap()).map(|(k, v)| (k.into(), v.into())).collect()
    }

    /// The command of `HEALTHCHECK`.
    pub(crate) fn health_check(&self) -> Vec<String> {
        let text = &self.values("HEALTHCHECK")[0];
        serde_json::from_str(text.split_once("CMD ").unwrap().1).unwrap()
    }
}

/// Values of a key of a unit.
pub(crate) fn unit_values(unit: &str, key: &str) -> Vec<String> {
    let value = |line: &str| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned());
    unit.lines().filter_map(value).collect()
}

/// Status of a GET that names another host.
pub(crate) fn get_as(address: SocketAddr, host: &str, path: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
