//! The shim at work: one loop over what is ready, and what follows from it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::log::{Level, Log};
use super::{Control, Message, Options};
use crate::Error;
use crate::files::{read_file, write_atomically};
use crate::host::{
    Command, Errno, ExitStatus, Fd, Host, OpenFlags, PollFd, Ready, Signal, SpawnError, SpawnStep,
    close_all,
};
use crate::oci::{Dialect, Runtime, find_program, parse_pid};
use crate::process::{Change, Stage};
use crate::stdio::Stdio;
use crate::supervisor::{Ended, Errand, Supervisor};

/// How long the runtime's last words may take on their way out when it could not start a process.
const FAILED_START_DRAIN: Duration = Duration::from_secs(2);
/// How long, and how often, an exit status that cannot be written (a full disk) is tried again.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);
const STATUS_RETRY: Duration = Duration::from_millis(100);
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
    Delete { force: bool },
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
    runtime: Runtime,
    options: Options,
    stdio: Stdio,
    is_exec: bool,
    /// The command line that makes the process.
    make: Vec<OsString>,
    /// The runtime's file, once it was found.
    program: Option<std::path::PathBuf>,
    supervisor: Supervisor<Role>,
    stage: Stage,
    steps: VecDeque<Step>,
    /// The cleaning-up order that is being carried out.
    ordered: Option<Order>,
    /// When output is no longer waited for.
    drain_deadline: Option<Duration>,
    status: Option<ExitStatus>,
    status_written: bool,
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
    pub(super) runtime: Runtime,
    pub(super) options: Options,
    pub(super) stdio: Stdio,
}

impl Shim {
    pub(super) fn new(parts: Parts, is_exec: bool, make: Vec<OsString>) -> Shim {
        Shim {
            log: parts.log,
            signals: parts.signals,
            exit: parts.exit,
            control_fifo: Some(parts.control),
            control: Control::default(),
            runtime: parts.runtime,
            options: parts.options,
            stdio: parts.stdio,
            is_exec,
            make,
            program: None,
            supervisor: Supervisor::default(),
            stage: Stage::default(),
            steps: VecDeque::new(),
            ordered: None,
            drain_deadline: None,
            status: None,
            status_written: false,
            status_retry: None,
            status_deadline: None,
            exit_code: 0,
        }
    }

    /// Has the process made, sees it through, and gives the exit code of the shim.
    pub(super) fn run<H: Host>(&mut self, host: &mut H) -> i32 {
        if let Err(error) = self.make_process(host) {
            self.fail(host, &error, &[Step::Drain]);
        }
        let mut questions = Vec::new();
        while !self.finished(host) {
            if let Err(errno) = self.turn(host, &mut questions) {
                let error = Error::system("poll", "the shim's descriptors", errno);
                self.log.write(host, Level::Error, &error.to_string());
                self.exit_code = 1;
                break;
            }
        }
        self.close(host);
        self.exit_code
    }

