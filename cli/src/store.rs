//! `fanal store`: the store of a broker that does not run, looked at and repaired.
//!
//! Invariants:
//! 1. Nothing is changed without `--yes`.
//! 2. Exit code 0 of `check` means that everything that was ever flushed is there; 1 that it is not.
//! 3. `--json` prints what `fanal_broker::offline` says, as it is.

use std::ops::ControlFlow;
use std::path::Path;

use fanal_broker::Progress;
use fanal_broker::offline::{self, Dumped, OfflineError, Wanted};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::args::{Global, Output, StoreAction, StoreDump, StoreRepair};
use crate::delivery;
use crate::exit::{Failure, Outcome};
use crate::output::{Out, Table, clean, grouped};
use crate::pages::cell;
use crate::session;

/// Stores below this size are read before a bar could be seen.
const BAR_FROM_BYTES: u64 = 64 << 20;

/// One column: its heading, and its field.
type Column = (&'static str, &'static str);

const MAILBOXES: &[Column] = &[
    ("ID", "id"),
    ("KIND", "kind"),
    ("NAME", "name"),
    ("CLIENT", "principal"),
    ("QUEUED", "queued_events"),
    ("BYTES", "queued_bytes"),
    ("UNREADABLE", "unreadable_events"),
    ("LOST AT MOST", "lost_events_max"),
    ("SALVAGED", "salvaged_events"),
];
const SUMMARY: &[Column] = &[
    ("format version", "format"),
    ("store", "store"),
    ("recovery epoch", "recovery_epoch"),
    ("starts", "start"),
    ("bytes of the log", "log_bytes"),
    ("spare segments", "spares"),
    ("batches", "batches"),
    ("events", "events"),
    ("bytes of events", "event_bytes"),
    ("checkpoints", "checkpoints"),
    ("state records", "state_records"),
    ("publish epochs", "publishers"),
];

/// Runs the command on a thread of its own: it reads much.
pub(crate) async fn run(action: StoreAction, global: &Global) -> Outcome {
    let data = session::data_dir(global)?;
    let json = global.json;
    let work = tokio::task::spawn_blocking(move || match action {
        StoreAction::Check => check(&data, json),
        StoreAction::Repair(args) => repair(&data, &args, json),
        StoreAction::Dump(args) => dump(&data, &args, json),
    });
    work.await.unwrap_or_else(|error| Err(Failure::failed(format!("the command broke off: {error}"))))
}

fn check(data: &Path, json: bool) -> Outcome {
    let mut bar = Bar::default();
    let checked = offline::check(data, &mut |progress| bar.show(progress));
    bar.end();
    let (answer, is_clean) = checked.map_err(failure)?;
    let mut out = Out::lock();
    match json {
        true => out.json(&answer)?,
        false => show_check(&answer, &mut out)?,
    }
    out.flush()?;
    if is_clean {
        return Ok(());
    }
    let next = match answer["starts"].as_bool() {
        Some(true) => {
            "a broker starts on it and leaves out what is damaged; `fanal store repair` says what more it would keep"
        }
        _ => "a broker does not start on it; `fanal store repair` says what it would keep",
    };
    Err(Failure::failed(format!("the store in {} is damaged: {next}", data.display())))
}

fn repair(data: &Path, args: &StoreRepair, json: bool) -> Outcome {
    let mut bar = Bar::default();
    let mut watch = |progress| bar.show(progress);
    let answer = match (args.restored, args.yes) {
        (false, false) => offline::plan(data, &mut watch).map(|(answer, _)| answer),
        (false, true) => offline::repair(data, &mut watch),
        (true, false) => offline::restored_plan(data, &mut watch),
        (true, true) => offline::restored(data),
    };
    bar.end();
    let answer = answer.map_err(failure)?;
    let mut out = Out::lock();
    match (json, args.restored) {
        (true, _) => out.json(&answer)?,
        (false, true) => show_restored(&answer["restored"], &mut out)?,
        (false, false) => show_repair(&answer, &mut out)?,
    }
    out.flush()
}

