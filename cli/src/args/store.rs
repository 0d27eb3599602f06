//! Flags of `fanal store`.

use clap::{Args as ClapArgs, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum StoreAction {
    /// Say what is there and what is damaged; changes nothing
    Check,
    /// Make a store that starts out of one that does not
    Repair(StoreRepair),
    /// Print the log, record by record; changes nothing
    Dump(StoreDump),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StoreRepair {
    /// Do it; without this only say what would be kept and lost
    #[arg(long)]
    pub(crate) yes: bool,

    /// The data directory was put back from a backup: raise its recovery epoch
    #[arg(long)]
    pub(crate) restored: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StoreDump {
    /// Only what concerns the mailbox of this name (a durable subscription or a peer) or number
    #[arg(long, value_name = "NAME")]
    pub(crate) mailbox: Option<String>,

    /// Only events, whole, as `fanal subscribe` prints them
    #[arg(long)]
    pub(crate) events: bool,
}
