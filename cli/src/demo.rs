//! `fanal demo`: the whole of Fanal in one terminal, checked against a plain pass over the file.
//!
//! Two brokers in this process, linked as two machines would be; a publisher at one, subscribers
//! at both. One durable subscriber goes away, its broker is stopped and started, and it comes
//! back. Invariants:
//! 1. What is shown as equal is equal: same flights, same order, none twice.
//! 2. Everything is in a directory that is removed at the end, on ports that the system chose.

mod cases;
mod subscriber;

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use fanal_broker::{Broker, Config, PeerConfig};
use fanal_client::{Client, Credentials};
use serde::Serialize;

use crate::args::Global;
use crate::exit::{Failure, Outcome};
use crate::ndjson::{LineReader, Template};
use crate::output::{Out, Table, grouped};
use crate::session;
use cases::{CASES, Case, Flight, Side, flights};
use subscriber::{SentAt, Subscriber};

/// Published as fast as it goes.
const FAST: Range<usize> = 0..1000;
/// Published at a steady pace, for the latency; the durable subscriber is away.
const PACED: Range<usize> = 1000..1600;
/// Published while jfk is stopped.
const WHILE_STOPPED: Range<usize> = 1600..2000;
/// Between two flights of the steady pace.
const PACE: Duration = Duration::from_millis(1);
/// How long to wait for deliveries before saying that they are missing.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to listen for deliveries that nobody expects.
const QUIET: Duration = Duration::from_millis(200);
/// Most characters in a line of prose; a terminal may be narrower.
const WIDTH_MAX: usize = 100;
/// Small segments: the demo stores half a megabyte.
const SEGMENT_BYTES: u64 = 4 << 20;

/// Runs the demo.
pub(crate) async fn run(global: &Global) -> Outcome {
    let dir = tempfile::Builder::new().prefix("fanal-demo-").tempdir().map_err(|error| {
        Failure::failed(format!(
            "cannot make a temporary directory: {error}; set TMPDIR to one that can be written"
        ))
    })?;
    let teller = Teller { out: Out::lock(), is_quiet: global.json, step: 0 };
    let (mut teller, report) = Demo::start(dir.path(), teller).await?.play().await?;
    if global.json {
        teller.out.json(&report)?;
    } else {
        report.print(&mut teller.out)?;
    }
    teller.out.flush()?;
    match report.equal {
        true => Ok(()),
        false => Err(Failure::failed(
            "what was delivered differs from what the file says: this is a bug in Fanal; please report it with this output",
        )),
    }
}

/// Tells people what happens, as it happens.
struct Teller {
    out: Out,
    is_quiet: bool,
    step: u32,
}

impl Teller {
    fn say(&mut self, text: std::fmt::Arguments<'_>) -> Outcome {
        if self.is_quiet {
            return Ok(());
        }
        let text = match self.step {
            0 => format!("{text}\n"),
            step => format!("{step}. {text}"),
        };
        self.out.line(format_args!("{}", wrapped(&text, "\n   ", width())))?;
        self.step += 1;
        self.out.flush()
    }
}

fn width() -> usize {
    crate::style::stdout_columns().unwrap_or(WIDTH_MAX).min(WIDTH_MAX)
}

/// Text in lines of at most `width` characters, joined by `joint`: a newline and what sets the next
/// line in. A longer word stands alone.
fn wrapped(text: &str, joint: &str, width: usize) -> String {
    let (mut out, mut column) = (String::with_capacity(text.len() + 32), 0);
    for word in text.split(' ') {
        let len = word.chars().count();
        if column > 0 && column + 1 + len > width {
            out.push_str(joint);
            column = joint.len() - 1;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += len;
    }
    out
}

/// Paragraphs of a result, each after an empty line.
fn paragraph(out: &mut Out, text: &str) -> Outcome {
    out.line(format_args!("\n{}", wrapped(text, "\n", width())))
}

struct Demo<'d> {
    dir: &'d Path,
    teller: Teller,
    flights: Arc<Vec<Flight>>,
    sent_at: SentAt,
    reader: LineReader,
    ewr: Broker,
    /// None while it is stopped.
    jfk: Option<Broker>,
    at_ewr: Client,
    at_jfk: Client,
    subscribers: Vec<Subscriber>,
}

fn config(dir: &Path, side: Side, peer: Option<&Broker>) -> Config {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config::new(side.name(), dir.join(side.name()));
    (config.listen, config.admin, config.ca) = (any_port, any_port, dir.join("ca"));
    config.limits.segment_bytes = SEGMENT_BYTES;
    config.peers = peer
        .map(|peer| PeerConfig { name: peer.name().to_owned(), address: peer.listen_addr().to_string() })
        .into_iter()
        .collect();
    config
}

