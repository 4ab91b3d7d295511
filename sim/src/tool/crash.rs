//! `wavetank-sim crash`.

use std::path::PathBuf;
use std::sync::Mutex;

use indicatif::ProgressBar;
use serde::Serialize;
use wavetank_sim::crash::{self, Flow, Point};
use wavetank_sim::{Choose, Failure, Lazy, Replay, Tape};

use super::{Done, Terms, can_unwind, on_all_cores};

/// The life cycles with pairs of kills if none is named.
const SHORTEST: [&str; 2] = ["crash/io", "crash/classic"];

#[derive(Serialize)]
struct Report {
    flows: Vec<Row>,
    found: Vec<Found>,
}

/// What came of one flow.
#[derive(Default, Serialize)]
struct Row {
    flow: &'static str,
    /// Two are killed in each run.
    is_twofold: bool,
    /// Crash points of the undisturbed run: for each tape, every call of everybody who may be killed.
    firsts: usize,
    /// Those of them of which all runs were made.
    tried: usize,
    /// Runs.
    points: u64,
    /// Those of them in which everybody was killed who was to be.
    struck: u64,
    /// The others.
    missing: Vec<String>,
}

#[derive(Serialize)]
struct Found {
    flow: &'static str,
    point: String,
    failure: Failure,
    tape: PathBuf,
}

/// Runs that begin with the same kill.
struct Work<'f> {
    flow: &'f Flow,
    first: Point,
    seed: Option<u64>,
    /// Not this kill alone, but with each that comes after it.
    is_twofold: bool,
}

/// What came of it.
struct Outcome {
    crashes: Vec<Point>,
    struck: bool,
    failure: Option<Failure>,
}

fn name(crashes: &[Point], seed: Option<u64>) -> String {
    let crash = |(killed, after): &Point| match killed.part {
        "" => format!("{} at call {after}", killed.program),
        part => format!("{} {part} at call {after}", killed.program),
    };
    let crashes: Vec<String> = crashes.iter().map(crash).collect();
    let tape = seed.map_or("plain tape".to_owned(), |seed| format!("seed {seed}"));
    format!("{}, {tape}", crashes.join(" and "))
}

fn chooser(seed: Option<u64>) -> Box<dyn Choose> {
    match seed {
        None => Box::new(Replay::default()),
        Some(seed) => Box::new(Lazy::seeded(seed)),
    }
}

pub(crate) fn crash(terms: &Terms, flows: &[String], seeds: u64, pairs: bool, most: usize) -> Done {
    can_unwind()?;
    let mut report = Report { flows: Vec::new(), found: Vec::new() };
    for flow in &select(flows, pairs)? {
        let work = work_of(flow, seeds, pairs);
        let bar = terms.bar(work.len() as u64, "crash points");
        bar.set_message(flow.name);
        let mut row = Row { flow: flow.name, is_twofold: pairs, ..Row::default() };
        row.firsts = work.len();
        let total = Mutex::new((row, std::mem::take(&mut report.found), Ok(())));
        on_all_cores(terms, work.len(), |at| {
            if total.lock().is_ok_and(|total| total.1.len() < most && total.2.is_ok()) {
                work[at].run(terms, &bar, &total);
                bar.inc(1);
            }
        });
        bar.finish_and_clear();
        let Ok((row, found, kept)) = total.into_inner() else { continue };
        kept?;
        terms.line(&bar, &row.text());
        report.flows.push(row);
        report.found = found;
    }
    terms.report(&report)?;
    let is_incomplete = report.flows.iter().any(|row| !row.missing.is_empty());
    Ok(terms.verdict(!report.found.is_empty() || is_incomplete))
}

type Total = Mutex<(Row, Vec<Found>, Result<(), String>)>;

