//! Which steps of a run had to come after which, and which of them raced.

use std::collections::BTreeMap;

use crate::touch::{Deed, Thing, Touch};

/// What has last been done to a thing.
#[derive(Default)]
struct Last {
    change: Option<usize>,
    /// Since then.
    looks: Vec<usize>,
    adds: Vec<usize>,
}

/// The order that the steps of a run have because of what they touch.
pub(super) struct Order {
    /// Who did each step, as a small number.
    whose: Vec<usize>,
    /// For each step, and each process: how many of its steps are before or equal to it.
    clocks: Vec<Vec<usize>>,
    /// How many steps its process had done with it.
    counts: Vec<usize>,
    /// For each step the earlier ones of others that it raced with: dependent, and with nothing in
    /// between that would order them anyway.
    pub(super) races: Vec<Vec<usize>>,
}

impl Order {
    pub(super) fn of<'p>(steps: impl Iterator<Item = (i32, &'p [Touch])> + Clone) -> Order {
        let mut pids: Vec<i32> = steps.clone().map(|(pid, _)| pid).collect();
        pids.sort_unstable();
        pids.dedup();
        let mut order =
            Order { whose: Vec::new(), clocks: Vec::new(), counts: Vec::new(), races: Vec::new() };
        let mut things: BTreeMap<Thing, Last> = BTreeMap::new();
        let mut barrier: Option<usize> = None;
        // The last step of each process.
        let mut ends: Vec<Option<usize>> = vec![None; pids.len()];
        for (step, (pid, touches)) in steps.enumerate() {
            let who = pids.binary_search(&pid).unwrap_or(0);
            let is_barrier = touches.first().is_some_and(|it| it.thing == Thing::Everything);
            let mut before: Vec<usize> = barrier.into_iter().collect();
            if is_barrier {
                before.extend(ends.iter().flatten());
            }
            for touch in touches {
                let last = things.entry(touch.thing).or_default();
                before.extend(last.change);
                match touch.deed {
                    Deed::Looks => {
                        before.extend(&last.adds);
                        last.looks.push(step);
                    }
                    Deed::Adds => {
                        before.extend(&last.looks);
                        last.adds.push(step);
                    }
                    Deed::Changes => {
                        before.append(&mut last.looks);
                        before.append(&mut last.adds);
                        last.change = Some(step);
                    }
                }
            }
            before.sort_unstable();
            before.dedup();
            let mut clock = match ends[who] {
                Some(own) => order.clocks[own].clone(),
                None => vec![0; pids.len()],
            };
            let mut races = Vec::new();
            for &earlier in before.iter().rev() {
                if clock[order.whose[earlier]] >= order.counts[earlier] {
                    continue;
                }
                races.push(earlier);
                for (mine, other) in clock.iter_mut().zip(&order.clocks[earlier]) {
                    *mine = (*mine).max(*other);
                }
            }
            clock[who] += 1;
            order.counts.push(clock[who]);
            order.whose.push(who);
            order.clocks.push(clock);
            order.races.push(races);
            ends[who] = Some(step);
            if is_barrier {
                barrier = Some(step);
            }
        }
        order
    }

    /// Whether the one step had to be before the other, later one.
    pub(super) fn is_before(&self, one: usize, later: usize) -> bool {
        self.clocks[later][self.whose[one]] >= self.counts[one]
    }
}
