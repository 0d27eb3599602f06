//! Colours and the width of a terminal.
//!
//! Invariants:
//! 1. Colours go to a stream only if it is a terminal, or if `--color always` or CLICOLOR_FORCE asks
//!    for them; NO_COLOR and TERM=dumb take them away, `--color` overrides both. Never with `--json`.
//! 2. What is told is told without colours too.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::Style;
use clap::ValueEnum;

use crate::args::Color;

/// What decides how the parser itself speaks, found before anything is parsed.
pub(crate) struct Asked {
    pub(crate) color: Color,
    pub(crate) json: bool,
}

impl Asked {
    /// Looks for `--color` and `--json`; what is wrong with them the parser tells.
    pub(crate) fn read(words: impl IntoIterator<Item = OsString>) -> Self {
        let mut asked = Asked { color: Color::Auto, json: false };
        let mut words = words.into_iter().skip(1).take_while(|word| word != "--");
        while let Some(word) = words.next() {
            let Some(word) = word.to_str() else { continue };
            match word.split_once('=') {
                Some(("--color", value)) => asked.color = color(OsStr::new(value)),
                None if word == "--color" => {
                    asked.color = words.next().map_or(Color::Auto, |value| color(&value))
                }
                None if word == "--json" => asked.json = true,
                _ => {}
            }
        }
        asked
    }
}

fn color(value: &OsStr) -> Color {
    value.to_str().and_then(|text| Color::from_str(text, false).ok()).unwrap_or(Color::Auto)
}

/// Makes this process, the parser's own output included, use colours so.
pub(crate) fn apply(color: Color) {
    match color {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    }
    .write_global();
}

/// Whether colours go to a stream.
pub(crate) fn is_on(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// What begins and ends a style on a stream; nothing where it has no colours.
pub(crate) fn marks(stream: &impl RawStream, style: Style) -> [String; 2] {
    if is_on(stream) {
        [style.render().to_string(), style.render_reset().to_string()]
    } else {
        Default::default()
    }
}

/// Columns of the terminal that standard output is, if it is one.
pub(crate) fn stdout_columns() -> Option<usize> {
    columns(&std::io::stdout())
}

/// Columns of the terminal that standard error is, if it is one.
pub(crate) fn stderr_columns() -> Option<usize> {
    columns(&std::io::stderr())
}

fn columns(stream: &(impl IsTerminal + std::os::fd::AsFd)) -> Option<usize> {
    let is_terminal = stream.is_terminal();
    let (width, _) = terminal_size::terminal_size_of(stream).filter(|_| is_terminal)?;
    Some(usize::from(width.0))
}

/// Whether progress may be drawn over itself on standard error.
pub(crate) fn can_redraw_stderr() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> (Color, bool) {
        let asked = Asked::read(std::iter::once("fanal").chain(words.iter().copied()).map(OsString::from));
        (asked.color, asked.json)
    }

    #[test]
    fn colours_and_json_are_found_before_parsing() {
        assert_eq!(asked(&["status"]), (Color::Auto, false));
        assert_eq!(asked(&["--color=never", "status", "--json"]), (Color::Never, true));
        assert_eq!(asked(&["status", "--color", "always"]), (Color::Always, false));
        assert_eq!(asked(&["publish", "t", "--", "--json", "--color=never"]), (Color::Auto, false));
        assert_eq!(asked(&["status", "--color"]), (Color::Auto, false));
        assert_eq!(asked(&["status", "--color=pink"]), (Color::Auto, false));
    }
}
