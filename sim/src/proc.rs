//! The little of `proc(5)` that programs here use: a process's own file and descriptors, and files
//! about any process.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use wavetank::host::{Errno, Fd, OpenFlags, Result};

use crate::file::{FileState, OpenFile};
use crate::fs::{Inode, Node};
use crate::kernel::Kernel;
use crate::process::{Process, Stage};
use crate::slab::Id;
use crate::touch::Thing;

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
    /// `/proc/PID/cgroup` (`cgroups(7)`).
    Cgroup,
    /// `/proc/PID/mountinfo` (`proc_pid_mountinfo(5)`).
    MountInfo,
    /// `/proc/PID/oom_score_adj` (`proc_pid_oom_score_adj(5)`).
    OomScoreAdj,
}

/// What `oom_score_adj` can be.
const OOM_SCORES: std::ops::RangeInclusive<i32> = -1000..=1000;

impl ProcFile {
    /// Finds the file by its path below `/proc`, and whose it is.
    fn parse(path: &str) -> Option<(ProcFile, &str)> {
        let (who, name) = path.split_once('/')?;
        let file = match name {
            "stat" => ProcFile::Stat,
            "cgroup" => ProcFile::Cgroup,
            "mountinfo" => ProcFile::MountInfo,
            "oom_score_adj" => ProcFile::OomScoreAdj,
            _ => {
                let task = name.strip_prefix("task/")?.strip_suffix("/children")?;
                Some(ProcFile::Children).filter(|_| task == who)?
            }
        };
        Some((file, who))
    }

    fn path(self, pid: i32) -> PathBuf {
        let path = match self {
            ProcFile::Stat => format!("/proc/{pid}/stat"),
            ProcFile::Children => format!("/proc/{pid}/task/{pid}/children"),
            ProcFile::Cgroup => format!("/proc/{pid}/cgroup"),
            ProcFile::MountInfo => format!("/proc/{pid}/mountinfo"),
            ProcFile::OomScoreAdj => format!("/proc/{pid}/oom_score_adj"),
        };
        PathBuf::from(path)
    }
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
        let path = path.as_os_str().as_bytes().strip_prefix(b"/proc/")?;
        let (file, who) = ProcFile::parse(std::str::from_utf8(path).ok()?)?;
        let pid = if who == "self" { me } else { who.parse().ok()? };
        self.sees(Thing::Life(pid));
        let mark = |process: &Process| ProcessMark { file, pid, started: process.started };
        Some(self.processes.get(pid).map(mark).ok_or(Errno::ENOENT))
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
        let (uid, owner) = (self.processes[me].uid, &self.processes[mark.pid]);
        let (mode, own, group) = match mark.file {
            ProcFile::OomScoreAdj => (0o644, owner.uid, owner.gid),
            _ => (0o444, 0, 0),
        };
        let may_write = uid == 0 || (mode & 0o200 != 0 && uid == own);
        if !may_write && flags.intersects(OpenFlags::WRITE | OpenFlags::TRUNCATE) {
            return Err(Errno::EACCES);
        }
        let inode = self.new_inode(Node::ProcFile(mark.file, mark.pid), mode, own, group);
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
        self.sees_process(mark);
        let process = self.processes.get(mark.pid).filter(|it| it.started == mark.started);
        let process = process.ok_or(Errno::ESRCH)?;
        let text = match mark.file {
            ProcFile::Stat => proc_stat_text(mark.pid, process, self.config.orderly),
            ProcFile::Children => {
                process.children.iter().map(|pid| format!("{pid} ")).collect::<String>()
            }
            ProcFile::Cgroup => format!("0::{}\n", process.cgroup),
            ProcFile::MountInfo => self.mount_info(),
            ProcFile::OomScoreAdj => format!("{}\n", process.oom_score_adj),
        };
        let open = &mut self.files[file];
        let rest = text.as_bytes().get(open.offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        open.offset += count;
        Ok(count)
    }

    /// What is in a file about a process.
    fn sees_process(&self, mark: ProcessMark) {
        self.sees(Thing::Life(mark.pid));
        self.sees(match mark.file {
            ProcFile::Stat => Thing::Parent(mark.pid),
            ProcFile::Children => Thing::Children(mark.pid),
            ProcFile::Cgroup | ProcFile::OomScoreAdj => Thing::Heritage(mark.pid),
            ProcFile::MountInfo => Thing::Everything,
        });
    }

    /// Only `oom_score_adj` takes anything: a number, which only root may make lower.
    pub(crate) fn write_proc_file(
        &mut self,
        me: i32,
        mark: ProcessMark,
        bytes: &[u8],
    ) -> Result<usize> {
        if mark.file != ProcFile::OomScoreAdj {
            return Err(Errno::EINVAL);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
        let score: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
        if !OOM_SCORES.contains(&score) {
            return Err(Errno::EINVAL);
        }
        self.sees(Thing::Life(mark.pid));
        self.alters(Thing::Heritage(mark.pid));
        let is_root = self.processes[me].uid == 0;
        let process = self.processes.get_mut(mark.pid).filter(|it| it.started == mark.started);
        let process = process.ok_or(Errno::ESRCH)?;
        if score < process.oom_score_adj && !is_root {
            return Err(Errno::EACCES);
        }
        process.oom_score_adj = score;
        Ok(bytes.len())
    }

    /// The file to which the link leads, without a path in between.
    pub(crate) fn proc_inode(&self, pid: i32, link: ProcLink) -> Result<Id<Inode>> {
        match link {
            ProcLink::Exe => self.processes[pid].exe.ok_or(Errno::ENOENT),
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
            (None, Node::ProcFile(file, pid)) => file.path(*pid),
            (None, Node::Signals) => PathBuf::from("anon_inode:[signalfd]"),
            (None, Node::Counter) => PathBuf::from("anon_inode:[eventfd]"),
            (None, Node::Regular(_)) => PathBuf::from("/memfd:wavetank (deleted)"),
            (None, _) => PathBuf::new(),
        }
    }

    /// The names in `/proc/self/fd`. Reading a directory needs a descriptor, `own`, and so that is
    /// among them.
    pub(crate) fn proc_descriptors(&self, pid: i32, own: Fd) -> Vec<OsString> {
        let fds = &self.processes[pid].fds;
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
fn proc_stat_text(pid: i32, process: &Process, orderly: bool) -> String {
    let Process { parent, group, session, name, .. } = process;
    let name = String::from_utf8_lossy(&name.as_bytes()[..name.len().min(NAME_BYTES)]);
    let state = match process.state_letter() {
        // Whether it runs right now is a question of its next step, not of its last one.
        'R' if orderly => 'S',
        letter => letter,
    };
    let zeros = |count: usize| " 0".repeat(count);
    let started = process.started / CLOCK_TICK;
    format!(
        "{pid} ({name}) {state} {parent} {group} {session}{} {started}{}\n",
        zeros(15),
        zeros(30),
    )
}
