//! Draws sequences, has them made on both sides, and says where the answers part.

use std::fmt::Debug;
use std::time::Instant;

/// The variable of the environment that names the one seed to try.
pub(crate) const SEED: &str = "WAVETANK_CONFORM_SEED";

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

    /// Makes a sequence in the simulated kernel.
    fn simulated(&self, seed: u64, steps: &[Self::Step]) -> Vec<Answer>;

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
) -> Option<Difference> {
    let steps: Vec<T::Step> = kept.iter().map(|place| steps[*place].clone()).collect();
    let simulated = topic.simulated(seed, &steps);
    let mut found = None;
    for _ in 0..if topic.may_be_late() { RUNS } else { 1 } {
        let real = topic.on_linux(seed, kept, &steps, &simulated);
        let place = real.iter().zip(&simulated).position(|(one, other)| one != other)?;
        let (real, simulated) = (real[place].clone(), simulated[place].clone());
        found = Some(Difference { place, real, simulated });
    }
    found
}

/// Compares one sequence; the text tells of the shortest part of it that differs.
fn check<T: Topic>(topic: &T, seed: u64) -> Result<usize, String> {
    let steps = topic.draw(seed);
    let mut kept: Vec<usize> = (0..steps.len()).collect();
    let Some(mut found) = difference(topic, seed, &kept, &steps) else { return Ok(steps.len()) };
    kept.truncate(found.place + 1);
    let mut at = kept.len();
    while at > 0 {
        at -= 1;
        let mut fewer = kept.clone();
        fewer.remove(at);
        if let Some(still) = difference(topic, seed, &fewer, &steps) {
            fewer.truncate(still.place + 1);
            (kept, found) = (fewer, still);
            at = at.min(kept.len());
        }
    }
    let lines: Vec<String> = kept.iter().map(|place| format!("{:?}", steps[*place])).collect();
    Err(format!(
        "{name} differ; again: {SEED}={seed} cargo test -p wavetank-sim --test conformance {name}\n\
         of the calls these are enough:\n{}\n     Linux: {:?}\n simulated: {:?}",
        lines.join("\n"),
        found.real,
        found.simulated,
        name = topic.name(),
    ))
}

/// Compares the sequences of many seeds.
pub(crate) fn check_all<T: Topic>(
    topic: &T,
    seeds: impl Iterator<Item = u64>,
) -> Result<String, String> {
    let start = Instant::now();
    let mut count = 0;
    for seed in seeds {
        count += check(topic, seed)?;
    }
    Ok(format!("{}: {count} calls in {:.1} s", topic.name(), start.elapsed().as_secs_f64()))
}
