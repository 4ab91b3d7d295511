//! A simulated machine to set up, to run, and to look at afterwards.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use wavetank::host::{Command, Errno, ExitStatus, Fd, Mark, MountFlags, Pid, Signal, SpawnError};

use crate::caller::{SimHost, event};
use crate::choose::Choose;
use crate::config::Config;
use crate::directory::Directory;
use crate::event::{Event, What};
use crate::fault::Fault;
use crate::fs::{Inode, LastLink, Node, Regular, Walker};
use crate::kernel::{INIT, Kernel, LateReap};
use crate::pipe::PipeBuffer;
use crate::process::Stage;
use crate::sched::{Outcome, Scheduler};
use crate::site::Made;
use crate::slab::Id;
use crate::trouble::Trouble;

/// A simulated machine.
pub struct World {
    // Before the kernel, since what is on the stacks may look into it when it is dropped.
    scheduler: Scheduler,
    kernel: Rc<RefCell<Kernel>>,
}

/// A process as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessView {
    /// Its number.
    pub pid: Pid,
    /// Its parent.
    pub parent: Pid,
    /// The name of its program.
    pub program: String,
    /// How it ended, if it has ended and nobody has reaped it.
    pub zombie: Option<ExitStatus>,
    /// Its descriptors and what they lead to, as `/proc/self/fd` shows them.
    pub descriptors: Vec<(Fd, PathBuf)>,
    /// The path of its cgroup, from the root of the cgroups.
    pub cgroup: String,
    /// `/proc/PID/oom_score_adj`.
    pub oom_score_adj: i32,
    /// Which processes may share a core with it: those with the same number. It is 0 for all that
    /// never came from one that called [`Host::share_core`](wavetank::host::Host::share_core).
    pub core: u64,
}

/// Something that is mounted, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountView {
    /// Where.
    pub target: PathBuf,
    /// From where; `none` if nobody said. For a bind mount it is that of what is bound.
    pub source: PathBuf,
    /// The kind of file system.
    pub kind: String,
    /// How it is mounted now.
    pub flags: MountFlags,
    /// What the file system was told, cut off after one page.
    pub data: String,
}

impl World {
    /// A machine with `/dev` and nothing else.
    #[must_use]
    pub fn new(config: Config) -> World {
        let kernel = Rc::new(RefCell::new(Kernel::new(config)));
        World { scheduler: Scheduler::default(), kernel }
    }

    // ---- setting up --------------------------------------------------------------------------

    /// Makes a directory and those above it; one that is there stays as it is.
    pub fn add_dir(&mut self, path: impl AsRef<Path>) -> &mut World {
        self.kernel.borrow_mut().put_directories(path.as_ref());
        self
    }

    /// Makes a regular file, and the directories above it, in the place of what was there.
    pub fn add_file(&mut self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>) -> &mut World {
        let content = content.into();
        self.kernel.borrow_mut().disk_used += content.len() as u64;
        self.add(path.as_ref(), Node::Regular(Regular { content, ..Regular::default() }), 0o644)
    }

    /// Changes what is in a regular file, as somebody does who writes into it: those who have it
    /// open see that. Makes the file if it is not there.
    pub fn set_file(&mut self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>) -> &mut World {
        let path = path.as_ref();
        let found = self.kernel.borrow().look(path);
        let Some(inode) = found else { return self.add_file(path, content) };
        self.kernel.borrow_mut().set_content(inode, content.into());
        self
    }

