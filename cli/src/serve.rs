//! `fanal serve` and `fanal check-config`: a broker from its configuration.
//!
//! Invariant: exactly one line goes to stdout, when the broker is ready; everything else is log.

use fanal_broker::Broker;

use crate::args::{CheckConfig, ConfigArgs, Global, Serve};
use crate::config::{self, Loaded, Surroundings};
use crate::exit::{Failure, Outcome};
use crate::output::{Out, Table, note};
use crate::stop::Stop;

fn load(args: &ConfigArgs, global: &Global) -> Outcome<Loaded> {
    let surroundings = Surroundings::read();
    let loaded = config::load(args, global.data.as_deref(), &surroundings)
        .map_err(|problems| Failure::usage(format!("configuration: {problems}")))?;
    Ok(loaded)
}

/// Runs a broker until a signal, the end of `--timeout`, or the broker stopping by itself.
pub(crate) async fn run(args: &Serve, global: &Global, stop: &Stop) -> Outcome {
    let loaded = load(&args.config, global)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let broker = tokio::select! {
        started = Broker::start(loaded.config) => started.map_err(Failure::failed)?,
        reason = stop.reason() => return reason.into_outcome(),
    };
    // That nobody reads the line is no reason not to serve.
    let _ = print_ready(&broker, global.json);
    let outcome = tokio::select! {
        reason = stop.reason() => reason.into_outcome(),
        reason = broker.stopped() => Err(Failure::failed(format!("the broker stopped: {reason}"))),
    };
    broker.shutdown().await;
    outcome
}

fn print_ready(broker: &Broker, json: bool) -> Outcome {
    let mut out = Out::lock();
    let (name, listen, admin) = (broker.name(), broker.listen_addr(), broker.admin_addr());
    if json {
        out.json(&serde_json::json!({ "ready": true, "name": name, "listen": listen, "admin": admin }))?;
    } else {
        out.line(format_args!("ready name={name} listen={listen} admin={admin}"))?;
    }
    out.flush()
}

/// Explains the configuration that `serve` would run with, or prints the default file.
pub(crate) fn check_config(args: &CheckConfig, global: &Global) -> Outcome {
    let mut out = Out::lock();
    if args.defaults {
        match global.json {
            true => out.json(&serde_json::json!({ "keys": config::described() }))?,
            false => out.bytes(config::default_file().as_bytes())?,
        }
        return out.flush();
    }
    let loaded = load(&args.config, global)?;
    if global.json {
        out.json(
            &serde_json::json!({ "ok": true, "values": loaded.explained, "warnings": loaded.warnings }),
        )?;
        return out.flush();
    }
    for warning in &loaded.warnings {
        note(format_args!("fanal: warning: {warning}"));
    }
    let mut table = Table::new(["KEY", "VALUE", "FROM"]);
    for value in loaded.explained {
        let shown = value.value_text();
        table.row([value.key, shown, value.from]);
    }
    table.print(&mut out)?;
    out.flush()
}
