//! Having a process made: init by create or restore, a further one by exec.

use std::path::PathBuf;
use std::time::Duration;

use super::Shim;
use super::create::write_private;
use super::jobs::Streams;
use super::log::Level;
use super::state::{JobKey, ProcessKey, Role, Step, Task};
use crate::files::read_file;
use crate::host::{Bug, ExitStatus, Fd, Host, Mark, Pid, Signal};
use crate::oci::{Create, ExecArgs, Failure, Restore, parse_pid};
use crate::process::Life;
use crate::stdio::TaskStdio;
use crate::supervisor::Errand;
use crate::ttrpc::Status;

/// How long a runtime may owe us the console after it has ended, and a logger its being ready.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a logger that was asked to end may take.
const LOGGER_PATIENCE: Duration = Duration::from_secs(12);
/// A pid file holds ten digits.
const PID_FILE_MAX: usize = 4096;

impl Shim {
    /// Starts the logger first, if the output goes to one: a process must not speak to nobody.
    pub(super) fn begin_make<H: Host>(&mut self, host: &mut H, key: JobKey) {
        let Some(process) = self.jobs.get(&key).map(|job| job.process) else { return };
        let logger = self.processes.get_mut(&process).and_then(|it| it.stdio.logger());
        let Some(command) = logger else { return self.make(host, key) };
        // One of an earlier attempt has nothing more to take.
        self.supervisor.abandon(host, Role::Logger(process));
        let errand = Errand { role: Role::Logger(process), makes_process: false, deadline: None };
        let started = self.supervisor.spawn(host, &command, errand);
        let deadline = Some(host.now() + PATIENCE).filter(|_| !host.planted(Bug::LoggerAwaited));
        self.step(key, Step::Logger, deadline);
        match started {
            Ok(_) => {
                if let Some(process) = self.processes.get_mut(&process) {
                    process.stdio.logger_started(host);
                }
            }
            Err(error) => {
                let program = command.program.display();
                let message = format!("failed to start binary process {program}: {}", error.errno);
                self.fail_make(host, key, Status::unknown(message));
            }
        }
    }

    /// The logger has said that it is ready, or it never will.
    pub(super) fn logger_ready<H: Host>(&mut self, host: &mut H, key: JobKey) {
        let Some(job) = self.jobs.get(&key) else { return };
        let stdio = self.processes.get(&job.process).map(|process| &process.stdio);
        match stdio.map(|stdio| (stdio.is_ready(), stdio.logger_failed())) {
            Some((_, Some(error))) => self.fail_make(host, key, error.into()),
            Some((true, None)) => self.make(host, key),
            _ => {
                host.mark(Mark::LoggerLate);
                let reason = "the logging binary did not become ready in time";
                self.fail_make(host, key, Status::unknown(reason));
            }
        }
    }

    fn make<H: Host>(&mut self, host: &mut H, key: JobKey) {
        let Some((job, container)) = self.container_of(key) else { return };
        let Some(process) = self.processes.get(&job.process) else { return };
        let restores_later =
            matches!(job.task, Task::Create(_)) && process.life == Life::Restorable;
        if restores_later {
            return self.created(host, key);
        }
        let id = process.container.clone();
        let console_socket = process.stdio.console_socket();
        let pid_file = pid_file(&container.bundle, &process.exec_id);
        // What was there before is not the runtime's answer.
        let _ = host.unlink(&pid_file);
        let bundle = container.bundle.clone();
        let runtime = &container.runtime;
        let options = &container.options;
        let argv = if !process.exec_id.is_empty() {
            let process_file = process_file(&bundle, &process.exec_id);
            runtime.exec(&ExecArgs { id, process_file, pid_file, console_socket })
        } else if process.life == Life::Restorable {
            let work = PathBuf::from(&options.criu_work_path);
            runtime.restore(&Restore {
                id,
                image_path: PathBuf::from(&container.checkpoint),
                work_path: if options.criu_work_path.is_empty() {
                    bundle.join("work")
                } else {
                    work
                },
                parent_path: None,
                bundle,
                pid_file,
                console_socket,
                no_pivot: options.no_pivot_root,
            })
        } else {
            runtime.create(&Create {
                id,
                bundle,
                pid_file,
                console_socket,
                no_pivot: options.no_pivot_root,
                no_new_keyring: options.no_new_keyring,
            })
        };
        let fds: Vec<Fd> = process.stdio.child_ends().to_vec();
        self.step(key, Step::Make, None);
        if let Err(failure) = self.start_runtime(host, key, argv, Streams::Process(fds)) {
            self.runtime_made_nothing(host, key, failure);
        }
    }

