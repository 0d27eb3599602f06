//! The dashboards of `deploy/grafana`: their panels and queries, with Grafana's variables filled in.

use std::path::PathBuf;

use serde_json::Value;

use crate::cli::repository;

/// One dashboard.
pub struct Dashboard {
    /// File name.
    pub name: String,
    /// All of it.
    pub json: Value,
}

/// One query of one panel.
#[derive(Debug, Clone)]
pub struct Query {
    /// Dashboard, panel and letter, for messages.
    pub place: String,
    /// As it stands in the file.
    pub expression: String,
    /// Whether it asks for the present only.
    pub is_instant: bool,
}

/// Where the dashboards are.
pub fn directory() -> PathBuf {
    repository().join("deploy/grafana/dashboards")
}

/// Every dashboard, by name.
///
/// # Panics
/// When one cannot be read.
pub fn all() -> Vec<Dashboard> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory())
        .expect("dashboards")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a dashboard");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Dashboard {
            json: serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}")),
            name,
        }
    };
    paths.into_iter().map(read).collect()
}

impl Dashboard {
    /// Its panels, headings of rows included.
    pub fn panels(&self) -> impl Iterator<Item = &Value> {
        items(&self.json["panels"])
    }

    /// Its variables.
    pub fn variables(&self) -> impl Iterator<Item = &Value> {
        items(&self.json["templating"]["list"])
    }

    /// Every query of every panel.
    pub fn queries(&self) -> Vec<Query> {
        let of = |panel: &Value| {
            let title = format!("{}: {}", self.name, text(&panel["title"]));
            let query = move |target: &Value| Query {
                place: format!("{title} {}", text(&target["refId"])),
                expression: text(&target["expr"]),
                is_instant: target["instant"] == true,
            };
            items(&panel["targets"]).map(query).collect::<Vec<_>>()
        };
        self.panels().flat_map(of).collect()
    }

    /// (metric selector, label) of every variable that is a query.
    ///
    /// # Panics
    /// When one is of another form than `label_values(SELECTOR, LABEL)`.
    pub fn label_values(&self) -> Vec<(String, String)> {
        let queries = self.variables().filter(|variable| variable["type"] == "query");
        let parse = |variable: &Value| {
            let query = text(&variable["query"]["query"]);
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (selector, label) =
                inner.and_then(|inner| inner.rsplit_once(',')).expect("label_values(SELECTOR, LABEL)");
            (selector.trim().to_owned(), label.trim().to_owned())
        };
        queries.map(parse).collect()
    }
}

/// Fills variables in, `$name` and `${name}`, the longest name first.
pub fn filled(expression: &str, values: &[(&str, &str)]) -> String {
    let mut values = values.to_vec();
    values.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    values.iter().fold(expression.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value)
    })
}

/// Elements of an array; none where there is none.
pub fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A value's text; empty where it is none.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
