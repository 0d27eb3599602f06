//! Control streams: framing, and every control frame.
//!
//! What decodes encodes, and what was encoded decodes to the same value; the second encoding is
//! the first. The input is a control stream.
#![no_main]

use fanal_fuzz::{each_frame, only_frame};
use fanal_protocol::control::interest_digest;
use fanal_protocol::{CONTROL_FRAME_BYTES_MAX, Control};

libfuzzer_sys::fuzz_target!(|stream: &[u8]| {
    each_frame(stream, CONTROL_FRAME_BYTES_MAX, |frame| {
        let Ok(control) = Control::decode(frame) else { return true };
        let mut once = Vec::new();
        control.encode(&mut once);
        let again = Control::decode(only_frame(&once)).expect("what was encoded decodes");
        assert_eq!(control, again);
        let mut twice = Vec::new();
        again.encode(&mut twice);
        assert_eq!(once, twice);
        if let Control::InterestSnapshot(part) = &control {
            let backwards: Vec<_> = part.entries.iter().rev().collect();
            assert_eq!(interest_digest(&part.entries), interest_digest(backwards));
        }
        true
    });
});
