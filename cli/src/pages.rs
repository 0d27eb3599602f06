//! Pages of the broker's admin API, asked over the client's connection: `status`, `peers`,
//! `sessions`, `subscriptions`, `mailboxes`; and changes of subscriptions.
//!
//! Invariants:
//! 1. `--json` prints the broker's answer as it is.
//! 2. The table shows known columns in a fixed order; a field that is missing is `-`, one that
//!    this version does not know is left to `--json`.

use std::time::Duration;

use serde_json::Value;

use crate::args::{Global, SubscriptionsAction};
use crate::exit::{Failure, Outcome};
use crate::output::{Out, Table, clean, grouped};
use crate::session;

/// One column: its heading, and its field (a path with dots).
type Column = (&'static str, &'static str);

const PEERS: &[Column] = &[
    ("NAME", "name"),
    ("STATE", "state"),
    ("ADDRESS", "address"),
    ("RTT", "rtt_ms"),
    ("LAG", "lag_events"),
    ("ASKED BY IT", "interest_in"),
    ("ASKED OF IT", "interest_out"),
    ("LINKED FOR", "linked_seconds"),
    ("PROBLEM", "problem"),
];
const SESSIONS: &[Column] = &[
    ("ID", "id"),
    ("CLIENT", "principal"),
    ("PROGRAM", "agent"),
    ("FROM", "remote"),
    ("SUBSCRIPTIONS", "subscriptions"),
    ("SINCE", "connected_seconds"),
];
const SUBSCRIPTIONS: &[Column] = &[
    ("NAME", "name"),
    ("KIND", "kind"),
    ("CLIENT", "principal"),
    ("FILTER", "filter"),
    ("WHERE", "where"),
    ("STRICT", "strict"),
    ("EXCEPT", "except"),
    ("ATTACHED", "attached"),
    ("QUEUED", "queued_events"),
];
const MAILBOXES: &[Column] = &[
    ("ID", "id"),
    ("KIND", "kind"),
    ("NAME", "name"),
    ("CLIENT", "principal"),
    ("ATTACHED", "attached"),
    ("QUEUED", "queued_events"),
    ("BYTES", "queued_bytes"),
    ("MAX BYTES", "max_bytes"),
    ("MAX EVENTS", "max_events"),
    ("MAX AGE", "max_age_ms"),
    ("WHEN FULL", "when_full"),
    ("DEAD LETTERS", "dead_lettered"),
    ("DROPPED", "dropped"),
];
const DEAD_LETTERS: &[Column] = &[
    ("KIND", "kind"),
    ("NAME", "name"),
    ("CLIENT", "principal"),
    ("REASON", "reason"),
    ("EVENTS", "events"),
    ("NUMBERS FROM", "first_number"),
    ("TO", "last_number"),
    ("FIRST CAME", "since"),
    ("LAST CAME", "until"),
];
const STATUS: &[Column] = &[
    ("name", "name"),
    ("state", "state"),
    ("version", "version"),
    ("sessions", "sessions"),
    ("live subscriptions", "subscriptions.live"),
    ("durable subscriptions", "subscriptions.durable"),
    ("peers known", "peers.known"),
    ("peers linked", "peers.linked"),
    ("events queued", "queued_events"),
    ("CA fingerprint", "authority"),
    ("store", "incarnation.store"),
    ("recovery epoch", "incarnation.recovery_epoch"),
    ("starts", "incarnation.start"),
];

/// Prints a page.
pub(crate) async fn run(page: &str, global: &Global) -> Outcome {
    let client = session::connect(global, page).await?;
    let json = client.query(page).await.map_err(session::failure)?;
    let _ = client.close().await;
    let mut out = Out::lock();
    if global.json {
        out.line(format_args!("{json}"))?;
        return out.flush();
    }
    let answer: Value = serde_json::from_str(&json).map_err(|error| {
        Failure::failed(format!(
            "the broker's answer is not JSON ({error}): compare versions with `fanal status --json`"
        ))
    })?;
    match shown(page, &answer) {
        Shown::Table(table) => table.print(&mut out)?,
        Shown::Lines(lines) => lines.iter().try_for_each(|line| out.line(format_args!("{line}")))?,
    }
    out.flush()
}

/// A page for people.
enum Shown {
    Table(Table),
    Lines(Vec<String>),
}

fn shown(page: &str, answer: &Value) -> Shown {
    let (columns, what) = match page {
        "peers" => (PEERS, "no peers: link two brokers with `fanal serve --peer NAME=HOST:PORT`"),
        "sessions" => (SESSIONS, "no sessions"),
        "subscriptions" => (SUBSCRIPTIONS, "no subscriptions"),
        "mailboxes" => (MAILBOXES, "no mailboxes"),
        "dead-letters" => (DEAD_LETTERS, "no dead letters"),
        _ => return Shown::Lines(status(answer)),
    };
    let rows = answer[page.replace('-', "_")].as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return Shown::Lines(vec![what.to_owned()]);
    }
    let mut table = Table::new(columns.iter().map(|(heading, _)| *heading));
    for row in rows {
        table.row(columns.iter().map(|(_, field)| cell(row, field)));
    }
    Shown::Table(table)
}

fn status(answer: &Value) -> Vec<String> {
    let width = STATUS.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    STATUS.iter().map(|(label, field)| format!("{label:<width$}  {}", clean(&cell(answer, field)))).collect()
}