    /// Waits for something to happen, and does what follows from it.
    fn turn<H: Host>(&mut self, host: &mut H, questions: &mut Vec<PollFd>) -> Result<(), Errno> {
        questions.clear();
        questions.push(PollFd::new(self.signals, Ready::READ));
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
                for trouble in troubles {
                    self.log.write(host, Level::Warn, &trouble.to_string());
                }
            }
            Err(error) => self.fail_making(host, &error),
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
        let times = [self.stdio.due(), self.supervisor.due(), drained, self.status_retry];
        times.into_iter().flatten().min()
    }

    fn time_passed<H: Host>(&mut self, host: &mut H, now: Duration) {
        for role in self.supervisor.kill_overdue(host, now) {
            let words = match role {
                Role::Runtime(Order::Make) => "make the process",
                Role::Runtime(Order::KillAll) => "kill the container",
                Role::Runtime(Order::Delete) | Role::Process => "delete the container",
            };
            let error = Error::invalid(
                &self.runtime.name,
                format_args!("took too long to {words} and was killed ({})", Errno::ETIMEDOUT),
            );
            if role == Role::Runtime(Order::Make) {
                self.fail_making(host, &error);
            } else {
                self.log.write(host, Level::Warn, &error.to_string());
            }
        }
        if self.status_retry.is_some_and(|time| time <= now) {
            self.status_retry = None;
            self.write_status(host, now);
        }
    }

    fn read_control<H: Host>(&mut self, host: &mut H) {
        let Some(fifo) = self.control_fifo else { return };
        let mut buffer = [0; 4096];
        match host.read(fifo, &mut buffer) {
            Ok(count) if count > 0 => {
                for message in self.control.feed(&buffer[..count]) {
                    match message {
                        Message::CloseStdin => self.stdio.close_stdin(host),
                        Message::Resize(size) => self.stdio.resize(host, size),
                    }
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // We hold a write end, so there is no end of file: something is wrong with it, and it
            // would only keep the loop busy.
            Ok(_) | Err(_) => {
                close_all(host, [fifo]);
                self.control_fifo = None;
            }
        }
    }

    // ---- the runtime -------------------------------------------------------------------------

    fn make_process<H: Host>(&mut self, host: &mut H) -> Result<(), Error> {
        let name = self.runtime.name.clone();
        let env = host.environment();
        let Some(program) = find_program(host, Path::new(&name), &env) else {
            return Err(Error::NotInstalled { runtime: name });
        };
        self.program = Some(program.clone());
        let command = Command {
            program,
            argv: self.make.clone(),
            env: None,
            cwd: Some(self.runtime.bundle.clone()),
            fds: self.stdio.child_ends().to_vec(),
            parent_death_signal: Some(Signal::KILL),
            ..Command::default()
        };
        let deadline = self.options.runtime_timeout.map(|limit| host.now() + limit);
        let errand = Errand { role: Role::Runtime(Order::Make), makes_process: true, deadline };
        let spawned = self.supervisor.spawn(host, &command, errand);
        self.stdio.close_child_ends(host);
        spawned.map(drop).map_err(|error| self.spawn_error(&command.program, error))
    }

    fn spawn_error(&self, program: &Path, error: SpawnError) -> Error {
        match error.step {
            SpawnStep::Chdir => Error::system("chdir", self.runtime.bundle.display(), error.errno),
            SpawnStep::Fork | SpawnStep::Prepare | SpawnStep::Exec => {
                Error::system("fork/exec", program.display(), error.errno)
            }
        }
    }

    /// Tells the runtime to clean up. Whether it can is its own business.
    fn order<H: Host>(&mut self, host: &mut H, order: Order, argv: Vec<OsString>) {
        let Some(program) = self.program.clone() else { return };
        let flags = OpenFlags::READ | OpenFlags::WRITE;
        let Ok(null) = host.open(Path::new("/dev/null"), flags, 0) else { return };
        let command = Command {
            program,
            argv,
            fds: vec![null; 3],
            parent_death_signal: Some(Signal::KILL),
            ..Command::default()
        };
        let limit = self.options.runtime_timeout.unwrap_or(Options::CLEANUP_TIMEOUT);
        let deadline = Some(host.now() + limit);
        let errand = Errand { role: Role::Runtime(order), makes_process: false, deadline };
        match self.supervisor.spawn(host, &command, errand) {
            Ok(_) => self.ordered = Some(order),
            Err(error) => {
                let error = Error::system("fork/exec", command.program.display(), error.errno);
                self.log.write(host, Level::Warn, &error.to_string());
            }
        }
        close_all(host, [null]);
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
                if self.ordered == Some(order) {
                    self.ordered = None;
                }
            }
        }
    }

    /// The runtime that was to make the process has ended.
    fn making_ended<H: Host>(&mut self, host: &mut H, status: ExitStatus) {
        if self.stage != Stage::Starting {
            return;
        }
        if !status.success() {
            // The runtime has said why in its own log, which the daemon reads: no failure of ours.
            self.not_started(host, &[Step::Drain, Step::Delete { force: false }]);
            return;
        }
        if let Err(error) = self.adopt_process(host) {
            self.fail_making(host, &error);
        }
    }

    fn adopt_process<H: Host>(&mut self, host: &mut H) -> Result<(), Error> {
        let contents = read_file(host, Path::new("pid"), PID_FILE_MAX)?;
        let pid = parse_pid(&contents).map_err(|reason| Error::invalid("pid", reason))?;
        self.stdio.receive_console(host)?;
        if self.stdio.awaits_console() {
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

    // ---- the end -----------------------------------------------------------------------------

    fn process_ended<H: Host>(&mut self, host: &mut H, status: ExitStatus) {
        self.change(host, Change::Exited);
        self.status = Some(status);
        let now = host.now();
        self.write_status(host, now);
        self.stdio.process_ended(host);
        self.drain_deadline = self.options.drain_timeout.map(|limit| now + limit);
        let kill_all = !self.is_exec && self.runtime.dialect != Dialect::Start;
        let steps = [
            kill_all.then_some(Step::KillAll),
            Some(Step::Drain),
            (!self.is_exec).then_some(Step::Delete { force: false }),
            Some(Step::WriteStatus),
        ];
        self.steps.extend(steps.into_iter().flatten());
    }

    /// A failure while the process was being made, after which something of it may be there.
    fn fail_making<H: Host>(&mut self, host: &mut H, error: &Error) {
        if self.stage != Stage::Starting {
            return;
        }
        let delete = Step::Delete { force: true };
        let steps: &[Step] = match self.runtime.dialect {
            Dialect::Create => &[Step::KillAll, Step::Drain, delete],
            Dialect::Start | Dialect::Run => &[delete, Step::Drain],
        };
        self.fail(host, error, steps);
    }

    fn fail<H: Host>(&mut self, host: &mut H, error: &Error, steps: &[Step]) {
        self.log.write(host, Level::Error, &error.to_string());
        self.exit_code = 1;
        self.not_started(host, steps);
    }

    fn not_started<H: Host>(&mut self, host: &mut H, steps: &[Step]) {
        self.change(host, Change::FailedToStart);
        self.stdio.close_child_ends(host);
        self.stdio.process_ended(host);
        self.stdio.end_output_when_empty();
        self.drain_deadline = Some(host.now() + FAILED_START_DRAIN);
        let is_mine = |step: &&Step| !self.is_exec || **step == Step::Drain;
        self.steps.extend(steps.iter().filter(is_mine));
    }

    fn change<H: Host>(&mut self, host: &mut H, change: Change) {
        match self.stage.after(change) {
            Ok(stage) => self.stage = stage,
            Err(illegal) => self.log.write(host, Level::Warn, &illegal.to_string()),
        }
    }

    /// Takes the steps that can be taken now; whether there is none left.
    fn finished<H: Host>(&mut self, host: &mut H) -> bool {
        while self.stage == Stage::Stopped && self.ordered.is_none() {
            let Some(step) = self.steps.front().copied() else {
                self.change(host, Change::Removed);
                break;
            };
            if !self.may_leave(host, step) {
                return false;
            }
            self.steps.pop_front();
            match step {
                Step::KillAll => self.order(host, Order::KillAll, self.runtime.kill_all()),
                Step::Delete { force } => {
                    self.order(host, Order::Delete, self.runtime.delete(force));
                }
                Step::Drain => self.close_stdio(host),
                Step::WriteStatus => {}
            }
        }
        self.stage == Stage::Deleted
    }

    /// Whether what a step waits for has come.
    fn may_leave<H: Host>(&mut self, host: &mut H, step: Step) -> bool {
        let passed = |host: &mut H, deadline: Option<Duration>| {
            deadline.is_some_and(|deadline| deadline <= host.now())
        };
        match step {
            Step::KillAll | Step::Delete { .. } => true,
            Step::Drain => self.stdio.output_ended() || passed(host, self.drain_deadline),
            Step::WriteStatus => self.status_written || passed(host, self.status_deadline),
        }
    }

    fn close_stdio<H: Host>(&mut self, host: &mut H) {
        self.drain_deadline = None;
        let ended = self.stdio.output_ended();
        for (stream, count) in self.stdio.close(host) {
            let warning = format!("{stream}: {count} bytes were never read and are lost");
            self.log.write(host, Level::Warn, &warning);
        }
        if !ended && self.status.is_some() {
            let warning = "output was still open at the end of WAVETANK_DRAIN_TIMEOUT";
            self.log.write(host, Level::Warn, warning);
        }
    }

    /// The file is there whole or not at all, so a daemon that looks for it never reads half.
    fn write_status<H: Host>(&mut self, host: &mut H, now: Duration) {
        let Some(status) = self.status else { return };
        let text = status.number().to_string();
        match write_atomically(host, Path::new("exitStatus"), text.as_bytes()) {
            Ok(()) => self.status_written = true,
            Err(error) => {
                let deadline = *self.status_deadline.get_or_insert(now + STATUS_PATIENCE);
                if now < deadline {
                    self.status_retry = Some(now + STATUS_RETRY);
                } else {
                    self.log.write(host, Level::Error, &error.to_string());
                    self.exit_code = 1;
                }
            }
        }
    }

    /// Closes everything, the exit fifo last.
    fn close<H: Host>(&mut self, host: &mut H) {
        self.stdio.close(host);
        close_all(host, self.control_fifo.take().into_iter().chain([self.signals]));
        self.log.close(host);
        close_all(host, [self.exit]);
    }
}
