//! The page of the dead letters: whose they are, why, how many, since when.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use fanal_core::MailboxId;
use fanal_core::event::Millis;
use fanal_core::home::{Destination, Selection};
use fanal_core::limits::Reason;
use fanal_matching::Timestamp;
use serde_json::{Value, json};

use super::queued;
use crate::log::{Command, Output};
use crate::shared::Shared;

/// The mailbox of the dead letters, once there is one.
fn mailbox(shared: &Shared) -> Option<MailboxId> {
    let id = shared.health.dead_letters.load(Ordering::Relaxed);
    (id != 0).then_some(MailboxId(id))
}

/// Its row among the mailboxes.
pub(super) fn mailbox_row(shared: &Shared) -> Option<(MailboxId, Value)> {
    let id = mailbox(shared)?;
    let (events, bytes, first, next) = queued(shared, id);
    let row = json!({
        "id": id.0,
        "kind": "dead_letters",
        "name": null,
        "principal": null,
        "attached": false,
        "queued_events": events,
        "queued_bytes": bytes,
        "first_sequence": first,
        "next_sequence": next,
        "started_below": first,
    });
    Some((id, row))
}

/// Letters of one destination and reason.
struct Sum {
    events: u64,
    attempts: u32,
    first: u64,
    last: u64,
    since: Millis,
    until: Millis,
}

/// The page. O(ranges of dead letters).
pub(super) async fn page(shared: &Shared) -> Value {
    let everything = Command::FindLetters { wanted: Selection::default(), from: 0, max: usize::MAX };
    let ranges = match shared.log.command(everything).await {
        Ok(Output::Letters(ranges)) => ranges,
        _ => Vec::new(),
    };
    let mut sums: BTreeMap<(Destination, Reason), Sum> = BTreeMap::new();
    for (first, letters) in ranges {
        let key = ((*letters.destination).clone(), letters.reason);
        let sum = sums.entry(key).or_insert(Sum {
            events: 0,
            attempts: 0,
            first,
            last: 0,
            since: letters.since,
            until: 0,
        });
        sum.events += letters.last - first + 1;
        sum.attempts = sum.attempts.max(letters.attempts);
        sum.last = letters.last;
        sum.since = sum.since.min(letters.since);
        sum.until = sum.until.max(letters.until);
    }
    let rows: Vec<Value> =
        sums.iter().map(|((destination, reason), sum)| row(destination, *reason, sum)).collect();
    let (events, bytes, ..) = mailbox(shared).map_or((0, 0, 1, 1), |id| queued(shared, id));
    json!({ "dead_letters": rows, "queued_events": events, "queued_bytes": bytes })
}

fn row(destination: &Destination, reason: Reason, sum: &Sum) -> Value {
    let mut row = named(destination);
    row["reason"] = json!(reason.word());
    row["events"] = json!(sum.events);
    row["attempts"] = json!(sum.attempts);
    row["first_number"] = json!(sum.first);
    row["last_number"] = json!(sum.last);
    row["since"] = json!(time_text(sum.since));
    row["until"] = json!(time_text(sum.until));
    row
}

/// Kind, name and owner of a destination.
pub(crate) fn named(destination: &Destination) -> Value {
    match destination {
        Destination::Subscription { principal, name } => {
            json!({ "kind": "durable", "name": name, "principal": principal.to_string() })
        }
        Destination::Peer(peer) => json!({ "kind": "peer", "name": peer.name, "principal": null }),
    }
}

/// RFC 3339, with three digits of milliseconds always: texts are in the order of the times.
pub(crate) fn time_text(at: Millis) -> String {
    let second = Timestamp { seconds: (at / 1_000) as i64, nanos: 0 }.to_string();
    format!("{}.{:03}Z", second.trim_end_matches('Z'), at % 1_000)
}

#[cfg(test)]
mod tests {
    use super::time_text;

    #[test]
    fn times_as_texts_are_in_their_order() {
        let start = 1_795_365_689_000;
        let texts: Vec<String> = (start..start + 2_001).map(time_text).collect();
        assert!(texts.is_sorted_by(|one, other| one < other));
        assert_eq!([&texts[0], &texts[710]], ["2026-11-22T16:41:29.000Z", "2026-11-22T16:41:29.710Z"]);
    }
}
