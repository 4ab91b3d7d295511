//! The children of a shim: runtimes, and the containers' processes that they leave to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::files::read_file;

use crate::host::{Bug, Command, Errno, ExitStatus, Host, Pid, Signal, SpawnError, WaitFor};

/// When a child is killed again that could not be killed.
const KILL_AGAIN: Duration = Duration::from_secs(1);
/// More than any list of children is long.
const CHILDREN_MAX: usize = 1024 * 1024;

/// Knows every child that matters by its role `R`; every other one is reaped and forgotten.
///
/// While a runtime is making a process, children that are not known are left as they are: one of
/// them may be that process, ended already. A zombie keeps its pid, so the number in the pid file
/// means this one and no other. Only then is it known, and waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervisor<R> {
    children: BTreeMap<Pid, Child<R>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Child<R> {
    role: R,
    makes_process: bool,
    /// When it is killed for not having ended ([`Host::now`]).
    deadline: Option<Duration>,
    /// Nobody is to be told of its end.
    is_abandoned: bool,
}

impl<R> Child<R> {
    /// Kills it; if that fails, it is overdue soon.
    fn kill<H: Host>(&mut self, host: &mut H, pid: Pid) -> bool {
        // A child that has ended and is not reaped yet takes the signal, too.
        let is_killed = host.kill(pid, Signal::KILL).is_ok();
        if !is_killed {
            self.deadline = Some(host.now() + KILL_AGAIN);
        }
        is_killed
    }
}

/// A child that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended<R> {
    /// Its role.
    pub role: R,
    /// Its pid, which may be another process's by now.
    pub pid: Pid,
    /// How it ended.
    pub status: ExitStatus,
}

impl<R> Default for Supervisor<R> {
    fn default() -> Supervisor<R> {
        Supervisor { children: BTreeMap::new() }
    }
}

/// What a child is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errand<R> {
    /// Its role.
    pub role: R,
    /// Whether a process that outlives it comes of it.
    pub makes_process: bool,
    /// When it is killed for not having ended ([`Host::now`]).
    pub deadline: Option<Duration>,
}

impl<R: Copy + PartialEq> Supervisor<R> {
    /// Starts a child.
    ///
    /// # Errors
    /// What [`Host::spawn`] gives.
    pub fn spawn<H: Host>(
        &mut self,
        host: &mut H,
        command: &Command,
        errand: Errand<R>,
    ) -> Result<Pid, SpawnError> {
        let pid = host.spawn(command)?;
        let Errand { role, makes_process, deadline } = errand;
        let child = Child { role, makes_process, deadline, is_abandoned: false };
        self.children.insert(pid, child);
        Ok(pid)
    }

    /// Takes charge of a process that a runtime has left to us; its end is told by the next
    /// [`Supervisor::reap`], also if it has come already.
    ///
    /// # Errors
    /// `ECHILD`: the process is not our child.
    pub fn adopt<H: Host>(
        &mut self,
        host: &mut H,
        pid: Pid,
        role: R,
    ) -> Result<Option<Ended<R>>, Errno> {
        let exit = match host.wait(WaitFor::Pid(pid), false) {
            Err(Errno::ECHILD) if host.planted(Bug::StrangerTrusted) => None,
            Err(Errno::ECHILD) if host.planted(Bug::NoChildIsZero) => {
                return Ok(Some(Ended { role, pid, status: ExitStatus::Code(0) }));
            }
            exit => exit?,
        };
        match exit {
            Some(exit) => Ok(Some(Ended { role, pid, status: exit.status })),
            None => {
                let child =
                    Child { role, makes_process: false, deadline: None, is_abandoned: false };
                self.children.insert(pid, child);
                Ok(None)
            }
        }
    }

