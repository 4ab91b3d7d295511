//! `wavetank-sim run` and `flows`.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;

use serde::Serialize;
use wavetank::host::Bug;
use wavetank_sim::{Case, Choose, Coverage, Failure, Flow, Lazy, Pct, Tape, first_difference};

use super::{Done, Terms, Verdict, can_unwind, select};

/// About so many turns a life cycle has.
const TURNS: usize = 500;

#[derive(Serialize)]
struct Report {
    flows: Vec<Row>,
    /// In how many runs each rare branch of the shim was taken.
    marks: Coverage,
    found: Option<Found>,
}

/// What came of one flow.
#[derive(Serialize)]
struct Row {
    flow: &'static str,
    seeds: u64,
    /// How many runs were different from each other.
    different: usize,
    /// Calls of the host, in the mean.
    calls: u64,
}

#[derive(Serialize)]
struct Found {
    flow: &'static str,
    seed: u64,
    failure: Option<Failure>,
    tape: PathBuf,
}

pub(crate) fn list(terms: &Terms) -> Done {
    let flows = Flow::all();
    let names: Vec<&str> = flows.iter().map(Flow::name).collect();
    if !terms.json {
        names.iter().for_each(|name| println!("{name}"));
    }
    terms.report(&names)?;
    Ok(Verdict::AsPromised)
}

pub(crate) fn run(
    terms: &Terms,
    flows: &[String],
    seeds: Range<u64>,
    pct: Option<usize>,
    bug: Option<&str>,
) -> Done {
    can_unwind()?;
    let bug = bug.map(|name| Bug::named(name).ok_or_else(|| format!("there is no bug {name}")));
    let bug = bug.transpose()?;
    let is_all = flows.is_empty();
    let flows = select(flows)?;
    let bar = terms.bar((seeds.end - seeds.start) * flows.len() as u64, "runs");
    let mut report = Report { flows: Vec::new(), marks: Coverage::default(), found: None };
    for flow in &flows {
        bar.set_message(flow.name());
        let case = Case { bug, ..Case::of(flow.name()) };
        let flow = flow.clone().with(&[], bug);
        let mut row = Row { flow: flow.name(), seeds: 0, different: 0, calls: 0 };
        let mut orders = BTreeSet::new();
        for seed in seeds.clone().take_while(|_| !terms.interrupted()) {
            let (first, tape) = Tape::record(&case, &flow, &mut *chooser(seed, pct), false);
            let second = flow.run(&mut *chooser(seed, pct), false);
            if first.failure.is_some() || first.hash != second.hash {
                bar.finish_and_clear();
                let failure = first.failure.unwrap_or_else(|| difference(&flow, seed, pct));
                let path = terms.keep(&tape, &failure, &format!("{}-{seed}", flow.name()))?;
                let found = Found { flow: flow.name(), seed, failure: Some(failure), tape: path };
                report.found = Some(found);
                terms.report(&report)?;
                return Ok(Verdict::Found);
            }
            report.marks.add(&first.marks);
            orders.insert(first.hash);
            row.seeds += 1;
            row.calls += first.steps;
            bar.inc(1);
        }
        (row.different, row.calls) = (orders.len(), row.calls / row.seeds.max(1));
        let Row { flow, seeds, different, calls } = row;
        let line =
            format!("{flow:28} {seeds} seeds, {different} different runs, {calls} steps each");
        terms.line(&bar, &line);
        report.flows.push(row);
    }
    if is_all {
        terms.line(&bar, &report.marks.to_string());
    }
    bar.finish_and_clear();
    terms.report(&report)?;
    Ok(terms.verdict(false))
}

fn chooser(seed: u64, pct: Option<usize>) -> Box<dyn Choose> {
    match pct {
        Some(depth) => Box::new(Pct::new(seed, depth, TURNS)),
        None => Box::new(Lazy::seeded(seed)),
    }
}

pub(crate) fn difference(flow: &Flow, seed: u64, pct: Option<usize>) -> Failure {
    let trace = || flow.run(&mut *chooser(seed, pct), true).trace;
    let place = first_difference(&trace(), &trace());
    Failure {
        oracle: "determinism",
        promise: "the same answers give the same run",
        objection: format!("seed {seed} differs when run again: {place:?}"),
        log: String::new(),
    }
}