    /// The runtime that was to make a process has ended.
    pub(super) fn made<H: Host>(&mut self, host: &mut H, key: JobKey, status: ExitStatus) {
        if !status.success() {
            return self.runtime_made_nothing(host, key, Failure::Ended(status));
        }
        if let Some(job) = self.jobs.get_mut(&key) {
            job.is_there = true;
        }
        let Some((job, container)) = self.container_of(key) else { return };
        let process_key = job.process;
        let Some(process) = self.processes.get(&process_key) else { return };
        let path = pid_file(&container.bundle, &process.exec_id);
        let pid = read_file(host, &path, PID_FILE_MAX)
            .map_err(|error| error.to_string())
            .and_then(|text| parse_pid(&text).map_err(|why| format!("{}: {why}", path.display())));
        let adopted = pid.and_then(|pid| {
            let role = Role::Process(process_key);
            let adopted = self.supervisor.adopt(host, pid, role);
            let none = |errno| format!("wait for pid {pid} of {}: {errno}", path.display());
            adopted.map(|ended| (pid, ended)).map_err(none)
        });
        let (pid, ended) = match adopted {
            Ok(adopted) => adopted,
            Err(reason) => {
                host.mark(Mark::MadeNothing);
                return self.fail_make(host, key, Status::unknown(reason));
            }
        };
        if let Some(job) = self.jobs.get_mut(&key) {
            job.made = Some(pid);
        }
        if let Some(process) = self.processes.get_mut(&process_key) {
            process.pid = pid.0.unsigned_abs();
            if !host.planted(Bug::EndsHeldUntilStart) {
                process.stdio.runtime_done(host);
            }
        }
        if let Some(ended) = ended
            && !host.planted(Bug::EarlyExitForgotten)
        {
            host.mark(Mark::EndedWhenMade);
            self.process_ended(host, process_key, ended.status);
        }
        if let Some(process) = self.processes.get_mut(&process_key) {
            // What the runtime has sent is there; why it is of no use is told by the failure.
            let _ = process.stdio.receive_console(host);
        }
        let stdio = self.processes.get(&process_key).map(|process| &process.stdio);
        let awaits = stdio.is_some_and(TaskStdio::awaits_console);
        if awaits && !stdio.is_some_and(TaskStdio::is_console_spoilt) {
            let deadline =
                Some(host.now() + PATIENCE).filter(|_| !host.planted(Bug::ConsoleAwaited));
            self.step(key, Step::Console, deadline);
        } else {
            self.process_made(host, key);
        }
    }

    /// The process is there. Without the console that it was to have it is of no use: what it said
    /// there is lost, and it may have been ended for having lost it.
    pub(super) fn process_made<H: Host>(&mut self, host: &mut H, key: JobKey) {
        let Some(job) = self.jobs.get(&key) else { return };
        let process = self.processes.get(&job.process);
        if process.is_some_and(|it| it.stdio.console_failed().is_some()) {
            return self.console_missing(host, key);
        }
        let is_create = matches!(job.task, Task::Create(_));
        if is_create { self.created(host, key) } else { self.started(host, key) }
    }

    pub(super) fn console_missing<H: Host>(&mut self, host: &mut H, key: JobKey) {
        host.mark(Mark::ConsoleMissing);
        let Some(job) = self.jobs.get(&key) else { return };
        let failed = self.processes.get(&job.process).and_then(|it| it.stdio.console_failed());
        let status = failed.map_or_else(|| Status::unknown("there is no console"), Status::from);
        self.fail_make(host, key, status);
    }

