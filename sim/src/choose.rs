//! The one call through which everything that may go differently goes, and who may answer it.

use crate::touch::Touch;

/// Answers every open question of a run. The list of the answers is the run's *tape*.
///
/// 0 is always the plain answer: go on with the same process, move all the bytes, let nothing
/// fail.
pub trait Choose {
    /// A number below `n`. There is no question where `n` is 1, and it must not be written down.
    fn choose(&mut self, n: usize) -> usize;

    /// Who goes on: a number below [`Turn::answers`]. Asked only if there is more than one.
    fn schedule(&mut self, turn: &Turn<'_>) -> usize {
        self.choose(turn.answers())
    }

    /// Looks on before every step, also where there is nothing to choose. What it says is whether
    /// the run is to go on.
    fn watch(&mut self, _seen: &Seen<'_>) -> bool {
        true
    }

    /// Whether it wants to know what the step touches that comes now.
    fn weighs_step(&self) -> bool {
        false
    }
}

/// What there is to see before a step.
pub struct Seen<'t> {
    /// What the step before has touched, if that was to be [weighed](Choose::weighs_step).
    pub(crate) touches: &'t [Touch],
    /// Who can go on.
    pub(crate) turn: Turn<'t>,
    /// The race is on whose orders are all tried.
    pub(crate) is_race: bool,
    /// Those who have nothing to do any more but to read what they are told.
    pub(crate) readers: &'t [i32],
}

/// Everybody who could go on now.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'t> {
    /// The pids of those who can, the one that ran last being the first if it can.
    pub runnable: &'t [i32],
    /// Whether time may pass instead, until the next deadline: the last answer.
    pub timer: bool,
}

impl Turn<'_> {
    /// How many answers there are.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.runnable.len() + usize::from(self.timer)
    }
}

impl<C: Choose + ?Sized> Choose for &mut C {
    fn choose(&mut self, n: usize) -> usize {
        (**self).choose(n)
    }

    fn schedule(&mut self, turn: &Turn<'_>) -> usize {
        (**self).schedule(turn)
    }

    fn watch(&mut self, seen: &Seen<'_>) -> bool {
        (**self).watch(seen)
    }

    fn weighs_step(&self) -> bool {
        (**self).weighs_step()
    }
}

/// The next number of the `splitmix64` sequence: every state is followed by a different one, and
/// neighbouring seeds give unrelated numbers.
pub(crate) fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Every answer equally likely, and the same ones for the same seed.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }
}

impl Choose for Random {
    fn choose(&mut self, n: usize) -> usize {
        if n <= 1 {
            return 0;
        }
        let scaled = (u128::from(splitmix64(&mut self.state)) * n as u128) >> 64;
        usize::try_from(scaled).unwrap_or(0)
    }
}

/// The answers of a tape, and zeros after its end. An answer that is too large for its question
/// becomes the largest possible one, so any list of numbers is a tape of any program.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    tape: Vec<u32>,
    at: usize,
}

impl Replay {
    /// Plays `tape` from its start.
    #[must_use]
    pub fn new(tape: Vec<u32>) -> Replay {
        Replay { tape, at: 0 }
    }

    /// How many answers of the tape were used.
    #[must_use]
    pub fn used(&self) -> usize {
        self.at
    }
}

impl Choose for Replay {
    fn choose(&mut self, n: usize) -> usize {
        if n <= 1 {
            return 0;
        }
        let Some(&answer) = self.tape.get(self.at) else { return 0 };
        self.at += 1;
        (answer as usize).min(n - 1)
    }
}

/// Walks through all tapes: run, [`advance`](Odometer::advance), run again, until that says no.
///
/// It works like the wheels of a mileage counter, one wheel for each question in the order they
/// are asked. Advancing turns the last wheel; a wheel that has shown all its numbers is taken
/// away and the one before it turns.
#[derive(Clone, Debug, Default)]
pub struct Odometer {
    wheels: Vec<Wheel>,
    at: usize,
}

#[derive(Clone, Copy, Debug)]
struct Wheel {
    shows: usize,
    numbers: usize,
}

impl Odometer {
    /// Stands at the tape of zeros.
    #[must_use]
    pub fn new() -> Odometer {
        Odometer::default()
    }

    /// Goes to the next tape; false when every tape has been shown.
    pub fn advance(&mut self) -> bool {
        self.wheels.truncate(self.at);
        self.at = 0;
        while let Some(last) = self.wheels.last_mut() {
            last.shows += 1;
            if last.shows < last.numbers {
                return true;
            }
            self.wheels.pop();
        }
        false
    }

    /// The tape that it shows now.
    #[must_use]
    pub fn tape(&self) -> Vec<u32> {
        let answer = |wheel: &Wheel| u32::try_from(wheel.shows).unwrap_or(u32::MAX);
        self.wheels.iter().map(answer).collect()
    }
}

impl Choose for Odometer {
    fn choose(&mut self, n: usize) -> usize {
        if n <= 1 {
            return 0;
        }
        if self.at == self.wheels.len() {
            self.wheels.push(Wheel { shows: 0, numbers: n });
        }
        let wheel = self.wheels[self.at];
        assert_eq!(wheel.numbers, n, "the same answers led to another question: not deterministic");
        self.at += 1;
        wheel.shows
    }
}

/// Lets one process go far before the next one has its turn: some orders hardly ever come
/// otherwise. How far is drawn once, and may be not at all.
#[derive(Clone, Debug)]
pub struct Lazy<C> {
    inner: C,
    plain_of_16: usize,
}

