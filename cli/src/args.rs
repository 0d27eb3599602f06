//! The command line: one definition per flag feeds parser, help, completions and man pages.
//!
//! Invariants:
//! 1. Names and meaning of flags are a stable interface; they are added to, not changed.
//! 2. What can be checked without a broker is checked here or on the way out of here, and ends
//!    with exit code 2.
//! 3. [`command`] is the one definition, with the notes and examples of [`crate::manual`].

mod bench;
mod dead_letters;
mod filter;
mod limits;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Styles;
use clap::{ArgAction, Args as ClapArgs, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};

use crate::attribute::Attribute;
use crate::manual;

pub(crate) use bench::{Bench, Class};
pub(crate) use dead_letters::{Chosen, DeadLettersAction, Which};
pub(crate) use filter::{FilterAction, FilterTest};
pub(crate) use limits::{MailboxLimits, NewLimits, WhenFull};
pub(crate) use store::{StoreAction, StoreDump, StoreRepair};

/// A federated publish/subscribe broker: my client – my broker – your broker – your client.
#[derive(Debug, Parser)]
#[command(name = "fanal", version, propagate_version = true, max_term_width = 100, styles = STYLES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Headings and names stand out on a terminal; nothing is told by colour alone.
const STYLES: Styles = Styles::styled()
    .header(manual::HEADING)
    .usage(manual::HEADING)
    .literal(manual::LITERAL)
    .error(manual::TROUBLE)
    .invalid(manual::TROUBLE)
    .valid(manual::LITERAL);

/// The definition: flags from here, notes and examples from [`crate::manual`].
pub(crate) fn command() -> clap::Command {
    manual::complete(Args::command())
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR or TERM=dumb says no
    Auto,
    /// Into pipes and files too
    Always,
    /// Nowhere
    Never,
}

/// Flags of every command.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Print results and errors as JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// End the whole command after this time, with exit code 3
    #[arg(long, global = true, value_name = "DURATION", value_parser = crate::duration::parse)]
    pub(crate) timeout: Option<Duration>,

    /// Credentials file: addresses, CA, certificate and key [env: FANAL_CREDS]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "data")]
    pub(crate) creds: Option<PathBuf>,

    /// A broker's data directory; clients on its machine read DIR/local.json
    /// [env: FANAL_DATA] [default: ./fanal-data]
    #[arg(long, global = true, value_name = "DIR", verbatim_doc_comment, value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,

    /// When to use colours: auto, always or never
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(crate) color: Color,

    /// Print help
    #[arg(short, long, global = true, action = ArgAction::Help)]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, global = true, action = ArgAction::Version)]
    version: Option<bool>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a broker
    Serve(Serve),
    /// Two brokers and real events in this terminal; ends by itself
    Demo,
    /// Publish one event, or one per line of JSON
    Publish(Publish),
    /// Receive events as they match
    Subscribe(Subscribe),
    /// Check a filter and try it on events, without a broker
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Filter {
        #[command(subcommand)]
        action: FilterAction,
    },
    /// What the broker is and how it does
    Status,
    /// Other brokers that this one knows, and the links to them
    Peers,
    /// Clients that are attached
    Sessions,
    /// Subscriptions: list them, remove or change a durable one
    Subscriptions {
        #[command(subcommand)]
        action: Option<SubscriptionsAction>,
    },
    /// Queues of durable subscriptions and of peers
    Mailboxes,
    /// The store of a broker that does not run: check, repair, dump
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Store {
        #[command(subcommand)]
        action: StoreAction,
    },
    /// Events that left their queue unread: list, show, put back, drop
    DeadLetters {
        #[command(subcommand)]
        action: Option<DeadLettersAction>,
    },
    /// Check a configuration and explain where each value comes from
    CheckConfig(CheckConfig),
    /// Measure throughput and latency, and check that nothing is lost
    Bench(Bench),
    /// Print a script that completes commands and flags in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page, or write them all
    Man {
        /// The command whose page to print, such as `publish` or `subscriptions update`
        #[arg(value_name = "COMMAND")]
        of: Vec<String>,

        /// Write the page of COMMAND and of everything below it to this directory
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

impl Command {
    /// The command's name, as the agent part of the handshake tells it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Command::Serve(_) => "serve",
            Command::Demo => "demo",
            Command::Publish(_) => "publish",
            Command::Subscribe(_) => "subscribe",
            Command::Filter { .. } => "filter",
            Command::Status => "status",
            Command::Peers => "peers",
            Command::Sessions => "sessions",
            Command::Subscriptions { .. } => "subscriptions",
            Command::Mailboxes => "mailboxes",
            Command::Store { .. } => "store",
            Command::DeadLetters { .. } => "dead-letters",
            Command::CheckConfig(_) => "check-config",
            Command::Bench(_) => "bench",
            Command::Completions { .. } => "completions",
            Command::Man { .. } => "man",
        }
    }
}

