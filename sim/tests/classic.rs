//! The classic door in the simulated kernel: every flow in four thousand orders, each run twice.
#![allow(missing_docs)]

mod common;

use wavetank_sim::Flow;

const SEEDS: u64 = 4_000;

fn flows() -> Vec<Flow> {
    Flow::all().into_iter().filter(|flow| matches!(flow, Flow::Classic(_))).collect()
}

#[test]
fn every_flow_goes_right_in_every_order_tried_first_half() {
    common::every_second_flow(&flows(), 0, SEEDS);
}

#[test]
fn every_flow_goes_right_in_every_order_tried_second_half() {
    common::every_second_flow(&flows(), 1, SEEDS);
}
