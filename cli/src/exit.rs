//! How a command ends: exit codes, and errors as people and programs read them.
//!
//! Invariants:
//! 1. Exit codes are 0 ok, 1 failed, 2 usage, 3 timed out, 4 refused by the broker.
//! 2. A reader that went away (broken pipe) and a signal are not failures.
//! 3. Every message says what happened, to which file or address, and what to do next.
//! 4. With `--json`, a command that ends with another exit code than 0 says why in one JSON object,
//!    the last line of stderr (protocol/schemas/command-error.json).

use std::fmt::Display;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use fanal_protocol::Code;
use serde::Serialize;

/// What kind of end it is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nobody reads our output any more, or a signal asked us to end: exit 0, no message.
    Quiet,
    /// Exit 1.
    Failed,
    /// Exit 2.
    Usage,
    /// Exit 3.
    TimedOut,
    /// Exit 4.
    Refused,
}

/// Why a command ended early.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// Decides the exit code.
    pub(crate) kind: Kind,
    /// The broker's answer, if it gave one.
    pub(crate) code: Option<u16>,
    /// The answer's name for programs, such as `filter_differs`.
    pub(crate) name: String,
    /// For people.
    pub(crate) message: String,
}

/// The result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    fn new(kind: Kind, message: impl Display) -> Self {
        let message = without_error_numbers(message.to_string());
        Failure { kind, code: None, name: String::new(), message }
    }

    /// Something went wrong: exit 1.
    pub(crate) fn failed(message: impl Display) -> Self {
        Failure::new(Kind::Failed, message)
    }

    /// A file or directory cannot be used: exit 1. `what` says what was tried, and with which path.
    pub(crate) fn io(what: impl Display, error: &io::Error) -> Self {
        Failure::failed(format!("{what}: {}", io_reason(error)))
    }

    /// The command line or the configuration is wrong: exit 2.
    pub(crate) fn usage(message: impl Display) -> Self {
        Failure::new(Kind::Usage, message)
    }

    /// The parser's refusal on one line, without the usage.
    pub(crate) fn of_command_line(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let told = text.split("\nUsage:").next().unwrap_or_default();
        let told = told.split("\nFor more information").next().unwrap_or_default();
        let mut message = String::new();
        for line in told.trim_start_matches("error:").lines().map(str::trim).filter(|line| !line.is_empty()) {
            match message.chars().last() {
                None => {}
                Some(':') => message.push(' '),
                Some(_) => message.push_str("; "),
            }
            message.push_str(line);
        }
        Failure::usage(message)
    }

    /// Time ran out: exit 3.
    pub(crate) fn timed_out(message: impl Display) -> Self {
        Failure::new(Kind::TimedOut, message)
    }

    /// `--timeout` ran out: exit 3.
    pub(crate) fn timeout(limit: Duration) -> Self {
        Failure::timed_out(format!(
            "--timeout {} is over and the command is not done: allow more time, or look at `fanal status`",
            crate::duration::show(limit)
        ))
    }

    /// The broker said no: exit 4, or 3 when what it says is that time ran out.
    pub(crate) fn refused(code: Code, name: &str, message: impl Display) -> Self {
        let kind = if code == Code::TimedOut { Kind::TimedOut } else { Kind::Refused };
        Failure { code: Some(code.number()), name: name.to_owned(), ..Failure::new(kind, message) }
    }

    /// Ends the command without a message and with exit 0.
    pub(crate) fn quiet() -> Self {
        Failure::new(Kind::Quiet, "")
    }

    /// Standard output could not be written.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::quiet();
        }
        Failure::io("cannot write to standard output", error)
    }

    fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Quiet => 0,
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::TimedOut => 3,
            Kind::Refused => 4,
        }
    }

    /// Says it on stderr.
    pub(crate) fn print(&self, json: bool) {
        if self.kind == Kind::Quiet {
            return;
        }
        if !json {
            let [trouble, plain] = crate::style::marks(&io::stderr(), crate::manual::TROUBLE);
            crate::output::note(format_args!("{trouble}fanal:{plain} {}", self.message));
            return;
        }
        let error = Problem {
            exit: self.exit_code(),
            code: self.code,
            name: (!self.name.is_empty()).then_some(&self.name),
            reason: &self.message,
        };
        // Numbers and texts can always be written.
        let line = serde_json::to_string(&ErrorLine { error }).unwrap_or_default();
        crate::output::note(format_args!("{line}"));
    }
}

/// The system's texts say what its numbers say.
fn without_error_numbers(mut text: String) -> String {
    while let Some(start) = text.find(" (os error ") {
        let Some(len) = text[start..].find(')') else { break };
        text.replace_range(start..=start + len, "");
    }
    text
}

/// What the system said, and what to do about it.
pub(crate) fn io_reason(error: &io::Error) -> String {
    let said = without_error_numbers(error.to_string());
    let next = match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "change the permissions there, or run this as another user",
        io::ErrorKind::IsADirectory => "name a file",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file is in the way: name another place"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room there",
        io::ErrorKind::ReadOnlyFilesystem => "name a place that can be written to",
        _ => return said,
    };
    format!("{said}; {next}")
}

/// `--json` form of an error, one line on stderr.
#[derive(Serialize)]
struct ErrorLine<'a> {
    error: Problem<'a>,
}

#[derive(Serialize)]
struct Problem<'a> {
    exit: u8,
    code: Option<u16>,
    name: Option<&'a String>,
    reason: &'a str,
}

/// Ends the process here and now, whatever its threads do.
pub(crate) fn end_now(failure: &Failure, json: bool) -> ! {
    failure.print(json);
    std::process::exit(failure.exit_code().into())
}

/// Prints the failure, if there is one, and gives the exit code.
pub(crate) fn finish(outcome: &Outcome, json: bool) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print(json);
            ExitCode::from(failure.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_design() {
        assert_eq!(Failure::failed("x").exit_code(), 1);
        assert_eq!(Failure::usage("x").exit_code(), 2);
        assert_eq!(Failure::timeout(Duration::from_secs(1)).exit_code(), 3);
        assert_eq!(Failure::refused(Code::Conflict, "filter_differs", "x").exit_code(), 4);
        assert_eq!(Failure::refused(Code::TimedOut, "", "x").exit_code(), 3);
    }

    #[test]
    fn numbers_of_the_system_are_left_out() {
        let failure = Failure::failed("a: not there (os error 2); b (os error 13) (os error");
        assert_eq!(failure.message, "a: not there; b (os error");
        let missing = io::Error::from_raw_os_error(2);
        assert_eq!(
            Failure::io("cannot read x", &missing).message,
            "cannot read x: No such file or directory; check the path"
        );
    }

    #[test]
    fn a_broken_pipe_is_success() {
        assert_eq!(Failure::stdout(&io::ErrorKind::BrokenPipe.into()).exit_code(), 0);
        assert_eq!(Failure::stdout(&io::ErrorKind::StorageFull.into()).exit_code(), 1);
    }
}
