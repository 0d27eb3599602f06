//! `fanal`: the one binary of Fanal.
//!
//! A command goes: [`args`] (what is asked) → one module per command → [`output`] (stdout) and
//! [`exit`] (exit code and message). Commands that talk to a broker do so through [`session`];
//! `serve` and `demo` hold brokers themselves. Everything ends through [`stop`].

mod args;
mod attribute;
mod bench;
mod config;
mod dead_letters;
mod delivery;
mod demo;
mod duration;
mod exit;
mod filter;
mod lines;
mod man;
mod manual;
mod ndjson;
mod output;
mod pages;
mod publish;
mod serve;
mod session;
mod stop;
mod store;
mod style;
mod subscribe;

use std::process::ExitCode;
use std::time::Duration;

use clap::FromArgMatches;

use args::{Args, Command, Global};
use exit::{Failure, Outcome};
use stop::Stop;

fn main() -> ExitCode {
    let asked = style::Asked::read(std::env::args_os());
    style::apply(asked.color);
    let parsed = args::command().try_get_matches().and_then(|matches| Args::from_arg_matches(&matches));
    let Args { global, command } = match parsed {
        Ok(args) => args,
        Err(error) if asked.json && error.use_stderr() => {
            return exit::finish(&Err(Failure::of_command_line(&error)), true);
        }
        Err(error) => error.exit(),
    };
    if global.json {
        style::apply(args::Color::Never);
    }
    let outcome = match command {
        Command::CheckConfig(args) => serve::check_config(&args, &global),
        Command::Completions { shell } => man::completions(shell),
        Command::Man { of, dir } => man::run(&of, dir.as_deref(), global.json),
        command => run(command, &global),
    };
    exit::finish(&outcome, global.json)
}

fn run(command: Command, global: &Global) -> Outcome {
    let is_broker = matches!(command, Command::Serve(_));
    // The demo stops a broker on purpose and tells so itself.
    let level = match command {
        Command::Serve(_) => "info",
        Command::Demo => "error",
        _ => "warn",
    };
    init_logs(level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
    let outcome = runtime.block_on(async {
        let grace = if is_broker { stop::GRACE_BROKER } else { stop::GRACE };
        let stop = Stop::listen(global, grace)
            .map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))?;
        dispatch(command, global, &stop).await
    });
    // Threads that still wait for a pipe must not hold the end up.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

async fn dispatch(command: Command, global: &Global, stop: &Stop) -> Outcome {
    let name = command.name();
    match command {
        Command::Serve(args) => serve::run(&args, global, stop).await,
        Command::Demo => stop.guard(demo::run(global)).await,
        Command::Publish(args) => publish::run(args, global, stop).await,
        Command::Subscribe(args) => subscribe::run(args, global, stop).await,
        Command::Filter { action } => stop.guard(filter::run(action, global.json)).await,
        Command::Store { action } => stop.guard(store::run(action, global)).await,
        Command::Subscriptions { action: Some(action) } => stop.guard(pages::act(action, global)).await,
        Command::Status
        | Command::Peers
        | Command::Sessions
        | Command::Subscriptions { action: None }
        | Command::Mailboxes => stop.guard(pages::run(name, global)).await,
        Command::DeadLetters { action } => stop.guard(dead_letters::run(action, global)).await,
        Command::Bench(args) => bench::run(&args, global, stop).await,
        // Needs no runtime: `main` has done it.
        Command::CheckConfig(_) | Command::Completions { .. } | Command::Man { .. } => Ok(()),
    }
}

/// Logs to stderr; `FANAL_LOG` takes what tracing's env filter takes.
fn init_logs(default: &str) -> Outcome {
    let wanted = std::env::var("FANAL_LOG").unwrap_or_else(|_| default.to_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(&wanted).map_err(|error| {
        Failure::usage(format!("FANAL_LOG=`{wanted}` is not a log filter: {error}; write a level such as info or debug, or fanal_broker=debug"))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(style::is_on(&std::io::stderr()))
        .init();
    Ok(())
}
