//! The client's ends of the fifos. Both never wait longer than the limit.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wavetank::host::{Fd, Host, LinuxHost};

use super::{LIMIT, wait_for};

/// Waits for a descriptor, and gives what is up with it.
#[track_caller]
pub(super) fn wait_until_ready(fd: &impl AsFd, interest: PollFlags, end: Instant) -> PollFlags {
    loop {
        let rest = end.saturating_duration_since(Instant::now());
        assert!(!rest.is_zero(), "nothing came of a descriptor");
        let mut question = [PollFd::new(fd.as_fd(), interest)];
        let timeout = PollTimeout::try_from(rest).unwrap();
        if poll(&mut question, timeout).is_ok_and(|count| count > 0) {
            return question[0].revents().unwrap();
        }
    }
}

/// Bytes that wait in a fifo or terminal.
pub(crate) fn unread(fd: &impl AsRawFd) -> usize {
    LinuxHost::new().unread(Fd(fd.as_raw_fd())).unwrap()
}

/// What comes out of a process.
#[derive(Debug)]
pub(crate) struct Stream(File);

impl Stream {
    /// Opens a fifo to read, whether anybody writes or not.
    pub(crate) fn open(path: &Path) -> Stream {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        Stream(options.open(path).unwrap())
    }

    /// Any file that does not block.
    pub(crate) fn of(file: File) -> Stream {
        Stream(file)
    }

    pub(crate) fn unread(&self) -> usize {
        unread(&self.0)
    }

    /// Waits for bytes; nothing is the end.
    #[track_caller]
    pub(crate) fn read_some(&mut self, most: usize) -> Vec<u8> {
        let end = Instant::now() + LIMIT;
        let mut buffer = vec![0; most];
        loop {
            wait_until_ready(&self.0, PollFlags::POLLIN, end);
            match self.0.read(&mut buffer) {
                Ok(count) => {
                    buffer.truncate(count);
                    return buffer;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // A terminal whose other side is closed.
                Err(error) if error.raw_os_error() == Some(5) => return Vec::new(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[track_caller]
    pub(crate) fn read_exact(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let more = self.read_some(count - bytes.len());
            assert!(!more.is_empty(), "ended after {} of {count} bytes", bytes.len());
            bytes.extend(more);
        }
        bytes
    }

    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            match self.read_some(64 * 1024) {
                more if more.is_empty() => return bytes,
                more => bytes.extend(more),
            }
        }
    }

    #[track_caller]
    pub(crate) fn text_to_end(&mut self) -> String {
        String::from_utf8(self.read_to_end()).unwrap()
    }

    /// Reads until this has come, and gives everything that came.
    #[track_caller]
    pub(crate) fn read_until(&mut self, wanted: &str) -> String {
        let mut text = String::new();
        while !text.contains(wanted) {
            let more = self.read_some(4096);
            assert!(!more.is_empty(), "{wanted:?} never came, only {text:?}");
            text.push_str(&String::from_utf8_lossy(&more));
        }
        text
    }
}

/// What goes into a process.
#[derive(Debug)]
pub(crate) struct Input(File);

impl Input {
    /// Opens a fifo to write, as soon as the shim has it open to read.
    #[track_caller]
    pub(crate) fn open(path: &Path) -> Input {
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        Input(wait_for("the shim has opened the fifo", || options.open(path).ok()))
    }

    /// Opens a fifo that nobody else may have open yet.
    pub(crate) fn open_alone(path: &Path) -> Input {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        Input(options.open(path).unwrap())
    }

    /// Bytes that nobody has taken yet.
    pub(crate) fn unread(&self) -> usize {
        unread(&self.0)
    }

    #[track_caller]
    pub(crate) fn write(&mut self, mut bytes: &[u8]) {
        let mut end = Instant::now() + LIMIT;
        while !bytes.is_empty() {
            wait_until_ready(&self.0, PollFlags::POLLOUT, end);
            match self.0.write(bytes) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    end = Instant::now() + LIMIT;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Compares what may be long.
#[track_caller]
pub(crate) fn assert_same(found: &[u8], expected: &[u8]) {
    if let Some(place) = found.iter().zip(expected).position(|(found, expected)| found != expected)
    {
        let around = |bytes: &[u8]| {
            let end = (place + 32).min(bytes.len());
            String::from_utf8_lossy(&bytes[place.saturating_sub(32)..end]).into_owned()
        };
        panic!("byte {place} differs:\n{:?}\n{:?}", around(found), around(expected));
    }
    assert_eq!(found.len(), expected.len(), "the length differs");
}
