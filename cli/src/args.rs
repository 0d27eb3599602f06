//! The command line: one definition per flag feeds parser, help and suggestions.
//!
//! Invariants:
//! 1. Names and meaning of flags are a stable interface; they are added to, not changed.
//! 2. What can be checked without a broker is checked here or on the way out of here, and ends
//!    with exit code 2.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::attribute::Attribute;

/// Fanal: a federated publish/subscribe broker. My client – my server – your server – your client.
#[derive(Debug, Parser)]
#[command(
    name = "fanal",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 timed out, 4 refused by the broker.\n\
        Durations: 250ms 90s 5m 2h 7d.\n\n\
        First steps, in three terminals of one directory:\n  \
          fanal serve\n  \
          fanal subscribe 'orders/#' --where 'amount > 100'\n  \
          fanal publish orders/eu/paris '{\"item\":\"lamp\"}' -a amount=250"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Print results (and errors) as JSON, for programs
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
    #[arg(long, global = true, value_name = "DIR", verbatim_doc_comment)]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a broker
    Serve(Serve),
    /// Two brokers, a publisher and subscribers on real events, in this terminal; ends by itself
    Demo,
    /// Publish one event, or one per line of JSON
    Publish(Publish),
    /// Receive events as they match
    Subscribe(Subscribe),
    /// What the broker is and how it does
    #[command(after_help = "Example:\n  fanal status --data ewr --json")]
    Status,
    /// Other brokers that this one knows, and the links to them
    #[command(after_help = "Example:\n  fanal peers --data jfk")]
    Peers,
    /// Clients that are attached
    Sessions,
    /// Subscriptions: list them, remove or change a durable one
    #[command(after_help = "Examples:\n  \
        fanal subscriptions\n  \
        fanal subscriptions update late 'flights/JFK/+' --where 'dep_delay > 90'\n  \
        fanal subscriptions remove late")]
    Subscriptions {
        #[command(subcommand)]
        action: Option<SubscriptionsAction>,
    },
    /// Queues of durable subscriptions and of peers
    Mailboxes,
    /// Check a configuration and explain where each value comes from
    CheckConfig(CheckConfig),
}

impl Command {
    /// The command's name, as the agent part of the handshake tells it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Command::Serve(_) => "serve",
            Command::Demo => "demo",
            Command::Publish(_) => "publish",
            Command::Subscribe(_) => "subscribe",
            Command::Status => "status",
            Command::Peers => "peers",
            Command::Sessions => "sessions",
            Command::Subscriptions { .. } => "subscriptions",
            Command::Mailboxes => "mailboxes",
            Command::CheckConfig(_) => "check-config",
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
    #[arg(long, value_name = "DIR")]
    pub(crate) ca: Option<PathBuf>,

    /// Another broker to dial; may be given several times
    #[arg(long = "peer", value_name = "NAME=HOST:PORT")]
    pub(crate) peers: Vec<String>,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Values come from flags, then FANAL_NAME, FANAL_LISTEN, … in the environment, then the \
    configuration file.\nPrints one line when ready, then runs until SIGINT or SIGTERM. Logs go to stderr \
    (FANAL_LOG=debug for more).\n\n\
    Two brokers on one machine:\n  \
    fanal serve --name ewr --data ewr --ca ca --listen 127.0.0.1:4600 --admin 127.0.0.1:4680\n  \
    fanal serve --name jfk --data jfk --ca ca --listen 127.0.0.1:4601 --admin 127.0.0.1:4681 --peer ewr=127.0.0.1:4600"
)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    fanal check-config --config fanal.toml\n  \
    fanal check-config --defaults > fanal.toml")]
pub(crate) struct CheckConfig {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    /// Print a configuration file with every key, its default and its meaning
    #[arg(long)]
    pub(crate) defaults: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    fanal publish orders/eu/paris '{\"item\":\"lamp\"}' -a amount=250 -a express=true\n  \
    fanal publish pictures/cat --file cat.jpg --content-type image/jpeg --ttl 2h\n  \
    fanal publish --ndjson flights.ndjson --topic 'flights/{origin}/{dest}'\n  \
    zcat more.gz | fanal publish --ndjson --topic 'flights/{origin}/{dest}' --receipts\n\n\
    With --ndjson each line is one JSON object and becomes one event: the line is the payload; its strings, \
    booleans and numbers become attributes (`id`, `source` and `time` the event's own fields); nested values \
    stay in the payload only. A line that cannot be published is refused (400), the rest goes on.\n\
    The command waits for every receipt; exit code 4 if one event was refused.")]
pub(crate) struct Publish {
    /// Topic: levels separated by `/`
    #[arg(value_name = "TOPIC", required_unless_present = "ndjson", conflicts_with_all = ["ndjson", "topic"])]
    pub(crate) topic_of_one: Option<String>,

    /// Payload; none, --file or --stdin instead
    #[arg(conflicts_with = "ndjson")]
    pub(crate) payload: Option<String>,

    /// Attribute; numbers, true, false and "quoted text" as in JSON, anything else is text
    #[arg(short = 'a', long = "attribute", value_name = "NAME=VALUE", conflicts_with = "ndjson",
        value_parser = crate::attribute::parse)]
    pub(crate) attributes: Vec<Attribute>,

    /// Payload from a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["payload", "stdin", "ndjson"])]
    pub(crate) file: Option<PathBuf>,

    /// Payload from standard input: all of it, one event
    #[arg(long, conflicts_with_all = ["payload", "ndjson"])]
    pub(crate) stdin: bool,

