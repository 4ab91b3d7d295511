//! The `control` fifo: lines of three numbers.

use serde::{Deserialize, Serialize};

use crate::host::WindowSize;

/// A line longer than this cannot be a message.
const LINE_MAX: usize = 4096;

/// What the daemon wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// `0 0 0`: the process's input ends here.
    CloseStdin,
    /// `1 WIDTH HEIGHT`: the terminal's window has changed.
    Resize(WindowSize),
}

/// Takes messages out of bytes, however they are cut, and skips lines that are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    line: Vec<u8>,
}

impl Control {
    /// The messages that these bytes complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                messages.extend(parse(&self.line));
                self.line.clear();
            } else if self.line.len() <= LINE_MAX {
                self.line.push(*byte);
            }
        }
        messages
    }
}

fn parse(line: &[u8]) -> Option<Message> {
    if line.len() > LINE_MAX {
        return None;
    }
    let words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let numbers = words.map(|word| word.parse().ok()).collect::<Option<Vec<i64>>>()?;
    match numbers[..] {
        [0, _, _] => Some(Message::CloseStdin),
        // The kernel's fields have sixteen bits; Go cuts the same way.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        [1, width, height] => {
            Some(Message::Resize(WindowSize { columns: width as u16, rows: height as u16 }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn resize(columns: u16, rows: u16) -> Message {
        Message::Resize(WindowSize { columns, rows })
    }

    #[rstest]
    #[case("0 0 0\n", &[Message::CloseStdin])]
    #[case("1 91 37\n", &[resize(91, 37)])]
    #[case("1 1 1\n0 0 0\n1 2 2\n", &[resize(1, 1), Message::CloseStdin, resize(2, 2)])]
    #[case("  1   80\t24  \n", &[resize(80, 24)])]
    #[case("abc def\n\n1 2\n7 1 1\n0 0 0\n", &[Message::CloseStdin])]
    #[case("1 2 3 4\n1 99999999999999999999 1\n0 0 0", &[])]
    #[case("\u{fffd}\n0 0 0\n", &[Message::CloseStdin])]
    #[case("1 65616 24\n", &[resize(80, 24)])]
    fn messages_come_whole_however_they_are_cut(#[case] text: &str, #[case] expected: &[Message]) {
        for cut in 0..=text.len() {
            let mut control = Control::default();
            let mut messages = control.feed(&text.as_bytes()[..cut]);
            messages.extend(control.feed(&text.as_bytes()[cut..]));
            assert_eq!(messages, expected, "cut at {cut}");
        }
    }

    #[test]
    fn an_endless_line_takes_no_memory_and_spoils_nothing() {
        let mut control = Control::default();
        for _ in 0..1000 {
            assert_eq!(control.feed(&[b'1'; 1000]), []);
        }
        assert!(control.line.len() <= LINE_MAX + 1);
        assert_eq!(control.feed(b" 2 3\n0 0 0\n"), [Message::CloseStdin]);
    }
}
