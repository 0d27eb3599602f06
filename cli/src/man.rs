//! `fanal man` and `fanal completions`: the parser's definition as man pages and scripts.
//!
//! Invariants:
//! 1. One page a command, named as the files of `man` are: `fanal-publish.1`.
//! 2. A page has every flag of its command; words beyond the flags are those of [`crate::manual`].

use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use roff::{Roff, bold, italic, roman};

use crate::args;
use crate::exit::{Failure, Outcome};
use crate::manual::{self, Chapter};
use crate::output::Out;

/// Section of commands.
const SECTION: &str = "1";

/// Prints the script of a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "fanal", &mut script);
    let mut out = Out::lock();
    out.bytes(&script)?;
    out.flush()
}

/// Prints the page of a command, or writes it and all below it to a directory.
pub(crate) fn run(of: &[String], dir: Option<&Path>, json: bool) -> Outcome {
    let mut root = args::command();
    root.build();
    let (command, path) = find(&root, of)?;
    let mut out = Out::lock();
    match dir {
        None => out.bytes(&page(command, &path)?)?,
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|error| {
                Failure::io(format_args!("cannot make the directory {}", dir.display()), &error)
            })?;
            let mut written = Vec::new();
            write_all(command, &path, dir, &mut written)?;
            match json {
                true => out.json(&serde_json::json!({ "written": written }))?,
                false => written.iter().try_for_each(|file| out.line(format_args!("{file}")))?,
            }
        }
    }
    out.flush()
}

/// The command of a path, given as words or with dashes as the pages are named.
fn find<'a>(root: &'a Command, words: &[String]) -> Outcome<(&'a Command, String)> {
    let mut wanted = words.join("-");
    if let Some(rest) = wanted.strip_prefix("fanal") {
        wanted = rest.trim_start_matches('-').to_owned();
    }
    let (mut command, mut path) = (root, String::new());
    while !wanted.is_empty() {
        let below = visible(command).find(|below| {
            wanted.strip_prefix(below.get_name()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        });
        let Some(below) = below else {
            let names: Vec<&str> = visible(command).map(Command::get_name).collect();
            let hint = match names.is_empty() {
                true => format!("`{}` has no commands below it", path.trim()),
                false => format!("the commands are {}", names.join(", ")),
            };
            return Err(Failure::usage(format!("there is no command `{wanted}`: {hint}")));
        };
        wanted = wanted[below.get_name().len()..].trim_start_matches('-').to_owned();
        path = format!("{path} {}", below.get_name()).trim_start().to_owned();
        command = below;
    }
    Ok((command, path))
}

/// What is below a command; clap's own `help` needs no page.
fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|below| below.get_name() != "help")
}

fn write_all(command: &Command, path: &str, dir: &Path, written: &mut Vec<String>) -> Outcome {
    let file = dir.join(format!("{}.{SECTION}", title(path)));
    std::fs::write(&file, page(command, path)?)
        .map_err(|error| Failure::io(format_args!("cannot write {}", file.display()), &error))?;
    written.push(file.display().to_string());
    visible(command).try_for_each(|below| {
        write_all(below, format!("{path} {}", below.get_name()).trim_start(), dir, written)
    })
}

fn title(path: &str) -> String {
    format!("fanal {path}").trim_end().replace(' ', "-")
}

fn page(command: &Command, path: &str) -> Outcome<Vec<u8>> {
    let chapter =
        manual::chapter(path).ok_or_else(|| Failure::failed(format!("`{path}` has no manual page")))?;
    let mut page = Vec::new();
    let written = set(command, path, chapter, &mut page);
    written.map(|()| page).map_err(|error| Failure::failed(format!("cannot set the manual page: {error}")))
}

fn set(command: &Command, path: &str, chapter: &Chapter, page: &mut Vec<u8>) -> std::io::Result<()> {
    let mut shown = command.clone();
    if command.find_subcommand("help").is_some() {
        shown = shown.mut_subcommand("help", |help| help.hide(true));
    }
    // No date: the page is that of a version. The builder would leave the empty word out.
    let name = title(path).to_uppercase();
    let version = env!("CARGO_PKG_VERSION");
    page.extend(format!(".TH \"{name}\" \"{SECTION}\" \"\" \"fanal {version}\" \"Fanal\"\n").bytes());
    let usage = shown.render_usage().to_string();
    let man = Man::new(shown);
    man.render_name_section(page)?;
    let mut roff = Roff::new();
    let usage = usage.trim_start_matches("Usage: ").trim();
    roff.control("SH", ["SYNOPSIS"]).text([bold("fanal"), roman(usage.trim_start_matches("fanal"))]);
    page.extend(roff.to_roff().bytes());
    man.render_description_section(page)?;
    let mut roff = Roff::new();
    for note in chapter.notes {
        roff.control("PP", []).text([roman(*note)]);
    }
    page.extend(roff.to_roff().bytes());
    man.render_options_section(page)?;
    if visible(command).next().is_some() {
        man.render_subcommands_section(page)?;
    }
    let mut roff = Roff::new();
    exit_status(&mut roff);
    environment(&mut roff, path);
    list(&mut roff, "FILES", manual::FILES);
    examples(&mut roff, chapter);
    see_also(&mut roff, path, chapter);
    page.extend(roff.to_roff().bytes());
    Ok(())
}

