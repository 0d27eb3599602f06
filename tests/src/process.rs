//! A child process under guard: its output as lines that can be waited for, its end with a bound.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::wait::BOUND;

/// Lines shown when a test fails.
const SHOWN_LINES: usize = 60;

/// What a process writes, as lines.
#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    lines: Vec<String>,
    is_closed: bool,
}

impl Lines {
    fn read(source: impl Read + Send + 'static) -> Self {
        let lines = Lines::default();
        let filled = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n') {
                let Ok(line) = line else { break };
                filled.lock().lines.push(String::from_utf8_lossy(&line).into_owned());
                filled.0.1.notify_all();
            }
            filled.lock().is_closed = true;
            filled.0.1.notify_all();
        });
        lines
    }

    fn closed() -> Self {
        let lines = Lines::default();
        lines.lock().is_closed = true;
        lines
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every line so far.
    pub fn so_far(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// How many lines there are so far.
    pub fn count(&self) -> usize {
        self.lock().lines.len()
    }

    /// Waits for the first line, old or new, of which `pick` makes something; `None` when the
    /// process closed its end first, or after [`BOUND`].
    pub fn find<T>(&self, mut pick: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + BOUND;
        let mut seen = 0;
        let mut state = self.lock();
        loop {
            while let Some(line) = state.lines.get(seen) {
                if let Some(found) = pick(line) {
                    return Some(found);
                }
                seen += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.is_closed || left.is_zero() {
                return None;
            }
            state = self.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the process has closed its end, then gives every line.
    fn all(&self) -> Vec<String> {
        let _: Option<()> = self.find(|_| None);
        self.so_far()
    }
}

/// See the module. Killed when dropped.
pub struct Process {
    what: String,
    pid: Pid,
    exited: Receiver<ExitStatus>,
    status: Option<ExitStatus>,
    stdin: Option<ChildStdin>,
    /// What it wrote to stdout.
    pub stdout: Lines,
    /// What it wrote to stderr.
    pub stderr: Lines,
}

/// How a process ended, and what it wrote.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; `None`: ended by a signal.
    pub code: Option<i32>,
    /// Lines of stdout.
    pub stdout: Vec<String>,
    /// All of stderr.
    pub stderr: String,
}

impl Process {
    /// Starts a command with pipes on all three ends.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Process {
        Process::start_to(command, Stdio::piped())
    }

    /// As [`Process::start`], with a stdout that nobody reads any more.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_without_reader(command: &mut Command) -> Process {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let process = Process::start_to(command, writer.into());
        // The command would keep the other end open here.
        command.stdout(Stdio::null());
        process
    }

    fn start_to(command: &mut Command, stdout: Stdio) -> Process {
        let what = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        let pid = Pid::from_child(&child);
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().map_or_else(Lines::closed, Lines::read);
        let stderr = child.stderr.take().map_or_else(Lines::closed, Lines::read);
        Process { what, pid, exited: watch(child), status: None, stdin, stdout, stderr }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Writes to its stdin from a thread and closes it.
    pub fn feed(&mut self, bytes: Vec<u8>) {
        if let Some(mut stdin) = self.stdin.take() {
            std::thread::spawn(move || {
                // It may end before it has read everything.
                let _ = stdin.write_all(&bytes);
            });
        }
    }

    /// Its stdin, to write to by and by.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Sends a signal; nothing if it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.has_ended() {
            return;
        }
        // It may end in this moment; its id is not used again before the watcher has seen it.
        let _ = kill_process(self.pid, signal);
    }

    /// SIGSTOP; returns when all of its threads have stopped.
    ///
    /// # Panics
    /// When it has ended.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        let stopped = waitid(WaitId::Pid(self.pid), options).expect("a process that can be stopped");
        assert!(stopped.is_some_and(|status| status.stopped()), "{} has ended", self.what);
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.exited.try_recv().ok();
        }
        self.status.is_some()
    }

    /// Ends it as a crash would (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within [`BOUND`].
    pub fn wait(&mut self) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        match self.exited.recv_timeout(BOUND) {
            Ok(status) => *self.status.insert(status),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                panic!("{} did not end within {BOUND:?}", self.what)
            }
        }
    }

    /// Waits for its end and gives what it wrote.
    pub fn finish(mut self) -> Finished {
        self.stdin = None;
        let status = self.wait();
        Finished { code: status.code(), stdout: self.stdout.all(), stderr: self.stderr.all().join("\n") }
    }

    fn show(&self) {
        let lines: VecDeque<String> = self.stderr.so_far().into();
        let skipped = lines.len().saturating_sub(SHOWN_LINES);
        eprintln!("--- stderr of {} ({skipped} lines before these)", self.what);
        lines.iter().skip(skipped).for_each(|line| eprintln!("    {line}"));
    }
}

/// Reaps the child on a thread of its own.
fn watch(mut child: Child) -> Receiver<ExitStatus> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        if let Ok(status) = child.wait() {
            // Nobody waits when the guard is gone.
            let _ = sender.send(status);
        }
    });
    receiver
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show();
        }
        self.signal(Signal::KILL);
        if self.status.is_none() {
            // Nothing is left behind when the test process ends right after this.
            let _ = self.exited.recv_timeout(BOUND);
        }
    }
}
