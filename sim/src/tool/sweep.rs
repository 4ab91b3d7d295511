//! `wavetank-sim sweep`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::ProgressBar;
use serde::Serialize;
use wavetank_sim::sweep::{Broken, CANONICAL, Count, Course, Point};
use wavetank_sim::{Call, Fault, Flow};

use super::{Done, Terms, can_unwind, read_text, select};

/// So many failing runs are kept as tapes.
const KEPT: usize = 10;

/// Rooms in which the shim's calls are; the others are the daemon's side, and the door itself.
const ROOMS: [&str; 7] = ["classic", "files.rs", "oci", "process", "stdio", "supervisor", "task"];

#[derive(Serialize)]
struct Report {
    /// Undisturbed runs whose calls were made to fail.
    courses: usize,
    /// Runs with one call that failed once or for ever.
    single: Count,
    /// Runs with two calls that failed.
    pairs: u64,
    /// Pairs of which the second did not come any more.
    pairs_missed: u64,
    /// Places at which the shim makes a call and that no flow comes to.
    unreached: Vec<String>,
    found: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    flow: String,
    faults: Vec<Fault>,
    oracle: &'static str,
    objection: String,
}

pub(crate) fn sweep(terms: &Terms, flows: &[String], pairs: bool, seeds: u64) -> Done {
    can_unwind()?;
    let names: Vec<&str> = match pairs && flows.is_empty() {
        true => CANONICAL.to_vec(),
        false => select(flows)?.iter().map(Flow::name).collect(),
    };
    let starts: Vec<Option<u64>> = std::iter::once(None)
        .chain((0..seeds).map(Some))
        .take(if pairs { 1 } else { usize::MAX })
        .collect();
    let courses: Vec<Course> = names
        .iter()
        .flat_map(|name| starts.iter().filter_map(|seed| Course::of(name, *seed)))
        .collect();
    let mut report = Report {
        courses: courses.len(),
        single: Count::default(),
        pairs: 0,
        pairs_missed: 0,
        unreached: Vec::new(),
        found: Vec::new(),
    };
    let broken = if pairs {
        all_pairs(terms, &courses, &mut report)
    } else {
        all_single(terms, &courses, &mut report)
    };
    if !pairs && flows.is_empty() {
        report.unreached = unreached(&report.single)?;
    }
    for (number, Broken { tape, failure }) in broken.iter().enumerate() {
        if number < KEPT {
            terms.keep(tape, failure, &format!("sweep-{number}"))?;
        }
        let faults = tape.case.faults.clone();
        let found = Found {
            flow: tape.case.flow.clone(),
            faults,
            oracle: failure.oracle,
            objection: failure.objection.clone(),
        };
        report.found.push(found);
    }
    tell(terms, &report);
    terms.report(&report)?;
    Ok(terms.verdict(!broken.is_empty()))
}

fn tell(terms: &Terms, report: &Report) {
    let bar = ProgressBar::hidden();
    let Report { courses, single, pairs, .. } = report;
    if *pairs > 0 {
        let missed = report.pairs_missed;
        terms
            .line(&bar, &format!("{courses} life cycles, {pairs} pairs of calls, {missed} missed"));
    } else {
        let Count { runs, missed, sites } = single;
        let sites = sites.len();
        let text = format!("{courses} courses, {sites} sites, {runs} faults, {missed} missed");
        terms.line(&bar, &text);
    }
    for site in &report.unreached {
        terms.line(&bar, &format!("no flow comes to {site}"));
    }
    for Found { flow, faults, oracle, objection } in &report.found {
        let fault = serde_json::to_string(faults).unwrap_or_default();
        terms.line(&bar, &format!("{flow} {fault}\n    {oracle}: {objection}"));
    }
}

fn all_single(terms: &Terms, courses: &[Course], report: &mut Report) -> Vec<Broken> {
    let work: Vec<(&Course, Point, Fault)> = courses
        .iter()
        .flat_map(|course| {
            course.single().into_iter().map(move |(point, fault)| (course, point, fault))
        })
        .collect();
    let bar = terms.bar(work.len() as u64, "faults");
    let total = Mutex::new((Count::default(), Vec::new()));
    on_all_cores(terms, work.len(), |at| {
        let (course, point, fault) = &work[at];
        bar.set_message(course.tape.case.flow.clone());
        let outcome = course.disturb(vec![fault.clone()]);
        bar.inc(1);
        let Ok(mut total) = total.lock() else { return };
        match outcome {
            Ok(run) => total.0.take(point.site, &run),
            Err(broken) => {
                total.0.runs += 1;
                total.0.sites.insert(point.site);
                total.1.push(*broken);
            }
        }
    });
    bar.finish_and_clear();
    let (count, broken) = total.into_inner().unwrap_or_default();
    report.single = count;
    broken
}

