//! Which steps of a run had to come after which, and which of them raced.

use std::collections::BTreeMap;

use crate::touch::{Deed, Thing, Touch};

/// The order that the steps of a run have because of what they touch. Runs that begin with the same
/// steps have the same order there, which is kept from one to the next.
#[derive(Default)]
pub(super) struct Order {
    steps: Vec<Step>,
    /// The processes, each with a small number: its place here.
    pids: Vec<i32>,
    /// What was done to each thing, and in which step.
    deeds: BTreeMap<Thing, Vec<(usize, Deed)>>,
}

/// A step's place in the order.
struct Step {
    /// Who did it, as a small number.
    who: usize,
    things: Vec<Thing>,
    is_barrier: bool,
    /// For each process: how many of its steps are before it or are it; 0 for those that are missing.
    clock: Vec<usize>,
    /// The earlier ones of others that it raced with: dependent, and with nothing in between that would
    /// order them anyway.
    races: Vec<usize>,
}

impl Step {
    fn counts(&self, who: usize) -> usize {
        self.clock.get(who).copied().unwrap_or(0)
    }
}

impl Order {
    /// Forgets all steps but the first so many.
    pub(super) fn cut(&mut self, steps: usize) {
        for step in self.steps.drain(steps.min(self.steps.len())..) {
            for thing in step.things {
                if let Some(deeds) = self.deeds.get_mut(&thing) {
                    deeds.pop();
                }
            }
        }
    }

    /// Adds the step that comes next, and what it touches: each thing once, sorted.
    pub(super) fn push(&mut self, pid: i32, touches: &[Touch]) {
        let who = self.number(pid);
        let is_barrier = touches.first().is_some_and(|it| it.thing == Thing::Everything);
        let before = self.before(touches, is_barrier);
        let own = self.last_of(who).map(|at| self.steps[at].clock.clone());
        let mut clock = own.unwrap_or_default();
        clock.resize(self.pids.len(), 0);
        let mut races = Vec::new();
        for &at in before.iter().rev() {
            let earlier = &self.steps[at];
            if clock[earlier.who] >= earlier.counts(earlier.who) {
                continue;
            }
            races.push(at);
            for (mine, other) in clock.iter_mut().zip(&earlier.clock) {
                *mine = (*mine).max(*other);
            }
        }
        clock[who] += 1;
        let step = self.steps.len();
        for touch in touches {
            self.deeds.entry(touch.thing).or_default().push((step, touch.deed));
        }
        let things = touches.iter().map(|it| it.thing).collect();
        self.steps.push(Step { who, things, is_barrier, clock, races });
    }

    fn number(&mut self, pid: i32) -> usize {
        self.pids.iter().position(|it| *it == pid).unwrap_or_else(|| {
            self.pids.push(pid);
            self.pids.len() - 1
        })
    }

    /// The steps so far after which one has to come that touches this, sorted. Those are left out that
    /// are before another of them because of the same thing.
    fn before(&self, touches: &[Touch], is_barrier: bool) -> Vec<usize> {
        let mut before: Vec<usize> =
            self.steps.iter().rposition(|it| it.is_barrier).into_iter().collect();
        if is_barrier {
            let ends = (0..self.pids.len()).filter_map(|who| self.last_of(who));
            before.extend(ends);
        }
        for touch in touches {
            for &(step, deed) in self.deeds.get(&touch.thing).into_iter().flatten().rev() {
                if !touch.deed.commutes(deed) {
                    before.push(step);
                }
                if deed == Deed::Changes {
                    break;
                }
            }
        }
        before.sort_unstable();
        before.dedup();
        before
    }

    fn last_of(&self, who: usize) -> Option<usize> {
        self.steps.iter().rposition(|it| it.who == who)
    }

    /// The earlier steps with which this one raced.
    pub(super) fn races(&self, step: usize) -> &[usize] {
        &self.steps[step].races
    }

    /// Whether the one step had to be before the other, later one.
    pub(super) fn is_before(&self, one: usize, later: usize) -> bool {
        let one = &self.steps[one];
        self.steps[later].counts(one.who) >= one.counts(one.who)
    }
}
