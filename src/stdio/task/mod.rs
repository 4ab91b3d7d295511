//! The streams of one process of a v2 task.

mod open;
mod outlet;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::logger::Logger;
use super::{ConsoleSocket, Input, Owner, Pty, Relay};
use crate::Error;
use crate::host::{Bug, Command, Errno, Fd, Host, PollFd, Ready, WindowSize, close_all};
use outlet::{Outlet, Phase};

/// What a v2 client wants of a process's streams.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Where its input comes from: a path, or nothing for `/dev/null`.
    pub stdin: String,
    /// Where its output goes: a path, a URI, or nothing. The scheme `fifo`, `file`, `binary` or
    /// `binary-v2` decides for both outputs.
    pub stdout: String,
    /// Where its errors go; not used with a terminal, nor with a file or a logger for stdout.
    pub stderr: String,
    /// Whether it gets a terminal, which the runtime makes and sends to the console socket.
    pub terminal: bool,
    /// Who is to own the pipes: the options `io_uid` and `io_gid`.
    pub owner: Owner,
    /// Let the process write to the client's fifos itself. Only for one whose end is the end of all
    /// who may hold its streams: the first process of a pid namespace. With a terminal, with an
    /// owner other than root, and where the path is no fifo, there is a pipe all the same.
    pub direct: bool,
    /// The process has pipes, wherever its output goes: a checkpoint is to be made of it some day.
    pub only_pipes: bool,
    /// The container's id, or the exec's: what a logger knows it by.
    pub id: String,
    /// The namespace, for the same purpose.
    pub namespace: String,
}

/// The streams of one process. Nothing here waits; whoever holds it asks, polls, and gives it
/// turns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStdio {
    stdin: Option<Inlet>,
    stdout: Outlet,
    stderr: Outlet,
    /// The inner ends that the runtime is started with: descriptors 0, 1 and 2.
    child_ends: Vec<Fd>,
    /// `/dev/null`, where one of these is it.
    null: Option<Fd>,
    logger: Option<Logger>,
    console_socket: Option<ConsoleSocket>,
    /// Why there is no terminal, though the process was to have one.
    console_failed: Option<Error>,
    /// What came instead of a terminal, or one that is of no use: held so that nobody is hung up while
    /// the runtime is at work.
    unusable: Option<Fd>,
    pty: Option<Pty>,
    /// The last size that the client wished for, kept until there is a terminal.
    size: Option<WindowSize>,
    /// The process has ended, and then its output is no longer waited for ([`Host::now`]).
    deadline: Option<Duration>,
    phase: Phase,
    /// What went wrong and nobody was told of yet.
    untold: Option<Error>,
}

/// The input of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Inlet {
    input: Input,
    /// Our end of the process's pipe; none with a terminal.
    pipe: Option<Fd>,
    /// None as long as there is no terminal to write to.
    relay: Option<Relay>,
}

impl Inlet {
    fn close<H: Host>(self, host: &mut H) {
        self.input.close(host);
        close_all(host, self.pipe);
    }
}

impl TaskStdio {
    /// What the runtime's descriptors 0, 1 and 2 have to be.
    #[must_use]
    pub fn child_ends(&self) -> &[Fd] {
        &self.child_ends
    }

    /// Where the runtime has to send the console to (`--console-socket`), if it is to make one.
    #[must_use]
    pub fn console_socket(&self) -> Option<PathBuf> {
        self.console_socket.as_ref().map(ConsoleSocket::path)
    }

    /// The logger to start, if there is to be one; given once. Whoever starts it reaps it, calls
    /// [`TaskStdio::logger_started`], and waits until [`TaskStdio::is_ready`] before the runtime is
    /// called.
    pub fn logger(&mut self) -> Option<Command> {
        self.logger.as_mut()?.command()
    }

    /// The logger runs, and has its descriptors: closes our copies, without which its silence could
    /// not be told from its end.
    pub fn logger_started<H: Host>(&mut self, host: &mut H) {
        if let Some(logger) = &mut self.logger {
            logger.started(host);
        }
    }

    /// The logger has ended, if there was one. What the process still writes is dropped, so that it
    /// neither waits for ever nor is killed for writing.
    pub fn logger_ended<H: Host>(&mut self, host: &mut H) {
        self.stdout.logger_ended(host);
        self.stderr.logger_ended(host);
    }

