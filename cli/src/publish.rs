//! `fanal publish`: one event, or one per line of JSON.
//!
//! Invariants:
//! 1. Every event that was handed over is waited for; the exit code is 4 if one was refused.
//! 2. `--receipts` prints every line from 1, in order, refusals too.
//!
//! Lines go: `input` (a thread reads and parses) → a short queue of batches → `many` (one task sends
//! them and takes receipts in line order) → `receipt` (what is printed). No task per line.

pub(crate) mod input;
mod many;
mod receipt;

use std::io::Read;

use bytes::Bytes;
use fanal_client::{PublishBuilder, PublishError, Receipt};

use crate::args::{Global, Publish};
use crate::exit::{Failure, Outcome};
use crate::ndjson::{LineReader, Template};
use crate::output::Out;
use crate::session;
use crate::stop::Stop;
use input::Input;
use many::Run;
use receipt::{PublishedLine, RefusedLine, code_and_reason, print_receipt};

/// Runs the command.
pub(crate) async fn run(args: Publish, global: &Global, stop: &Stop) -> Outcome {
    match (&args.ndjson, &args.topic, &args.topic_of_one) {
        (Some(file), Some(topic), _) => {
            let template = Template::parse(topic).map_err(Failure::usage)?;
            let reader = LineReader::new(template, args.key.clone());
            let input = Input::open(file)?;
            let client = stop.guard(session::connect(global, "publish")).await?;
            Run::new(&client, &args, global, input.len).all(input, reader, stop).await
        }
        (_, _, Some(topic)) => stop.guard(one(topic, &args, global)).await,
        _ => Err(Failure::usage("a topic is needed: fanal publish TOPIC [PAYLOAD]")),
    }
}

async fn one(topic: &str, args: &Publish, global: &Global) -> Outcome {
    let payload = payload(args).await?;
    let client = session::connect(global, "publish").await?;
    let outcome = single(client.publish(topic), args, payload).await;
    let mut out = Out::lock();
    let printed = match &outcome {
        Ok(receipt) if args.receipts => out.json(&PublishedLine::new(1, receipt)),
        Ok(receipt) => print_receipt(receipt, global.json, &mut out),
        Err(error) if args.receipts => {
            let (code, reason) = code_and_reason(error);
            out.json(&RefusedLine::new(1, args.id.as_deref(), code, &reason))
        }
        Err(_) => Ok(()),
    };
    printed.and_then(|()| out.flush())?;
    let _ = client.close().await;
    outcome.map(drop).map_err(session::failure)
}

async fn single(
    mut publish: PublishBuilder<'_>,
    args: &Publish,
    payload: Bytes,
) -> Result<Receipt, PublishError> {
    publish = options(publish, args).payload(payload);
    for attribute in &args.attributes {
        if let Some(value) = &attribute.value {
            publish = publish.attr(&attribute.name, value.view());
        }
    }
    if let Some(id) = &args.id {
        publish = publish.id(id);
    }
    if let Some(source) = &args.source {
        publish = publish.source(source);
    }
    if let Some(time) = args.time {
        publish = publish.time(time);
    }
    if let Some(key) = &args.key {
        publish = publish.key(key);
    }
    if let Some(content_type) = &args.content_type {
        publish = publish.content_type(content_type);
    }
    publish.await
}

/// What is the same for one event and for many.
fn options<'a>(mut publish: PublishBuilder<'a>, args: &Publish) -> PublishBuilder<'a> {
    if args.best_effort {
        // With a receipt, so that the command ends after the broker has the event.
        publish = publish.best_effort().receipt();
    }
    match args.ttl {
        Some(ttl) => publish.ttl(ttl),
        None => publish,
    }
}

async fn payload(args: &Publish) -> Outcome<Bytes> {
    if let Some(text) = &args.payload {
        return Ok(Bytes::copy_from_slice(text.as_bytes()));
    }
    if let Some(file) = &args.file {
        let bytes = std::fs::read(file).map_err(|error| {
            Failure::io(format_args!("cannot read the payload from {}", file.display()), &error)
        })?;
        return Ok(bytes.into());
    }
    if !args.stdin {
        return Ok(Bytes::new());
    }
    // On a thread, so that signals and --timeout work while it waits.
    let read = tokio::task::spawn_blocking(|| {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    });
    match read.await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(error)) => Err(Failure::io("cannot read the payload from standard input", &error)),
        Err(error) => Err(Failure::failed(error)),
    }
}