fn all_pairs(terms: &Terms, courses: &[Course], report: &mut Report) -> Vec<Broken> {
    let work: Vec<(&Course, Fault)> = courses
        .iter()
        .flat_map(|course| course.first_of_pairs().into_iter().map(move |first| (course, first)))
        .collect();
    let bar = terms.bar(work.len() as u64, "first calls");
    let total = Mutex::new((0, 0, Vec::new()));
    on_all_cores(terms, work.len(), |at| {
        let (course, first) = &work[at];
        bar.set_message(course.tape.case.flow.clone());
        let (mut pairs, mut missed, mut broken) = (0, 0, Vec::new());
        match course.second_of_pairs(first) {
            Err(failing) => broken.push(*failing),
            Ok(seconds) => {
                for second in seconds {
                    if terms.interrupted() {
                        return;
                    }
                    pairs += 1;
                    match course.disturb(vec![first.clone(), second]) {
                        Ok(run) => missed += u64::from(run.struck < 2),
                        Err(failing) => broken.push(*failing),
                    }
                }
            }
        }
        bar.inc(1);
        let Ok(mut total) = total.lock() else { return };
        total.0 += pairs;
        total.1 += missed;
        total.2.extend(broken);
    });
    bar.finish_and_clear();
    let (pairs, missed, broken) = total.into_inner().unwrap_or_default();
    (report.pairs, report.pairs_missed) = (pairs, missed);
    broken
}

/// Does so many pieces of work, as many at a time as there are cores, until somebody interrupts.
fn on_all_cores(terms: &Terms, pieces: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !terms.interrupted() {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= pieces {
                        return;
                    }
                    work(at);
                }
            });
        }
    });
}

/// The places in the sources at which a call is made that may fail, and at which none did.
fn unreached(count: &Count) -> Result<Vec<String>, String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let reached: BTreeSet<(String, u32)> =
        count.sites.iter().map(|site| (site.file.to_owned(), site.line)).collect();
    let mut found = Vec::new();
    for room in ROOMS {
        for file in sources(&top.join("src").join(room))? {
            let text = read_text(&file)?;
            let name = file.strip_prefix(&top).unwrap_or(&file).to_string_lossy().into_owned();
            let places = places(&name, &text).into_iter();
            let places = places.filter(|(line, _)| !reached.contains(&(name.clone(), *line)));
            found.extend(places.map(|(line, call)| format!("{name}:{line} {}", call.name())));
        }
    }
    Ok(found)
}

/// The calls of the host in a source, with their lines; its tests do not count.
fn places(file: &str, text: &str) -> Vec<(u32, Call)> {
    let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
    let can_fail = |call: &&Call| wavetank_sim::errnos::errors_at(**call, file).next().is_some();
    let mut found = Vec::new();
    let mut before = "";
    for (number, line) in (1..).zip(shipped.lines()) {
        let line = line.trim();
        let is_comment = line.starts_with("//");
        for call in Call::ALL.iter().filter(can_fail).filter(|_| !is_comment) {
            let name = call.name();
            let is_here = line.contains(&format!("host.{name}("));
            let goes_on = before.ends_with("host") && line.starts_with(&format!(".{name}("));
            if is_here || goes_on {
                found.push((number, *call));
            }
        }
        before = line;
    }
    found
}

/// A file, or all sources below a directory but those of tests.
fn sources(path: &Path) -> Result<Vec<PathBuf>, String> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error: std::io::Error| format!("list {}: {error}", path.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_stem().unwrap_or_default();
        let is_source = path.is_dir() || path.extension().is_some_and(|end| end == "rs");
        if is_source && name != "tests" && name != "fake" {
            found.extend(sources(&path)?);
        }
    }
    found.sort();
    Ok(found)
}
