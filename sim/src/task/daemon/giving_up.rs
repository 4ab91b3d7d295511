//! What a daemon does in trouble: tries again, and if that is no use cleans up.

use std::time::Duration;

use wavetank::host::{Host, Signal};

use super::super::launch::Launch;
use super::super::plan::{Ask, Name, Step, Until, container_of, done, exec_of};
use super::{Daemon, Thread};
use crate::caller::SimHost;

/// How often something that was spoilt is tried again, in all.
const ATTEMPTS: u32 = 6;
/// How long what was killed may take to end: longer than a runtime that hangs may keep that from being
/// told.
const DYING: u64 = 12_000;

impl Daemon<'_> {
    /// Whether things may go otherwise than planned: something has happened that the flow does not
    /// know of, or that its own clients may meet.
    pub(super) fn is_lenient(&self, host: &SimHost<'_>) -> bool {
        // Where all is drawn, nothing is done again before the healing, and all must be right after.
        self.flow.repeats || host.trouble().is_any() && !self.heals()
    }

    /// Whether the plan is about trouble, with a time from which on there is none.
    pub(super) fn heals(&self) -> bool {
        self.flow.is_disturbed && self.flow.plan.heals()
    }

    /// Takes care of a step that was spoilt: it is tried again, or after too many attempts all is
    /// given up. False if it should not have been spoilt.
    pub(super) fn takes_care(&mut self, host: &mut SimHost<'_>, at: usize, step: Step) -> bool {
        if self.told.gave_up || !self.is_lenient(host) {
            return false;
        }
        if self.repeated < ATTEMPTS {
            self.repeated += 1;
            if matches!(step, Step::Launch(_)) {
                self.census = None;
            }
            self.threads[at].steps.push_front(step);
            return true;
        }
        let may_give_up = host.trouble().is_any();
        if may_give_up {
            self.give_up(host);
        }
        may_give_up
    }

    /// Whether there is another attempt; in trouble all is given up after too many.
    pub(super) fn tries_again(&mut self, host: &mut SimHost<'_>) -> bool {
        let may = self.repeated < ATTEMPTS;
        self.repeated += 1;
        if !may {
            self.give_up(host);
        }
        may
    }

    /// Drops the plan. The machine is well again from now on, also in what the flow has against it, so
    /// all that is asked must be answered.
    pub(super) fn give_up(&mut self, host: &mut SimHost<'_>) {
        if self.told.gave_up {
            return;
        }
        self.told.gave_up = true;
        self.gave_up_at = Some(host.now());
        host.heal();
        self.make_all_sound(host);
        self.patience.renew();
        match &mut self.receiver {
            Some(receiver) => receiver.refuse(None),
            None => self.listen(host),
        }
        for streams in self.streams.values_mut() {
            streams.may_read = true;
            streams.end_input();
        }
        for at in 0..self.threads.len() {
            self.hang_up(host, at);
            let Thread { steps, until, lost_waits, .. } = &mut self.threads[at];
            steps.clear();
            lost_waits.clear();
            *until = None;
        }
    }

    /// Begins to clean up as soon as nothing of the plan is under way any more; false if there is
    /// nothing to clean up, or that has been done.
    pub(super) fn cleans_up(&mut self) -> bool {
        if !self.told.gave_up || self.has_cleaned_up {
            return false;
        }
        self.has_cleaned_up = true;
        let names: Vec<Name> =
            self.flow.plan.processes.iter().map(|process| process.name).collect();
        let (containers, execs): (Vec<Name>, Vec<Name>) =
            names.into_iter().partition(|name| exec_of(name).is_empty());
        for name in containers {
            let execs = execs.iter().filter(|exec| container_of(exec) == name);
            let asks =
                [Ask::KillAll(name, 9), Ask::Kill(name, 9)].map(|ask| Step::Ask(ask, done()));
            let deletes = execs.chain([&name]).map(|it| Step::Ask(Ask::Delete(it), done()));
            let goes = Step::Ask(Ask::Shutdown(name), done());
            let is_known = self.addresses.contains_key(name);
            let steps = &mut self.threads[0].steps;
            if is_known {
                steps.extend(asks);
                steps.push_back(Step::Until(Until::Passed(DYING)));
                steps.extend(deletes);
            }
            steps.push_back(Step::CleanUp(name));
            steps.extend(is_known.then_some(goes));
        }
        !self.threads.iter().all(Thread::is_over)
    }

    /// Nothing happens any more though nothing is wrong with the machine.
    pub(super) fn lose_patience(&mut self, host: &mut SimHost<'_>) {
        if host.trouble().failed && self.waits_no_more(host) {
            return;
        }
        let open = |thread: &Thread| {
            let asked: Vec<Ask> = thread.open.iter().map(|open| open.ask).collect();
            let launch = thread.launch.as_ref().map(Launch::step);
            format!("{:?} {asked:?} {launch:?}", thread.steps.front())
        };
        let threads: Vec<String> =
            self.threads.iter().filter(|it| !it.is_over()).map(open).collect();
        self.told.wrong.push(format!("nothing happens any more: {}", threads.join("; ")));
        self.kill_shims(host);
        self.give_up(host);
    }

    /// In trouble output may be lost, and with it its end, and a want of memory may not be noticed, if
    /// that is told: who waits for it goes on without. Whether anybody did.
    fn waits_no_more(&mut self, host: &mut SimHost<'_>) -> bool {
        self.miss_servers(host);
        let is_told = !self.told.log.is_empty() || self.told.lost;
        let waits = |thread: &&mut Thread| match thread.steps.front() {
            Some(Step::Until(Until::Output(..))) => true,
            Some(Step::Until(Until::Eof(_) | Until::Told("/tasks/oom", _))) => is_told,
            _ => false,
        };
        let waiting = self.threads.iter_mut().filter(waits);
        waiting.map(|thread| thread.steps.pop_front()).count() > 0
    }

    /// Kills all that is of the shim.
    pub(super) fn kill_shims(&mut self, host: &mut SimHost<'_>) {
        self.told.lost = true;
        for pid in super::shims(host) {
            let _ = host.kill(pid, Signal::KILL);
        }
    }

    /// Takes note if fewer servers run than there should be.
    pub(super) fn miss_servers(&mut self, host: &mut SimHost<'_>) {
        let me = host.pid();
        let addresses: std::collections::BTreeSet<&String> = self.addresses.values().collect();
        let kernel = host.kernel.borrow();
        let is_server = |pid: &wavetank::host::Pid| kernel.processes[pid.0].parent != me.0;
        let servers = super::shims(host).iter().filter(|pid| is_server(pid)).count();
        self.told.lost |= servers < addresses.len();
    }
}

/// How long all may take in trouble beyond what the flow says.
pub(in super::super) const LATER: Duration = Duration::from_secs(600);
