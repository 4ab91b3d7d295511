//! The shim at work: one loop over what is ready, and what follows from it.

mod ending;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::log::{Level, Log};
use super::{Control, Message, Options};
use crate::Error;
use crate::files::read_file;
use crate::host::{
    Bug, Command, Errno, ExitStatus, Fd, Host, PollFd, Ready, Signal, SpawnError, SpawnStep,
    close_all,
};
use crate::oci::{Runtime, find_program, parse_pid};
use crate::process::{Change, Stage};
use crate::stdio::Stdio;
use crate::supervisor::{Ended, Errand, Supervisor};

/// How often in a row the kernel may have no memory for a `poll(2)`.
const POLL_PATIENCE: u32 = 1000;
/// A pid file holds ten digits.
const PID_FILE_MAX: usize = 4096;

/// Who a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The runtime, doing this.
    Runtime(Order),
    /// The container's process.
    Process,
}

/// What the runtime was told to do; what happens after it follows from this alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Make the process: create, run, exec or restore.
    Make,
    /// Kill what is left in the container.
    KillAll,
    /// Delete the container.
    Delete,
}

/// What is still to be done after the process's end, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    KillAll,
    Drain,
    Delete,
    WriteStatus,
}

/// All that a shim knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shim {
    log: Log,
    signals: Fd,
    /// Held until the end: its closing is what the daemon takes for the process's exit.
    exit: Fd,
    control_fifo: Option<Fd>,
    control: Control,
    /// `/dev/null` for the runtime, open in time: later there may be no descriptor to be had.
    null: Fd,
    runtime: Runtime,
    options: Options,
    stdio: Stdio,
    is_exec: bool,
    /// The runtime's file, once it was found.
    program: Option<PathBuf>,
    supervisor: Supervisor<Role>,
    stage: Stage,
    steps: VecDeque<Step>,
    /// The cleaning-up order that is being carried out.
    ordered: Option<Order>,
    /// The runtime is making the process; why that failed, if it was killed for it.
    making: bool,
    making_failed: Option<Error>,
    /// How often a delete that fails is tried again, and when.
    delete_tries: u32,
    delete_retry: Option<Duration>,
    /// When output is no longer waited for.
    drain_deadline: Option<Duration>,
    status: Option<ExitStatus>,
    /// The status is in its file, or was given up.
    status_settled: bool,
    status_retry: Option<Duration>,
    status_deadline: Option<Duration>,
    exit_code: i32,
}

/// What a shim is made of.
pub(super) struct Parts {
    pub(super) log: Log,
    pub(super) signals: Fd,
    pub(super) exit: Fd,
    pub(super) control: Fd,
    pub(super) null: Fd,
    pub(super) runtime: Runtime,
    pub(super) options: Options,
    pub(super) stdio: Stdio,
}

impl Shim {
    pub(super) fn new(parts: Parts, is_exec: bool) -> Shim {
        Shim {
            log: parts.log,
            signals: parts.signals,
            exit: parts.exit,
            control_fifo: Some(parts.control),
            control: Control::default(),
            null: parts.null,
            runtime: parts.runtime,
            options: parts.options,
            stdio: parts.stdio,
            is_exec,
            program: None,
            supervisor: Supervisor::default(),
            stage: Stage::default(),
            steps: VecDeque::new(),
            ordered: None,
            making: false,
            making_failed: None,
            delete_tries: 0,
            delete_retry: None,
            drain_deadline: None,
            status: None,
            status_settled: false,
            status_retry: None,
            status_deadline: None,
            exit_code: 0,
        }
    }

    /// Has the process made by this command line of the runtime, sees it through, and gives the exit
    /// code of the shim.
    pub(super) fn run<H: Host>(&mut self, host: &mut H, make: Vec<OsString>) -> i32 {
        // What the daemon has said already holds from the process's birth on.
        self.read_control(host);
        if let Err(error) = self.make_process(host, make) {
            self.fail(host, error);
        }
        let mut questions = Vec::new();
        let mut patience = POLL_PATIENCE;
        while !self.finished(host) {
            match self.turn(host, &mut questions) {
                Ok(()) => patience = POLL_PATIENCE,
                Err(Errno::ENOMEM) if patience > 0 => patience -= 1,
                Err(errno) => {
                    let error = Error::system("poll", "the shim's descriptors", errno);
                    self.log.write(host, Level::Error, &error.to_string());
                    self.exit_code = 1;
                    break;
                }
            }
        }
        self.close(host);
        self.exit_code
    }

