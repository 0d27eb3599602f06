//! The broker's configuration: defaults, one TOML file, environment, flags; later ones win.
//!
//! Invariants:
//! 1. [`KEYS`] is the one list of keys: it feeds the documented default file, the check for
//!    unknown keys, the environment's names and the explanation.
//! 2. Every message names the place (file and line, variable or flag), the value, and what to
//!    write instead. All unknown keys of a file are reported at once.
//! 3. Nothing here touches the network or creates files.

mod file;
mod keys;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use crate::args::ConfigArgs;
use fanal_broker::{Config, Limits, PeerConfig, RuleConfig};
use file::File;
use keys::{KEYS, Key};

pub(crate) use keys::{default_file, described, documented_variables};
pub(crate) use values::size;

/// A configuration and where each value of it came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// One per key and per peer, in the order of the default file.
    pub(crate) explained: Vec<Explained>,
    /// What is odd but not wrong.
    pub(crate) warnings: Vec<String>,
}

/// One value, for `check-config`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct Explained {
    pub(crate) key: String,
    /// Of the key's type; null: none.
    pub(crate) value: serde_json::Value,
    /// Flag, variable, file with line, or `default`.
    pub(crate) from: String,
}

impl Explained {
    /// The value as people read it.
    pub(crate) fn value_text(&self) -> String {
        match &self.value {
            serde_json::Value::Null => "none".to_owned(),
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(list) => {
                list.iter().filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join(", ")
            }
            other => other.to_string(),
        }
    }
}

/// What is outside the command line.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// `FANAL_…` variables.
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) host_name: String,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn read() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(keys::PREFIX))
            .collect();
        let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Surroundings { variables, host_name }
    }
}

/// One layer of values, named as messages name it.
struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// Reads and checks everything.
///
/// # Errors
/// All that is wrong, one problem a line.
pub(crate) fn load(
    args: &ConfigArgs,
    data: Option<&Path>,
    surroundings: &Surroundings,
) -> Result<Loaded, String> {
    let file = args.config.as_deref().map(File::read).transpose()?;
    let mut figment = Figment::new();
    if let Some(file) = &file {
        figment = figment.merge(Layer { name: keys::FILE.to_owned(), values: file.values.clone() });
    }
    for layer in environment(surroundings)?.into_iter().chain(flags(args, data)?) {
        figment = figment.merge(layer);
    }
    let reader = Reader { figment, file: file.as_ref() };
    let (config, explained) = reader.config(surroundings)?;
    Ok(Loaded { config, explained, warnings: warnings(surroundings) })
}

/// The path `a.b` as nested values.
fn nested(path: &[&str], value: Value) -> Dict {
    match path {
        [] => Dict::new(),
        [last] => Dict::from([((*last).to_owned(), value)]),
        [first, rest @ ..] => Dict::from([((*first).to_owned(), Value::from(nested(rest, value)))]),
    }
}

fn environment(surroundings: &Surroundings) -> Result<Vec<Layer>, String> {
    let mut layers = Vec::new();
    for key in KEYS {
        let variable = key.variable();
        if let Some(value) = surroundings.variables.get(&variable) {
            let values = nested(&key.levels(), Value::from(value.clone()));
            layers.push(Layer { name: variable, values });
        }
    }
    if let Some(list) = surroundings.variables.get(keys::PEERS_VARIABLE) {
        for text in list.split(',').filter(|text| !text.trim().is_empty()) {
            layers.push(peer(text.trim(), keys::PEERS_VARIABLE)?);
        }
    }
    Ok(layers)
}

fn flags(args: &ConfigArgs, data: Option<&Path>) -> Result<Vec<Layer>, String> {
    let path = |path: Option<&Path>| path.map(|path| path.to_string_lossy().into_owned());
    let values = [
        ("name", args.name.clone()),
        ("listen", args.listen.clone()),
        ("admin", args.admin.clone()),
        ("data", path(data)),
        ("ca", path(args.ca.as_deref())),
    ];
    let mut layers: Vec<Layer> = values
        .into_iter()
        .filter_map(|(key, value)| {
            Some(Layer { name: format!("--{key}"), values: nested(&[key], Value::from(value?)) })
        })
        .collect();
    for text in &args.peers {
        layers.push(peer(text, "--peer")?);
    }
    Ok(layers)
}

