//! Measures one cell: load, check, match, change, check again.
//!
//! 1. Ids are compared with the oracle's before the first figure and again after the changes.
//! 2. Events are timed one by one; no event is timed twice, but where that is what is measured. An
//!    event is read once before its time begins, as a broker has that took it from its frame: what is
//!    timed is the engine, not the memory that the workload lies in.
//! 3. A cell has a time limit: an engine that is too slow is asked with fewer events, at least
//!    [`EVENTS_MIN`], and one that does not finish loading has no figures.
//! 4. An engine that panics ends its cell, not the run.

use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::clock::{Clock, Samples, median, micros};
use super::engine::{Engine, Matcher, Refusal};
use super::event::Event;
use super::family::Family;
use super::figures::Figures;
use super::random::Random;
use super::{beside, oracle};

/// Events that are measured however slow an engine is.
const EVENTS_MIN: usize = 20;
/// Events of a batch.
const BATCH: usize = 64;
/// Randomness of the changes.
const CHANGES: u64 = 4;
/// Changes of one kind in a row.
const BLOCK: usize = 100;

/// What to measure of each cell.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// Events of a run.
    pub(super) events: usize,
    pub(super) runs: usize,
    /// For loading; a fourth of it for checking and for each run.
    pub(super) limit: Duration,
    /// How long matching is watched, alone and beside a writer each.
    pub(super) watched: Duration,
    /// Bytes that the process has from its allocator.
    pub(super) heap: fn() -> usize,
}

/// Events with their right answers, of one family.
pub(super) struct Answers {
    pub(super) family: Family,
    events: Vec<Event>,
    ids: Vec<Vec<u32>>,
}

/// How many of each kind of change a cell of that size makes.
pub(super) fn changes(subscriptions: u32) -> u32 {
    (subscriptions / 10).clamp(subscriptions.min(500), 20_000)
}

impl Answers {
    /// For up to `subscriptions` and what is inserted after them, over `checked` events.
    pub(super) fn new(family: Family, seed: u64, subscriptions: u32, checked: usize) -> Answers {
        let events: Vec<Event> = family.events(seed).take(checked).collect();
        let ids = oracle::answers(family, seed, subscriptions + changes(subscriptions), &events);
        Answers { family, events, ids }
    }

    /// Mean per event, for so many subscriptions.
    fn matches_per_event(&self, subscriptions: u32) -> f64 {
        let matches: usize = self.ids.iter().map(|ids| oracle::first(ids, subscriptions).len()).sum();
        matches as f64 / self.ids.len().max(1) as f64
    }
}

/// Measures a cell.
pub(super) fn measure<E: Engine>(plan: &Plan, answers: &Answers, subscriptions: u32, name: &str) -> Figures {
    let mut figures = Figures {
        family: answers.family.to_string(),
        subscriptions,
        engine: name.to_owned(),
        matches_per_event: answers.matches_per_event(subscriptions),
        ..Figures::default()
    };
    let whole = || Cell::<E>::run(plan, answers, subscriptions, &mut figures);
    let ended = match quietly(AssertUnwindSafe(whole)) {
        (Ok(outcome), None) => outcome.err(),
        (_, Some(panic)) => Some(format!("panics at {panic}")),
        (Err(_), None) => Some("panics".to_owned()),
    };
    figures.ended = ended;
    figures
}

/// Catches a panic of this thread; says where the first panic of any thread was, instead of
/// printing it: the cell does.
fn quietly<R>(work: impl FnOnce() -> R + UnwindSafe) -> (std::thread::Result<R>, Option<String>) {
    let first = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&first);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let text = panic.payload().downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.payload().downcast_ref::<&str>().copied());
        let text = format!("{place}: {}", text.unwrap_or("without a word"));
        noted.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
    }));
    let outcome = catch_unwind(work);
    std::panic::set_hook(hook);
    let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
    (outcome, first)
}

struct Cell<'c, E> {
    plan: &'c Plan,
    answers: &'c Answers,
    clock: Clock,
    subscriptions: u32,
    engine: E,
}

