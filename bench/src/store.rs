//! `fanal-bench store`: what durability costs, beside others that promise it.
//!
//! Works: `publish` (durable publishes by producers that wait for their acks), `drain` (a backlog read
//! by one client), `queue` (memory, disk and start-up with very many queued events), `empty` (memory of
//! mailboxes without events), `sets` (one event for very many destinations).
//! Subjects: `fanal` and `jetstream` are brokers in processes of their own; `log` and `fjall` are engines
//! in this process, behind one writer thread that commits what waits and acks it (group commit).
//!
//! Invariants:
//! 1. Nothing counts before its ack has come, and a subject acks what it has flushed; the one that does
//!    not (`jetstream-late`, JetStream as it is delivered) is named apart.
//! 2. Cells are measured in turn, round after round; the median round is reported.

#[cfg(feature = "rivals")]
mod engines;
#[cfg(feature = "rivals")]
mod facts;
mod fanal;
#[cfg(feature = "rivals")]
mod jetstream;
mod publish;
mod queue;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::child::{Outcome, binary};
use publish::Cell;

/// See the module.
#[derive(Args)]
pub(crate) struct StoreArgs {
    /// What is measured.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Work::Publish, Work::Drain])]
    works: Vec<Work>,
    /// Who is measured; all but `fanal` need `--features rivals`.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Subject::built_in())]
    subjects: Vec<Subject>,
    /// The `fanal` to measure [default: the one beside this program].
    #[arg(long, value_name = "FILE")]
    fanal: Option<PathBuf>,
    /// The `nats-server` to measure [default: the one in PATH; without one JetStream is left out].
    #[cfg(feature = "rivals")]
    #[arg(long, value_name = "FILE")]
    nats: Option<PathBuf>,
    /// Where stores are made; what is measured is this directory's disk.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// `publish`: producers, and how many events each has under way, as `PRODUCERSxEVENTS`.
    #[arg(long, value_delimiter = ',', value_parser = producers, default_value = "1x1,64x1,1024x1,1x256,64x256")]
    producers: Vec<Producers>,
    /// `publish`: bytes of a payload.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// `publish`: seconds that each cell is measured.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// `drain`: events of 256 bytes that wait.
    #[arg(long, default_value_t = 1_000_000)]
    backlog: u64,
    /// `queue`: events of 256 bytes that are queued in all.
    #[arg(long, default_value_t = 10_000_000)]
    queued: u64,
    /// `queue`: mailboxes that share them.
    #[arg(long, default_value_t = 100)]
    mailboxes: u64,
    /// `empty`: mailboxes without events.
    #[arg(long, default_value_t = 100_000)]
    empty: u64,
    /// Rounds of `publish` and `drain`.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// One JSON object a line instead of tables.
    #[arg(long)]
    json: bool,
}

/// A load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// Durable publishes.
    Publish,
    /// One client reads a backlog.
    Drain,
    /// Memory, disk and start-up with queued events.
    Queue,
    /// Memory of mailboxes without events.
    Empty,
    /// One event for 10,000 destinations, in the log alone.
    #[cfg(feature = "rivals")]
    Sets,
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// The broker.
    Fanal,
    /// JetStream with a flush before each ack (`sync_interval: always`).
    #[cfg(feature = "rivals")]
    Jetstream,
    /// JetStream as it is delivered: flushed every two minutes, acked at once.
    #[cfg(feature = "rivals")]
    JetstreamLate,
    /// Fanal's log alone.
    #[cfg(feature = "rivals")]
    Log,
    /// fjall, one batch and one flush for all that waits.
    #[cfg(feature = "rivals")]
    Fjall,
}

impl Subject {
    fn built_in() -> Vec<Subject> {
        Subject::value_variants().to_vec()
    }

    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// How many producers, and how many events each has under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Producers {
    pub(crate) count: usize,
    pub(crate) under_way: usize,
}

fn producers(text: &str) -> Result<Producers, String> {
    let wrong = || format!("`{text}` is not PRODUCERSxEVENTS, such as 64x1");
    let (count, under_way) = text.split_once('x').ok_or_else(wrong)?;
    let number = |text: &str| text.parse().ok().filter(|&n: &usize| (1..=65_536).contains(&n));
    Ok(Producers { count: number(count).ok_or_else(wrong)?, under_way: number(under_way).ok_or_else(wrong)? })
}

/// What the works share.
pub(crate) struct Setting {
    pub(crate) fanal: PathBuf,
    /// None where there is no `nats-server`.
    #[cfg(feature = "rivals")]
    pub(crate) nats: Option<PathBuf>,
    pub(crate) dir: PathBuf,
    /// Bytes of the heap in use.
    #[cfg(feature = "rivals")]
    pub(crate) heap: fn() -> usize,
}

impl StoreArgs {
    /// Measures.
    pub(crate) async fn run(self, #[cfg(feature = "rivals")] heap: fn() -> usize) -> Outcome<()> {
        let setting = Setting {
            fanal: binary(self.fanal.clone())?,
            dir: self.dir.clone(),
            #[cfg(feature = "rivals")]
            nats: self.nats.clone().or_else(|| in_path("nats-server")),
            #[cfg(feature = "rivals")]
            heap,
        };
        for work in &self.works {
            self.run_work(*work, &setting).await?;
        }
        Ok(())
    }

    async fn run_work(&self, work: Work, setting: &Setting) -> Outcome<()> {
        let subjects: Vec<_> =
            self.subjects.iter().copied().filter(|subject| setting.has(*subject)).collect();
        match work {
            Work::Publish => {
                let cells = self.cells(&subjects);
                let seconds = Duration::try_from_secs_f64(self.seconds)?;
                table::publish(&publish::run(setting, &cells, seconds, self.runs).await?, self.json);
            }
            Work::Drain => {
                let rates = queue::drain(setting, &subjects, self.backlog, self.runs).await?;
                table::drain(&rates, self.json);
            }
            Work::Queue => {
                table::facts(&queue::queue(setting, self.queued, self.mailboxes).await?, self.json);
                #[cfg(feature = "rivals")]
                table::facts(&facts::queue(setting, self.queued, self.mailboxes)?, self.json);
            }
            Work::Empty => {
                table::facts(&queue::empty(setting, self.empty).await?, self.json);
                #[cfg(feature = "rivals")]
                table::facts(&facts::empty(setting, self.empty)?, self.json);
            }
            #[cfg(feature = "rivals")]
            Work::Sets => table::facts(&facts::sets(setting)?, self.json),
        }
        Ok(())
    }

    fn cells(&self, subjects: &[Subject]) -> Vec<Cell> {
        let of = |producers: &Producers| {
            let producers = *producers;
            subjects.iter().map(move |&subject| Cell { subject, producers, size: self.size })
        };
        self.producers.iter().flat_map(of).collect()
    }
}

impl Setting {
    fn has(&self, subject: Subject) -> bool {
        match subject {
            #[cfg(feature = "rivals")]
            Subject::Jetstream | Subject::JetstreamLate if self.nats.is_none() => {
                eprintln!("{} is left out: no nats-server in PATH, none named with --nats", subject.name());
                false
            }
            _ => true,
        }
    }
}

#[cfg(feature = "rivals")]
fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}
