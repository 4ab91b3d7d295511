//! The simulated kernel held against the real one: the same random calls, the same answers.
//!
//! A sequence of calls is drawn from a seed and made twice, on Linux and in the simulated kernel.
//! Every answer must be the same: value, bytes, errno, readiness. Descriptors and processes are
//! named by slots, since their numbers are nobody's promise. A sequence that differs is cut down to
//! the calls that it takes.
//!
//! Each topic has seeds that are always the same, and some that are drawn from the clock. A name
//! among the arguments selects topics; `WAVETANK_CONFORM_SEED` names one seed to try, or with
//! `WAVETANK_CONFORM_COUNT` the first of so many. `--list` says what there is.
//!
//! What Linux may do as it likes, and what is not held against it at all, is told by [`VARIES`] and
//! [`UNVERIFIED`] alone.
#![allow(missing_docs)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it stands outside of both kernels: arguments, environment, clock, its own parent"
)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is its own harness")]

mod calls;
mod compare;
mod draw;
mod processes;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use calls::Calls;
use compare::{SEED, Topic, check_all};
use processes::Processes;
use wavetank::host::LinuxHost;

/// The variable of the environment that says how many seeds to try from the named one on.
const COUNT: &str = "WAVETANK_CONFORM_COUNT";

/// Where Linux may differ from run to run, and what the comparison does about it.
const VARIES: [(&str, &str); 8] = [
    (
        "terminals",
        "When bytes come to the other side: a work queue brings them. The test waits until every \
         terminal says what is expected (`Machine::settled`), and a sequence must differ three \
         times.",
    ),
    (
        "processes",
        "Whether parent or child goes first. After each call the test waits until the child has \
         become what it must (`Parent::until`), and a sequence must differ three times.",
    ),
    ("processes", "Whether one that is about to wait is R, S or D: all are `runs`."),
    (
        "processes",
        "When an orphan that is not ours is reaped: once it has ended, nothing is asked about it \
         or its group.",
    ),
    (
        "processes",
        "Which of several ended children a wait finds: no page promises it. In fact it is the one \
         that became a child first, and that is compared.",
    ),
    (
        "sockets",
        "When a socket is collected whose last descriptor is on its way to itself: no sockets are \
         sent, only pipes and fifos.",
    ),
    ("all", "Numbers of descriptors, processes and inodes."),
    ("all", "Sizes of what is not a regular file."),
];

/// What nothing here compares, so that only the tests of `semantics` speak for it.
const UNVERIFIED: [(&str, &str); 11] = [
    ("all", "Calls that wait, but for `wait` itself, and two processes at one file."),
    ("all", "EINTR, full disks and tables, permissions, other users, names that are too long."),
    ("files", "fchown, fchmod, mode bits, links of /proc, and devices."),
    ("files", "mount, unmount, and all of /sys/fs/cgroup: they need root, and a machine to spoil."),
    ("terminals", "How much fits: never more than some thousand bytes are under way."),
    (
        "terminals",
        "Tabs that are erased; the keys kill, word erase, reprint, literal next, stop and start; \
         VMIN and VTIME but 1 and 0.",
    ),
    ("terminals", "Controlling terminals, foreground groups, and the signals that these get."),
    ("sockets", "Descriptors that are sent being used afterwards; listening queues but of one."),
    ("processes", "share_core, /proc/PID/cgroup, mountinfo and oom_score_adj."),
    ("processes", "exec, environments, descriptors of children, terminals of sessions."),
    ("processes", "/proc/PID/stat but for state, parent and group; signals beyond the usual."),
];

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Tries so many fixed seeds, and a tenth of that from the clock, or those that are named.
fn run<T: Topic>(topic: &T, fixed: u64) -> bool {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let outcome = match number(SEED) {
        Some(first) => check_all(topic, first..first + number(COUNT).unwrap_or(1)),
        None => check_all(topic, (0..fixed).chain(clock..clock + fixed / 10)),
    };
    match &outcome {
        Ok(text) => println!("{text}"),
        Err(text) => {
            eprintln!("{text}");
            let table = |rows: &[(&str, &str)]| {
                let rows = rows.iter().filter(|(name, _)| [topic.name(), "all"].contains(name));
                rows.map(|(_, text)| format!("\n  {text}")).collect::<String>()
            };
            eprintln!("Linux may vary:{}\nUnverified:{}", table(&VARIES), table(&UNVERIFIED));
        }
    }
    outcome.is_ok()
}

/// Topics, and how many fixed seeds each has: some twelve seconds for all.
fn run_topics(is_wanted: impl Fn(&str) -> bool, only_list: bool) -> bool {
    fn topic<T: Topic>(topic: &T, fixed: u64, wanted: bool, only_list: bool) -> bool {
        match (wanted, only_list) {
            (false, _) => true,
            (true, true) => {
                println!("{}: test", topic.name());
                true
            }
            (true, false) => run(topic, fixed),
        }
    }
    let calls = [
        (Calls::Files, 1000),
        (Calls::Fifos, 1000),
        (Calls::Terminals, 800),
        (Calls::Sockets, 1200),
    ];
    let mut agree = true;
    for (it, fixed) in calls {
        agree &= topic(&it, fixed, is_wanted(it.name()), only_list);
    }
    agree & topic(&Processes, 150, is_wanted(Processes.name()), only_list)
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
    let (options, wanted): (Vec<&String>, Vec<&String>) =
        arguments.iter().partition(|it| it.starts_with('-'));
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|it| name.contains(*it));
    let only_list = options.iter().any(|it| *it == "--list");
    if run_topics(is_wanted, only_list) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
