//! From a tape that fails to a small one that fails the same way.

use crate::choose::Replay;
use crate::flow::Flow;
use crate::tape::Tape;

/// Makes a failing tape small: as few faults and as few answers other than the plain one as it
/// finds, every attempt being a run. What counts as failing the same way is that the same oracle objects.
///
/// `go_on` is asked before every run, and told the best tape so far; it may end the search, since
/// every tape on the way fails too.
///
/// None if the tape does not fail at all.
pub fn shrink(tape: &Tape, go_on: &mut dyn FnMut(&Tape) -> bool) -> Option<Tape> {
    let flow = tape.case.flow()?;
    let oracle = tape.run(false)?.failure?.oracle;
    let mut search = Search { best: tape.clone(), flow, oracle, go_on };
    search.drop_faults();
    loop {
        let before = (search.best.decisions(), search.best.answers.len());
        search.cut_end();
        search.zero_runs();
        search.delete_runs();
        search.lower_answers();
        if (search.best.decisions(), search.best.answers.len()) == before {
            return Some(search.best);
        }
    }
}

struct Search<'g> {
    best: Tape,
    /// That of the best tape: to look it up takes longer than to run it.
    flow: Flow,
    oracle: &'static str,
    go_on: &'g mut dyn FnMut(&Tape) -> bool,
}

impl Search<'_> {
    /// Takes a tape as the best one if it fails like the first.
    fn try_tape(&mut self, tape: Tape) -> bool {
        if tape == self.best || !(self.go_on)(&self.best) {
            return false;
        }
        let other = if tape.case == self.best.case { None } else { tape.case.flow() };
        let flow = other.as_ref().unwrap_or(&self.flow);
        let run = flow.run(&mut Replay::new(tape.answers.clone()), false);
        let fails = run.failure.is_some_and(|failure| failure.oracle == self.oracle);
        if fails {
            self.best = tape;
            if let Some(other) = other {
                self.flow = other;
            }
        }
        fails
    }

    fn try_answers(&mut self, answers: Vec<u32>) -> bool {
        self.try_tape(Tape::new(self.best.case.clone(), answers))
    }

    fn drop_faults(&mut self) {
        let mut at = 0;
        while at < self.best.case.faults.len() {
            let mut tape = self.best.clone();
            tape.case.faults.remove(at);
            if !self.try_tape(tape) {
                at += 1;
            }
        }
    }

    /// Cuts off as much of the end as it can, in halves.
    fn cut_end(&mut self) {
        let mut cut = self.best.answers.len();
        while cut > 0 {
            let kept = self.best.answers.len().saturating_sub(cut);
            if !self.try_answers(self.best.answers[..kept].to_vec()) {
                cut /= 2;
            }
        }
    }

    fn zero_runs(&mut self) {
        self.in_chunks(|answers, from, to| {
            let has_decision = answers[from..to].iter().any(|answer| *answer != 0);
            has_decision.then(|| {
                let mut answers = answers.to_vec();
                answers[from..to].fill(0);
                answers
            })
        });
    }

    fn delete_runs(&mut self) {
        self.in_chunks(|answers, from, to| Some([&answers[..from], &answers[to..]].concat()));
    }

    /// Changes chunks of half the tape, a quarter, and so on down to single answers.
    fn in_chunks(&mut self, change: impl Fn(&[u32], usize, usize) -> Option<Vec<u32>>) {
        let mut size = self.best.answers.len().div_ceil(2);
        while size > 0 {
            let mut end = self.best.answers.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                if let Some(answers) = change(&self.best.answers, start, end) {
                    self.try_answers(answers);
                }
                end = start.min(self.best.answers.len());
            }
            size /= 2;
        }
    }

    fn lower_answers(&mut self) {
        for at in 0..self.best.answers.len() {
            while self.best.answers.get(at).is_some_and(|answer| *answer > 1) {
                let mut answers = self.best.answers.clone();
                answers[at] -= 1;
                if !self.try_answers(answers) {
                    break;
                }
            }
        }
    }
}