    /// Makes a file that runs a program when it is executed.
    pub fn add_program(
        &mut self,
        path: impl AsRef<Path>,
        program: impl Fn(&mut SimHost<'_>, &[OsString]) -> i32 + 'static,
    ) -> &mut World {
        let index = {
            let programs = &mut self.kernel.borrow_mut().programs;
            programs.push(Rc::new(program));
            programs.len() - 1
        };
        let regular = Regular { program: Some(index), ..Regular::default() };
        self.add(path.as_ref(), Node::Regular(regular), 0o755)
    }

    /// Makes a fifo.
    pub fn add_fifo(&mut self, path: impl AsRef<Path>) -> &mut World {
        let buffer = PipeBuffer::new(self.kernel.borrow().config.pipe_pages);
        self.add(path.as_ref(), Node::Fifo(buffer), 0o644)
    }

    /// Makes a symbolic link.
    pub fn add_symlink(&mut self, path: impl AsRef<Path>, target: impl AsRef<Path>) -> &mut World {
        let target = target.as_ref().as_os_str().to_owned();
        self.add(path.as_ref(), Node::Symlink(target), 0o777)
    }

    fn add(&mut self, path: &Path, node: Node, mode: u32) -> &mut World {
        if let Some(above) = path.parent() {
            self.add_dir(above);
        }
        self.kernel.borrow_mut().put(path, node, mode);
        self
    }

    /// Sets permission bits and owner. Nothing happens if there is no such file.
    pub fn set_mode(
        &mut self,
        path: impl AsRef<Path>,
        mode: u32,
        uid: u32,
        gid: u32,
    ) -> &mut World {
        self.change(path.as_ref(), |inode| {
            (inode.mode, inode.uid, inode.gid) = (mode, uid, gid);
        })
    }

    /// Makes a directory one in which nothing may be made, removed or written: `EROFS`.
    pub fn set_read_only(&mut self, path: impl AsRef<Path>, read_only: bool) -> &mut World {
        self.change(path.as_ref(), |inode| inode.read_only = read_only)
    }

    fn change(&mut self, path: &Path, change: impl FnOnce(&mut Inode)) -> &mut World {
        let mut kernel = self.kernel.borrow_mut();
        if let Some(inode) = kernel.look(path) {
            change(&mut kernel.inodes[inode]);
        }
        drop(kernel);
        self
    }

    /// Changes how much the disk holds.
    pub fn set_disk(&mut self, bytes: Option<u64>) -> &mut World {
        self.kernel.borrow_mut().config.disk_bytes = bytes;
        self
    }

    /// Plans a fault.
    pub fn add_fault(&mut self, fault: Fault) -> &mut World {
        self.kernel.borrow_mut().faults.push(fault);
        self
    }

    /// Plans no fault any more.
    pub fn clear_faults(&mut self) -> &mut World {
        self.kernel.borrow_mut().faults.clear();
        self
    }

    // ---- running -----------------------------------------------------------------------------

    /// Starts a program as root in `/`, with an empty environment and without descriptors, as a
    /// child of init.
    ///
    /// # Errors
    /// As for spawning it.
    pub fn start(&mut self, program: impl AsRef<Path>, argv: &[&str]) -> Result<Pid, SpawnError> {
        let command = Command {
            program: program.as_ref().to_owned(),
            argv: argv.iter().map(OsString::from).collect(),
            ..Command::default()
        };
        self.start_command(&command)
    }

    /// Starts a program with a working directory, an environment and the rest, as a child of
    /// init. `fds` must be empty: init has no descriptors to give.
    ///
    /// # Errors
    /// As for spawning it.
    pub fn start_command(&mut self, command: &Command) -> Result<Pid, SpawnError> {
        self.kernel.borrow_mut().spawn(INIT, command)
    }

    /// Makes a process an unprivileged one; for one that has just been started.
    pub fn set_user(&mut self, pid: Pid, uid: u32, gid: u32) -> &mut World {
        if let Some(process) = self.kernel.borrow_mut().processes.get_mut(pid.0) {
            (process.uid, process.gid) = (uid, gid);
        }
        self
    }

    /// Puts a process into a cgroup, as the path from the root of the cgroups names it. Children that
    /// it has from then on are there too.
    pub fn set_cgroup(&mut self, pid: Pid, cgroup: &str) -> &mut World {
        if let Some(process) = self.kernel.borrow_mut().processes.get_mut(pid.0) {
            process.cgroup = Rc::from(cgroup);
        }
        self
    }

    /// Sends a signal from outside.
    ///
    /// # Errors
    /// `ESRCH` if there is no such process.
    pub fn signal(&mut self, pid: Pid, signal: Signal) -> Result<(), Errno> {
        self.kernel.borrow_mut().kill(INIT, pid, signal)
    }

    /// Runs until nothing can happen any more. Afterwards something may be changed from outside,
    /// and the run goes on with another call.
    pub fn run(&mut self, chooser: &mut dyn Choose) -> Outcome {
        self.scheduler.run(&self.kernel, chooser)
    }

    // ---- looking -----------------------------------------------------------------------------

    /// The bytes of a regular file.
    #[must_use]
    pub fn file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let kernel = self.kernel.borrow();
        let inode = kernel.look(path.as_ref())?;
        match &kernel.inodes[inode].node {
            Node::Regular(regular) => Some(regular.content.clone()),
            _ => None,
        }
    }

