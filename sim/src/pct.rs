//! Bounded preemption: few changes of mind, at random places.

use std::collections::BTreeMap;

use crate::choose::{Choose, Random, Turn};

/// For how many turns in a row one process may keep others waiting.
const PATIENCE: u64 = 2_000;

/// Every process has a priority, and the highest one that can goes on. At a few random steps, one
/// fewer than the depth, whoever is running falls behind all others.
///
/// A bug that needs `depth` ordered events is found with a probability of at least one in
/// (processes × steps to the power of `depth` - 1): Burckhardt and others, "A randomized scheduler with
/// probabilistic guarantees of finding bugs" (2010). All other questions are answered at random.
#[derive(Clone, Debug)]
pub struct Pct {
    random: Random,
    /// The steps at which the running process falls behind, sorted.
    changes: Vec<u64>,
    step: u64,
    priorities: BTreeMap<i32, u64>,
    /// The priority of the next one that falls behind; lower each time.
    lowest: u64,
    /// Who ran last, and for how many turns.
    running: (i32, u64),
}

impl Pct {
    /// For runs of about so many turns.
    #[must_use]
    pub fn new(seed: u64, depth: usize, turns: usize) -> Pct {
        let mut random = Random::new(seed);
        let change = |_| random.choose(turns.max(1)) as u64;
        let mut changes: Vec<u64> = (1..depth).map(change).collect();
        changes.sort_unstable();
        let (priorities, running) = (BTreeMap::new(), (0, 0));
        Pct { random, changes, step: 0, priorities, lowest: 1 << 32, running }
    }

    fn fall_behind(&mut self, pid: i32) {
        self.lowest -= 1;
        self.priorities.insert(pid, self.lowest);
    }
}

impl Choose for Pct {
    fn choose(&mut self, n: usize) -> usize {
        self.random.choose(n)
    }

    fn schedule(&mut self, turn: &Turn<'_>) -> usize {
        self.step += 1;
        for pid in turn.runnable {
            let random = &mut self.random;
            let fresh = || 1 << 33 | random.choose(1 << 32) as u64;
            self.priorities.entry(*pid).or_insert_with(fresh);
        }
        let is_due = self.changes.first().is_some_and(|change| *change <= self.step);
        let (pid, turns) = self.running;
        if is_due || turns > PATIENCE {
            if is_due {
                self.changes.remove(0);
            }
            self.fall_behind(pid);
        }
        let places = 0..turn.runnable.len();
        let highest = places.max_by_key(|place| self.priorities[&turn.runnable[*place]]);
        // Nobody can: time passes.
        let Some(place) = highest else { return 0 };
        let chosen = turn.runnable[place];
        self.running = if chosen == pid { (pid, turns + 1) } else { (chosen, 0) };
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seed: u64, depth: usize) -> Vec<i32> {
        let mut pct = Pct::new(seed, depth, 40);
        let turn = Turn { runnable: &[10, 20, 30], timer: false };
        (0..40).map(|_| turn.runnable[pct.schedule(&turn)]).collect()
    }

    #[test]
    fn the_running_process_changes_at_most_as_often_as_the_depth_allows() {
        for seed in 0..200 {
            let changes = order(seed, 3).windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!(changes <= 2, "seed {seed}: {changes} changes");
        }
    }

    #[test]
    fn everybody_may_be_the_first_and_a_seed_gives_the_same_again() {
        let firsts: std::collections::BTreeSet<i32> =
            (0..50).map(|seed| order(seed, 2)[0]).collect();
        assert_eq!(firsts.len(), 3);
        assert_eq!(order(7, 3), order(7, 3));
    }

    #[test]
    fn nobody_is_kept_waiting_for_ever() {
        let mut pct = Pct::new(1, 1, 10);
        let turn = Turn { runnable: &[1, 2], timer: false };
        let chosen: std::collections::BTreeSet<usize> =
            (0..3 * PATIENCE).map(|_| pct.schedule(&turn)).collect();
        assert_eq!(chosen.len(), 2);
    }
}