fn peer(text: &str, place: &str) -> Result<Layer, String> {
    let (name, address) = text
        .split_once('=')
        .ok_or_else(|| format!("{place}: `{text}` is not NAME=HOST:PORT, as in ewr=127.0.0.1:4600"))?;
    let values = nested(&["peers", name, "address"], Value::from(address));
    Ok(Layer { name: place.to_owned(), values })
}

/// Variables that look like a misspelt one. Others are left alone: Kubernetes sets
/// `FANAL_SERVICE_HOST` and the like by itself.
fn warnings(surroundings: &Surroundings) -> Vec<String> {
    let known: Vec<String> = keys::variables().collect();
    let mut warnings = Vec::new();
    for name in surroundings.variables.keys().filter(|name| !known.contains(name)) {
        let near = known.iter().find(|known| strsim::damerau_levenshtein(known, name) <= 2);
        if let Some(near) = near {
            warnings.push(format!("variable {name} is not known and ignored: did you mean {near}?"));
        }
    }
    warnings
}

/// Takes typed values out of the merged layers.
struct Reader<'a> {
    figment: Figment,
    file: Option<&'a File>,
}

impl Reader<'_> {
    fn config(&self, surroundings: &Surroundings) -> Result<(Config, Vec<Explained>), String> {
        let mut explained = Vec::new();
        let defaults = Config::new(values::name_of_host(&surroundings.host_name), keys::DATA);
        let name = self.take("name", values::name, defaults.name, String::clone, &mut explained)?;
        let listen =
            self.take("listen", values::address, defaults.listen, ToString::to_string, &mut explained)?;
        let admin =
            self.take("admin", values::address, defaults.admin, ToString::to_string, &mut explained)?;
        let admin_hosts =
            self.take("admin_hosts", values::host_names, defaults.admin_hosts, Vec::clone, &mut explained)?;
        let show = |path: &PathBuf| path.display().to_string();
        let data = self.take("data", values::path, defaults.data, show, &mut explained)?;
        let ca = self.take("ca", values::path, data.join("ca"), show, &mut explained)?;
        if listen == admin && listen.port() != 0 {
            return Err(format!(
                "`listen` and `admin` are both {listen}: give one of them another port ({} and {})",
                self.place_of("listen"),
                self.place_of("admin"),
            ));
        }
        let limits = self.limits(&mut explained)?;
        if limits.give_way_percent > 100 {
            let place = self.place_of("limits.give_way_percent");
            return Err(format!("{place}: `limits.give_way_percent` is a share in percent: 50 to 100"));
        }
        let peers = self.peers(&name, &mut explained)?;
        let rules = self.rules(&mut explained)?;
        Ok((Config { name, listen, admin, admin_hosts, data, ca, peers, rules, limits }, explained))
    }

    fn take<T, S: Into<serde_json::Value>>(
        &self,
        path: &str,
        read: impl Fn(&Value) -> Result<T, String>,
        default: T,
        show: impl Fn(&T) -> S,
        explained: &mut Vec<Explained>,
    ) -> Result<T, String> {
        let (value, from) = match self.figment.find_value(path) {
            Err(_) => (default, "default".to_owned()),
            Ok(value) => {
                let from = self.place(&value, path);
                (read(&value).map_err(|reason| format!("{from}: `{path}`: {reason}"))?, from)
            }
        };
        explained.push(Explained { key: path.to_owned(), value: show(&value).into(), from });
        Ok(value)
    }

    fn limits(&self, explained: &mut Vec<Explained>) -> Result<Limits, String> {
        let mut limits = Limits::default();
        for key in KEYS {
            let Some(limit) = &key.limit else { continue };
            let default = (limit.get)(&limits);
            let read = |value: &Value| limit.unit.read(value, limit.min).map(Some);
            let show = |value: &Option<u64>| value.map(|value| limit.unit.show(value));
            let value = self.take(key.path, read, default, show, explained)?;
            (limit.set)(&mut limits, value);
        }
        if limits.live_buffer_bytes > limits.live_memory_bytes {
            return Err(format!(
                "`limits.live_buffer_bytes` ({}) is above `limits.live_memory_bytes` ({}), the bound for all live \
                 buffers together: lower the one or raise the other",
                limits.live_buffer_bytes, limits.live_memory_bytes,
            ));
        }
        Ok(limits)
    }

    fn peers(&self, own_name: &str, explained: &mut Vec<Explained>) -> Result<Vec<PeerConfig>, String> {
        let Ok(value) = self.figment.find_value("peers") else { return Ok(Vec::new()) };
        let place = self.place(&value, "peers");
        let Some(table) = value.as_dict() else {
            return Err(format!(
                "{place}: `peers` holds one table per peer: write [peers.NAME] and address = \"HOST:PORT\""
            ));
        };
        let mut peers = Vec::new();
        for (name, value) in table {
            let path = format!("peers.{name}");
            let fail =
                |value: &Value, reason: String| format!("{}: `{path}`: {reason}", self.place(value, &path));
            let table = value
                .as_dict()
                .ok_or_else(|| fail(value, format!("write [peers.{name}] and address = \"HOST:PORT\"")))?;
            let address = table
                .get("address")
                .ok_or_else(|| fail(value, "has no address: add address = \"HOST:PORT\"".to_owned()))?;
            fanal_protocol::identity::check_name(name).map_err(|error| fail(address, error.to_string()))?;
            if name == own_name {
                return Err(fail(
                    address,
                    "is this broker's own name: each broker needs a name of its own".to_owned(),
                ));
            }
            let from = self.place(address, &format!("{path}.address"));
            let text =
                values::host_and_port(address).map_err(|reason| format!("{from}: `{path}`: {reason}"))?;
            explained.push(Explained { key: path, value: text.clone().into(), from });
            peers.push(PeerConfig { name: name.clone(), address: text });
        }
        Ok(peers)
    }

    fn rules(&self, explained: &mut Vec<Explained>) -> Result<Vec<RuleConfig>, String> {
        let Ok(value) = self.figment.find_value("rules") else { return Ok(Vec::new()) };
        let place = self.place(&value, "rules");
        let example = "write [rules.NAME], topic = \"audit/#\" and when_full = \"refuse\"";
        let table = value.as_dict().ok_or_else(|| format!("{place}: `rules` holds tables: {example}"))?;
        let mut rules = Vec::new();
        for (name, value) in table {
            let path = format!("rules.{name}");
            let text = |key: &str| {
                let found = self.figment.find_value(&format!("{path}.{key}")).ok();
                let found = found.and_then(|value| {
                    value.as_str().map(|text| (self.place(&value, &format!("{path}.{key}")), text.to_owned()))
                });
                found.ok_or_else(|| {
                    format!("{}: `{path}` has no `{key}`: {example}", self.place(value, &path))
                })
            };
            let ((from, topic), (at, when_full)) = (text("topic")?, text("when_full")?);
            if when_full != "refuse" {
                return Err(format!(
                    "{at}: `{path}`: when_full = \"{when_full}\": a rule can say \"refuse\" only"
                ));
            }
            fanal_matching::TopicFilter::parse(&topic)
                .map_err(|error| format!("{from}: `{path}`: {error}"))?;
            explained.push(Explained { key: path, value: topic.clone().into(), from });
            rules.push(RuleConfig { name: name.clone(), topic });
        }
        Ok(rules)
    }

    fn place_of(&self, path: &str) -> String {
        self.figment.find_value(path).map_or_else(|_| "default".to_owned(), |value| self.place(&value, path))
    }

    /// Where a value was given: file and line, variable or flag.
    fn place(&self, value: &Value, path: &str) -> String {
        let name =
            self.figment.get_metadata(value.tag()).map_or("default", |metadata| metadata.name.as_ref());
        match self.file {
            Some(file) if name == keys::FILE => file.place(path),
            _ => name.to_owned(),
        }
    }
}

impl Key {
    fn levels(&self) -> Vec<&'static str> {
        self.path.split('.').collect()
    }
}

#[cfg(test)]
mod tests;