impl<C: Choose> Lazy<C> {
    /// Asks `inner` for everything else.
    #[must_use]
    pub fn new(mut inner: C) -> Lazy<C> {
        let plain_of_16 = [0, 0, 11, 15][inner.choose(4)];
        Lazy { inner, plain_of_16 }
    }
}

impl Lazy<Random> {
    /// What a seed means wherever seeds are tried.
    #[must_use]
    pub fn seeded(seed: u64) -> Lazy<Random> {
        Lazy::new(Random::new(seed))
    }
}

impl<C: Choose> Choose for Lazy<C> {
    fn choose(&mut self, n: usize) -> usize {
        self.inner.choose(n)
    }

    fn schedule(&mut self, turn: &Turn<'_>) -> usize {
        let is_plain = self.plain_of_16 > 0 && self.inner.choose(16) < self.plain_of_16;
        if is_plain { 0 } else { self.inner.schedule(turn) }
    }

    fn watch(&mut self, seen: &Seen<'_>) -> bool {
        self.inner.watch(seen)
    }

    fn weighs_step(&self) -> bool {
        self.inner.weighs_step()
    }
}

/// Answers from the bytes of a fuzzer, and zeros after their end: one byte for a question with
/// up to 256 answers, and four for others.
#[derive(Clone, Debug)]
pub struct Bytes<'b> {
    left: &'b [u8],
}

impl<'b> Bytes<'b> {
    /// Answers from these.
    #[must_use]
    pub fn new(bytes: &'b [u8]) -> Bytes<'b> {
        Bytes { left: bytes }
    }
}

impl Choose for Bytes<'_> {
    fn choose(&mut self, n: usize) -> usize {
        if n <= 1 {
            return 0;
        }
        let wanted = if n <= 256 { 1 } else { 4 };
        let (now, later) = self.left.split_at(wanted.min(self.left.len()));
        self.left = later;
        now.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)) % n
    }
}

/// Writes down what another one answers.
#[derive(Clone, Debug)]
pub struct Recorded<C> {
    inner: C,
    tape: Vec<u32>,
}

impl<C: Choose> Recorded<C> {
    fn write_down(&mut self, answer: usize) -> usize {
        self.tape.push(u32::try_from(answer).unwrap_or(u32::MAX));
        answer
    }

    /// Asks `inner`.
    #[must_use]
    pub fn new(inner: C) -> Recorded<C> {
        Recorded { inner, tape: Vec::new() }
    }

    /// The answers so far.
    #[must_use]
    pub fn tape(&self) -> &[u32] {
        &self.tape
    }

    /// The answers, and no more.
    #[must_use]
    pub fn into_tape(self) -> Vec<u32> {
        self.tape
    }
}

impl<C: Choose> Choose for Recorded<C> {
    fn choose(&mut self, n: usize) -> usize {
        if n <= 1 {
            return 0;
        }
        let answer = self.inner.choose(n);
        self.write_down(answer)
    }

    fn schedule(&mut self, turn: &Turn<'_>) -> usize {
        let answer = self.inner.schedule(turn);
        self.write_down(answer)
    }

    fn watch(&mut self, seen: &Seen<'_>) -> bool {
        self.inner.watch(seen)
    }

    fn weighs_step(&self) -> bool {
        self.inner.weighs_step()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_all_of_them() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..1000).map(|_| random.choose(7)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!((0..7).all(|number| draw(1).contains(&number)));
        assert!(draw(1).iter().all(|&number| number < 7));
    }

    #[test]
    fn a_tape_goes_on_with_zeros_and_never_answers_too_much() {
        let mut replay = Replay::new(vec![2, 9]);
        assert_eq!([3, 1, 4, 5].map(|n| replay.choose(n)), [2, 0, 3, 0]);
        assert_eq!(replay.used(), 2);
    }

    #[test]
    fn what_was_recorded_replays_alike() {
        let mut recorded = Recorded::new(Random::new(3));
        let answers = [2, 1, 5, 9].map(|n| recorded.choose(n));
        assert_eq!(recorded.tape().len(), 3, "a question with one answer is not written down");
        let mut replay = Replay::new(recorded.into_tape());
        assert_eq!([2, 1, 5, 9].map(|n| replay.choose(n)), answers);
    }

    #[test]
    fn bytes_are_answers_and_zeros_after_their_end() {
        let mut bytes = Bytes::new(&[7, 1, 0, 0, 1, 2]);
        assert_eq!([5, 1, 3].map(|n| bytes.choose(n)), [2, 0, 1]);
        assert_eq!([300, 9].map(|n| bytes.choose(n)), [258, 0]);
        assert_eq!(bytes.choose(4), 0);
    }

    #[test]
    fn a_lazy_one_lets_the_same_process_go_on_more_often() {
        let turn = Turn { runnable: &[1, 2, 3], timer: false };
        let changes = |plain_of_16| {
            let mut lazy = Lazy { inner: Random::new(5), plain_of_16 };
            (0..1000).filter(|_| lazy.schedule(&turn) != 0).count()
        };
        assert!(changes(15) < 100 && changes(0) > 500);
    }

    #[test]
    fn the_odometer_shows_every_tape_once() {
        // A program that asks more when the first answer is 1.
        let mut odometer = Odometer::new();
        let mut seen = Vec::new();
        loop {
            let first = odometer.choose(2);
            let second = if first == 1 { odometer.choose(3) } else { 0 };
            seen.push((first, second));
            assert_eq!(odometer.tape().len(), 1 + first);
            if !odometer.advance() {
                break;
            }
        }
        assert_eq!(seen, [(0, 0), (1, 0), (1, 1), (1, 2)]);
    }
}
