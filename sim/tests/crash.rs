//! Crash points: in each life cycle the shim, and the daemon, is killed at each of its calls.
#![allow(clippy::unwrap_used, missing_docs)]

use rstest::rstest;
use wavetank_sim::crash::{self, Killed};
use wavetank_sim::{Choose, Lazy, Replay, Tape};

fn chooser(seed: Option<u64>) -> Box<dyn Choose> {
    match seed {
        None => Box::new(Replay::default()),
        Some(seed) => Box::new(Lazy::seeded(seed)),
    }
}

/// How many points there were.
fn hit_every_call(flow: &crash::Flow, seed: Option<u64>) -> usize {
    let survey = crash::survey(flow, &mut *chooser(seed));
    for (killed, after) in survey.points() {
        let case = crash::case(flow, &[(killed, after)]);
        let mut hit = flow.clone();
        hit.faults.extend(case.faults.iter().cloned());
        let (run, struck) = crash::run_counting(&hit, &mut *chooser(seed), false);
        let Killed { program, part } = killed;
        let point = format!("{} with {seed:?}: {program} {part} at {after}", flow.name);
        assert_eq!(struck, 1, "{point}: nobody was killed");
        if let Some(failure) = run.failure {
            let flow = case.flow().unwrap();
            let (_, tape) = Tape::record(&case, &flow, &mut *chooser(seed), false);
            panic!(
                "{point}: {failure}\nits tape, to look at with `wavetank-sim show FILE`:\n{tape}"
            );
        }
    }
    survey.points().count()
}

#[rstest]
#[case::plain(None)]
#[case::seed(Some(1))]
fn everything_comes_to_its_end_whoever_is_killed(#[case] seed: Option<u64>) {
    let flows = crash::flows();
    let points: usize = flows.iter().map(|flow| hit_every_call(flow, seed)).sum();
    assert!(flows.len() >= 10 && points > 3000, "{points} points in {} flows", flows.len());
}
