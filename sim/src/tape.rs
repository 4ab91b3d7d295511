//! A run as a small text file: what it is made of, and every answer that was given in it.
//!
//! ```text
//! # wavetank tape 1
//! flow task/hello
//! bug one-wait-per-signal
//! fault {"kind":{"fail":"EMFILE"},"call":"accept","after":2,"for_ever":false}
//! answers 0*17 2 0*4 1
//! ```
//!
//! Zeros at the end are left out, since a tape goes on with zeros.

use std::fmt;
use std::str::FromStr;

use wavetank::host::Bug;

use crate::choose::{Recorded, Replay};
use crate::flow::{Case, Flow};
use crate::run::Run;

const TITLE: &str = "# wavetank tape 1";
/// So long are lines of answers.
const WIDTH: usize = 100;

/// A run that can be had again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tape {
    /// What is run.
    pub case: Case,
    /// Every answer, in the order of the questions.
    pub answers: Vec<u32>,
}

/// Why a text is no tape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapeError {
    /// Which line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for TapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for TapeError {}

impl Tape {
    /// A tape without the zeros at its end.
    #[must_use]
    pub fn new(case: Case, mut answers: Vec<u32>) -> Tape {
        let length = answers.iter().rposition(|answer| *answer != 0).map_or(0, |last| last + 1);
        answers.truncate(length);
        Tape { case, answers }
    }

    /// Runs `case` once with these answers; none if there is no such flow.
    #[must_use]
    pub fn run(&self, keep_trace: bool) -> Option<Run> {
        Some(self.case.flow()?.run(&mut Replay::new(self.answers.clone()), keep_trace))
    }

    /// How many answers are not the plain one.
    #[must_use]
    pub fn decisions(&self) -> usize {
        self.answers.iter().filter(|answer| **answer != 0).count()
    }

    /// Runs a flow with somebody's answers, and writes them down.
    pub fn record(
        case: &Case,
        flow: &Flow,
        chooser: impl crate::Choose,
        keep_trace: bool,
    ) -> (Run, Tape) {
        let mut recorded = Recorded::new(chooser);
        let run = flow.run(&mut recorded, keep_trace);
        (run, Tape::new(case.clone(), recorded.into_tape()))
    }
}

impl fmt::Display for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TITLE}\nflow {}", self.case.flow)?;
        if let Some(bug) = self.case.bug {
            writeln!(f, "bug {}", bug.name())?;
        }
        for fault in &self.case.faults {
            writeln!(f, "fault {}", serde_json::to_string(fault).map_err(|_| fmt::Error)?)?;
        }
        let mut line = String::from("answers");
        for run in self.answers.chunk_by(|one, next| one == next) {
            let text = match run.len() {
                1 => run[0].to_string(),
                length => format!("{}*{length}", run[0]),
            };
            if line.len() + 1 + text.len() > WIDTH {
                writeln!(f, "{line}")?;
                line = String::from("answers");
            }
            line.push(' ');
            line.push_str(&text);
        }
        writeln!(f, "{line}")
    }
}

impl FromStr for Tape {
    type Err = TapeError;

    fn from_str(text: &str) -> Result<Tape, TapeError> {
        let mut tape = Tape::default();
        let mut lines = text.lines().enumerate();
        let wrong = |at: usize, what: String| TapeError { line: at + 1, what };
        match lines.next() {
            Some((_, TITLE)) => {}
            _ => return Err(wrong(0, format!("a tape begins with `{TITLE}`"))),
        }
        for (at, line) in lines {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "" | "#" => {}
                "flow" => rest.clone_into(&mut tape.case.flow),
                "bug" => {
                    let bug = Bug::named(rest);
                    tape.case.bug =
                        Some(bug.ok_or_else(|| wrong(at, format!("there is no bug {rest}")))?);
                }
                "fault" => {
                    let fault = serde_json::from_str(rest);
                    tape.case.faults.push(fault.map_err(|error| wrong(at, error.to_string()))?);
                }
                "answers" => {
                    for word in rest.split_whitespace() {
                        let (answer, times) = answer(word).ok_or_else(|| {
                            wrong(at, format!("{word} is no answer, such as 3 or 0*17"))
                        })?;
                        tape.answers.extend(std::iter::repeat_n(answer, times));
                    }
                }
                other => return Err(wrong(at, format!("what is {other}?"))),
            }
        }
        if tape.case.flow.is_empty() {
            return Err(wrong(text.lines().count() - 1, "it does not say which flow".to_owned()));
        }
        Ok(tape)
    }
}

/// An answer, and how many times in a row it is given: at most a million.
fn answer(word: &str) -> Option<(u32, usize)> {
    let (answer, times) = word.split_once('*').unwrap_or((word, "1"));
    let times = times.parse().ok().filter(|times| (1..=1_000_000).contains(times))?;
    Some((answer.parse().ok()?, times))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use wavetank::host::Errno;

    use super::*;
    use crate::{Call, Fault};

    #[test]
    fn a_tape_reads_as_it_was_written() {
        let fault = Fault::fail(Errno::EMFILE).of(Call::Accept).by("runc").after(3);
        let case = Case { faults: vec![fault], ..Case::of("task/hello") };
        let case = case.planted(Bug::OneWaitPerSignal);
        let answers = (0..200).map(|at| at % 7 / 3).chain([0, 0]).collect();
        let tape = Tape::new(case, answers);
        assert_eq!(tape.to_string().parse(), Ok(tape.clone()));
        assert!(tape.to_string().lines().all(|line| line.len() <= WIDTH));
        assert!(tape.decisions() < 200);
    }

    #[rstest]
    #[case("", 1, "begins with")]
    #[case("# wavetank tape 1\nflow x\nbug nobody", 3, "no bug nobody")]
    #[case("# wavetank tape 1\nflow x\nanswers 1 x", 3, "x is no answer")]
    #[case("# wavetank tape 1\nflow x\nanswers 1*99999999999", 3, "is no answer")]
    #[case("# wavetank tape 1\nflow x\nfault {}", 3, "missing field")]
    #[case("# wavetank tape 1\nfoo", 2, "what is foo?")]
    #[case("# wavetank tape 1\nanswers 1", 2, "which flow")]
    fn what_is_no_tape_is_told(#[case] text: &str, #[case] line: usize, #[case] what: &str) {
        let error = text.parse::<Tape>().unwrap_err();
        assert_eq!(error.line, line, "{error}");
        assert!(error.what.contains(what), "{error}");
    }
}
