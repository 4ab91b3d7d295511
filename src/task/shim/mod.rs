//! The server: one loop over what is ready, and what follows from it.

mod answers;
mod calls;
mod create;
mod delete;
mod exits;
mod failure;
mod jobs;
mod log;
mod make;
mod orders;
mod requests;
mod state;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::calls::Server;
use self::log::{Level, Log};
use self::state::{Container, Job, JobKey, Process, ProcessKey, Role};
use super::arguments::Arguments;
use super::events::Publisher;
use super::socket::{self, Listener};
use crate::Error;
use crate::host::{
    Bug, Errno, ExitStatus, Fd, Host, Mark, PollFd, Ready, Signal, close_all, variable,
};
use crate::oci::parse_duration;
use crate::stdio::open_null;
use crate::supervisor::{Ended, Supervisor};

/// The descriptor at which `start` leaves the listening socket.
const LISTENER: Fd = Fd(3);
/// How often in a row the kernel may have no memory for a `poll(2)`.
const POLL_PATIENCE: u32 = 1000;
/// How long output that is on its way is waited for once a process is to be removed, unless the
/// environment says otherwise.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a shim goes on to which nobody has come: a `start` that is killed has told nobody of it.
const UNASKED: Duration = Duration::from_secs(60);
/// How long a shim that ends waits for the daemon to take the last events.
const FAREWELL: Duration = Duration::from_secs(5);

/// All that a shim knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Shim {
    namespace: String,
    /// The environment of runtimes and loggers. It may hold secrets, and can be had anew.
    #[serde(skip)]
    env: Vec<OsString>,
    /// `WAVETANK_DRAIN_TIMEOUT`: how long after a process's end its output is waited for, if
    /// others still have it open or nobody reads it. Without it: until the process is removed, and
    /// then for [`DRAIN_TIMEOUT`].
    drain: Option<Duration>,
    log: Log,
    signals: Fd,
    /// `/dev/null` for children, open in time: later there may be no descriptor to be had.
    null: Fd,
    /// The socket's file, removed at the end.
    socket: PathBuf,
    server: Server,
    events: Publisher,
    supervisor: Supervisor<Role>,
    containers: BTreeMap<String, Container>,
    processes: BTreeMap<ProcessKey, Process>,
    jobs: BTreeMap<JobKey, Job>,
    last_key: u32,
    /// When it ends, if nobody has come and asked anything by then.
    unasked_until: Option<Duration>,
    /// It was told to go, and has only containers that will not be kept.
    is_dismissed: bool,
    /// When the shim ends, whether all has been told or not.
    ends: Option<Duration>,
}

/// Serves until a client or a signal ends it.
///
/// # Errors
/// Why there is nothing to serve.
pub(super) fn serve<H: Host>(host: &mut H, arguments: &Arguments) -> Result<(), Error> {
    let mut shim = Shim::start(host, arguments)?;
    let served = shim.run(host);
    if let Err(error) = &served {
        shim.log.write(host, Level::Error, &error.to_string());
    }
    shim.close(host);
    served
}

/// The socket that `start` has left us, or one at the path that the command line gives.
fn listener<H: Host>(host: &mut H, path: &str) -> Result<Fd, Error> {
    if path.is_empty() {
        return Ok(LISTENER);
    }
    match socket::listen(host, Path::new(path))? {
        Listener::Ours(fd) => Ok(fd),
        Listener::Theirs => Err(Error::invalid(path, "somebody listens there already")),
    }
}

fn drain_timeout(env: &[OsString]) -> Result<Option<Duration>, Error> {
    let name = "WAVETANK_DRAIN_TIMEOUT";
    let Some(text) = variable(env, name).filter(|text| !text.is_empty()) else { return Ok(None) };
    let text = text.to_string_lossy();
    let reason = || Error::invalid(name, format_args!("{text:?} is no time, as 10s or 500ms"));
    parse_duration(&text).map(Some).ok_or_else(reason)
}

impl Shim {
    fn start<H: Host>(host: &mut H, arguments: &Arguments) -> Result<Shim, Error> {
        let signals = host
            .signals(&Signal::catchable())
            .map_err(|errno| Error::system("signalfd", "for all signals", errno))?;
        host.become_subreaper()
            .map_err(|errno| Error::system("prctl", "PR_SET_CHILD_SUBREAPER", errno))?;
        let bundle =
            host.current_dir().map_err(|errno| Error::system("getcwd", "the bundle", errno))?;
        let listener = listener(host, &arguments.socket)?;
        let socket = host
            .socket_path(listener)
            .and_then(|path| host.set_nonblocking(listener, true).map(|()| path))
            .map_err(|errno| Error::system("use", "the socket to listen at", errno))?;
        let mut env = host.environment();
        let drain = drain_timeout(&env)?;
        let events = variable(&env, "TTRPC_ADDRESS").map(PathBuf::from);
        // A runtime that found it would tell our service manager of a readiness that is not ours.
        env.retain(|entry| variable(std::slice::from_ref(entry), "NOTIFY_SOCKET").is_none());
        let user = host.user();
        Ok(Shim {
            namespace: arguments.namespace.clone(),
            drain,
            log: Log::open(host, &bundle, arguments.debug),
            signals,
            null: open_null(host)?,
            socket,
            server: Server::new(listener, user),
            events: Publisher::new(events, arguments.namespace.clone()),
            env,
            supervisor: Supervisor::default(),
            containers: BTreeMap::new(),
            processes: BTreeMap::new(),
            jobs: BTreeMap::new(),
            last_key: 0,
            unasked_until: Some(host.now() + UNASKED),
            is_dismissed: false,
            ends: None,
        })
    }

