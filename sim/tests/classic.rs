//! The classic door in the simulated kernel, in as many orders as there is time for.
#![allow(missing_docs)]

use rstest::rstest;
use wavetank_sim::classic::{flow, flows, run};
use wavetank_sim::{Random, first_difference};

const SEEDS: u64 = 100;

#[test]
fn every_flow_goes_right_in_every_order_tried() {
    for flow in flows() {
        for seed in 0..SEEDS {
            let first = run(&flow, &mut Random::new(seed), false);
            assert_eq!(first.failure, None, "{} with seed {seed}", flow.name);
            let second = run(&flow, &mut Random::new(seed), false);
            assert_eq!(first.hash, second.hash, "{} with seed {seed} differs", flow.name);
        }
    }
}
