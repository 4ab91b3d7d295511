//! The drawn flow in the simulated kernel: a fixed range of seeds, each run twice.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, missing_docs)]

use wavetank_sim::{Case, Flow, Lazy, Tape};

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
