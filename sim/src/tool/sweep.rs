//! `wavetank-sim sweep`.

pub(crate) mod pairs;
mod sources;

use std::sync::Mutex;

use indicatif::ProgressBar;
use serde::Serialize;
use wavetank_sim::sweep::{Broken, Count, Course, Point};
use wavetank_sim::{Fault, Flow, Site};

use super::{Done, Terms, can_unwind, on_all_cores, select};

/// So many failing runs are kept as tapes.
const KEPT: usize = 10;

#[derive(Serialize)]
struct Report {
    /// Undisturbed runs whose calls were made to fail.
    courses: usize,
    /// Runs with one call that failed once or for ever.
    single: Count,
    /// Places at which the shim makes a call and that no flow comes to.
    unreached: Vec<String>,
    /// Faults that did not strike.
    missed: Vec<Planned>,
    found: Vec<Found>,
}

/// A fault of a flow.
#[derive(Serialize)]
struct Planned {
    flow: String,
    site: Site,
    fault: Fault,
}

/// What the threads have found out.
#[derive(Default)]
struct Total {
    count: Count,
    missed: Vec<Planned>,
    broken: Vec<Broken>,
}

#[derive(Serialize)]
struct Found {
    flow: String,
    faults: Vec<Fault>,
    oracle: &'static str,
    objection: String,
}

pub(crate) fn sweep(terms: &Terms, flows: &[String], seeds: u64) -> Done {
    can_unwind()?;
    let flows_of_names = select(flows)?;
    let names = flows_of_names.iter().map(Flow::name);
    let starts: Vec<Option<u64>> = std::iter::once(None).chain((0..seeds).map(Some)).collect();
    let courses: Vec<Course> =
        names.flat_map(|name| starts.iter().filter_map(|seed| Course::of(name, *seed))).collect();
    let Total { count: single, missed, broken } = all_single(terms, &courses);
    let unreached = match flows.is_empty() && !terms.interrupted() {
        true => sources::unreached(&single)?,
        false => Vec::new(),
    };
    let found = keep(terms, &broken)?;
    let report = Report { courses: courses.len(), single, unreached, missed, found };
    tell(terms, &report);
    terms.report(&report)?;
    Ok(terms.verdict(!broken.is_empty()))
}

/// Keeps the first of the runs that failed as tapes.
fn keep(terms: &Terms, broken: &[Broken]) -> Result<Vec<Found>, String> {
    for (number, Broken { tape, failure }) in broken.iter().take(KEPT).enumerate() {
        terms.keep(tape, failure, &format!("sweep-{number}"))?;
    }
    let found = |Broken { tape, failure }: &Broken| Found {
        flow: tape.case.flow.clone(),
        faults: tape.case.faults.clone(),
        oracle: failure.oracle,
        objection: failure.objection.clone(),
    };
    Ok(broken.iter().map(found).collect())
}

fn tell(terms: &Terms, report: &Report) {
    let bar = ProgressBar::hidden();
    let Report { courses, single: Count { runs, missed, sites }, .. } = report;
    let sites = sites.len();
    terms.line(&bar, &format!("{courses} courses, {sites} sites, {runs} faults, {missed} missed"));
    for site in &report.unreached {
        terms.line(&bar, &format!("no flow comes to {site}"));
    }
    for Planned { flow, site, fault } in &report.missed {
        let fault = serde_json::to_string(fault).unwrap_or_default();
        terms.line(&bar, &format!("{flow}, {site}: did not strike: {fault}"));
    }
    tell_found(terms, &report.found);
}

fn tell_found(terms: &Terms, found: &[Found]) {
    for Found { flow, faults, oracle, objection } in found {
        let fault = serde_json::to_string(faults).unwrap_or_default();
        let text = format!("{flow} {fault}\n    {oracle}: {objection}");
        terms.line(&ProgressBar::hidden(), &text);
    }
}

fn all_single(terms: &Terms, courses: &[Course]) -> Total {
    let work: Vec<(&Course, Point, Fault)> = courses
        .iter()
        .flat_map(|course| {
            course.single().into_iter().map(move |(point, fault)| (course, point, fault))
        })
        .collect();
    let bar = terms.bar(work.len() as u64, "faults");
    let total = Mutex::new(Total::default());
    on_all_cores(terms, work.len(), |at| {
        let (course, point, fault) = &work[at];
        bar.set_message(course.tape.case.flow.clone());
        let outcome = course.disturb(vec![fault.clone()]);
        bar.inc(1);
        let Ok(mut total) = total.lock() else { return };
        match outcome {
            Ok(run) => {
                total.count.take(point.site, &run);
                if !run.trouble.is_any() {
                    let flow = course.tape.case.flow.clone();
                    total.missed.push(Planned { flow, site: point.site, fault: fault.clone() });
                }
            }
            Err(broken) => {
                total.count.runs += 1;
                total.count.sites.insert(point.site);
                total.broken.push(*broken);
            }
        }
    });
    bar.finish_and_clear();
    total.into_inner().unwrap_or_default()
}
