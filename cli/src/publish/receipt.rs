//! What is printed of receipts and refusals.

use std::borrow::Cow;
use std::fmt;

use fanal_client::{PublishError, Receipt};
use fanal_protocol::Code;
use serde::Serialize;

use crate::exit::Outcome;
use crate::output::{Out, clean};

/// Prints the receipt of a single event.
pub(super) fn print_receipt(receipt: &Receipt, json: bool, out: &mut Out) -> Outcome {
    if json {
        return out.json(&serde_json::json!({
            "id": receipt.id(),
            "code": receipt.code.number(),
            "destinations": receipt.destinations,
            "publisher": receipt.publisher().to_string(),
            "epoch": receipt.epoch().to_string(),
            "sequence": receipt.sequence,
        }));
    }
    let destinations = match receipt.code {
        Code::Durable => match receipt.destinations {
            0 => ", no durable destination".to_owned(),
            1 => ", stored for 1 durable destination".to_owned(),
            count => format!(", stored for {count} durable destinations"),
        },
        _ => String::new(),
    };
    out.line(format_args!("{}{destinations}, id {}", receipt.code, clean(&receipt.id())))
}

/// `--receipts`: an event that was published.
#[derive(Serialize)]
pub(super) struct PublishedLine<'a> {
    line: u64,
    id: Cow<'a, str>,
    code: u16,
    sequence: u64,
}

impl<'a> PublishedLine<'a> {
    pub(super) fn new(line: u64, receipt: &'a Receipt) -> Self {
        PublishedLine { line, id: receipt.id(), code: receipt.code.number(), sequence: receipt.sequence }
    }
}

/// `--receipts`: an event that was refused, or of which nobody knows (then without a code).
#[derive(Serialize)]
pub(super) struct RefusedLine<'a> {
    line: u64,
    id: Option<&'a str>,
    code: Option<u16>,
    /// It has none, or none that counts.
    sequence: Option<u64>,
    reason: &'a str,
}

impl<'a> RefusedLine<'a> {
    pub(super) fn new(line: u64, id: Option<&'a str>, code: Option<u16>, reason: &'a str) -> Self {
        RefusedLine { line, id, code, sequence: None, reason }
    }
}

impl fmt::Display for RefusedLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Numbers and texts can always be written.
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}

/// The code to report and the reason; no code where nobody refused.
pub(super) fn code_and_reason(error: &PublishError) -> (Option<u16>, String) {
    match error {
        PublishError::Refused(refused) => (Some(refused.code.number()), refused.reason.clone()),
        PublishError::Invalid(error) => (Some(Code::Malformed.number()), error.to_string()),
        other => (None, other.to_string()),
    }
}