impl<E: Engine> Cell<'_, E> {
    fn run(plan: &Plan, answers: &Answers, subscriptions: u32, figures: &mut Figures) -> Result<(), Refusal> {
        let engine = E::new(&answers.family.schema())?;
        let mut cell = Cell { plan, answers, clock: Clock::new(), subscriptions, engine };
        cell.load(figures)?;
        cell.check(figures, |id| id < subscriptions)?;
        cell.time(figures)?;
        cell.time_further(figures)?;
        cell.change(figures)?;
        cell.beside(figures)
    }

    fn prepare(&self, skipped: u32, count: u32) -> Result<Vec<E::Subscription>, Refusal> {
        let stream = self.answers.family.asked(self.plan.seed);
        stream.skip(skipped as usize).take(count as usize).map(|asked| E::prepare(&asked)).collect()
    }

    fn load(&mut self, figures: &mut Figures) -> Result<(), Refusal> {
        let heap = self.plan.heap;
        let before = heap();
        let prepared = self.prepare(0, self.subscriptions)?;
        let with_prepared = heap();
        let given = prepared.clone();
        let deadline = Instant::now() + self.plan.limit;
        let (loaded, took) = self.clock.measure(|| self.engine.load(given, deadline));
        let loaded = loaded?;
        if loaded < prepared.len() {
            let (limit, wanted) = (self.plan.limit.as_secs(), prepared.len());
            return Err(format!("insertion too slow: {loaded} of {wanted} in {limit} s"));
        }
        let per_subscription = |bytes: usize| Some(bytes as f64 / loaded as f64);
        figures.load_per_second = Some(loaded as f64 / took.processor.as_secs_f64());
        figures.bytes_per_subscription = per_subscription(heap().saturating_sub(with_prepared));
        drop(prepared);
        figures.bytes_with_filters = per_subscription(heap().saturating_sub(before));
        figures.bytes_own = self.engine.bytes().and_then(per_subscription);
        Ok(())
    }

    /// Compares with the oracle, of whose ids those count that are `live`.
    fn check(&self, figures: &mut Figures, live: impl Fn(u32) -> bool) -> Result<(), Refusal> {
        let mut matcher = self.engine.matcher();
        let deadline = Instant::now() + self.plan.limit / 4;
        let mut checked = 0;
        for (event, ids) in self.answers.events.iter().zip(&self.answers.ids) {
            if checked >= EVENTS_MIN && Instant::now() > deadline {
                break;
            }
            matcher.receive(event);
            matcher.find(event)?;
            figures.wrong += usize::from(!is_right(matcher.ids(), ids, &live));
            checked += 1;
        }
        figures.checked += checked;
        self.check_batches(figures, &mut matcher, checked, live)
    }

    /// Compares what batches of the first `count` events find, where the engine finds in batches.
    fn check_batches(
        &self,
        figures: &mut Figures,
        matcher: &mut E::Matcher<'_>,
        count: usize,
        live: impl Fn(u32) -> bool,
    ) -> Result<(), Refusal> {
        let (events, ids) = (&self.answers.events[..count], &self.answers.ids[..count]);
        for (events, ids) in events.chunks(BATCH).zip(ids.chunks(BATCH)) {
            if !matcher.find_batch(events)? {
                break;
            }
            let is_wrong =
                |(place, ids): &(usize, &Vec<u32>)| !is_right(matcher.batch_ids(*place), ids, &live);
            figures.wrong += ids.iter().enumerate().filter(is_wrong).count();
        }
        Ok(())
    }

    /// The events of a run, none of which was asked before.
    fn events(&self, run: usize) -> Vec<Event> {
        let skipped = self.answers.events.len() + run * self.plan.events;
        self.answers.family.events(self.plan.seed).skip(skipped).take(self.plan.events).collect()
    }

    fn time(&self, figures: &mut Figures) -> Result<(), Refusal> {
        let mut matcher = self.engine.matcher();
        self.warm_up(&mut matcher)?;
        let mut runs = Vec::new();
        for run in 0..self.plan.runs {
            runs.push(self.time_run(&mut matcher, &self.events(run))?);
        }
        let over_runs = |quantile: fn(&Run) -> f64| Some(median(runs.iter().map(quantile)));
        figures.events = runs.iter().map(|run| run.events).min().unwrap_or(0);
        figures.median_us = over_runs(|run| run.median_us);
        figures.p99_us = over_runs(|run| run.p99_us);
        figures.wall_median_us = over_runs(|run| run.wall_median_us);
        figures.wall_p99_us = over_runs(|run| run.wall_p99_us);
        Ok(())
    }

    fn warm_up(&self, matcher: &mut E::Matcher<'_>) -> Result<(), Refusal> {
        let deadline = Instant::now() + self.plan.limit / 20;
        for event in self.answers.events.iter().take_while(|_| Instant::now() < deadline) {
            matcher.receive(event);
            matcher.find(event)?;
        }
        Ok(())
    }

    fn time_run(&self, matcher: &mut E::Matcher<'_>, events: &[Event]) -> Result<Run, Refusal> {
        let deadline = Instant::now() + self.plan.limit / 4;
        let (mut processor, mut wall) = (Samples::default(), Samples::default());
        for event in events {
            if processor.len() >= EVENTS_MIN && Instant::now() > deadline {
                break;
            }
            std::hint::black_box(event.read());
            matcher.receive(event);
            let (found, took) = self.clock.measure(|| matcher.find(event));
            found?;
            std::hint::black_box(&*matcher);
            processor.push(took.processor);
            wall.push(took.wall);
        }
        Ok(Run {
            events: processor.len(),
            median_us: processor.per_mille(500),
            p99_us: processor.per_mille(990),
            wall_median_us: wall.per_mille(500),
            wall_p99_us: wall.per_mille(990),
        })
    }

    /// Known topics, batches and slices, as far as they are a question of the family and the
    /// engine has a way.
    fn time_further(&self, figures: &mut Figures) -> Result<(), Refusal> {
        let mut matcher = self.engine.matcher();
        let events = self.events(self.plan.runs);
        if self.answers.family == Family::F {
            self.time_run(&mut matcher, &events)?;
            let known = self.time_run(&mut matcher, &events)?;
            figures.known_median_us = Some(known.median_us);
            figures.known_p99_us = Some(known.p99_us);
        }
        figures.batch_us = self.time_batches(&mut matcher, &events)?;
        figures.slices_median_us = self.time_slices(&mut matcher, &events)?;
        Ok(())
    }

    fn time_batches(&self, matcher: &mut E::Matcher<'_>, events: &[Event]) -> Result<Option<f64>, Refusal> {
        let mut per_event = Vec::new();
        for batch in events.chunks_exact(BATCH) {
            batch.iter().for_each(|event| _ = std::hint::black_box(event.read()));
            let (found, took) = self.clock.measure(|| matcher.find_batch(batch));
            if !found? {
                return Ok(None);
            }
            std::hint::black_box(&*matcher);
            per_event.push(micros(took.processor) / BATCH as f64);
        }
        Ok((!per_event.is_empty()).then(|| median(per_event)))
    }

    fn time_slices(&self, matcher: &mut E::Matcher<'_>, events: &[Event]) -> Result<Option<f64>, Refusal> {
        let mut samples = Samples::default();
        for event in events {
            std::hint::black_box(event.read());
            let (found, took) = self.clock.measure(|| matcher.find_slices(event));
            if std::hint::black_box(found?).is_none() {
                return Ok(None);
            }
            samples.push(took.processor);
        }
        Ok((samples.len() > 0).then(|| samples.per_mille(500)))
    }

    /// Removes some, inserts as many others, compares with the oracle again and measures again.
    fn change(&mut self, figures: &mut Figures) -> Result<(), Refusal> {
        let count = changes(self.subscriptions);
        let removed = self.draw(count);
        let (mut inserts, mut removes) = (Changes::default(), Changes::default());
        let given = self.prepare(self.subscriptions, count)?;
        let mut given = (self.subscriptions..).zip(given);
        for block in removed.chunks(BLOCK) {
            removes.measure(self.clock, block.iter(), |id| self.engine.remove(*id))?;
            let inserted = given.by_ref().take(block.len()).collect::<Vec<_>>();
            inserts.measure(self.clock, inserted, |(id, given)| self.engine.insert(id, given))?;
        }
        (figures.insert_us, figures.insert_longest_us) = inserts.figures();
        (figures.remove_us, figures.remove_longest_us) = removes.figures();
        let mut is_removed = vec![false; self.subscriptions as usize];
        removed.iter().for_each(|id| is_removed[*id as usize] = true);
        let end = self.subscriptions + count;
        self.check(figures, |id| id < end && !is_removed.get(id as usize).is_some_and(|removed| *removed))?;
        let mut matcher = self.engine.matcher();
        self.warm_up(&mut matcher)?;
        figures.changed_median_us =
            Some(self.time_run(&mut matcher, &self.events(self.plan.runs + 1))?.median_us);
        Ok(())
    }

    /// Ids to remove: the beginning of a shuffle.
    fn draw(&self, count: u32) -> Vec<u32> {
        let mut random = Random::new(self.plan.seed, CHANGES);
        let mut ids: Vec<u32> = (0..self.subscriptions).collect();
        for at in 0..count {
            let other = at + random.below(u64::from(self.subscriptions - at)) as u32;
            ids.swap(at as usize, other as usize);
        }
        ids.truncate(count as usize);
        ids
    }

    fn beside(&self, figures: &mut Figures) -> Result<(), Refusal> {
        if !E::IS_CONCURRENT {
            return Ok(());
        }
        let first = self.subscriptions + changes(self.subscriptions);
        let fresh: Vec<_> = (first..).zip(self.prepare(first, 5_000)?).collect();
        figures.beside =
            Some(beside::measure(&self.engine, self.clock, self.plan.watched, &self.answers.events, &fresh)?);
        Ok(())
    }
}

