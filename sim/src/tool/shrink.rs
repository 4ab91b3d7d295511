//! `wavetank-sim shrink`.

use std::path::{Path, PathBuf};

use serde::Serialize;
use wavetank_sim::Failure;

use super::{Done, Terms, Verdict, can_unwind, read_tape, write_tape};

#[derive(Serialize)]
struct Shrunk {
    tape: PathBuf,
    /// Answers that are not the plain one, before and after.
    decisions: [usize; 2],
    /// How many runs it took.
    runs: u64,
    failure: Option<Failure>,
}

pub(crate) fn shrink(terms: &Terms, path: &Path, output: Option<PathBuf>) -> Done {
    can_unwind()?;
    let tape = read_tape(path)?;
    let bar = terms.bar(0, "runs");
    let mut runs = 0;
    let small = wavetank_sim::shrink(&tape, &mut |best| {
        runs += 1;
        bar.inc(1);
        bar.set_message(format!("{} decisions", best.decisions()));
        !terms.interrupted()
    });
    bar.finish_and_clear();
    let small = small.ok_or_else(|| format!("{} does not fail", path.display()))?;
    let output = output.unwrap_or_else(|| path.with_extension("min.tape"));
    write_tape(&output, &small)?;
    let shrunk = Shrunk {
        decisions: [tape.decisions(), small.decisions()],
        runs,
        failure: small.run(false).and_then(|run| run.failure),
        tape: output,
    };
    let [before, after] = shrunk.decisions;
    let path = shrunk.tape.display();
    terms.line(&bar, &format!("{before} decisions became {after}, in {runs} runs: {path}"));
    terms.report(&shrunk)?;
    Ok(Verdict::Found)
}
