//! `fanal-bench match` measures every family with right ids, and says what it measured.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::process::Command;

fn run(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_fanal-bench")).arg("match").args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stderr));
    text
}

const SMALL: [&str; 10] =
    ["--subscriptions", "300", "--events", "70", "--check", "10", "--runs", "1", "--watch", "0.02"];

#[test]
fn every_family_has_figures_of_every_engine() {
    let text = run(&[&SMALL[..], &["--json"]].concat());
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [before, cells @ .., after] = &lines[..] else { panic!("too few lines: {text}") };
    for (machine, when) in [(before, "before"), (after, "after")] {
        assert_eq!(machine["when"], when, "{machine}");
        assert!(machine["machine"]["chained_line_ns"].as_f64().unwrap() > 0.0, "{machine}");
    }
    let names = |key: &str| cells.iter().map(|cell| cell[key].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(names("family").concat(), "aabbccddeeff");
    assert_eq!(names("engine"), ["index", "scan"].repeat(6));
    for cell in cells {
        assert_eq!((cell["wrong"].as_u64(), cell["checked"].as_u64()), (Some(0), Some(20)), "{cell}");
        assert!(cell["ended"].is_null(), "{cell}");
        for figure in ["wall_median_us", "wall_p99_us", "load_per_second", "bytes_with_filters"] {
            assert!(cell[figure].as_f64().unwrap() > 0.0, "{figure} of {cell}");
        }
        assert_eq!(cell["known_median_us"].is_null(), cell["family"] != "f", "{cell}");
        let is_index = cell["engine"] == "index";
        assert_eq!(cell["batch_us"].as_f64().is_some_and(|batch| batch > 0.0), is_index, "{cell}");
        assert_eq!(
            cell["beside"]["changes_per_second"].as_f64().is_some_and(|rate| rate > 0.0),
            is_index,
            "{cell}"
        );
    }
    let matches = |family: &str| {
        let cell = cells.iter().find(|cell| cell["family"] == family).unwrap();
        cell["matches_per_event"].as_f64().unwrap()
    };
    assert!(matches("e") > 20.0 && matches("c") > 1.0, "{text}");
}

#[test]
fn tables_can_be_pasted_into_a_paper() {
    let text = run(&[&SMALL[..], &["--family", "e", "--engine", "scan"]].concat());
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| e high match |")).collect();
    assert_eq!(rows.len(), 1, "{text}");
    assert!(rows[0].contains("20 of 20"), "{text}");
    let machine: Vec<&str> = text.lines().filter(|line| line.starts_with("The machine ")).collect();
    assert_eq!(machine.len(), 2, "{text}");
    assert!(machine.iter().all(|line| line.contains(" GB/s in order.")), "{text}");
}
