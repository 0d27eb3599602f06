//! Figures as tables that can be pasted into a paper (Markdown), a row as soon as it is known.

use std::fmt::Write;

use super::figures::Figures;
use super::hostile::Cost;
use super::targets::Judged;

/// Columns of the main table: head and width.
const COLUMNS: [(&str, usize); 15] = [
    ("family", 12),
    ("subscriptions", 13),
    ("engine", 8),
    ("matches", 9),
    ("median µs", 10),
    ("p99 µs", 10),
    ("wall median", 11),
    ("wall p99", 10),
    ("changed", 10),
    ("insert µs", 9),
    ("remove µs", 9),
    ("load/s", 10),
    ("bytes", 7),
    ("own bytes", 9),
    ("ids equal", 11),
];

/// Head of the main table.
pub(super) fn head() -> String {
    let heads: Vec<String> = COLUMNS.iter().map(|(head, _)| (*head).to_owned()).collect();
    let rule: Vec<String> = COLUMNS.iter().map(|(_, width)| "-".repeat(*width)).collect();
    format!("{}\n{}", line(&heads), line(&rule))
}

/// One row of the main table.
pub(super) fn row(title: &str, figures: &Figures) -> String {
    let Figures { checked, wrong, .. } = figures;
    let equal = match &figures.ended {
        _ if *wrong > 0 => format!("WRONG {wrong}"),
        _ => format!("{} of {checked}", checked - wrong),
    };
    let times = [
        figures.median_us,
        figures.p99_us,
        figures.wall_median_us,
        figures.wall_p99_us,
        figures.changed_median_us,
        figures.insert_us,
        figures.remove_us,
    ];
    let mut cells = vec![
        title.to_owned(),
        thousands(f64::from(figures.subscriptions)),
        figures.engine.clone(),
        number(Some(figures.matches_per_event)),
    ];
    cells.extend(times.map(number));
    cells.push(figures.load_per_second.map_or_else(dash, thousands));
    cells.push(number(figures.bytes_per_subscription));
    cells.push(number(figures.bytes_own));
    cells.push(equal);
    let mut text = line(&cells);
    if let Some(ended) = &figures.ended {
        let _ = write!(text, " {ended}");
    }
    text
}

/// What is less often asked, as a table of its own; cells that did not come so far are left out.
pub(super) fn further(cells: &[Figures]) -> String {
    let columns = [
        "family",
        "subscriptions",
        "engine",
        "known topic median",
        "p99",
        "batch of 64",
        "slices median",
        "bytes with filters",
        "longest insert",
        "longest remove",
        "match alone 99.9 %",
        "longest",
        "changes/s beside",
        "match 99.9 %",
        "longest",
    ];
    let mut text = format!("| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
    for figures in cells.iter().filter(|figures| figures.insert_us.is_some()) {
        let beside = figures.beside.as_ref();
        let numbers = [
            figures.known_median_us,
            figures.known_p99_us,
            figures.batch_us,
            figures.slices_median_us,
            figures.bytes_with_filters,
            figures.insert_longest_us,
            figures.remove_longest_us,
            beside.map(|beside| beside.alone.p999_us),
            beside.map(|beside| beside.alone.longest_us),
            beside.map(|beside| beside.changes_per_second),
            beside.map(|beside| beside.with_writer.p999_us),
            beside.map(|beside| beside.with_writer.longest_us),
        ];
        let (family, engine) = (&figures.family, &figures.engine);
        let subscriptions = thousands(f64::from(figures.subscriptions));
        let numbers = numbers.map(number).join(" | ");
        let _ = write!(text, "\n| {family} | {subscriptions} | {engine} | {numbers} |");
    }
    text
}

/// Targets, figures, and whether they are met.
pub(super) fn judged(all: &[Judged]) -> String {
    let mut text = String::from("| family | target | asked | measured | |\n|---|---|---|---|---|");
    for one in all {
        let verdict = if one.is_met() { "met" } else { "NOT MET" };
        let (target, figure) = (number(Some(one.target)), number(Some(one.figure)));
        let _ = write!(text, "\n| {} | {} | {target} | {figure} | {verdict} |", one.family, one.what);
    }
    text
}

/// What hostile filters cost.
pub(super) fn hostile(all: &[Cost]) -> String {
    let mut text = String::from(
        "| filters | how many | bytes of text | longest insert µs | median µs before | with them | they add | \
         evaluated one by one | matches |\n|---|---|---|---|---|---|---|---|---|",
    );
    for cost in all {
        let (count, bytes) = (thousands(cost.count as f64), thousands(cost.text_bytes as f64));
        let added = cost.with_us - cost.before_us;
        let numbers =
            [cost.insert_us, cost.before_us, cost.with_us, added, cost.plain_us, cost.matches_per_event];
        let numbers = numbers.map(|value| number(Some(value))).join(" | ");
        let _ = write!(text, "\n| {} | {count} | {bytes} | {numbers} |", cost.name);
    }
    text
}

fn line(cells: &[String]) -> String {
    let mut text = String::from("|");
    for (cell, (_, width)) in cells.iter().zip(COLUMNS) {
        let _ = match text.len() {
            1 => write!(text, " {cell:<width$} |"),
            _ => write!(text, " {cell:>width$} |"),
        };
    }
    text
}

fn dash() -> String {
    "–".to_owned()
}

/// Three digits where they say something: `0.42`, `17.3`, `1,234`.
fn number(value: Option<f64>) -> String {
    match value {
        None => dash(),
        Some(value) if value.abs() < 10.0 => format!("{value:.2}"),
        Some(value) if value.abs() < 100.0 => format!("{value:.1}"),
        Some(value) => thousands(value),
    }
}

/// Rounded, with commas.
fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value <= -0.5 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_commas() {
        let shown = [0.0, 9.994, 42.06, 999.6, 1_234_567.0, -1_500.0].map(|value| number(Some(value)));
        assert_eq!(shown, ["0.00", "9.99", "42.1", "1,000", "1,234,567", "-1,500"]);
    }

    #[test]
    fn rows_have_the_columns_of_the_head() {
        let figures = Figures { engine: "scan".to_owned(), checked: 3, ..Figures::default() };
        let row = row("a orders", &figures);
        let head = head();
        let columns = |text: &str| text.matches('|').count();
        assert!(head.lines().all(|line| columns(line) == columns(&row)), "{head}\n{row}");
        assert!(row.contains("3 of 3"), "{row}");
        let wrong = Figures { checked: 3, wrong: 1, ..Figures::default() };
        assert!(super::row("a", &wrong).contains("WRONG 1"));
    }
}
