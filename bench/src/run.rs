//! A run from its connections to its report.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fanal_client::Credentials;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::pace::Clock;
use crate::publish::{Sent, publish};
use crate::report::{Measured, Report};
use crate::scene::Scene;
use crate::subscribe::{Received, receive};
use crate::usage::Cpu;
use crate::{Amount, BenchError, Checker, Pace, Plan};

/// How long nothing may come, after all was sent, before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same after a run was asked to end.
const PATIENCE_STOPPED: Duration = Duration::from_secs(2);

/// How long a publisher waits in vain for room before the run ends.
pub(crate) const STALL: Duration = Duration::from_secs(10);

/// How far a run is; for a progress bar.
#[derive(Debug, Default)]
pub struct Progress {
    began: OnceLock<Instant>,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Progress {
    /// Measured events that were handed over.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Copies of them that came.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Between 0 and 1.
    pub fn done(&self, plan: &Plan) -> f64 {
        let elapsed = self.began.get().map_or(Duration::ZERO, Instant::elapsed).as_secs_f64();
        let share = match plan.amount {
            Amount::Time(time) => elapsed / (plan.warm_up + time).as_secs_f64(),
            Amount::Events(events) => self.sent() as f64 / events.max(1) as f64,
        };
        share.clamp(0.0, 1.0)
    }

    pub(crate) fn on_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn on_received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }
}

/// What publishers and subscribers of a run know of each other.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) began: Instant,
    pub(crate) progress: Arc<Progress>,
    /// Of an open loop.
    pub(crate) clock: Option<Clock>,
    /// [`STALL`].
    stall: Duration,
    publishers: Vec<Flow>,
    stop: watch::Sender<bool>,
    has_sent_all: AtomicBool,
    is_stalled: AtomicBool,
}

/// How far the events of one publisher are.
struct Flow {
    acked: AtomicU64,
    /// By subscriber.
    received: Vec<AtomicU64>,
    moved: Notify,
}

impl Shared {
    fn new(plan: Plan, progress: Arc<Progress>) -> Result<Self, BenchError> {
        let flow = |_| Flow {
            acked: AtomicU64::new(0),
            received: (0..plan.subscribers).map(|_| AtomicU64::new(0)).collect(),
            moved: Notify::new(),
        };
        let publishers = (0..plan.publishers).map(flow).collect();
        let began = *progress.began.get_or_init(Instant::now);
        let clock = match plan.pace {
            Pace::Rate(rate) => Some(Clock::start(began, rate, plan.publishers)?),
            Pace::Window(_) => None,
        };
        Ok(Shared {
            plan,
            began,
            progress,
            clock,
            stall: STALL,
            publishers,
            stop: watch::Sender::new(false),
            has_sent_all: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
        })
    }

    /// Microseconds since the run began.
    pub(crate) fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    /// Events of a publisher that everybody has.
    pub(crate) fn slowest(&self, publisher: usize) -> u64 {
        let flow = &self.publishers[publisher];
        let received = flow.received.iter().map(|count| count.load(Ordering::Acquire)).min();
        let acked = self.plan.has_receipts().then(|| flow.acked.load(Ordering::Acquire));
        received.into_iter().chain(acked).min().unwrap_or(0)
    }

    /// Waits until everybody has so many, or the run is stopped; stops it when nothing moves.
    pub(crate) async fn wait_for(&self, publisher: usize, target: u64) {
        let moved = &self.publishers[publisher].moved;
        while self.slowest(publisher) < target && !self.is_stopped() {
            tokio::select! {
                () = moved.notified() => {}
                () = self.stopped() => {}
                () = tokio::time::sleep(self.stall) => {
                    self.is_stalled.store(true, Ordering::Relaxed);
                    self.stop();
                }
            }
        }
    }

    pub(crate) fn on_acked(&self, publisher: usize, count: u64) {
        let flow = &self.publishers[publisher];
        flow.acked.store(count, Ordering::Release);
        flow.moved.notify_one();
    }

    pub(crate) fn on_received(&self, subscriber: usize, checker: &Checker) {
        for (publisher, flow) in self.publishers.iter().enumerate() {
            let through = checker.through(publisher);
            if flow.received[subscriber].swap(through, Ordering::AcqRel) != through {
                flow.moved.notify_one();
            }
        }
    }

    /// Ends the sending.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    pub(crate) async fn stopped(&self) {
        // The sender is in here.
        let _ = self.stop.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Resolves when the run was stopped and there was time to tidy up.
    pub(crate) async fn given_up(&self) {
        self.stopped().await;
        tokio::time::sleep(PATIENCE_STOPPED).await;
    }

    pub(crate) fn patience(&self) -> Duration {
        if self.is_stopped() { PATIENCE_STOPPED } else { PATIENCE }
    }

    /// Whether the warm-up is over and there is more to send.
    pub(crate) fn is_measuring(&self) -> bool {
        self.began.elapsed() >= self.plan.warm_up && !self.has_sent_all.load(Ordering::Relaxed)
    }
}

