//! `wavetank-sim soak`: fresh seeds of the drawn flow and of all others, on every core, until told to stop.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use wavetank_sim::{Case, Coverage, Failure, Flow, Lazy, Tape};

use super::{Done, Terms, can_unwind};

/// The drawn flow has so many seeds for every one that a flow of the table has.
const DRAWN: u64 = 20;
/// Every so many-th run is done twice and compared.
const TWICE_IN: u64 = 4;
/// So long each finding is made smaller.
const SHRINKING: Duration = Duration::from_secs(20);
/// More than this nobody reads; the soak ends.
const FOUND_MAX: usize = 20;

/// How long a soak goes on, and where it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length {
    pub(crate) minutes: Option<u64>,
    pub(crate) seeds: Option<u64>,
    pub(crate) from: Option<u64>,
}

#[derive(Serialize)]
struct Report {
    /// The first seed, with which all of it can be had again.
    from: u64,
    seeds: u64,
    runs: u64,
    /// Runs that were done twice, with the same result.
    compared: u64,
    seconds: u64,
    /// In how many runs each rare branch of the shim was taken.
    marks: Coverage,
    found: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    flow: &'static str,
    seed: u64,
    failure: Failure,
    tape: PathBuf,
}

/// What the threads share.
struct Shared {
    next: AtomicU64,
    runs: AtomicU64,
    compared: AtomicU64,
    stop: AtomicBool,
    marks: Mutex<Coverage>,
    failed: Mutex<Vec<(Flow, u64, Failure)>>,
}

pub(crate) fn soak(terms: &Terms, length: Length) -> Done {
    can_unwind()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
    let from = length.from.unwrap_or(now.as_secs() << 20);
    let end = length.seeds.map_or(u64::MAX, |seeds| from.saturating_add(seeds));
    let limit = length.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let begun = Instant::now();
    let shared = Shared {
        next: AtomicU64::new(from),
        runs: AtomicU64::new(0),
        compared: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        marks: Mutex::default(),
        failed: Mutex::new(Vec::new()),
    };
    let bar = terms.bar(length.seeds.unwrap_or(0), "seeds");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..cores).map(|_| scope.spawn(|| shared.work(&Flow::all(), end))).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(100));
            let is_over = limit.is_some_and(|limit| begun.elapsed() >= limit);
            if is_over || terms.interrupted() {
                shared.stop.store(true, Ordering::Relaxed);
            }
            bar.set_position(shared.next.load(Ordering::Relaxed).min(end) - from);
            bar.set_message(format!("{} runs", shared.runs.load(Ordering::Relaxed)));
        }
    });
    bar.finish_and_clear();
    let failed = shared.failed.into_inner().map_err(|_| "a thread has panicked")?;
    let mut report = Report {
        from,
        seeds: shared.next.into_inner().min(end) - from,
        runs: shared.runs.into_inner(),
        compared: shared.compared.into_inner(),
        seconds: begun.elapsed().as_secs(),
        marks: shared.marks.into_inner().map_err(|_| "a thread has panicked")?,
        found: Vec::new(),
    };
    for (flow, seed, failure) in failed {
        report.found.push(keep(terms, &flow, seed, failure)?);
    }
    let Report { seeds, runs, compared, seconds, marks, found, .. } = &report;
    let speed = runs / seconds.max(&1);
    let line = format!(
        "{seeds} seeds from {from} on, {runs} runs in {seconds} s, {speed} runs/s on {cores} cores, \
         {compared} of them twice and alike; {} failed",
        found.len()
    );
    terms.line(&bar, &line);
    terms.line(&bar, &marks.to_string());
    terms.report(&report)?;
    Ok(terms.verdict(!report.found.is_empty()))
}

impl Shared {
    fn work(&self, flows: &[Flow], end: u64) {
        let mut marks = Coverage::default();
        while !self.stop.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            for flow in flows.iter().filter(|flow| flow.is_drawn() || seed.is_multiple_of(DRAWN)) {
                self.run(flow, seed, &mut marks);
            }
        }
        if let Ok(mut all) = self.marks.lock() {
            all.merge(&marks);
        }
    }

    fn run(&self, flow: &Flow, seed: u64, marks: &mut Coverage) {
        let first = flow.run(&mut Lazy::seeded(seed), false);
        self.runs.fetch_add(1, Ordering::Relaxed);
        marks.add(&first.marks);
        let mut failure = first.failure;
        if seed.is_multiple_of(TWICE_IN) && failure.is_none() {
            let second = flow.run(&mut Lazy::seeded(seed), false);
            self.compared.fetch_add(1, Ordering::Relaxed);
            if first.hash != second.hash {
                failure = Some(super::run::difference(flow, seed, None));
            }
        }
        let Some(failure) = failure else { return };
        if let Ok(mut failed) = self.failed.lock() {
            failed.push((flow.clone(), seed, failure));
            self.stop.fetch_or(failed.len() >= FOUND_MAX, Ordering::Relaxed);
        }
    }
}

/// Writes down a failing run, made small if it fails by its tape.
fn keep(terms: &Terms, flow: &Flow, seed: u64, failure: Failure) -> Result<Found, String> {
    let case = Case::of(flow.name());
    let (_, tape) = Tape::record(&case, flow, Lazy::seeded(seed), false);
    let name = format!("soak-{}-{seed}", flow.name());
    let path = terms.keep(&tape, &failure, &name)?;
    let begun = Instant::now();
    let mut go_on = |_: &Tape| !terms.interrupted() && begun.elapsed() < SHRINKING;
    if let Some(small) = wavetank_sim::shrink(&tape, &mut go_on) {
        super::write_tape(&path.with_extension("min.tape"), &small)?;
    }
    Ok(Found { flow: flow.name(), seed, failure, tape: path })
}
