//! Whether steps that count as independent are: two such neighbours of a run are done the other way
//! round, and then everybody's calls and their results have to be the same ones.

use std::collections::BTreeMap;

use rstest::rstest;

use crate::choose::splitmix64;
use crate::event::What;
use crate::touch::{Touch, are_independent};
use crate::{Choose, Flow, Random, Run, Seen, Turn};

/// Nobody: time passes.
const NOBODY: i32 = 0;

struct Taken {
    pid: i32,
    able: Vec<i32>,
    touches: Vec<Touch>,
}

/// Goes by a list as far as that goes, and then anywhere. What a process asks is answered the same
/// wherever the others are.
struct Driver {
    script: Vec<i32>,
    random: Random,
    seed: u64,
    asked: BTreeMap<i32, u64>,
    taken: Vec<Taken>,
    /// Somebody was to go on who could not.
    is_lost: bool,
}

impl Driver {
    fn new(seed: u64, script: Vec<i32>) -> Driver {
        let (random, asked, taken) = (Random::new(seed), BTreeMap::new(), Vec::new());
        Driver { script, random, seed, asked, taken, is_lost: false }
    }

    fn whose(&self) -> i32 {
        self.taken.last().map_or(NOBODY, |it| it.pid)
    }
}

impl Choose for Driver {
    fn watch(&mut self, seen: &Seen<'_>) -> bool {
        if let Some(last) = self.taken.last_mut() {
            last.touches = seen.touches.to_vec();
        }
        let able = seen.turn.runnable.to_vec();
        let pid = match self.script.get(self.taken.len()) {
            Some(pid) => *pid,
            None if able.is_empty() => NOBODY,
            None => able[self.random.choose(able.len())],
        };
        self.is_lost |= if pid == NOBODY { !able.is_empty() } else { !able.contains(&pid) };
        self.taken.push(Taken { pid, able, touches: Vec::new() });
        !self.is_lost
    }

    fn weighs_step(&self) -> bool {
        true
    }

    fn choose(&mut self, n: usize) -> usize {
        let whose = self.whose();
        let count = self.asked.entry(whose).or_default();
        *count += 1;
        let mut state = self.seed ^ *count ^ u64::from(whose.unsigned_abs()) << 32;
        usize::try_from(splitmix64(&mut state) % n as u64).unwrap_or(0)
    }

    fn schedule(&mut self, turn: &Turn<'_>) -> usize {
        let whose = self.whose();
        turn.runnable.iter().position(|pid| *pid == whose).unwrap_or(turn.runnable.len())
    }
}

/// What everybody has called, and what came of it.
fn histories(run: &Run) -> BTreeMap<i32, Vec<String>> {
    let mut histories: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for event in run.events.iter().filter(|event| matches!(event.what, What::Calls { .. })) {
        histories.entry(event.pid.0).or_default().push(format!("{:?}", event.what));
    }
    histories
}

/// Flows of either door, in which calls take no time.
fn flows() -> Vec<Flow> {
    let orderly = |mut flow: Flow| {
        match &mut flow {
            Flow::Classic(flow) => flow.config.orderly = true,
            Flow::Task(flow) => flow.config.orderly = true,
            Flow::Crash(flow) => flow.config.orderly = true,
        }
        flow
    };
    let races = super::races().into_iter().filter_map(|race| Flow::named(race.name));
    Flow::all().into_iter().filter(|flow| !flow.is_drawn()).chain(races).map(orderly).collect()
}

/// Whether it is said that it makes no difference which of two steps comes first.
type Independent = fn(&[Touch], &[Touch]) -> bool;

/// The steps that those who are said to be independent took one after the other.
fn pairs(taken: &[Taken], are_independent: Independent) -> Vec<usize> {
    let is_pair = |at: &usize| {
        let (one, other) = (&taken[*at], &taken[at + 1]);
        let are_two = one.pid != other.pid && one.pid != NOBODY && other.pid != NOBODY;
        are_two && are_independent(&one.touches, &other.touches)
    };
    (0..taken.len().saturating_sub(1)).filter(is_pair).collect()
}

/// Turns a pair of a random run round; what is different then. Ok with no pair, if there is none.
fn turn_round(
    flow: &Flow,
    seed: u64,
    are_independent: Independent,
) -> Result<Option<usize>, String> {
    let mut driver = Driver::new(seed, Vec::new());
    let run = flow.run(&mut driver, true);
    let taken = driver.taken;
    let pairs = pairs(&taken, are_independent);
    if pairs.is_empty() {
        return Ok(None);
    }
    let at = pairs[Random::new(!seed).choose(pairs.len())];
    let (one, two) = (&taken[at], &taken[at + 1]);
    let differs = |what: &str| {
        let sides = (one.pid, &one.touches, two.pid, &two.touches);
        Err(format!("{}, seed {seed}, step {at}: {what}: {sides:?}", flow.name()))
    };
    if !one.able.contains(&two.pid) {
        return differs("the first lets the second go on");
    }
    let mut order: Vec<&Taken> = taken.iter().collect();
    order.swap(at, at + 1);
    let mut driver = Driver::new(seed, order.iter().map(|it| it.pid).collect());
    let other = flow.run(&mut driver, true);
    if driver.is_lost {
        return differs("somebody cannot go on any more");
    }
    let touches = |taken: &Taken| taken.touches.clone();
    if !order.into_iter().map(touches).eq(driver.taken.iter().map(touches)) {
        return differs("another step touches other things");
    }
    if histories(&run) != histories(&other) {
        return differs("a call has another result");
    }
    if (run.outcome, &run.failure) != (other.outcome, &other.failure) {
        return differs("something else has come of it");
    }
    Ok(Some(at))
}

/// Every third flow.
#[rstest]
#[case(0)]
#[case(1)]
#[case(2)]
fn independent_neighbours_can_be_done_the_other_way_round(#[case] third: usize) {
    let flows = flows();
    let mut turned = 0;
    for (seed, flow) in flows.iter().enumerate().skip(third).step_by(3) {
        match turn_round(flow, seed as u64, are_independent) {
            Ok(at) => turned += usize::from(at.is_some()),
            Err(difference) => panic!("{difference}"),
        }
    }
    assert!(turned > flows.len() / 4, "only {turned} pairs");
}

#[test]
fn others_cannot() {
    let flows = flows();
    let differ = |(seed, flow): (usize, &Flow)| turn_round(flow, seed as u64, |_, _| true).is_err();
    let count = flows.iter().take(40).enumerate().filter(|it| differ(*it)).count();
    assert!(count >= 4, "only {count} of 40 pairs of any neighbours differ");
}
