//! What the tests of both doors have in common.

use wavetank_sim::{Case, Flow, Lazy, Tape};

/// Runs every second flow with every seed, twice, and compares. Flows are shared out between two
/// threads, as a machine for tests has two cores.
pub(crate) fn every_second_flow(flows: &[Flow], from: usize, seeds: u64) {
    assert!(flows.len() > 10, "only {} flows", flows.len());
    for flow in flows.iter().skip(from).step_by(2) {
        let case = Case::of(flow.name());
        for seed in 0..seeds {
            let first = flow.run(&mut Lazy::seeded(seed), false);
            if let Some(failure) = first.failure {
                let (_, tape) = Tape::record(&case, flow, Lazy::seeded(seed), false);
                panic!(
                    "{} with seed {seed}: {failure}\nto look at it:\n    \
                     cargo run -p wavetank-sim -- show --flow {} --seed {seed}\nits tape:\n{tape}",
                    flow.name(),
                    flow.name()
                );
            }
            let second = flow.run(&mut Lazy::seeded(seed), false);
            assert_eq!(
                first.hash,
                second.hash,
                "{} with seed {seed} is not the same when run again",
                flow.name()
            );
        }
    }
}
