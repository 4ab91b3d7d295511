//! The daemon of the runtime v2 door that survives its own death: what it knows of its containers is
//! in their bundles, as containerd has it.

mod boot;
mod calls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wavetank::files::{remove_all, write_atomically};
use wavetank::host::{Fd, Host, OpenFlags, Signal, close_all};
use wavetank::manager::events::EventReceiver;
use wavetank::manager::tasks::{TASK_V2, TASK_V3, TaskClient};

use super::Flow;
use super::daemon::{LOOK_AGAIN, begin_life, execs, named, note_done, unfinished, wish};
use super::told::{Shared, Wish};
use crate::caller::SimHost;
use crate::task::launch::{Manner, Said, event_socket};
use crate::task::plan::{Ask, Name};
use crate::task::{self as v2, SHIM, WORK};

/// How long an end is waited for that must come.
const LONGEST_LIFE: Duration = Duration::from_secs(20);
/// How often a `delete` is run that was itself killed.
const TRIES: u32 = 3;

/// A shim that the daemon speaks with.
struct Link {
    client: TaskClient,
    is_dead: bool,
    /// The calls of Wait that are open, or answered and not looked at.
    waits: BTreeMap<Name, u32>,
    /// This very daemon has made the container.
    is_own: bool,
}

struct Daemon<'f> {
    flow: &'f Flow,
    told: &'f Shared,
    manner: Manner,
    service: &'static str,
    receiver: Option<EventReceiver>,
    logs: BTreeMap<Name, Fd>,
    links: BTreeMap<Name, Link>,
}

/// Why a container could not be brought further.
enum Setback {
    /// Its shim is gone.
    Dead,
    /// The shim says no.
    Refused(String),
}

pub(super) fn play(host: &mut SimHost<'_>, flow: &Flow, told: &Shared) -> i32 {
    let manner = if host.choose(2) == 0 { Manner::Messages } else { Manner::Plain };
    let service = if host.choose(2) == 0 { TASK_V2 } else { TASK_V3 };
    let (logs, links) = (BTreeMap::new(), BTreeMap::new());
    let mut daemon = Daemon { flow, told, manner, service, receiver: None, logs, links };
    if host.signals(&[Signal::PIPE]).is_err() || !daemon.listen(host) {
        return 1;
    }
    daemon.load_all(host);
    daemon.work(host);
    daemon.leave(host);
    0
}

/// How many servers run.
fn servers(host: &SimHost<'_>) -> usize {
    let kernel = host.kernel.borrow();
    kernel.processes.values().filter(|it| *it.name == *SHIM && it.part == "server").count()
}

/// The bundle of a container.
fn bundle(container: &str) -> PathBuf {
    Path::new(WORK).join("bundles").join(container)
}

