//! `interest.json`: what of an interest entry is hashed, and the digest of a set.

use std::collections::BTreeMap;

use fanal_protocol::Control;
use fanal_protocol::control::{InterestDelta, InterestEntry, interest_digest};

use super::json::{FromJson, hex, text, vectors};

fn entries() -> BTreeMap<String, InterestEntry> {
    let all = vectors("interest.json", "entries");
    all.iter()
        .map(|(_, one)| (text(&one["name"]).to_owned(), InterestEntry::from_json(&one["entry"])))
        .collect()
}

/// The entry as it stands in a frame, without its id and what later versions know.
fn hashed(entry: InterestEntry) -> Vec<u8> {
    let add = vec![InterestEntry { id: 0, strict: None, ..entry }];
    let mut out = Vec::new();
    Control::from(InterestDelta { add, ..Default::default() }).encode(&mut out);
    // Length, frame type, head of the map, key 3, head of the list; the length takes 1 or 2 bytes.
    let prefix = 1usize << (out[0] >> 6);
    out.split_off(prefix + 4)
}

#[test]
fn entries_are_hashed_as_they_stand_in_a_frame() {
    for (name, vector) in vectors("interest.json", "entries") {
        let entry = InterestEntry::from_json(&vector["entry"]);
        assert_eq!(hashed(entry.clone()), hex(&vector), "{name}");
        assert_eq!(format!("{:016x}", interest_digest([&entry])), text(&vector["hash"]), "{name}");
    }
}

#[test]
fn a_digest_is_the_sum_over_the_set() {
    let entries = entries();
    for (name, vector) in vectors("interest.json", "sets") {
        let set = Vec::<String>::from_json(&vector["entries"]);
        let digest = interest_digest(set.iter().map(|name| &entries[name]));
        assert_eq!(format!("{digest:016x}"), text(&vector["digest"]), "{name}");
    }
}