    fn run<H: Host>(&mut self, host: &mut H) -> Result<(), Error> {
        let mut questions = Vec::new();
        let mut patience = POLL_PATIENCE;
        while !self.is_over(host) {
            match self.turn(host, &mut questions) {
                Ok(()) => patience = POLL_PATIENCE,
                Err(Errno::ENOMEM) if patience > 0 => {
                    host.mark(Mark::PollWithoutMemory);
                    patience -= 1;
                }
                Err(errno) => return Err(Error::system("poll", "the shim's descriptors", errno)),
            }
        }
        Ok(())
    }

    /// Waits for something to happen, and does what follows from it.
    fn turn<H: Host>(&mut self, host: &mut H, questions: &mut Vec<PollFd>) -> Result<(), Errno> {
        questions.clear();
        self.ask(questions);
        let due = self.due();
        let timeout = due.map(|due| due.saturating_sub(host.now()));
        match host.poll(questions, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        let now = host.now();
        questions.retain(|answer| !answer.ready.is_empty());
        if questions.iter().any(|answer| answer.fd == self.signals) {
            self.take_signals(host);
        }
        for role in self.supervisor.kill_overdue(host, now) {
            host.mark(Mark::OverdueKilled);
            self.log.write(host, Level::Warning, &format!("killed for not ending: {role:?}"));
        }
        self.turn_streams(host, questions, now);
        if host.planted(Bug::ExitWaitsForOutput) {
            self.settle_ends(host);
        }
        self.watch_memory(host, questions);
        let mut troubles = Vec::new();
        let came = self.server.turn(host, questions, now, &mut troubles);
        self.end_if_unasked(host, now, !came.is_empty());
        for (call, incoming) in came {
            self.request(host, call, incoming);
        }
        self.look_at_jobs(host, now);
        troubles.extend(self.events.turn(host, questions, now));
        for trouble in troubles {
            self.log.write(host, Level::Warning, &trouble.to_string());
        }
        self.server.flush_all(host);
        Ok(())
    }

    fn ask(&self, questions: &mut Vec<PollFd>) {
        questions.push(PollFd::new(self.signals, Ready::READ));
        self.server.ask(questions);
        self.events.ask(questions, self.ends.is_some());
        for process in self.processes.values() {
            process.stdio.ask(questions);
        }
        for container in self.containers.values() {
            if let Some(oom) = &container.oom {
                oom.ask(questions);
            }
        }
    }

    fn due(&self) -> Option<Duration> {
        let streams = self.processes.values().filter_map(|process| process.stdio.due());
        let jobs = self.jobs.values().filter_map(|job| job.deadline);
        let others = [
            self.server.due(),
            self.events.due(),
            self.supervisor.due(),
            self.unasked_until,
            self.ends,
        ];
        let ooms = self.containers.values().filter_map(|it| it.oom.as_ref()?.due());
        streams.chain(jobs).chain(ooms).chain(others.into_iter().flatten()).min()
    }

    fn take_signals<H: Host>(&mut self, host: &mut H) {
        loop {
            match host.read_signal(self.signals) {
                Ok(Signal::CHLD) => {}
                Ok(Signal::TERM | Signal::INT) if !host.planted(Bug::TermIgnored) => {
                    self.end(host);
                }
                Ok(Signal::USR1) => self.write_down(host),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
        if self.ends.is_some() && host.planted(Bug::EndingIsDeaf) {
            return;
        }
        // Once a runtime has made its process, those can be reaped that might have been it.
        loop {
            let mut ended = self.supervisor.reap(host);
            self.lose_ends(host, &mut ended);
            if ended.is_empty() {
                break;
            }
            // A container's end comes before what was done because of it.
            ended.sort_by_key(|ended| !matches!(ended.role, Role::Process(_)));
            if host.planted(Bug::ExitsDropped) {
                ended.truncate(1);
            }
            for Ended { role, status, .. } in ended {
                self.child_ended(host, role, status);
            }
        }
        self.settle_ends(host);
    }

    /// [`Bug::ExitLostWhileBusy`], [`Bug::ExitsBehindRequests`].
    fn lose_ends<H: Host>(&self, host: &H, ended: &mut Vec<Ended<Role>>) {
        let is_process = |it: &Ended<Role>| matches!(it.role, Role::Process(_));
        if self.jobs.is_empty() || !ended.iter().any(is_process) {
            return;
        }
        if host.planted(Bug::ExitsBehindRequests) {
            ended.clear();
        }
        if host.planted(Bug::ExitLostWhileBusy) {
            ended.retain(|it| !is_process(it));
        }
    }

    /// [`Bug::ExitOfANumber`].
    fn first_of_that_number(&self, key: ProcessKey) -> Option<ProcessKey> {
        let pid = self.processes.get(&key)?.pid;
        self.processes.iter().find(|(_, process)| process.pid == pid).map(|(key, _)| *key)
    }

    fn child_ended<H: Host>(&mut self, host: &mut H, role: Role, status: ExitStatus) {
        match role {
            Role::Process(key) if host.planted(Bug::ExitOfANumber) => {
                let key = self.first_of_that_number(key).unwrap_or(key);
                self.process_ended(host, key, status);
            }
            Role::Process(key) => self.process_ended(host, key, status),
            Role::Worker(key) => self.worker_ended(host, key, status),
            Role::Logger(key) => {
                if let Some(process) = self.processes.get_mut(&key) {
                    process.stdio.logger_ended(host);
                }
            }
        }
    }

    /// Puts all that the shim knows into its log, for whoever asks with a signal.
    fn write_down<H: Host>(&mut self, host: &mut H) {
        match serde_json::to_string(self) {
            Ok(state) => self.log.write(host, Level::Warning, &state),
            Err(error) => self.log.write(host, Level::Error, &error.to_string()),
        }
    }

    fn turn_streams<H: Host>(&mut self, host: &mut H, answers: &[PollFd], now: Duration) {
        let mut troubles = Vec::new();
        for process in self.processes.values_mut() {
            for trouble in process.stdio.turn(host, answers, now) {
                troubles.push(format!("{} {}: {trouble}", process.container, process.exec_id));
            }
        }
        for trouble in troubles {
            self.log.write(host, Level::Warning, &trouble);
        }
    }

    /// Ends the shim as soon as all is told. From now on nobody finds it any more: a container that
    /// comes now needs another shim.
    fn end<H: Host>(&mut self, host: &mut H) {
        if self.ends.is_none() {
            self.ends = Some(host.now() + FAREWELL);
        }
        if !host.planted(Bug::FoundWhileEnding) {
            self.remove_socket(host);
        }
    }

    /// Ends a shim of which nobody seems to know. Whoever is connected may still ask.
    fn end_if_unasked<H: Host>(&mut self, host: &mut H, now: Duration, is_asked: bool) {
        if is_asked || host.planted(Bug::UnaskedStays) {
            self.unasked_until = None;
        }
        if self.unasked_until.is_none_or(|until| now < until) {
            return;
        }
        if self.server.has_peers() {
            self.unasked_until = Some(now + UNASKED);
        } else {
            host.mark(Mark::EndsUnasked);
            self.unasked_until = None;
            self.end(host);
        }
    }

    /// While it still listens: whoever finds a file afterwards finds another shim's.
    fn remove_socket<H: Host>(&mut self, host: &mut H) {
        let socket = std::mem::take(&mut self.socket);
        if host.planted(Bug::SocketLeft) {
            return;
        }
        if socket.as_os_str().is_empty() {
            return;
        }
        let removed = host.unlink(&socket).or_else(|_| host.unlink(&socket));
        if let Err(errno) = removed
            && errno != Errno::ENOENT
        {
            let error = Error::system("unlink", socket.display(), errno);
            self.log.write(host, Level::Warning, &error.to_string());
        }
    }

    fn is_over<H: Host>(&mut self, host: &mut H) -> bool {
        let Some(ends) = self.ends else { return false };
        let is_all_said = self.events.is_empty() && self.server.is_flushed();
        if !is_all_said && ends <= host.now() {
            host.mark(Mark::EndsUntold);
            return true;
        }
        is_all_said || host.planted(Bug::EndsUnsaid)
    }

    fn close<H: Host>(&mut self, host: &mut H) {
        self.remove_socket(host);
        self.remove_process_files(host);
        self.server.close(host);
        self.events.close(host);
        let processes: Vec<ProcessKey> = self.processes.keys().copied().collect();
        for process in processes {
            self.close_telling(host, process);
        }
        for container in self.containers.values_mut() {
            if let Some(mut oom) = container.oom.take() {
                oom.close(host);
            }
        }
        self.log.close(host);
        close_all(host, [self.signals, self.null]);
    }

    fn new_key(&mut self) -> u32 {
        self.last_key += 1;
        self.last_key
    }
}
