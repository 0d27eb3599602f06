//! Whatever clients and brokers do to each other, the ledger balances afterwards.
//!
//! Two linked brokers with small live buffers; steps drawn from a seed: bursts of both classes with
//! short lives, subscribers with and without credit that come, take over, ack a part and vanish,
//! subscriptions that are removed, a broker that is killed. A seed that fails is printed.

use std::time::Duration;

use fanal_protocol::Control;
use fanal_protocol::control::{Ack, Credit, Detach, RemoveSubscription};
use fanal_tests::broker::World;
use fanal_tests::cli::is_long;
use fanal_tests::http::balanced;
use fanal_tests::raw::{PLENTY, Raw};
use fanal_tests::subscriber::payloads;

use super::*;

const STEPS: usize = 60;
const NAMES: [&str; 3] = ["orders", "invoices", "audit"];

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

struct Chaos {
    dice: Dice,
    ewr: Broker,
    jfk: Broker,
    publisher: Client,
    /// At `jfk`, or at `ewr`.
    subscribers: Vec<(bool, Raw)>,
    crashes: usize,
}

impl Chaos {
    async fn step(&mut self) {
        match self.dice.below(16) {
            0..=3 => self.publish(false).await,
            4..=6 => self.publish(true).await,
            7..=9 => self.subscribe().await,
            10..=12 => self.bother().await,
            13 => self.leave(),
            14 => self.remove().await,
            _ if self.dice.below(4) == 0 => self.crash(),
            _ => {}
        }
    }

    async fn publish(&mut self, is_best_effort: bool) {
        let ttl = [None, Some(1), Some(20), Some(60_000)];
        for _ in 0..30 {
            let bytes = self.dice.below(2_000) as usize;
            let mut publish = self.publisher.publish("t/a").payload(vec![7; bytes]);
            if let Some(ttl) = self.dice.pick(&ttl) {
                publish = publish.ttl(Duration::from_millis(*ttl));
            }
            if is_best_effort {
                publish = publish.best_effort();
            }
            within("room", publish.post()).await.unwrap();
        }
    }

    async fn subscribe(&mut self) {
        let is_far = self.dice.below(2) == 0;
        let mut raw = Raw::attach(if is_far { &self.jfk } else { &self.ewr }).await;
        let name = self.dice.pick(&[None, Some(NAMES[0]), Some(NAMES[1]), Some(NAMES[2])]);
        let mut wanted = request(1, *name);
        wanted.credit_events = *self.dice.pick(&[0, 5, PLENTY]);
        wanted.credit_bytes = *self.dice.pick(&[1_000, PLENTY]);
        raw.subscribe(wanted).await.unwrap();
        // Read or left to fill its windows.
        if self.dice.below(3) > 0 {
            let mut incoming = raw.events();
            tokio::spawn(async move { while incoming.recv().await.is_some() {} });
        }
        self.subscribers.push((is_far, raw));
    }

    /// Credit, an ack of what may or may not have come, or the end of the channel alone.
    async fn bother(&mut self) {
        let (first, count, what) = (1 + self.dice.below(30), self.dice.below(30), self.dice.below(8));
        let at = self.dice.below(1 + self.subscribers.len() as u64) as usize;
        let Some((_, raw)) = self.subscribers.get_mut(at) else { return };
        match what {
            0 => raw.send(Detach { channel: 1 }).await,
            1..=3 => raw.send(Credit { channel: 1, events: PLENTY, bytes: PLENTY }).await,
            _ => raw.send(Ack { channel: 1, ranges: vec![(first, first + count), (1, count + 1)] }).await,
        }
    }

    /// Without a goodbye.
    fn leave(&mut self) {
        let count = self.subscribers.len() as u64;
        if count > 0 {
            let (_, raw) = self.subscribers.remove(self.dice.below(count) as usize);
            raw.connection.close(0u32.into(), b"");
        }
    }

    async fn remove(&mut self) {
        let durable = (*self.dice.pick(&NAMES)).to_owned();
        let Some((_, raw)) = self.subscribers.first_mut() else { return };
        raw.send(RemoveSubscription { request: 900, durable }).await;
        let is_answer =
            |frame: Control| matches!(frame, Control::Done(_) | Control::Refused(_)).then_some(());
        raw.expect(is_answer).await;
    }

    fn crash(&mut self) {
        self.subscribers.retain(|(is_far, _)| !is_far);
        self.crashes += 1;
        tokio::task::block_in_place(|| self.jfk.crash());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn whatever_happens_the_ledger_balances() {
    let rounds = if is_long() { 20 } else { 2 };
    // What the steps must have brought about for the end to mean something.
    let mut seen = [
        "fanal_events_acked_total class=durable",
        "fanal_events_acked_total class=live",
        "fanal_events_acked_total class=peer",
        "fanal_events_acked_total class=peer_live",
        "fanal_events_expired_total class=durable",
        "fanal_events_expired_total class=live",
        "fanal_events_dropped_total reason=closed",
        "fanal_events_dropped_total reason=removed",
        "fanal_events_dropped_total reason=slow_consumer",
        "fanal_ledger_queued class=durable",
        "fanal_ledger_queued class=live",
        // Few rounds may do without these.
        "fanal_events_redelivered_total",
        "fanal_ledger_queued_at_start",
    ]
    .map(|series| (series, 0.0));
    let mut crashes = 0;
    for seed in 1..=rounds {
        let world = World::new();
        let limits = "live_buffer_bytes = 16384";
        let ewr = limited(&world, "ewr", limits).start();
        let jfk = limited(&world, "jfk", limits).peer("ewr", ewr.listen()).start();
        shows(&ewr, &[("fanal_link_up peer=jfk", 1.0)]).await;
        let publisher = ewr.client().await;
        let (subscribers, dice) = (Vec::new(), Dice(seed));
        let mut chaos = Chaos { dice, ewr, jfk, publisher, subscribers, crashes: 0 };
        for _ in 0..STEPS {
            chaos.step().await;
        }
        // In the midst of it all somebody behaves. What was posted before him is on its way no more: it
        // could overrun his buffer too.
        publish_best_effort(&chaos.publisher, 1, 1).await;
        publish(&chaos.publisher, 1).await;
        let mut good = chaos.publisher.subscribe("t/#").durable("good").await.unwrap();
        publish(&chaos.publisher, 5).await;
        assert_eq!(payloads(&mut good, 5).await.len(), 5);
        good.flush_acks().await.unwrap();
        eprintln!("seed {seed}: {} subscribers are left", chaos.subscribers.len());
        for broker in [&chaos.ewr, &chaos.jfk] {
            let metrics = balanced(broker).await;
            for (series, count) in &mut seen {
                *count += value(&metrics, series);
            }
        }
        while !chaos.subscribers.is_empty() {
            chaos.leave();
        }
        chaos.publisher.close().await.unwrap();
        // Nobody is there any more, and so nothing waits live.
        let rows = [("fanal_sessions", 0.0), ("fanal_ledger_queued class=live", 0.0)];
        shows(&chaos.ewr, &rows).await;
        shows(&chaos.jfk, &rows).await;
        crashes += chaos.crashes;
    }
    let sure = if is_long() { seen.len() } else { seen.len() - 2 };
    assert!(crashes > 0 && seen[..sure].iter().all(|(_, count)| *count > 0.0), "{crashes} crashes, {seen:?}");
}
