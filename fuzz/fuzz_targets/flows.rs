//! Runs flows whose every choice is a byte. What it finds is printed as a tape.
//!
//! The simulated processes have stacks of their own, which the address sanitizer does not know:
//! `cargo +nightly fuzz run --sanitizer none flows`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wavetank_sim::{Flow, fuzz};

thread_local! {
    static FLOWS: Vec<Flow> = fuzz::flows();
}

fuzz_target!(|bytes: &[u8]| {
    FLOWS.with(|flows| {
        if let Some((failure, tape)) = fuzz::run(flows, bytes) {
            panic!("{}: {failure}\n{tape}", tape.case.flow);
        }
    });
});
