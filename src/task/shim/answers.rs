//! What is answered at once, whatever a runtime is doing.

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{EnumOrUnknown, MessageField};
use containerd_shim_protos::shim::oci::ProcessDetails;

use super::Shim;
use super::calls::CallId;
use super::failure::{already_finished, no_container, no_process};
use super::make::kernel_pid;
use super::requests::{Answer, encode};
use super::state::{Container, Exited, Order, Process, ProcessKey, Task};
use crate::host::{Bug, Errno, Host, Signal, WindowSize};
use crate::process::{Act, Life};
use crate::stdio::TaskStdio;
use crate::task::timestamp::timestamp;
use crate::ttrpc::Status;

/// More do not wait for one process at the same time.
const WAITERS_MAX: usize = 4096;

impl Shim {
    /// The container of that id, if it is there already, and still.
    pub(super) fn container(&self, id: &str) -> Result<&Container, Status> {
        let container = self.containers.get(id).ok_or_else(no_container)?;
        let is_coming = self.is_being(container.init, |task| matches!(task, Task::Create(_)));
        if is_coming { Err(no_container()) } else { Ok(container) }
    }

    /// The process of that name.
    pub(super) fn find(&self, id: &str, exec_id: &str) -> Result<ProcessKey, Status> {
        let container = self.container(id)?;
        if exec_id.is_empty() {
            return Ok(container.init);
        }
        container.execs.get(exec_id).copied().ok_or_else(|| no_process(exec_id))
    }

    /// A process and its key.
    fn process(&self, id: &str, exec_id: &str) -> Result<(ProcessKey, &Process), Status> {
        let key = self.find(id, exec_id)?;
        self.processes.get(&key).map(|process| (key, process)).ok_or_else(no_container)
    }

    fn process_mut(&mut self, id: &str, exec_id: &str) -> Result<&mut Process, Status> {
        let key = self.find(id, exec_id)?;
        self.processes.get_mut(&key).ok_or_else(no_container)
    }

    /// Whether something of this kind is being done to a process.
    pub(super) fn is_being(&self, key: ProcessKey, kind: impl Fn(&Task) -> bool) -> bool {
        let job = self.processes.get(&key).and_then(|process| process.busy);
        job.and_then(|job| self.jobs.get(&job)).is_some_and(|job| kind(&job.task))
    }

    pub(super) fn state(&self, request: &api::StateRequest) -> Result<api::StateResponse, Status> {
        let container = self.container(&request.id)?;
        let (_, process) = self.process(&request.id, &request.exec_id)?;
        let init = self.processes.get(&container.init).map(|init| init.life);
        // An exec is frozen with its container.
        let life = match (process.life, init) {
            (Life::Running, Some(frozen @ (Life::Pausing | Life::Paused))) => frozen,
            (life, _) => life,
        };
        let mut response = api::StateResponse::new();
        // An exec goes by its own name here, as with containerd's shim.
        let name = if request.exec_id.is_empty() { &request.id } else { &request.exec_id };
        response.id.clone_from(name);
        response.bundle = container.bundle.to_string_lossy().into_owned();
        response.pid = process.pid;
        response.status = EnumOrUnknown::new(status(life));
        response.stdin.clone_from(&process.stdin);
        response.stdout.clone_from(&process.stdout);
        response.stderr.clone_from(&process.stderr);
        response.terminal = process.terminal;
        response.exit_status = process.exit.map_or(0, |exit| exit.status);
        response.exited_at = timestamp(process.exit.map(|exit| exit.at));
        response.exec_id.clone_from(&request.exec_id);
        Ok(response)
    }

    pub(super) fn connect<H: Host>(
        &self,
        host: &mut H,
        request: &api::ConnectRequest,
    ) -> api::ConnectResponse {
        let mut response = api::ConnectResponse::new();
        response.shim_pid = host.pid().0.unsigned_abs();
        response.task_pid = self.process(&request.id, "").map_or(0, |(_, init)| init.pid);
        response
    }