    /// The event's id [default: made from publisher and sequence]
    #[arg(long, conflicts_with = "ndjson")]
    pub(crate) id: Option<String>,

    /// Where the event comes from, as a URI reference
    #[arg(long, value_name = "URI", conflicts_with = "ndjson")]
    pub(crate) source: Option<String>,

    /// When it happened (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "ndjson", value_parser = crate::attribute::parse_time)]
    pub(crate) time: Option<fanal_protocol::Timestamp>,

    /// The payload's media type, such as application/json
    #[arg(long, value_name = "TYPE", conflicts_with = "ndjson")]
    pub(crate) content_type: Option<String>,

    /// One event per line of JSON, from FILE or from standard input
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", requires = "topic")]
    pub(crate) ndjson: Option<PathBuf>,

    /// Topic of each line; {field} stands for a field of the line
    #[arg(long, value_name = "TEMPLATE", requires = "ndjson")]
    pub(crate) topic: Option<String>,

    /// Ordering key: events of one key stay in order when they are redelivered
    #[arg(long)]
    pub(crate) key: Option<String>,

    /// Not delivered after this time
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    pub(crate) ttl: Option<Duration>,

    /// Never stored: faster, and lost where nobody listens now
    #[arg(long)]
    pub(crate) best_effort: bool,

    /// Print {"line","id","code","sequence"} for every event, refused ones too, in order
    #[arg(long)]
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
#[command(after_help = "Examples:\n  \
    fanal subscribe 'orders/#'\n  \
    fanal subscribe 'flights/JFK/+' --where \"dep_delay > 60 AND carrier = 'AA'\"\n  \
    fanal subscribe 'flights/#' --except 'flights/LGA/#' --count 10 --output json\n  \
    fanal subscribe 'orders/#' --durable billing --output json >> orders.ndjson\n\n\
    `+` stands for one level of a topic, `#` for the rest of it. Events go to stdout, and are acknowledged \
    after stdout was flushed; the receipt, which tells the brokers that now send what matches, is one JSON \
    line on stderr.")]
pub(crate) struct Subscribe {
    /// Topic filter, such as `flights/+/LAX` or `orders/#`
    pub(crate) filter: String,

    /// Only events for which this is true, such as "dep_delay > 60 AND carrier IN ('B6', 'DL')"
    #[arg(long = "where", value_name = "EXPR")]
    pub(crate) predicate: Option<String>,

    /// Leave out topics that match this; may be given several times
    #[arg(long, value_name = "FILTER")]
    pub(crate) except: Vec<String>,

    /// Keep events under this name while nobody is attached
    #[arg(long, value_name = "NAME")]
    pub(crate) durable: Option<String>,

    /// End after this many deliveries
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// Which brokers must confirm before the receipt: home, peers, or one by name
    #[arg(long, value_name = "home|peers|BROKER", default_value = "peers")]
    pub(crate) wait_for: String,

    /// How to print deliveries; --json means json
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SubscriptionsAction {
    /// List them (as without an action)
    List,
    /// Remove a durable subscription of yours and everything queued for it
    Remove {
        /// Its name
        name: String,
    },
    /// Give a durable subscription of yours another filter; what is queued stays
    Update {
        /// Its name
        name: String,
        /// Topic filter
        filter: String,
        /// Only events for which this is true
        #[arg(long = "where", value_name = "EXPR")]
        predicate: Option<String>,
        /// Leave out topics that match this; may be given several times
        #[arg(long, value_name = "FILTER")]
        except: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    fn publish(args: &[&str]) -> Result<Publish, clap::Error> {
        let all = ["fanal", "publish"].iter().chain(args);
        match Args::try_parse_from(all)?.command {
            Command::Publish(publish) => Ok(publish),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn ndjson_takes_a_file_or_standard_input() {
        let file = publish(&["--ndjson", "f.ndjson", "--topic", "a/{b}"]).unwrap();
        assert_eq!(file.ndjson, Some("f.ndjson".into()));
        let stdin = publish(&["--ndjson", "--topic", "a/{b}"]).unwrap();
        assert_eq!(stdin.ndjson, Some("-".into()));
        assert!(publish(&["--ndjson", "f"]).is_err(), "needs --topic");
        assert!(publish(&["t", "--ndjson", "f", "--topic", "x"]).is_err(), "two topics");
        assert!(publish(&["t", "--topic", "x"]).is_err(), "two topics");
    }

    #[test]
    fn one_source_for_the_payload() {
        assert!(publish(&["t", "p"]).is_ok());
        assert!(publish(&["t", "--stdin"]).is_ok());
        assert!(publish(&["t", "p", "--stdin"]).is_err());
        assert!(publish(&["t", "p", "--file", "f"]).is_err());
        assert!(publish(&["t", "--stdin", "--file", "f"]).is_err());
        assert!(publish(&[]).is_err());
    }

    #[test]
    fn negative_payloads_and_values_need_no_tricks() {
        let args = publish(&["t", "-a", "delay=-5"]).unwrap();
        assert_eq!(args.attributes.len(), 1);
    }

    #[test]
    fn an_unknown_flag_gets_a_suggestion_and_exit_code_2() {
        let error = Args::try_parse_from(["fanal", "subscribe", "a", "--durabel", "x"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--durable"), "{error}");
    }

    #[test]
    fn global_flags_stand_before_or_after_the_command() {
        for args in [["fanal", "--json", "status"], ["fanal", "status", "--json"]] {
            assert!(Args::try_parse_from(args).unwrap().global.json);
        }
    }
}
