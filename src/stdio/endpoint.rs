//! The outer ends: the fifos, or other files, that a client gave for a process's streams.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::host::{Bug, Errno, Fd, FileKind, Host, OpenFlags, PollFd, Ready, close_all};

/// Opens `/dev/null` to read and write: streams for a program that is to have none.
///
/// # Errors
/// What `open(2)` gives.
pub fn open_null<H: Host>(host: &mut H) -> Result<Fd, Error> {
    let null = Path::new("/dev/null");
    host.open(null, OpenFlags::READ | OpenFlags::WRITE, 0)
        .map_err(|errno| Error::system("open", null.display(), errno))
}

/// Where a process's input comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// What is read.
    pub source: Fd,
    /// Our own write end of a fifo: as long as it is open, a client that goes away does not end
    /// the input.
    pub closer: Option<Fd>,
}

impl Input {
    /// Opens the path, without waiting for anybody: first to read, then, if it is a fifo, to write.
    ///
    /// # Errors
    /// What `open(2)` gives; that we may not write is none.
    pub fn open<H: Host>(host: &mut H, path: &Path) -> Result<Input, Error> {
        let failed = |errno| Error::system("open", path.display(), errno);
        let mut flags = OpenFlags::READ | OpenFlags::NONBLOCK | OpenFlags::NOCTTY;
        flags.set(OpenFlags::WRITE, host.planted(Bug::OwnWriterKept));
        flags.set(OpenFlags::NONBLOCK, !host.planted(Bug::OpenWaits));
        let source = host.open(path, flags, 0).map_err(failed)?;
        if !is_fifo(host, source) {
            return Ok(Input { source, closer: None });
        }
        match host.open(path, OpenFlags::WRITE | OpenFlags::NONBLOCK, 0) {
            Ok(closer) => Ok(Input { source, closer: Some(closer) }),
            Err(Errno::EACCES) => Ok(Input { source, closer: None }),
            // Of a client that has come and gone before us there would be no end to be seen.
            Err(errno) => {
                close_all(host, [source]);
                Err(failed(errno))
            }
        }
    }

    /// Closes our write end: the input ends once no client has the fifo open either.
    pub fn close_writer<H: Host>(&mut self, host: &mut H) {
        close_all(host, self.closer.take());
    }

    /// Closes both ends.
    pub fn close<H: Host>(mut self, host: &mut H) {
        self.close_writer(host);
        close_all(host, [self.source]);
    }
}

/// Where a process's output goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// What is written.
    pub sink: Fd,
    /// Our own read end of a fifo, never read: as long as it is open, a reader that goes away is no
    /// error, and what it has not read waits for the next.
    pub keeper: Option<Fd>,
}

impl Output {
    /// Opens the path, without waiting for anybody. A plain file is appended to.
    ///
    /// # Errors
    /// What `open(2)` gives for writing.
    pub fn open<H: Host>(host: &mut H, path: &Path) -> Result<Output, Error> {
        let failed = |errno| Error::system("open", path.display(), errno);
        let common = OpenFlags::NONBLOCK | OpenFlags::NOCTTY;
        let reader = match host.open(path, OpenFlags::READ | common, 0) {
            Ok(reader) => Some(reader),
            Err(Errno::EACCES | Errno::ENXIO) => None,
            Err(errno) => return Err(failed(errno)),
        };
        let keeper = reader.filter(|reader| is_fifo(host, *reader));
        let keeper = keeper.filter(|_| !host.planted(Bug::NoReaderIsFinal));
        let appending = if keeper.is_some() { OpenFlags::empty() } else { OpenFlags::APPEND };
        let sink = host.open(path, OpenFlags::WRITE | common | appending, 0);
        close_all(host, reader.filter(|_| keeper.is_none() || sink.is_err()));
        Ok(Output { sink: sink.map_err(failed)?, keeper })
    }

    /// As [`Output::open`], and tells whether a reader had the fifo open before us; a reader that
    /// waits in `open(2)` counts (`fifo(7)`).
    ///
    /// # Errors
    /// What `open(2)` gives for writing.
    pub fn meet<H: Host>(host: &mut H, path: &Path) -> Result<(Output, bool), Error> {
        let flags = OpenFlags::WRITE | OpenFlags::NONBLOCK | OpenFlags::NOCTTY;
        // Closed only when the other is open, so that no reader sees an end between the two.
        let first = host.open(path, flags, 0);
        let output = Output::open(host, path);
        close_all(host, first.ok());
        Ok((output?, first.is_ok()))
    }

    /// Closes both ends, and tells how many bytes were lost: those in a fifo that nobody else has
    /// open to read.
    pub fn close<H: Host>(self, host: &mut H) -> usize {
        let lost = match self.keeper {
            Some(keeper) => {
                close_all(host, [keeper]);
                unreadable(host, self.sink)
            }
            None => 0,
        };
        close_all(host, [self.sink]);
        lost
    }
}

pub(super) fn is_fifo<H: Host>(host: &mut H, fd: Fd) -> bool {
    host.fstat(fd).is_ok_and(|stat| stat.kind == FileKind::Fifo)
}

/// Whether a fifo, pipe or terminal holds nothing that is still to be read.
pub(super) fn is_empty<H: Host>(host: &mut H, fd: Fd) -> bool {
    host.unread(fd).is_ok_and(|count| count == 0)
}

/// How many bytes a fifo or pipe holds that nobody can read any more, seen from its write end.
pub(super) fn unreadable<H: Host>(host: &mut H, sink: Fd) -> usize {
    match host.unread(sink).unwrap_or(0) {
        0 => 0,
        unread if has_no_reader(host, sink) => unread,
        _ => 0,
    }
}

/// Whether nobody has a pipe open to read, as far as is known: then it reports `POLLERR` at its write
/// end (`poll(2)`).
pub(super) fn has_no_reader<H: Host>(host: &mut H, sink: Fd) -> bool {
    let mut question = [PollFd::new(sink, Ready::WRITE)];
    let answered = host.poll(&mut question, Some(Duration::ZERO));
    answered.is_err() || question[0].ready.contains(Ready::ERROR)
}
