//! What answers tell, what a shim holds, and its going.

use std::path::Path;
use std::time::Duration;

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::Message;
use wavetank::host::{Errno, Host, Pid, Signal, close_all};

use super::super::asks;
use super::super::plan::{Name, Told};
use super::{Daemon, LONGEST_STAY, LOOK_AGAIN, SHIM, SOCKETS, exec_of, socket_dir};
use crate::caller::SimHost;
use crate::touch::Thing;

/// The servers that run.
pub(super) fn shims(host: &SimHost<'_>) -> Vec<Pid> {
    let kernel = host.kernel.borrow();
    kernel.alters(Thing::Everything);
    let is_shim = |process: &&crate::process::Process| *process.name == *SHIM;
    kernel.processes.iter().filter(|(_, it)| is_shim(it)).map(|(pid, _)| Pid(pid)).collect()
}

/// How many containers, processes, jobs, children and calls a line of the shim's log tells of.
fn recollection(line: &str) -> Option<Vec<usize>> {
    let quoted = line.split_once(" msg=")?.1.rsplit_once(" runtime=")?.0;
    let text: String = serde_json::from_str(quoted).ok()?;
    let state: serde_json::Value = serde_json::from_str(&text).ok()?;
    ["/containers", "/processes", "/jobs", "/supervisor/children", "/server/calls"]
        .into_iter()
        .map(|place| Some(state.pointer(place)?.as_object()?.len()))
        .collect()
}

pub(super) fn signal_shims(host: &mut SimHost<'_>, signal: Signal) {
    for pid in shims(host) {
        let _ = host.kill(pid, signal);
    }
}

/// A server that was killed has left its sockets, and the places where it waited for consoles, which
/// nobody can know of.
fn remove_what_the_killed_left(host: &mut SimHost<'_>) {
    for directory in [Path::new(SOCKETS), Path::new("/tmp")] {
        for name in host.list(directory).unwrap_or_default() {
            let _ = wavetank::files::remove_all(host, &directory.join(name));
        }
    }
}