async fn start_broker(dir: &Path, side: Side, peer: Option<&Broker>) -> Outcome<Broker> {
    Broker::start(config(dir, side, peer)).await.map_err(Failure::failed)
}

async fn connect(dir: &Path, side: Side) -> Outcome<Client> {
    let credentials = Credentials::from_data_dir(dir.join(side.name())).map_err(session::failure)?;
    Client::builder(&credentials).agent("fanal-demo").connect().await.map_err(session::failure)
}

impl<'d> Demo<'d> {
    async fn start(dir: &'d Path, mut teller: Teller) -> Outcome<Self> {
        teller.say(format_args!(
            "Fanal demo: two brokers, named after two airports of New York, and {} real flights. Each flight is an \
             event: its topic is like flights/EWR/LAX; its delay, carrier and so on are its attributes. All are published \
             at ewr; subscribers are at ewr and at jfk.",
            grouped(WHILE_STOPPED.end as u64)
        ))?;
        let ewr = start_broker(dir, Side::Ewr, None).await?;
        let jfk = start_broker(dir, Side::Jfk, Some(&ewr)).await?;
        teller.say(format_args!(
            "Brokers ewr ({}) and jfk ({}) run, each with a store of its own, linked by mutual TLS.",
            ewr.listen_addr(),
            jfk.listen_addr()
        ))?;
        let (at_ewr, at_jfk) = (connect(dir, Side::Ewr).await?, connect(dir, Side::Jfk).await?);
        let template = Template::parse("flights/{origin}/{dest}").map_err(Failure::failed)?;
        Ok(Demo {
            dir,
            teller,
            flights: Arc::new(flights()),
            sent_at: SentAt::default(),
            reader: LineReader::new(template, None),
            ewr,
            jfk: Some(jfk),
            at_ewr,
            at_jfk,
            subscribers: CASES.iter().copied().map(Subscriber::new).collect(),
        })
    }

    async fn play(mut self) -> Outcome<(Teller, Report)> {
        self.subscribe().await?;
        let publish = self.publish_fast().await?;
        self.durable_leaves().await?;
        self.publish_paced().await?;
        self.stop_jfk().await?;
        self.start_jfk_again().await?;
        self.finish(publish).await
    }

    async fn subscribe(&mut self) -> Outcome {
        for subscriber in &mut self.subscribers {
            let client = if subscriber.case.side == Side::Ewr { &self.at_ewr } else { &self.at_jfk };
            subscriber.attach(client, Side::Ewr.name(), &self.flights, &self.sent_at).await?;
        }
        let at = |side| self.subscribers.iter().filter(|subscriber| subscriber.case.side == side).count();
        let (ewr, jfk) = (at(Side::Ewr), at(Side::Jfk));
        self.teller.say(format_args!(
            "{ewr} subscribers at ewr and {jfk} at jfk ask for flights by topic and content. ewr has confirmed all of it: \
             from now on it sends jfk what jfk's subscribers ask for, and nothing else."
        ))
    }

    /// Hands flights over one after another, and waits for every receipt.
    async fn publish(&self, range: Range<usize>, pace: Option<Duration>) -> Outcome {
        let mut receipts = Vec::with_capacity(range.len());
        let mut ticks = pace.map(tokio::time::interval);
        for flight in &self.flights[range] {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            let event = self
                .reader
                .read(flight.line.as_bytes())
                .map_err(|refusal| Failure::failed(refusal.reason))?;
            self.sent_at.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            let publish = self.at_ewr.publish(&event.topic).encoded(event.body);
            receipts.push(publish.send().await.map_err(session::failure)?);
        }
        for receipt in receipts {
            receipt.await.map_err(session::failure)?;
        }
        Ok(())
    }

    async fn publish_fast(&mut self) -> Outcome<Publish> {
        let started = Instant::now();
        self.publish(FAST, None).await?;
        let seconds = started.elapsed().as_secs_f64();
        self.wait_for(FAST.end, |_| true).await;
        let delivered = started.elapsed().as_secs_f64();
        let events = FAST.len() as u64;
        let publish = Publish { events, seconds, events_per_second: (events as f64 / seconds).round() };
        self.teller.say(format_args!(
            "{} flights were published in {:.0} ms, {} a second; each receipt says that the flight was flushed to disk at ewr. \
             After {:.0} ms all subscribers at both brokers had theirs.",
            grouped(events),
            seconds * 1e3,
            grouped(publish.events_per_second as u64),
            delivered * 1e3,
        ))?;
        Ok(publish)
    }

