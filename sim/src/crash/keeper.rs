//! Starts the daemon again whenever it was killed, and is the client of its containers meanwhile: a
//! client's fifos outlive the daemon.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wavetank::files::remove_all;
use wavetank::host::{
    Command, Errno, ExitStatus, Fd, Host, Pid, PollFd, Ready, Signal, WaitFor, close_all,
};

use super::told::{Shared, Wish};
use super::{DAEMON, Door, Flow, KEEPER};
use crate::caller::SimHost;
use crate::kernel::INIT;
use crate::process::Process;
use crate::task::plan::{Name, container_of};
use crate::task::streams::{Streams, path};
use crate::task::{NAMESPACE, SOCKETS, WORK};

/// A service manager's rest before it starts again what has died.
const REST: Duration = Duration::from_millis(100);
/// How long those that are left may take to go, and how often one looks.
const LONGEST_STAY: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// More daemons there never are: one dies of each fault.
const DAEMONS: u32 = 5;

struct Keeper<'f> {
    flow: &'f Flow,
    told: &'f Shared,
    signals: Fd,
    streams: BTreeMap<Name, Streams>,
    daemon: Option<Pid>,
    /// When the next daemon is started.
    restart: Option<Duration>,
    is_over: bool,
}

pub(super) fn keep(host: &mut SimHost<'_>, flow: &Flow, told: &Shared) -> i32 {
    let Ok(signals) = host.signals(&[Signal::CHLD, Signal::USR1, Signal::PIPE]) else { return 1 };
    let streams = BTreeMap::new();
    let restart = Some(host.now());
    let mut keeper = Keeper { flow, told, signals, streams, daemon: None, restart, is_over: false };
    while !keeper.is_over {
        keeper.turn(host, None);
    }
    keeper.finish(host)
}

impl Keeper<'_> {
    fn wrong(&self, what: String) {
        self.told.borrow_mut().wrong.push(what);
    }

    fn turn(&mut self, host: &mut SimHost<'_>, limit: Option<Duration>) {
        if self.restart.is_some_and(|time| time <= host.now()) {
            self.restart = None;
            self.start_daemon(host);
        }
        let mut questions = vec![PollFd::new(self.signals, Ready::READ)];
        self.streams.values().for_each(|streams| streams.ask(&mut questions));
        let rest = self.restart.map(|time| time.saturating_sub(host.now()));
        let timeout = [limit, rest].into_iter().flatten().min();
        let _ = host.poll(&mut questions, timeout);
        while host.read_signal(self.signals).is_ok() {}
        self.grant_wishes(host);
        for streams in self.streams.values_mut() {
            streams.turn(host, &questions);
        }
        self.note_outputs();
        self.look_after_daemon(host);
    }

    fn start_daemon(&mut self, host: &mut SimHost<'_>) {
        let daemons = self.told.borrow().daemons;
        let command = Command {
            program: Path::new("/bin").join(DAEMON),
            argv: vec![DAEMON.into()],
            ..Command::default()
        };
        match host.spawn(&command) {
            Ok(pid) if daemons < DAEMONS => {
                self.daemon = Some(pid);
                self.told.borrow_mut().daemons = daemons + 1;
            }
            other => {
                self.wrong(format!("after {daemons} daemons the next: {other:?}"));
                self.is_over = true;
            }
        }
    }

    fn look_after_daemon(&mut self, host: &mut SimHost<'_>) {
        let Some(pid) = self.daemon else { return };
        let Ok(Some(exit)) = host.wait(WaitFor::Pid(pid), false) else { return };
        self.daemon = None;
        match exit.status {
            ExitStatus::Code(0) => self.is_over = true,
            ExitStatus::Signal(Signal::KILL) => {
                let rest = if host.choose(2) == 0 { REST } else { Duration::ZERO };
                self.restart = Some(host.now() + rest);
            }
            status => {
                self.wrong(format!("the daemon ended with {status}"));
                self.is_over = true;
            }
        }
    }

    fn grant_wishes(&mut self, host: &mut SimHost<'_>) {
        let wishes = std::mem::take(&mut self.told.borrow_mut().wishes);
        for wish in wishes {
            match wish {
                Wish::Streams(container) => self.make_streams(host, container),
                Wish::EndInput(container) => {
                    if let Some(streams) = self.streams.get_mut(container) {
                        streams.end_input();
                        // There may be nothing to wait for any more.
                        streams.turn(host, &[]);
                    }
                }
            }
        }
    }

    fn make_streams(&mut self, host: &mut SimHost<'_>, container: Name) {
        for process in &self.flow.plan.processes {
            if container_of(process.name) != container {
                continue;
            }
            if let Some(mut old) = self.streams.remove(process.name) {
                old.close(host);
            }
            for stream in ["stdin", "stdout", "stderr"] {
                let _ = host.unlink(&path(process.name, stream));
            }
            match Streams::make(host, process) {
                Ok(mut streams) => {
                    streams.open(host, process.terminal);
                    self.streams.insert(process.name, streams);
                }
                Err(errno) => self.wrong(format!("mkfifo: {errno}")),
            }
        }
    }

    fn note_outputs(&self) {
        let mut told = self.told.borrow_mut();
        for (name, streams) in &self.streams {
            let outputs = streams.outputs.each_ref().map(|output| output.bytes.clone());
            told.life(name).outputs.insert(name, outputs);
        }
    }

    /// The daemon has done its work. Whoever is still there gets time to go, and is found out.
    fn finish(mut self, host: &mut SimHost<'_>) -> i32 {
        let end = host.now();
        while host.now() < end + LONGEST_STAY && !others(host).is_empty() {
            self.turn(host, Some(LOOK_AGAIN));
        }
        for _ in 0..3 {
            self.turn(host, Some(Duration::ZERO));
        }
        let lost = others(host);
        for (pid, name) in &lost {
            self.told.borrow_mut().lost.push(format!("{pid} {name}"));
            let _ = host.kill(*pid, Signal::KILL);
        }
        for directory in self.places() {
            match host.list(&directory) {
                Ok(names) => {
                    let left = |name| format!("{}", directory.join(name).display());
                    self.told.borrow_mut().left.extend(names.into_iter().map(left));
                }
                Err(Errno::ENOENT) => {}
                Err(errno) => self.wrong(format!("list {}: {errno}", directory.display())),
            }
        }
        self.streams.values_mut().for_each(|streams| streams.close(host));
        close_all(host, [self.signals]);
        self.told.borrow_mut().end = Some(end);
        if let Err(error) = remove_all(host, Path::new(WORK)) {
            self.wrong(error.to_string());
        }
        0
    }

    /// Where nothing may be left.
    fn places(&self) -> Vec<PathBuf> {
        let work = Path::new(WORK);
        match self.flow.door {
            Door::Task => vec![
                PathBuf::from(SOCKETS),
                work.join("s"),
                work.join("bundles"),
                work.join("runc").join(NAMESPACE),
            ],
            Door::Classic(_) => vec![work.join("state"), work.join("runtime")],
        }
    }
}

/// Everybody but init and the keeper.
fn others(host: &SimHost<'_>) -> Vec<(Pid, String)> {
    let kernel = host.kernel.borrow();
    let is_other = |(pid, process): &(i32, &Process)| *pid != INIT && *process.name != *KEEPER;
    let named = |(pid, process): (i32, &Process)| {
        (Pid(pid), format!("{} {}", process.name, process.part).trim_end().to_owned())
    };
    kernel.processes.iter().filter(is_other).map(named).collect()
}
