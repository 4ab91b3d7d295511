//! The drawn flows in the simulated kernel: a fixed range of seeds, each run twice; and the rare branches
//! of the shim that they and all others have to reach.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, missing_docs)]

use wavetank::host::Mark;
use wavetank_sim::{Case, Coverage, Flow, Lazy, Tape};

/// Fresh seeds are for `wavetank-sim soak`.
const SEEDS: u64 = 200;
/// Every other flow has so many.
const ROUNDS: u64 = 12;
/// But these, in which something rare is to happen.
const PATIENT: [(&str, u64); 2] =
    [("task/shims-come-and-go", 100), ("task/clients-give-up-slow", 100)];
/// Reached with so few seeds by chance, if at all; a soak has to.
const TOO_RARE: [Mark; 3] = [Mark::AnswerBlocked, Mark::CreateDisowned, Mark::RemovalTriedAgain];

#[test]
fn what_is_drawn_goes_right_and_is_the_same_when_run_again() {
    let drawn: Vec<Flow> = Flow::all().into_iter().filter(Flow::is_drawn).collect();
    assert_eq!(drawn.iter().map(Flow::name).collect::<Vec<_>>(), ["task/swarm"]);
    for flow in drawn {
        for seed in 0..SEEDS {
            let first = flow.run(&mut Lazy::seeded(seed), false);
            if let Some(failure) = first.failure {
                let case = Case::of(flow.name());
                let (_, tape) = Tape::record(&case, &flow, Lazy::seeded(seed), false);
                panic!("{} with seed {seed}: {failure}\nits tape:\n{tape}", flow.name());
            }
            let second = flow.run(&mut Lazy::seeded(seed), false);
            let name = flow.name();
            assert_eq!(first.hash, second.hash, "{name}: {seed} is not the same when run again");
        }
    }
}

#[test]
fn every_rare_branch_is_reached() {
    let mut coverage = Coverage::default();
    for flow in Flow::all() {
        let patient = PATIENT.iter().find(|(name, _)| *name == flow.name());
        let seeds = patient.map_or(if flow.is_drawn() { SEEDS } else { ROUNDS }, |it| it.1);
        for seed in 0..seeds {
            coverage.add(&flow.run(&mut Lazy::seeded(seed), false).marks);
        }
    }
    let missing: Vec<Mark> =
        coverage.missing().into_iter().filter(|mark| !TOO_RARE.contains(mark)).collect();
    assert_eq!(missing, [], "{coverage}");
}
