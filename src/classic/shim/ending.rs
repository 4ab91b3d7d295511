//! The end of a process, or of the attempt to make one: what is left to do, step by step.

use std::path::Path;
use std::time::Duration;

use super::{Order, Role, Shim, Step};
use crate::Error;
use crate::classic::log::Level;
use crate::files::write_atomically;
use crate::host::{Bug, ExitStatus, Host, Mark, OpenFlags, close_all};
use crate::oci::Dialect;
use crate::process::{Change, Stage};

/// How long the runtime's last words may take on their way out when it could not start a process.
const FAILED_START_DRAIN: Duration = Duration::from_secs(2);
/// How long, and how often, an exit status that cannot be written (a full disk) is tried again.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);
const STATUS_RETRY: Duration = Duration::from_millis(100);
/// How often a container that was just killed is deleted until the runtime believes it.
const DELETE_TRIES: u32 = 20;
const DELETE_RETRY: Duration = Duration::from_millis(50);

impl Shim {
    pub(super) fn process_ended<H: Host>(&mut self, host: &mut H, status: ExitStatus) {
        self.change(host, Change::Exited);
        if host.planted(Bug::ExitFifoFirst) {
            close_all(host, [self.exit]);
        }
        self.status = Some(status);
        let now = host.now();
        self.write_status(host, now);
        self.stdio.process_ended(host);
        self.drain_deadline = self.options.drain_timeout.map(|limit| now + limit);
        let kill_all = !self.is_exec && self.runtime.dialect != Dialect::Start;
        let steps = [
            kill_all.then_some(Step::KillAll),
            Some(Step::Drain),
            (!self.is_exec).then_some(Step::Delete),
            Some(Step::WriteStatus),
        ];
        self.steps.extend(steps.into_iter().flatten());
    }

    /// The process cannot be made, for a reason that is ours to tell. A runtime that is still at it
    /// is killed first; cleaning up after it begins when it has ended.
    pub(super) fn fail<H: Host>(&mut self, host: &mut H, error: Error) {
        if self.stage != Stage::Starting {
            return;
        }
        if self.making {
            self.making_failed.get_or_insert(error);
            self.supervisor.kill(host, Role::Runtime(Order::Make));
        } else {
            self.log.write(host, Level::Error, &error.to_string());
            self.exit_code = 1;
            self.not_started(host);
        }
    }

    /// There is no process to see through. What the runtime has left of one is our child, and is
    /// killed; the container's name alone says nothing, it may be another's.
    pub(super) fn not_started<H: Host>(&mut self, host: &mut H) {
        self.change(host, Change::FailedToStart);
        self.stdio.close_child_ends(host);
        self.stdio.process_ended(host);
        self.stdio.end_output_when_empty();
        self.drain_deadline = Some(host.now() + FAILED_START_DRAIN);
        if self.supervisor.has_living_children(host) {
            host.mark(Mark::StrangersKilled);
            self.supervisor.kill_strangers(host);
            self.delete_tries = DELETE_TRIES;
        }
        self.steps.push_back(Step::Drain);
        if !self.is_exec && self.program.is_some() {
            self.steps.push_back(Step::Delete);
        }
    }

    /// A container that was killed a moment ago may not have ended yet.
    pub(super) fn delete_failed<H: Host>(&mut self, host: &mut H) {
        if self.delete_tries > 0 {
            host.mark(Mark::RemovalTriedAgain);
            self.delete_tries -= 1;
            self.delete_retry = Some(host.now() + DELETE_RETRY);
            self.steps.push_front(Step::Delete);
        }
    }

    pub(super) fn change<H: Host>(&mut self, host: &mut H, change: Change) {
        match self.stage.after(change) {
            Ok(stage) => self.stage = stage,
            Err(illegal) => self.warn(host, &Error::invalid("process", illegal)),
        }
    }

    /// Takes the steps that can be taken now; whether there is none left.
    pub(super) fn finished<H: Host>(&mut self, host: &mut H) -> bool {
        while self.stage == Stage::Stopped && self.ordered.is_none() {
            let Some(step) = self.steps.front().copied() else {
                self.change(host, Change::Removed);
                break;
            };
            if !self.may_leave(host, step) {
                return false;
            }
            self.steps.pop_front();
            match step {
                Step::KillAll => self.order(host, Order::KillAll, self.runtime.kill_all()),
                Step::Delete => {
                    self.order(host, Order::Delete, self.runtime.delete());
                }
                Step::Drain => self.close_stdio(host),
                Step::WriteStatus => {}
            }
        }
        self.stage == Stage::Deleted
    }

    /// Whether what a step waits for has come.
    fn may_leave<H: Host>(&mut self, host: &mut H, step: Step) -> bool {
        let passed = |host: &mut H, deadline: Option<Duration>| {
            deadline.is_some_and(|deadline| deadline <= host.now())
        };
        match step {
            Step::KillAll => true,
            Step::Delete => self.delete_retry.is_none(),
            Step::Drain => self.stdio.output_ended() || passed(host, self.drain_deadline),
            Step::WriteStatus => {
                if self.status_deadline.is_none() {
                    self.status_deadline = Some(host.now() + STATUS_PATIENCE);
                }
                self.status_settled
            }
        }
    }

    fn close_stdio<H: Host>(&mut self, host: &mut H) {
        self.drain_deadline = None;
        let ended = self.stdio.output_ended();
        for (stream, count) in self.stdio.close(host) {
            let warning = format!("{stream}: {count} bytes were never read and are lost");
            if !self.log.write(host, Level::Warn, &warning) {
                // Somebody is to know of it all the same.
                self.exit_code = 1;
            }
        }
        if let Some(error) = self.stdio.untold() {
            self.log.write(host, Level::Warn, &error.to_string());
        }
        if !ended {
            let warning = match self.status {
                Some(_) => "output was still open at the end of WAVETANK_DRAIN_TIMEOUT",
                None => "the runtime's output could not be carried to its end",
            };
            self.log.write(host, Level::Warn, warning);
        }
    }

    /// The file is there whole or not at all, so a daemon that looks for it never reads half.
    pub(super) fn write_status<H: Host>(&mut self, host: &mut H, now: Duration) {
        let Some(status) = self.status else { return };
        let text = status.number().to_string();
        if host.planted(Bug::StatusInPlace) {
            return self.write_status_in_place(host, text.as_bytes());
        }
        match write_atomically(host, Path::new("exitStatus"), text.as_bytes()) {
            Ok(()) => self.status_settled = true,
            Err(error) if self.status_deadline.is_some_and(|deadline| deadline <= now) => {
                self.log.write(host, Level::Error, &error.to_string());
                self.exit_code = 1;
                self.status_settled = true;
            }
            // As long as there is something else to do, there is time for the disk to get room.
            Err(_) => {
                host.mark(Mark::StatusTriedAgain);
                self.status_retry = Some(now + STATUS_RETRY);
            }
        }
    }

    /// [`Bug::StatusInPlace`].
    fn write_status_in_place<H: Host>(&mut self, host: &mut H, text: &[u8]) {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE;
        if let Ok(fd) = host.open(Path::new("exitStatus"), flags, 0o666) {
            let _ = host.write(fd, text);
            close_all(host, [fd]);
        }
        self.status_settled = true;
    }

    /// Closes everything, the exit fifo last.
    pub(super) fn close<H: Host>(&mut self, host: &mut H) {
        self.stdio.close(host);
        close_all(host, self.control_fifo.take().into_iter().chain([self.signals, self.null]));
        self.log.close(host);
        close_all(host, [self.exit]);
    }
}
