//! The end of all trouble, and what must be so from then on.

use std::path::Path;

use wavetank::host::{Host, Pid, Signal};

use super::super::script;
use super::super::swarm::{HEALED, sound};
use super::ending::shims;
use super::{Daemon, LOOK_AGAIN, WORK};
use crate::caller::SimHost;
use crate::config::Config;
use crate::process::Process;

impl Daemon<'_> {
    /// Faults stop, the machine has enough of everything, the runtime behaves, the daemon takes events,
    /// and clients read.
    pub(super) fn heal(&mut self, host: &mut SimHost<'_>, me: usize) {
        self.told.healed = host.now();
        self.make_all_sound(host);
        self.marks.insert(HEALED);
        for streams in self.streams.values_mut() {
            streams.may_read = true;
        }
        for (at, thread) in self.threads.iter_mut().enumerate() {
            if at != me {
                thread.steps.clear();
                (thread.awaited, thread.until) = (None, None);
            }
        }
        match &mut self.receiver {
            Some(receiver) => receiver.refuse(None),
            None => self.come_back(host),
        }
    }

    /// Nothing is wrong with the machine any more, nor with the runtime.
    pub(super) fn make_all_sound(&self, host: &mut SimHost<'_>) {
        make_sound(host);
        for init in self.flow.plan.inits() {
            let path = Path::new(WORK).join("bundles").join(init.name).join("fake-runc.json");
            let found = host.kernel.borrow().look(&path);
            if let Some(inode) = found {
                host.kernel.borrow_mut().set_content(inode, script(&sound()).into_bytes());
            }
        }
    }

    /// When every container is deleted, nothing of them is held any more.
    pub(super) fn look_for_holdings(&mut self, host: &mut SimHost<'_>) {
        for _ in 0..5 {
            self.turn(host, Some(LOOK_AGAIN));
        }
        let kernel = host.kernel.borrow();
        for pid in shims(host) {
            let names = kernel.view(pid.0).descriptors.into_iter();
            let names = names.map(|(_, name)| name.to_string_lossy().into_owned());
            let is_of_container = |name: &String| {
                name.starts_with("pipe:")
                    || name.starts_with("/w/io/")
                    || name.contains("ptmx")
                    || name.contains("memfd")
            };
            let held: Vec<String> = names.filter(is_of_container).collect();
            let children = kernel.processes.iter().filter(|(_, it)| it.parent == pid.0);
            let children: Vec<String> =
                children.map(|(child, it)| format!("{child} {}", it.name)).collect();
            if !held.is_empty() || !children.is_empty() {
                let wrong = format!("{pid} has nothing to do, and has {held:?} and {children:?}");
                self.told.wrong.push(wrong);
            }
        }
    }
}

fn make_sound(host: &SimHost<'_>) {
    let mut kernel = host.kernel.borrow_mut();
    kernel.faults.clear();
    kernel.is_healed = true;
    let Config { descriptors, pid_max, socket_bytes, disk_bytes, timers_race, .. } =
        Config::default();
    let config = &mut kernel.config;
    (config.descriptors, config.pid_max, config.socket_bytes) =
        (descriptors, pid_max, socket_bytes);
    (config.disk_bytes, config.timers_race) = (disk_bytes, timers_race);
}

/// Processes that have the runtime's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Runtimes of a shim, which end with it.
    AtWork,
    /// Those that a runtime has made, and that have not become their own program.
    Unmade,
}

pub(super) fn kill_runtimes(host: &mut SimHost<'_>, whose: Whose) {
    let pids: Vec<Pid> = {
        let kernel = host.kernel.borrow();
        let is_one = |it: &Process| {
            *it.name == *"runc" && it.death_signal.is_some() == (whose == Whose::AtWork)
        };
        kernel.processes.iter().filter(|(_, it)| is_one(it)).map(|(pid, _)| Pid(pid)).collect()
    };
    for pid in pids {
        let _ = host.kill(pid, Signal::KILL);
    }
}
