//! Rows in aligned columns.
//!
//! Invariants:
//! 1. Into a pipe or a file every cell is whole. On a terminal a table is no wider than it, as far as
//!    its texts can be cut; a number is never cut, and what was cut ends with `…`.
//! 2. Columns are measured as a terminal shows them: a wide character takes two places.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Out, clean};
use crate::exit::Outcome;
use crate::{manual, style};

/// Between two columns.
const GAP: usize = 2;
/// No column of text is cut below this.
const TEXT_MIN: usize = 8;

/// Columns of numbers stand right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// How a column is set.
#[derive(Debug, Clone, Copy)]
struct Column {
    width: usize,
    is_number: bool,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(header: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Table { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row; cells that are missing are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let mut row: Vec<String> = cells.into_iter().map(|cell| clean(&cell.into()).into_owned()).collect();
        row.resize(self.header.len(), String::new());
        self.rows.push(row);
    }

    /// Prints it: cut to the width of the terminal that standard output is, or whole.
    pub(crate) fn print(&self, out: &mut Out) -> Outcome {
        let [heading, plain] = style::marks(&std::io::stdout(), manual::HEADING);
        for (index, line) in self.lines(style::stdout_columns()).into_iter().enumerate() {
            match index {
                0 => out.line(format_args!("{heading}{line}{plain}"))?,
                _ => out.line(format_args!("{line}"))?,
            }
        }
        Ok(())
    }

    /// The lines, header first, within `columns` places if that is given.
    pub(crate) fn lines(&self, columns: Option<usize>) -> Vec<String> {
        let mut set = self.columns();
        if let Some(max) = columns {
            fit(&mut set, max);
        }
        self.all().map(|row| line(row, &set)).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.header).chain(&self.rows)
    }

    fn columns(&self) -> Vec<Column> {
        let column = |index: usize| Column {
            width: self.all().map(|row| row[index].width()).max().unwrap_or(0),
            is_number: self.is_number(index),
        };
        (0..self.header.len()).map(column).collect()
    }

    fn is_number(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().map(|row| row[column].as_str()).filter(|cell| !cell.is_empty());
        let number = |cell: &str| cell == "-" || cell.replace([',', '.'], "").parse::<u64>().is_ok();
        !self.rows.is_empty() && cells.all(number)
    }
}

/// Takes places from the widest text until all fit, or no text can give any more.
fn fit(columns: &mut [Column], max: usize) {
    let gaps = GAP * columns.len().saturating_sub(1);
    let mut total = gaps + columns.iter().map(|column| column.width).sum::<usize>();
    while total > max {
        let texts = columns.iter_mut().filter(|column| !column.is_number && column.width > TEXT_MIN);
        let Some(widest) = texts.max_by_key(|column| column.width) else { return };
        widest.width -= 1;
        total -= 1;
    }
}

fn line(row: &[String], columns: &[Column]) -> String {
    let mut out = String::new();
    for (index, (cell, column)) in row.iter().zip(columns).enumerate() {
        if index > 0 {
            out.push_str("  ");
        }
        let (cell, width) = cut(cell, column.width);
        let fill = " ".repeat(column.width - width);
        match column.is_number {
            true => out.extend([fill.as_str(), cell.as_str()]),
            false => out.extend([cell.as_str(), fill.as_str()]),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// The cell and its width, at most `max`.
fn cut(cell: &str, max: usize) -> (String, usize) {
    let width = cell.width();
    if width <= max {
        return (cell.to_owned(), width);
    }
    let (mut out, mut width) = (String::new(), 0);
    for c in cell.chars() {
        let wide = c.width().unwrap_or(0);
        if width + wide + 1 > max {
            break;
        }
        out.push(c);
        width += wide;
    }
    out.push('…');
    (out, width + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["NAME", "EVENTS", "FILTER"]);
        table.row(["late", "1,204", "flights/JFK/+"]);
        table.row(["航班延误", "7", "flights/very/long/filter/of/many/levels/#"]);
        table
    }

    #[test]
    fn columns_are_aligned_as_a_terminal_shows_them() {
        assert_eq!(
            table().lines(None),
            [
                "NAME      EVENTS  FILTER",
                "late       1,204  flights/JFK/+",
                "航班延误       7  flights/very/long/filter/of/many/levels/#",
            ]
        );
    }

    #[test]
    fn texts_are_cut_to_a_narrow_terminal_and_numbers_are_not() {
        let lines = table().lines(Some(40));
        assert_eq!(lines[2], "航班延误       7  flights/very/long/fil…");
        assert!(lines.iter().all(|line| line.width() <= 40), "{lines:?}");
        let lines = table().lines(Some(10));
        assert_eq!(lines[1], "late       1,204  flights…");
        assert_eq!(table().lines(Some(200)), table().lines(None));
    }

    #[test]
    fn a_wide_character_is_not_cut_in_half() {
        assert_eq!(cut("航班延误", 6), ("航班…".to_owned(), 5));
        assert_eq!(cut("航班延误", 8), ("航班延误".to_owned(), 8));
    }
}
