//! Creating a container: its root file system, its streams, its first process.

use std::path::Path;

use containerd_shim_protos::api;

use super::Shim;
use super::calls::CallId;
use super::failure::no_container;
use super::log::Level;
use super::make::kernel_pid;
use super::requests::encode;
use super::state::{Container, JobKey, Order, Process, ProcessKey, Role, Step, Task};
use crate::Error;
use crate::files::read_file;
use crate::host::{Bug, Errno, ExitStatus, Host, Mark, OpenFlags, close_all, write_all};
use crate::oci::{Runc, SPEC_MAX, Spec, find_program};
use crate::process::Life;
use crate::stdio::{Owner, TaskStdio, Wanted};
use crate::task::cgroup::{Cgroup, OomWatch};
use crate::task::mounts::{self, Mount};
use crate::task::options::Options;
use crate::ttrpc::Status;

impl Shim {
    /// Takes a container on, and begins to make it.
    pub(super) fn create<H: Host>(
        &mut self,
        host: &mut H,
        call: CallId,
        request: api::CreateTaskRequest,
    ) -> Result<(), Status> {
        let mounts: Vec<Mount> = request.rootfs.iter().map(Mount::from).collect();
        self.is_dismissed = false;
        if let Some(container) = self.containers.get(&request.id) {
            let init = container.init;
            if self.is_being(init, |task| matches!(task, Task::Create(_))) {
                self.order(host, init, Order { task: Task::Create(mounts), call });
                return Ok(());
            }
            return Err(Status::already_exists(format!("container {}", request.id)));
        }
        if self.ends.is_some() {
            host.mark(Mark::CreateWhileEnding);
            return Err(Status::unavailable("the shim is shutting down"));
        }
        let key = ProcessKey(self.new_key());
        let container = self.prepare_container(host, key, &request)?;
        let streams = [request.stdin.clone(), request.stdout, request.stderr];
        let mut init = Process {
            terminal: request.terminal,
            life: if request.checkpoint.is_empty() { Life::Created } else { Life::Restorable },
            ..Process::new(request.id.clone(), String::new(), streams)
        };
        init.stdio = self.open_stdio(host, &request.id, &container, &init)?;
        self.processes.insert(key, init);
        self.containers.insert(request.id, container);
        self.add_job(host, Task::Create(mounts), key, vec![call]);
        Ok(())
    }

    /// Everything about a container that can be known before it is made, and the files that tell
    /// it to those who clean up after us.
    fn prepare_container<H: Host>(
        &mut self,
        host: &mut H,
        init: ProcessKey,
        request: &api::CreateTaskRequest,
    ) -> Result<Container, Status> {
        let options = Options::from_any(request.options.as_ref())?;
        let bundle = Path::new(&request.bundle);
        let spec = read_spec(host, bundle);
        if !request.rootfs.is_empty() {
            make_directory(host, &bundle.join("rootfs"))?;
        }
        write_private(host, &bundle.join("options.json"), options.to_json().as_bytes())?;
        write_private(host, &bundle.join("runtime"), options.binary_name.as_bytes())?;
        let runtime = Runc {
            program: options.runtime_name().to_owned(),
            root: options.runtime_root(&self.namespace),
            log: bundle.join("log.json"),
            systemd_cgroup: options.systemd_cgroup,
            criu: options.criu_path.clone(),
        };
        Ok(Container {
            bundle: bundle.to_owned(),
            program: find_program(host, Path::new(&runtime.program), &self.env),
            runtime,
            options,
            checkpoint: request.checkpoint.clone(),
            init,
            execs: std::collections::BTreeMap::new(),
            // Where it is not known, others may live on; they are looked for.
            private_pids: spec.is_ok_and(|spec| spec.has_private_pid_namespace()),
            mounted: false,
            removed: false,
            disowned: false,
            cgroup: None,
            oom: None,
        })
    }

