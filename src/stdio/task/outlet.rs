//! One output of a process, and how it comes to its end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::{Bug, Errno, Fd, Host, Mark, OpenFlags, PollFd, Ready, close_all};
use crate::stdio::endpoint::{has_no_reader, is_empty, unreadable};
use crate::stdio::{Output, Relay};

/// How soon a fifo or pipe that is not empty yet is looked at again; each time the pause doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How long a client that has the fifo open is given to read it, once it wants the process removed.
const TIME_TO_TAKE: Duration = Duration::from_millis(500);

/// Where the output of a process goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outlet {
    stage: Stage,
    /// Bytes that nobody has read, nor can read any more.
    lost: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// There is nothing for us to do, or no more.
    #[default]
    Closed,
    /// We carry what the process writes.
    Carried(Carried),
    /// The process writes to the client's fifo itself. We look again if it has ended and the fifo could
    /// not be opened.
    Shared { path: PathBuf, keeper: Fd, met: bool, looks: Option<Looks> },
    /// All is in the client's fifo, which nobody has open to read.
    Lingering { path: PathBuf, sink: Fd, met: bool, looks: Option<Looks> },
    /// All is in the client's fifo, and its end; a client has it open and has not read all yet.
    Untaken { path: PathBuf, looks: Option<Looks> },
    /// A logger reads what the process writes; the source is our copy of its end. Without it, a
    /// logger that dies would take the process with it.
    Logged { source: Fd, discards: Option<Relay>, looks: Option<Looks> },
}

/// Output that we carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Carried {
    /// Our end of the process's pipe; that of a terminal is not ours to close.
    pub(super) source: Option<Fd>,
    /// Where it goes.
    pub(super) output: Output,
    /// What that is.
    pub(super) reader: Reader,
    /// None as long as there is no terminal to read from.
    pub(super) relay: Option<Relay>,
}

/// Who reads what we carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reader {
    /// A client, by the fifo `path`; `met` if one was there when we came.
    Client { path: PathBuf, met: bool },
    /// A logger, by a pipe of ours.
    Logger,
    /// Nobody that we know of: a file.
    Nobody,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Looks {
    begun: Duration,
    next: Duration,
    pause: Duration,
}

impl Looks {
    fn begin(now: Duration) -> Looks {
        Looks { begun: now, next: now, pause: FIRST_PAUSE }
    }

    fn again(self, now: Duration) -> Looks {
        Looks { next: now + self.pause, pause: LONGEST_PAUSE.min(2 * self.pause), ..self }
    }
}

/// What is known of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    #[default]
    Running,
    /// It has ended.
    Ended,
    /// It is to be removed.
    Removed,
}

impl Outlet {
    fn at(stage: Stage) -> Outlet {
        Outlet { stage, lost: 0 }
    }

    /// Output that is carried.
    pub(super) fn carried(carried: Carried) -> Outlet {
        Outlet::at(Stage::Carried(carried))
    }

    /// Output that the process writes to the client's fifo, whose read end `keeper` is ours.
    pub(super) fn shared(path: PathBuf, keeper: Fd, met: bool) -> Outlet {
        Outlet::at(Stage::Shared { path, keeper, met, looks: None })
    }

    /// Output that a logger reads from the process's pipe.
    pub(super) fn logged(source: Fd) -> Outlet {
        Outlet::at(Stage::Logged { source, discards: None, looks: None })
    }

    /// Begins to carry what the terminal says.
    pub(super) fn attach<H: Host>(&mut self, host: &mut H, master: Fd) {
        if let Stage::Carried(carried) = &mut self.stage {
            carried.relay = Some(Relay::new(host, master, carried.output.sink));
        }
    }

    /// Whether there is nothing left to do.
    pub(super) fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// Whether what the process writes passes through our hands.
    pub(super) fn is_carried(&self) -> bool {
        matches!(self.stage, Stage::Carried(_))
    }

    fn relay(&self) -> Option<&Relay> {
        match &self.stage {
            Stage::Carried(carried) => carried.relay.as_ref(),
            Stage::Logged { discards, .. } => discards.as_ref(),
            _ => None,
        }
    }

    fn relay_mut(&mut self) -> Option<&mut Relay> {
        match &mut self.stage {
            Stage::Carried(carried) => carried.relay.as_mut(),
            Stage::Logged { discards, .. } => discards.as_mut(),
            _ => None,
        }
    }

    fn looks_mut(&mut self) -> Option<&mut Option<Looks>> {
        match &mut self.stage {
            Stage::Shared { looks, .. }
            | Stage::Lingering { looks, .. }
            | Stage::Untaken { looks, .. }
            | Stage::Logged { looks, .. } => Some(looks),
            _ => None,
        }
    }

