//! What happened in a run: always as one number, and as text when somebody wants to read it.

/// Mixes one more number into a hash (FNV-1a, over words instead of bytes, and turned so that the
/// high bits count too).
pub(crate) fn mix(hash: u64, number: u64) -> u64 {
    (hash.rotate_left(23) ^ number).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The record of a run.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(keep_lines: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, lines: keep_lines.then(Vec::new) }
    }

    /// Takes an event in: as numbers always, as a line only if lines are kept.
    pub(crate) fn event(&mut self, numbers: [u64; 3], line: impl FnOnce() -> String) {
        for number in numbers {
            self.hash = mix(self.hash, number);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(line());
        }
    }

    /// Adds to the last line, if lines are kept.
    pub(crate) fn more(&mut self, text: impl FnOnce() -> String) {
        if let Some(last) = self.lines.as_mut().and_then(|lines| lines.last_mut()) {
            last.push_str(&text());
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
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
            events.into_iter().for_each(|event| trace.event(event, String::new));
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