impl Work<'_> {
    fn run(&self, terms: &Terms, bar: &ProgressBar, total: &Total) {
        let Work { flow, first, seed, is_twofold } = *self;
        let all = match is_twofold {
            true => {
                let seconds = crash::points_after(flow, first, &mut *chooser(seed));
                seconds.into_iter().map(|second| vec![first, second]).collect()
            }
            false => vec![vec![first]],
        };
        for crashes in all {
            if terms.interrupted() {
                return;
            }
            let outcome = self.hit(crashes);
            let Ok(mut total) = total.lock() else { return };
            let (row, found, kept) = &mut *total;
            row.take(&outcome, seed);
            if let Some(failure) = outcome.failure {
                match keep(terms, bar, flow, &outcome.crashes, seed, failure) {
                    Ok(it) => found.push(it),
                    Err(error) => *kept = Err(error),
                }
            }
        }
        if let Ok(mut total) = total.lock() {
            total.0.tried += 1;
        }
    }

    fn hit(&self, crashes: Vec<Point>) -> Outcome {
        let mut hit = self.flow.clone();
        hit.faults.extend(crash::case(self.flow, &crashes).faults);
        let (run, struck) = crash::run_counting(&hit, &mut *chooser(self.seed), false);
        Outcome { struck: struck == crashes.len() as u64, failure: run.failure, crashes }
    }
}

impl Row {
    fn take(&mut self, outcome: &Outcome, seed: Option<u64>) {
        self.points += 1;
        if outcome.struck {
            self.struck += 1;
        } else {
            self.missing.push(name(&outcome.crashes, seed));
        }
    }

    fn text(&self) -> String {
        let Row { flow, is_twofold, firsts, tried, points, struck, missing } = self;
        let missing: String = missing.iter().map(|name| format!("\n    missing: {name}")).collect();
        let share = |part: u64, of: u64| (part * 100).checked_div(of).unwrap_or(100);
        if *is_twofold {
            let hundredths = share(*tried as u64, *firsts as u64);
            return format!(
                "{flow:22} {points} pairs of kills, {struck} struck twice; {tried} of {firsts} first \
                 kills with all their second ones ({hundredths} %){missing}"
            );
        }
        let hundredths = share(*struck, *points);
        format!("{flow:22} {points} crash points, {hundredths} % struck{missing}")
    }
}

fn keep(
    terms: &Terms,
    bar: &ProgressBar,
    flow: &Flow,
    crashes: &[Point],
    seed: Option<u64>,
    failure: Failure,
) -> Result<Found, String> {
    let case = crash::case(flow, crashes);
    let whole = case.flow().ok_or_else(|| format!("there is no flow {}", flow.name))?;
    let (_, tape) = Tape::record(&case, &whole, &mut *chooser(seed), false);
    let point = name(crashes, seed);
    terms.line(bar, &point);
    let file = format!("{}-{}", flow.name, point.replace([' ', ','], "-"));
    let path = bar.suspend(|| terms.keep(&tape, &failure, &file))?;
    Ok(Found { flow: flow.name, point, failure, tape: path })
}

/// Each call of each that may be killed, with the plain tape and with each seed; with pairs, each
/// that is the first of one.
fn work_of(flow: &Flow, seeds: u64, is_twofold: bool) -> Vec<Work<'_>> {
    let seeds = if is_twofold { 0 } else { seeds };
    let tapes = std::iter::once(None).chain((0..seeds).map(Some));
    tapes
        .flat_map(|seed| {
            let points = crash::points(flow, &mut *chooser(seed));
            points.into_iter().map(move |first| Work { flow, first, seed, is_twofold })
        })
        .collect()
}

fn select(names: &[String], is_twofold: bool) -> Result<Vec<Flow>, String> {
    let mut flows = crash::flows();
    if names.is_empty() {
        flows.retain(|flow| !is_twofold || SHORTEST.contains(&flow.name));
        return Ok(flows);
    }
    let named = |name: &String| {
        let flow = flows.iter().find(|flow| flow.name == name);
        flow.cloned().ok_or_else(|| format!("there is no life cycle {name} with crash points"))
    };
    names.iter().map(named).collect()
}
