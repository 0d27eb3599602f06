//! `fanal dead-letters`: what left its mailbox without its destination.
//!
//! Invariants: `list` and `show` change nothing; `drop` does nothing without `--yes`.

use fanal_client::{Client, DeadLetters};

use crate::args::{Chosen, DeadLettersAction, Global, Output, Which};
use crate::delivery;
use crate::exit::{Failure, Outcome};
use crate::output::{Out, grouped};
use crate::{pages, session};

/// Runs the command.
pub(crate) async fn run(action: Option<DeadLettersAction>, global: &Global) -> Outcome {
    let action = action.unwrap_or(DeadLettersAction::List);
    if let DeadLettersAction::List = action {
        return pages::run("dead-letters", global).await;
    }
    if let DeadLettersAction::Drop { yes: false, .. } = action {
        return Err(Failure::usage("dropped dead letters cannot be brought back: add --yes to drop them"));
    }
    let client = session::connect(global, "dead-letters").await?;
    let done = match action {
        DeadLettersAction::List => Ok(()),
        DeadLettersAction::Show { which, count, output } => {
            let form = if global.json { Output::Json } else { output };
            show(&client, &which, count, form).await
        }
        DeadLettersAction::Requeue(Chosen { which, .. }) => {
            let done = client.requeue_dead_letters(chosen(&which)).await;
            tell("requeued", done.map_err(session::failure)?, global)
        }
        DeadLettersAction::Drop { chosen: Chosen { which, .. }, .. } => {
            let done = client.drop_dead_letters(chosen(&which)).await;
            tell("dropped", done.map_err(session::failure)?, global)
        }
    };
    let _ = client.close().await;
    done
}

fn chosen(which: &Which) -> DeadLetters {
    let mut chosen = DeadLetters::all();
    if let Some(name) = &which.subscription {
        chosen = chosen.subscription(name);
    }
    if let Some(client) = &which.client {
        chosen = chosen.principal(client);
    }
    if let Some(name) = &which.peer {
        chosen = chosen.peer(name);
    }
    if let Some(reason) = &which.reason {
        chosen = chosen.reason(reason);
    }
    which.numbers.iter().fold(chosen, |chosen, &(first, last)| chosen.numbers(first..=last))
}

async fn show(client: &Client, which: &Which, count: Option<u64>, form: Output) -> Outcome {
    let mut letters = client.dead_letters(chosen(which));
    let mut out = Out::lock();
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0
        && let Some(letter) = letters.next().await.map_err(session::failure)?
    {
        delivery::write_dead(&mut out, form, &letter)?;
        left -= 1;
    }
    out.flush()
}

fn tell(verb: &str, events: u64, global: &Global) -> Outcome {
    let mut out = Out::lock();
    match global.json {
        true => out.json(&serde_json::json!({ verb: events }))?,
        false => out.line(format_args!("{verb} {} dead letters", grouped(events)))?,
    }
    out.flush()
}
