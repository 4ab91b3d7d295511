//! What is being done, from the order to the answer.

use std::time::Duration;

use super::Shim;
use super::calls::CallId;
use super::failure::no_container;
use super::log::Level;
use super::state::{Container, Job, JobKey, Order, ProcessKey, Role, Step, Task};
use crate::Error;

use crate::host::{
    Bug, Command, ExitStatus, Fd, Host, Mark, OpenFlags, PollFd, Ready, Signal, close_all,
    read_from_start, write_all,
};
use crate::oci::{Failure, failure_message, last_error_since, log_length};
use crate::process::Life;
use crate::supervisor::Errand;
use crate::ttrpc::Status;

/// What a runtime says is a message, not a stream; and its log is read only as far as it grew.
const OUTPUT_MAX: usize = 1024 * 1024;

/// How long a runtime may take to kill or thaw what an init has left behind.
const CLEANING_PATIENCE: Duration = Duration::from_secs(10);

impl Shim {
    /// Has a client's order carried out, after those for the same process that came before.
    pub(super) fn order<H: Host>(&mut self, host: &mut H, key: ProcessKey, order: Order) {
        let Some(process) = self.processes.get_mut(&key) else {
            return self.server.answer(order.call, Err(no_container()));
        };
        match process.busy.and_then(|busy| self.jobs.get_mut(&busy)) {
            Some(job) if job.task.is_same(&order.task) && !host.planted(Bug::AskedAgain) => {
                host.mark(Mark::OrderJoined);
                job.calls.push(order.call);
            }
            Some(_) => process.queue.push_back(order),
            None => self.begin(host, key, order),
        }
    }

    fn begin<H: Host>(&mut self, host: &mut H, key: ProcessKey, order: Order) {
        let Order { task, call } = order;
        let Some(process) = self.processes.get(&key) else {
            return self.server.answer(call, Err(no_container()));
        };
        if let Some(act) = task.act()
            && let Err(refusal) = process.life.allows(act)
        {
            return self.server.answer(call, Err(refusal.into()));
        }
        let is_unstarted = !process.exec_id.is_empty() && process.life == Life::Created;
        if is_unstarted && matches!(task, Task::Delete) && host.planted(Bug::UnstartedStays) {
            return self
                .server
                .answer(call, Err(Status::unknown("cannot delete a created process")));
        }
        self.add_job(host, task, key, vec![call]);
    }

    /// Begins to do something.
    pub(super) fn add_job<H: Host>(
        &mut self,
        host: &mut H,
        task: Task,
        process: ProcessKey,
        calls: Vec<CallId>,
    ) -> JobKey {
        let key = JobKey(self.new_key());
        let is_aside = matches!(task, Task::Kill { .. } | Task::KillRest | Task::Thaw);
        if let Some(process) = self.processes.get_mut(&process)
            && !is_aside
        {
            process.busy = Some(key);
        }
        let kind = task.clone();
        let step = Step::Runtime;
        self.jobs.insert(
            key,
            Job {
                task,
                process,
                step,
                calls,
                output: None,
                log_from: 0,
                made: None,
                is_there: false,
                deadline: None,
                failure: None,
            },
        );
        match kind {
            Task::Create(mounts) => self.begin_create(host, key, mounts),
            Task::Start => self.begin_start(host, key),
            Task::Delete => self.begin_delete(host, key),
            other => self.begin_order(host, key, &other),
        }
        key
    }

    /// Ends a job: its callers are answered, and what waited for it goes on.
    pub(super) fn finish<H: Host>(
        &mut self,
        host: &mut H,
        key: JobKey,
        result: Result<Vec<u8>, Status>,
    ) {
        let Some(job) = self.jobs.remove(&key) else { return };
        close_all(host, job.output);
        let answers = std::iter::repeat_n(result, job.calls.len());
        for (call, result) in job.calls.into_iter().zip(answers) {
            self.server.answer(call, result);
        }
        if let Some(process) = self.processes.get_mut(&job.process) {
            if process.busy == Some(key) {
                process.busy = None;
            }
            if process.cleaning == Some(key) {
                process.cleaning = None;
            }
        }
        self.settle_ends(host);
        self.go_on(host, job.process);
    }