/// Whether what was found, in any order, are those of `ids` that are live, each once.
fn is_right(mut found: Vec<u32>, ids: &[u32], live: impl Fn(u32) -> bool) -> bool {
    found.sort_unstable();
    found.into_iter().eq(ids.iter().copied().filter(|id| live(*id)))
}

/// Quantiles of one run, in microseconds.
struct Run {
    events: usize,
    median_us: f64,
    p99_us: f64,
    wall_median_us: f64,
    wall_p99_us: f64,
}

/// Inserts or removes.
#[derive(Default)]
struct Changes {
    count: usize,
    processor: Duration,
    longest: Duration,
}

impl Changes {
    fn measure<T>(
        &mut self,
        clock: Clock,
        block: impl IntoIterator<Item = T>,
        mut change: impl FnMut(T) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let (done, took) = clock.measure(|| {
            for one in block {
                let began = Instant::now();
                change(one)?;
                self.longest = self.longest.max(began.elapsed());
                self.count += 1;
            }
            Ok(())
        });
        self.processor += took.processor;
        done
    }

    /// Mean and longest, in microseconds.
    fn figures(&self) -> (Option<f64>, Option<f64>) {
        let mean = micros(self.processor) / self.count.max(1) as f64;
        (self.count > 0).then_some((mean, micros(self.longest))).unzip()
    }
}
