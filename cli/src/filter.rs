//! `fanal filter`: a filter is checked, and tried on events, without a broker.
//!
//! Invariants:
//! 1. What it says is what a broker would do: the same parser and the same evaluation.
//! 2. Exit code 0 only if every event matches; 1 if one does not, or cannot be read; 2 if the filter
//!    is none.
//! 3. An event that cannot be read never stops the ones after it.
//! 4. What has arrived is answered and flushed before more is waited for.

mod event;
mod kit;
mod objects;
mod report;

use std::path::Path;

use fanal_matching::{Filter, FilterError, Selector, Topic, TopicFilter};

use crate::args::{FilterAction, FilterTest};
use crate::exit::{Failure, Outcome, io_reason};
use crate::lines::{Line, Lines};
use crate::output::{Out, clean, grouped, note};
use crate::publish::input::{Input, LINE_BYTES_MAX};
use event::{Event, Payload};
use objects::Objects;
use report::Report;

/// Runs the command on a thread of its own: it may wait for its input.
pub(crate) async fn run(action: FilterAction, json: bool) -> Outcome {
    let FilterAction::Test(args) = action;
    let work = tokio::task::spawn_blocking(move || test(&args, json));
    work.await.unwrap_or_else(|error| Err(Failure::failed(format!("the command broke off: {error}"))))
}

fn test(args: &FilterTest, json: bool) -> Outcome {
    let Some(expression) = &args.expression else { return answer_lines(args.strict) };
    let subject = Subject::read(expression, args)?;
    match &args.event {
        Some(path) => try_on(&subject, path, json),
        None => say_valid(&subject, json),
    }
}

/// Answers the questions of a test kit.
fn answer_lines(strict: bool) -> Outcome {
    let mut lines = Lines::new(std::io::stdin(), LINE_BYTES_MAX);
    let mut out = Out::lock();
    loop {
        let mut answered = Ok(());
        let read = lines.read(|line| {
            let answer = match line {
                Line::Whole(line) => kit::answer(line, strict),
                Line::TooLong => Some(kit::Answer::to_nothing()),
            };
            if let (Some(answer), Ok(())) = (answer, &answered) {
                answered = out.json(&answer);
            }
        });
        answered?;
        out.flush()?;
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(unreadable("standard input", &error)),
        }
    }
}

fn unreadable(name: &str, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot read {name}: {}", io_reason(error)))
}

/// What is tried.
struct Subject {
    filter: Filter,
    /// The whole subscription, where its topics are given too.
    selector: Option<Selector>,
}

impl Subject {
    fn read(expression: &str, args: &FilterTest) -> Outcome<Self> {
        let parsed = if args.strict { Filter::parse_strict(expression) } else { Filter::parse(expression) };
        let filter = parsed.map_err(|error| refused(&error))?;
        let except = args.except.iter().map(|text| topic_filter(text));
        let selector = match &args.filter {
            None => None,
            Some(text) => Some(Selector {
                topic: topic_filter(text)?,
                except: except.collect::<Outcome<_>>()?,
                predicate: Some(filter.clone()),
            }),
        };
        Ok(Subject { filter, selector })
    }
}

/// In the broker's words.
fn refused(error: &FilterError) -> Failure {
    Failure::usage(format!("filter refused at {error}"))
}

fn topic_filter(text: &str) -> Outcome<TopicFilter> {
    TopicFilter::parse(text).map_err(|error| {
        let caret = error.caret(text).map(|caret| format!("\n{caret}")).unwrap_or_default();
        Failure::usage(format!("topic filter '{text}': {error}{caret}"))
    })
}

fn say_valid(subject: &Subject, json: bool) -> Outcome {
    let mut out = Out::lock();
    match json {
        true => out.json(&Report::of_filter(&subject.filter))?,
        false => out.line(format_args!("valid: {}", clean(subject.filter.as_str())))?,
    }
    out.flush()
}

/// Reads events and answers each of them.
fn try_on(subject: &Subject, path: &Path, json: bool) -> Outcome {
    let Input { name, reader, .. } = Input::open(path)?;
    let mut lines = Lines::new(reader, LINE_BYTES_MAX);
    let mut objects = Objects::default();
    let mut trial = Trial { subject, json, out: Out::lock(), number: 0, missed: 0, unread: 0 };
    loop {
        let mut answered = Ok(());
        let read = lines.read(|line| {
            if answered.is_ok() {
                answered = trial.line(line, &mut objects);
            }
        });
        answered?;
        match read {
            Ok(0) => {
                objects.end(|object| trial.object(object))?;
                trial.out.flush()?;
                return trial.end(&name);
            }
            Ok(_) => trial.out.flush()?,
            Err(error) => return Err(unreadable(&name, &error)),
        }
    }
}

struct Trial<'a> {
    subject: &'a Subject,
    json: bool,
    out: Out,
    /// Events so far.
    number: u64,
    /// Those that do not match.
    missed: u64,
    /// Those that cannot be read.
    unread: u64,
}

impl Trial<'_> {
    fn line(&mut self, line: Line<'_>, objects: &mut Objects) -> Outcome {
        let is_too_long = |bytes: &[u8]| objects.len() + bytes.len() > LINE_BYTES_MAX;
        match line {
            Line::Whole(line) if !is_too_long(line) => objects.push(line, |object| self.object(object)),
            _ => {
                objects.end(|_| Ok(()))?;
                self.unreadable(&format!("longer than {} bytes", grouped(LINE_BYTES_MAX as u64)))
            }
        }
    }

    fn object(&mut self, object: &[u8]) -> Outcome {
        let payload = Payload::of(object);
        match Event::read(object, &payload) {
            Ok(None) => Ok(()),
            Ok(Some(event)) => self.event(&event),
            Err(reason) => self.unreadable(&reason),
        }
    }

    fn event(&mut self, event: &Event<'_>) -> Outcome {
        let topic = match event.topic.as_deref().map(Topic::parse).transpose() {
            Ok(topic) => topic,
            Err(error) => return self.unreadable(&format!("its topic: {error}")),
        };
        self.number += 1;
        let report = Report::of_event(
            self.number,
            &self.subject.filter,
            self.subject.selector.as_ref(),
            event,
            topic.as_ref(),
        );
        self.missed += u64::from(!report.is_match());
        match self.json {
            true => self.out.json(&report),
            false => report.print(&mut self.out),
        }
    }

    fn unreadable(&mut self, reason: &str) -> Outcome {
        self.number += 1;
        self.unread += 1;
        match self.json {
            true => self.out.json(&Report::unreadable(self.number, &self.subject.filter, reason)),
            false => {
                // In order with what was said before.
                self.out.flush()?;
                note(format_args!("event {}: {}", self.number, clean(reason)));
                Ok(())
            }
        }
    }

    fn end(&self, name: &str) -> Outcome {
        let Trial { number, missed, unread, .. } = self;
        let some = |count: &u64| match (count, number) {
            (1, 1) => "the event".to_owned(),
            (count, number) => format!("{} of {} events", grouped(*count), grouped(*number)),
        };
        match (number, missed, unread) {
            (0, ..) => {
                Err(Failure::failed(format!("there is no event in {name}: write one JSON object a line")))
            }
            (_, 0, 0) => Ok(()),
            (_, missed, 0) => Err(Failure::failed(format!("no match: {}", some(missed)))),
            (_, 0, unread) => Err(Failure::failed(format!("cannot be read: {}", some(unread)))),
            (_, missed, unread) => {
                Err(Failure::failed(format!("no match: {}; cannot be read: {}", some(missed), some(unread))))
            }
        }
    }
}
