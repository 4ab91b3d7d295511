//! The daemon of the classic door that survives its own death: what it knows of its processes is in
//! their state directories, as containerd 0.2 has it.
//!
//! In one thing it is wiser than that daemon: a shim of which there is no pid yet gets the time that
//! a start may take, and is then given up instead of being left as it is.

mod process;

use std::path::{Path, PathBuf};
use std::time::Duration;

use wavetank::files::remove_all;
use wavetank::host::{Command, Host, PollFd, WaitFor, close_all};
use wavetank::oci::Dialect;
use wavetank::stdio::open_null;

use super::Flow;
use super::daemon::{LOOK_AGAIN, begin_life, execs, named, note_done, unfinished, wish};
use super::told::{Shared, Wish};
use crate::caller::SimHost;
use crate::task::plan::{Name, exec_of};
use crate::task::{self as v2, WORK};
use process::{Attached, load, make};

/// How long an end is waited for that must come.
const LONGEST_LIFE: Duration = Duration::from_secs(20);
/// Who has looked in vain looks again after twice the time, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

struct Daemon<'f> {
    flow: &'f Flow,
    told: &'f Shared,
    dialect: Dialect,
    /// The processes, the inits before their execs.
    attached: Vec<Attached>,
}

pub(super) fn play(host: &mut SimHost<'_>, flow: &Flow, told: &Shared, dialect: Dialect) -> i32 {
    let mut daemon = Daemon { flow, told, dialect, attached: Vec::new() };
    daemon.restore(host);
    daemon.work(host);
    0
}

fn bundle(container: &str) -> PathBuf {
    Path::new(WORK).join("bundles").join(container)
}

fn state(container: &str) -> PathBuf {
    Path::new(WORK).join("state").join(container)
}

