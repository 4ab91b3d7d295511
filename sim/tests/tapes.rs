//! The tapes in `fixtures/tapes`: what once failed does not fail any more, and what fails because of a
//! planted bug fails with it and not without it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

use wavetank::host::Bug;
use wavetank_sim::{Case, Lazy, Tape, shrink};

#[test]
fn every_tape_that_is_kept_says_what_it_said() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tapes");
    let entries = std::fs::read_dir(&directory).unwrap();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let tapes = paths.iter().filter(|path| path.extension().is_some_and(|end| end == "tape"));
    let mut run = 0;
    for path in tapes {
        let tape: Tape = std::fs::read_to_string(path).unwrap().parse().unwrap();
        let name = path.display();
        let failure = |tape: &Tape| tape.run(false).unwrap().failure;
        if tape.case.bug.is_some() {
            assert!(failure(&tape).is_some(), "{name} does not fail any more");
        }
        let sound = Tape { case: Case { bug: None, ..tape.case.clone() }, ..tape };
        assert_eq!(failure(&sound), None, "{name}");
        run += 1;
    }
    assert!(run > 0, "there are no tapes");
}

#[test]
fn a_planted_bug_is_found_and_its_tape_made_small() {
    let case = Case::of("grandchild").planted(Bug::OneWaitPerSignal);
    let flow = case.flow().unwrap();
    let record = |seed| Tape::record(&case, &flow, Lazy::seeded(seed), false);
    let (run, tape) = (0..1000).map(record).find(|(run, _)| run.failure.is_some()).unwrap();
    let small = shrink(&tape, &mut |_| true).unwrap();
    assert!(small.decisions() <= tape.decisions().min(20), "{small}");
    let again = small.run(false).unwrap().failure.unwrap();
    assert_eq!(again.oracle, run.failure.unwrap().oracle);
}
