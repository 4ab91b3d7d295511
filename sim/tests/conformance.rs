//! The simulated kernel held against the real one: see `wavetank-sim conform`, which this runs.
//!
//! Every topic has seeds that are always the same, and some that are drawn from the clock.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, missing_docs)]

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use rstest::rstest;

fn conform(arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_wavetank-sim"))
        .arg("conform")
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{error}", output.status);
    assert!(text.contains(" calls compared"), "{text}");
}

#[test]
fn the_fixed_sequences_agree_and_bring_every_outcome_that_is_promised() {
    conform(&["--complete"]);
}

#[rstest]
#[case("files", "100")]
#[case("fifos", "100")]
#[case("terminals", "80")]
#[case("sockets", "120")]
#[case("processes", "15")]
fn fresh_sequences_agree(#[case] topic: &str, #[case] seeds: &str) {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    conform(&[topic, "--seeds", seeds, "--from", &clock.to_string()]);
}

/// What fresh sequences have found.
#[rstest]
#[case::unread_of_a_file_that_was_cut_off("files", "1795764113")]
fn sequences_that_differed_once_agree(#[case] topic: &str, #[case] seed: &str) {
    conform(&[topic, "--seeds", "1", "--from", seed]);
}
