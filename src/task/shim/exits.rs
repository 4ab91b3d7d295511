//! The end of a process, and what is told of a container's life, in the order that daemons rely on:
//! created, started, the execs' ends, the init's end, deleted.

use std::time::Duration;

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as events;
use containerd_shim_protos::protobuf::{Message, MessageField};

use super::Shim;
use super::answers::wait_response;
use super::log::Level;
use super::make::kernel_pid;
use super::requests::encode;
use super::state::{Exited, ProcessKey, Role, Task};
use crate::host::{Bug, ExitStatus, Host, Mark, PollFd};
use crate::process::Life;
use crate::task::cgroup::OomWatch;
use crate::task::exit_record::{EXIT, ExitRecord};
use crate::task::mounts::Mount;
use crate::task::timestamp::timestamp;

/// As long as whoever has the output open likes, which is a hundred years at most.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Shim {
    /// A process has ended. Its streams come to their end from now on; what is told of it may have
    /// to wait.
    pub(super) fn process_ended<H: Host>(
        &mut self,
        host: &mut H,
        key: ProcessKey,
        status: ExitStatus,
    ) {
        let now = host.now();
        let mut drain = self.drain.unwrap_or(FOREVER);
        if host.planted(Bug::DrainCutsOutput) {
            drain = Duration::from_secs(2);
        }
        let Some(process) = self.processes.get_mut(&key) else { return };
        process.ended = Some(status);
        process.stdio.process_ended(host, now, drain);
    }

    /// Tells of every end that nothing has to be told before any more.
    pub(super) fn settle_ends<H: Host>(&mut self, host: &mut H) {
        let ended: Vec<ProcessKey> = self
            .processes
            .iter()
            .filter(|(_, process)| process.ended.is_some() && process.exit.is_none())
            .filter(|(_, it)| !host.planted(Bug::ExitWaitsForOutput) || it.stdio.is_drained())
            .map(|(key, _)| *key)
            .collect();
        let (inits, execs): (Vec<_>, Vec<_>) =
            ended.into_iter().partition(|key| self.is_init(*key));
        for key in execs {
            if !self.is_being_made(key) {
                self.tell_end(host, key);
            }
        }
        for key in inits {
            self.settle_init(host, key);
        }
    }

    fn is_init(&self, key: ProcessKey) -> bool {
        self.processes.get(&key).is_some_and(|process| process.exec_id.is_empty())
    }

    fn is_being_made(&self, key: ProcessKey) -> bool {
        self.is_being(key, |task| matches!(task, Task::Create(_) | Task::Start))
    }

    /// An init's end is the last of its container: first those go that it has left behind. While it
    /// is being frozen or thawed nobody knows whether it has to be thawed after that.
    fn settle_init<H: Host>(&mut self, host: &mut H, key: ProcessKey) {
        let is_changing = self.is_being(key, |task| matches!(task, Task::Pause | Task::Resume));
        let is_changing = is_changing && !host.planted(Bug::EndWhileFreezing);
        if is_changing {
            host.mark(Mark::EndWhileFreezing);
        }
        if self.is_being_made(key) || is_changing {
            return;
        }
        let Some(process) = self.processes.get(&key) else { return };
        let Some(container) = self.containers.get(&process.container) else { return };
        if process.cleaning.is_some() {
            return;
        }
        let cleaning = match process.life {
            Life::Paused if host.planted(Bug::StaysPaused) => None,
            Life::Paused => Some(Task::Thaw),
            _ if !container.private_pids && !process.cleaned => Some(Task::KillRest),
            _ => None,
        };
        if let Some(task) = cleaning {
            return self.clean(host, key, task);
        }
        if container.oom.is_some() && host.planted(Bug::EndAwaitsOom) {
            return;
        }
        let lives = |exec: &ProcessKey| {
            let exec = self.processes.get(exec);
            exec.is_some_and(|exec| exec.pid != 0 && exec.exit.is_none())
        };
        let others: Vec<ProcessKey> = container.execs.values().copied().collect();
        let is_awaited = others.iter().any(|exec| lives(exec) || self.is_being_made(*exec));
        if !is_awaited || host.planted(Bug::InitBeforeExecs) {
            self.tell_end(host, key);
        } else {
            host.mark(Mark::InitAwaitsExec);
        }
        // One may have been made while the others were being killed.
        if host.planted(Bug::ExecOutlivesInit) {
            return;
        }
        for exec in others {
            self.supervisor.kill(host, Role::Process(exec));
        }
    }

    /// Has the runtime do what an init's end waits for, once; whether it succeeds or not, this is
    /// settled when it is over.
    fn clean<H: Host>(&mut self, host: &mut H, key: ProcessKey, task: Task) {
        let Some(process) = self.processes.get_mut(&key) else { return };
        match task {
            Task::Thaw => {
                host.mark(Mark::DeadThawed);
                process.life = Life::Running;
            }
            _ => process.cleaned = true,
        }
        let job = self.add_job(host, task, key, Vec::new());
        if self.jobs.contains_key(&job)
            && let Some(process) = self.processes.get_mut(&key)
        {
            process.cleaning = Some(job);
        }
    }

    /// Tells of a process's end, if it has ended and that is not told yet.
    pub(super) fn tell_end<H: Host>(&mut self, host: &mut H, key: ProcessKey) {
        let Some(process) = self.processes.get_mut(&key) else { return };
        let (Some(status), None) = (process.ended, process.exit) else { return };
        let at = host.wall_clock();
        let exit = Exited { status: status.number().unsigned_abs(), at };
        process.exit = Some(exit);
        if process.life != Life::Paused || !host.planted(Bug::StaysPaused) {
            process.life = Life::Stopped;
        }
        let waiters = std::mem::take(&mut process.waiters);
        let (id, exec_id, pid) = (process.container.clone(), process.exec_id.clone(), process.pid);
        let is_init = exec_id.is_empty();
        if is_init {
            if !host.planted(Bug::OomAfterEnd) {
                self.look_for_last_oom(host, &id);
            }
            self.record_exit(host, &id, pid, exit);
        }
        let mut event = events::TaskExit::new();
        event.container_id.clone_from(&id);
        event.id = if is_init { id.clone() } else { exec_id };
        event.pid = pid;
        event.exit_status = exit.status;
        event.exited_at = timestamp(Some(at));
        if is_init || !host.planted(Bug::ExecEndsUntold) {
            self.tell(host, "/tasks/exit", "containerd.events.TaskExit", &event);
        }
        if is_init && host.planted(Bug::OomAfterEnd) {
            self.look_for_last_oom(host, &id);
        }
        let response = encode(&wait_response(Some(exit)));
        for waiter in waiters {
            self.server.answer(waiter, Ok(response.clone()));
        }
    }

    /// Leaves the exit in the bundle: whoever cleans up after us need not invent one.
    fn record_exit<H: Host>(&mut self, host: &mut H, id: &str, pid: u32, exit: Exited) {
        let Some(container) = self.containers.get(id) else { return };
        let Exited { status: exit_status, at: exited_at } = exit;
        let record = ExitRecord { pid: kernel_pid(pid), exit_status, exited_at };
        if let Err(error) = record.write(host, &container.bundle, EXIT) {
            host.mark(Mark::RecordFailed);
            self.log.write(host, Level::Warning, &error.to_string());
        }
    }

    /// Tells of containers that have run out of memory.
    pub(super) fn watch_memory<H: Host>(&mut self, host: &mut H, answers: &[PollFd]) {
        let (mut struck, mut failed) = (Vec::new(), Vec::new());
        for (id, container) in &mut self.containers {
            if let Some(oom) = &mut container.oom {
                let kills = oom.turn(host, answers);
                struck.extend(std::iter::repeat_n(id.clone(), kills.min(1) as usize));
                failed.extend(oom.failed().map(|error| format!("{id}: {error}")));
            }
        }
        for failure in failed {
            self.log.write(host, Level::Warning, &failure);
        }
        for id in struck {
            self.tell_oom(host, &id);
        }
    }

    /// An OOM kill is told before the exit that came of it, or not at all. A watch that could not begin
    /// may have been for want of a descriptor; it would have told of nothing yet.
    fn look_for_last_oom<H: Host>(&mut self, host: &mut H, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let begun = container.oom.take();
        let late = || OomWatch::start(host, container.cgroup.as_ref()?).ok();
        let Some(mut oom) = begun.or_else(late) else { return };
        let kills = oom.check(host);
        oom.close(host);
        if kills > 0 {
            host.mark(Mark::LateOom);
            self.tell_oom(host, id);
        }
    }

    fn tell<H: Host, M: Message>(&mut self, host: &mut H, topic: &str, name: &str, event: &M) {
        self.events.publish(host, topic, name, encode(event));
    }

    fn tell_oom<H: Host>(&mut self, host: &mut H, id: &str) {
        let mut event = events::TaskOOM::new();
        id.clone_into(&mut event.container_id);
        self.tell(host, "/tasks/oom", "containerd.events.TaskOOM", &event);
    }

    pub(super) fn tell_created<H: Host>(&mut self, host: &mut H, id: &str, mounts: &[Mount]) {
        let Some(container) = self.containers.get(id) else { return };
        let Some(init) = self.processes.get(&container.init) else { return };
        let mut event = events::TaskCreate::new();
        id.clone_into(&mut event.container_id);
        event.bundle = container.bundle.to_string_lossy().into_owned();
        for mount in mounts {
            event.rootfs.push(Default::default());
            // The crate keeps this type's name to itself.
            if let Some(message) = event.rootfs.last_mut() {
                message.type_.clone_from(&mount.kind);
                message.source.clone_from(&mount.source);
                message.target.clone_from(&mount.target);
                message.options.clone_from(&mount.options);
            }
        }
        let mut io = events::TaskIO::new();
        io.stdin.clone_from(&init.stdin);
        io.stdout.clone_from(&init.stdout);
        io.stderr.clone_from(&init.stderr);
        io.terminal = init.terminal;
        event.io = MessageField::some(io);
        event.checkpoint.clone_from(&container.checkpoint);
        event.pid = init.pid;
        self.tell(host, "/tasks/create", "containerd.events.TaskCreate", &event);
    }

    pub(super) fn tell_started<H: Host>(
        &mut self,
        host: &mut H,
        id: &str,
        exec_id: &str,
        pid: u32,
    ) {
        if exec_id.is_empty() {
            let mut event = events::TaskStart::new();
            id.clone_into(&mut event.container_id);
            event.pid = pid;
            self.tell(host, "/tasks/start", "containerd.events.TaskStart", &event);
        } else {
            let mut event = events::TaskExecStarted::new();
            id.clone_into(&mut event.container_id);
            exec_id.clone_into(&mut event.exec_id);
            event.pid = pid;
            self.tell(host, "/tasks/exec-started", "containerd.events.TaskExecStarted", &event);
        }
    }

    pub(super) fn tell_exec_added<H: Host>(&mut self, host: &mut H, id: &str, exec_id: &str) {
        let mut event = events::TaskExecAdded::new();
        id.clone_into(&mut event.container_id);
        exec_id.clone_into(&mut event.exec_id);
        self.tell(host, "/tasks/exec-added", "containerd.events.TaskExecAdded", &event);
    }

    pub(super) fn tell_deleted<H: Host>(
        &mut self,
        host: &mut H,
        id: &str,
        response: &api::DeleteResponse,
    ) {
        let mut event = events::TaskDelete::new();
        id.clone_into(&mut event.container_id);
        event.pid = response.pid;
        event.exit_status = response.exit_status;
        event.exited_at = response.exited_at.clone();
        self.tell(host, "/tasks/delete", "containerd.events.TaskDelete", &event);
    }

    pub(super) fn tell_paused<H: Host>(&mut self, host: &mut H, id: &str) {
        let mut event = events::TaskPaused::new();
        id.clone_into(&mut event.container_id);
        self.tell(host, "/tasks/paused", "containerd.events.TaskPaused", &event);
    }

    pub(super) fn tell_resumed<H: Host>(&mut self, host: &mut H, id: &str) {
        let mut event = events::TaskResumed::new();
        id.clone_into(&mut event.container_id);
        self.tell(host, "/tasks/resumed", "containerd.events.TaskResumed", &event);
    }
}