    /// Waits for something to happen, and does what follows from it.
    fn turn<H: Host>(&mut self, host: &mut H, questions: &mut Vec<PollFd>) -> Result<(), Errno> {
        questions.clear();
        let is_draining = self.steps.front() == Some(&Step::Drain);
        if !(is_draining && host.planted(Bug::OrphansWaitForOutput)) {
            questions.push(PollFd::new(self.signals, Ready::READ));
        }
        questions.extend(self.control_fifo.map(|fd| PollFd::new(fd, Ready::READ)));
        self.stdio.ask(questions);
        let due = self.due();
        let timeout = due.map(|due| due.saturating_sub(host.now()));
        match host.poll(questions, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let now = if due.is_some() { host.now() } else { Duration::ZERO };
        let is_ready =
            |fd| questions.iter().any(|answer| answer.fd == fd && !answer.ready.is_empty());
        if self.control_fifo.is_some_and(is_ready) {
            self.read_control(host);
        }
        match self.stdio.turn(host, questions, now) {
            Ok(troubles) => {
                troubles.iter().for_each(|trouble| self.warn(host, trouble));
            }
            Err(error) => self.fail(host, error),
        }
        if is_ready(self.signals) {
            while host.read_signal(self.signals).is_ok() {}
            for ended in self.supervisor.reap(host) {
                self.child_ended(host, ended);
            }
        }
        if due.is_some() {
            self.time_passed(host, now);
        }
        Ok(())
    }

    fn due(&self) -> Option<Duration> {
        let draining = self.ordered.is_none() && self.steps.front() == Some(&Step::Drain);
        let drained = self.drain_deadline.filter(|_| draining);
        let times = [
            self.stdio.due(),
            self.supervisor.due(),
            drained,
            self.status_retry,
            self.delete_retry,
        ];
        times.into_iter().flatten().min()
    }

    fn time_passed<H: Host>(&mut self, host: &mut H, now: Duration) {
        for role in self.supervisor.kill_overdue(host, now) {
            match role {
                Role::Runtime(Order::KillAll) => self.warn(host, &self.too_long("kill")),
                Role::Runtime(Order::Delete) => self.warn(host, &self.too_long("delete")),
                Role::Runtime(Order::Make) => {
                    self.making_failed.get_or_insert(self.too_long("make the process"));
                }
                Role::Process => {}
            }
        }
        if self.delete_retry.is_some_and(|time| time <= now) {
            self.delete_retry = None;
        }
        if self.status_retry.is_some_and(|time| time <= now) {
            self.status_retry = None;
            self.write_status(host, now);
        }
    }

    fn too_long(&self, command: &str) -> Error {
        let reason = format!("took too long to {command} and was killed ({:?})", Errno::ETIMEDOUT);
        Error::invalid(&self.runtime.name, reason)
    }

    fn warn<H: Host>(&self, host: &mut H, error: &Error) {
        self.log.write(host, Level::Warn, &error.to_string());
    }

    fn read_control<H: Host>(&mut self, host: &mut H) {
        let Some(fifo) = self.control_fifo else { return };
        let mut buffer = [0; 4096];
        let read = host.read(fifo, &mut buffer);
        if let Ok(count) = read
            && host.planted(Bug::MalformedLineStays)
            && has_malformed_line(&buffer[..count])
        {
            let _ = host.write(fifo, &buffer[..count]);
            return;
        }
        match read {
            Ok(count) if count > 0 => {
                for message in self.control.feed(&buffer[..count]) {
                    match message {
                        Message::CloseStdin => self.stdio.close_stdin(host),
                        Message::Resize(size) => {
                            if let Err(error) = self.stdio.resize(host, size) {
                                self.warn(host, &error);
                            }
                        }
                    }
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // We hold a write end, so there is no end of file: something is wrong with it, and it
            // would only keep the loop busy.
            Ok(_) | Err(_) if host.planted(Bug::ControlSpins) => {}
            Ok(_) | Err(_) => {
                close_all(host, [fifo]);
                self.control_fifo = None;
            }
        }
    }

    fn make_process<H: Host>(&mut self, host: &mut H, make: Vec<OsString>) -> Result<(), Error> {
        let name = self.runtime.name.clone();
        let env = host.environment();
        let Some(program) = find_program(host, Path::new(&name), &env) else {
            return Err(Error::NotInstalled { runtime: name });
        };
        self.program = Some(program.clone());
        let command = Command {
            program,
            argv: make,
            env: None,
            cwd: Some(self.runtime.bundle.clone()),
            fds: self.stdio.child_ends().to_vec(),
            parent_death_signal: Some(Signal::KILL),
            ..Command::default()
        };
        let deadline = self.options.runtime_timeout.map(|limit| host.now() + limit);
        let errand = Errand { role: Role::Runtime(Order::Make), makes_process: true, deadline };
        let spawned = self.supervisor.spawn(host, &command, errand);
        self.making = spawned.is_ok();
        self.stdio.close_child_ends(host);
        spawned.map(drop).map_err(|error| self.spawn_error(&command.program, error))
    }

    fn spawn_error(&self, program: &Path, error: SpawnError) -> Error {
        match error.step {
            SpawnStep::Chdir => Error::system("chdir", self.runtime.bundle.display(), error.errno),
            SpawnStep::Prepare => Error::system("prepare", program.display(), error.errno),
            SpawnStep::Fork | SpawnStep::Exec => {
                Error::system("fork/exec", program.display(), error.errno)
            }
        }
    }

    /// Tells the runtime to clean up. Whether it can is its own business.
    fn order<H: Host>(&mut self, host: &mut H, order: Order, argv: Vec<OsString>) {
        let Some(program) = self.program.clone() else { return };
        let command = Command {
            program,
            argv,
            fds: vec![self.null; 3],
            parent_death_signal: Some(Signal::KILL),
            ..Command::default()
        };
        let limit = self.options.runtime_timeout.unwrap_or(Options::CLEANUP_TIMEOUT);
        let deadline = Some(host.now() + limit).filter(|_| !host.planted(Bug::CleaningUpForEver));
        let errand = Errand { role: Role::Runtime(order), makes_process: false, deadline };
        match self.supervisor.spawn(host, &command, errand) {
            Ok(_) => self.ordered = Some(order),
            Err(error) => {
                let error = Error::system("fork/exec", command.program.display(), error.errno);
                self.warn(host, &error);
            }
        }
    }

    fn child_ended<H: Host>(&mut self, host: &mut H, ended: Ended<Role>) {
        match ended.role {
            Role::Process => self.process_ended(host, ended.status),
            Role::Runtime(Order::Make) => {
                self.making_ended(host, ended.status);
                // Until now only the runtime was waited for; others may have ended meanwhile.
                for ended in self.supervisor.reap(host) {
                    self.child_ended(host, ended);
                }
            }
            Role::Runtime(order) => {
                self.ordered = None;
                if order == Order::Delete && !ended.status.success() {
                    self.delete_failed(host);
                }
            }
        }
    }

    /// The runtime that was to make the process has ended.
    fn making_ended<H: Host>(&mut self, host: &mut H, status: ExitStatus) {
        if self.stage != Stage::Starting {
            return;
        }
        self.making = false;
        if let Some(error) = self.making_failed.take() {
            self.fail(host, error);
        } else if !status.success() {
            // The runtime has said why in its own log, which the daemon reads: no failure of ours.
            self.not_started(host);
        } else if let Err(error) = self.adopt_process(host) {
            self.fail(host, error);
        }
    }

    fn adopt_process<H: Host>(&mut self, host: &mut H) -> Result<(), Error> {
        let contents = read_file(host, Path::new("pid"), PID_FILE_MAX)?;
        let pid = parse_pid(&contents).map_err(|reason| Error::invalid("pid", reason))?;
        self.stdio.receive_console(host)?;
        if self.stdio.awaits_console() {
            // There may have been no descriptor for it, or no memory.
            self.stdio.receive_console(host)?;
        }
        if self.stdio.awaits_console() {
            if host.planted(Bug::ConsoleAwaited) {
                return Ok(());
            }
            let reason = "the runtime has ended without sending the console";
            return Err(Error::invalid("console socket", reason));
        }
        let adopted = self.supervisor.adopt(host, pid, Role::Process).map_err(|errno| {
            Error::system("wait4", format_args!("{pid}, which the file pid names"), errno)
        })?;
        self.change(host, Change::Started);
        if let Some(ended) = adopted {
            self.process_ended(host, ended.status);
        }
        Ok(())
    }
}

/// For [`Bug::MalformedLineStays`].
fn has_malformed_line(bytes: &[u8]) -> bool {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    lines > Control::default().feed(bytes).len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{MockHost, Pid};
    use crate::oci::Dialect;

    #[test]
    fn all_that_a_shim_knows_survives_being_written_down() {
        let mut host = MockHost::new();
        host.expect_open().returning(|_, _, _| Ok(Fd(3)));
        host.expect_stat().returning(|_| Err(Errno::ENOENT));
        host.expect_environment().returning(|| vec!["PATH=/bin".into()]);
        host.expect_spawn().returning(|_| Ok(Pid(7)));
        let runtime = Runtime {
            dialect: Dialect::Run,
            id: "c1".to_owned(),
            bundle: "/b".into(),
            name: "/bin/runc".to_owned(),
            args: vec!["--root=/r".to_owned()],
            no_pivot: false,
            state_dir: "/s".into(),
        };
        let parts = Parts {
            log: Log::open(&mut host, Path::new("/s/shim-log.json")).unwrap(),
            signals: Fd(4),
            exit: Fd(5),
            control: Fd(6),
            null: Fd(8),
            runtime,
            options: Options::default(),
            stdio: Stdio::default(),
        };
        let mut shim = Shim::new(parts, false);
        shim.make_process(&mut host, vec!["runc".into()]).unwrap();
        let text = serde_json::to_string(&shim).unwrap();
        assert!(text.contains(r#""7":{"role":{"runtime":"make"}"#), "{text}");
        let read: Shim = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}