    pub(super) fn pids<H: Host>(
        &self,
        host: &mut H,
        request: &api::PidsRequest,
    ) -> Result<api::PidsResponse, Status> {
        let container = self.container(&request.id)?;
        let mine = |key: &ProcessKey| {
            let process = self.processes.get(key)?;
            let lives = process.pid != 0 && process.ended.is_none() && process.exit.is_none();
            lives.then_some((process.pid, process.exec_id.as_str()))
        };
        let known: Vec<(u32, &str)> = [&container.init]
            .into_iter()
            .chain(container.execs.values())
            .filter_map(mine)
            .collect();
        let pids = match container.cgroup.as_ref().map(|cgroup| cgroup.pids(host)) {
            Some(Ok(pids)) => pids.into_iter().map(|pid| pid.0.unsigned_abs()).collect(),
            // Without a cgroup we know of those that we have made.
            _ => known.iter().map(|(pid, _)| *pid).collect::<Vec<_>>(),
        };
        let mut response = api::PidsResponse::new();
        for pid in pids {
            let mut info = api::ProcessInfo::new();
            info.pid = pid;
            let exec = known.iter().find(|(known, exec_id)| *known == pid && !exec_id.is_empty());
            if let Some((_, exec_id)) = exec {
                let mut details = ProcessDetails::new();
                details.exec_id = (*exec_id).to_owned();
                info.info =
                    MessageField::some(any("containerd.runc.v1.ProcessDetails", encode(&details)));
            }
            response.processes.push(info);
        }
        Ok(response)
    }

    pub(super) fn stats<H: Host>(
        &self,
        host: &mut H,
        request: &api::StatsRequest,
    ) -> Result<api::StatsResponse, Status> {
        let container = self.container(&request.id)?;
        let gone = || Status::not_found("cgroup does not exist");
        let cgroup = container.cgroup.as_ref().ok_or_else(gone)?;
        let (type_url, metrics) = cgroup.stats(host).map_err(|_| gone())?;
        let mut response = api::StatsResponse::new();
        response.stats = MessageField::some(any(&type_url, metrics));
        Ok(response)
    }

    /// Answers now, or when the process has ended.
    pub(super) fn wait<H: Host>(
        &mut self,
        host: &H,
        call: CallId,
        request: &api::WaitRequest,
    ) -> Answer {
        let key = self.find(&request.id, &request.exec_id)?;
        let Shim { processes, server, .. } = self;
        let process = processes.get_mut(&key).ok_or_else(no_container)?;
        let is_over = process.exit.is_some() || process.failed;
        if is_over && !host.planted(Bug::WaitsOnlyForward) {
            return Ok(Some(encode(&wait_response(process.exit))));
        }
        // Whoever gave up waiting is forgotten when the next one comes.
        process.waiters.retain(|waiter| server.is_waited_for(*waiter));
        if process.waiters.len() >= WAITERS_MAX {
            // ttrpc does not tell of those who gave up; the first ones are the likeliest.
            server.answer(process.waiters.remove(0), Err(Status::canceled()));
        }
        process.waiters.push(call);
        Ok(None)
    }