fn dump(data: &Path, args: &StoreDump, json: bool) -> Outcome {
    let wanted = Wanted { mailbox: args.mailbox.clone(), events: args.events };
    let mut out = Out::lock();
    let mut printed = Ok(());
    let mut damaged = 0u64;
    let read = offline::dump(data, &wanted, &mut |dumped| {
        printed = match dumped {
            Dumped::Event(line) => delivery::write_stored(&mut out, form(json), &line),
            Dumped::Damage(line) => {
                damaged += 1;
                // Among events for a program a line of another form would be one of them.
                if args.events { Ok(()) } else { print_line(&mut out, &line, json) }
            }
            Dumped::Record(line) => print_line(&mut out, &line, json),
        };
        if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    printed?;
    read.map_err(failure)?;
    out.flush()?;
    if damaged > 0 {
        return Err(Failure::failed(format!(
            "{damaged} regions of the log cannot be read and were left out: `fanal store check` says which"
        )));
    }
    Ok(())
}

fn form(json: bool) -> Output {
    if json { Output::Json } else { Output::Text }
}

fn failure(error: OfflineError) -> Failure {
    Failure::failed(error)
}

/// Progress over a large store, where a person looks on.
#[derive(Default)]
struct Bar(Option<ProgressBar>);

impl Bar {
    fn show(&mut self, progress: Progress) {
        if progress.total_bytes < BAR_FROM_BYTES || !crate::style::can_redraw_stderr() {
            return;
        }
        let bar = self.0.get_or_insert_with(|| {
            let target = ProgressDrawTarget::stderr();
            let bar = ProgressBar::with_draw_target(Some(progress.total_bytes), target);
            let style = ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}");
            style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
        });
        bar.set_position(progress.done_bytes);
    }

    fn end(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

fn rows<'a>(answer: &'a Value, member: &str) -> &'a [Value] {
    answer[member].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(row: &'a Value, member: &str) -> std::borrow::Cow<'a, str> {
    clean(row[member].as_str().unwrap_or_default())
}

fn number(row: &Value, member: &str) -> String {
    grouped(row[member].as_u64().unwrap_or_default())
}

fn show_check(answer: &Value, out: &mut Out) -> Outcome {
    out.line(format_args!("{}", text(answer, "directory")))?;
    let width = SUMMARY.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    for (label, field) in SUMMARY {
        out.line(format_args!("{label:<width$}  {}", clean(&cell(answer, field))))?;
    }
    show_mailboxes(answer, out)?;
    for file in rows(answer, "metadata").iter().chain(rows(answer, "segments")) {
        if file["state"] != "intact" {
            let reason = file["reason"].as_str().map(|reason| format!(": {}", clean(reason)));
            let (name, state) = (text(file, "file"), text(file, "state").replace('_', " "));
            out.line(format_args!("DAMAGE: {name} is {state}{}", reason.unwrap_or_default()))?;
        }
    }
    for region in rows(answer, "damage") {
        let known = if region["is_known"] == true { ", as a start has told before" } else { "" };
        out.line(format_args!(
            "DAMAGE: {} bytes at offset {} of {} cannot be read ({} batches){known}",
            number(region, "bytes"),
            region["offset"],
            text(region, "file"),
            number(region, "batches"),
        ))?;
    }
    for segment in rows(answer, "missing_segments") {
        let entries = number(segment, "queued_entries");
        out.line(format_args!(
            "DAMAGE: {} is missing, {entries} entries point into it",
            text(segment, "file")
        ))?;
    }
    for (member, what) in [
        ("entries_misfit", "entries did not fit their mailbox"),
        ("events_without_destination", "events have lost their destinations"),
    ] {
        if answer[member].as_u64().is_some_and(|count| count > 0) {
            out.line(format_args!("DAMAGE: {} {what}", number(answer, member)))?;
        }
    }
    show_tail(answer, out)
}

fn show_tail(answer: &Value, out: &mut Out) -> Outcome {
    let tail = &answer["unproven"];
    if tail.is_object() {
        out.line(format_args!(
            "{} bytes at offset {} of {} were not proven to be flushed: a start copies them aside and cuts them off",
            number(tail, "bytes"),
            tail["offset"],
            text(tail, "file"),
        ))?;
    }
    for (member, what) in [("backups", "backup of an upgrade"), ("quarantine", "in quarantine")] {
        for path in rows(answer, member) {
            out.line(format_args!("{what}: {}", clean(path.as_str().unwrap_or_default())))?;
        }
    }
    match answer["reason"].as_str() {
        Some(reason) => out.line(format_args!("a broker does not start on it: {}", clean(reason))),
        None if answer["damaged"] == false => out.line(format_args!("everything is there")),
        None => Ok(()),
    }
}

fn show_mailboxes(answer: &Value, out: &mut Out) -> Outcome {
    let mailboxes = rows(answer, "mailboxes");
    if mailboxes.is_empty() {
        return out.line(format_args!("no mailboxes"));
    }
    let mut table = Table::new(MAILBOXES.iter().map(|(heading, _)| *heading));
    for row in mailboxes {
        table.row(MAILBOXES.iter().map(|(_, field)| cell(row, field)));
    }
    table.print(out)
}

fn show_repair(answer: &Value, out: &mut Out) -> Outcome {
    if answer["needed"] == false {
        return out
            .line(format_args!("nothing is damaged in {}: nothing to repair", text(answer, "directory")));
    }
    let done = answer["done"] == true;
    let [kept, lost, moved] = match done {
        true => ["kept", "lost", "moved"],
        false => ["would keep", "would lose", "would move to its quarantine"],
    };
    if let Some(reason) = answer["reason"].as_str() {
        let tense = if done { "did not start" } else { "does not start" };
        out.line(format_args!("a broker {tense} on it: {}", clean(reason)))?;
    }
    if answer["state_complete"] == false {
        out.line(format_args!(
            "no checkpoint can be read: names of mailboxes, publishers and peers that are told nowhere else are lost"
        ))?;
    }
    let salvaged = number(answer, "salvaged_events");
    let kept_events = number(answer, "kept_events");
    out.line(format_args!("{kept} {kept_events} queued events, {salvaged} of them out of damaged batches"))?;
    let (least, most) = (number(answer, "lost_events"), number(answer, "lost_events_max"));
    out.line(format_args!("{lost} {least} queued events that are known, {most} at most"))?;
    show_mailboxes(answer, out)?;
    for file in rows(answer, "moved") {
        let to = file["to"].as_str().map(|to| format!(" to {}", clean(to)));
        out.line(format_args!("{moved} {}{}", text(file, "from"), to.unwrap_or_default()))?;
    }
    for copy in rows(answer, "copied") {
        out.line(format_args!("copied damaged bytes to {}", clean(copy.as_str().unwrap_or_default())))?;
    }
    if let Some(backup) = answer["backup"].as_str() {
        out.line(format_args!("the store as it was before the upgrade of its format: {}", clean(backup)))?;
    }
    match done {
        true => out.line(format_args!(
            "the recovery epoch is {}: publishers open new epochs, and what was under way may arrive again",
            cell(answer, "recovery_epoch")
        )),
        false => out.line(format_args!("nothing was changed: --yes does it; nothing is ever deleted")),
    }
}

fn show_restored(answer: &Value, out: &mut Out) -> Outcome {
    let (before, after) = (&answer["recovery_epoch_before"], &answer["recovery_epoch"]);
    match answer["done"] == true {
        true => out.line(format_args!("the recovery epoch was raised from {before} to {after}")),
        false => out.line(format_args!(
            "would raise the recovery epoch from {before} to about {after}; nothing was changed: --yes does it"
        )),
    }
}

/// A record on one line: where, what, and what of it applies.
fn print_line(out: &mut Out, line: &Value, json: bool) -> Outcome {
    if json {
        return out.json(line);
    }
    let mut words = vec![format!("{:>12}  {}", line["position"].to_string(), text(line, "kind"))];
    for member in ["file", "topic", "publisher", "name", "text"] {
        if let Some(found) = line[member].as_str() {
            words.push(clean(found).into_owned());
        }
    }
    for member in ["mailbox", "sequence", "first", "last", "count", "bytes"] {
        if let Some(found) = line[member].as_u64() {
            words.push(format!("{member}={found}"));
        }
    }
    for entry in rows(line, "entries") {
        let name = entry["name"]
            .as_str()
            .map_or_else(|| entry["mailbox"].to_string(), |name| clean(name).into_owned());
        words.push(format!("→{name}#{}", entry["sequence"]));
    }
    out.line(format_args!("{}", words.join(" ")))
}
