//! Crash points: in each life cycle the shim, and the daemon, is killed at each of its calls.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use rstest::rstest;
use wavetank_sim::crash::{self, Killed, Point};
use wavetank_sim::{Choose, Lazy, Replay, Tape};

fn chooser(seed: Option<u64>) -> Box<dyn Choose> {
    match seed {
        None => Box::new(Replay::default()),
        Some(seed) => Box::new(Lazy::seeded(seed)),
    }
}

/// Nothing may be wrong, and everybody has to be killed who is to be.
fn hit(flow: &crash::Flow, crashes: &[Point], seed: Option<u64>) {
    let case = crash::case(flow, crashes);
    let mut hit = flow.clone();
    hit.faults.extend(case.faults.iter().cloned());
    let (run, struck) = crash::run_counting(&hit, &mut *chooser(seed), false);
    let names =
        crashes.iter().map(|(Killed { program, part }, at)| format!("{program} {part} at {at}"));
    let point = format!("{} with {seed:?}: {}", flow.name, names.collect::<Vec<_>>().join(", "));
    if let Some(failure) = run.failure {
        let flow = case.flow().unwrap();
        let (_, tape) = Tape::record(&case, &flow, &mut *chooser(seed), false);
        panic!("{point}: {failure}\nits tape, to look at with `wavetank-sim show FILE`:\n{tape}");
    }
    assert_eq!(struck, crashes.len() as u64, "{point}: not everybody was killed");
}

/// How many points there were.
fn hit_every_call(flow: &crash::Flow, seed: Option<u64>) -> usize {
    let points = crash::points(flow, &mut *chooser(seed));
    points.iter().for_each(|point| hit(flow, &[*point], seed));
    points.len()
}

#[rstest]
#[case::plain(None)]
#[case::seed(Some(1))]
fn everything_comes_to_its_end_whoever_is_killed(#[case] seed: Option<u64>) {
    let flows = crash::flows();
    let points: usize = flows.iter().map(|flow| hit_every_call(flow, seed)).sum();
    assert!(flows.len() >= 10 && points > 3000, "{points} points in {} flows", flows.len());
}

/// A share of the pairs of kills: with each first one so many second ones, others with the next. All of
/// them are tried by `wavetank-sim crash --pairs`.
#[rstest]
#[case::task("crash/io", 3)]
#[case::classic("crash/classic", 3)]
fn whoever_is_killed_twice(#[case] name: &str, #[case] share: usize) {
    let flow = crash::flows().into_iter().find(|flow| flow.name == name).unwrap();
    let (mut pairs, mut all) = (0, 0);
    for (number, first) in crash::points(&flow, &mut *chooser(None)).into_iter().enumerate() {
        let seconds = crash::points_after(&flow, first, &mut *chooser(None));
        let step = seconds.len().div_ceil(share).max(1);
        for second in seconds.iter().skip(number % step).step_by(step) {
            hit(&flow, &[first, *second], None);
            pairs += 1;
        }
        all += seconds.len();
    }
    println!("{name}: {pairs} of {all} pairs of kills");
    assert!(pairs > 100 * share && pairs < all, "{pairs} of {all} pairs");
}
