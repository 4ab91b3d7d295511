//! The museum: bugs that shims had in the world, class by class; for each the flows that are its
//! scenario, and the planted bug that has to be found in them.

mod exits;
mod hazards;
mod leaks;
mod loops;
mod pipes;

use serde::Serialize;
use wavetank::host::Bug;

use crate::choose::Lazy;
use crate::flow::{Case, Flow};
use crate::run::Failure;
use crate::tape::Tape;

/// No bug may take more seeds than this to be found.
pub const SEEDS_MAX: u64 = 2000;

/// A class of bugs, or one of its shapes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Exhibit {
    /// The number of its class; what was read in the code of containerd 0.2.9 and in no report
    /// counts on from 41.
    pub class: u32,
    /// What happened.
    pub title: &'static str,
    /// Where: `#N` is containerd's, others are named.
    pub references: &'static str,
    /// The names of the flows in which it could happen again.
    pub flows: &'static [&'static str],
    /// What puts it back.
    pub bug: Option<Bug>,
    /// Without a bug: why there is none.
    pub why_not: &'static str,
}

/// A bug that was found.
#[derive(Clone, Debug)]
pub struct Find {
    /// How many seeds it took, this one included; each was tried in every flow of the scenario.
    pub seeds: u64,
    /// What gave it away.
    pub failure: Failure,
    /// The run.
    pub tape: Tape,
}

/// Everything in the museum, in the order of the classes.
#[must_use]
pub fn exhibits() -> Vec<Exhibit> {
    let rooms = [exits::EXHIBITS, pipes::EXHIBITS, leaks::EXHIBITS, loops::EXHIBITS];
    rooms.into_iter().chain([hazards::EXHIBITS]).flatten().copied().collect()
}

/// Looks for an exhibit's planted bug with random seeds from `first_seed` on, as long as `go_on`
/// says so before each of them, and [`SEEDS_MAX`] of them at most.
pub fn hunt(exhibit: &Exhibit, first_seed: u64, go_on: &mut dyn FnMut() -> bool) -> Option<Find> {
    let cases = exhibit.cases(Some(exhibit.bug?));
    (1..=SEEDS_MAX).take_while(|_| go_on()).find_map(|seeds| {
        let (failure, tape) = first_failure(&cases, first_seed + seeds - 1)?;
        Some(Find { seeds, failure, tape })
    })
}

/// Runs an exhibit's scenario without its bug, as long as `go_on` says so before each seed. The
/// first run that fails, if any.
pub fn scenario(
    exhibit: &Exhibit,
    seeds: std::ops::Range<u64>,
    go_on: &mut dyn FnMut() -> bool,
) -> Option<(Failure, Tape)> {
    let cases = exhibit.cases(None);
    let mut seeds = seeds.take_while(|_| go_on());
    seeds.find_map(|seed| first_failure(&cases, seed))
}

impl Exhibit {
    /// The scenario's flows that exist, with this bug in them.
    fn cases(&self, bug: Option<Bug>) -> Vec<(Case, Flow)> {
        let case = |name: &&str| {
            let case = Case { bug, ..Case::of(name) };
            let flow = case.flow()?;
            Some((case, flow))
        };
        self.flows.iter().filter_map(case).collect()
    }
}

fn first_failure(cases: &[(Case, Flow)], seed: u64) -> Option<(Failure, Tape)> {
    cases.iter().find_map(|(case, flow)| {
        // To write a run down takes time, and hardly any is worth it.
        flow.run(&mut Lazy::seeded(seed), false).failure?;
        let (run, tape) = Tape::record(case, flow, Lazy::seeded(seed), false);
        Some((run.failure?, tape))
    })
}
