//! The drawn flow in the simulated kernel: a fixed range of seeds, each run twice.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, missing_docs)]

use wavetank::host::Mark;
use wavetank_sim::{Case, Coverage, Flow, Lazy, Tape};

/// Fresh seeds are for `wavetank-sim soak`.
const SEEDS: u64 = 200;

#[test]
fn what_is_drawn_goes_right_and_is_the_same_when_run_again() {
    let flow = Flow::named("task/swarm").unwrap();
    for seed in 0..SEEDS {
        let first = flow.run(&mut Lazy::seeded(seed), false);
        if let Some(failure) = first.failure {
            let case = Case::of(flow.name());
            let (_, tape) = Tape::record(&case, &flow, Lazy::seeded(seed), false);
            panic!("seed {seed}: {failure}\nits tape:\n{tape}");
        }
        let second = flow.run(&mut Lazy::seeded(seed), false);
        assert_eq!(first.hash, second.hash, "seed {seed} is not the same when run again");
    }
}

/// For those that no flow of these reaches with the fixed seeds: soak has to.
const TOO_RARE: [Mark; 0] = [];

/// Each seed runs in every flow.
const ROUNDS: u64 = 12;

#[test]
fn every_rare_branch_is_reached() {
    let mut coverage = Coverage::default();
    for flow in Flow::all() {
        let seeds = if flow.is_drawn() { SEEDS } else { ROUNDS };
        for seed in 0..seeds {
            coverage.add(&flow.run(&mut Lazy::seeded(seed), false).marks);
        }
    }
    assert_eq!(coverage.missing(), TOO_RARE, "{coverage}");
}
