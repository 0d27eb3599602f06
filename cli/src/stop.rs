//! When a command must end: SIGINT, SIGTERM, or `--timeout`.
//!
//! Invariants:
//! 1. The first reason counts and never changes; whoever asks later sees it too.
//! 2. A command that has not ended within its grace ([`GRACE`], a broker has longer) after that, or at a second signal ([`ONE_WISH`] after the first), is ended
//!    from here, so that a full pipe or a silent broker cannot hold it for ever.

use std::time::Duration;

use tokio::sync::watch;

use crate::args::Global;
use crate::exit::{self, Failure};

/// How long a command may take to tidy up: flush output and acks, await receipts.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// How long a broker may take to drain and to close its store.
pub(crate) const GRACE_BROKER: Duration = Duration::from_secs(60);

/// Signals within this time count as one.
const ONE_WISH: Duration = Duration::from_millis(500);

/// Why to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// SIGINT or SIGTERM.
    Signal,
    /// `--timeout` ran out.
    Timeout(Duration),
}

impl Reason {
    /// The end of a command that had nothing to tidy up.
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Reason::Signal => Failure::quiet(),
            Reason::Timeout(limit) => Failure::timeout(limit),
        }
    }

    /// Success after a signal, failure after a timeout.
    pub(crate) fn into_outcome(self) -> Result<(), Failure> {
        match self {
            Reason::Signal => Ok(()),
            Reason::Timeout(_) => Err(self.into_failure()),
        }
    }
}

/// Tells when to end. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<Option<Reason>>);

impl Stop {
    /// Starts to listen. Must be called in the runtime.
    pub(crate) fn listen(global: &Global, grace: Duration) -> std::io::Result<Stop> {
        let signals = Signals::new()?;
        let (sender, receiver) = watch::channel(None);
        let (timeout, json) = (global.timeout, global.json);
        tokio::spawn(async move {
            let failure = watch_over(signals, timeout, grace, sender).await;
            exit::end_now(&failure, json)
        });
        Ok(Stop(receiver))
    }

    /// Waits for the reason to end.
    pub(crate) async fn reason(&self) -> Reason {
        let mut receiver = self.0.clone();
        match receiver.wait_for(Option::is_some).await.ok().and_then(|reason| *reason) {
            Some(reason) => reason,
            // The sender lives as long as the runtime.
            None => std::future::pending().await,
        }
    }

    /// Runs something that has nothing to tidy up, until it ends or must end.
    pub(crate) async fn guard<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            outcome = work => outcome,
            reason = self.reason() => Err(reason.into_failure()),
        }
    }
}

/// Tells why to end, then returns when the command has not ended in time.
async fn watch_over(
    mut signals: Signals,
    timeout: Option<Duration>,
    grace: Duration,
    sender: watch::Sender<Option<Reason>>,
) -> Failure {
    let reason = tokio::select! {
        () = signals.next() => Reason::Signal,
        reason = run_out(timeout) => reason,
    };
    sender.send_replace(Some(reason));
    let again = async {
        // Some senders signal a process and then its group: one wish to end, not two.
        let one_wish = tokio::time::sleep(ONE_WISH);
        tokio::pin!(one_wish);
        loop {
            tokio::select! {
                () = &mut one_wish => break,
                () = signals.next() => {}
            }
        }
        signals.next().await;
    };
    let message = tokio::select! {
        () = again => "second signal: ended without tidying up".to_owned(),
        () = tokio::time::sleep(grace) => format!(
            "could not tidy up within {}: is standard output being read, does the broker answer?",
            crate::duration::show(grace),
        ),
    };
    match reason {
        Reason::Timeout(_) => Failure::timed_out(message),
        Reason::Signal => Failure::failed(message),
    }
}

async fn run_out(timeout: Option<Duration>) -> Reason {
    match timeout {
        Some(limit) => {
            tokio::time::sleep(limit).await;
            Reason::Timeout(limit)
        }
        None => std::future::pending().await,
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
