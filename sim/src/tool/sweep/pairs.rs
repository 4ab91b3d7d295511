//! `wavetank-sim sweep --pairs`.

use std::sync::Mutex;

use indicatif::ProgressBar;
use serde::Serialize;
use wavetank_sim::sweep::pairs::{Count, Kind, Way};
use wavetank_sim::sweep::{Broken, CANONICAL, Course};

use super::{Found, keep, tell_found};
use crate::tool::{Done, Terms, can_unwind, on_all_cores};

#[derive(Serialize)]
struct Report {
    /// What every pair is one of.
    pairs_of: &'static str,
    flows: Vec<Row>,
    found: Vec<Found>,
}

/// What came of one life cycle.
#[derive(Serialize)]
struct Row {
    flow: String,
    /// The ways in which a call of the undisturbed run fails: the first of each pair.
    firsts: usize,
    /// Those of them with which every second was tried.
    tried: usize,
    /// Runs with two faults.
    pairs: u64,
    /// Those in which not both struck.
    missed: u64,
    /// Pairs of places at which both struck.
    places: usize,
}

/// What the threads have found out.
#[derive(Default)]
struct Total {
    tried: usize,
    count: Count,
    broken: Vec<Broken>,
}

pub(crate) fn pairs(terms: &Terms, flows: &[String], kind: Kind) -> Done {
    can_unwind()?;
    let names: Vec<&str> = match flows.is_empty() {
        true => CANONICAL.to_vec(),
        false => flows.iter().map(String::as_str).collect(),
    };
    let mut report = Report { pairs_of: meaning(kind), flows: Vec::new(), found: Vec::new() };
    let mut broken = Vec::new();
    terms.line(&ProgressBar::hidden(), &format!("pairs of {}", report.pairs_of));
    for name in names {
        let course = Course::of(name, None).ok_or_else(|| format!("there is no flow {name}"))?;
        let (row, failing) = all(terms, &course, kind);
        terms.line(&ProgressBar::hidden(), &row.text(failing.len()));
        report.flows.push(row);
        broken.extend(failing);
    }
    report.found = keep(terms, &broken)?;
    tell_found(terms, &report.found);
    terms.report(&report)?;
    let is_incomplete = report.flows.iter().any(|row| row.missed > 0);
    Ok(terms.verdict(!broken.is_empty() || is_incomplete))
}

fn meaning(kind: Kind) -> &'static str {
    match kind {
        Kind::Calls => {
            "calls of the shim: every two of a run, each failing once with the first error that the \
             catalogue has for it"
        }
        Kind::Ways => {
            "places at which the shim makes calls: every two of a run, at their first calls, with \
             every error of the catalogue, once and for ever"
        }
    }
}

fn all(terms: &Terms, course: &Course, kind: Kind) -> (Row, Vec<Broken>) {
    let firsts = course.first_of_pairs(kind);
    let bar = terms.bar(firsts.len() as u64, "first calls");
    bar.set_message(course.tape.case.flow.clone());
    let total = Mutex::new(Total::default());
    on_all_cores(terms, firsts.len(), |at| {
        let mine = with_first(terms, course, kind, &firsts[at]);
        bar.inc(1);
        let Ok(mut total) = total.lock() else { return };
        total.tried += mine.tried;
        total.count.add(mine.count);
        total.broken.extend(mine.broken);
    });
    bar.finish_and_clear();
    let Total { tried, count, broken } = total.into_inner().unwrap_or_default();
    let row = Row {
        flow: course.tape.case.flow.clone(),
        firsts: firsts.len(),
        tried,
        pairs: count.pairs,
        missed: count.missed,
        places: count.places.len(),
    };
    (row, broken)
}

/// Every pair with this first, until somebody interrupts.
fn with_first(terms: &Terms, course: &Course, kind: Kind, first: &Way) -> Total {
    let mut total = Total::default();
    let seconds = match course.second_of_pairs(kind, first) {
        Ok(seconds) => seconds,
        Err(failing) => {
            total.broken.push(*failing);
            Vec::new()
        }
    };
    for second in seconds {
        if terms.interrupted() {
            return total;
        }
        if let Err(failing) = course.disturb_twice(first, &second, &mut total.count) {
            total.broken.push(*failing);
        }
    }
    total.tried = 1;
    total
}

impl Row {
    fn text(&self, failing: usize) -> String {
        let Row { flow, firsts, tried, pairs, missed, places } = self;
        let hundredths = (tried * 100).checked_div(*firsts).unwrap_or(100);
        let text = format!(
            "{flow}: {pairs} pairs at {places} pairs of places, {tried} of {firsts} first ones with \
             all their second ones ({hundredths} %), {failing} fail"
        );
        match missed {
            0 => text,
            _ => format!("{text}; of {missed} not both struck"),
        }
    }
}