    /// Begins what is next for a process; whoever gave up waiting wants nothing any more.
    fn go_on<H: Host>(&mut self, host: &mut H, key: ProcessKey) {
        while let Some(process) = self.processes.get_mut(&key) {
            if process.busy.is_some() {
                return;
            }
            let Some(order) = process.queue.pop_front() else { return };
            if self.server.is_waited_for(order.call) {
                self.begin(host, key, order);
            } else {
                host.mark(Mark::OrderAbandoned);
            }
        }
    }

    /// Answers what is still to be done to a process that is there no more.
    pub(super) fn answer_the_queue_of_nobody(&mut self, queue: impl IntoIterator<Item = Order>) {
        for order in queue {
            self.server.answer(order.call, Err(no_container()));
        }
    }

    /// The container that a job is about.
    pub(super) fn container_of(&self, key: JobKey) -> Option<(&Job, &Container)> {
        let job = self.jobs.get(&key)?;
        let process = self.processes.get(&job.process)?;
        Some((job, self.containers.get(&process.container)?))
    }

    /// Starts the runtime for a job.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub(super) fn start_runtime<H: Host>(
        &mut self,
        host: &mut H,
        key: JobKey,
        argv: Vec<std::ffi::OsString>,
        streams: Streams,
    ) -> Result<(), Failure> {
        let Some((_, container)) = self.container_of(key) else { return Ok(()) };
        let (bundle, log) = (container.bundle.clone(), container.runtime.log.clone());
        let Some(program) = container.program.clone() else { return Err(Failure::NotFound) };
        let makes_process = matches!(streams, Streams::Process(_));
        let mut lent = None;
        let fds = match streams {
            Streams::Process(fds) => fds,
            Streams::Captured(input) => {
                // What it says may be lost for want of a file; what it does must not be.
                let file = host.memory_file().ok();
                if let Some(job) = self.jobs.get_mut(&key) {
                    close_all(host, std::mem::replace(&mut job.output, file));
                }
                let mut output = file.unwrap_or(self.null);
                if host.planted(Bug::StderrReadLast) {
                    lent = self.capture_in_pipe(host, key);
                    output = lent.unwrap_or(output);
                }
                vec![input.unwrap_or(self.null), output, output]
            }
        };
        let log_from = log_length(host, &log);
        if let Some(job) = self.jobs.get_mut(&key) {
            job.log_from = log_from;
        }
        let command = Command {
            program,
            argv,
            env: Some(self.env.clone()),
            cwd: Some(bundle),
            fds,
            parent_death_signal: Some(Signal::KILL),
            ..Command::default()
        };
        // What an end waits for must not be what keeps it from being told.
        let is_cleaning =
            self.jobs.get(&key).is_some_and(|job| matches!(job.task, Task::KillRest | Task::Thaw));
        let is_cleaning = is_cleaning && !host.planted(Bug::CleaningUpForEver);
        let deadline = is_cleaning.then(|| host.now() + CLEANING_PATIENCE);
        let errand = Errand { role: Role::Worker(key), makes_process, deadline };
        let spawned = self.supervisor.spawn(host, &command, errand);
        close_all(host, lent);
        spawned.map(|_| self.hold_the_lock(host)).map_err(|error| Failure::NotStarted(error.errno))
    }

    /// [`Bug::StderrReadLast`]: gives the end that the runtime writes.
    fn capture_in_pipe<H: Host>(&mut self, host: &mut H, key: JobKey) -> Option<Fd> {
        let pipe = host.pipe(OpenFlags::empty()).ok()?;
        let job = self.jobs.get_mut(&key)?;
        close_all(host, job.output.replace(pipe.read));
        Some(pipe.write)
    }

    /// [`Bug::LockedByRuntime`]: nobody is served before a child has ended.
    fn hold_the_lock<H: Host>(&self, host: &mut H) {
        if host.planted(Bug::LockedByRuntime) {
            let _ = host.poll(&mut [PollFd::new(self.signals, Ready::READ)], None);
        }
    }

    /// Starts a child of ours for a job, which says on its output what it could not do.
    pub(super) fn start_worker<H: Host>(
        &mut self,
        host: &mut H,
        key: JobKey,
        command: impl FnOnce(Fd, Fd) -> Command,
        input: &[u8],
    ) -> Result<(), Error> {
        let failed = |errno| Error::system("memfd_create", "for a child", errno);
        let file = host.memory_file().map_err(failed)?;
        let written = write_all(host, file, input).map_err(failed);
        let output = written.and_then(|()| host.memory_file().map_err(failed));
        let spawned = output.and_then(|output| {
            if let Some(job) = self.jobs.get_mut(&key) {
                close_all(host, job.output.replace(output));
            }
            let command = command(file, output);
            let errand = Errand { role: Role::Worker(key), makes_process: false, deadline: None };
            self.supervisor
                .spawn(host, &command, errand)
                .map_err(|error| Error::system("spawn", command.program.display(), error.errno))
        });
        close_all(host, [file]);
        spawned.map(drop)
    }

    /// What the child at work for a job has said, and not in a log.
    pub(super) fn said<H: Host>(&mut self, host: &mut H, key: JobKey) -> String {
        let Some(output) = self.jobs.get(&key).and_then(|job| job.output) else {
            return String::new();
        };
        let text = read_from_start(host, output, OUTPUT_MAX).unwrap_or_default();
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    /// The last error in the runtime's log since it was started for this job.
    pub(super) fn logged<H: Host>(
        &mut self,
        host: &mut H,
        key: JobKey,
    ) -> Result<Option<String>, String> {
        let Some((job, container)) = self.container_of(key) else { return Ok(None) };
        let (path, from) = (container.runtime.log.clone(), job.log_from);
        last_error_since(host, &path, from)
    }

    /// Why the runtime failed, as containerd's shim tells it.
    pub(super) fn runtime_failure<H: Host>(
        &mut self,
        host: &mut H,
        key: JobKey,
        prefix: &str,
        failure: Failure,
    ) -> Status {
        let logged = self.logged(host, key);
        let said = self.said(host, key);
        let name = self.container_of(key).map(|(_, container)| container.runtime.program.clone());
        let name = name.unwrap_or_default();
        Status::unknown(failure_message(prefix, &logged, failure, &name, said.as_bytes()))
    }

    /// A child at work has ended; what follows depends on what it was doing.
    pub(super) fn worker_ended<H: Host>(&mut self, host: &mut H, key: JobKey, status: ExitStatus) {
        let Some(job) = self.jobs.get(&key) else { return };
        match job.step {
            Step::Mount => self.mounted(host, key, status),
            Step::Make => self.made(host, key, status),
            Step::Runtime => self.ordered(host, key, status),
            Step::Unmount => self.unmounted(host, key, status),
            Step::Undo => self.undone(host, key, status),
            Step::Logger | Step::Console | Step::Drain => {
                self.log.write(host, Level::Warning, "a child ended that nobody waited for");
            }
        }
    }

    /// Goes on with the jobs that wait for something that is no child.
    pub(super) fn look_at_jobs<H: Host>(&mut self, host: &mut H, now: Duration) {
        let waiting: Vec<(JobKey, Step, ProcessKey)> = self
            .jobs
            .iter()
            .filter(|(_, job)| matches!(job.step, Step::Logger | Step::Console | Step::Drain))
            .map(|(key, job)| (*key, job.step, job.process))
            .collect();
        for (key, step, process) in waiting {
            let Some(process) = self.processes.get(&process) else { continue };
            let deadline = self.jobs.get(&key).and_then(|job| job.deadline);
            let is_late = deadline.is_some_and(|deadline| deadline <= now);
            let stdio = &process.stdio;
            match step {
                Step::Logger if stdio.is_ready() || stdio.logger_failed().is_some() || is_late => {
                    self.logger_ready(host, key);
                }
                Step::Console if !stdio.awaits_console() => self.process_made(host, key),
                Step::Console if is_late => self.console_missing(host, key),
                Step::Drain if stdio.is_drained() => self.drained(host, key),
                _ => {}
            }
        }
    }

    /// Puts a job at a step.
    pub(super) fn step(&mut self, key: JobKey, step: Step, deadline: Option<Duration>) {
        if let Some(job) = self.jobs.get_mut(&key) {
            job.step = step;
            job.deadline = deadline;
        }
    }
}

/// What a runtime is started with.
pub(super) enum Streams {
    /// The streams of the process that it makes.
    Process(Vec<Fd>),
    /// This input, or none; what it says is kept for when it fails.
    Captured(Option<Fd>),
}