    /// Reaps whoever has ended, and tells of those that matter.
    pub fn reap<H: Host>(&mut self, host: &mut H) -> Vec<Ended<R>> {
        let mut ended = Vec::new();
        let any = host.planted(Bug::NoChildIsZero) || host.planted(Bug::ReapedBeforeKnown);
        let only_known = host.planted(Bug::OrphansLeft);
        let is_making = !any && self.children.values().any(|child| child.makes_process);
        if only_known || is_making {
            let known: Vec<Pid> = self.children.keys().copied().collect();
            for pid in known {
                self.reap_next(host, WaitFor::Pid(pid), &mut ended);
            }
        } else {
            while self.reap_next(host, WaitFor::Any, &mut ended)
                && !host.planted(Bug::OneWaitPerSignal)
            {}
        }
        ended
    }

    fn reap_next<H: Host>(
        &mut self,
        host: &mut H,
        target: WaitFor,
        ended: &mut Vec<Ended<R>>,
    ) -> bool {
        let block = target == WaitFor::Any && host.planted(Bug::ReapsUntilNoneIsLeft);
        let Ok(Some(exit)) = host.wait(target, block) else { return false };
        if let Some(child) = self.children.remove(&exit.pid).filter(|it| !it.is_abandoned) {
            ended.push(Ended { role: child.role, pid: exit.pid, status: exit.status });
        }
        true
    }

    /// Kills the children of this role. Their ends are told as any other.
    pub fn kill<H: Host>(&mut self, host: &mut H, role: R) {
        for (pid, child) in self.children.iter_mut().filter(|(_, child)| child.role == role) {
            child.kill(host, *pid);
        }
    }

    /// Kills the children of this role, and tells nobody of their ends.
    pub fn abandon<H: Host>(&mut self, host: &mut H, role: R) {
        self.children.retain(|pid, child| {
            if child.role == role {
                child.is_abandoned = true;
            }
            child.role != role || !child.kill(host, *pid)
        });
    }

    /// Sends the children of this role a signal; who has not ended at the deadline is killed.
    pub fn end<H: Host>(&mut self, host: &mut H, role: R, signal: Signal, deadline: Duration) {
        let is_meant = |child: &Child<R>| child.role == role && !child.is_abandoned;
        for (pid, child) in self.children.iter_mut().filter(|(_, child)| is_meant(child)) {
            child.deadline = Some(deadline);
            let _ = host.kill(*pid, signal);
        }
    }

