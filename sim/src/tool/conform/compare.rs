//! Draws sequences, has them made on both sides, and says where the answers part.

use std::collections::BTreeMap;
use std::fmt::Debug;

use wavetank::host::Errno;
use wavetank_sim::{Call, Event, What};

/// How often a call was made with this outcome; no error is success.
pub(crate) type Pairs = BTreeMap<(Call, Option<Errno>), u64>;

/// Counts the calls of the programs with this name.
pub(crate) fn count(pairs: &mut Pairs, events: &[Event], program: &str) {
    for event in events.iter().filter(|event| event.program == program) {
        if let What::Calls { call, errno, .. } = event.what {
            *pairs.entry((call, errno)).or_default() += 1;
        }
    }
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Value or error.
    pub(crate) said: String,
    /// What was so afterwards, where a topic looks at that.
    pub(crate) after: String,
}

/// What sequences are about.
pub(crate) trait Topic {
    /// A call.
    type Step: Clone + Debug;

    /// For people.
    fn name(&self) -> &'static str;

    /// Draws the calls of a seed.
    fn draw(&self, seed: u64) -> Vec<Self::Step>;

    /// Makes a sequence on Linux, at least as far as to the first answer that is not expected. The
    /// steps are those of the seed at the places `kept`.
    fn on_linux(
        &self,
        seed: u64,
        kept: &[usize],
        steps: &[Self::Step],
        expected: &[Answer],
    ) -> Vec<Answer>;

    /// Makes a sequence in the simulated kernel, and counts its calls.
    fn simulated(&self, seed: u64, steps: &[Self::Step], pairs: &mut Pairs) -> Vec<Answer>;

    /// Whether Linux may be later than the test has patience, so that a sequence that differs is
    /// made again before it counts.
    fn may_be_late(&self) -> bool;
}

/// A difference.
struct Difference {
    place: usize,
    real: Answer,
    simulated: Answer,
}

/// How often a sequence must differ where Linux may be late.
const RUNS: usize = 3;

fn difference<T: Topic>(
    topic: &T,
    seed: u64,
    kept: &[usize],
    steps: &[T::Step],
    pairs: &mut Pairs,
) -> Option<Difference> {
    let steps: Vec<T::Step> = kept.iter().map(|place| steps[*place].clone()).collect();
    let simulated = topic.simulated(seed, &steps, pairs);
    let mut found = None;
    for _ in 0..if topic.may_be_late() { RUNS } else { 1 } {
        let real = topic.on_linux(seed, kept, &steps, &simulated);
        let place = real.iter().zip(&simulated).position(|(one, other)| one != other)?;
        let (real, simulated) = (real[place].clone(), simulated[place].clone());
        found = Some(Difference { place, real, simulated });
    }
    found
}

/// Compares one sequence, counts its calls, and says how many they are. The text tells of the
/// shortest part of it that differs.
pub(crate) fn check<T: Topic>(topic: &T, seed: u64, pairs: &mut Pairs) -> Result<usize, String> {
    let steps = topic.draw(seed);
    let mut kept: Vec<usize> = (0..steps.len()).collect();
    let Some(mut found) = difference(topic, seed, &kept, &steps, pairs) else {
        return Ok(steps.len());
    };
    kept.truncate(found.place + 1);
    let mut at = kept.len();
    while at > 0 {
        at -= 1;
        let mut fewer = kept.clone();
        fewer.remove(at);
        if let Some(still) = difference(topic, seed, &fewer, &steps, &mut Pairs::new()) {
            fewer.truncate(still.place + 1);
            (kept, found) = (fewer, still);
            at = at.min(kept.len());
        }
    }
    let lines: Vec<String> = kept.iter().map(|place| format!("{:?}", steps[*place])).collect();
    Err(format!(
        "{name} differ; again: wavetank-sim conform {name} --from {seed} --seeds 1\n\
         of the calls these are enough:\n{}\n     Linux: {:?}\n simulated: {:?}",
        lines.join("\n"),
        found.real,
        found.simulated,
        name = topic.name(),
    ))
}