impl Daemon<'_> {
    fn wrong(&self, what: String) {
        self.told.borrow_mut().wrong.push(what);
    }

    /// Every state directory is looked at.
    fn restore(&mut self, host: &mut SimHost<'_>) {
        for process in &self.flow.plan.processes {
            if let Some(attached) = load(host, process.name) {
                self.attached.push(attached);
            }
        }
        let root = Path::new(WORK).join("state");
        for container in host.list(&root).unwrap_or_default() {
            let name = container.to_string_lossy().into_owned();
            let Some(container) = named(self.flow, &name).map(|it| it.name) else {
                // Its removal was begun.
                if let Err(error) = remove_all(host, &root.join(&name)) {
                    self.wrong(error.to_string());
                }
                continue;
            };
            if !self.attached.iter().any(|it| it.name == container) {
                // It was being made, or removed: there is no process that one could ask.
                self.remove(host, container);
            }
        }
    }

    fn work(&mut self, host: &mut SimHost<'_>) {
        loop {
            let left = unfinished(host, self.flow);
            let Some(container) = left.first().copied() else { return };
            let is_here = self.attached.iter().any(|it| it.name == container);
            if !is_here {
                let may_begin = begin_life(host, self.told, container);
                if !may_begin || !self.begin(host, container) {
                    return;
                }
            }
            if self.see_through(host, container) {
                note_done(host, self.told, container);
            }
        }
    }

    /// Has a container made, and its execs as soon as it runs; no if not even a shim can be started.
    fn begin(&mut self, host: &mut SimHost<'_>, container: Name) -> bool {
        if let Err(error) = self.make_bundle(host, container) {
            self.wrong(error);
            return false;
        }
        if !self.start(host, container) {
            return false;
        }
        if !self.await_pid(host, container) {
            return true;
        }
        if self.dialect == Dialect::Create {
            self.runtime(host, &["start", container]);
        }
        self.told.borrow_mut().life(container).started.insert(container);
        for exec in execs(self.flow, container) {
            if !self.start(host, exec.name) {
                return false;
            }
            if self.await_pid(host, exec.name) {
                self.told.borrow_mut().life(container).started.insert(exec.name);
            }
        }
        true
    }

    fn make_bundle(&mut self, host: &mut SimHost<'_>, container: Name) -> Result<(), String> {
        let path = bundle(container);
        let config = named(self.flow, container).map(|init| v2::config(&self.flow.plan, init));
        let script = v2::script(&serde_json::json!({}));
        remove_all(host, &path).map_err(|error| error.to_string())?;
        host.mkdir(&path, 0o700).map_err(|errno| format!("{}: {errno}", path.display()))?;
        for (name, text) in
            [("config.json", config.unwrap_or_default()), ("fake-runc.json", script)]
        {
            wavetank::files::write_atomically(host, &path.join(name), text.as_bytes())
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn start(&mut self, host: &mut SimHost<'_>, name: Name) -> bool {
        let Some(process) = named(self.flow, name) else { return false };
        match make(host, process, self.dialect) {
            Ok(attached) => self.attached.push(attached),
            Err(error) => self.wrong(error.to_string()),
        }
        self.attached.iter().any(|it| it.name == name)
    }

    fn place(&self, name: Name) -> Option<usize> {
        self.attached.iter().position(|it| it.name == name)
    }

    /// Waits until a process is there, or will not be.
    fn await_pid(&mut self, host: &mut SimHost<'_>, name: Name) -> bool {
        let until = host.now() + process::START_TIMEOUT;
        let mut pause = LOOK_AGAIN;
        loop {
            let Some(place) = self.place(name) else { return false };
            if let Some(pid) = self.attached[place].pid(host) {
                self.told.borrow_mut().life(name).pids.insert(name, pid.0.unsigned_abs());
                return true;
            }
            if self.attached[place].hung_up || host.now() > until {
                return false;
            }
            self.turn(host, &mut pause);
        }
    }

    fn turn(&mut self, host: &mut SimHost<'_>, pause: &mut Duration) {
        let mut questions: Vec<PollFd> = Vec::new();
        for attached in &self.attached {
            attached.ask(&mut questions);
        }
        let _ = host.poll(&mut questions, Some(*pause));
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        for attached in &mut self.attached {
            attached.turn(&questions);
        }
        while let Ok(Some(ended)) = host.wait(WaitFor::Any, false) {
            // One that was killed early has never opened the fifo that tells of its end.
            for attached in self.attached.iter_mut().filter(|it| it.shim == Some(ended.pid)) {
                attached.hung_up = true;
            }
        }
    }

    /// Waits for the ends of all processes of a container, tells them, the init's last, and removes
    /// it. Whether it has ever run.
    fn see_through(&mut self, host: &mut SimHost<'_>, container: Name) -> bool {
        self.await_pid(host, container);
        self.start_what_waits(host, container);
        let names: Vec<Name> = self.attached.iter().map(|it| it.name).collect();
        for name in names.iter().filter(|name| !exec_of(name).is_empty()) {
            self.await_end(host, name);
        }
        wish(host, self.told, Wish::EndInput(container));
        if let Some(place) = self.place(container) {
            self.attached[place].close_stdin(host);
        }
        self.await_end(host, container);
        self.remove(host, container);
        for attached in std::mem::take(&mut self.attached) {
            attached.close(host);
        }
        let mut told = self.told.borrow_mut();
        let life = told.life(container);
        life.started.contains(container) && !life.shim_lost
    }

    /// Since 0.2.3 it is the daemon who starts what the shim has created.
    fn start_what_waits(&mut self, host: &mut SimHost<'_>, container: Name) {
        let place = self.place(container);
        let has_pid = place.is_some_and(|place| self.attached[place].pid(host).is_some());
        let gate = Path::new(WORK).join("runtime").join(container).join("exec.fifo");
        if has_pid && self.dialect == Dialect::Create && host.stat(&gate).is_ok() {
            self.runtime(host, &["start", container]);
        }
        if has_pid {
            self.told.borrow_mut().life(container).started.insert(container);
        }
    }

    fn await_end(&mut self, host: &mut SimHost<'_>, name: Name) {
        let until = host.now() + LONGEST_LIFE;
        let mut pause = LOOK_AGAIN;
        loop {
            let Some(place) = self.place(name) else { return };
            if self.attached[place].hung_up {
                break;
            }
            if host.now() > until {
                self.wrong(format!("{name} does not end within {LONGEST_LIFE:?}"));
                return;
            }
            self.turn(host, &mut pause);
        }
        let Some(place) = self.place(name) else { return };
        let pid = self.attached[place].pid(host);
        if let Some(pid) = pid {
            self.told.borrow_mut().life(name).pids.insert(name, pid.0.unsigned_abs());
        }
        match self.attached[place].status(host) {
            Some(status) => self.note(name, "exitStatus", status),
            None => self.shim_is_gone(host, name, pid),
        }
    }

    fn note(&self, name: Name, source: &'static str, status: u32) {
        let exit = crate::task::plan::Exit { status, at: (0, 0) };
        self.told.borrow_mut().exit(name, source, exit);
    }

    /// A shim that hung up without a status was killed, or could not make its process. What it has
    /// left of one is killed.
    fn shim_is_gone(
        &mut self,
        host: &mut SimHost<'_>,
        name: Name,
        pid: Option<wavetank::host::Pid>,
    ) {
        let Some(pid) = pid else { return };
        self.told.borrow_mut().life(name).shim_lost = true;
        let was_there = host.kill(pid, wavetank::host::Signal::KILL).is_ok();
        while host.kill(pid, wavetank::host::Signal(0)).is_ok() {
            let _ = host.poll(&mut [], Some(LOOK_AGAIN));
        }
        self.note(name, "the daemon", if was_there { 137 } else { 255 });
    }

    /// Nothing is left of a container then.
    fn remove(&mut self, host: &mut SimHost<'_>, container: Name) {
        self.runtime(host, &["delete", "--force", container]);
        let hidden = state(&format!(".{container}"));
        let _ = host.rename(&state(container), &hidden);
        for path in [hidden, bundle(container)] {
            if let Err(error) = remove_all(host, &path) {
                self.wrong(error.to_string());
            }
        }
    }

    fn runtime(&mut self, host: &mut SimHost<'_>, words: &[&str]) {
        let Ok(null) = open_null(host) else { return };
        let root = format!("--root={WORK}/runtime");
        let argv = ["runc", &root].into_iter().chain(words.iter().copied());
        let command = Command {
            program: "/bin/runc".into(),
            argv: argv.map(Into::into).collect(),
            fds: vec![null; 3],
            ..Command::default()
        };
        let spawned = host.spawn(&command);
        close_all(host, [null]);
        match spawned.map(|pid| host.wait(WaitFor::Pid(pid), true)) {
            Ok(Ok(Some(_))) => {}
            other => self.wrong(format!("runc {words:?}: {other:?}")),
        }
    }
}
