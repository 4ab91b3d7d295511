//! The daemon's calls: short programs, connections, questions, and what the answers tell.

use std::collections::BTreeMap;
use std::time::Duration;

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::Message;
use wavetank::host::{Fd, Host, PollFd, Ready};
use wavetank::manager::events::ReceivedEvent;
use wavetank::manager::tasks::TaskClient;

use super::super::daemon::{LOOK_AGAIN, named};
use super::super::told::Told;
use super::{Daemon, LONGEST_LIFE, Link, Setback};
use crate::caller::SimHost;
use crate::task::asks;
use crate::task::launch::{Complains, Launch, Said};
use crate::task::plan::{Ask, Exit, Name, exec_of};

/// How long a call may take that is not Wait; a short program as well.
const LONGEST_CALL: Duration = Duration::from_secs(15);

impl Daemon<'_> {
    /// Waits for something to happen, and takes note of it.
    pub(super) fn turn(&mut self, host: &mut SimHost<'_>, timeout: Option<Duration>) {
        self.turn_with(host, timeout, None);
    }

    fn turn_with(
        &mut self,
        host: &mut SimHost<'_>,
        timeout: Option<Duration>,
        launch: Option<&Launch>,
    ) -> Vec<PollFd> {
        let mut questions: Vec<PollFd> =
            self.logs.values().map(|fd| PollFd::new(*fd, Ready::READ)).collect();
        questions.extend(launch.map(Launch::question));
        let links = self.links.values().filter(|link| !link.is_dead);
        questions.extend(links.map(|link| link.client.question()));
        if let Some(receiver) = &self.receiver {
            receiver.ask(&mut questions);
        }
        let _ = host.poll(&mut questions, timeout);
        let is_ready =
            |fd: Fd| questions.iter().any(|answer| answer.fd == fd && !answer.ready.is_empty());
        for log in self.logs.values().filter(|fd| is_ready(**fd)) {
            let mut buffer = [0; 4096];
            if let Ok(count) = host.read(*log, &mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]);
                self.told.borrow_mut().log.push_str(&text);
            }
        }
        let (flow, told) = (self.flow, self.told);
        if let Some(receiver) = &mut self.receiver {
            receiver.turn_noting(host, &questions, &mut |event| {
                let name = |text: &str| named(flow, text).map(|process| process.name);
                note_event(&mut told.borrow_mut(), &event, &name);
            });
        }
        for link in self.links.values_mut().filter(|link| !link.is_dead) {
            if is_ready(link.client.fd()) {
                link.is_dead = link.client.turn(host).is_err();
            }
        }
        questions
    }

    /// Takes what is on its way from shims that are gone or going.
    pub(super) fn settle(&mut self, host: &mut SimHost<'_>) {
        for _ in 0..5 {
            self.turn(host, Some(LOOK_AGAIN));
        }
    }

    /// Runs one of the shim's short programs.
    pub(super) fn launch(
        &mut self,
        host: &mut SimHost<'_>,
        container: Name,
        action: &'static str,
    ) -> Result<Said, String> {
        let mut launch = Launch::begin(host, container, action, self.manner, Complains::Never)?;
        let mut until = host.now() + LONGEST_CALL;
        loop {
            let left = until.saturating_sub(host.now());
            let answers = self.turn_with(host, Some(left), Some(&launch));
            if let Some(said) = launch.turn(host, &answers) {
                return said;
            }
            if host.now() >= until {
                self.wrong(format!("{action} of {container} took longer than {LONGEST_CALL:?}"));
                launch.kill(host);
                until += LONGEST_CALL;
            }
        }
    }

    pub(super) fn connect(
        &mut self,
        host: &mut SimHost<'_>,
        container: Name,
        address: &str,
        is_own: bool,
    ) -> bool {
        let Ok(client) = TaskClient::connect(host, address) else { return false };
        let client = client.service(self.service);
        let link = Link { client, is_dead: false, waits: BTreeMap::new(), is_own };
        self.links.insert(container, link);
        true
    }

    fn send(&mut self, host: &mut SimHost<'_>, container: Name, ask: Ask) -> Result<u32, Setback> {
        let link = self.links.get_mut(container).filter(|link| !link.is_dead);
        let link = link.ok_or(Setback::Dead)?;
        let sent = asks::send(host, &mut link.client, &ask, &self.flow.plan.processes);
        sent.map_err(|_| {
            link.is_dead = true;
            Setback::Dead
        })
    }

    /// Calls, and waits for the answer; a refusal is a setback.
    pub(super) fn ask(
        &mut self,
        host: &mut SimHost<'_>,
        container: Name,
        ask: Ask,
    ) -> Result<Vec<u8>, Setback> {
        self.ask_or(host, container, ask)?
            .map_err(|why| Setback::Refused(format!("{ask:?} was answered: {why}")))
    }

    /// Calls, and waits for the answer, which may be a refusal.
    pub(super) fn ask_or(
        &mut self,
        host: &mut SimHost<'_>,
        container: Name,
        ask: Ask,
    ) -> Result<Result<Vec<u8>, String>, Setback> {
        let stream = self.send(host, container, ask)?;
        self.answer(host, container, stream, LONGEST_CALL, &format!("{ask:?}"))
    }

    fn answer(
        &mut self,
        host: &mut SimHost<'_>,
        container: Name,
        stream: u32,
        limit: Duration,
        what: &str,
    ) -> Result<Result<Vec<u8>, String>, Setback> {
        let until = host.now() + limit;
        loop {
            let Some(link) = self.links.get_mut(container) else { return Err(Setback::Dead) };
            if let Some(answer) = link.client.take(stream) {
                return Ok(answer.map_err(|status| status.to_string()));
            }
            if link.is_dead {
                return Err(Setback::Dead);
            }
            let left = until.saturating_sub(host.now());
            if left.is_zero() {
                self.wrong(format!("{what} is not answered within {limit:?}"));
                return Err(Setback::Dead);
            }
            self.turn(host, Some(left));
        }
    }

    pub(super) fn begin_wait(&mut self, host: &mut SimHost<'_>, container: Name, name: Name) {
        if let Ok(stream) = self.send(host, container, Ask::Wait(name))
            && let Some(link) = self.links.get_mut(container)
        {
            link.waits.insert(name, stream);
        }
    }

    /// Waits for a process's end, and notes it.
    pub(super) fn await_end(
        &mut self,
        host: &mut SimHost<'_>,
        container: Name,
        name: Name,
    ) -> Result<(), Setback> {
        let link = self.links.get_mut(container).ok_or(Setback::Dead)?;
        let stream = link.waits.remove(name).ok_or(Setback::Dead)?;
        let what = format!("Wait({name})");
        let payload = self.answer(host, container, stream, LONGEST_LIFE, &what)?;
        let payload = payload.map_err(Setback::Refused)?;
        self.note_exit(name, "Wait", &payload);
        Ok(())
    }

    /// Of `CreateTaskResponse` and `StartResponse` alike the first field is the pid.
    pub(super) fn note_pid(&self, name: Name, payload: &[u8]) {
        match api::StartResponse::parse_from_bytes(payload) {
            Ok(response) => {
                self.told.borrow_mut().life(name).pids.insert(name, response.pid);
            }
            Err(error) => self.wrong(format!("the pid of {name}: {error}")),
        }
    }

    pub(super) fn note_started(&self, name: Name, payload: &[u8]) {
        self.note_pid(name, payload);
        self.told.borrow_mut().life(name).started.insert(name);
    }

    pub(super) fn note_exit(&self, name: Name, source: &'static str, payload: &[u8]) {
        let exit = match source {
            "Wait" => api::WaitResponse::parse_from_bytes(payload)
                .map(|it| asks::exit(it.exit_status, it.exited_at.as_ref())),
            "Delete" => api::DeleteResponse::parse_from_bytes(payload)
                .map(|it| asks::exit(it.exit_status, it.exited_at.as_ref())),
            _ => api::StateResponse::parse_from_bytes(payload)
                .map(|it| asks::exit(it.exit_status, it.exited_at.as_ref())),
        };
        match exit {
            Ok(Some(exit)) => self.told.borrow_mut().exit(name, source, exit),
            Ok(None) => self.wrong(format!("{source} of {name}: no end")),
            Err(error) => self.wrong(format!("{source} of {name}: {error}")),
        }
    }

    /// Of what nobody knows as made it has to invent an end.
    pub(super) fn note_deletion(&self, container: Name, exit: Option<Exit>) {
        let mut told = self.told.borrow_mut();
        let is_known = told.life(container).pids.contains_key(container);
        if let Some(exit) = exit.filter(|_| is_known) {
            told.exit(container, "delete", exit);
        }
    }
}

fn note_event(told: &mut Told, received: &ReceivedEvent, name: &dyn Fn(&str) -> Option<Name>) {
    let event = match asks::event(received) {
        Ok(event) => event,
        Err(error) => return told.wrong.push(error),
    };
    let Some(name) = name(&event.name) else {
        return told.wrong.push(format!("an event about {}", event.name));
    };
    let life = told.life_with(name, event.pid);
    match (event.topic.as_str(), event.exit) {
        ("/tasks/exit", Some(exit)) => {
            life.pids.insert(name, event.pid);
            life.events.insert(name);
            life.exits.entry(name).or_default().push(("TaskExit", exit));
        }
        ("/tasks/delete", Some(exit)) if exec_of(name).is_empty() => {
            life.exits.entry(name).or_default().push(("TaskDelete", exit));
        }
        ("/tasks/start" | "/tasks/exec-started", _) => {
            life.pids.insert(name, event.pid);
            life.started.insert(name);
        }
        ("/tasks/create", _) => drop(life.pids.insert(name, event.pid)),
        _ => {}
    }
}
