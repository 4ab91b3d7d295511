//! `wavetank-sim conform`: the simulated kernel held against the real one: the same random calls,
//! the same answers.
//!
//! A sequence of calls is drawn from a seed and made twice, on Linux and in the simulated kernel.
//! Every answer must be the same: value, bytes, errno, readiness. Descriptors and processes are
//! named by slots, since their numbers are nobody's promise. A sequence that differs is cut down to
//! the calls that it takes.
//!
//! What Linux may do as it likes, and what is not held against it at all, is told by [`tables`]
//! alone.
#![expect(clippy::unwrap_used, reason = "a comparison that cannot go on has found something")]

mod calls;
mod compare;
mod draw;
mod odd;
mod processes;
mod tables;

use std::ffi::OsString;
use std::process::ExitCode;

use calls::Calls;
use compare::{Pairs, check};
use processes::Processes;
use serde::Serialize;
use tables::{BESIDES, UNVERIFIED, Unverified, VARIES, promised, stale};
use wavetank::host::{Errno, LinuxHost};
use wavetank_sim::Call;

use super::{Done, Terms};

/// Topics, and how many seeds each has if nobody says how many.
const TOPICS: [(&str, u64); 5] =
    [("files", 1000), ("fifos", 1000), ("terminals", 800), ("sockets", 1200), ("processes", 150)];

#[derive(Serialize)]
struct Report {
    topics: Vec<Row>,
    pairs: Vec<Pair>,
    /// What is promised to be compared, and did not come.
    missed: Vec<(Call, Option<Errno>)>,
    unverified: &'static [Unverified],
    difference: Option<String>,
}

#[derive(Serialize)]
struct Row {
    topic: &'static str,
    sequences: u64,
    calls: u64,
}

#[derive(Serialize)]
struct Pair {
    call: Call,
    /// None is success.
    errno: Option<Errno>,
    times: u64,
}

/// What is asked for.
pub(crate) struct Wanted {
    pub(crate) topics: Vec<String>,
    pub(crate) seeds: Option<u64>,
    pub(crate) from: u64,
    /// Whether it is a finding if a promised pair does not come.
    pub(crate) complete: bool,
}

pub(crate) fn conform(terms: &Terms, wanted: &Wanted) -> Done {
    if let Some(name) = wanted.topics.iter().find(|it| TOPICS.iter().all(|(name, _)| it != name)) {
        let names = TOPICS.map(|(name, _)| name).join(", ");
        return Err(format!("there is no topic {name}; there are {names}"));
    }
    let is_wanted =
        |name: &str| wanted.topics.is_empty() || wanted.topics.iter().any(|it| it == name);
    let topics: Vec<(&str, u64)> = TOPICS
        .into_iter()
        .filter(|(name, _)| is_wanted(name))
        .map(|(name, seeds)| (name, wanted.seeds.unwrap_or(seeds)))
        .collect();
    let bar = terms.bar(topics.iter().map(|(_, seeds)| seeds).sum(), "sequences");
    let mut pairs = Pairs::new();
    let mut report = Report {
        topics: Vec::new(),
        pairs: Vec::new(),
        missed: Vec::new(),
        unverified: UNVERIFIED,
        difference: None,
    };
    for (topic, seeds) in topics {
        bar.set_message(topic);
        let mut row = Row { topic, sequences: 0, calls: 0 };
        let range = wanted.from..wanted.from.saturating_add(seeds);
        for seed in range.take_while(|_| !terms.interrupted()) {
            match one(topic, seed, &mut pairs) {
                Ok(calls) => row.calls += calls as u64,
                Err(difference) => {
                    terms.line(&bar, &difference);
                    report.difference = Some(difference);
                    break;
                }
            }
            row.sequences += 1;
            bar.inc(1);
        }
        let Row { sequences, calls, .. } = row;
        terms.line(&bar, &format!("{topic:10} {sequences} sequences, {calls} calls compared"));
        report.topics.push(row);
    }
    bar.finish_and_clear();
    report.missed = promised().into_iter().filter(|pair| !pairs.contains_key(pair)).collect();
    let pair = |((call, errno), times)| Pair { call, errno, times };
    report.pairs = pairs.into_iter().map(pair).collect();
    told(terms, &report);
    terms.report(&report)?;
    let stale: Vec<String> = stale(&report.pairs.iter().map(|it| (it.call, it.errno)).collect());
    if wanted.complete && !stale.is_empty() {
        return Err(format!("the table of what is unverified is wrong: {}", stale.join("; ")));
    }
    let is_incomplete = wanted.complete && !report.missed.is_empty();
    Ok(terms.verdict(report.difference.is_some() || is_incomplete))
}

fn one(topic: &str, seed: u64, pairs: &mut Pairs) -> Result<usize, String> {
    match topic {
        "files" => check(&Calls::Files, seed, pairs),
        "fifos" => check(&Calls::Fifos, seed, pairs),
        "terminals" => check(&Calls::Terminals, seed, pairs),
        "sockets" => check(&Calls::Sockets, seed, pairs),
        _ => check(&Processes, seed, pairs),
    }
}

fn told(terms: &Terms, report: &Report) {
    let bar = indicatif::ProgressBar::hidden();
    let line = |text: &str| terms.line(&bar, text);
    let named = |errno: Option<Errno>| errno.map_or("ok", Errno::name);
    line(&format!("\n{} pairs of call and outcome came on both sides:", report.pairs.len()));
    for of_call in report.pairs.chunk_by(|one, next| one.call == next.call) {
        let outcomes = of_call.iter().map(|it| format!(" {}:{}", named(it.errno), it.times));
        line(&format!("  {:24}{}", of_call[0].call.name(), outcomes.collect::<String>()));
    }
    if !report.missed.is_empty() {
        let missed = report.missed.iter();
        let missed = missed.map(|(call, errno)| format!("{} {}", call.name(), named(*errno)));
        line(&format!("promised, and did not come: {}", missed.collect::<Vec<_>>().join(", ")));
    }
    line("\nunverified:");
    for Unverified { call, success, errnos, why } in report.unverified {
        let errnos = errnos.iter().map(|errno| errno.name());
        let names: Vec<&str> = success.then_some("ok").into_iter().chain(errnos).collect();
        let names = if names == ["ok"] { "all of it".to_owned() } else { names.join(" ") };
        line(&format!("  {:24} {names}: {why}", call.name()));
    }
    for text in BESIDES {
        line(&format!("  {text}"));
    }
    line("\nLinux may vary:");
    for (topic, text) in VARIES {
        line(&format!("  {topic}: {text}"));
    }
}

/// What the processes on Linux's side are: children, and the parent of one sequence. None for
/// every other command line.
pub(crate) fn play(arguments: &[OsString]) -> Option<ExitCode> {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    match words[..] {
        [processes::ACT, ..] => {
            let code = processes::act(&mut LinuxHost::new(), &arguments[1..]);
            Some(ExitCode::from(u8::try_from(code).unwrap_or(1)))
        }
        [processes::PLAY, seed, kept] => {
            for line in processes::play_alone(seed, kept) {
                println!("{line}");
            }
            Some(ExitCode::SUCCESS)
        }
        _ => None,
    }
}