pub(crate) fn cell(row: &Value, field: &str) -> String {
    let value = field.split('.').fold(row, |value, level| &value[level]);
    match (field, value) {
        (_, Value::Null) => "-".to_owned(),
        ("rtt_ms", Value::Number(number)) => format!("{:.1} ms", number.as_f64().unwrap_or_default()),
        (field, Value::Number(number)) if field.ends_with("_seconds") => {
            age(number.as_u64().unwrap_or_default())
        }
        // Names of things, not amounts.
        ("id" | "first_number" | "last_number", Value::Number(number)) => number.to_string(),
        ("max_age_ms", Value::Number(number)) => {
            crate::duration::show(Duration::from_millis(number.as_u64().unwrap_or_default()))
        }
        // By reason.
        ("dead_lettered" | "dropped", Value::Object(counts)) => {
            grouped(counts.values().filter_map(Value::as_u64).sum())
        }
        ("when_full", Value::String(text)) => text.replace('_', "-"),
        (_, Value::Number(number)) => number.as_u64().map_or_else(|| number.to_string(), grouped),
        (_, Value::Bool(flag)) => if *flag { "yes" } else { "no" }.to_owned(),
        ("principal", Value::String(text)) => short(text),
        (_, Value::String(text)) => text.clone(),
        (_, Value::Array(list)) if list.is_empty() => "-".to_owned(),
        (_, Value::Array(list)) => {
            list.iter().map(|item| item.as_str().unwrap_or_default()).collect::<Vec<_>>().join(" ")
        }
        (_, other) => other.to_string(),
    }
}

/// `NAME@FINGERPRINT` with as much of the fingerprint as people compare.
fn short(principal: &str) -> String {
    match principal.split_once('@') {
        Some((name, authority)) if authority.len() > 8 && authority.is_ascii() => {
            format!("{name}@{}…", &authority[..8])
        }
        _ => principal.to_owned(),
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `fanal subscriptions list`, `remove` and `update`.
pub(crate) async fn act(action: SubscriptionsAction, global: &Global) -> Outcome {
    if let SubscriptionsAction::List = action {
        return run("subscriptions", global).await;
    }
    let client = session::connect(global, "subscriptions").await?;
    let (verb, name, done) = match &action {
        SubscriptionsAction::List => return Ok(()),
        SubscriptionsAction::Remove { name } => ("removed", name, client.remove_subscription(name).await),
        SubscriptionsAction::Update { name, filter, predicate, strict, except, limits } => {
            let except: Vec<&str> = except.iter().map(String::as_str).collect();
            let mut done = match (filter, predicate.as_deref()) {
                (None, _) => Ok(()),
                (Some(filter), Some(predicate)) if *strict => {
                    client.update_subscription_strict(name, filter, predicate, &except).await
                }
                (Some(filter), predicate) => {
                    client.update_subscription(name, filter, predicate, &except).await
                }
            };
            let limits = limits.chosen();
            if done.is_ok() && !limits.is_empty() {
                done = client.update_limits(name, limits).await;
            }
            ("updated", name, done)
        }
    };
    done.map_err(session::failure)?;
    let _ = client.close().await;
    let mut out = Out::lock();
    match global.json {
        true => out.json(&serde_json::json!({ verb: name }))?,
        false => out.line(format_args!("{verb} {}", clean(name)))?,
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(page: &str, answer: &Value) -> Vec<String> {
        match shown(page, answer) {
            Shown::Table(table) => table.lines(None),
            Shown::Lines(lines) => lines,
        }
    }

    #[test]
    fn lists_become_tables() {
        let row = json!({
            "id": 1204, "kind": "durable", "name": "late", "attached": false, "queued_events": 1204,
            "queued_bytes": 7, "principal": "p@0123456789abcdef", "unknown": [1], "max_bytes": null,
            "max_events": 1000, "max_age_ms": 604_800_000, "when_full": "drop_oldest",
            "dead_lettered": {"full": 0}, "dropped": {"full": 10, "age": 2},
        });
        let peer = json!({ "id": 2, "kind": "peer", "name": "jfk", "attached": true, "queued_events": 0, "queued_bytes": 0 });
        let lines = lines("mailboxes", &json!({ "mailboxes": [row, peer] }));
        assert_eq!(
            lines,
            [
                "  ID  KIND     NAME  CLIENT       ATTACHED  QUEUED  BYTES  MAX BYTES  MAX EVENTS  MAX AGE  WHEN FULL    DEAD LETTERS  DROPPED",
                "1204  durable  late  p@01234567…  no         1,204      7          -       1,000  7d       drop-oldest             0       12",
                "   2  peer     jfk   -            yes            0      0          -           -  -        -                       -        -",
            ]
        );
    }

    #[test]
    fn an_empty_list_says_so() {
        assert_eq!(lines("sessions", &json!({ "sessions": [] })), ["no sessions"]);
        assert!(lines("peers", &json!({ "peers": [] }))[0].contains("--peer"));
    }

    #[test]
    fn status_lists_what_is_known() {
        let lines = lines("status", &json!({ "name": "ewr", "subscriptions": { "live": 3 } }));
        assert!(lines.contains(&"name                   ewr".to_owned()), "{lines:?}");
        assert!(lines.contains(&"live subscriptions     3".to_owned()), "{lines:?}");
        assert!(lines.contains(&"peers linked           -".to_owned()), "{lines:?}");
    }
}
