//! Flags of `fanal dead-letters`.

use clap::{ArgGroup, Args as ClapArgs, Subcommand};

use super::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersAction {
    /// How many there are, for whom and why (as without an action)
    List,
    /// Print their events, oldest first; they stay where they are
    Show {
        #[command(flatten)]
        which: Which,

        /// End after this many
        #[arg(long, value_name = "N", value_parser = super::at_least_one)]
        count: Option<u64>,

        /// How to print events; --json means json
        #[arg(
            long,
            value_enum,
            value_name = "text|json|payload",
            default_value = "text",
            hide_possible_values = true
        )]
        output: Output,
    },
    /// Put them back at the end of the queues that they came from
    Requeue(Chosen),
    /// Drop them for good
    Drop {
        #[command(flatten)]
        chosen: Chosen,
        /// Do it: they cannot be brought back
        #[arg(long)]
        yes: bool,
    },
}

/// Which dead letters are meant, or all of them: one of it must be said.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(group = ArgGroup::new("chosen").required(true).multiple(true)
    .args(["subscription", "client", "peer", "reason", "numbers", "all"]))]
pub(crate) struct Chosen {
    #[command(flatten)]
    pub(crate) which: Which,
    /// All of them
    #[arg(long, conflicts_with_all = ["subscription", "client", "peer", "reason", "numbers"])]
    pub(crate) all: bool,
}

/// Which dead letters are meant.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Which ones")]
pub(crate) struct Which {
    /// Those of this durable subscription
    #[arg(long, value_name = "NAME", conflicts_with = "peer")]
    pub(crate) subscription: Option<String>,

    /// Those of subscriptions of this client, as NAME@FINGERPRINT
    #[arg(long, value_name = "CLIENT", conflicts_with = "peer", value_parser = principal)]
    pub(crate) client: Option<fanal_client::PublisherId>,

    /// Those of this peer
    #[arg(long, value_name = "NAME")]
    pub(crate) peer: Option<String>,

    /// Those that are there for this reason: full, age or store
    #[arg(long, value_name = "full|age|store")]
    pub(crate) reason: Option<String>,

    /// Those of this number, or of a range such as 10-20; may be given several times
    #[arg(long = "number", value_name = "N|N-M", value_parser = numbers)]
    pub(crate) numbers: Vec<(u64, u64)>,
}

fn principal(text: &str) -> Result<fanal_client::PublisherId, String> {
    text.parse::<fanal_client::PublisherId>().map_err(|error| error.to_string())
}

fn numbers(text: &str) -> Result<(u64, u64), String> {
    let expected = || "a number is needed, or a range such as 10-20".to_owned();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range: (u64, u64) = (first.parse().map_err(|_| expected())?, last.parse().map_err(|_| expected())?);
    if range.0 > range.1 { Err(expected()) } else { Ok(range) }
}
