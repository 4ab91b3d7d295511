//! What happened in a run: always as one number, and as data when somebody wants to read it.

use crate::event::{Choice, Event, What};

/// Mixes one more number into a hash (FNV-1a, over words instead of bytes, and turned so that the
/// high bits count too).
pub(crate) fn mix(hash: u64, number: u64) -> u64 {
    (hash.rotate_left(23) ^ number).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The record of a run.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    kept: Option<Kept>,
}

/// What is kept for people.
#[derive(Debug, Default)]
struct Kept {
    events: Vec<Event>,
    /// What was decided since the last event.
    choices: Vec<Choice>,
}

impl Kept {
    /// Out of the way of runs of which nothing is kept.
    #[cold]
    fn take_in(&mut self, event: impl FnOnce() -> Event) {
        let choices = std::mem::take(&mut self.choices);
        self.events.push(Event { choices, ..event() });
    }
}

impl Trace {
    pub(crate) fn new(keep_events: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, kept: keep_events.then(Kept::default) }
    }

    pub(crate) fn keeps(&self) -> bool {
        self.kept.is_some()
    }

    /// Takes an event in: as numbers always, as data only if events are kept.
    pub(crate) fn event(&mut self, numbers: [u64; 3], event: impl FnOnce() -> Event) {
        for number in numbers {
            self.hash = mix(self.hash, number);
        }
        self.note(event);
    }

    /// Takes an event in that follows from others.
    #[inline]
    pub(crate) fn note(&mut self, event: impl FnOnce() -> Event) {
        if let Some(kept) = &mut self.kept {
            kept.take_in(event);
        }
    }

    /// Adds to the result of the last call.
    pub(crate) fn more(&mut self, text: impl FnOnce() -> String) {
        let last = self.kept.as_mut().and_then(|kept| kept.events.last_mut());
        if let Some(Event { what: What::Calls { result, .. }, .. }) = last {
            result.push_str(&text());
        }
    }

    pub(crate) fn chose(&mut self, choice: impl FnOnce() -> Choice) {
        if let Some(kept) = &mut self.kept {
            kept.choices.push(choice());
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn events(&self) -> &[Event] {
        self.kept.as_ref().map_or(&[], |kept| &kept.events)
    }
}

/// The first line at which two traces differ: its number, counted from 1, and both texts. A trace
/// that ends there has an empty text.
#[must_use]
pub fn first_difference(one: &[String], other: &[String]) -> Option<(usize, String, String)> {
    let length = one.len().max(other.len());
    let line = |lines: &[String], at: usize| lines.get(at).cloned().unwrap_or_default();
    (0..length)
        .find(|&at| one.get(at) != other.get(at))
        .map(|at| (at + 1, line(one, at), line(other, at)))
}

/// Bytes as text, cut after a few.
pub(crate) fn bytes_text(bytes: &[u8]) -> String {
    const SHOWN: usize = 48;
    let text = bytes[..bytes.len().min(SHOWN)].escape_ascii();
    let dots = if bytes.len() > SHOWN { "..." } else { "" };
    format!("\"{text}{dots}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_differing_line_is_named() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(first_difference(&lines("a b"), &lines("a b")), None);
        let (number, one, other) = first_difference(&lines("a b c"), &lines("a x c")).unwrap();
        assert_eq!((number, one.as_str(), other.as_str()), (2, "b", "x"));
        let (number, one, other) = first_difference(&lines("a"), &lines("a b")).unwrap();
        assert_eq!((number, one.as_str(), other.as_str()), (2, "", "b"));
    }

    #[test]
    fn the_hash_knows_the_order() {
        let hash = |events: [[u64; 3]; 2]| {
            let mut trace = Trace::new(false);
            let nothing = || unreachable!("nobody keeps it");
            events.into_iter().for_each(|event| trace.event(event, nothing));
            trace.hash()
        };
        assert_ne!(hash([[1, 2, 3], [4, 5, 6]]), hash([[4, 5, 6], [1, 2, 3]]));
        assert_eq!(hash([[1, 2, 3], [4, 5, 6]]), hash([[1, 2, 3], [4, 5, 6]]));
    }

    #[test]
    fn long_bytes_are_cut() {
        assert_eq!(bytes_text(b"a\n\""), "\"a\\n\\\"\"");
        assert!(bytes_text(&[b'x'; 100]).ends_with("x...\""));
    }
}
