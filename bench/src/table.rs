//! Runs cells interleaved and prints the median run of each.

use std::path::Path;

use serde_json::json;

use crate::child::Outcome;
use crate::load::{self, Cell, Figures};

/// Measures every cell `runs` times in turn, so that the machine's drift hits all alike.
pub(crate) async fn run(
    fanal: &Path,
    cells: &[Cell],
    seconds: f64,
    runs: usize,
    as_json: bool,
) -> Outcome<()> {
    let mut measured: Vec<Vec<Figures>> = vec![Vec::new(); cells.len()];
    for _ in 0..runs {
        for (cell, figures) in cells.iter().zip(&mut measured) {
            figures.push(load::run(fanal, *cell, seconds).await?);
        }
    }
    if !as_json {
        println!(
            "{:<12} {:>4} {:>6} {:>12} {:>9} {:>9} {:>9} {:>10} {:>6} {:>8}",
            "class", "1→n", "bytes", "copies/s", "MB/s", "p50 µs", "p99 µs", "CPU µs/ev", "CPU", "RSS MiB"
        );
    }
    for (cell, figures) in cells.iter().zip(&mut measured) {
        figures.sort_by(|a, b| a.copies_per_second.total_cmp(&b.copies_per_second));
        print(cell, &figures[figures.len() / 2], as_json);
    }
    Ok(())
}

fn print(cell: &Cell, figures: &Figures, as_json: bool) {
    if as_json {
        let row = json!({
            "class": cell.class.name(),
            "subscribers": cell.subscribers,
            "bytes": cell.size,
            "window": cell.window,
            "events": figures.events,
            "copies_per_second": figures.copies_per_second,
            "bytes_per_second": figures.bytes_per_second,
            "p50_us": figures.p50_us,
            "p99_us": figures.p99_us,
            "broker_cpu_us_per_event": figures.broker_cpu_us_per_event,
            "broker_cpu_share": figures.broker_cpu_share,
            "resident_mib": figures.resident_mib,
        });
        println!("{row}");
        return;
    }
    println!(
        "{:<12} {:>4} {:>6} {:>12.0} {:>9.1} {:>9} {:>9} {:>10.2} {:>5.0}% {:>8.1}",
        cell.class.name(),
        cell.subscribers,
        cell.size,
        figures.copies_per_second,
        figures.bytes_per_second / 1e6,
        figures.p50_us,
        figures.p99_us,
        figures.broker_cpu_us_per_event,
        figures.broker_cpu_share * 100.0,
        figures.resident_mib
    );
}
