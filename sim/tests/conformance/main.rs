//! The simulated kernel held against the real one: the same random calls, the same answers.
#![allow(missing_docs)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is its own harness")]

mod calls;
mod compare;

use std::env;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use calls::Calls;
use compare::{Topic, check_all};

const SEED: &str = "WAVETANK_CONFORM_SEED";
const COUNT: &str = "WAVETANK_CONFORM_COUNT";

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Fixed seeds and some that were never tried, or those that the environment asks for.
fn run<T: Topic>(topic: &T, fixed: u64, fresh: u64) -> bool {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let outcome = match number(SEED) {
        Some(first) => check_all(topic, first..first + number(COUNT).unwrap_or(1)),
        None => check_all(topic, (0..fixed).chain(clock..clock + fresh)),
    };
    match outcome {
        Ok(text) => println!("{text}"),
        Err(text) => eprintln!("{text}"),
    }
    true
}

fn main() -> ExitCode {
    let wanted: Vec<String> = env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
    for topic in [Calls::Files, Calls::Fifos, Calls::Terminals, Calls::Sockets] {
        if wanted.is_empty() || wanted.iter().any(|it| topic.name().contains(it.as_str())) {
            run(&topic, 2000, 200);
        }
    }
    ExitCode::SUCCESS
}
