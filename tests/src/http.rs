//! Admin HTTP as a user has it: GET, and the metrics page with its ledger (docs/METRICS.md).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::wait::{BOUND, until, until_blocking};

/// Classes of the ledger.
pub const CLASSES: [&str; 5] = ["dead_letters", "durable", "live", "peer", "peer_live"];

/// How long acks may take to reach the disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// Status and body of a GET.
///
/// # Panics
/// When nobody answers, or not in HTTP.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask(address, "GET", path, &address.to_string())
}

/// As [`get`], with any method, and under any host name.
///
/// # Panics
/// When nobody answers, or not in HTTP.
pub fn ask(address: SocketAddr, method: &str, path: &str, host: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("admin HTTP answers");
    stream.set_read_timeout(Some(BOUND)).expect("a timeout");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

/// One look at a broker's metrics.
#[derive(Debug, Clone)]
pub struct Metrics(Vec<Sample>);

#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Asks a broker.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn of(broker: &Broker) -> Metrics {
        let (status, page) = get(broker.admin(), "/metrics");
        assert_eq!(status, 200, "{page}");
        Metrics::read(&page)
    }

    /// Reads a page.
    pub fn read(page: &str) -> Metrics {
        Metrics(page.lines().filter(|line| !line.starts_with('#')).filter_map(Sample::parse).collect())
    }

    /// Sum of the samples of a name that have these labels; 0 where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.0
            .iter()
            .filter(|sample| sample.name == name && sample.has(labels))
            .map(|sample| sample.value)
            .sum()
    }

    /// How many samples of a name have these labels.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        self.0.iter().filter(|sample| sample.name == name && sample.has(labels)).count()
    }

    /// Whether a name is there at all.
    pub fn has(&self, name: &str) -> bool {
        self.count(name, &[]) > 0
    }

    /// Every sample's name and labels, as they come.
    pub fn series(&self) -> impl Iterator<Item = (&str, &[(String, String)])> {
        self.0.iter().map(|sample| (sample.name.as_str(), sample.labels.as_slice()))
    }

    /// (in, out) of a class: routed + queued at start, and everything that became of them.
    pub fn ledger(&self, class: &str) -> (f64, f64) {
        let of = |name: &str| self.sum(name, &[("class", class)]);
        let came = of("fanal_routes_total") + of("fanal_ledger_queued_at_start");
        let went = [
            "fanal_events_acked_total",
            "fanal_ledger_queued",
            "fanal_events_expired_total",
            "fanal_events_dead_lettered_total",
            "fanal_events_dropped_total",
            "fanal_events_duplicate_total",
        ];
        (came, went.iter().map(|name| of(name)).sum())
    }

    /// Classes whose ledger does not balance, with what came and what went.
    pub fn unbalanced(&self) -> Vec<(&'static str, f64, f64)> {
        let rows = CLASSES.map(|class| (class, self.ledger(class)));
        let rows = rows.into_iter().map(|(class, (came, went))| (class, came, went));
        rows.filter(|(_, came, went)| came != went).collect()
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Sample> {
        let (name, value) = line.rsplit_once(' ')?;
        let value = value.parse().ok()?;
        let (name, labels) = name.split_once('{').unwrap_or((name, ""));
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| {
            let (key, value) = label.split_once('=')?;
            Some((key.to_owned(), value.trim_matches('"').to_owned()))
        });
        Some(Sample { name: name.to_owned(), labels: labels.collect(), value })
    }

    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(key, value)| self.labels.iter().any(|(k, v)| k == key && v == value))
    }
}

/// Waits until the ledger of every class balances at a quiet broker, and gives that
/// look. Acks that are on their way to the disk make it wait.
///
/// # Panics
/// When it does not, with the rows.
pub async fn balanced(broker: &Broker) -> Metrics {
    let began = Instant::now();
    until("a balanced ledger", || look_for_balance(broker, began)).await
}

/// As [`balanced`], for guards: it holds its thread.
///
/// # Panics
/// When it does not balance, with the rows.
pub fn balanced_blocking(broker: &Broker) -> Metrics {
    let began = Instant::now();
    until_blocking("a balanced ledger", || look_for_balance(broker, began))
}

fn look_for_balance(broker: &Broker, began: Instant) -> Option<Metrics> {
    let metrics = Metrics::of(broker);
    let rows = metrics.unbalanced();
    if rows.is_empty() {
        return Some(metrics);
    }
    assert!(
        began.elapsed() < PATIENCE,
        "the ledger of {} does not balance; (class, came, went): {rows:?}",
        broker.name()
    );
    None
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn a_copy_that_is_missing_or_counted_twice_unbalances_its_class() {
        let page = |acked: u32| {
            format!(
                "# TYPE fanal_routes_total counter\n\
                 fanal_routes_total{{class=\"durable\"}} 5\n\
                 fanal_routes_total{{class=\"live\"}} 7\n\
                 fanal_ledger_queued_at_start{{class=\"durable\"}} 2\n\
                 fanal_events_acked_total{{class=\"durable\"}} {acked}\n\
                 fanal_events_acked_total{{class=\"live\"}} 7\n\
                 fanal_ledger_queued{{class=\"durable\"}} 1\n\
                 fanal_events_dropped_total{{class=\"durable\",reason=\"removed\"}} 2\n\
                 fanal_events_expired_total{{class=\"durable\"}} 1\n"
            )
        };
        assert!(Metrics::read(&page(3)).unbalanced().is_empty());
        assert_eq!(Metrics::read(&page(2)).unbalanced(), [("durable", 7.0, 6.0)]);
        assert_eq!(Metrics::read(&page(4)).unbalanced(), [("durable", 7.0, 8.0)]);
    }
}