    /// The text of a regular file; bytes that are none are replaced.
    #[must_use]
    pub fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        self.file(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The paths of everything there is, sorted, but what is in `/dev` from the start.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let kernel = self.kernel.borrow();
        let mut paths = Vec::new();
        kernel.collect_paths(kernel.root, &mut PathBuf::from("/"), &mut paths);
        paths
    }

    /// What is mounted, in the order in which it was.
    #[must_use]
    pub fn mounts(&self) -> Vec<MountView> {
        let kernel = self.kernel.borrow();
        let view = |mount: &crate::mounts::Mount| MountView {
            target: kernel.path_of(mount.target),
            source: mount.source.clone(),
            kind: mount.kind.clone(),
            flags: mount.flags,
            data: mount.data.clone(),
        };
        kernel.mounts.iter().map(view).collect()
    }

    /// All processes but init, by their pids.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessView> {
        let kernel = self.kernel.borrow();
        let pids = kernel.processes.pids().filter(|pid| *pid != INIT);
        pids.map(|pid| kernel.view(pid)).collect()
    }

    /// How every process that has ended did, in the order of their ends.
    #[must_use]
    pub fn exits(&self) -> Vec<(Pid, ExitStatus)> {
        self.kernel.borrow().exits.clone()
    }

    /// Ended processes that waited long for being asked about.
    #[must_use]
    pub fn late_reaps(&self) -> Vec<LateReap> {
        self.kernel.borrow().late_reaps.clone()
    }

    /// How the process that last had this pid ended.
    #[must_use]
    pub fn exit_status(&self, pid: Pid) -> Option<ExitStatus> {
        let kernel = self.kernel.borrow();
        kernel.exits.iter().rev().find(|(ended, _)| *ended == pid).map(|(_, status)| *status)
    }

    /// When the process that last had this pid ended, as [`wavetank::host::Host::now`] counts.
    #[must_use]
    pub fn exit_time(&self, pid: Pid) -> Option<Duration> {
        let kernel = self.kernel.borrow();
        let at = kernel.exits.iter().rposition(|(ended, _)| *ended == pid)?;
        kernel.exit_times.get(at).copied().map(Duration::from_nanos)
    }

    /// How many polls in a row one process has made without waiting, and which program that was.
    #[must_use]
    pub fn longest_row(&self) -> (u32, String) {
        let (row, program) = &self.kernel.borrow().longest_row;
        (*row, program.to_string())
    }

    /// How many open files there are in the whole machine, those under way in sockets included.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.kernel.borrow().files.iter().count()
    }

    /// How many inodes there are: in the tree, and without a name but in use.
    #[must_use]
    pub fn inodes(&self) -> usize {
        self.kernel.borrow().inodes.iter().count()
    }

    /// How many calls a planned fault has hit. A sweep over the first call, the second, and so on
    /// is over when a run has none.
    #[must_use]
    pub fn faults_struck(&self) -> u64 {
        self.kernel.borrow().faults_struck
    }

    /// What has befallen the run besides what its flow says.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        self.kernel.borrow().trouble
    }

    /// Rare branches of the shim that were taken.
    #[must_use]
    pub fn marks(&self) -> BTreeSet<Mark> {
        self.kernel.borrow().marks.clone()
    }

    /// What somebody was told as a number, where orders are tried; else 0.
    pub(crate) fn outcome(&self, told: &impl std::fmt::Debug) -> u64 {
        if !self.kernel.borrow().config.orderly {
            return 0;
        }
        let text = format!("{told:?}");
        text.bytes().fold(0, |hash, byte| crate::trace::mix(hash, u64::from(byte)))
    }

    /// How many steps have been taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.kernel.borrow().steps
    }

    /// A number that is the same for runs in which the same happened.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.kernel.borrow().trace.hash()
    }

    /// Every call that was made while it could fail, if the configuration says to list them.
    #[must_use]
    pub fn calls(&self) -> Vec<Made> {
        self.kernel.borrow().calls.clone().unwrap_or_default()
    }

    /// What happened, line by line, if the configuration says to keep that.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.kernel.borrow().trace.events().iter().filter_map(Event::line).collect()
    }

    /// What happened, if the configuration says to keep that, and then who is left.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let kernel = self.kernel.borrow();
        let mut events = kernel.trace.events().to_vec();
        if kernel.trace.keeps() {
            let left = kernel.processes.pids().filter(|pid| *pid != INIT);
            events.extend(left.map(|pid| kernel.left(pid)));
        }
        events
    }
}