    /// Takes note of a process that is to be started later.
    pub(super) fn exec<H: Host>(
        &mut self,
        host: &mut H,
        request: api::ExecProcessRequest,
    ) -> Result<(), Status> {
        let (_, init) = self.process(&request.id, "")?;
        let life = init.life;
        let container = self.container(&request.id)?;
        if container.execs.contains_key(&request.exec_id) {
            return Err(Status::already_exists(format!("id {}", request.exec_id)));
        }
        life.allows(Act::Exec)?;
        let name = &request.exec_id;
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(Status::invalid_argument(format!("exec id {name:?} is no file name")));
        }
        let key = ProcessKey(self.new_key());
        self.processes.insert(
            key,
            Process {
                terminal: request.terminal,
                spec: request.spec.into_option().unwrap_or_default().value,
                ..Process::new(
                    request.id.clone(),
                    request.exec_id.clone(),
                    [request.stdin, request.stdout, request.stderr],
                )
            },
        );
        if let Some(container) = self.containers.get_mut(&request.id) {
            container.execs.insert(request.exec_id.clone(), key);
        }
        self.tell_exec_added(host, &request.id, &request.exec_id);
        Ok(())
    }

    pub(super) fn close_io<H: Host>(
        &mut self,
        host: &mut H,
        request: &api::CloseIORequest,
    ) -> Result<(), Status> {
        let process = self.process_mut(&request.id, &request.exec_id)?;
        process.stdin_closed = !host.planted(Bug::ForgottenCloseIo);
        process.stdio.close_stdin(host);
        Ok(())
    }

    pub(super) fn resize_pty<H: Host>(
        &mut self,
        host: &mut H,
        request: &api::ResizePtyRequest,
    ) -> Result<(), Status> {
        let process = self.process_mut(&request.id, &request.exec_id)?;
        if !process.exec_id.is_empty() && process.life == Life::Stopped {
            return Err(Status::unknown("cannot resize a stopped container"));
        }
        let number = |size: u32| u16::try_from(size).unwrap_or(u16::MAX);
        let size = WindowSize { columns: number(request.width), rows: number(request.height) };
        process.size = Some(size);
        Ok(process.stdio.resize(host, size)?)
    }

    /// Ends the shim if it has nothing left to look after; not otherwise, whatever is asked.
    pub(super) fn shut_down<H: Host>(&mut self, host: &mut H, id: &str) {
        self.disown(id);
        self.is_dismissed = self.containers.values().all(|container| container.disowned);
        if self.containers.is_empty() || host.planted(Bug::ShutDownWithOthers) {
            self.end(host);
        }
    }

    /// Sends a signal: ourselves where that is exactly what the runtime would do.
    pub(super) fn kill<H: Host>(
        &mut self,
        host: &mut H,
        call: CallId,
        request: &api::KillRequest,
    ) -> Answer {
        let (key, process) = self.process(&request.id, &request.exec_id)?;
        let (signal, all) = (request.signal, request.all);
        if process.exec_id.is_empty() {
            process.life.allows(Act::Kill)?;
            if host.planted(Bug::KillWaitsItsTurn) {
                self.order(host, key, Order { task: Task::Kill { signal, all }, call });
                return Ok(None);
            }
            if !self.may_signal_init(host, process, signal, all) {
                self.add_job(host, Task::Kill { signal, all }, key, vec![call]);
                return Ok(None);
            }
        } else if process.pid == 0 {
            return Err(Status::failed_precondition("process not created"));
        }
        let process = self.process(&request.id, &request.exec_id)?.1;
        let has_ended = process.ended.is_some() || process.exit.is_some();
        if has_ended && !host.planted(Bug::SignalToANumber) {
            return Err(already_finished());
        }
        // It is our child and not reaped, so the number is still its own.
        let pid = kernel_pid(process.pid);
        match host.kill(pid, Signal(i32::try_from(signal).unwrap_or(i32::MAX))) {
            Ok(()) => Ok(Some(encode(&api::Empty::new()))),
            Err(Errno::ESRCH) => Err(already_finished()),
            Err(errno) if process.exec_id.is_empty() => {
                Err(Status::unknown(format_args!("unknown error after kill: {errno}")))
            }
            Err(errno) => Err(Status::unknown(format_args!("exec kill error: {errno}"))),
        }
    }

    /// runc and crun send a signal to init and to nobody else, unless all are meant, or a frozen
    /// container has to be thawed so that it can die, or init has no pid namespace that would die
    /// with it. What other runtimes do is theirs to say.
    fn may_signal_init<H: Host>(
        &self,
        host: &mut H,
        init: &Process,
        signal: u32,
        all: bool,
    ) -> bool {
        let Ok(container) = self.container(&init.container) else { return false };
        if init.ended.is_some() || init.exit.is_some() {
            return true;
        }
        let is_known = container.is_of_known_runtime();
        let kills = signal == Signal::KILL.0.unsigned_abs();
        let is_plain = matches!(init.life, Life::Created | Life::Running) && init.pid != 0;
        let is_frozen =
            kills && container.cgroup.as_ref().is_some_and(|cgroup| cgroup.is_frozen(host));
        is_known && is_plain && !all && !is_frozen && (!kills || container.private_pids)
    }
}

/// An `Any` with a bare type name, as containerd's `typeurl` writes it.
pub(super) fn any(type_url: &str, value: Vec<u8>) -> Any {
    let mut message = Any::new();
    message.type_url = type_url.to_owned();
    message.value = value;
    message
}

pub(super) fn wait_response(exit: Option<Exited>) -> api::WaitResponse {
    let mut response = api::WaitResponse::new();
    response.exit_status = exit.map_or(0, |exit| exit.status);
    response.exited_at = timestamp(exit.map(|exit| exit.at));
    response
}

fn status(life: Life) -> api::Status {
    match life {
        Life::Created | Life::Restorable => api::Status::CREATED,
        Life::Running => api::Status::RUNNING,
        Life::Pausing => api::Status::PAUSING,
        Life::Paused => api::Status::PAUSED,
        Life::Stopped | Life::Deleted => api::Status::STOPPED,
    }
}

impl Process {
    /// A process that nobody has made yet.
    pub(super) fn new(container: String, exec_id: String, streams: [String; 3]) -> Process {
        let [stdin, stdout, stderr] = streams;
        Process {
            container,
            exec_id,
            life: Life::Created,
            pid: 0,
            stdin,
            stdout,
            stderr,
            terminal: false,
            spec: Vec::new(),
            stdio: TaskStdio::default(),
            stdin_closed: false,
            size: None,
            ended: None,
            cleaning: None,
            cleaned: false,
            exit: None,
            failed: false,
            waiters: Vec::new(),
            busy: None,
            queue: std::collections::VecDeque::new(),
        }
    }
}
