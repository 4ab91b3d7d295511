//! The runtime v2 shim under real containerds, with real runtimes. Each row of the table is what a
//! user sees of one thing; it is read once with containerd's own shim and once with ours, in the
//! same run, and both have to read the same. Where ours is better on purpose, the row says why.
//!
//! `cargo test --test containerd [WORD]...` runs the rows whose name has one of the words. It needs
//! root, `containerd`, `ctr`, a static `busybox`, and `runc` or `crun`; a containerd 2.x is taken
//! from `target/containerd-2` (`.ci/fetch-containerd` puts it there). Checkpoints need a `criu` that works.
//! What is missing is told.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `WAVETANK_SHIM` | our shim, if it is to be another build than the one beside this test |
//! | `WAVETANK_SHIMS` | `stock` or `ours`: only with this shim |
//! | `WAVETANK_SOAK` | how many runs the soak makes, and a tenth of how many execs: 1000 for the real thing |
//! | `WAVETANK_JOBS` | how many rows are read at the same time |
//! | `WAVETANK_TIMES` | tells how long each row took |
//! | `WAVETANK_CONTAINERD_2` | where a containerd 2.x was unpacked |
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod client;
mod daemon;
mod place;
mod rows;
mod scene;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    match place::enter() {
        place::Entered::Inside => table::run(),
        place::Entered::Ended(code) => code,
        place::Entered::Cannot(why) => {
            println!("SKIPPED containerd: {why}");
            println!("test result: ok. 0 passed; 0 failed; 1 ignored");
            ExitCode::SUCCESS
        }
    }
}
