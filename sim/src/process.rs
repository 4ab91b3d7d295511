//! Processes: how they begin, and what they become (`fork(2)`, `execve(2)`).

use std::cell::Cell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use wavetank::host::{
    Command, Errno, ExitStatus, Fd, Lead, Pid, Result, Signal, SpawnError, SpawnStep,
};

use crate::event::What;
use crate::file::{FileState, OpenFile};
use crate::fs::{EXECUTE, Inode, LastLink, Node, Walker};
use crate::kernel::{INIT, Kernel, Program};
use crate::pty::Pty;
use crate::signals::SignalSet;
use crate::slab::Id;
use crate::touch::Thing;
use crate::wait::Wait;

/// The lowest pid that is given after the numbers have run out once, if there are so many.
const PID_AFTER_WRAP: i32 = 300;

/// A process.
pub(crate) struct Process {
    pub(crate) parent: i32,
    /// When it was started, in nanoseconds since the machine was.
    pub(crate) started: u64,
    /// When it ended, or got another parent, likewise.
    pub(crate) ended: u64,
    /// In the order in which they became its children.
    pub(crate) children: Vec<i32>,
    pub(crate) group: i32,
    pub(crate) session: i32,
    pub(crate) terminal: Option<Id<Pty>>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) cwd: Id<Inode>,
    pub(crate) exe: Option<Id<Inode>>,
    /// The last name of `exe`.
    pub(crate) name: Rc<str>,
    /// Which of its program's parts it plays, if it has said so.
    pub(crate) part: &'static str,
    pub(crate) env: Rc<[OsString]>,
    pub(crate) fds: Vec<Option<Id<OpenFile>>>,
    /// A file whose opening waits for the other side.
    pub(crate) opening: Option<Id<OpenFile>>,
    pub(crate) stage: Stage,
    /// A program that it is to begin, instead of what it does now.
    pub(crate) start: Option<Start>,
    pub(crate) wait: Option<Wait>,
    /// How many numbers it has drawn.
    pub(crate) made: u64,
    /// When it was last seen that `wait` has not come, as the kernel counts its changes.
    pub(crate) looked: Cell<u64>,
    pub(crate) blocked: SignalSet,
    pub(crate) pending: SignalSet,
    pub(crate) stopped: bool,
    pub(crate) death_signal: Option<Signal>,
    pub(crate) subreaper: bool,
    /// Its cgroup's path, from the root of the cgroups.
    pub(crate) cgroup: Rc<str>,
    pub(crate) oom_score_adj: i32,
    /// How many polls in a row had an answer at once.
    pub(crate) restless: u32,
    /// Processes with the same number may share a core; 0 is the number of most.
    pub(crate) core: u64,
    /// The first process of its pid namespace; 0 is the machine's own namespace.
    pub(crate) pid_space: i32,
    /// That of its children, if it is another one (`setns(2)`).
    pub(crate) children_space: Option<i32>,
}

/// How far a process's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is the process that needs no program.
    Init,
    /// It runs its program, or waits in a call.
    Running,
    /// It will do nothing any more; its descriptors are still open.
    Closing(ExitStatus),
    /// Its descriptors are closed; its parent has not been told.
    Ending(ExitStatus),
    /// It waits to be reaped.
    Zombie(ExitStatus),
}

/// A program with its arguments.
pub(crate) struct Start {
    pub(crate) program: Program,
    pub(crate) argv: Vec<OsString>,
}

/// What a file to be executed turned out to be.
pub(crate) struct Image {
    pub(crate) exe: Id<Inode>,
    pub(crate) name: Rc<str>,
    pub(crate) program: Program,
}

impl Process {
    /// The first process.
    pub(crate) fn init(root: Id<Inode>) -> Process {
        Process {
            parent: 0,
            started: 0,
            ended: 0,
            children: Vec::new(),
            group: INIT,
            session: INIT,
            terminal: None,
            uid: 0,
            gid: 0,
            cwd: root,
            exe: None,
            name: Rc::from("init"),
            part: "",
            env: Rc::from([]),
            fds: Vec::new(),
            opening: None,
            stage: Stage::Init,
            start: None,
            wait: None,
            made: 0,
            looked: Cell::new(u64::MAX),
            blocked: SignalSet::default(),
            pending: SignalSet::default(),
            stopped: false,
            death_signal: None,
            subreaper: true,
            cgroup: Rc::from("/"),
            oom_score_adj: 0,
            restless: 0,
            core: 0,
            pid_space: 0,
            children_space: None,
        }
    }

    /// Whether it can still adopt children.
    pub(crate) fn lives(&self) -> bool {
        matches!(self.stage, Stage::Init | Stage::Running)
    }
}

