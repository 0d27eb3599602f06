//! Connecting to the broker: credentials, and the client's errors as exit codes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fanal_client::{Client, Credentials, Error};
use fanal_protocol::Code;

use crate::args::Global;
use crate::exit::{Failure, Outcome};

/// Variable that names a credentials file.
const CREDS_VARIABLE: &str = "FANAL_CREDS";
/// Variable that names a data directory.
const DATA_VARIABLE: &str = "FANAL_DATA";
/// Data directory unless told.
const DATA: &str = "fanal-data";

/// How long an address may take to answer, however long the whole command may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How much of `--timeout` a connection may take.
const PATIENCE_SHARE: f32 = 0.95;

/// Where the credentials are, most explicit first.
enum Source {
    File(PathBuf),
    DataDir(PathBuf),
}

impl Source {
    fn of(global: &Global) -> Self {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(file) = &global.creds {
            return Source::File(file.clone());
        }
        if let Some(dir) = &global.data {
            return Source::DataDir(dir.clone());
        }
        match (variable(CREDS_VARIABLE), variable(DATA_VARIABLE)) {
            (Some(file), _) => Source::File(file),
            (None, Some(dir)) => Source::DataDir(dir),
            (None, None) => Source::DataDir(DATA.into()),
        }
    }

    fn data_dir(self) -> Outcome<PathBuf> {
        match self {
            Source::DataDir(dir) => Ok(dir),
            Source::File(_) => Err(Failure::usage(
                "this command reads a broker's data directory, not credentials: use --data DIR instead of --creds",
            )),
        }
    }

    fn read(&self) -> Outcome<Credentials> {
        match self {
            Source::File(file) => Credentials::from_file(file).map_err(failure),
            Source::DataDir(dir) if !dir.join("local.json").exists() => Err(no_broker(dir)),
            Source::DataDir(dir) => Credentials::from_data_dir(dir).map_err(failure),
        }
    }
}

fn no_broker(dir: &Path) -> Failure {
    let shown = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    Failure::failed(format!(
        "no broker has run here: there is no local.json in {}; start one with `fanal serve`, or name its \
         credentials with --creds FILE or its data directory with --data DIR",
        shown.display()
    ))
}

/// The credentials that flags, environment and directory give.
pub(crate) fn credentials(global: &Global) -> Outcome<Credentials> {
    Source::of(global).read()
}

/// The data directory that flags and environment give, for what is done without its broker.
pub(crate) fn data_dir(global: &Global) -> Outcome<PathBuf> {
    Source::of(global).data_dir()
}

/// Connects; `command` tells the broker who asks.
pub(crate) async fn connect(global: &Global, command: &str) -> Outcome<Client> {
    let credentials = credentials(global)?;
    let agent = format!("fanal-{command}/{}", env!("CARGO_PKG_VERSION"));
    let mut builder = Client::builder(&credentials).agent(agent);
    let Some(timeout) = global.timeout else { return builder.connect().await.map_err(failure) };
    // The connection's own account of what did not answer comes just before the end of the command.
    let patience = timeout.mul_f32(PATIENCE_SHARE).min(ANSWER_MAX);
    builder = builder.timeout(patience).publish_timeout(timeout);
    let began = Instant::now();
    builder.connect().await.map_err(|error| {
        let is_late = began.elapsed() >= patience && patience < ANSWER_MAX;
        let failure = failure(error);
        if is_late { Failure::timed_out(failure.message) } else { failure }
    })
}

/// The client's error as the end of a command.
pub(crate) fn failure(error: impl Into<Error>) -> Failure {
    let error = error.into();
    if let Some(refused) = error.refused() {
        return Failure::refused(refused.code, &refused.name, &error);
    }
    match &error {
        Error::Publish(fanal_client::PublishError::Invalid(_)) => {
            Failure::refused(Code::Malformed, "", &error)
        }
        error if error.is_timeout() => Failure::timed_out(error),
        error => Failure::failed(error),
    }
}