impl Daemon<'_> {
    fn wrong(&self, what: String) {
        self.told.borrow_mut().wrong.push(what);
    }

    /// Brings every container to its end, however often it has to be begun.
    fn work(&mut self, host: &mut SimHost<'_>) {
        loop {
            let left = unfinished(host, self.flow);
            if left.is_empty() {
                return;
            }
            for container in &left {
                if !self.links.contains_key(container) {
                    if !begin_life(host, self.told, container) {
                        return;
                    }
                    if let Err(setback) = self.make(host, container) {
                        self.set_back(host, container, &setback);
                    }
                }
            }
            for container in &left {
                if !self.links.contains_key(container) {
                    continue;
                }
                match self.finish(host, container) {
                    Ok(()) => note_done(host, self.told, container),
                    Err(setback) => self.set_back(host, container, &setback),
                }
            }
        }
    }

    /// A bundle, a shim, a container in it, started.
    fn make(&mut self, host: &mut SimHost<'_>, container: Name) -> Result<(), Setback> {
        self.make_bundle(host, container)?;
        let said = self.launch(host, container, "start");
        let Ok(Said::Address(address)) = said else {
            return Err(Setback::Refused(format!("no shim for {container}: {:?}", said.err())));
        };
        if self.manner == Manner::Messages {
            // What containerd 2 keeps of the answer.
            let _ =
                write_atomically(host, &bundle(container).join("bootstrap"), address.as_bytes());
        }
        if !self.connect(host, container, &address, true) {
            return Err(Setback::Dead);
        }
        let created = self.ask(host, container, Ask::Create(container))?;
        self.note_pid(container, &created);
        self.begin_wait(host, container, container);
        let started = self.ask(host, container, Ask::Start(container))?;
        self.note_started(container, &started);
        Ok(())
    }

    fn make_bundle(&mut self, host: &mut SimHost<'_>, container: Name) -> Result<(), Setback> {
        let path = bundle(container);
        let process = named(self.flow, container);
        let config = process.map(|init| v2::config(&self.flow.plan, init)).unwrap_or_default();
        let script = v2::script(&serde_json::json!({}));
        let made = host
            .mkdir(&path, 0o700)
            .and_then(|()| host.mkfifo(&path.join("log"), 0o700))
            .map_err(|errno| format!("{}: {errno}", path.display()));
        let written = made.and_then(|()| {
            write_atomically(host, &path.join("config.json"), config.as_bytes())
                .and_then(|()| {
                    write_atomically(host, &path.join("fake-runc.json"), script.as_bytes())
                })
                .map_err(|error| error.to_string())
        });
        self.open_log(host, container);
        written.map_err(Setback::Refused)
    }

    fn open_log(&mut self, host: &mut SimHost<'_>, container: Name) {
        let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::NONBLOCK;
        if let Ok(fd) = host.open(&bundle(container).join("log"), flags, 0) {
            close_all(host, self.logs.insert(container, fd));
        }
    }

    /// What remains of a container's life, up to its shim's end.
    fn finish(&mut self, host: &mut SimHost<'_>, container: Name) -> Result<(), Setback> {
        if self.links.get(container).is_some_and(|link| link.is_own) {
            for exec in execs(self.flow, container) {
                self.run_exec(host, container, exec.name)?;
            }
            if self.flow.pauses {
                self.ask(host, container, Ask::Pause(container))?;
                self.ask(host, container, Ask::Resume(container))?;
            }
        }
        wish(host, self.told, Wish::EndInput(container));
        self.ask_or(host, container, Ask::CloseIo(container))?.ok();
        self.await_end(host, container, container)?;
        let state = self.ask(host, container, Ask::State(container))?;
        self.note_exit(container, "State", &state);
        self.delete(host, container)?;
        self.dismiss(host, container)
    }

    /// An attempt that failed is taken up again by the next.
    fn delete(&mut self, host: &mut SimHost<'_>, container: Name) -> Result<(), Setback> {
        let mut answer = self.ask_or(host, container, Ask::Delete(container))?;
        if answer.is_err() {
            answer = self.ask_or(host, container, Ask::Delete(container))?;
        }
        let deleted = answer.map_err(Setback::Refused)?;
        self.note_exit(container, "Delete", &deleted);
        Ok(())
    }

    fn run_exec(
        &mut self,
        host: &mut SimHost<'_>,
        container: Name,
        exec: Name,
    ) -> Result<(), Setback> {
        self.ask(host, container, Ask::Exec(exec))?;
        self.begin_wait(host, container, exec);
        let started = self.ask(host, container, Ask::Start(exec))?;
        self.note_started(exec, &started);
        self.await_end(host, container, exec)?;
        let deleted = self.ask(host, container, Ask::Delete(exec))?;
        self.note_exit(exec, "Delete", &deleted);
        Ok(())
    }

    /// Tells a shim that its container is gone, waits until it goes itself if it was the last one,
    /// and has the bundle cleaned up as after every container.
    fn dismiss(&mut self, host: &mut SimHost<'_>, container: Name) -> Result<(), Setback> {
        // A shim that goes need not have answered.
        let _ = self.ask_or(host, container, Ask::Shutdown(container));
        let is_shared = self.shares_its_shim(host, container);
        let until = host.now() + LONGEST_LIFE;
        while !is_shared && !self.links.get(container).is_none_or(|link| link.is_dead) {
            if host.now() > until {
                self.wrong(format!("the shim of {container} does not go"));
                break;
            }
            self.turn(host, Some(LOOK_AGAIN));
        }
        self.settle(host);
        self.forget(host, container, false);
        Ok(())
    }

    /// Whether others may be in its shim.
    fn shares_its_shim(&self, host: &mut SimHost<'_>, container: Name) -> bool {
        let inits = self.flow.plan.processes.iter().map(|process| process.name);
        let mut others = inits.filter(|name| *name != container);
        !self.flow.plan.group.is_empty() && others.any(|name| host.stat(&bundle(name)).is_ok())
    }

    /// Something is not as it was to be: what is left of the container is cleaned up, as containerd
    /// does when a shim's connection ends.
    fn set_back(&mut self, host: &mut SimHost<'_>, container: Name, setback: &Setback) {
        if let Setback::Refused(why) = setback {
            if self.flow.faults.is_empty() {
                self.wrong(why.clone());
            }
            if self.links.contains_key(container) && self.end(host, container).is_ok() {
                return;
            }
        }
        self.settle(host);
        self.forget(host, container, true);
    }

    /// Ends a container that went wrong whose shim is there, and tells the shim to go.
    fn end(&mut self, host: &mut SimHost<'_>, container: Name) -> Result<(), Setback> {
        self.ask_or(host, container, Ask::Kill(container, 9))?.ok();
        let waits =
            self.links.get(container).is_some_and(|link| link.waits.contains_key(container));
        if waits {
            self.await_end(host, container, container)?;
        }
        for _ in 0..TRIES {
            if self.ask_or(host, container, Ask::Delete(container))?.is_ok() {
                break;
            }
        }
        self.dismiss(host, container)
    }

    /// Runs the shim's `delete`, and removes the bundle. Nothing of the container is left then.
    fn forget(&mut self, host: &mut SimHost<'_>, container: Name, is_lost: bool) {
        if let Some(link) = self.links.remove(container) {
            link.client.close(host);
        }
        self.told.borrow_mut().life(container).shim_lost |= is_lost;
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.launch(host, container, "delete") {
                Ok(Said::Deleted(exit)) => {
                    self.note_deletion(container, exit);
                    last.clear();
                    break;
                }
                Ok(Said::Address(address)) => last = format!("delete says {address}"),
                Err(error) => last = error,
            }
        }
        if !last.is_empty() {
            self.wrong(last);
        }
        close_all(host, self.logs.remove(container));
        let hidden = bundle(&format!(".{container}"));
        let renamed = host.rename(&bundle(container), &hidden);
        if let Err(errno) = renamed {
            self.wrong(format!("rename the bundle of {container}: {errno}"));
        }
        if let Err(error) = remove_all(host, &hidden) {
            self.wrong(error.to_string());
        }
    }

    fn listen(&mut self, host: &mut SimHost<'_>) -> bool {
        let _ = host.unlink(&event_socket());
        match EventReceiver::listen(host, &event_socket()) {
            Ok(receiver) => self.receiver = Some(receiver),
            Err(error) => self.wrong(error.to_string()),
        }
        self.receiver.is_some()
    }

    /// A daemon that has nothing more to do still takes events: those that a shim has left to tell.
    fn leave(mut self, host: &mut SimHost<'_>) {
        let until = host.now() + LONGEST_LIFE;
        while servers(host) > 0 && host.now() < until {
            self.turn(host, Some(LOOK_AGAIN * 10));
        }
        self.settle(host);
        if let Some(receiver) = self.receiver.take() {
            receiver.close(host);
        }
        for link in self.links.into_values() {
            link.client.close(host);
        }
        close_all(host, self.logs.into_values());
    }
}