fn words(argv: &[OsString]) -> Vec<String> {
    argv.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn failed(step: SpawnStep) -> impl Fn(Errno) -> SpawnError {
    move |errno| SpawnError { step, errno }
}

impl Kernel {
    /// Starts a child. One that fails on its way has been there all the same: the host reaps it,
    /// but its parent's `SIGCHLD` stays.
    pub(crate) fn spawn(
        &mut self,
        me: i32,
        command: &Command,
    ) -> std::result::Result<Pid, SpawnError> {
        let spawned = self.start_child(me, command);
        if spawned.is_err_and(|error| error.step != SpawnStep::Fork) {
            self.signal(me, Signal::CHLD);
        }
        spawned
    }

    fn start_child(&mut self, me: i32, command: &Command) -> std::result::Result<Pid, SpawnError> {
        self.alters(Thing::Pids);
        let pid = self.free_pid().ok_or(Errno::EAGAIN).map_err(failed(SpawnStep::Fork))?;
        let files = self.files_of(me, &command.fds).map_err(failed(SpawnStep::Prepare))?;
        let terminal =
            self.terminal_for(command.lead, &files).map_err(failed(SpawnStep::Prepare))?;
        let walker = self.walker_for(me, command)?;
        let image = self.image(walker, &command.program).map_err(failed(SpawnStep::Exec))?;

        self.may_have_children(me).map_err(failed(SpawnStep::Fork))?;
        let parent = &self.processes[me];
        let leads = command.lead != Lead::Nothing;
        let leads_session = matches!(command.lead, Lead::Session | Lead::TerminalSession);
        let child = Process {
            parent: me,
            started: self.clock,
            ended: 0,
            children: Vec::new(),
            group: if leads { pid } else { parent.group },
            session: if leads_session { pid } else { parent.session },
            terminal: if leads_session { terminal } else { parent.terminal },
            uid: parent.uid,
            gid: parent.gid,
            cwd: walker.cwd,
            exe: None,
            name: Rc::clone(&image.name),
            part: "",
            env: command.env.as_ref().map_or_else(|| Rc::clone(&parent.env), |env| env[..].into()),
            fds: files.iter().copied().map(Some).collect(),
            opening: None,
            stage: Stage::Running,
            start: Some(Start { program: image.program, argv: command.argv.clone() }),
            wait: None,
            made: 0,
            looked: Cell::new(u64::MAX),
            blocked: SignalSet::default(),
            pending: SignalSet::default(),
            stopped: false,
            death_signal: command.parent_death_signal,
            subreaper: false,
            cgroup: Rc::clone(&parent.cgroup),
            oom_score_adj: parent.oom_score_adj,
            restless: 0,
            core: parent.core,
            pid_space: parent.children_space.unwrap_or(parent.pid_space),
            children_space: None,
        };
        self.use_inode(walker.cwd);
        for file in files {
            self.share_file(file);
        }
        self.sees(Thing::Heritage(me));
        self.alters(Thing::Life(pid));
        self.alters(Thing::Children(me));
        self.alters(Thing::Group(child.group));
        if child.pid_space != 0 || child.terminal.is_some() {
            self.alters(Thing::Everything);
        }
        self.processes.insert(pid, child);
        self.set_exe(pid, Some(image.exe));
        self.process(me).children.push(pid);
        self.last_pid = pid;
        self.note(pid, || What::Born { parent: Pid(me), argv: words(&command.argv) });
        if let Some(pty) = terminal {
            self.ptys[pty].session = Some(pid);
            self.ptys[pty].foreground = Some(pid);
        }
        Ok(Pid(pid))
    }

    /// Makes the process another program. Its old one must not run on.
    pub(crate) fn exec(
        &mut self,
        me: i32,
        command: &Command,
    ) -> std::result::Result<(), SpawnError> {
        let files = self.files_of(me, &command.fds).map_err(failed(SpawnStep::Prepare))?;
        let walker = self.walker_for(me, command)?;
        let image = self.image(walker, &command.program).map_err(failed(SpawnStep::Exec))?;
        self.use_inode(walker.cwd);
        for &file in &files {
            self.share_file(file);
        }
        self.alters(Thing::Pending(me));
        let process = self.process(me);
        let old_fds = std::mem::replace(&mut process.fds, files.into_iter().map(Some).collect());
        let old_cwd = std::mem::replace(&mut process.cwd, walker.cwd);
        if let Some(env) = &command.env {
            process.env = env[..].into();
        }
        process.name = Rc::clone(&image.name);
        process.part = "";
        process.start = Some(Start { program: image.program, argv: command.argv.clone() });
        process.blocked = SignalSet::default();
        self.note(me, || What::Becomes { argv: words(&command.argv) });
        self.set_exe(me, Some(image.exe));
        self.leave_inode(old_cwd);
        for file in old_fds.into_iter().flatten() {
            self.leave_file(file);
        }
        self.deliver_unblocked(me);
        Ok(())
    }

    fn walker_for(&self, me: i32, command: &Command) -> std::result::Result<Walker, SpawnError> {
        let walker = self.walker(me);
        let Some(cwd) = &command.cwd else { return Ok(walker) };
        let cwd = self
            .directory(walker, cwd)
            .and_then(|cwd| self.allow(walker, cwd, EXECUTE).map(|()| cwd))
            .map_err(failed(SpawnStep::Chdir))?;
        Ok(Walker { cwd, ..walker })
    }

    fn files_of(&self, me: i32, fds: &[Fd]) -> Result<Vec<Id<OpenFile>>> {
        fds.iter().map(|fd| self.file(me, *fd)).collect()
    }

    /// The terminal that a new session is to have (`TIOCSCTTY`).
    fn terminal_for(&self, lead: Lead, files: &[Id<OpenFile>]) -> Result<Option<Id<Pty>>> {
        if lead != Lead::TerminalSession {
            return Ok(None);
        }
        let file = *files.first().ok_or(Errno::EBADF)?;
        let (FileState::Slave(pty) | FileState::Master(pty)) = self.files[file].state else {
            return Err(Errno::ENOTTY);
        };
        self.alters(Thing::Everything);
        match self.ptys[pty].session {
            _ if !self.ptys[pty].master_open => Err(Errno::EIO),
            Some(_) => Err(Errno::EPERM),
            None => Ok(Some(pty)),
        }
    }

    /// Looks at a file that is to be executed.
    pub(crate) fn image(&self, walker: Walker, path: &Path) -> Result<Image> {
        let exe = self.walk_as(walker, path, LastLink::Follow)?.existing()?;
        let inode = &self.inodes[exe];
        let Node::Regular(regular) = &inode.node else { return Err(Errno::EACCES) };
        if inode.mode & 0o111 == 0 {
            return Err(Errno::EACCES);
        }
        self.allow(walker, exe, EXECUTE)?;
        self.sees(Thing::Text(inode.number));
        if self.files.iter().any(|(_, file)| file.inode == exe && file.writable) {
            return Err(Errno::ETXTBSY);
        }
        let program = regular.program.and_then(|index| self.programs.get(index));
        let program = Rc::clone(program.ok_or(Errno::ENOEXEC)?);
        let name = path.file_name().unwrap_or(path.as_os_str());
        let name = if path.as_os_str().as_bytes() == b"/proc/self/exe" {
            Rc::clone(&self.processes[walker.pid].name)
        } else {
            Rc::from(name.to_string_lossy())
        };
        Ok(Image { exe, name, program })
    }

    /// Gives a process's group a core of its own, as far as others are concerned.
    pub(crate) fn share_core(&mut self, me: i32) -> Result<()> {
        let Process { group, uid, .. } = self.processes[me];
        let members = self.processes.values_mut().filter(|it| it.group == group);
        let mut members: Vec<&mut Process> = members.collect();
        if uid != 0 && members.iter().any(|it| it.uid != uid) {
            return Err(Errno::EPERM);
        }
        self.touches.alters(Thing::Everything);
        self.last_core += 1;
        for process in &mut members {
            process.core = self.last_core;
        }
        Ok(())
    }

    pub(crate) fn set_exe(&mut self, pid: i32, exe: Option<Id<Inode>>) {
        if let Some(exe) = exe {
            self.use_inode(exe);
        }
        let old = std::mem::replace(&mut self.process(pid).exe, exe);
        for inode in [old, exe].into_iter().flatten() {
            self.sees(Thing::Text(self.inodes[inode].number));
        }
        if let Some(old) = old {
            self.leave_inode(old);
        }
    }

    /// The next pid that nobody has, not even as the number of a group or session.
    pub(crate) fn free_pid(&self) -> Option<i32> {
        let after = |pid: i32| match pid + 1 {
            next if next < self.config.pid_max => next,
            _ if self.config.pid_max > 2 * PID_AFTER_WRAP => PID_AFTER_WRAP,
            _ => INIT + 1,
        };
        let taken = |pid: i32| {
            let by = |it: &Process| it.group == pid || it.session == pid;
            self.processes.contains(pid) || self.processes.values().any(by)
        };
        let mut pid = after(self.last_pid);
        for _ in 0..self.config.pid_max {
            if !taken(pid) {
                return Some(pid);
            }
            pid = after(pid);
        }
        None
    }
}