impl Kernel {
    fn superuser(&self) -> Walker {
        Walker { pid: INIT, cwd: self.root, uid: 0, gid: 0 }
    }

    /// The inode at a path, links at its end not followed.
    pub(crate) fn look(&self, path: &Path) -> Option<Id<Inode>> {
        self.walk_as(self.superuser(), path, LastLink::Name).ok()?.inode
    }

    fn put_directories(&mut self, path: &Path) {
        if self.look(path).is_some() {
            return;
        }
        if let Some(above) = path.parent() {
            self.put_directories(above);
        }
        self.put(path, Node::Directory(Directory::new()), 0o755);
    }

    fn put(&mut self, path: &Path, node: Node, mode: u32) {
        let Ok(mut place) = self.walk_as(self.superuser(), path, LastLink::Name) else { return };
        if place.inode.is_some_and(|inode| self.is_mount_point(inode)) {
            return;
        }
        if place.inode.take().is_some() {
            self.unlink_entry(place.parent, &place.name);
        }
        let inode = self.new_inode(node, mode, 0, 0);
        self.link(place.parent, place.name.into_owned(), inode);
    }

    pub(crate) fn set_content(&mut self, inode: Id<Inode>, content: Vec<u8>) {
        let Node::Regular(regular) = &mut self.inodes[inode].node else { return };
        self.disk_used -= regular.disk_bytes();
        regular.content = content;
        regular.version += 1;
        self.disk_used += regular.disk_bytes();
        self.changed();
    }

    fn collect_paths(&self, at: Id<Inode>, path: &mut PathBuf, paths: &mut Vec<PathBuf>) {
        let Node::Directory(entries) = &self.inodes[at].node else { return };
        for (name, inode) in entries.iter() {
            path.push(name);
            if self.inodes[inode].number > self.own_inodes {
                paths.push(path.clone());
            }
            self.collect_paths(inode, path, paths);
            path.pop();
        }
    }

    /// A process of whom nobody knows more than that it is still there.
    fn left(&self, pid: i32) -> Event {
        let process = &self.processes[pid];
        let why = match process.stage {
            Stage::Zombie(status) => {
                format!("{} has not asked how it ended ({status})", process.parent)
            }
            _ => format!("waits for {}", self.standstill_text(pid)),
        };
        event(self.clock, &self.processes, pid, What::Left { why })
    }

    pub(crate) fn view(&self, pid: i32) -> ProcessView {
        let process = &self.processes[pid];
        let open = (0..)
            .zip(&process.fds)
            .filter_map(|(number, file)| file.map(|file| (Fd(number), self.name_of_file(file))));
        ProcessView {
            pid: Pid(pid),
            parent: Pid(process.parent),
            program: process.name.to_string(),
            zombie: match process.stage {
                Stage::Zombie(status) => Some(status),
                _ => None,
            },
            descriptors: open.collect(),
            cgroup: process.cgroup.to_string(),
            oom_score_adj: process.oom_score_adj,
            core: process.core,
        }
    }
}
