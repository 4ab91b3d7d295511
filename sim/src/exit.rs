//! How processes end, and how their parents learn of it (`_exit(2)`, `wait4(2)`, `prctl(2)`).
//!
//! As in Linux an end has two steps: first everything is closed, then the parent is told. Between
//! them others may run, so a reader can see the end of a pipe before its writer can be reaped.

use std::time::Duration;

use wavetank::host::{Errno, Exit, ExitStatus, Pid, Result, Signal, WaitFor};

use crate::caller::event;
use crate::event::What;
use crate::kernel::{INIT, Kernel, LateReap};
use crate::process::Stage;
use crate::signals::pid_number;
use crate::touch::Thing;

impl Kernel {
    /// First step: all that it had open is closed.
    pub(crate) fn close_everything(&mut self, pid: i32, status: ExitStatus) {
        self.alters(Thing::Life(pid));
        if self.processes[pid].pid_space == pid || self.processes[pid].terminal.is_some() {
            self.alters(Thing::Everything);
        }
        let process = self.process(pid);
        process.stage = Stage::Ending(status);
        process.wait = None;
        process.start = None;
        let fds = std::mem::take(&mut process.fds);
        let cwd = process.cwd;
        let opening = process.opening.take();
        for file in fds.into_iter().flatten() {
            self.leave_file(file);
        }
        if let Some(file) = opening {
            self.drop_file(file);
        }
        self.leave_inode(cwd);
        self.set_exe(pid, None);
        self.leave_terminal(pid);
        self.end_pid_space(pid);
        let Kernel { trace, processes, clock, .. } = self;
        trace.event([pid_number(pid), 101, 0], || event(*clock, processes, pid, What::Closes));
    }

    /// The leader of a session takes the terminal with it.
    fn leave_terminal(&mut self, pid: i32) {
        let process = self.process(pid);
        let session = process.session;
        let Some(pty) = process.terminal.take().filter(|_| session == pid) else { return };
        let foreground = self.ptys[pty].foreground.take();
        self.ptys[pty].session = None;
        if let Some(group) = foreground {
            self.signal_group(group, Signal::HUP);
        }
        for process in self.processes.values_mut().filter(|it| it.session == session) {
            process.terminal = None;
        }
    }

    /// Second step: the children get a new parent, and the parent is told.
    pub(crate) fn end(&mut self, pid: i32, status: ExitStatus) {
        let clock = self.clock;
        self.alters(Thing::Life(pid));
        self.alters(Thing::Children(pid));
        self.sees(Thing::Parent(pid));
        if self.processes[pid].pid_space != 0 {
            self.alters(Thing::Everything);
        }
        let process = self.process(pid);
        process.stage = Stage::Zombie(status);
        process.ended = clock;
        let children = std::mem::take(&mut process.children);
        let parent = process.parent;
        if !children.is_empty() {
            let heir = self.heir(pid);
            for child in children {
                self.adopt(heir, child);
            }
        }
        self.exits.push((Pid(pid), status));
        self.exit_times.push(self.clock);
        let Kernel { trace, processes, clock, .. } = self;
        let ended = What::Ended { status };
        trace.event([pid_number(pid), 102, 0], || event(*clock, processes, pid, ended));
        self.tell_parent(pid, parent);
    }

    /// The nearest living ancestor that wants orphans, or init: that of its pid namespace.
    fn heir(&self, pid: i32) -> i32 {
        let space = self.processes[pid].pid_space;
        let mut at = self.processes[pid].parent;
        while at > INIT {
            self.sees(Thing::Life(at));
            self.sees(Thing::Parent(at));
            let process = &self.processes[at];
            if process.pid_space != space {
                break;
            }
            if process.subreaper && process.lives() {
                return at;
            }
            at = process.parent;
        }
        if space == 0 { INIT } else { space }
    }

    fn adopt(&mut self, heir: i32, child: i32) {
        let clock = self.clock;
        self.alters(Thing::Parent(child));
        self.alters(Thing::Children(heir));
        self.sees(Thing::Life(child));
        let process = self.process(child);
        process.parent = heir;
        // The new parent is not to blame for the old one.
        process.ended = clock;
        let (stage, death_signal) = (process.stage, process.death_signal);
        self.process(heir).children.push(child);
        if let Some(signal) = death_signal {
            self.signal(child, signal);
        }
        if matches!(stage, Stage::Zombie(_)) {
            self.tell_parent(child, heir);
        }
    }

    fn tell_parent(&mut self, pid: i32, parent: i32) {
        self.changed();
        // Which of them has ended is asked in the order in which they came.
        self.adds_to(Thing::Children(parent));
        if parent == INIT || self.is_dying_leader(parent) {
            self.reap(pid);
        } else {
            self.signal(parent, Signal::CHLD);
        }
    }

    pub(crate) fn reap(&mut self, pid: i32) {
        let by = self.processes.get(pid).map_or(INIT, |process| process.parent);
        self.note(pid, || What::Reaped { by: Pid(by) });
        let Some(process) = self.processes.remove(pid) else { return };
        let after = Duration::from_nanos(self.clock - process.ended);
        if after > LateReap::LATE && by != INIT {
            let parent = self.processes[by].name.to_string();
            self.late_reaps.push(LateReap { pid: Pid(pid), parent, after });
        }
        self.alters(Thing::Life(pid));
        self.alters(Thing::Children(process.parent));
        self.alters(Thing::Group(process.group));
        if self.config.pid_max < crate::Config::default().pid_max {
            self.alters(Thing::Pids);
        }
        self.process(process.parent).children.retain(|child| *child != pid);
    }

    pub(crate) fn wait(&mut self, me: i32, target: WaitFor) -> Result<Option<Exit>> {
        self.has_ended_child(me, target)?;
        let ended = |pid: &i32| match self.processes[*pid].stage {
            Stage::Zombie(status) if is_meant(target, *pid) => {
                Some(Exit { pid: Pid(*pid), status })
            }
            _ => None,
        };
        let exit = self.processes[me].children.iter().find_map(ended);
        if let Some(exit) = exit {
            self.reap(exit.pid.0);
        }
        Ok(exit)
    }

    /// Whether a wait would find an ended child.
    pub(crate) fn has_ended_child(&self, me: i32, target: WaitFor) -> Result<bool> {
        self.sees(Thing::Children(me));
        let mut meant = self.processes[me].children.iter().filter(|pid| is_meant(target, **pid));
        if meant.clone().next().is_none() {
            return Err(Errno::ECHILD);
        }
        Ok(meant.any(|pid| matches!(self.processes[*pid].stage, Stage::Zombie(_))))
    }
}

fn is_meant(target: WaitFor, pid: i32) -> bool {
    match target {
        WaitFor::Any => true,
        WaitFor::Pid(Pid(only)) => only == pid,
    }
}