    fn looks(&self) -> Option<Looks> {
        match &self.stage {
            Stage::Shared { looks, .. }
            | Stage::Lingering { looks, .. }
            | Stage::Untaken { looks, .. }
            | Stage::Logged { looks, .. } => *looks,
            _ => None,
        }
    }

    pub(super) fn question(&self) -> Option<PollFd> {
        self.relay().and_then(Relay::question)
    }

    pub(super) fn due(&self) -> Option<Duration> {
        let look = self.looks().map(|looks| looks.next);
        self.relay().and_then(Relay::due).into_iter().chain(look).min()
    }

    /// Goes on as far as it can without waiting.
    ///
    /// # Errors
    /// Why the sink takes no more.
    pub(super) fn turn<H: Host>(
        &mut self,
        host: &mut H,
        answers: &[PollFd],
        now: Duration,
        phase: Phase,
    ) -> Result<(), Errno> {
        let mut trouble = Ok(());
        if let Some(relay) = self.relay_mut().filter(|relay| relay.is_called(answers, now)) {
            let turned = match host.planted(Bug::OutputWaits) {
                true => relay.turn_until_written(host),
                false => relay.turn(host),
            };
            trouble = turned.map_err(|trouble| trouble.errno);
            if relay.ended() {
                self.source_ended(host);
                self.begin_looking(now, phase);
            }
        }
        let looks = self.looks_mut().and_then(Option::as_mut);
        if let Some(looks) = looks.filter(|looks| looks.next <= now) {
            *looks = looks.again(now);
            self.look(host, now);
            self.begin_looking(now, phase);
        }
        trouble
    }

    /// From now on there is a time limit to what is waited for.
    pub(super) fn process_ended<H: Host>(&mut self, host: &mut H, now: Duration) {
        match &self.stage {
            Stage::Shared { .. } => self.source_ended(host),
            Stage::Carried(carried) if carried.relay.is_none() => self.source_ended(host),
            _ => {}
        }
        self.begin_looking(now, Phase::Ended);
    }

    /// Once the process is to be removed, nobody who is not there is waited for any more; and a client
    /// that is there may go as soon as it hears that the process is removed, though it has not read
    /// all, so it is given time.
    pub(super) fn process_removed<H: Host>(&mut self, host: &mut H, now: Duration) {
        if matches!(self.stage, Stage::Lingering { .. } | Stage::Shared { looks: Some(_), .. }) {
            self.give_up(host);
        }
        self.begin_looking(now, Phase::Removed);
        if matches!(self.stage, Stage::Untaken { .. }) {
            self.look(host, now);
        }
    }

    fn begin_looking(&mut self, now: Duration, phase: Phase) {
        let from = match self.stage {
            Stage::Untaken { .. } => Phase::Removed,
            _ => Phase::Ended,
        };
        if let Some(looks) = self.looks_mut().filter(|looks| phase >= from && looks.is_none()) {
            *looks = Some(Looks::begin(now));
        }
    }

    /// The logger is gone: the process must not suffer from it.
    pub(super) fn logger_ended<H: Host>(&mut self, host: &mut H) {
        match &mut self.stage {
            Stage::Logged { .. } if host.planted(Bug::LoggerGone) => {}
            Stage::Logged { source, discards, .. } if discards.is_none() => {
                host.mark(Mark::LoggerGone);
                let _ = host.set_nonblocking(*source, true);
                *discards = Some(Relay::discarding(*source));
            }
            Stage::Carried(Carried { reader: Reader::Logger, output, .. }) => {
                close_all(host, output.keeper.take());
            }
            _ => {}
        }
    }

    /// All that there will ever be has been written to where it goes.
    fn source_ended<H: Host>(&mut self, host: &mut H) {
        match std::mem::take(&mut self.stage) {
            Stage::Carried(Carried { source, output, reader, relay }) => {
                self.lost += relay.map_or(0, |relay| relay.lost(host));
                close_all(host, source);
                self.end(host, output, reader);
            }
            Stage::Shared { path, keeper, met, looks } => {
                let flags = OpenFlags::WRITE | OpenFlags::NONBLOCK | OpenFlags::NOCTTY;
                match host.open(&path, flags, 0) {
                    Ok(sink) => {
                        let output = Output { sink, keeper: Some(keeper) };
                        self.end(host, output, Reader::Client { path, met });
                    }
                    // Whoever does not have the fifo open by now cannot open it any more.
                    Err(Errno::ENOENT) if is_empty(host, keeper) => {
                        host.mark(Mark::FifoGone);
                        close_all(host, [keeper]);
                    }
                    // It may be possible in a moment; until then what is in it is held.
                    Err(_) => {
                        host.mark(Mark::FifoGone);
                        self.stage = Stage::Shared { path, keeper, met, looks };
                    }
                }
            }
            Stage::Logged { source, discards, .. } => {
                self.lost += discards.map_or(0, |relay| relay.lost(host));
                close_all(host, [source]);
            }
            stage => self.stage = stage,
        }
    }

