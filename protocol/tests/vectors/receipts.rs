//! `receipts.json`: runs and the receipts that they stand for.

use fanal_protocol::control::{Exception, Receipts};
use fanal_protocol::receipt::{ReceiptRuns, each};
use fanal_protocol::{Code, Control, frame};
use serde_json::Value;

use super::json::{hex, vectors};

fn number(receipt: &Value, name: &str) -> u64 {
    receipt[name].as_u64().unwrap_or_else(|| panic!("`{name}` of {receipt}"))
}

fn exception(receipt: &Value) -> Option<Exception> {
    let reason = receipt["reason"].as_str()?.to_owned();
    let code = number(receipt, "code") as u16;
    Some(Exception {
        sequence: number(receipt, "sequence"),
        code,
        reason,
        retry_ms: receipt["retry_ms"].as_u64(),
    })
}

fn collect(vector: &Value, receipts: &[Value]) -> Vec<Receipts> {
    let (channel, best_effort) = (number(vector, "channel") as u32, vector["best_effort"] == true);
    let mut runs = ReceiptRuns::default();
    for receipt in receipts {
        let (sequence, destinations) = (number(receipt, "sequence"), number(receipt, "destinations"));
        let code = Code::from_number(number(receipt, "code") as u16).expect("a code of this version");
        match exception(receipt) {
            Some(exception) => runs.push_refusal(channel, best_effort, exception),
            None => runs.push(channel, best_effort, sequence, code, destinations),
        }
    }
    runs.drain()
}

#[test]
fn runs_stand_for_their_receipts() {
    for (name, vector) in vectors("receipts.json", "vectors") {
        println!("{name}"); // shown when one fails
        let bytes = hex(&vector);
        let range = frame::frames(&bytes).next().expect("a frame");
        let Control::Receipts(frame) = Control::decode(&bytes[range]).unwrap() else {
            panic!("not Receipts")
        };
        let receipts = vector["receipts"].as_array().unwrap();
        let expected: Vec<_> = receipts
            .iter()
            .map(|one| (number(one, "sequence"), number(one, "code") as u16, number(one, "destinations")))
            .collect();
        assert_eq!(each(&frame).collect::<Vec<_>>(), expected);
        assert_eq!(frame.exceptions, receipts.iter().filter_map(exception).collect::<Vec<_>>());
        if vector["encodes"] == true {
            let frames = collect(&vector, receipts);
            let mut out = Vec::new();
            frames.iter().for_each(|frame| Control::from(frame.clone()).encode(&mut out));
            assert_eq!(out, bytes, "{frames:?}");
        }
    }
}
