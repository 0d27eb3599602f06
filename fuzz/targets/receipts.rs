//! Receipts as runs.
//!
//! 1. What is collected spreads to what was pushed, in order, and each frame fits a control
//!    stream.
//! 2. Whatever a Receipts frame says, its receipts ascend and end at `through`.
//!
//! The input is a Receipts frame without its length if it decodes as one, and choices of what to
//! push in any case.
#![no_main]

use fanal_fuzz::Choices;
use fanal_protocol::control::{Exception, Receipts};
use fanal_protocol::receipt::{ReceiptRuns, each};
use fanal_protocol::{CONTROL_FRAME_BYTES_MAX, Code, Control};

/// A frame may stand for 2^64 receipts; so many are looked at.
const LOOKED_AT: usize = 1_000;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(Control::Receipts(receipts)) = Control::decode(bytes) {
        check_any(&receipts);
    }
    check_collected(&mut Choices(bytes));
});

fn check_any(receipts: &Receipts) {
    let seen: Vec<_> = each(receipts).take(LOOKED_AT).collect();
    assert!(seen.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "ascending without holes");
    if seen.len() < LOOKED_AT && receipts.through < u64::MAX {
        let any = receipts.runs.iter().any(|run| run.1 > 0);
        assert_eq!(seen.last().map(|last| last.0), any.then_some(receipts.through));
    }
}

fn check_collected(choices: &mut Choices<'_>) {
    let (mut runs, mut pushed, mut refusals) = (ReceiptRuns::default(), Vec::new(), Vec::new());
    let mut sequence = choices.edgy();
    while !choices.is_empty() {
        let choice = choices.byte();
        let code = Code::ALL[usize::from(choices.byte()) % Code::ALL.len()];
        if choice & 1 == 0 {
            let destinations = u64::from(choice >> 6);
            runs.push(1, false, sequence, code, destinations);
            pushed.push((sequence, code.number(), destinations));
        } else {
            let reason = "r".repeat(usize::from(choices.byte()) * 16);
            let retry_ms = (choice & 2 != 0).then_some(u64::from(choice));
            let exception = Exception { sequence, code: code.number(), reason, retry_ms };
            runs.push_refusal(1, false, exception.clone());
            pushed.push((sequence, code.number(), 0));
            refusals.push(exception);
        }
        sequence = if choice & 0x38 == 0x38 { choices.edgy() } else { sequence.wrapping_add(1) };
    }
    let frames = runs.drain();
    assert!(runs.is_empty());
    for frame in &frames {
        let mut out = Vec::new();
        Control::from(frame.clone()).encode(&mut out);
        assert!(out.len() <= CONTROL_FRAME_BYTES_MAX, "{} bytes", out.len());
    }
    assert_eq!(frames.iter().flat_map(each).collect::<Vec<_>>(), pushed);
    assert_eq!(frames.into_iter().flat_map(|frame| frame.exceptions).collect::<Vec<_>>(), refusals);
}
