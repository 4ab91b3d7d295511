//! The little of `proc(5)` that programs here use: a process's own file and descriptors, and what
//! `stat` and `children` say of any process.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use wavetank::host::{Errno, Fd, OpenFlags, Result};

use crate::file::{FileState, OpenFile};
use crate::fs::{Inode, Node};
use crate::kernel::Kernel;
use crate::process::{Process, Stage};
use crate::slab::Id;

/// Nanoseconds of a clock tick, in which `stat` counts (`sysconf(3)`: a hundred in a second).
const CLOCK_TICK: u64 = 10_000_000;
/// How many bytes of a program's name `stat` shows.
const NAME_BYTES: usize = 15;

/// A link below `/proc/self`.
#[derive(Clone, Copy)]
pub(crate) enum ProcLink {
    /// `exe`
    Exe,
    /// `fd/N`
    Descriptor(Fd),
}

impl ProcLink {
    pub(crate) fn parse(path: &[u8]) -> Option<ProcLink> {
        let rest = path.strip_prefix(b"/proc/self/")?;
        if rest == b"exe" {
            return Some(ProcLink::Exe);
        }
        let number = std::str::from_utf8(rest.strip_prefix(b"fd/")?).ok()?;
        number.parse().ok().map(|number| ProcLink::Descriptor(Fd(number)))
    }
}

/// A file about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcFile {
    /// `/proc/PID/stat` (`proc_pid_stat(5)`).
    Stat,
    /// `/proc/PID/task/PID/children` (`proc_tid_children(5)`).
    Children,
}

/// A process as somebody knows it who has a file about it open: another one that got its pid is
/// not it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessMark {
    file: ProcFile,
    pid: i32,
    started: u64,
}

impl Process {
    /// The state letter of `proc_pid_stat(5)`.
    fn state_letter(&self) -> char {
        match self.stage {
            Stage::Zombie(_) => 'Z',
            Stage::Closing(_) | Stage::Ending(_) => 'R',
            Stage::Init => 'S',
            Stage::Running if self.stopped => 'T',
            Stage::Running if self.wait.is_some() => 'S',
            Stage::Running => 'R',
        }
    }
}

impl Kernel {
    /// The process that a path is a file about, if it is one.
    pub(crate) fn proc_file_mark(&self, me: i32, path: &Path) -> Option<Result<ProcessMark>> {
        let path = path.to_str()?.strip_prefix("/proc/")?;
        let (who, file) = match path.strip_suffix("/stat") {
            Some(who) => (who, ProcFile::Stat),
            None => {
                let (who, task) = path.strip_suffix("/children")?.split_once("/task/")?;
                (Some(who).filter(|who| *who == task)?, ProcFile::Children)
            }
        };
        let pid = if who == "self" { me } else { who.parse().ok()? };
        let mark = |process: &Process| ProcessMark { file, pid, started: process.started };
        Some(self.processes.get(&pid).map(mark).ok_or(Errno::ENOENT))
    }