    /// Opens the streams of a process. The output of an init that takes all others with it when
    /// it ends may be the client's fifo itself.
    pub(super) fn open_stdio<H: Host>(
        &self,
        host: &mut H,
        id: &str,
        container: &Container,
        process: &Process,
    ) -> Result<TaskStdio, Error> {
        let is_init = process.exec_id.is_empty();
        let is_plain_init = is_init && !process.terminal;
        let has_output = !(process.stdout.is_empty() && process.stderr.is_empty());
        let wanted = Wanted {
            stdin: process.stdin.clone(),
            stdout: process.stdout.clone(),
            stderr: process.stderr.clone(),
            terminal: process.terminal,
            owner: Owner { uid: container.options.io_uid, gid: container.options.io_gid },
            direct: is_plain_init && container.private_pids,
            only_pipes: is_plain_init && has_output && self.finds_criu(host, &container.options),
            id: if is_init { id.to_owned() } else { process.exec_id.clone() },
            namespace: self.namespace.clone(),
        };
        TaskStdio::open(host, &wanted, &self.env)
    }

    /// Whether a checkpoint can be made here. criu refuses a process that has a fifo or file open
    /// which is not in the container; pipes are handed over by the runtime.
    fn finds_criu<H: Host>(&self, host: &mut H, options: &Options) -> bool {
        let criu = Some(&*options.criu_path).filter(|path| !path.is_empty()).unwrap_or("criu");
        find_program(host, Path::new(criu), &self.env).is_some()
    }

    pub(super) fn begin_create<H: Host>(&mut self, host: &mut H, key: JobKey, mounts: Vec<Mount>) {
        if mounts.is_empty() {
            return self.begin_make(host, key);
        }
        let Some((_, container)) = self.container_of(key) else { return };
        let rootfs = container.bundle.join("rootfs");
        self.step(key, Step::Mount, None);
        let job = mounts::Job::Mount { rootfs, mounts };
        if let Err(error) = self.start_mounter(host, key, &job) {
            self.fail_create(host, key, error.into());
        }
    }

    /// Has a child of ours mount or unmount.
    pub(super) fn start_mounter<H: Host>(
        &mut self,
        host: &mut H,
        key: JobKey,
        job: &mounts::Job,
    ) -> Result<(), Error> {
        let text = serde_json::to_vec(job).map_err(|error| Error::invalid("mounts", error))?;
        self.start_worker(host, key, mounts::command, &text)
    }

    pub(super) fn mounted<H: Host>(&mut self, host: &mut H, key: JobKey, status: ExitStatus) {
        if status.success() {
            self.container_mut(key, |container| container.mounted = true);
            return self.begin_make(host, key);
        }
        let reason = self.what_failed(host, key, status);
        let message = format!("failed to mount rootfs component: {reason}");
        self.fail_create(host, key, Status::unknown(message));
    }

    /// What a child of ours says went wrong, or how it ended without saying.
    pub(super) fn what_failed<H: Host>(
        &mut self,
        host: &mut H,
        key: JobKey,
        status: ExitStatus,
    ) -> String {
        let said = self.said(host, key);
        if said.is_empty() { status.to_string() } else { said }
    }

    pub(super) fn container_mut(&mut self, key: JobKey, change: impl FnOnce(&mut Container)) {
        let process = self.jobs.get(&key).and_then(|job| self.processes.get(&job.process));
        if let Some(container) =
            process.and_then(|process| self.containers.get_mut(&process.container))
        {
            change(container);
        }
    }

