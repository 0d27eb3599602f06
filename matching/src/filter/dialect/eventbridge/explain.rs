//! What a pattern reads of an event.

use super::super::super::explain::Reading;
use super::super::language::put_string;
use super::{Members, Pattern, Wanted};
use crate::path::Path;
use crate::value::Attributes;

impl Pattern {
    /// What the pattern reads of the event, in the order of its text: attributes, and paths into the
    /// payload, of which an array is seen as such and not by its elements.
    pub(in super::super::super) fn read_into<'a, A: Attributes + ?Sized>(
        &'a self,
        event: &'a A,
        readings: &mut Vec<Reading<'a>>,
    ) {
        read_members(&self.0, None, event, readings);
    }
}

/// `path`: where in the payload the members are looked for.
fn read_members<'a, A: Attributes + ?Sized>(
    members: &'a Members,
    path: Option<&str>,
    event: &'a A,
    readings: &mut Vec<Reading<'a>>,
) {
    for field in &members.fields {
        let inner = match path {
            Some(path) => Some(format!("{path}[{}]", quoted(&field.name))),
            None => field.wanted.is_payload(&field.name).then(|| "data".to_owned()),
        };
        match (&field.wanted, inner) {
            (Wanted::Members(members), Some(path)) => read_members(members, Some(&path), event, readings),
            (Wanted::Value(_), Some(path)) => read_path(&path, event, readings),
            (_, None) => {
                let value = event.get(&field.name);
                Reading { name: (&field.name).into(), value }.put_into(readings);
            }
        }
    }
    for choice in members.choices.iter().flatten() {
        read_members(choice, path, event, readings);
    }
}

fn read_path<'a, A: Attributes + ?Sized>(path: &str, event: &'a A, readings: &mut Vec<Reading<'a>>) {
    // A path longer than a filter can write is not shown.
    if let Ok(path) = Path::parse(path) {
        Reading { name: path.as_str().to_owned().into(), value: event.data(&path) }.put_into(readings);
    }
}

fn quoted(name: &str) -> String {
    let mut quoted = String::new();
    // Writing into a String does not fail.
    let _ = put_string(&mut quoted, name);
    quoted
}
