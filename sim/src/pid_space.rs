//! The little of `pid_namespaces(7)` that containers need: all processes end with the first one.
//!
//! Numbers are the machine's own everywhere, so a program here that wants to lead a namespace, or its
//! children in one, says so to the kernel and is none the wiser.

use wavetank::host::{Errno, Pid, Result, Signal};

use crate::caller::SimHost;
use crate::kernel::Kernel;
use crate::process::Stage;
use crate::touch::Thing;

impl SimHost<'_> {
    /// Makes this process the first one of a pid namespace.
    pub fn lead_pid_space(&mut self) {
        let pid = self.pid;
        let mut kernel = self.kernel.borrow_mut();
        kernel.alters(Thing::Everything);
        kernel.process(pid).pid_space = pid;
    }

    /// Has the children of this process be in another one's pid namespace (`setns(2)`).
    pub fn join_pid_space(&mut self, Pid(other): Pid) {
        let mut kernel = self.kernel.borrow_mut();
        let Some(space) = kernel.processes.get(other).map(|other| other.pid_space) else { return };
        kernel.alters(Thing::Everything);
        kernel.process(self.pid).children_space = Some(space);
    }
}

impl Kernel {
    /// In a namespace whose first process is dying nobody is born.
    pub(crate) fn may_have_children(&self, pid: i32) -> Result<()> {
        let process = &self.processes[pid];
        let space = process.children_space.unwrap_or(process.pid_space);
        let lives = |leader: i32| {
            self.processes.get(leader).is_some_and(|leader| leader.stage == Stage::Running)
        };
        if space == 0 || lives(space) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// The others of a namespace, by the pid of the first one.
    fn followers(&self, leader: i32) -> impl Iterator<Item = i32> {
        let processes = self.processes.iter();
        let is_follower = move |pid: i32, space: i32| space == leader && pid != leader;
        processes.filter(move |(pid, it)| is_follower(*pid, it.pid_space)).map(|(pid, _)| pid)
    }

    /// Whether somebody is left in a namespace besides its first process: that one's end waits for
    /// all others to be reaped.
    pub(crate) fn has_followers(&self, leader: i32) -> bool {
        self.processes[leader].pid_space == leader && self.followers(leader).next().is_some()
    }

    /// Kills everybody in a namespace whose first process is dying, and reaps its children.
    pub(crate) fn end_pid_space(&mut self, leader: i32) {
        if self.processes[leader].pid_space != leader {
            return;
        }
        let followers: Vec<i32> = self.followers(leader).collect();
        for pid in followers {
            let process = &self.processes[pid];
            match process.stage {
                Stage::Zombie(_) if process.parent == leader => self.reap(pid),
                _ => self.signal(pid, Signal::KILL),
            }
        }
    }

    /// The first process of a namespace reaps what is left to it while it dies.
    pub(crate) fn is_dying_leader(&self, pid: i32) -> bool {
        let process = &self.processes[pid];
        process.pid_space == pid && matches!(process.stage, Stage::Ending(_))
    }
}