    /// Opens a file about a process.
    pub(crate) fn open_proc_file(
        &mut self,
        me: i32,
        mark: ProcessMark,
        flags: OpenFlags,
    ) -> Result<Fd> {
        if flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE) {
            return Err(Errno::EEXIST);
        }
        if flags.contains(OpenFlags::DIRECTORY) {
            return Err(Errno::ENOTDIR);
        }
        let uid = self.processes[&me].uid;
        if uid != 0 && flags.intersects(OpenFlags::WRITE | OpenFlags::TRUNCATE) {
            return Err(Errno::EACCES);
        }
        let inode = self.new_inode(Node::ProcFile(mark.file, mark.pid), 0o444, 0, 0);
        let file = self.add_file(OpenFile::new(inode, flags, FileState::ProcFile(mark)));
        self.install(me, file)
    }

    /// Reads on in a file about a process, which is written anew for each read.
    pub(crate) fn read_proc_file(
        &mut self,
        file: Id<OpenFile>,
        mark: ProcessMark,
        buffer: &mut [u8],
    ) -> Result<usize> {
        let process = self.processes.get(&mark.pid).filter(|it| it.started == mark.started);
        let process = process.ok_or(Errno::ESRCH)?;
        let text = match mark.file {
            ProcFile::Stat => proc_stat_text(mark.pid, process),
            ProcFile::Children => {
                process.children.iter().map(|pid| format!("{pid} ")).collect::<String>()
            }
        };
        let open = &mut self.files[file];
        let rest = text.as_bytes().get(open.offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        open.offset += count;
        Ok(count)
    }

    /// The file to which the link leads, without a path in between.
    pub(crate) fn proc_inode(&self, pid: i32, link: ProcLink) -> Result<Id<Inode>> {
        match link {
            ProcLink::Exe => self.processes[&pid].exe.ok_or(Errno::ENOENT),
            ProcLink::Descriptor(fd) => {
                let file = self.file(pid, fd).map_err(|_| Errno::ENOENT)?;
                Ok(self.files[file].inode)
            }
        }
    }

    /// The text of the link.
    pub(crate) fn proc_target(&self, pid: i32, link: ProcLink) -> Result<PathBuf> {
        match link {
            ProcLink::Exe => self.proc_inode(pid, link).map(|inode| self.name_of(inode)),
            ProcLink::Descriptor(fd) => {
                let file = self.file(pid, fd).map_err(|_| Errno::ENOENT)?;
                Ok(self.name_of_file(file))
            }
        }
    }

    /// What `/proc/self/fd/N` says about an open file.
    pub(crate) fn name_of_file(&self, file: Id<OpenFile>) -> PathBuf {
        self.name_of(self.files[file].inode)
    }

    fn name_of(&self, inode: Id<Inode>) -> PathBuf {
        let it = &self.inodes[inode];
        if it.parent.is_some() {
            return self.path_of(inode);
        }
        match (&it.former_path, &it.node) {
            (Some(path), _) => {
                let mut name = path.clone().into_os_string();
                name.push(" (deleted)");
                PathBuf::from(name)
            }
            (None, Node::Fifo(_)) => PathBuf::from(format!("pipe:[{}]", it.number)),
            (None, Node::Socket(_)) => PathBuf::from(format!("socket:[{}]", it.number)),
            (None, Node::ProcFile(ProcFile::Stat, pid)) => format!("/proc/{pid}/stat").into(),
            (None, Node::ProcFile(ProcFile::Children, pid)) => {
                format!("/proc/{pid}/task/{pid}/children").into()
            }
            (None, Node::Signals) => PathBuf::from("anon_inode:[signalfd]"),
            (None, _) => PathBuf::new(),
        }
    }

    /// The names in `/proc/self/fd`. Reading a directory needs a descriptor, `own`, and so that is
    /// among them.
    pub(crate) fn proc_descriptors(&self, pid: i32, own: Fd) -> Vec<OsString> {
        let fds = &self.processes[&pid].fds;
        let open = |number: &usize| fds.get(*number).is_some_and(Option::is_some);
        let mut names: Vec<OsString> = (0..fds.len() + 1)
            .filter(|number| open(number) || *number == own.0 as usize)
            .map(|number| number.to_string().into())
            .collect();
        names.sort();
        names
    }
}

/// The 52 fields of `proc_pid_stat(5)`; those that nothing here has are zero.
fn proc_stat_text(pid: i32, process: &Process) -> String {
    let Process { parent, group, session, name, .. } = process;
    let name = String::from_utf8_lossy(&name.as_bytes()[..name.len().min(NAME_BYTES)]);
    let state = process.state_letter();
    let zeros = |count: usize| " 0".repeat(count);
    let started = process.started / CLOCK_TICK;
    format!(
        "{pid} ({name}) {state} {parent} {group} {session}{} {started}{}\n",
        zeros(15),
        zeros(30),
    )
}
