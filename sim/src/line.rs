//! What a terminal does to the bytes that pass it (`termios(3)`): lines, echo, signals from the
//! keyboard, and carriage returns.
//!
//! Of the editing keys only erase is known here, and nothing stops the output (`IXON`).

use wavetank::host::{Signal, Termios};

use crate::pty::Pty;

const INTR: usize = 0;
const QUIT: usize = 1;
const ERASE: usize = 2;
const SUSP: usize = 10;
/// `ECHOCTL`: control characters are echoed as `^C`.
const ECHOCTL: u32 = 0o1000;
/// `INLCR`, `IGNCR`: what becomes of newlines and carriage returns that are typed.
const INLCR: u32 = 0o100;
const IGNCR: u32 = 0o200;

/// A byte that was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    byte: u8,
    /// It is the last one of a line.
    ends: bool,
}

impl Input {
    /// The end of a file: ends a line without being part of it. Where lines mean nothing any more
    /// it is a zero byte.
    const END: Input = Input { byte: 0, ends: true };
}

/// The terminal that a new pair has.
pub(crate) fn default_termios() -> Termios {
    let mut characters = [0; 19];
    characters[..17]
        .copy_from_slice(&[3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0]);
    Termios {
        input: Termios::ICRNL | Termios::IXON,
        output: Termios::OPOST | Termios::ONLCR,
        control: 0o277,
        local: 0o10_5073,
        discipline: 0,
        characters,
    }
}

impl Pty {
    fn local(&self, flag: u32) -> bool {
        self.termios.local & flag != 0
    }

    pub(crate) fn is_canonical(&self) -> bool {
        self.local(Termios::ICANON)
    }

    /// Whether a reader of the slave would get something.
    pub(crate) fn has_input(&self) -> bool {
        if self.is_canonical() {
            self.input.iter().any(|it| it.ends)
        } else {
            !self.input.is_empty()
        }
    }

    /// Whether something can be typed. A line that is longer than the terminal can hold loses its
    /// end, so there it always can.
    pub(crate) fn has_input_room(&self) -> bool {
        self.input.len() < self.capacity || (self.is_canonical() && !self.has_input())
    }

    /// How many bytes a reader of the slave finds.
    pub(crate) fn unread_input(&self) -> usize {
        if !self.is_canonical() {
            return self.input.len();
        }
        let whole_lines = self.input.iter().rposition(|it| it.ends).map_or(0, |at| at + 1);
        self.input.iter().take(whole_lines).filter(|it| **it != Input::END).count()
    }

    /// Gives the reader of the slave a line, or what is there if there are no lines.
    pub(crate) fn take_input(&mut self, buffer: &mut [u8]) -> usize {
        let lines = self.is_canonical();
        let mut count = 0;
        while count < buffer.len() {
            let Some(input) = self.input.pop_front() else { return count };
            if lines && input == Input::END {
                return count;
            }
            buffer[count] = input.byte;
            count += 1;
            if lines && input.ends {
                return count;
            }
        }
        // A buffer that was just large enough takes the end of the file with it.
        if lines && self.input.front() == Some(&Input::END) {
            self.input.pop_front();
        }
        count
    }

    /// Lines that were typed are plain bytes once there are lines no more, and what was typed
    /// without lines is one when they come back.
    pub(crate) fn set_termios(&mut self, termios: Termios) {
        let before = self.is_canonical();
        self.termios = termios;
        if before == self.is_canonical() {
            return;
        }
        self.input.iter_mut().for_each(|it| it.ends = false);
        if !before && let Some(last) = self.input.back_mut() {
            last.ends = true;
        }
    }

    /// Types a byte at the master, and says which signal that is.
    pub(crate) fn type_in(&mut self, byte: u8) -> Option<Signal> {
        let input = self.termios.input;
        let byte = match byte {
            b'\r' if input & IGNCR != 0 => return None,
            b'\r' if input & Termios::ICRNL != 0 => b'\n',
            b'\n' if input & INLCR != 0 => b'\r',
            byte => byte,
        };
        if let Some(signal) = self.keyboard_signal(byte) {
            self.input.clear();
            self.echo(byte);
            return Some(signal);
        }
        if self.is_canonical() {
            self.type_in_line(byte);
        } else {
            self.input.push_back(Input { byte, ends: false });
            self.echo(byte);
        }
        None
    }

    fn is_key(&self, key: usize, byte: u8) -> bool {
        byte != 0 && self.termios.characters[key] == byte
    }

    pub(crate) fn keyboard_signal(&self, byte: u8) -> Option<Signal> {
        if !self.local(Termios::ISIG) {
            return None;
        }
        let keys = [(INTR, Signal::INT), (QUIT, Signal::QUIT), (SUSP, Signal(20))];
        keys.into_iter().find(|(key, _)| self.is_key(*key, byte)).map(|(_, signal)| signal)
    }

    fn type_in_line(&mut self, byte: u8) {
        if self.is_key(Termios::VEOF, byte) {
            self.input.push_back(Input::END);
            return;
        }
        if self.is_key(ERASE, byte) {
            if self.input.back().is_some_and(|last| !last.ends)
                && let Some(erased) = self.input.pop_back()
            {
                self.echo_erasure(erased.byte);
            }
            return;
        }
        if self.input.len() >= self.capacity {
            self.input.pop_back();
        }
        self.input.push_back(Input { byte, ends: byte == b'\n' });
        if byte == b'\n' && self.local(Termios::ECHONL) && !self.local(Termios::ECHO) {
            self.print(byte);
        }
        self.echo(byte);
    }

    /// Takes back what an erased byte has shown: a control character has two places.
    fn echo_erasure(&mut self, erased: u8) {
        if !self.local(Termios::ECHO) {
            return;
        }
        let places = match erased.is_ascii_control() {
            true if self.local(ECHOCTL) => 2,
            true => 0,
            false => 1,
        };
        for _ in 0..places {
            for byte in *b"\x08 \x08" {
                self.print(byte);
            }
        }
    }

    /// Shows a typed byte, if there is room for it.
    fn echo(&mut self, byte: u8) {
        if !self.local(Termios::ECHO) {
            return;
        }
        let is_control = byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t');
        if is_control && self.local(ECHOCTL) {
            self.print(b'^');
            self.print(byte ^ 0x40);
        } else {
            self.print(byte);
        }
    }

    /// Whether the slave can print anything: a newline may need two places.
    pub(crate) fn has_output_room(&self) -> bool {
        self.output.len() + 2 <= self.capacity.max(2)
    }

    /// Prints a byte at the slave; false if there is no room.
    pub(crate) fn print(&mut self, byte: u8) -> bool {
        let output = self.termios.output;
        let newline = byte == b'\n' && output & Termios::OPOST != 0 && output & Termios::ONLCR != 0;
        let needed = if newline { 2 } else { 1 };
        if self.output.len() + needed > self.capacity.max(2) {
            return false;
        }
        if newline {
            self.output.push_back(b'\r');
        }
        self.output.push_back(byte);
        true
    }
}
