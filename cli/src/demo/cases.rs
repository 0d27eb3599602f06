//! The bundled flights, and who asks for which of them: each filter beside the plain test that
//! says what it must give.

use serde_json::{Map, Value};

/// One flight a line, in order of departure.
const LINES: &str = include_str!("../../data/flights-sample.ndjson");

/// One flight.
pub(crate) struct Flight {
    pub(crate) line: &'static str,
    fields: Map<String, Value>,
}

impl Flight {
    fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.fields.get(name).and_then(Value::as_i64)
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.fields.get(name).and_then(Value::as_bool)
    }

    fn is_above(&self, name: &str, bound: i64) -> bool {
        self.number(name).is_some_and(|number| number > bound)
    }
}

/// All flights.
pub(crate) fn flights() -> Vec<Flight> {
    LINES
        .lines()
        .map(|line| Flight { line, fields: serde_json::from_str(line).unwrap_or_default() })
        .collect()
}

/// The broker at which somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Ewr,
    Jfk,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Ewr => "ewr",
            Side::Jfk => "jfk",
        }
    }
}

/// One subscription.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) side: Side,
    pub(crate) filter: &'static str,
    pub(crate) predicate: Option<&'static str>,
    pub(crate) except: Option<&'static str>,
    pub(crate) durable: Option<&'static str>,
    /// The plain test of one flight.
    pub(crate) wants: fn(&Flight) -> bool,
}

const fn case(
    side: Side,
    filter: &'static str,
    predicate: Option<&'static str>,
    wants: fn(&Flight) -> bool,
) -> Case {
    Case { side, filter, predicate, except: None, durable: None, wants }
}

/// Every subscription of the demo.
pub(crate) const CASES: &[Case] = &[
    case(Side::Ewr, "flights/#", None, |_| true),
    case(Side::Ewr, "flights/JFK/+", None, |flight| flight.text("origin") == "JFK"),
    case(Side::Ewr, "flights/+/LAX", Some("distance > 2470"), |flight| {
        flight.text("dest") == "LAX" && flight.is_above("distance", 2470)
    }),
    case(Side::Ewr, "flights/#", Some("dep_delay > 60"), |flight| flight.is_above("dep_delay", 60)),
    case(Side::Ewr, "flights/#", Some("carrier = 'UA'"), |flight| flight.text("carrier") == "UA"),
    case(Side::Ewr, "flights/#", Some("cancelled = TRUE"), |flight| flight.flag("cancelled") == Some(true)),
    case(Side::Jfk, "flights/#", None, |_| true),
    Case {
        except: Some("flights/LGA/#"),
        ..case(Side::Jfk, "flights/#", None, |flight| flight.text("origin") != "LGA")
    },
    case(Side::Jfk, "flights/#", Some("airline LIKE 'American%'"), |flight| {
        flight.text("airline").starts_with("American")
    }),
    case(Side::Jfk, "flights/#", Some("carrier IN ('B6', 'DL') AND dep_delay > 30"), |flight| {
        ["B6", "DL"].contains(&flight.text("carrier")) && flight.is_above("dep_delay", 30)
    }),
    case(Side::Jfk, "flights/#", Some("NOT EXISTS tailnum"), |flight| !flight.fields.contains_key("tailnum")),
    case(Side::Jfk, "flights/#", Some("(origin = 'LGA' OR origin = 'JFK') AND distance > 2000"), |flight| {
        ["LGA", "JFK"].contains(&flight.text("origin")) && flight.is_above("distance", 2000)
    }),
    Case {
        durable: Some("late"),
        ..case(Side::Jfk, "flights/JFK/+", Some("dep_delay > 15"), |flight| {
            flight.text("origin") == "JFK" && flight.is_above("dep_delay", 15)
        })
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_something_to_show() {
        let flights = flights();
        assert_eq!(flights.len(), 2000);
        for case in CASES {
            let wanted = flights.iter().filter(|flight| (case.wants)(flight)).count();
            assert!(wanted > 0, "{} {:?}", case.filter, case.predicate);
        }
    }
}