fn exit_status(roff: &mut Roff) {
    let codes = manual::EXIT_CODES.map(|(code, meaning)| (code.to_string(), meaning));
    list(roff, "EXIT STATUS", codes);
}

fn environment(roff: &mut Roff, path: &str) {
    list(roff, "ENVIRONMENT", manual::VARIABLES);
    if matches!(path, "serve" | "check-config") {
        items(roff, manual::broker_variables());
    }
}

fn list(roff: &mut Roff, heading: &str, pairs: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>) {
    roff.control("SH", [heading]);
    items(roff, pairs);
}

fn items(roff: &mut Roff, pairs: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>) {
    for (name, meaning) in pairs {
        roff.control("TP", []).text([bold(name.as_ref())]).text([roman(meaning.as_ref())]);
    }
}

fn examples(roff: &mut Roff, chapter: &Chapter) {
    if chapter.examples.is_empty() {
        return;
    }
    roff.control("SH", ["EXAMPLES"]);
    for (index, (what, lines)) in chapter.examples.iter().enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(format!("{what}:"))]);
        roff.control("PP", []).control("RS", ["4"]).control("nf", []);
        for line in lines.lines() {
            roff.text([bold(line)]);
        }
        roff.control("fi", []).control("RE", []);
    }
}

fn see_also(roff: &mut Roff, path: &str, chapter: &Chapter) {
    let above = path.rsplit_once(' ').map_or("", |(above, _)| above);
    let own = chapter.see_also.iter().copied().filter(|other| *other != above);
    let mut pages: Vec<String> = own.map(title).collect();
    pages.insert(0, title(above));
    if path.is_empty() {
        let of_its_own = manual::CHAPTERS.iter().filter(|chapter| !chapter.command.is_empty());
        pages = of_its_own.map(|chapter| title(chapter.command)).collect();
    }
    roff.control("SH", ["SEE ALSO"]);
    let mut words = Vec::new();
    for (index, page) in pages.iter().enumerate() {
        let end = if index + 1 < pages.len() { "), " } else { ")" };
        words.extend([italic(page.as_str()), roman(format!("({SECTION}{end}"))]);
    }
    roff.text(words);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(command: &Command, path: &str, check: &mut impl FnMut(&Command, &str)) {
        check(command, path);
        for below in visible(command) {
            each(below, format!("{path} {}", below.get_name()).trim_start(), check);
        }
    }

    #[test]
    fn pages_have_every_flag_of_the_parser_and_every_section() {
        let mut root = args::command();
        root.build();
        let mut count = 0;
        each(&root, "", &mut |command, path| {
            let text = String::from_utf8(page(command, path).unwrap()).unwrap();
            for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
                let flag = format!("\\-\\-{}", flag.replace('-', "\\-"));
                assert!(text.contains(&flag), "{path}: {flag} in\n{text}");
            }
            for section in
                ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"]
            {
                assert!(
                    text.lines().any(|line| line.trim_start_matches(".SH ").trim_matches('"') == section),
                    "{path}: {section}"
                );
            }
            count += 1;
        });
        assert_eq!(count, manual::CHAPTERS.len());
    }

    #[test]
    fn a_page_is_found_by_words_and_by_its_name() {
        let mut root = args::command();
        root.build();
        let found = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            find(&root, &words).map(|(_, path)| path).map_err(|failure| failure.message)
        };
        assert_eq!(found(&[]).unwrap(), "");
        for words in [&["check-config"][..], &["fanal-check-config"], &["fanal", "check-config"]] {
            assert_eq!(found(words).unwrap(), "check-config");
        }
        for words in [&["subscriptions", "update"][..], &["subscriptions-update"]] {
            assert_eq!(found(words).unwrap(), "subscriptions update");
        }
        assert!(found(&["publsh"]).unwrap_err().contains("publish"));
        assert!(found(&["demo", "x"]).unwrap_err().contains("no commands below"));
    }
}
