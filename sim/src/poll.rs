//! `poll(2)`: what every kind of file says about its readiness.

use std::time::Duration;

use wavetank::host::{Errno, Fd, PollFd, Ready, Result};

use crate::file::{FileState, OpenFile};
use crate::kernel::Kernel;
use crate::process::Process;
use crate::slab::Id;
use crate::touch::Thing;
use crate::wait::{Tried, Wait};

impl Kernel {
    /// Answers, or waits until `deadline`, which the first try of a call sets.
    pub(crate) fn poll(
        &mut self,
        pid: i32,
        fds: &mut [PollFd],
        timeout: Option<Duration>,
        deadline: &mut Option<u64>,
    ) -> Result<Tried<usize>> {
        if fds.len() > self.config.descriptors {
            return Err(Errno::EINVAL);
        }
        let mut count = 0;
        let process = &self.processes[pid];
        for it in fds.iter_mut() {
            it.ready = self.poll_one(pid, process, it.fd, it.interest);
            count += usize::from(!it.ready.is_empty());
        }
        if count > 0 || timeout == Some(Duration::ZERO) {
            self.count_row(pid);
            return Ok(Tried::Done(count));
        }
        if deadline.is_none()
            && let Some(timeout) = timeout
        {
            let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
            *deadline = Some(self.clock.saturating_add(nanoseconds));
        }
        if deadline.is_some_and(|deadline| deadline <= self.clock) {
            return Ok(Tried::Done(0));
        }
        self.process(pid).restless = 0;
        let fds = fds.iter().map(|it| (it.fd, it.interest)).collect();
        Ok(Tried::Wait(Wait::Poll { fds, deadline: *deadline }))
    }

    /// Somebody asks again and again, and never waits.
    fn count_row(&mut self, pid: i32) {
        self.process(pid).restless += 1;
        let process = &self.processes[pid];
        if process.restless > self.longest_row.0 {
            self.longest_row = (process.restless, process.name.clone());
        }
    }

    /// What a poll that begins now would wait for, if nothing is ready.
    pub(crate) fn poll_would_wait(
        &self,
        fds: &[PollFd],
        timeout: Option<Duration>,
    ) -> Option<Wait> {
        if timeout == Some(Duration::ZERO) || fds.len() > self.config.descriptors {
            return None;
        }
        let nanoseconds = |it: Duration| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX);
        let deadline = timeout.map(|it| self.clock.saturating_add(nanoseconds(it)));
        let fds = fds.iter().map(|it| (it.fd, it.interest)).collect();
        Some(Wait::Poll { fds, deadline })
    }

    /// What a descriptor is ready for of what was asked, and what is told unasked. A negative
    /// descriptor is skipped.
    pub(crate) fn poll_one(&self, pid: i32, process: &Process, fd: Fd, interest: Ready) -> Ready {
        let Ok(number) = usize::try_from(fd.0) else { return Ready::empty() };
        let Some(&Some(file)) = process.fds.get(number) else { return Ready::INVALID };
        if self.touches.are_wanted() {
            self.sees_readiness(pid, file, interest);
        }
        let open = &self.files[file];
        let ready = match open.state {
            // Whose signals these are depends on who asks.
            FileState::Signals(set) if process.pending.intersects(set) => Ready::READ,
            _ => self.poll_open(open),
        };
        ready & (interest | Ready::HANGUP | Ready::ERROR)
    }

    /// What the readiness of a file depends on.
    fn sees_readiness(&self, pid: i32, file: Id<OpenFile>, interest: Ready) {
        self.sees_file(file);
        match self.files[file].state {
            FileState::Signals(_) => self.sees(Thing::Pending(pid)),
            FileState::Socket(socket) if interest.contains(Ready::WRITE) => {
                self.sees_peer_queue(socket);
            }
            _ => {}
        }
    }

    pub(crate) fn poll_file(&self, file: Id<OpenFile>) -> Ready {
        self.poll_open(&self.files[file])
    }

    fn poll_open(&self, open: &OpenFile) -> Ready {
        match open.state {
            FileState::Plain if self.tells_of_change(open) => {
                Ready::READ | Ready::WRITE | Ready::PRIORITY | Ready::ERROR
            }
            FileState::Plain | FileState::ProcFile(_) => Ready::READ | Ready::WRITE,
            FileState::Counter(count) => self.poll_counter(count),
            FileState::Fifo { .. } => self.poll_fifo(open),
            FileState::Master(pty) => self.poll_master(pty),
            FileState::Slave(pty) => self.poll_slave(pty),
            FileState::Socket(socket) => self.poll_socket(socket),
            FileState::Signals(_) => Ready::empty(),
        }
    }
}
