//! `wavetank-sim exhaust`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;
use wavetank::host::Bug;
use wavetank_sim::Failure;
use wavetank_sim::exhaust::{Broken, Race, Tried, races};

use super::{Done, Terms, Verdict, can_unwind};

#[derive(Serialize)]
struct Report {
    races: Vec<Row>,
    seconds: f64,
    found: Option<Found>,
}

/// What came of one race.
#[derive(Serialize)]
struct Row {
    race: &'static str,
    title: &'static str,
    #[serde(flatten)]
    tried: Tried,
    seconds: f64,
}

#[derive(Serialize)]
struct Found {
    race: &'static str,
    failure: Failure,
    tape: PathBuf,
}

/// How races are tried.
#[derive(Clone, Copy)]
pub(crate) struct How {
    /// Seconds after which one is left as it is.
    pub(crate) limit: Option<f64>,
    /// The daemon's reading is part of each.
    pub(crate) everybody: bool,
}

pub(crate) fn exhaust(terms: &Terms, names: &[String], bug: Option<&str>, how: How) -> Done {
    can_unwind()?;
    let bug = bug.map(|name| Bug::named(name).ok_or_else(|| format!("there is no bug {name}")));
    let bug = bug.transpose()?;
    let named = |name: &String| Race::named(name).ok_or_else(|| format!("there is no race {name}"));
    let How { limit, everybody } = how;
    let mut races = match names {
        [] => races(),
        names => names.iter().map(named).collect::<Result<_, _>>()?,
    };
    races.iter_mut().for_each(|race| race.everybody = everybody);
    let limit = limit.map(Duration::from_secs_f64);
    let bar = terms.bar(0, "orders");
    let start = Instant::now();
    let mut report = Report { races: Vec::new(), seconds: 0.0, found: None };
    // Two at a time: a race is tried by one thread, and everything in it is that thread's own.
    let queue = std::sync::Mutex::new(races.iter());
    let work = || {
        let mut done = Vec::new();
        while !terms.interrupted()
            && let Some(race) = next(&queue)
        {
            done.push((race, try_race(terms, &bar, race, bug, limit)));
        }
        done
    };
    let results = std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut done = work();
        done.extend(other.join().unwrap_or_default());
        done
    });
    bar.finish_and_clear();
    for race in &races {
        let mine = results.iter().find(|(it, _)| it.name == race.name);
        let Some((_, (tried, broken, seconds))) = mine else { continue };
        let whole = if tried.is_whole { "all" } else { "not all" };
        let Tried { orders, given_up, steps, outcomes, .. } = *tried;
        let line = format!(
            "{:24} {:24} {whole}: {orders} orders, {given_up} given up, of {steps} steps, \
             {outcomes} outcomes, {seconds:.1} s",
            race.name, race.title
        );
        terms.line(&bar, &line);
        let (race, title, seconds) = (race.name, race.title, *seconds);
        report.races.push(Row { race, title, tried: tried.clone(), seconds });
        if let Some(Broken { failure, tape }) = broken {
            let path = terms.keep(tape, failure, race)?;
            report.found.get_or_insert(Found { race, failure: failure.clone(), tape: path });
        }
    }
    report.seconds = start.elapsed().as_secs_f64();
    terms.line(&bar, &format!("{:.1} s in all", report.seconds));
    terms.report(&report)?;
    Ok(match terms.verdict(report.found.is_some()) {
        // Whoever set a limit did not ask for all.
        Verdict::AsPromised if limit.is_none() && results.iter().any(|(_, it)| !it.0.is_whole) => {
            Verdict::Interrupted
        }
        verdict => verdict,
    })
}

fn next<'r>(queue: &std::sync::Mutex<std::slice::Iter<'r, Race>>) -> Option<&'r Race> {
    queue.lock().ok()?.next()
}

fn try_race(
    terms: &Terms,
    bar: &ProgressBar,
    race: &Race,
    bug: Option<Bug>,
    limit: Option<Duration>,
) -> (Tried, Option<Broken>, f64) {
    let start = Instant::now();
    let (tried, broken) = race.try_all(bug, &mut || {
        bar.inc(1);
        !terms.interrupted() && limit.is_none_or(|limit| start.elapsed() < limit)
    });
    (tried, broken, start.elapsed().as_secs_f64())
}
