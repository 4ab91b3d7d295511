//! What a process waits for in the middle of a call, and whether it has come.

use wavetank::host::{Fd, Ready, WaitFor};

use crate::file::{FileState, OpenFile};
use crate::fs::Inode;
use crate::kernel::Kernel;
use crate::process::Stage;
use crate::slab::Id;
use crate::socket::Socket;

/// How far a call came: to its end, or to where it must wait and be tried again.
pub(crate) enum Tried<T> {
    /// It is over.
    Done(T),
    /// It cannot go on before this.
    Wait(Wait),
}

/// What a process waits for.
#[derive(Clone, Debug)]
pub(crate) enum Wait {
    /// A read of this file would not wait.
    Readable(Id<OpenFile>),
    /// A write to this file would not wait.
    Writable(Id<OpenFile>),
    /// This counter can grow by so much.
    Room(Id<OpenFile>, u64),
    /// Somebody opens the other side of a fifo.
    Partner { inode: Id<Inode>, writer: bool, openings: u64 },
    /// A child has ended.
    Child(WaitFor),
    /// A descriptor is ready, or the time is over.
    Poll { fds: Vec<(Fd, Ready)>, deadline: Option<u64> },
    /// A listening socket can take one more connection.
    Backlog(Id<Socket>),
}

impl Wait {
    pub(crate) fn deadline(&self) -> Option<u64> {
        match self {
            Wait::Poll { deadline, .. } => *deadline,
            _ => None,
        }
    }
}

impl Kernel {
    /// Whether what a process waits for has come, its deadline aside.
    pub(crate) fn has_come(&self, pid: i32, wait: &Wait) -> bool {
        match wait {
            Wait::Readable(file) => self.would_read(*file),
            Wait::Writable(file) => self.would_write(*file),
            Wait::Room(file, more) => self.counter_has_room(*file, *more),
            Wait::Partner { inode, writer, openings } => {
                self.partner_came(*inode, *writer, *openings)
            }
            Wait::Child(target) => self.has_ended_child(pid, *target) != Ok(false),
            Wait::Poll { fds, .. } => {
                let process = &self.processes[pid];
                let answer = |&(fd, interest)| self.poll_one(pid, process, fd, interest);
                fds.iter().map(answer).any(|ready| !ready.is_empty())
            }
            Wait::Backlog(socket) => self.has_backlog_room(*socket),
        }
    }

    fn would_read(&self, file: Id<OpenFile>) -> bool {
        let OpenFile { inode, state, .. } = self.files[file];
        match state {
            FileState::Fifo { .. } => self.fifo_has_news(inode),
            _ => self.poll_file(file).intersects(Ready::READ | Ready::HANGUP | Ready::ERROR),
        }
    }

    fn would_write(&self, file: Id<OpenFile>) -> bool {
        let OpenFile { inode, state, .. } = self.files[file];
        match state {
            FileState::Fifo { .. } => self.fifo_has_room(inode),
            FileState::Socket(socket) => self.socket_has_room(socket),
            _ => self.poll_file(file).intersects(Ready::WRITE | Ready::HANGUP | Ready::ERROR),
        }
    }

    /// For people: what a process waits for.
    pub(crate) fn wait_text(&self, pid: i32, wait: &Wait) -> String {
        let name = |file: Id<OpenFile>| self.name_of_file(file).display().to_string();
        match wait {
            Wait::Readable(file) => format!("bytes from {}", name(*file)),
            Wait::Writable(file) | Wait::Room(file, _) => format!("room in {}", name(*file)),
            Wait::Partner { inode, writer, .. } => {
                let side = if *writer { "writer" } else { "reader" };
                format!("a {side} of {}", self.path_of(*inode).display())
            }
            Wait::Child(WaitFor::Any) => "any child".to_owned(),
            Wait::Child(WaitFor::Pid(child)) => format!("child {child}"),
            Wait::Poll { fds, .. } => {
                let one = |&(fd, interest): &(Fd, Ready)| match self.file(pid, fd) {
                    Ok(file) => format!("{fd} {} {interest:?}", name(file)),
                    Err(_) => format!("{fd} (not open)"),
                };
                format!("one of [{}]", fds.iter().map(one).collect::<Vec<_>>().join(", "))
            }
            Wait::Backlog(_) => "room in a listening socket's queue".to_owned(),
        }
    }

    /// For people: why a process does not run.
    pub(crate) fn standstill_text(&self, pid: i32) -> String {
        let process = &self.processes[pid];
        match (&process.wait, process.stage) {
            (_, Stage::Running) if process.stopped => "a signal to go on".to_owned(),
            (Some(wait), _) => self.wait_text(pid, wait),
            (None, _) => "nothing".to_owned(),
        }
    }
}