    fn runtime_made_nothing<H: Host>(&mut self, host: &mut H, key: JobKey, failure: Failure) {
        let Some(job) = self.jobs.get(&key) else { return };
        let life = self.processes.get(&job.process).map(|process| process.life);
        let prefix = match (&job.task, life) {
            (Task::Create(_), _) => "OCI runtime create failed",
            (_, Some(Life::Restorable)) => "OCI runtime restore failed",
            _ => "OCI runtime exec failed",
        };
        let failure = self.runtime_failure(host, key, prefix, failure);
        self.fail_make(host, key, failure);
    }

    /// Ends a job whose process could not be made.
    pub(super) fn fail_make<H: Host>(&mut self, host: &mut H, key: JobKey, failure: Status) {
        let Some(job) = self.jobs.get(&key) else { return };
        let (process, is_create) = (job.process, matches!(job.task, Task::Create(_)));
        self.end_logger(host, process);
        if is_create {
            return self.fail_create(host, key, failure);
        }
        self.fail_start(host, key, failure);
    }

    /// Asks a process's logger to end, and sees to it that it does.
    pub(super) fn end_logger<H: Host>(&mut self, host: &mut H, process: ProcessKey) {
        let deadline = host.now() + LOGGER_PATIENCE;
        self.supervisor.end(host, Role::Logger(process), Signal::TERM, deadline);
    }

    /// Removes what only the runtime needed to make an exec.
    pub(super) fn remove_process_file<H: Host>(&mut self, host: &mut H, key: JobKey) {
        let Some((job, container)) = self.container_of(key) else { return };
        let Some(process) = self.processes.get(&job.process) else { return };
        if !process.exec_id.is_empty() {
            let path = process_file(&container.bundle, &process.exec_id);
            let _ = host.unlink(&path);
        }
    }

    /// Execs that are still being started when the shim ends will not be; what they were to run may hold
    /// secrets.
    pub(super) fn remove_process_files<H: Host>(&mut self, host: &mut H) {
        if host.planted(Bug::ProcessFileLeft) {
            return;
        }
        let starts = self.jobs.iter().filter(|(_, job)| matches!(job.task, Task::Start));
        let keys: Vec<JobKey> = starts.map(|(key, _)| *key).collect();
        for key in keys {
            self.remove_process_file(host, key);
        }
    }

    /// Writes down for the runtime what an exec is to run.
    pub(super) fn write_process_file<H: Host>(
        &mut self,
        host: &mut H,
        key: JobKey,
    ) -> Result<(), Status> {
        let Some((job, container)) = self.container_of(key) else { return Ok(()) };
        let Some(process) = self.processes.get(&job.process) else { return Ok(()) };
        if process.exec_id.is_empty() {
            return Ok(());
        }
        let mut spec: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&process.spec).map_err(|error| {
                Status::invalid_argument(format!("the process of {}: {error}", process.exec_id))
            })?;
        spec.insert("terminal".to_owned(), process.terminal.into());
        let text = serde_json::to_vec(&spec).unwrap_or_default();
        let path = process_file(&container.bundle, &process.exec_id);
        if let Err(error) = write_private(host, &path, &text) {
            let warning = error.to_string();
            self.log.write(host, Level::Warning, &warning);
            return Err(error.into());
        }
        Ok(())
    }
}

/// Where the runtime writes the pid of a process. An exec's name may be `init`, too.
pub(super) fn pid_file(bundle: &std::path::Path, exec_id: &str) -> PathBuf {
    match exec_id {
        "" => bundle.join("init.pid"),
        "init" => bundle.join("init.exec-pid"),
        name => bundle.join(format!("{name}.pid")),
    }
}

fn process_file(bundle: &std::path::Path, exec_id: &str) -> PathBuf {
    bundle.join(format!("{exec_id}-process.json"))
}

/// A pid as the kernel counts it.
pub(super) fn kernel_pid(pid: u32) -> Pid {
    Pid(i32::try_from(pid).unwrap_or(i32::MAX))
}
