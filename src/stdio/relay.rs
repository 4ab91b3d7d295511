//! Carrying bytes from one descriptor to another, both of them non-blocking.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::endpoint::is_empty;
use crate::host::{Bug, Errno, Fd, FileKind, Host, PollFd, Ready};

/// Most bytes moved by one call.
const CHUNK: usize = 64 * 1024;
/// Most bytes copied through our own memory by one call; a terminal gives no more than 4 KiB.
const BUFFER: usize = 16 * 1024;
/// Most calls in one turn, so that a busy relay does not keep others waiting.
const CALLS_PER_TURN: usize = 16;
/// How long to wait before a full disk is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Carries bytes from `source` to `sink` until the source ends. Owns neither.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    source: Fd,
    sink: Fd,
    means: Means,
    waits: Wait,
    /// Bytes that were read and not written yet.
    pending: Vec<u8>,
    /// Once the source has nothing to read, that is its end.
    ends_when_empty: bool,
    ended: bool,
    dropped: u64,
}

/// How bytes are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Means {
    /// Inside the kernel, from pipe to pipe.
    Splice,
    /// Through our memory.
    Copy,
    /// Not at all: the sink is broken, and the source's writer must not suffer from it.
    Discard,
}

/// What a relay waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wait {
    Source,
    Sink,
    /// A full disk may have room again then.
    Until(Duration),
}

/// A sink that takes no more bytes, for good. From here on they are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Why.
    pub errno: Errno,
}

/// What one step came to.
enum Step {
    Moved,
    Waits(Wait),
    Ended,
    Broken(Errno),
}

impl Relay {
    /// A relay that waits for its source. Between two pipes or fifos bytes stay in the kernel.
    pub fn new<H: Host>(host: &mut H, source: Fd, sink: Fd) -> Relay {
        let mut is_pipe = |fd| host.fstat(fd).is_ok_and(|stat| stat.kind == FileKind::Fifo);
        let means = if is_pipe(source) && is_pipe(sink) { Means::Splice } else { Means::Copy };
        Relay {
            source,
            sink,
            means,
            waits: Wait::Source,
            pending: Vec::new(),
            ends_when_empty: false,
            ended: false,
            dropped: 0,
        }
    }

    /// A relay that reads and drops all that its source gives.
    #[must_use]
    pub fn discarding(source: Fd) -> Relay {
        Relay {
            source,
            sink: source,
            means: Means::Discard,
            waits: Wait::Source,
            pending: Vec::new(),
            ends_when_empty: false,
            ended: false,
            dropped: 0,
        }
    }

    /// Whether the source has ended and all of it was carried.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Bytes that the sink did not take, and, should the relay be given up now, will not take any
    /// more: those dropped, those in our hands, and those still in the source.
    pub fn lost<H: Host>(&self, host: &mut H) -> u64 {
        let unread = if self.ended { 0 } else { host.unread(self.source).unwrap_or(0) };
        self.dropped + (self.pending.len() + unread) as u64
    }

    /// From now on the relay ends as soon as there is nothing to read, whoever may still write.
    pub fn end_when_empty(&mut self) {
        self.ends_when_empty = true;
        // Waiting for more is what it must not do; the next turn looks.
        self.waits =
            if self.waits == Wait::Source { Wait::Until(Duration::ZERO) } else { self.waits };
    }

    /// What must be ready before the next turn, if it is a descriptor.
    #[must_use]
    pub fn question(&self) -> Option<PollFd> {
        match self.waits {
            _ if self.ended => None,
            Wait::Source => Some(PollFd::new(self.source, Ready::READ)),
            Wait::Sink => Some(PollFd::new(self.sink, Ready::WRITE)),
            Wait::Until(_) => None,
        }
    }