    async fn durable_leaves(&mut self) -> Outcome {
        for subscriber in self.subscribers.iter_mut().filter(|subscriber| subscriber.case.durable.is_some()) {
            subscriber.detach().await;
        }
        self.teller.say(format_args!(
            "The durable subscriber `late` at jfk goes away. Its broker keeps what matches until it is back."
        ))
    }

    async fn publish_paced(&mut self) -> Outcome {
        self.publish(PACED, Some(PACE)).await?;
        self.wait_for(PACED.end, |case| case.durable.is_none()).await;
        tokio::time::sleep(QUIET).await;
        self.teller.say(format_args!(
            "{} more flights were published, one a millisecond, to measure latency.",
            grouped(PACED.len() as u64)
        ))
    }

    async fn stop_jfk(&mut self) -> Outcome {
        for subscriber in self.subscribers.iter_mut().filter(|subscriber| subscriber.case.side == Side::Jfk) {
            subscriber.detach().await;
        }
        let _ = self.at_jfk.close().await;
        if let Some(jfk) = self.jfk.take() {
            jfk.shutdown().await;
        }
        self.publish(WHILE_STOPPED, None).await?;
        self.teller.say(format_args!(
            "Broker jfk was stopped. {} flights were published meanwhile; ewr keeps for jfk those that `late` asked for.",
            grouped(WHILE_STOPPED.len() as u64)
        ))
    }

    async fn start_jfk_again(&mut self) -> Outcome {
        self.jfk = Some(start_broker(self.dir, Side::Jfk, Some(&self.ewr)).await?);
        self.at_jfk = connect(self.dir, Side::Jfk).await?;
        for subscriber in self.subscribers.iter_mut().filter(|subscriber| subscriber.case.durable.is_some()) {
            subscriber.attach(&self.at_jfk, Side::Ewr.name(), &self.flights, &self.sent_at).await?;
        }
        self.wait_for(WHILE_STOPPED.end, |case| offered(case) == WHILE_STOPPED.end).await;
        tokio::time::sleep(QUIET).await;
        self.teller.say(format_args!(
            "jfk was started again and `late` came back: what it had missed came from jfk's store and from ewr's."
        ))
    }

    /// Waits until the chosen subscribers have what the first flights, up to `end`, hold for them.
    async fn wait_for(&self, end: usize, is_chosen: impl Fn(&Case) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        for subscriber in self.subscribers.iter().filter(|subscriber| is_chosen(&subscriber.case)) {
            let wanted = expected(&subscriber.case, &self.flights[..end]).len();
            subscriber.wait_for(wanted, deadline.saturating_duration_since(Instant::now())).await;
        }
    }

    async fn finish(mut self, publish: Publish) -> Outcome<(Teller, Report)> {
        for subscriber in &mut self.subscribers {
            subscriber.detach().await;
        }
        let subscriptions: Vec<_> = self.subscribers.iter().map(|one| Row::new(one, &self.flights)).collect();
        // The durable subscriber was away then: what it waited for is no latency of the brokers.
        let there = self.subscribers.iter().filter(|one| one.case.durable.is_none());
        let delays = there.flat_map(|one| one.got().delays.clone());
        let delays = delays.filter(|(number, _)| PACED.contains(number)).map(|(_, delay)| delay);
        let report = Report {
            equal: subscriptions.iter().all(|row| row.equal),
            flights: self.flights.len(),
            deliveries: subscriptions.iter().map(|row| row.got).sum(),
            subscriptions,
            publish,
            latency: Latency::of(delays.collect()),
        };
        let _ = tokio::join!(self.at_ewr.close(), self.at_jfk.close());
        if let Some(jfk) = self.jfk.take() {
            jfk.shutdown().await;
        }
        self.ewr.shutdown().await;
        Ok((self.teller, report))
    }
}

/// How many of the flights a subscription is there for: a live one at jfk ends with jfk.
fn offered(case: &Case) -> usize {
    match (case.side, case.durable) {
        (Side::Jfk, None) => PACED.end,
        _ => WHILE_STOPPED.end,
    }
}

/// The plain pass over the file: numbers of the flights that a case wants.
fn expected(case: &Case, flights: &[Flight]) -> Vec<usize> {
    let wanted = flights.iter().enumerate().filter(|(_, flight)| (case.wants)(flight));
    wanted.map(|(number, _)| number).collect()
}

/// The result of the demo.
#[derive(Serialize)]
struct Report {
    equal: bool,
    flights: usize,
    deliveries: usize,
    subscriptions: Vec<Row>,
    publish: Publish,
    latency: Latency,
}

#[derive(Serialize)]
struct Publish {
    events: u64,
    seconds: f64,
    events_per_second: f64,
}