    fn end<H: Host>(&mut self, host: &mut H, Output { sink, keeper }: Output, reader: Reader) {
        match (reader, keeper) {
            (Reader::Client { path, met }, Some(keeper)) => {
                close_all(host, [keeper]);
                self.stage = Stage::Lingering { path, sink, met, looks: None };
                self.look_for_reader(host);
            }
            (Reader::Logger, Some(source)) => {
                close_all(host, [sink]);
                self.stage = Stage::Logged { source, discards: None, looks: None };
            }
            // It could not be held; what is in it is its readers', who have it open.
            (Reader::Client { path, .. }, None) => {
                if host.unread(sink).is_ok_and(|unread| unread > 0) {
                    self.stage = Stage::Untaken { path, looks: None };
                }
                close_all(host, [sink]);
            }
            (_, keeper) => self.lost += Output { sink, keeper }.close(host) as u64,
        }
    }

    /// Closes what need not be waited for any more.
    fn look<H: Host>(&mut self, host: &mut H, now: Duration) {
        match &self.stage {
            Stage::Shared { .. } => self.source_ended(host),
            Stage::Lingering { .. } => self.look_for_reader(host),
            Stage::Untaken { path, looks } => {
                let is_over = looks.is_some_and(|looks| looks.begun + TIME_TO_TAKE <= now);
                if is_over || is_taken(host, path) {
                    self.stage = Stage::Closed;
                }
            }
            Stage::Logged { source, discards: None, .. } if is_at_end(host, *source) => {
                close_all(host, [*source]);
                self.stage = Stage::Closed;
            }
            _ => {}
        }
    }

    /// All is in the client's fifo: gives it its end, if there is a reader or nothing to read. A reader
    /// that has never come may be on its way, and would wait for a writer for ever.
    fn look_for_reader<H: Host>(&mut self, host: &mut H) {
        let Stage::Lingering { path, sink, met, .. } = &mut self.stage else { return };
        let (sink, unread) = (*sink, host.unread(*sink).unwrap_or(0));
        let may_wait = unread > 0 || !*met;
        if may_wait && has_no_reader(host, sink) {
            return;
        }
        self.stage = match (unread, host.planted(Bug::RemovedUnread)) {
            (0, _) | (_, true) => Stage::Closed,
            _ => Stage::Untaken { path: std::mem::take(path), looks: None },
        };
        close_all(host, [sink]);
    }

    /// Closes all of it now.
    pub(super) fn give_up<H: Host>(&mut self, host: &mut H) {
        match std::mem::take(&mut self.stage) {
            Stage::Closed | Stage::Untaken { .. } => {}
            Stage::Carried(Carried { source, output, relay, .. }) => {
                self.lost += relay.map_or(0, |relay| relay.lost(host));
                self.lost += output.close(host) as u64;
                close_all(host, source);
            }
            Stage::Shared { keeper, looks, .. } => {
                // Nobody knows whether a client has it open.
                self.lost += looks.map_or(0, |_| host.unread(keeper).unwrap_or(0)) as u64;
                close_all(host, [keeper]);
            }
            Stage::Lingering { sink, .. } => {
                self.lost += unreadable(host, sink) as u64;
                close_all(host, [sink]);
            }
            Stage::Logged { source, discards, .. } => {
                self.lost += discards.map_or(0, |relay| relay.lost(host));
                close_all(host, [source]);
            }
        }
    }

    /// Closes all of it, and gives how many bytes were lost.
    pub(super) fn close<H: Host>(mut self, host: &mut H) -> u64 {
        self.give_up(host);
        self.lost
    }
}

/// Whether a fifo holds nothing, or is not there: what nobody else has open holds nothing any more.
fn is_taken<H: Host>(host: &mut H, path: &Path) -> bool {
    let flags = OpenFlags::READ | OpenFlags::NONBLOCK | OpenFlags::NOCTTY;
    let Ok(fd) = host.open(path, flags, 0) else { return true };
    let is_empty = is_empty(host, fd);
    close_all(host, [fd]);
    is_empty
}

/// Whether a pipe has neither bytes nor writers left, seen from its read end.
fn is_at_end<H: Host>(host: &mut H, source: Fd) -> bool {
    let mut question = [PollFd::new(source, Ready::READ)];
    let answered = host.poll(&mut question, Some(Duration::ZERO)).is_ok();
    answered && question[0].ready.contains(Ready::HANGUP) && is_empty(host, source)
}
