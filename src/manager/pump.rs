//! Carrying bytes between our own streams, which may wait, and a container's fifos.

use std::collections::VecDeque;

use crate::host::{Errno, Fd, Host, PollFd, Ready};

/// A write of this size to a pipe that is ready does not wait (`PIPE_BUF` of `pipe(7)`).
const WRITE_MAX: usize = 4096;
const READ_MAX: usize = 16 * 1024;

/// Makes one call only when its descriptor is ready for it: our streams belong to others, too, so
/// they cannot be made non-blocking.
#[derive(Clone, Debug)]
pub(super) struct Pump {
    source: Option<Fd>,
    /// `None` once it is broken; then what is read is dropped, so that its writer can go on.
    sink: Option<Fd>,
    pending: VecDeque<u8>,
}

impl Pump {
    pub(super) fn new(source: Fd, sink: Fd) -> Pump {
        Pump { source: Some(source), sink: Some(sink), pending: VecDeque::new() }
    }

    /// Whether the source has ended and everything is written.
    pub(super) fn ended(&self) -> bool {
        self.source.is_none() && self.pending.is_empty()
    }

    /// Whether its next call is one that reads.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() || self.is_broken()
    }

    /// Whether nobody takes what it carries any more.
    pub(super) fn is_broken(&self) -> bool {
        self.sink.is_none()
    }

    pub(super) fn question(&self) -> Option<PollFd> {
        match self.sink.filter(|_| !self.pending.is_empty()) {
            Some(sink) => Some(PollFd::new(sink, Ready::WRITE)),
            None => self.source.map(|source| PollFd::new(source, Ready::READ)),
        }
    }

    /// Makes the one call that its question was about.
    pub(super) fn turn<H: Host>(&mut self, host: &mut H) {
        match (self.sink.filter(|_| !self.pending.is_empty()), self.source) {
            (Some(sink), _) => self.write(host, sink),
            (None, Some(source)) => self.read(host, source),
            (None, None) => {}
        }
    }

    fn read<H: Host>(&mut self, host: &mut H, source: Fd) {
        let mut buffer = [0; READ_MAX];
        match host.read(source, &mut buffer) {
            Ok(0) => self.source = None,
            Ok(_) if self.is_broken() => {}
            Ok(count) => self.pending.extend(&buffer[..count]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.source = None,
        }
    }

    fn write<H: Host>(&mut self, host: &mut H, sink: Fd) {
        let bytes = self.pending.make_contiguous();
        match host.write(sink, &bytes[..bytes.len().min(WRITE_MAX)]) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => {
                self.sink = None;
                self.pending.clear();
            }
        }
    }
}
