//! What the runtime is told to do to a process that is there: start, pause, resume, update,
//! checkpoint, kill.

use std::path::PathBuf;

use containerd_shim_protos::api;

use super::Shim;
use super::create::write_private;
use super::failure::{already_finished, no_container};
use super::jobs::Streams;
use super::log::Level;
use super::requests::encode;
use super::state::{CheckpointTask, JobKey, Role, Step, Task};
use crate::files::remove_all;
use crate::host::{Bug, ExitStatus, Host, Mark, OpenFlags, Signal, close_all};
use crate::oci::{CheckpointArgs, Failure};
use crate::process::Life;
use crate::stdio::TaskStdio;
use crate::task::options::CheckpointOptions;
use crate::ttrpc::Status;

/// criu says much; more than this is not kept.
const DUMP_MAX: usize = 64 * 1024 * 1024;

impl Shim {
    pub(super) fn begin_start<H: Host>(&mut self, host: &mut H, key: JobKey) {
        let Some((job, container)) = self.container_of(key) else { return };
        let Some(process) = self.processes.get(&job.process) else { return };
        let is_exec = !process.exec_id.is_empty();
        if is_exec {
            let id = process.container.clone();
            let init = self.processes.get(&container.init);
            if init.is_none_or(|init| init.ended.is_some() || init.life.has_ended())
                && !host.planted(Bug::InitWaitsForStarts)
            {
                host.mark(Mark::ExecAfterInit);
                let reason = format!("container {id} init process is not running");
                return self.fail_start(host, key, Status::failed_precondition(reason));
            }
            return self.open_and_make(host, key);
        }
        if process.life == Life::Restorable {
            // After an attempt that failed its streams are closed.
            let is_closed = process.stdio == TaskStdio::default();
            if is_closed {
                self.open_and_make(host, key);
            } else {
                self.begin_make(host, key);
            }
            return;
        }
        let argv = container.runtime.start(&process.container);
        self.tell_runtime(host, key, argv, "OCI runtime start failed");
    }

    /// Opens a process's streams, with all that the client has said of them before, and has it made.
    fn open_and_make<H: Host>(&mut self, host: &mut H, key: JobKey) {
        let Some((job, container)) = self.container_of(key) else { return };
        let process_key = job.process;
        let Some(process) = self.processes.get(&process_key) else { return };
        let opened = self.open_stdio(host, &process.container, container, process);
        match opened {
            Ok(stdio) => {
                if let Some(process) = self.processes.get_mut(&process_key) {
                    process.stdio = stdio;
                    // Another attempt has another end.
                    process.failed = false;
                    if let Some(size) = process.size {
                        // There is no terminal yet.
                        let _ = process.stdio.resize(host, size);
                    }
                    if process.stdin_closed {
                        process.stdio.close_stdin(host);
                    }
                }
            }
            Err(error) => return self.fail_start(host, key, error.into()),
        }
        match self.write_process_file(host, key) {
            Ok(()) => self.begin_make(host, key),
            Err(status) => self.fail_start(host, key, status),
        }
    }

    /// The process runs, or has run.
    pub(super) fn started<H: Host>(&mut self, host: &mut H, key: JobKey) {
        self.remove_process_file(host, key);
        let Some(process_key) = self.jobs.get(&key).map(|job| job.process) else { return };
        let is_abandoned = !self.is_wanted(key) && host.planted(Bug::StartForgotten);
        let Some(process) = self.processes.get_mut(&process_key) else { return };
        if is_abandoned && !process.exec_id.is_empty() {
            process.pid = 0;
            return self.finish(host, key, Err(no_container()));
        }
        process.life = Life::Running;
        process.spec = Vec::new();
        if host.planted(Bug::EndsHeldUntilStart) {
            process.stdio.runtime_done(host);
        }
        let (id, exec_id, pid) = (process.container.clone(), process.exec_id.clone(), process.pid);
        if exec_id.is_empty() && self.containers.get(&id).is_some_and(|it| it.cgroup.is_none()) {
            self.find_cgroup(host, &id, pid);
        }
        self.tell_started(host, &id, &exec_id, pid);
        let mut response = api::StartResponse::new();
        response.pid = pid;
        self.finish(host, key, Ok(encode(&response)));
    }

    /// What could not be started stays created; there will be no end of it to wait for.
    pub(super) fn fail_start<H: Host>(&mut self, host: &mut H, key: JobKey, failure: Status) {
        self.remove_process_file(host, key);
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let (process_key, made) = (job.process, job.made.take());
        if made.is_some() {
            self.supervisor.abandon(host, Role::Process(process_key));
        }
        self.close_streams(host, process_key);
        if let Some(process) = self.processes.get_mut(&process_key) {
            process.pid = 0;
            process.ended = None;
            if !process.exec_id.is_empty() {
                process.failed = true;
                let gone = super::answers::wait_response(None);
                for waiter in std::mem::take(&mut process.waiters) {
                    self.server.answer(waiter, Ok(encode(&gone)));
                }
            }
        }
        self.finish(host, key, Err(failure));
    }

