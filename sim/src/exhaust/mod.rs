//! Races of which every order is tried.
//!
//! A race begins when everybody waits, and the daemon then makes the calls that race; it is over when
//! everybody waits again, which is before the daemon does anything else. In between *all orders of
//! all calls of all processes* are tried, however often they change places; of orders that differ
//! only in which of two independent neighbours comes first, one. Before and after it, the run is the
//! plain one. No call is cut short or fails, and time passes only when nobody can run.
//!
//! The daemon is one of these processes as long as it makes calls. What it does afterwards is to
//! read what it is told, and in most races ([`Step::Race`](crate::task::Step::Race) says in which)
//! it does that only when nobody else can go on: all orders are those of shims, runtimes and
//! containers. [`Race::everybody`] has it read whenever it may.

mod explorer;
mod order;
#[cfg(test)]
mod swaps;

use std::collections::BTreeSet;

use serde::Serialize;
use wavetank::host::Bug;

use crate::flow::{Case, Flow};
use crate::run::Failure;
use crate::tape::Tape;
use explorer::Explorer;

/// Two things that happen at the same time.
#[derive(Clone, Debug)]
pub struct Race {
    /// Its name, which is that of its flow.
    pub name: &'static str,
    /// What races with what.
    pub title: &'static str,
    /// The daemon's reading is part of it, whatever the flow says.
    pub everybody: bool,
}

/// The races of both doors.
#[must_use]
pub fn races() -> Vec<Race> {
    let race = |(name, title)| Race { name, title, everybody: false };
    let all = crate::task::RACES.iter().chain(crate::classic::RACES);
    all.copied().map(race).collect()
}

/// What came of trying the orders of a race.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tried {
    /// Orders that were run to their end.
    pub orders: u64,
    /// Orders that were given up, since they could only become one that had been run.
    pub given_up: u64,
    /// How many steps the longest of them had.
    pub steps: usize,
    /// How many different things the daemon and its clients saw.
    pub outcomes: usize,
    /// Whether that were all of them.
    pub is_whole: bool,
    /// What those things are, as numbers.
    #[serde(skip)]
    pub seen: BTreeSet<u64>,
}

/// An order in which a promise was not kept.
#[derive(Clone, Debug)]
pub struct Broken {
    /// What was promised.
    pub failure: Failure,
    /// The run.
    pub tape: Tape,
}

impl Race {
    /// The race of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Race> {
        races().into_iter().find(|race| race.name == name)
    }

    /// Tries every order with this bug in the shim, as long as `go_on` says so before each.
    pub fn try_all(
        &self,
        bug: Option<Bug>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> (Tried, Option<Broken>) {
        self.walk(bug, true, go_on)
    }

    /// The same without leaving any order out, those included that differ in nothing.
    pub fn try_each(
        &self,
        bug: Option<Bug>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> (Tried, Option<Broken>) {
        self.walk(bug, false, go_on)
    }

    fn walk(
        &self,
        bug: Option<Bug>,
        reduces: bool,
        go_on: &mut dyn FnMut() -> bool,
    ) -> (Tried, Option<Broken>) {
        let mut tried = Tried::default();
        let case = Case { bug, ..Case::of(self.name) };
        let Some(flow) = case.flow() else { return (tried, None) };
        let explorer = Explorer::new(1, reduces, self.everybody);
        let broken = walk(&flow, explorer, &mut tried, go_on);
        (tried, broken.map(|(failure, answers)| Broken { failure, tape: Tape::new(case, answers) }))
    }
}

/// Tries the orders of a flow's race, until one fails.
fn walk(
    flow: &Flow,
    mut explorer: Explorer,
    tried: &mut Tried,
    go_on: &mut dyn FnMut() -> bool,
) -> Option<(Failure, Vec<u32>)> {
    while go_on() {
        let run = flow.run(&mut explorer, false);
        tried.steps = tried.steps.max(explorer.steps());
        if explorer.was_enough() {
            tried.given_up += 1;
        } else {
            tried.orders += 1;
            tried.seen.insert(run.outcome);
            tried.outcomes = tried.seen.len();
            let failure = run.failure.or_else(|| (!explorer.has_raced()).then(no_race));
            if let Some(failure) = failure {
                return Some((failure, explorer.take_tape()));
            }
        }
        if !explorer.advance() {
            tried.is_whole = true;
            break;
        }
    }
    None
}

fn no_race() -> Failure {
    Failure {
        oracle: "race",
        promise: "the race begins, and is over when everybody waits",
        objection: "it did not come to that".to_owned(),
        log: String::new(),
    }
}
