//! The simulated kernel held against the real one: the same random calls, the same answers.
#![allow(missing_docs)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is its own harness")]

mod calls;
mod compare;
mod processes;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use calls::Calls;
use compare::{Topic, check_all};
use processes::Processes;
use wavetank::host::LinuxHost;

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
    match &outcome {
        Ok(text) => println!("{text}"),
        Err(text) => eprintln!("{text}"),
    }
    outcome.is_ok()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [processes::ACT, ..] => {
            let words: Vec<OsString> = arguments.iter().skip(1).map(OsString::from).collect();
            let code = processes::act(&mut LinuxHost::new(), &words);
            return ExitCode::from(u8::try_from(code).unwrap());
        }
        [processes::PLAY, seed, kept] => {
            for line in processes::play_alone(seed, kept) {
                println!("{line}");
            }
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let wanted: Vec<&String> = arguments.iter().filter(|it| !it.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|it| name.contains(*it));
    let mut agree = true;
    for topic in [Calls::Files, Calls::Fifos, Calls::Terminals, Calls::Sockets] {
        if is_wanted(topic.name()) {
            agree &= run(&topic, 2000, 200);
        }
    }
    if is_wanted(Processes.name()) {
        agree &= run(&Processes, 100, 20);
    }
    if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
