//! The dashboards' files: what Grafana needs of them to import and to draw them.

use std::collections::BTreeSet;

use fanal_tests::dashboard::{self, Dashboard, items, text};
use fanal_tests::process::Process;
use fanal_tests::tool;
use serde_json::Value;

use crate::files::{deploy, read};

#[test]
fn dashboards_can_be_imported_as_they_are() {
    let dashboards = dashboard::all();
    let uids: BTreeSet<String> = dashboards.iter().map(|dashboard| text(&dashboard.json["uid"])).collect();
    assert_eq!(uids.len(), dashboards.len(), "one uid each: {uids:?}");
    for dashboard in &dashboards {
        let (name, json) = (&dashboard.name, &dashboard.json);
        assert_eq!(*name, format!("{}.json", text(&json["uid"])));
        assert!(json["schemaVersion"].as_u64().unwrap() >= 39 && json["editable"] == true, "{name}");
        assert!(json.get("id").is_none() && json.get("__inputs").is_none(), "{name}: of one installation");
        assert!(items(&json["tags"]).any(|tag| tag == "fanal"), "{name}");
        assert!(items(&json["links"]).any(|link| link["tags"][0] == "fanal"), "{name} links to the others");
        check_panels(dashboard);
        check_grid(dashboard);
        check_variables(dashboard);
    }
}

fn check_panels(dashboard: &Dashboard) {
    let mut ids = BTreeSet::new();
    for panel in dashboard.panels() {
        let place = format!("{}: {}", dashboard.name, text(&panel["title"]));
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{place}: its id is taken");
        if panel["type"] == "row" {
            continue;
        }
        assert!(!text(&panel["title"]).is_empty() && text(&panel["description"]).ends_with('.'), "{place}");
        assert!(!text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty(), "{place}: a unit");
        let mut letters = BTreeSet::new();
        assert!(items(&panel["targets"]).count() > 0, "{place}: a query");
        for target in items(&panel["targets"]) {
            assert!(letters.insert(text(&target["refId"])), "{place}: {target}");
            assert!(
                !text(&target["expr"]).is_empty() && !text(&target["legendFormat"]).is_empty(),
                "{place}"
            );
            assert_eq!(text(&target["datasource"]["uid"]), "${datasource}", "{place}");
        }
        assert_eq!(text(&panel["datasource"]["uid"]), "${datasource}", "{place}");
    }
}

/// (left, top, right, bottom) of a panel.
fn area(panel: &Value) -> [u64; 4] {
    let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
    [x, y, x + w, y + h]
}

fn check_grid(dashboard: &Dashboard) {
    let panels: Vec<_> = dashboard.panels().collect();
    for (at, panel) in panels.iter().enumerate() {
        let [left, top, right, bottom] = area(panel);
        assert!(left < right && top < bottom && right <= 24, "{}: {}", dashboard.name, panel["title"]);
        for other in &panels[..at] {
            let [l, t, r, b] = area(other);
            let is_apart = right <= l || r <= left || bottom <= t || b <= top;
            assert!(is_apart, "{}: {} covers {}", dashboard.name, panel["title"], other["title"]);
        }
    }
}

/// Every variable that is used is defined, and every one that is defined is used.
fn check_variables(dashboard: &Dashboard) {
    const OF_GRAFANA: [&str; 6] = [
        "__rate_interval",
        "__range",
        "__interval",
        "__url_time_range",
        "__field.labels.instance",
        "__value.text",
    ];
    let defined: BTreeSet<String> = dashboard.variables().map(|variable| text(&variable["name"])).collect();
    let whole = dashboard.json.to_string();
    let mut used = BTreeSet::new();
    for piece in whole.split('$').skip(1) {
        let name = match piece.strip_prefix('{') {
            Some(rest) => rest.split('}').next().unwrap(),
            None => piece.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap(),
        };
        used.insert(name.to_owned());
    }
    used.remove("__all");
    OF_GRAFANA.iter().for_each(|name| _ = used.remove(*name));
    assert_eq!(used, defined, "{}", dashboard.name);
    assert!(dashboard.variables().any(|variable| variable["type"] == "datasource"));
}

#[test]
fn dashboards_are_what_their_source_writes() {
    let Some(python) = tool::python("dashboards_are_what_their_source_writes") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(python);
    command.arg("-B").arg(deploy("grafana/dashboards.py")).arg(dir.path());
    let finished = Process::start(&mut command).finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let dashboards = dashboard::all();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), dashboards.len());
    for Dashboard { name, .. } in dashboards {
        let (made, kept) =
            (std::fs::read_to_string(dir.path().join(&name)), read(&format!("grafana/dashboards/{name}")));
        assert!(made.unwrap() == kept, "{name} is out of date: run deploy/grafana/dashboards.py");
    }
}