    /// The container is there: it is watched, told of, and the client gets the pid.
    pub(super) fn created<H: Host>(&mut self, host: &mut H, key: JobKey) {
        let Some((job, container)) = self.container_of(key) else { return };
        let Some(init) = self.processes.get(&job.process) else { return };
        let (id, pid, process) = (init.container.clone(), init.pid, job.process);
        let known = container.cgroup.is_some();
        if container.disowned && !self.is_wanted(key) {
            host.mark(Mark::CreateDisowned);
            return self.fail_create(host, key, no_container());
        }
        if pid != 0 && !known {
            self.find_cgroup(host, &id, pid);
        }
        let Some(Task::Create(mounts)) = self.jobs.get(&key).map(|job| job.task.clone()) else {
            return;
        };
        if host.planted(Bug::CreateForgotten) && !self.is_wanted(key) {
            self.forget_container(host, process);
            return self.finish(host, key, Err(no_container()));
        }
        self.tell_created(host, &id, &mounts);
        let mut response = api::CreateTaskResponse::new();
        response.pid = pid;
        self.finish(host, key, Ok(encode(&response)));
    }

    /// Whoever deletes a container that is not there yet, or tells its shim to go, knows nothing of
    /// it: that is a daemon whose predecessor was killed while it had the container made. Nobody would
    /// ever end it, so it is not kept.
    pub(super) fn disown(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        let job = self.processes.get(&container.init).and_then(|init| init.busy);
        let Some(key) = job else { return };
        let is_create = self.jobs.get(&key).is_some_and(|job| matches!(job.task, Task::Create(_)));
        if is_create && !self.is_wanted(key) {
            self.container_mut(key, |container| container.disowned = true);
        }
    }

    /// Whether somebody still waits for what a job does.
    pub(super) fn is_wanted(&self, key: JobKey) -> bool {
        let mut calls = self.jobs.get(&key).into_iter().flat_map(|job| &job.calls);
        calls.any(|call| self.server.is_waited_for(*call))
    }

    /// Finds where a container is counted, and watches its memory. It can be done without.
    pub(super) fn find_cgroup<H: Host>(&mut self, host: &mut H, id: &str, pid: u32) {
        let cgroup = match Cgroup::of_process(host, kernel_pid(pid)) {
            Ok(cgroup) => cgroup,
            Err(error) => return self.log.write(host, Level::Warning, &error.to_string()),
        };
        for error in cgroup.enable_controllers(host) {
            self.log.write(host, Level::Debug, &error.to_string());
        }
        let oom = OomWatch::start(host, &cgroup);
        if let Err(error) = &oom {
            self.log.write(host, Level::Warning, &error.to_string());
        }
        if let Some(container) = self.containers.get_mut(id) {
            container.cgroup = Some(cgroup);
            container.oom = oom.ok();
        }
    }

