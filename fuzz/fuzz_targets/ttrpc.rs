//! Feeds both ends of a ttrpc connection with bytes in pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wavetank_sim::fuzz;

fuzz_target!(|bytes: &[u8]| {
    if let Err(what) = fuzz::ttrpc(bytes) {
        panic!("{what}");
    }
});
