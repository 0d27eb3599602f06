//! Flags of `fanal filter`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueHint};

#[derive(Debug, Subcommand)]
pub(crate) enum FilterAction {
    /// Check a filter, and say what it makes of an event and why
    Test(FilterTest),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct FilterTest {
    /// The filter, as --where of `fanal subscribe` takes it
    #[arg(value_name = "EXPR", allow_hyphen_values = true, required_unless_present = "json_lines")]
    pub(crate) expression: Option<String>,

    /// EXPR is CloudEvents SQL to the letter, as with `fanal subscribe --strict`
    #[arg(long)]
    pub(crate) strict: bool,

    /// Events to try it on, JSON objects; - for standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) event: Option<PathBuf>,

    /// Topic filter that the event's topic must match as well
    #[arg(long, value_name = "FILTER", requires = "event")]
    pub(crate) filter: Option<String>,

    /// Topics that --filter leaves out; may be given several times
    #[arg(long, value_name = "FILTER", requires = "filter")]
    pub(crate) except: Vec<String>,

    /// For test kits: read {"expression","event"} lines, answer each with {"result","error"}; with
    /// --strict attributes are what JSON says, a time the text that it is
    #[arg(long, conflicts_with_all = ["expression", "event", "filter"])]
    pub(crate) json_lines: bool,
}