    /// Reaps whoever has ended, tells of nobody, and says whether any child is left.
    pub fn has_living_children<H: Host>(&mut self, host: &mut H) -> bool {
        loop {
            match host.wait(WaitFor::Any, false) {
                Ok(Some(exit)) => drop(self.children.remove(&exit.pid)),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Kills the children that are not known: what a runtime started and did not tell of. Where
    /// `/proc` does not list children (`proc_tid_children(5)`) there is no finding them.
    pub fn kill_strangers<H: Host>(&mut self, host: &mut H) {
        let me = host.pid();
        let list = PathBuf::from(format!("/proc/{me}/task/{me}/children"));
        let Ok(list) = read_file(host, &list, CHILDREN_MAX) else { return };
        let pids = String::from_utf8_lossy(&list);
        let pids = pids.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid);
        for pid in pids.filter(|pid| !self.children.contains_key(pid)) {
            // It is our child, ended or not, so the number is still its own.
            let _ = host.kill(pid, Signal::KILL);
        }
    }

    /// Kills every child whose deadline has come. Their ends are told as any other.
    pub fn kill_overdue<H: Host>(&mut self, host: &mut H, now: Duration) -> Vec<R> {
        let mut overdue = Vec::new();
        self.children.retain(|pid, child| {
            if child.deadline.is_none_or(|deadline| now < deadline) {
                return true;
            }
            child.deadline = None;
            let is_killed = child.kill(host, *pid);
            if is_killed && !child.is_abandoned {
                overdue.push(child.role);
            }
            !is_killed || !child.is_abandoned
        });
        overdue
    }

    /// The next deadline.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.children.values().filter_map(|child| child.deadline).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Exit, MockHost};

    fn exit(pid: i32, code: i32) -> Exit {
        Exit { pid: Pid(pid), status: ExitStatus::Code(code) }
    }

    fn errand(role: char, makes_process: bool) -> Errand<char> {
        Errand { role, makes_process, deadline: Some(Duration::from_secs(5)) }
    }

    #[test]
    fn while_a_process_is_being_made_only_known_children_are_waited_for() {
        let mut host = MockHost::new();
        host.expect_spawn().returning(|_| Ok(Pid(7)));
        host.expect_wait()
            .withf(|target, block| *target == WaitFor::Pid(Pid(7)) && !block)
            .once()
            .returning(|_, _| Ok(Some(exit(7, 0))));
        let mut supervisor = Supervisor::default();
        supervisor.spawn(&mut host, &Command::default(), errand('r', true)).unwrap();
        let ended = supervisor.reap(&mut host);
        assert_eq!(ended, [Ended { role: 'r', pid: Pid(7), status: ExitStatus::Code(0) }]);
        assert_eq!(supervisor.due(), None);
    }

    #[test]
    fn orphans_are_reaped_and_not_told_of() {
        let mut host = MockHost::new();
        let mut exits = vec![Err(Errno::ECHILD), Ok(Some(exit(9, 1))), Ok(Some(exit(8, 0)))];
        host.expect_spawn().returning(|_| Ok(Pid(9)));
        host.expect_wait().times(3).returning(move |_, _| exits.pop().unwrap());
        let mut supervisor = Supervisor::default();
        supervisor.spawn(&mut host, &Command::default(), errand('d', false)).unwrap();
        let ended = supervisor.reap(&mut host);
        assert_eq!(ended, [Ended { role: 'd', pid: Pid(9), status: ExitStatus::Code(1) }]);
    }

    #[test]
    fn a_process_that_is_not_our_child_is_not_adopted() {
        let mut host = MockHost::new();
        host.expect_wait().returning(|_, _| Err(Errno::ECHILD));
        let adopted = Supervisor::default().adopt(&mut host, Pid(1), 'c');
        assert_eq!(adopted, Err(Errno::ECHILD));
    }

    #[test]
    fn a_process_that_ended_before_it_was_known_is_told_of() {
        let mut host = MockHost::new();
        host.expect_wait().returning(|_, _| Ok(Some(exit(12, 3))));
        let adopted = Supervisor::default().adopt(&mut host, Pid(12), 'c').unwrap();
        assert_eq!(adopted, Some(Ended { role: 'c', pid: Pid(12), status: ExitStatus::Code(3) }));
    }

    #[test]
    fn a_child_that_cannot_be_killed_is_killed_later_and_nobody_is_told_of_its_end() {
        let mut host = MockHost::new();
        let mut kills = vec![Ok(()), Err(Errno::EPERM), Err(Errno::EPERM)];
        host.expect_spawn().returning(|_| Ok(Pid(7)));
        host.expect_now().returning(|| Duration::from_secs(3));
        host.expect_kill().times(3).returning(move |_, _| kills.pop().unwrap());
        let mut supervisor = Supervisor::default();
        supervisor.spawn(&mut host, &Command::default(), errand('r', false)).unwrap();
        supervisor.abandon(&mut host, 'r');
        assert_eq!(supervisor.due(), Some(Duration::from_secs(4)));
        assert_eq!(supervisor.kill_overdue(&mut host, Duration::from_secs(4)), []);
        assert_eq!(supervisor.kill_overdue(&mut host, Duration::from_secs(4)), []);
        assert_eq!(supervisor, Supervisor::default());
    }

    #[test]
    fn overdue_children_are_killed_once() {
        let mut host = MockHost::new();
        host.expect_spawn().returning(|_| Ok(Pid(7)));
        host.expect_kill()
            .withf(|pid, signal| *pid == Pid(7) && *signal == Signal::KILL)
            .once()
            .returning(|_, _| Ok(()));
        let mut supervisor = Supervisor::default();
        supervisor.spawn(&mut host, &Command::default(), errand('r', true)).unwrap();
        assert_eq!(supervisor.kill_overdue(&mut host, Duration::from_secs(4)), []);
        assert_eq!(supervisor.kill_overdue(&mut host, Duration::from_secs(5)), ['r']);
        assert_eq!(supervisor.kill_overdue(&mut host, Duration::from_secs(6)), []);
    }
}