/// From the publisher's call to the subscriber's hands, at a steady pace.
#[derive(Serialize)]
struct Latency {
    samples: usize,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Latency {
    fn of(mut delays: Vec<Duration>) -> Self {
        delays.sort_unstable();
        let at = |share: f64| {
            let index = (delays.len().saturating_sub(1) as f64 * share).round() as usize;
            delays.get(index).map_or(0.0, |delay| delay.as_secs_f64() * 1e3)
        };
        Latency { samples: delays.len(), p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

#[derive(Serialize)]
struct Row {
    broker: Side,
    kind: &'static str,
    /// Of a durable one.
    name: Option<&'static str>,
    filter: &'static str,
    r#where: Option<&'static str>,
    except: Vec<&'static str>,
    offered: usize,
    got: usize,
    expected: usize,
    equal: bool,
    told_of_link_loss: bool,
    troubles: Vec<String>,
}

impl Row {
    fn new(subscriber: &Subscriber, flights: &[Flight]) -> Self {
        let case = &subscriber.case;
        let offered = offered(case);
        let expected = expected(case, &flights[..offered]);
        let got = subscriber.got();
        let equal = got.flights.iter().copied().eq(expected.iter().copied().map(Some));
        Row {
            broker: case.side,
            kind: if case.durable.is_some() { "durable" } else { "live" },
            name: case.durable,
            filter: case.filter,
            r#where: case.predicate,
            except: case.except.into_iter().collect(),
            offered,
            got: got.flights.len(),
            expected: expected.len(),
            equal,
            told_of_link_loss: got.link_losses > 0,
            troubles: got.troubles.clone(),
        }
    }

    fn asked(&self) -> String {
        let mut text = self.filter.to_owned();
        for except in &self.except {
            text.push_str(&format!(" except {except}"));
        }
        if let Some(predicate) = self.r#where {
            text.push_str(&format!(" where {predicate}"));
        }
        if let Some(name) = self.name {
            text.push_str(&format!(" [durable: {name}]"));
        }
        text
    }
}

impl Report {
    fn print(&self, out: &mut Out) -> Outcome {
        paragraph(out, "What each subscriber got, and what a plain pass over the file says it should get:")?;
        out.line(format_args!(""))?;
        let mut table = Table::new(["AT", "ASKED FOR", "OF FLIGHTS", "GOT", "EXPECTED", "EQUAL"]);
        for row in &self.subscriptions {
            let equal = if row.equal { "yes" } else { "NO" };
            let [offered, got, expected] =
                [row.offered, row.got, row.expected].map(|count| grouped(count as u64));
            table.row([row.broker.name(), &row.asked(), &offered, &got, &expected, equal]);
        }
        table.print(out)?;
        for row in self.subscriptions.iter().filter(|row| !row.troubles.is_empty()) {
            let (broker, asked) = (row.broker.name(), row.asked());
            out.line(format_args!("{broker} {asked}: {}", row.troubles.join("; ")))?;
        }
        self.print_conclusion(out)
    }

    fn print_conclusion(&self, out: &mut Out) -> Outcome {
        let Latency { p50_ms, p99_ms, .. } = self.latency;
        let paced = grouped(PACED.end as u64);
        let mut text = format!("Live subscribers at jfk ended when jfk was stopped, after {paced} flights.");
        let told = self.subscriptions.iter().filter(|row| row.told_of_link_loss).count();
        if told > 0 {
            text.push_str(&format!(
                " The {told} live subscribers at ewr were told in-band that the link to jfk was lost: events of jfk might \
                 be missing."
            ));
        }
        paragraph(out, &text)?;
        let latency = format!("median {p50_ms:.2} ms, 99% within {p99_ms:.2} ms.");
        paragraph(out, &format!("Latency from publish to delivery, flush to disk included: {latency}"))?;
        let (all, deliveries) = (self.subscriptions.len(), grouped(self.deliveries as u64));
        if !self.equal {
            let wrong = self.subscriptions.iter().filter(|row| !row.equal).count();
            return paragraph(
                out,
                &format!("Result: {wrong} of {all} subscribers did not get what they should have."),
            );
        }
        paragraph(
            out,
            &format!(
                "Result: all {all} subscribers got exactly the flights they asked for, in order, none twice \
                 ({deliveries} deliveries)."
            ),
        )?;
        paragraph(out, "Next: `fanal serve` runs a broker of your own; `fanal --help` shows the first steps.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_fits_the_terminal() {
        assert_eq!(wrapped("one two three", "\n   ", 8), "one two\n   three");
        assert_eq!(wrapped("one two three", "\n", 100), "one two three");
        assert_eq!(wrapped("a-very-long-word b", "\n", 5), "a-very-long-word\nb");
    }
}
