//! Why a run has no report.

use thiserror::Error;

/// See the module.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The plan cannot be carried out.
    #[error("{0}")]
    Plan(String),
    /// The broker or the connection to it; what the run made at the broker is removed as far as it
    /// can be reached.
    #[error(transparent)]
    Client(#[from] fanal_client::Error),
    /// It was asked to end before anything was sent.
    #[error("ended before anything was sent")]
    Interrupted,
    /// Durable subscriptions of the run may still be there.
    #[error(
        "cannot remove the durable subscriptions {names}: {reason}; see `fanal subscriptions`, and remove them with `fanal subscriptions remove NAME`"
    )]
    LeftBehind {
        /// What their names look like.
        names: String,
        /// What happened.
        reason: String,
    },
    /// Both: the run failed, and what it made may still be there.
    #[error("{failed}; and {left}")]
    FailedAndLeft {
        /// Why the run failed.
        failed: Box<BenchError>,
        /// What may still be there.
        left: Box<BenchError>,
    },
    /// A payload that the generator did not write came under its topic.
    #[error("an event that this run did not publish came on {topic}: is another program publishing there?")]
    Foreign {
        /// Where.
        topic: String,
    },
    /// A thread or a task could not do its work.
    #[error("the load generator failed: {0}")]
    Internal(String),
}

impl From<tokio::task::JoinError> for BenchError {
    fn from(error: tokio::task::JoinError) -> Self {
        BenchError::Internal(error.to_string())
    }
}
