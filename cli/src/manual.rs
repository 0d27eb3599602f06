//! What help and man pages say beyond the flags: groups, notes, examples, exit codes, variables, files.
//!
//! Invariants:
//! 1. Every command has a chapter and stands in one group.
//! 2. Examples work as they stand: `tests/tests/manual.rs` runs each from the printed help.
//!
//! [`crate::man`] sets the same words as man pages.

mod chapters;

use std::fmt::Write as _;

use anstyle::Style;
use clap::Command;

use crate::config;

pub(crate) use chapters::CHAPTERS;

/// Style of headings.
pub(crate) const HEADING: Style = Style::new().bold();
/// Style of what is typed as it stands.
pub(crate) const LITERAL: Style = anstyle::AnsiColor::Cyan.on_default();
/// Style of what is wrong.
pub(crate) const TROUBLE: Style = anstyle::AnsiColor::Red.on_default().bold();

/// What the parser does not know of a command.
pub(crate) struct Chapter {
    /// Its path, such as `subscriptions update`; empty: `fanal` itself.
    pub(crate) command: &'static str,
    /// Paragraphs.
    pub(crate) notes: &'static [&'static str],
    /// What it does, and lines for a shell.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    /// Related commands.
    pub(crate) see_also: &'static [&'static str],
}

/// Commands as the first help lists them.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Brokers", &["serve", "check-config", "demo"]),
    ("Events", &["publish", "subscribe", "filter", "bench"]),
    ("A broker from inside", &["status", "peers", "sessions", "subscriptions", "mailboxes", "dead-letters"]),
    ("A broker that does not run", &["store"]),
    ("Help", &["help", "man", "completions"]),
];

/// Every exit code and its meaning.
pub(crate) const EXIT_CODES: [(u8, &str); 5] = [
    (0, "Done. Also after SIGINT or SIGTERM, and when nobody reads standard output any more."),
    (1, "Failed: the message says why, and where."),
    (2, "The command line or the configuration is wrong; nothing was done."),
    (3, "Time ran out, --timeout or the broker's."),
    (4, "The broker refused; its code is in the message."),
];

/// Variables of every command, and their meaning.
pub(crate) const VARIABLES: [(&str, &str); 5] = [
    ("FANAL_CREDS", "Credentials file, as --creds."),
    ("FANAL_DATA", "Data directory, as --data."),
    (
        "FANAL_LOG",
        "What is logged to standard error: a level (error, warn, info, debug, trace) or filters such as fanal_broker=debug.",
    ),
    (
        "NO_COLOR, CLICOLOR_FORCE, TERM",
        "No colours if NO_COLOR is set or TERM is dumb; colours into pipes too if CLICOLOR_FORCE is set. --color overrides all of them.",
    ),
    ("COLUMNS", "Width of help where it is not printed to a terminal."),
];

/// Files, and what they hold.
pub(crate) const FILES: [(&str, &str); 4] = [
    ("./fanal-data", "Data directory unless --data or FANAL_DATA names another: the broker's store."),
    (
        "DIR/local.json",
        "Credentials for clients on the broker's machine, written to its data directory at each start; readable by its owner only.",
    ),
    ("DIR/ca", "Certificate authority, made at the first start, unless --ca names another directory."),
    (
        "fanal.toml",
        "Configuration, where --config or FANAL_CONFIG names it; `fanal check-config --defaults` prints one with every key.",
    ),
];

/// The chapter of a command's path.
pub(crate) fn chapter(path: &str) -> Option<&'static Chapter> {
    CHAPTERS.iter().find(|chapter| chapter.command == path)
}

/// Variables that configure a broker, with the meaning of their keys.
pub(crate) fn broker_variables() -> Vec<(String, String)> {
    let file = ("FANAL_CONFIG".to_owned(), "Configuration file, as --config.".to_owned());
    let is_new = |(name, _): &(String, String)| !VARIABLES.iter().any(|(known, _)| known == name);
    std::iter::once(file).chain(config::documented_variables()).filter(is_new).collect()
}