/// Carries out a plan through the broker of `credentials`. When `stop` resolves, sending ends, what is
/// under way is waited for, and the report covers what was measured by then.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Interrupted`] when `stop` resolved before anything was sent.
pub async fn run(
    credentials: &Credentials,
    plan: &Plan,
    progress: &Arc<Progress>,
    stop: impl Future<Output = ()>,
) -> Result<Report, BenchError> {
    plan.check()?;
    let mut scene = Scene::new();
    let played = play(&mut scene, credentials, plan, progress, stop).await;
    let cleared = scene.clear().await;
    match (played, cleared) {
        (Ok(report), cleared) => {
            Ok(Report { left_behind: cleared.err().map(|left| left.to_string()), ..report })
        }
        (Err(failed), Err(left)) => {
            Err(BenchError::FailedAndLeft { failed: Box::new(failed), left: Box::new(left) })
        }
        (Err(error), Ok(())) => Err(error),
    }
}

async fn play(
    scene: &mut Scene,
    credentials: &Credentials,
    plan: &Plan,
    progress: &Arc<Progress>,
    stop: impl Future<Output = ()>,
) -> Result<Report, BenchError> {
    tokio::pin!(stop);
    tokio::select! {
        made = scene.set_up(credentials, plan) => made?,
        () = &mut stop => return Err(BenchError::Interrupted),
    }
    let shared = Arc::new(Shared::new(plan.clone(), Arc::clone(progress))?);
    let (totals, known) = watch::channel(None);
    let mut subscribers: JoinSet<Result<Received, BenchError>> = JoinSet::new();
    for (number, subscription) in std::mem::take(&mut scene.subscriptions).into_iter().enumerate() {
        subscribers.spawn(receive(number, subscription, Arc::clone(&shared), known.clone()));
    }
    let mut publishers: JoinSet<(usize, Result<Sent, BenchError>)> = JoinSet::new();
    for (number, client) in scene.publishers.iter().enumerate() {
        let publishing = publish(number, scene.topic(number), client.clone(), Arc::clone(&shared));
        publishers.spawn(async move { (number, publishing.await) });
    }
    let warm_up = plan.warm_up;
    let cpu = tokio::spawn(async move {
        tokio::time::sleep(warm_up).await;
        Cpu::now()
    });

    let mut is_interrupted = false;
    let mut sent: Vec<Option<Sent>> = (0..plan.publishers).map(|_| None).collect();
    loop {
        tokio::select! {
            ended = publishers.join_next() => match ended {
                None => break,
                Some(ended) => {
                    let (number, outcome) = ended?;
                    sent[number] = Some(outcome?);
                }
            },
            () = &mut stop, if !is_interrupted => {
                is_interrupted = true;
                shared.stop();
            }
        }
    }
    let sent: Vec<Sent> = sent.into_iter().flatten().collect();
    let seconds = shared.began.elapsed().saturating_sub(warm_up).as_secs_f64();
    shared.has_sent_all.store(true, Ordering::Relaxed);
    let busy = if cpu.is_finished() { cpu.await?.and_then(|cpu| cpu.busy_since(seconds)) } else { None };
    totals.send_replace(Some(Arc::new(sent.iter().map(|sent| sent.number).collect())));
    let mut received = Vec::with_capacity(plan.subscribers);
    while let Some(ended) = subscribers.join_next().await {
        received.push(ended??);
    }
    let is_stalled = shared.is_stalled.load(Ordering::Relaxed);
    let broker = scene.publishers.first().map(|client| client.welcome().broker.clone()).unwrap_or_default();
    Ok(Measured { plan: plan.clone(), broker, sent, received, seconds, busy, is_interrupted, is_stalled }
        .report())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(plan: Plan, stall: Duration) -> Shared {
        Shared { stall, ..Shared::new(plan, Arc::default()).unwrap() }
    }

    fn without_subscribers() -> Plan {
        Plan { subscribers: 0, ..Plan::new(Amount::Events(1000)) }
    }

    #[tokio::test]
    async fn a_wait_in_which_nothing_moves_ends_the_run_as_stalled() {
        let shared = shared(without_subscribers(), Duration::from_millis(1));
        shared.on_acked(0, 3);
        shared.wait_for(0, 3).await;
        assert!(!shared.is_stopped() && !shared.is_stalled.load(Ordering::Relaxed), "three have come");
        shared.wait_for(0, 4).await;
        assert!(shared.is_stopped() && shared.is_stalled.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_wait_that_is_ended_from_outside_is_no_stall() {
        let shared = shared(without_subscribers(), STALL);
        let ((), ()) = tokio::join!(shared.wait_for(0, 1), async { shared.stop() });
        assert!(shared.is_stopped() && !shared.is_stalled.load(Ordering::Relaxed));
    }
}
