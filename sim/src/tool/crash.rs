//! `wavetank-sim crash`.

use std::path::PathBuf;

use indicatif::ProgressBar;
use serde::Serialize;
use wavetank_sim::crash::{self, DAEMON, Killed, Survey};
use wavetank_sim::{Choose, Failure, Lazy, Replay, Tape};

use super::{Done, Terms, can_unwind};

/// The flow on which the shim and the daemon are both killed.
const SHORTEST: &str = "crash/io";
const SHORTEST_CLASSIC: &str = "crash/classic";

#[derive(Serialize)]
struct Report {
    flows: Vec<Row>,
    found: Vec<Found>,
}

/// What came of one flow.
#[derive(Serialize)]
struct Row {
    flow: &'static str,
    /// Crash points: for each tape, every call of everybody who is killed.
    points: u64,
    /// Those of them at which somebody was killed.
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

/// One run: who is killed, and with which tape.
struct Point {
    crashes: Vec<(Killed, u64)>,
    seed: Option<u64>,
}

impl Point {
    fn name(&self) -> String {
        let crash = |(killed, after): &(Killed, u64)| match killed.part {
            "" => format!("{} at call {after}", killed.program),
            part => format!("{} {part} at call {after}", killed.program),
        };
        let crashes: Vec<String> = self.crashes.iter().map(crash).collect();
        let tape = self.seed.map_or("plain tape".to_owned(), |seed| format!("seed {seed}"));
        format!("{}, {tape}", crashes.join(" and "))
    }
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
    for flow in &select(flows)? {
        let points = points_of(flow, seeds, pairs);
        let bar = terms.bar(points.len() as u64, "crash points");
        bar.set_message(flow.name);
        let mut row = Row { flow: flow.name, points: 0, struck: 0, missing: Vec::new() };
        for point in points.iter().take_while(|_| !terms.interrupted()) {
            if report.found.len() >= most {
                break;
            }
            let mut hit = flow.clone();
            let case = crash::case(flow, &point.crashes);
            hit.faults.extend(case.faults.iter().cloned());
            let (run, struck) = crash::run_counting(&hit, &mut *chooser(point.seed), false);
            row.points += 1;
            if struck == point.crashes.len() as u64 {
                row.struck += 1;
            } else {
                row.missing.push(point.name());
            }
            if let Some(failure) = run.failure {
                report.found.push(keep(terms, &bar, flow.name, point, failure, &case)?);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        terms.line(&bar, &row.text());
        report.flows.push(row);
    }
    terms.report(&report)?;
    let is_incomplete = report.flows.iter().any(|row| !row.missing.is_empty());
    Ok(terms.verdict(!report.found.is_empty() || is_incomplete))
}

impl Row {
    fn text(&self) -> String {
        let Row { flow, points, struck, missing } = self;
        let hundredths = (struck * 100).checked_div(*points).unwrap_or(0);
        let missing: String = missing.iter().map(|name| format!("\n    missing: {name}")).collect();
        format!("{flow:22} {points} crash points, {hundredths} % struck{missing}")
    }
}

fn keep(
    terms: &Terms,
    bar: &ProgressBar,
    flow: &'static str,
    point: &Point,
    failure: Failure,
    case: &wavetank_sim::Case,
) -> Result<Found, String> {
    let whole = case.flow().ok_or_else(|| format!("there is no flow {flow}"))?;
    let (_, tape) = Tape::record(case, &whole, &mut *chooser(point.seed), false);
    let name = format!("{flow}-{}", point.name().replace([' ', ','], "-"));
    terms.line(bar, &point.name());
    let path = bar.suspend(|| terms.keep(&tape, &failure, &name))?;
    Ok(Found { flow, point: point.name(), failure, tape: path })
}

/// Each call of each that may be killed, with the plain tape and with each seed; and, with `pairs`,
/// the shim at one call and the daemon at another.
fn points_of(flow: &crash::Flow, seeds: u64, pairs: bool) -> Vec<Point> {
    let mut points = Vec::new();
    let is_shortest = [SHORTEST, SHORTEST_CLASSIC].contains(&flow.name);
    for seed in [None].into_iter().chain((0..seeds).map(Some)) {
        let survey = crash::survey(flow, &mut *chooser(seed));
        points.extend(survey.points().map(|crash| Point { crashes: vec![crash], seed }));
        if pairs && is_shortest && seed.is_none() {
            let crashes = both(flow, &survey);
            points.extend(crashes.into_iter().map(|crashes| Point { crashes, seed }));
        }
    }
    points
}

/// The server of the shim at each call, and the daemon at each that there is besides.
fn both(flow: &crash::Flow, survey: &Survey) -> Vec<Vec<(Killed, u64)>> {
    let server = Killed { program: flow.shim(), part: "server" };
    let daemon = Killed { program: DAEMON, part: "" };
    let calls = |killed: Killed| 0..survey.calls_of(killed.program, killed.part);
    let pair = |i| calls(daemon).map(move |j| vec![(server, i), (daemon, j)]);
    calls(server).flat_map(pair).collect()
}

fn select(names: &[String]) -> Result<Vec<crash::Flow>, String> {
    let flows = crash::flows();
    if names.is_empty() {
        return Ok(flows);
    }
    let named = |name: &String| {
        let flow = flows.iter().find(|flow| flow.name == name);
        flow.cloned().ok_or_else(|| format!("there is no life cycle {name} with crash points"))
    };
    names.iter().map(named).collect()
}