/// Adds notes and examples to the parser's definition.
pub(crate) fn complete(command: Command) -> Command {
    let listed = groups(&command);
    let command = with_chapter(command, "");
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{listed}{HEADING}Options:{HEADING:#}\n{{options}}{{after-help}}"
    ))
}

fn with_chapter(mut command: Command, path: &str) -> Command {
    let below: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    for name in below {
        let path = format!("{path} {name}");
        command = command.mut_subcommand(name, |below| with_chapter(below, path.trim_start()));
    }
    let Some(chapter) = chapter(path) else { return command };
    let mut after = String::new();
    for note in chapter.notes {
        // Writing into a string cannot fail.
        let _ = write!(after, "{note}\n\n");
    }
    after.push_str(&examples(chapter));
    if path.is_empty() {
        after.push_str(&ends());
    }
    command.after_help(after.trim_end().to_owned())
}

fn groups(command: &Command) -> String {
    let mut out = String::new();
    for (group, names) in GROUPS {
        let _ = writeln!(out, "{HEADING}{group}:{HEADING:#}");
        for name in names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about =
                about.map_or_else(|| "Print this, or the help of a command".to_owned(), ToString::to_string);
            let _ = writeln!(out, "  {LITERAL}{name:<13}{LITERAL:#}  {about}");
        }
        out.push('\n');
    }
    out
}

fn examples(chapter: &Chapter) -> String {
    let mut out = String::new();
    if !chapter.examples.is_empty() {
        let _ = writeln!(out, "{HEADING}Examples:{HEADING:#}");
    }
    for (what, lines) in chapter.examples {
        let _ = writeln!(out, "  {what}:");
        for line in lines.lines() {
            let _ = writeln!(out, "    {line}");
        }
    }
    out
}

fn ends() -> String {
    let mut out = format!("\n{HEADING}Exit codes:{HEADING:#}\n");
    for (code, meaning) in EXIT_CODES {
        let _ = writeln!(out, "  {LITERAL}{code}{LITERAL:#}  {meaning}");
    }
    let _ = write!(
        out,
        "\n{HEADING}Durations:{HEADING:#} 250ms 90s 5m 2h 7d. Manual pages: `fanal man publish | man -l -`."
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    fn paths(command: &Command, path: &str, out: &mut Vec<String>) {
        out.push(path.to_owned());
        for below in command.get_subcommands() {
            paths(below, format!("{path} {}", below.get_name()).trim_start(), out);
        }
    }

    #[test]
    fn every_command_has_a_chapter_and_every_chapter_a_command() {
        let mut commands = Vec::new();
        paths(&args::command(), "", &mut commands);
        commands.sort_unstable();
        let mut chapters: Vec<&str> = CHAPTERS.iter().map(|chapter| chapter.command).collect();
        chapters.sort_unstable();
        assert_eq!(chapters, commands);
        for chapter in CHAPTERS {
            for other in chapter.see_also {
                assert!(
                    chapters.contains(other) && *other != chapter.command,
                    "{}: {other}",
                    chapter.command
                );
            }
        }
    }

    #[test]
    fn every_command_stands_in_one_group() {
        let mut listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        listed.sort_unstable();
        let command = args::command();
        let mut commands: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        commands.push("help");
        commands.sort_unstable();
        assert_eq!(listed, commands);
    }

    #[test]
    fn lists_and_examples_fit_a_terminal_of_80_columns() {
        for command in args::command().get_subcommands() {
            let about = command.get_about().unwrap().to_string();
            assert!(about.chars().count() <= 63, "{about}");
        }
        for chapter in CHAPTERS {
            for (what, lines) in chapter.examples {
                for line in lines.lines().chain([*what]) {
                    assert!(line.chars().count() <= 76, "{}: {line}", chapter.command);
                }
            }
        }
    }
}
