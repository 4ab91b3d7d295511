//! The runtime v2 door in the simulated kernel: every flow in thousands of orders, each run twice.
#![allow(missing_docs)]

use wavetank_sim::Random;
use wavetank_sim::task::{flows, run};

const SEEDS: u64 = 500;

/// Flows are shared out between two threads, as a machine for tests has two cores.
fn every_nth_flow(of: usize, n: usize) {
    for flow in flows().iter().skip(n).step_by(of) {
        for seed in 0..SEEDS {
            let again = format!("wavetank-sim run {} --from {seed} --trace", flow.name);
            let first = run(flow, &mut Random::new(seed), false);
            assert_eq!(first.failure, None, "{again}");
            let second = run(flow, &mut Random::new(seed), false);
            assert_eq!(first.hash, second.hash, "not the same when run again: {again}");
        }
    }
}

#[test]
fn every_flow_goes_right_in_every_order_tried_first_half() {
    every_nth_flow(2, 0);
}

#[test]
fn every_flow_goes_right_in_every_order_tried_second_half() {
    every_nth_flow(2, 1);
}