    /// Undoes what was done for a container that will not be; its name is free when that is done.
    pub(super) fn fail_create<H: Host>(&mut self, host: &mut H, key: JobKey, failure: Status) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        job.failure = Some(failure);
        let (process, made, is_there) = (job.process, job.made.take(), job.is_there);
        self.close_streams(host, process);
        if made.is_some() {
            self.supervisor.abandon(host, Role::Process(process));
        }
        self.step(key, Step::Undo, None);
        let Some((_, container)) = self.container_of(key) else { return };
        let Some(id) = self.processes.get(&process).map(|init| init.container.clone()) else {
            return;
        };
        if is_there {
            host.mark(Mark::CreateUndone);
            let argv = container.runtime.delete(&id, true);
            let streams = || super::jobs::Streams::Captured(None);
            // Nobody else will do it in time for another attempt.
            let started = self
                .start_runtime(host, key, argv.clone(), streams())
                .or_else(|_| self.start_runtime(host, key, argv, streams()));
            let Err(failure) = started else { return };
            let reason = failure.describe("the runtime");
            self.log.write(host, Level::Warning, &format!("after a failed create: {reason}"));
        }
        self.undo_mounts(host, key);
    }

    fn undo_mounts<H: Host>(&mut self, host: &mut H, key: JobKey) {
        let Some((_, container)) = self.container_of(key) else { return };
        if container.mounted {
            let rootfs = container.bundle.join("rootfs");
            self.container_mut(key, |container| container.mounted = false);
            match self.start_mounter(host, key, &mounts::Job::Unmount { rootfs }) {
                Ok(()) => return,
                Err(error) => self.log.write(host, Level::Error, &error.to_string()),
            }
        }
        self.give_up_create(host, key);
    }

    pub(super) fn undone<H: Host>(&mut self, host: &mut H, key: JobKey, status: ExitStatus) {
        if !status.success() {
            let reason = self.what_failed(host, key, status);
            self.log.write(host, Level::Warning, &format!("after a failed create: {reason}"));
        }
        self.undo_mounts(host, key);
    }

    fn give_up_create<H: Host>(&mut self, host: &mut H, key: JobKey) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let failure = job.failure.take().unwrap_or_else(no_container);
        let process = job.process;
        self.forget_container(host, process);
        self.finish(host, key, Err(failure));
        if self.is_dismissed && self.containers.is_empty() {
            self.end(host);
        }
    }

    /// Forgets a container and all of its processes, and closes what is open for them.
    pub(super) fn forget_container<H: Host>(&mut self, host: &mut H, init: ProcessKey) {
        let Some(id) = self.processes.get(&init).map(|init| init.container.clone()) else { return };
        let Some(mut container) = self.containers.remove(&id) else { return };
        if let Some(oom) = &mut container.oom {
            oom.close(host);
        }
        for key in [init].into_iter().chain(container.execs.into_values()) {
            self.forget_process(host, key);
        }
    }

    /// Closes the streams of a process that is not to be, at least for now. What is in them is the
    /// runtime's complaint, which its log has as well.
    pub(super) fn close_streams<H: Host>(&mut self, host: &mut H, key: ProcessKey) {
        let Some(process) = self.processes.get_mut(&key) else { return };
        process.stdio.close(host);
        if let Some(error) = process.stdio.untold() {
            self.log.write(host, Level::Warning, &error.to_string());
        }
    }

    /// Closes the streams of a process, and tells what of its output was lost.
    pub(super) fn close_telling<H: Host>(&mut self, host: &mut H, key: ProcessKey) {
        let Some(process) = self.processes.get_mut(&key) else { return };
        let lost = process.stdio.close(host);
        let untold = process.stdio.untold().map(|error| error.to_string());
        let lost = lost.into_iter().map(|(stream, count)| {
            host.mark(Mark::OutputLost);
            format!("{stream}: {count} bytes were never read and are lost")
        });
        let warnings: Vec<String> = lost.chain(untold).collect();
        for warning in warnings {
            let warning = format!("{} {}: {warning}", process.container, process.exec_id);
            self.log.write(host, Level::Warning, &warning);
        }
    }

    /// Forgets a process, and closes what is open for it.
    pub(super) fn forget_process<H: Host>(&mut self, host: &mut H, key: ProcessKey) {
        self.close_telling(host, key);
        let Some(process) = self.processes.remove(&key) else { return };
        self.end_logger(host, key);
        if !process.exec_id.is_empty() && host.planted(Bug::ExecsRemembered) {
            self.processes.insert(key, process.clone());
        }
        let gone = super::answers::wait_response(process.exit);
        for waiter in process.waiters {
            self.server.answer(waiter, Ok(encode(&gone)));
        }
        self.answer_the_queue_of_nobody(process.queue);
    }
}

fn read_spec<H: Host>(host: &mut H, bundle: &Path) -> Result<Spec, Error> {
    let path = bundle.join("config.json");
    let text = read_file(host, &path, SPEC_MAX)?;
    Spec::parse(&text).map_err(|reason| Error::invalid(path.display(), reason))
}

fn make_directory<H: Host>(host: &mut H, path: &Path) -> Result<(), Error> {
    match host.mkdir(path, 0o711) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(Error::system("mkdir", path.display(), errno)),
    }
}

/// Writes a file that only we may read.
pub(super) fn write_private<H: Host>(host: &mut H, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |errno| Error::system("write", path.display(), errno);
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::NOFOLLOW;
    let fd = host.open(path, flags, 0o600).map_err(failed)?;
    let written = write_all(host, fd, bytes);
    close_all(host, [fd]);
    written.map_err(failed)
}