impl Daemon<'_> {
    /// Of `CreateTaskResponse` and `StartResponse` alike the first field is the pid.
    pub(super) fn note_pid(&mut self, name: &str, payload: &[u8]) {
        match api::StartResponse::parse_from_bytes(payload) {
            Ok(response) => drop(self.told.pids.insert(name.to_owned(), response.pid)),
            Err(error) => self.told.wrong.push(format!("the pid of {name}: {error}")),
        }
    }

    pub(super) fn note_answered_exit(&mut self, name: &str, source: &'static str, payload: &[u8]) {
        let told = match source {
            "Wait" => api::WaitResponse::parse_from_bytes(payload)
                .map(|it| asks::exit(it.exit_status, it.exited_at.as_ref())),
            "Delete" => api::DeleteResponse::parse_from_bytes(payload)
                .map(|it| asks::exit(it.exit_status, it.exited_at.as_ref())),
            _ => api::StateResponse::parse_from_bytes(payload).map(|it| {
                if it.pid != 0 {
                    self.told.pids.insert(name.to_owned(), it.pid);
                }
                let exit = asks::exit(it.exit_status, it.exited_at.as_ref());
                let is_stopped = it.status.enum_value() == Ok(api::Status::STOPPED);
                if is_stopped != exit.is_some() {
                    let wrong = format!("State of {name}: {:?} with {exit:?}", it.status);
                    self.told.wrong.push(wrong);
                }
                exit
            }),
        };
        match told {
            Ok(Some(exit)) => self.note_exit(name, source, exit),
            Ok(None) => {
                let topic = "/tasks/exit";
                let was_told =
                    self.told.events.iter().any(|it| it.topic == topic && it.name == name);
                if was_told && source != "State" {
                    self.told
                        .wrong
                        .push(format!("{source} of {name}: no end, though one was told"));
                }
            }
            Err(error) => self.told.wrong.push(format!("{source} of {name}: {error}")),
        }
    }

    /// What the shims have open, and whom they have for children. Of the sockets only as many as
    /// there are connections are expected, so they do not count here.
    pub(super) fn take_census(&mut self, host: &mut SimHost<'_>) {
        let mut found = self.count(host);
        if host.trouble().is_any() {
            self.miss_servers(host);
            if self.told.lost {
                // A server that has gone holds nothing that could be compared.
                return;
            }
            // What it could not be rid of in trouble it has to be rid of once that is over.
            if self.census.as_ref().is_some_and(|before| *before != found) {
                host.heal();
                self.rest(host, LONGEST_STAY);
                found = self.count(host);
            }
        }
        match &self.census {
            None => self.census = Some(found),
            Some(before) if *before != found => {
                self.told.wrong.push(format!("the shim has open {found:?}, before {before:?}"));
            }
            Some(_) => {}
        }
    }

    /// So long all that happens is taken.
    fn rest(&mut self, host: &mut SimHost<'_>, time: Duration) {
        let until = host.now() + time;
        while host.now() < until {
            self.turn(host, Some(time / 16));
        }
    }

    fn count(&mut self, host: &mut SimHost<'_>) -> Vec<String> {
        // All that is under way comes to its end before time goes on.
        for _ in 0..5 {
            self.turn(host, Some(LOOK_AGAIN));
        }
        let shims = shims(host);
        let kernel = host.kernel.borrow();
        let mut found = Vec::new();
        for pid in &shims {
            let descriptors = kernel.view(pid.0).descriptors.into_iter();
            let names = descriptors.map(|(_, name)| name.to_string_lossy().into_owned());
            let mut names: Vec<_> = names.filter(|name| !name.starts_with("socket:")).collect();
            // Its log is open or not, as somebody reads it or nobody does.
            let log = names.iter().position(|name| name.ends_with("/log"));
            log.map(|at| names.remove(at));
            found.extend(names);
            let children = kernel.processes.iter().filter(|(_, it)| it.parent == pid.0);
            found.extend(children.map(|(child, it)| format!("child {child} {}", it.name)));
        }
        found.sort();
        found
    }

    /// How much the shims remember, as they write it down when asked.
    pub(super) fn compare_recollection(&mut self, host: &mut SimHost<'_>) {
        let mut said = self.ask_what_is_remembered(host);
        if said.is_empty() && host.trouble().is_any() {
            // It could not be written down.
            host.heal();
            said = self.ask_what_is_remembered(host);
        }
        let found = said.lines().next().and_then(recollection);
        match (&self.recollection, found) {
            (_, None) if self.told.lost => {}
            (_, None) => self.told.wrong.push(format!("what is remembered is {said:?}")),
            (None, found) => self.recollection = found,
            (Some(before), Some(found)) if *before != found => {
                let wrong = format!("the shim remembers {found:?} things, before {before:?}");
                self.told.wrong.push(wrong);
            }
            _ => {}
        }
    }

    fn ask_what_is_remembered(&mut self, host: &mut SimHost<'_>) -> String {
        let begin = self.told.log.len();
        signal_shims(host, Signal::USR1);
        for _ in 0..5 {
            self.turn(host, Some(LOOK_AGAIN));
        }
        self.told.log.split_off(begin)
    }

    /// Waits until no server runs any more, and takes what they have sent.
    pub(super) fn see_shims_off(&mut self, host: &mut SimHost<'_>) {
        let begun = host.now();
        let limit = begun + LONGEST_STAY;
        while !shims(host).is_empty() {
            if host.now() > limit {
                self.told.wrong.push("a server goes on after all was deleted".to_owned());
                self.kill_shims(host);
            }
            if host.now() > limit + LONGEST_STAY {
                break;
            }
            let waited = host.now().saturating_sub(begun);
            self.turn(host, Some(LOOK_AGAIN.max(waited / 16)));
        }
        for _ in 0..5 {
            self.turn(host, Some(LOOK_AGAIN));
        }
    }

    pub(super) fn finish(mut self, host: &mut SimHost<'_>) -> Told {
        self.told.end = host.now();
        for thread in &mut self.threads {
            for open in &thread.open {
                self.told.wrong.push(format!("{:?} was never answered", open.ask));
            }
            if let Some(client) = thread.client.take() {
                client.close(host);
            }
        }
        if let Some(receiver) = self.receiver.take() {
            receiver.close(host);
        }
        for (name, mut streams) in std::mem::take(&mut self.streams) {
            if !streams.has_ended() {
                self.told.unended.push(name.to_owned());
            }
            streams.close(host);
            streams.read_file(host);
            let outputs = streams.outputs.map(|output| output.bytes);
            self.told.outputs.insert(name.to_owned(), outputs);
        }
        close_all(host, std::mem::take(&mut self.logs).into_iter().chain(self.held_back.take()));
        if self.flow.shim_is_killed && self.flow.is_disturbed {
            remove_what_the_killed_left(host);
        } else if !self.flow.shim_is_killed {
            // Those of a server that was lost are replaced when they are in the way.
            let is_replaced = !self.flow.is_disturbed || host.trouble().is_any() && !self.heals();
            if !self.told.lost || !is_replaced {
                self.look_for_sockets(host);
            }
            self.look_for_files(host);
        }
        self.told
    }

    /// Of a container that was deleted nothing is mounted any more.
    pub(super) fn look_for_mounts(&mut self, host: &SimHost<'_>, name: Name) {
        let bundle = Path::new(super::WORK).join("bundles").join(name);
        let list = host.kernel.borrow().mount_info();
        let place = bundle.to_string_lossy();
        if let Some(mount) = list.lines().find(|line| line.contains(&*place)) {
            self.told.wrong.push(format!("{name} was deleted, and is mounted still: {mount}"));
        }
    }

    fn look_for_sockets(&mut self, host: &mut SimHost<'_>) {
        for directory in [Path::new(SOCKETS), &socket_dir()] {
            match host.list(directory) {
                Ok(names) if names.iter().all(|it| self.has_told_of(host, &directory.join(it))) => {
                }
                Err(Errno::ENOENT) => {}
                other => {
                    self.told.wrong.push(format!("left in {}: {other:?}", directory.display()));
                }
            }
        }
    }

    /// Whether it was said in trouble of a socket that it could not be removed. Then it is replaced when
    /// it is in the way.
    fn has_told_of(&self, host: &SimHost<'_>, path: &Path) -> bool {
        host.trouble().failed && self.told.log.contains(&format!("unlink {}: ", path.display()))
    }

    /// In the bundles nothing is to be left that was only of use meanwhile.
    fn look_for_files(&mut self, host: &mut SimHost<'_>) {
        const LASTING: [&str; 13] = [
            // For people to read, after a checkpoint that failed.
            "criu-dump.log",
            "config.json",
            "fake-runc.json",
            "log",
            "address",
            "s",
            "options.json",
            "runtime",
            "exit.json",
            "deleted.json",
            "log.json",
            "rootfs",
            "work",
        ];
        let is_troubled = host.trouble().is_any();
        for process in &self.flow.plan.processes {
            if !exec_of(process.name).is_empty() {
                continue;
            }
            let bundle = Path::new(super::WORK).join("bundles").join(process.name);
            for name in host.list(&bundle).unwrap_or_default() {
                let name = name.to_string_lossy();
                // Who is killed while he writes a file leaves half of it, under another name.
                let may_be_half = process.is_disturbed && name.starts_with('.');
                if !is_troubled
                    && !LASTING.contains(&&*name)
                    && !name.ends_with(".pid")
                    && !may_be_half
                {
                    self.told.wrong.push(format!("{name} is left in the bundle {}", process.name));
                }
            }
        }
        let runtime = Path::new(super::WORK).join("runc").join(super::super::NAMESPACE);
        for name in host.list(&runtime).unwrap_or_default() {
            self.told.wrong.push(format!("the runtime still has {name:?}"));
        }
    }
}
