//! The flights and the plain pass over them: what each filter must give, written by hand.
//!
//! Invariant: nothing here uses the matching that is tested; the oracles are closures over JSON.

use std::path::PathBuf;

use fanal_client::{PublishBuilder, Publisher};
use serde_json::Value;

use crate::cli::repository;

/// One line of the file.
pub struct Flight {
    /// As it stands in the file; the payload.
    pub line: String,
    /// Parsed.
    pub value: Value,
    /// `flights/{origin}/{dest}`.
    pub topic: String,
}

impl Flight {
    /// From a line.
    ///
    /// # Panics
    /// When it is not a flight.
    pub fn parse(line: &str) -> Flight {
        let value: Value = serde_json::from_str(line).expect("a line of JSON");
        let field = |name: &str| value[name].as_str().expect("a field of text").to_owned();
        let topic = format!("flights/{}/{}", field("origin"), field("dest"));
        Flight { line: line.to_owned(), topic, value }
    }

    /// This flight as a publish, with the attributes that `fanal publish --ndjson` gives it.
    pub fn publish<'a>(&'a self, publisher: &Publisher) -> PublishBuilder<'a> {
        let mut publish =
            publisher.publish(&self.topic).content_type("application/json").payload(self.line.clone());
        for (name, value) in self.value.as_object().into_iter().flatten().filter(|(name, _)| *name != "time")
        {
            publish = match value {
                Value::String(text) => publish.attr(name, text),
                Value::Bool(flag) => publish.attr(name, *flag),
                Value::Number(number) => match number.as_i64() {
                    Some(number) => publish.attr(name, number),
                    None => publish.attr(name, number.as_f64().unwrap_or(f64::NAN)),
                },
                _ => publish,
            };
        }
        publish
    }

    fn text(&self, name: &str) -> &str {
        self.value[name].as_str().unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.value.get(name)?.as_i64()
    }
}

/// Topic template of the publisher.
pub const TOPIC: &str = "flights/{origin}/{dest}";

/// The flights: the file that `FANAL_FLIGHTS` names, the month beside the repository, or else the
/// sample of the repository, which is said.
///
/// # Panics
/// When they cannot be read.
pub fn load(test: &str) -> Vec<Flight> {
    let named = std::env::var_os("FANAL_FLIGHTS").map(PathBuf::from);
    let month = repository().join("../shared/data/flights-2013-01.ndjson");
    let path = named.or_else(|| month.exists().then_some(month)).unwrap_or_else(|| {
        eprintln!("{test}: with the sample of 2,000 flights; FANAL_FLIGHTS names a larger file");
        repository().join("cli/data/flights-sample.ndjson")
    });
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(Flight::parse).collect()
}

/// A subscription and what it must give.
pub struct Filter {
    /// Of the durable subscription.
    pub name: &'static str,
    /// Topic filter.
    pub topic: &'static str,
    /// `--where`.
    pub predicate: Option<&'static str>,
    /// `--except`.
    pub except: Option<&'static str>,
    /// The plain evaluation.
    pub matches: fn(&Flight) -> bool,
}

impl Filter {
    /// Lines that the subscription must give, in order.
    pub fn expected<'a>(&self, flights: &'a [Flight]) -> Vec<&'a Flight> {
        flights.iter().filter(|flight| (self.matches)(flight)).collect()
    }
}

macro_rules! filters {
    ($($name:literal: $topic:literal $(where $predicate:literal)? $(except $except:literal)? => $matches:expr;)*) => {
        [$(Filter {
            name: $name,
            topic: $topic,
            predicate: filters!(@option $($predicate)?),
            except: filters!(@option $($except)?),
            matches: $matches,
        },)*]
    };
    (@option) => { None };
    (@option $value:literal) => { Some($value) };
}

/// The filters: topics alone, numbers, text, booleans, what is missing, and combinations.
pub fn filters() -> Vec<Filter> {
    filters! {
        "all": "flights/#" => |_| true;
        "to-lax": "flights/+/LAX" => |f| f.text("dest") == "LAX";
        "from-jfk": "flights/JFK/+" => |f| f.text("origin") == "JFK";
        "not-lga": "flights/#" except "flights/LGA/#" => |f| f.text("origin") != "LGA";
        "late": "flights/JFK/+" where "dep_delay > 60"
            => |f| f.text("origin") == "JFK" && f.number("dep_delay").is_some_and(|delay| delay > 60);
        "between": "flights/#" where "distance BETWEEN 1000 AND 1400"
            => |f| f.number("distance").is_some_and(|miles| (1000..=1400).contains(&miles));
        "american": "flights/#" where "carrier = 'AA'" => |f| f.text("carrier") == "AA";
        "cancelled": "flights/#" where "cancelled = TRUE" => |f| f.value["cancelled"] == true;
        "flown": "flights/EWR/#" where "NOT cancelled"
            => |f| f.text("origin") == "EWR" && f.value["cancelled"] == false;
        "no-delay-known": "flights/#" where "dep_delay IS NULL" => |f| f.value.get("dep_delay").is_none();
        "arrived": "flights/LGA/+" where "EXISTS arr_delay"
            => |f| f.text("origin") == "LGA" && f.value.get("arr_delay").is_some();
        "not-on-time": "flights/#" where "NOT (dep_delay <= 0)"
            => |f| f.number("dep_delay").is_some_and(|delay| delay > 0);
        "in": "flights/#" where "dest IN ('SFO', 'SEA', 'PDX')"
            => |f| ["SFO", "SEA", "PDX"].contains(&f.text("dest"));
        "not-in": "flights/JFK/#" where "carrier NOT IN ('B6', 'DL', 'AA')"
            => |f| f.text("origin") == "JFK" && !["B6", "DL", "AA"].contains(&f.text("carrier"));
        "like": "flights/#" where "tailnum LIKE 'N7%JB'"
            => |f| f.text("tailnum").starts_with("N7") && f.text("tailnum").ends_with("JB") && f.text("tailnum").len() >= 4;
        "combined": "flights/#" where "(carrier = 'UA' OR carrier = 'DL') AND (dep_delay > 30 OR cancelled)"
            => |f| ["UA", "DL"].contains(&f.text("carrier"))
                && (f.number("dep_delay").is_some_and(|delay| delay > 30) || f.value["cancelled"] == true);
        "ratio": "flights/+/+" where "(air_time >= 300 AND arr_delay < 0) OR flight = 1545"
            => |f| (f.number("air_time").is_some_and(|minutes| minutes >= 300)
                    && f.number("arr_delay").is_some_and(|delay| delay < 0))
                || f.number("flight") == Some(1545);
    }
    .into()
}