    /// Whether the runtime may be called: there is no logger to wait for, or it has said that it is
    /// ready, or it will not say so any more.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.logger.as_ref().is_none_or(Logger::is_ready)
    }

    /// Why the logger will not be ready, if that is so.
    #[must_use]
    pub fn logger_failed(&self) -> Option<Error> {
        self.logger.as_ref().and_then(Logger::failure)
    }

    /// The runtime has ended: closes what only it and the process need. From then on the output
    /// ends with its last writer.
    pub fn runtime_done<H: Host>(&mut self, host: &mut H) {
        let ends = std::mem::take(&mut self.child_ends);
        close_all(host, ends.into_iter().filter(|end| Some(*end) != self.null));
        if host.planted(Bug::ClosedTwice) {
            return close_all(host, self.null);
        }
        close_all(host, self.null.take());
    }

    /// Whether the runtime still owes us a console.
    #[must_use]
    pub fn awaits_console(&self) -> bool {
        self.console_socket.is_some()
    }

    /// Why the process has no terminal though it was to have one, or has none yet.
    #[must_use]
    pub fn console_failed(&self) -> Option<Error> {
        let still_to_come = || self.console_socket.as_ref().map(ConsoleSocket::failure);
        self.console_failed.clone().or_else(still_to_come)
    }

    /// Whether a console has come, or was about to, that is of no use.
    #[must_use]
    pub fn is_console_spoilt(&self) -> bool {
        self.console_failed.is_some()
            || self.console_socket.as_ref().is_some_and(ConsoleSocket::is_broken)
    }

    /// Looks whether the console has come, and takes it.
    ///
    /// # Errors
    /// That what came is no terminal, or none that can be used; then one is still awaited.
    pub fn receive_console<H: Host>(&mut self, host: &mut H) -> Result<(), Error> {
        let Some(socket) = &mut self.console_socket else { return Ok(()) };
        let Some(master) = socket.receive(host) else { return Ok(()) };
        let mut pty = match Pty::adopt(host, master, self.size) {
            Ok(pty) => pty,
            Err(error) => {
                close_all(host, self.unusable.replace(master));
                self.console_failed = Some(error.clone());
                return Err(error);
            }
        };
        self.console_failed = None;
        close_all(host, self.unusable.take());
        self.close_console_socket(host);
        if self.deadline.is_some() {
            pty.let_go(host);
        }
        if let Some(inlet) = &mut self.stdin {
            inlet.relay = Some(Relay::new(host, inlet.input.source, pty.master));
        }
        self.stdout.attach(host, pty.master);
        self.pty = Some(pty);
        Ok(())
    }

    fn close_console_socket<H: Host>(&mut self, host: &mut H) {
        if let Some(socket) = self.console_socket.take() {
            self.untold = socket.close(host).err().or(self.untold.take());
        }
    }

    /// Adds what must be waited for.
    pub fn ask(&self, questions: &mut Vec<PollFd>) {
        let input = self.stdin.as_ref().and_then(|inlet| inlet.relay.as_ref()?.question());
        let logger = self.logger.as_ref().and_then(Logger::question);
        questions.extend(input.into_iter().chain(logger));
        questions.extend(self.stdout.question().into_iter().chain(self.stderr.question()));
        if let Some(socket) = &self.console_socket {
            questions.extend(socket.descriptors().map(|fd| PollFd::new(fd, Ready::READ)));
        }
    }

    /// When a turn is wanted though nothing is ready ([`Host::now`]).
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let times = [
            self.stdin.as_ref().and_then(|inlet| inlet.relay.as_ref()?.due()),
            self.stdout.due(),
            self.stderr.due(),
            self.console_socket.as_ref().and_then(ConsoleSocket::due),
            self.deadline.filter(|_| !self.outputs_are_closed()),
        ];
        times.into_iter().flatten().min()
    }

    /// Does what is called for by what was found ready and by the time, and says what went wrong.
    /// None of that is the end of the process.
    pub fn turn<H: Host>(&mut self, host: &mut H, answers: &[PollFd], now: Duration) -> Vec<Error> {
        let mut troubles = Vec::new();
        let answered =
            |fd| answers.iter().any(|answer| answer.fd == fd && !answer.ready.is_empty());
        if let Some(socket) = &self.console_socket
            && (socket.descriptors().any(answered) || socket.due().is_some_and(|due| due <= now))
        {
            troubles.extend(self.receive_console(host).err());
        }
        if let Some(logger) = &mut self.logger
            && logger.question().is_some_and(|question| answered(question.fd))
        {
            logger.listen(host);
        }
        troubles.extend(self.turn_input(host, answers, now));
        for (name, outlet) in [("stdout", &mut self.stdout), ("stderr", &mut self.stderr)] {
            let trouble = outlet.turn(host, answers, now, self.phase).err();
            troubles.extend(trouble.map(|errno| Error::system("write", name, errno)));
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.stdout.give_up(host);
            self.stderr.give_up(host);
        }
        self.close_dead_pty(host);
        troubles.extend(self.untold.take());
        troubles
    }

    /// What went wrong and nobody was told of; after [`TaskStdio::close`] there are no more turns.
    pub fn untold(&mut self) -> Option<Error> {
        self.untold.take()
    }

    /// The end of the input is passed on to a pipe; a terminal has no such end. A process that has
    /// closed its input wants no more of it, which is its own business.
    fn turn_input<H: Host>(
        &mut self,
        host: &mut H,
        answers: &[PollFd],
        now: Duration,
    ) -> Option<Error> {
        let relay = self.stdin.as_mut()?.relay.as_mut()?;
        if !relay.is_called(answers, now) {
            return None;
        }
        let trouble = match host.planted(Bug::InputWaits) {
            true => relay.turn_until_written(host),
            false => relay.turn(host),
        };
        let trouble = trouble.err();
        if relay.ended() || trouble.is_some() {
            self.drop_input(host);
        }
        let trouble = trouble.filter(|trouble| trouble.errno != Errno::EPIPE)?;
        Some(Error::system("write", "stdin", trouble.errno))
    }

    fn drop_input<H: Host>(&mut self, host: &mut H) {
        if let Some(inlet) = self.stdin.take() {
            inlet.close(host);
        }
    }

    /// Does as the client wishes, now or when the terminal comes; without one it is no wish. A
    /// terminal that is going away takes no size, and needs none.
    ///
    /// # Errors
    /// What [`Host::set_window_size`] gives while the process runs.
    pub fn resize<H: Host>(&mut self, host: &mut H, size: WindowSize) -> Result<(), Error> {
        self.size = Some(size).filter(|_| !host.planted(Bug::EarlyResizeLost));
        let resized = self.pty.as_ref().map_or(Ok(()), |pty| pty.resize(host, size));
        let has_ended = self.deadline.is_some();
        resized
            .or_else(|errno| if has_ended { Ok(()) } else { Err(errno) })
            .map_err(|errno| Error::system("resize", "the terminal", errno))
    }

    /// Ends the input, as soon as no client has the fifo open. What they wrote still arrives.
    pub fn close_stdin<H: Host>(&mut self, host: &mut H) {
        if host.planted(Bug::InputCutByCloseIo) {
            return self.drop_input(host);
        }
        if let Some(inlet) = &mut self.stdin {
            inlet.input.close_writer(host);
        }
    }

    /// The process has ended. Each output is now carried to its end, and then closed; what is not at
    /// its end after the time `drain` is closed as it is.
    pub fn process_ended<H: Host>(&mut self, host: &mut H, now: Duration, drain: Duration) {
        if !host.planted(Bug::EndsHeldUntilStart) {
            self.runtime_done(host);
        }
        self.drop_input(host);
        // What is no terminal will not become one, and what has not come will not come.
        let _ = self.receive_console(host);
        self.console_failed = self.console_failed();
        self.close_console_socket(host);
        close_all(host, self.unusable.take());
        self.deadline = Some(now + drain);
        self.phase = self.phase.max(Phase::Ended);
        if let Some(pty) = &mut self.pty {
            pty.let_go(host);
            if host.planted(Bug::TerminalDropped) {
                self.stdout.give_up(host);
            }
        }
        self.stdout.process_ended(host, now);
        self.stderr.process_ended(host, now);
        self.close_dead_pty(host);
    }

    /// Whoever wants the process removed does not wait for a reader that may never come, and for
    /// output that is on its way no longer than `drain`.
    pub fn hurry<H: Host>(&mut self, host: &mut H, now: Duration, drain: Duration) {
        let limit = now + drain;
        self.deadline = Some(self.deadline.map_or(limit, |deadline| deadline.min(limit)));
        self.phase = Phase::Removed;
        self.stdout.process_removed(host, now);
        self.stderr.process_removed(host, now);
    }

    fn close_dead_pty<H: Host>(&mut self, host: &mut H) {
        if self.deadline.is_some()
            && !self.stdout.is_carried()
            && !host.planted(Bug::MasterLeft)
            && let Some(pty) = self.pty.take()
        {
            pty.close(host);
        }
    }

    fn outputs_are_closed(&self) -> bool {
        self.stdout.is_closed() && self.stderr.is_closed()
    }

    /// Whether the process has ended, and every output was carried to its end or given up, and
    /// closed.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.deadline.is_some() && self.outputs_are_closed()
    }

    /// Whether the time for the output is over.
    pub(crate) fn is_overdue(&self, now: Duration) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Closes everything, and gives the bytes that were lost from each output: those that a broken
    /// sink did not take, and those that nobody has read nor can read any more.
    pub fn close<H: Host>(&mut self, host: &mut H) -> Vec<(&'static str, u64)> {
        self.runtime_done(host);
        self.drop_input(host);
        self.close_console_socket(host);
        close_all(host, self.unusable.take());
        let untold = self.untold.take();
        let TaskStdio { stdout, stderr, logger, pty, .. } = std::mem::take(self);
        self.untold = untold;
        let outputs = [("stdout", stdout.close(host)), ("stderr", stderr.close(host))];
        if let Some(logger) = logger {
            logger.close(host);
        }
        if let Some(pty) = pty.filter(|_| !host.planted(Bug::MasterLeft)) {
            pty.close(host);
        }
        outputs.into_iter().filter(|(_, lost)| *lost > 0).collect()
    }
}