    /// Begins what is one command of the runtime.
    pub(super) fn begin_order<H: Host>(&mut self, host: &mut H, key: JobKey, task: &Task) {
        let Some((job, container)) = self.container_of(key) else { return };
        let runtime = container.runtime.clone();
        let process = job.process;
        let Some(process) = self.processes.get_mut(&process) else { return };
        let id = process.container.clone();
        match task {
            Task::Pause => {
                process.life = Life::Pausing;
                self.tell_runtime(host, key, runtime.pause(&id), "OCI runtime pause failed");
            }
            Task::Resume | Task::Thaw => {
                self.tell_runtime(host, key, runtime.resume(&id), "OCI runtime resume failed");
            }
            Task::Kill { signal, all } => {
                let argv = runtime.kill(&id, *signal, *all);
                self.tell_runtime(host, key, argv, "unknown error after kill");
            }
            Task::KillRest => {
                let argv = runtime.kill(&id, Signal::KILL.0.unsigned_abs(), true);
                self.tell_runtime(host, key, argv, "OCI runtime killall failed");
            }
            Task::Checkpoint(checkpoint) => {
                let CheckpointTask { path, options, work, .. } = checkpoint.as_ref();
                let argv = runtime.checkpoint(&CheckpointArgs {
                    id,
                    image_path: PathBuf::from(path),
                    work_path: work.clone(),
                    parent_path: Some(options.parent_path.as_str())
                        .filter(|path| !path.is_empty())
                        .map(PathBuf::from),
                    open_tcp: options.open_tcp,
                    external_unix_sockets: options.external_unix_sockets,
                    terminal: options.terminal,
                    file_locks: options.file_locks,
                    empty_namespaces: options.empty_namespaces.clone(),
                    leave_running: !options.exit,
                });
                self.tell_runtime(host, key, argv, "OCI runtime checkpoint failed");
            }
            Task::Update(resources) => self.update(host, key, resources),
            Task::Create(_) | Task::Start | Task::Delete => {}
        }
    }

    /// Runs the runtime for a job; where it cannot even be started, that is the job's end.
    fn tell_runtime<H: Host>(
        &mut self,
        host: &mut H,
        key: JobKey,
        argv: Vec<std::ffi::OsString>,
        prefix: &str,
    ) {
        self.step(key, Step::Runtime, None);
        if let Err(failure) = self.start_runtime(host, key, argv, Streams::Captured(None)) {
            let failure = self.runtime_failure(host, key, prefix, failure);
            self.order_failed(host, key, failure);
        }
    }

    fn update<H: Host>(&mut self, host: &mut H, key: JobKey, resources: &[u8]) {
        let Some((job, container)) = self.container_of(key) else { return };
        let Some(id) = self.processes.get(&job.process).map(|it| it.container.clone()) else {
            return;
        };
        let argv = container.runtime.update(&id);
        let file = container.bundle.join("resources.json");
        let opened = write_private(host, &file, resources).and_then(|()| {
            host.open(&file, OpenFlags::READ, 0)
                .map_err(|errno| crate::Error::system("open", file.display(), errno))
        });
        // From here on only the descriptor is needed.
        let _ = host.unlink(&file);
        let input = match opened {
            Ok(input) => input,
            Err(error) => return self.finish(host, key, Err(error.into())),
        };
        let started = self.start_runtime(host, key, argv, Streams::Captured(Some(input)));
        close_all(host, [input]);
        if let Err(failure) = started {
            let failure = self.runtime_failure(host, key, "OCI runtime update failed", failure);
            self.finish(host, key, Err(failure));
        }
    }

    /// Where a checkpoint is to go.
    pub(super) fn checkpoint_task(
        &self,
        request: &api::CheckpointTaskRequest,
    ) -> Result<Task, Status> {
        let container = self.container(&request.id)?;
        let options = CheckpointOptions::from_any(request.options.as_ref())?;
        let work_is_ours = options.work_path.is_empty();
        let work = if work_is_ours {
            container.bundle.join("work").join("criu-work")
        } else {
            PathBuf::from(&options.work_path)
        };
        let path = request.path.clone();
        Ok(Task::Checkpoint(Box::new(CheckpointTask { path, options, work, work_is_ours })))
    }