/// What of the configuration can be given as flags.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct ConfigArgs {
    /// Configuration file (TOML); `fanal check-config --defaults` shows every key
    #[arg(long, value_name = "FILE", env = "FANAL_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// This broker's name, unique in the federation [default: from the host's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Where clients and peers reach it [default: 127.0.0.1:4600]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<String>,

    /// Where admin HTTP answers: health, metrics, API [default: 127.0.0.1:4680]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) admin: Option<String>,

    /// Directory of the CA, made on first start; brokers of one owner share it [default: DATA/ca]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) ca: Option<PathBuf>,

    /// Another broker to dial; may be given several times
    #[arg(long = "peer", value_name = "NAME=HOST:PORT")]
    pub(crate) peers: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct CheckConfig {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    /// Print a configuration file with every key, its default and its meaning
    #[arg(long)]
    pub(crate) defaults: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Publish {
    /// Topic: levels separated by `/`
    #[arg(value_name = "TOPIC", required_unless_present = "ndjson", conflicts_with_all = ["ndjson", "topic"])]
    pub(crate) topic_of_one: Option<String>,

    /// Payload; none, --file or --stdin instead
    #[arg(conflicts_with = "ndjson")]
    pub(crate) payload: Option<String>,

    /// Attribute; numbers, true, false and "quoted text" as in JSON, anything else is text
    #[arg(help_heading = "One event",
        short = 'a', long = "attribute", value_name = "NAME=VALUE", conflicts_with = "ndjson",
        value_parser = crate::attribute::parse)]
    pub(crate) attributes: Vec<Attribute>,

    /// Payload from a file
    #[arg(help_heading = "One event", long, value_name = "FILE", conflicts_with_all = ["payload", "stdin", "ndjson"])]
    pub(crate) file: Option<PathBuf>,

    /// Payload from standard input: all of it, one event
    #[arg(help_heading = "One event", long, conflicts_with_all = ["payload", "ndjson"])]
    pub(crate) stdin: bool,

    /// The event's id [default: made from publisher and sequence]
    #[arg(help_heading = "One event", long, conflicts_with = "ndjson")]
    pub(crate) id: Option<String>,

    /// Where the event comes from, as a URI reference
    #[arg(help_heading = "One event", long, value_name = "URI", conflicts_with = "ndjson")]
    pub(crate) source: Option<String>,

    /// When it happened (RFC 3339)
    #[arg(help_heading = "One event", long, value_name = "TIME", conflicts_with = "ndjson", value_parser = crate::attribute::parse_time)]
    pub(crate) time: Option<fanal_protocol::Timestamp>,

    /// The payload's media type, such as application/json
    #[arg(help_heading = "One event", long, value_name = "TYPE", conflicts_with = "ndjson")]
    pub(crate) content_type: Option<String>,

    /// One event per line of JSON, from FILE or from standard input
    #[arg(help_heading = "Many events", long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", requires = "topic")]
    pub(crate) ndjson: Option<PathBuf>,

    /// Topic of each line; {field} stands for a field of the line
    #[arg(help_heading = "Many events", long, value_name = "TEMPLATE", requires = "ndjson")]
    pub(crate) topic: Option<String>,

    /// Ordering key: events of one key stay in order when they are redelivered
    #[arg(help_heading = "Every event", long)]
    pub(crate) key: Option<String>,

    /// Not delivered after this time
    #[arg(help_heading = "Every event", long, value_name = "DURATION", value_parser = crate::duration::parse)]
    pub(crate) ttl: Option<Duration>,

    /// Never stored: faster, and lost where nobody listens now
    #[arg(help_heading = "Every event", long)]
    pub(crate) best_effort: bool,

    /// Print {"line","id","code","sequence"} for every event, refused ones too, in order
    #[arg(help_heading = "Every event", long)]
    pub(crate) receipts: bool,
}

/// How `subscribe` prints deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A readable line: time, topic, attributes or payload
    Text,
    /// One JSON object a line
    Json,
    /// The payload alone, and a newline
    Payload,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Subscribe {
    /// Topic filter, such as `flights/+/LAX` or `orders/#`
    pub(crate) filter: String,

    /// Only events for which this is true, such as "dep_delay > 60 AND carrier IN ('B6', 'DL')"
    #[arg(long = "where", value_name = "EXPR")]
    pub(crate) predicate: Option<String>,

    /// --where is CloudEvents SQL to the letter, with its casts; see `fanal filter --help`
    #[arg(long, requires = "predicate")]
    pub(crate) strict: bool,

    /// Leave out topics that match this; may be given several times
    #[arg(long, value_name = "FILTER")]
    pub(crate) except: Vec<String>,

    /// Keep events under this name while nobody is attached
    #[arg(long, value_name = "NAME")]
    pub(crate) durable: Option<String>,

    #[command(flatten)]
    pub(crate) limits: MailboxLimits,

    /// End after this many deliveries
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) count: Option<u64>,

    /// Which brokers must confirm before the receipt: home, peers, or one by name
    #[arg(long, value_name = "home|peers|BROKER", default_value = "peers")]
    pub(crate) wait_for: String,

    /// How to print deliveries; --json means json
    #[arg(
        long,
        value_enum,
        value_name = "text|json|payload",
        default_value = "text",
        hide_possible_values = true
    )]
    pub(crate) output: Output,
}

fn at_least_one(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 is needed".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("a whole number is needed, such as 10".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum SubscriptionsAction {
    /// List them (as without an action)
    List,
    /// Give a durable subscription of yours another filter or other limits; what is queued stays
    Update {
        /// Its name
        name: String,
        /// Topic filter; without one, and with limits, the filter stays
        #[arg(required_unless_present_any = ["max_bytes", "max_events", "max_age", "when_full"])]
        filter: Option<String>,
        /// Only events for which this is true
        #[arg(long = "where", value_name = "EXPR", requires = "filter")]
        predicate: Option<String>,
        /// --where is CloudEvents SQL to the letter, with its casts
        #[arg(long, requires = "predicate")]
        strict: bool,
        /// Leave out topics that match this; may be given several times
        #[arg(long, value_name = "FILTER", requires = "filter")]
        except: Vec<String>,
        #[command(flatten)]
        limits: NewLimits,
    },
    /// Remove a durable subscription of yours and everything queued for it
    Remove {
        /// Its name
        name: String,
    },
}

#[cfg(test)]
mod tests;
