//! What the parser takes and refuses.

use clap::Parser;

use super::*;

fn publish(args: &[&str]) -> Result<Publish, clap::Error> {
    let all = ["fanal", "publish"].iter().chain(args);
    match Args::try_parse_from(all)?.command {
        Command::Publish(publish) => Ok(publish),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Args::command().debug_assert();
}

#[test]
fn ndjson_takes_a_file_or_standard_input() {
    let file = publish(&["--ndjson", "f.ndjson", "--topic", "a/{b}"]).unwrap();
    assert_eq!(file.ndjson, Some("f.ndjson".into()));
    let stdin = publish(&["--ndjson", "--topic", "a/{b}"]).unwrap();
    assert_eq!(stdin.ndjson, Some("-".into()));
    assert!(publish(&["--ndjson", "f"]).is_err(), "needs --topic");
    assert!(publish(&["t", "--ndjson", "f", "--topic", "x"]).is_err(), "two topics");
    assert!(publish(&["t", "--topic", "x"]).is_err(), "two topics");
}

#[test]
fn one_source_for_the_payload() {
    assert!(publish(&["t", "p"]).is_ok());
    assert!(publish(&["t", "--stdin"]).is_ok());
    assert!(publish(&["t", "p", "--stdin"]).is_err());
    assert!(publish(&["t", "p", "--file", "f"]).is_err());
    assert!(publish(&["t", "--stdin", "--file", "f"]).is_err());
    assert!(publish(&[]).is_err());
}

#[test]
fn negative_payloads_and_values_need_no_tricks() {
    let args = publish(&["t", "-a", "delay=-5"]).unwrap();
    assert_eq!(args.attributes.len(), 1);
}

#[test]
fn an_unknown_flag_gets_a_suggestion_and_exit_code_2() {
    let error = Args::try_parse_from(["fanal", "subscribe", "a", "--durabel", "x"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("--durable"), "{error}");
}

#[test]
fn global_flags_stand_before_or_after_the_command() {
    for args in [["fanal", "--json", "status"], ["fanal", "status", "--json"]] {
        assert!(Args::try_parse_from(args).unwrap().global.json);
    }
}