    /// The runtime has done, or not, as it was told.
    pub(super) fn ordered<H: Host>(&mut self, host: &mut H, key: JobKey, status: ExitStatus) {
        let Some(job) = self.jobs.get(&key) else { return };
        let process_key = job.process;
        let task = job.task.clone();
        let Some(process) = self.processes.get_mut(&process_key) else { return };
        let id = process.container.clone();
        if let Task::Checkpoint(checkpoint) = &task {
            self.checkpointed(host, key, checkpoint, status.success());
        }
        if matches!(task, Task::Delete) {
            return self.removed(host, key, status);
        }
        if !status.success() {
            let failure = self.order_failure(host, key, &task, Failure::Ended(status));
            return self.order_failed(host, key, failure);
        }
        let Some(process) = self.processes.get_mut(&process_key) else { return };
        match task {
            Task::Start => return self.started(host, key),
            Task::Pause => {
                process.life = Life::Paused;
                self.tell_paused(host, &id);
            }
            Task::Resume => {
                process.life = Life::Running;
                self.tell_resumed(host, &id);
            }
            _ => {}
        }
        self.finish(host, key, Ok(encode(&api::Empty::new())));
    }

    fn order_failed<H: Host>(&mut self, host: &mut H, key: JobKey, failure: Status) {
        let Some(job) = self.jobs.get(&key) else { return };
        let is_ours = matches!(job.task, Task::KillRest | Task::Thaw);
        if let (Task::Pause, Some(process)) = (&job.task, self.processes.get_mut(&job.process)) {
            process.life = Life::Running;
        }
        if is_ours {
            self.log.write(host, Level::Warning, &failure.message);
        }
        self.finish(host, key, Err(failure));
    }

    fn order_failure<H: Host>(
        &mut self,
        host: &mut H,
        key: JobKey,
        task: &Task,
        failure: Failure,
    ) -> Status {
        let prefix = match task {
            Task::Start => "OCI runtime start failed",
            Task::Pause => "OCI runtime pause failed",
            Task::Resume | Task::Thaw => "OCI runtime resume failed",
            Task::KillRest => "OCI runtime killall failed",
            Task::Checkpoint(_) => return self.checkpoint_failure(host, key, failure),
            Task::Kill { .. } => return self.kill_failure(host, key, failure),
            Task::Update(_) => {
                let said = self.said(host, key);
                if !said.is_empty() {
                    return Status::unknown(said);
                }
                "OCI runtime update failed"
            }
            Task::Create(_) | Task::Delete => "OCI runtime failed",
        };
        self.runtime_failure(host, key, prefix, failure)
    }

    fn kill_failure<H: Host>(&mut self, host: &mut H, key: JobKey, failure: Failure) -> Status {
        let finished = ["os: process already finished", "container not running", "no such process"];
        if self.complains_of(host, key, &finished) {
            already_finished()
        } else if self.complains_of(host, key, &["does not exist"]) {
            Status::not_found("no such container")
        } else {
            self.runtime_failure(host, key, "unknown error after kill", failure)
        }
    }

    /// Whether the runtime has said one of these, in its log or on its output.
    pub(super) fn complains_of<H: Host>(
        &mut self,
        host: &mut H,
        key: JobKey,
        words: &[&str],
    ) -> bool {
        let logged = self.logged(host, key).ok().flatten().unwrap_or_default();
        let said = format!("{logged}\n{}", self.said(host, key)).to_lowercase();
        words.iter().any(|word| said.contains(word))
    }

    /// What a failed checkpoint leaves for people to read is kept in the bundle.
    fn checkpointed<H: Host>(
        &mut self,
        host: &mut H,
        key: JobKey,
        checkpoint: &CheckpointTask,
        succeeded: bool,
    ) {
        let Some((_, container)) = self.container_of(key) else { return };
        let kept = container.bundle.join("criu-dump.log");
        if !succeeded {
            let dump = crate::files::read_file(host, &checkpoint.work.join("dump.log"), DUMP_MAX);
            if let Ok(dump) = dump
                && let Err(error) = write_private(host, &kept, &dump)
            {
                self.log.write(host, Level::Warning, &error.to_string());
            }
        }
        if checkpoint.work_is_ours
            && let Err(error) = remove_all(host, &checkpoint.work)
        {
            self.log.write(host, Level::Warning, &error.to_string());
        }
    }

    fn checkpoint_failure<H: Host>(
        &mut self,
        host: &mut H,
        key: JobKey,
        failure: Failure,
    ) -> Status {
        let said = self.said(host, key);
        let name = self.container_of(key).map(|(_, container)| container.runtime.program.clone());
        let first = match said.lines().next() {
            Some(line) => format!("{}: {line}", failure.describe(&name.unwrap_or_default())),
            None => {
                self.runtime_failure(host, key, "OCI runtime checkpoint failed", failure).message
            }
        };
        let kept = self.container_of(key).map(|(_, it)| it.bundle.join("criu-dump.log"));
        let kept = kept.unwrap_or_default();
        Status::unknown(format!("{first} path= {}", kept.display()))
    }
}