    /// When the next turn is due, if it waits for a time ([`Host::now`]).
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        match self.waits {
            Wait::Until(time) if !self.ended => Some(time),
            _ => None,
        }
    }

    /// Whether a turn is called for, by what was found ready or by the time.
    #[must_use]
    pub fn is_called(&self, answers: &[PollFd], now: Duration) -> bool {
        self.question().is_some_and(|question| is_answered(&question, answers))
            || self.due().is_some_and(|due| due <= now)
    }

    /// Carries what can be carried without waiting, up to a bound.
    ///
    /// # Errors
    /// That the sink has just broken. It is told once.
    pub fn turn<H: Host>(&mut self, host: &mut H) -> Result<(), Trouble> {
        let mut moved = false;
        for _ in 0..CALLS_PER_TURN {
            match self.step(host, moved) {
                Step::Moved => moved = true,
                Step::Waits(waits) => {
                    self.waits = waits;
                    return Ok(());
                }
                Step::Ended => {
                    self.ended = true;
                    return Ok(());
                }
                Step::Broken(errno) => {
                    self.means = Means::Discard;
                    self.dropped += self.pending.len() as u64;
                    self.pending = Vec::new();
                    self.waits = Wait::Source;
                    return Err(Trouble { errno });
                }
            }
        }
        // There is more to do, so whichever it waits for is ready at once.
        self.waits = if self.pending.is_empty() { Wait::Source } else { Wait::Sink };
        if self.ends_when_empty && self.waits == Wait::Source {
            self.waits = Wait::Until(Duration::ZERO);
        }
        Ok(())
    }

    /// As [`Relay::turn`], but waits for room in the sink: [`Bug::InputWaits`],
    /// [`Bug::OutputWaits`].
    pub(super) fn turn_until_written<H: Host>(&mut self, host: &mut H) -> Result<(), Trouble> {
        self.turn(host)?;
        while let Some(question) = self.question().filter(|_| self.waits == Wait::Sink) {
            let _ = host.poll(&mut [question], None);
            self.turn(host)?;
        }
        Ok(())
    }

    fn step<H: Host>(&mut self, host: &mut H, moved: bool) -> Step {
        match self.means {
            Means::Splice => self.splice(host, moved),
            Means::Copy if !self.pending.is_empty() => self.write_pending(host),
            Means::Copy | Means::Discard => self.copy(host),
        }
    }

    fn splice<H: Host>(&mut self, host: &mut H, moved: bool) -> Step {
        match host.splice(self.source, self.sink, CHUNK) {
            Ok(0) => Step::Ended,
            Ok(_) | Err(Errno::EINTR) => Step::Moved,
            Err(Errno::EAGAIN) if self.ends_when_empty && is_empty(host, self.source) => {
                Step::Ended
            }
            Err(Errno::EAGAIN) if host.planted(Bug::FullSinkPolled) => Step::Waits(Wait::Source),
            Err(Errno::EAGAIN) => Step::Waits(self.other_wait(moved)),
            Err(Errno::EPIPE) => Step::Broken(Errno::EPIPE),
            Err(_) => {
                // Whatever splice has against these two, read and write tell which it is.
                self.means = Means::Copy;
                Step::Moved
            }
        }
    }

    /// `EAGAIN` of `splice(2)` does not say whether source or sink made it stop. If bytes were
    /// moved before, the source is empty, most likely; if it was ready and nothing moved, the sink
    /// is full, and the other way round. A wrong guess costs one turn.
    fn other_wait(&self, moved: bool) -> Wait {
        match self.waits {
            Wait::Source if !moved => Wait::Sink,
            _ if self.ends_when_empty => Wait::Sink,
            _ => Wait::Source,
        }
    }

    fn copy<H: Host>(&mut self, host: &mut H) -> Step {
        let mut buffer = [0; BUFFER];
        let count = match host.read(self.source, &mut buffer) {
            // A terminal whose other side is closed for good ends with EIO.
            Err(Errno::EIO) if host.planted(Bug::HangUpIsFailure) => {
                return Step::Broken(Errno::EIO);
            }
            Ok(0) | Err(Errno::EIO) => return Step::Ended,
            Ok(count) => count,
            Err(Errno::EINTR) => return Step::Moved,
            Err(Errno::EAGAIN) if self.ends_when_empty || host.planted(Bug::EmptyIsEnd) => {
                return Step::Ended;
            }
            Err(Errno::EAGAIN) => return Step::Waits(Wait::Source),
            // The source cannot be read, now or ever; its end is all that can be said of it.
            Err(_) => return Step::Ended,
        };
        if self.means == Means::Discard {
            self.dropped += count as u64;
            return Step::Moved;
        }
        let bytes = &buffer[..count];
        let (written, step) = self.write(host, bytes);
        self.pending.extend_from_slice(&bytes[written..]);
        step
    }

    fn write_pending<H: Host>(&mut self, host: &mut H) -> Step {
        let pending = std::mem::take(&mut self.pending);
        let (written, step) = self.write(host, &pending);
        self.pending.extend_from_slice(&pending[written..]);
        step
    }

    fn write<H: Host>(&mut self, host: &mut H, bytes: &[u8]) -> (usize, Step) {
        match host.write(self.sink, bytes) {
            Ok(written) => (written, Step::Moved),
            Err(Errno::EINTR) => (0, Step::Moved),
            Err(Errno::EAGAIN) => (0, Step::Waits(Wait::Sink)),
            Err(Errno::ENOSPC | Errno::EDQUOT) => {
                let never = host.planted(Bug::FullDiskIsFinal);
                let pause = if never { Duration::from_secs(86_400) } else { RETRY_AFTER };
                (0, Step::Waits(Wait::Until(host.now() + pause)))
            }
            Err(errno) => (0, Step::Broken(errno)),
        }
    }
}

fn is_answered(question: &PollFd, answers: &[PollFd]) -> bool {
    answers.iter().any(|answer| {
        answer.fd == question.fd && answer.interest == question.interest && !answer.ready.is_empty()
    })
}
