//! The daemon and its clients as one actor: does what the plan says, and tells what it saw.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use wavetank::host::{Fd, Host, OpenFlags, PollFd, Ready, Signal, close_all};
use wavetank::manager::events::EventReceiver;
use wavetank::manager::tasks::{TASK_V2, TASK_V3, TaskClient};
use wavetank::ttrpc::{Code, Status};

use super::flows::Flow;
use super::launch::{Launch, Manner, Said, event_socket, socket_dir};
use super::plan::{
    Answer, Ask, Exit, Name, Process, Step, Told, Until, container_of, done, exec_of,
};
use super::streams::Streams;
use super::{CGROUP_DIR, SHIM, SOCKETS, WORK, asks, memory_events};
use crate::caller::SimHost;

/// How long the daemon waits before it looks again for what no descriptor tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How long a shim may stay after it was told to go.
const LONGEST_STAY: Duration = Duration::from_secs(30);

/// One thread of the daemon.
struct Thread {
    steps: VecDeque<Step>,
    client: Option<TaskClient>,
    /// Calls that are not answered yet.
    open: Vec<Open>,
    /// The call that the thread waits for.
    awaited: Option<u32>,
    launch: Option<Launch>,
    /// When a rest is over.
    until: Option<Duration>,
    /// Which shim it speaks with.
    container: Option<Name>,
    /// Ends that must be asked for again on the next connection.
    lost_waits: Vec<Name>,
}

struct Open {
    stream: u32,
    ask: Ask,
    answer: Answer,
}

struct Daemon<'f> {
    flow: &'f Flow,
    manner: Manner,
    service: &'static str,
    receiver: Option<EventReceiver>,
    threads: Vec<Thread>,
    streams: BTreeMap<Name, Streams>,
    logs: Vec<Fd>,
    addresses: BTreeMap<Name, String>,
    marks: BTreeSet<&'static str>,
    ended: BTreeSet<Name>,
    census: Option<Vec<String>>,
    told: Told,
}

pub(super) fn play(host: &mut SimHost<'_>, flow: &Flow) -> Told {
    let manner = if host.choose(2) == 0 { Manner::Messages } else { Manner::Plain };
    let service = if host.choose(2) == 0 { TASK_V2 } else { TASK_V3 };
    let thread = |steps: &Vec<Step>| Thread {
        steps: steps.iter().cloned().collect(),
        client: None,
        open: Vec::new(),
        awaited: None,
        launch: None,
        until: None,
        container: None,
        lost_waits: Vec::new(),
    };
    let mut daemon = Daemon {
        flow,
        manner,
        service,
        receiver: None,
        threads: flow.plan.threads.iter().map(thread).collect(),
        streams: BTreeMap::new(),
        logs: Vec::new(),
        addresses: BTreeMap::new(),
        marks: BTreeSet::new(),
        ended: BTreeSet::new(),
        census: None,
        told: Told::default(),
    };
    daemon.begin(host);
    while daemon.threads.iter().any(|thread| !thread.is_over()) {
        daemon.go_on(host);
    }
    daemon.see_shims_off(host);
    daemon.finish(host)
}

impl Thread {
    fn is_over(&self) -> bool {
        self.steps.is_empty() && self.awaited.is_none() && self.launch.is_none()
    }
}

impl Daemon<'_> {
    fn begin(&mut self, host: &mut SimHost<'_>) {
        self.listen(host);
        for process in &self.flow.plan.processes {
            match Streams::make(host, process) {
                Ok(streams) => drop(self.streams.insert(process.name, streams)),
                Err(errno) => self.told.wrong.push(format!("mkfifo: {errno}")),
            }
            if exec_of(process.name).is_empty() {
                let log = Path::new(WORK).join("bundles").join(process.name).join("log");
                let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::NONBLOCK;
                self.logs.extend(host.open(&log, flags, 0));
            }
        }
    }

    fn listen(&mut self, host: &mut SimHost<'_>) {
        match EventReceiver::listen(host, &event_socket()) {
            Ok(receiver) => self.receiver = Some(receiver),
            Err(error) => self.told.wrong.push(error.to_string()),
        }
    }

    /// One thread does a step, or nobody does and others get their turn.
    fn go_on(&mut self, host: &mut SimHost<'_>) {
        let now = host.now();
        let able: Vec<usize> = (0..self.threads.len()).filter(|at| self.can_go(*at, now)).collect();
        if able.is_empty() {
            return self.turn(host, None);
        }
        // First those who can; then everybody else in the machine a little, or as far as they come.
        match host.choose(able.len() + 2) {
            choice if choice < able.len() => self.do_step(host, able[choice]),
            choice if choice == able.len() => self.turn(host, Some(Duration::ZERO)),
            _ => self.turn(host, Some(LOOK_AGAIN)),
        }
    }

    fn can_go(&self, at: usize, now: Duration) -> bool {
        let thread = &self.threads[at];
        if thread.awaited.is_some() || thread.launch.is_some() {
            return false;
        }
        match thread.steps.front() {
            None => false,
            Some(Step::Ask(ask, _) | Step::Begin(ask, _)) => {
                self.addresses.contains_key(container_of(ask.name()))
            }
            Some(Step::Until(Until::Passed(_))) => thread.until.is_none_or(|until| until <= now),
            Some(Step::Until(until)) => self.has_come(*until),
            Some(_) => true,
        }
    }

    fn has_come(&self, until: Until) -> bool {
        match until {
            Until::Ended(name) => self.ended.contains(name),
            Until::Told(topic, name) => {
                self.told.events.iter().any(|event| event.topic == topic && event.name == name)
            }
            Until::Output(name, count) => {
                self.streams.get(name).is_some_and(|it| it.outputs[0].bytes.len() >= count)
            }
            Until::Eof(name) => self.streams.get(name).is_some_and(Streams::has_ended),
            Until::Marked(mark) => self.marks.contains(mark),
            Until::Passed(_) => true,
        }
    }

    fn do_step(&mut self, host: &mut SimHost<'_>, at: usize) {
        if let Some(Step::Until(Until::Passed(time))) = self.threads[at].steps.front()
            && self.threads[at].until.is_none()
        {
            self.threads[at].until = Some(host.now() + Duration::from_millis(*time));
            return;
        }
        self.threads[at].until = None;
        let Some(step) = self.threads[at].steps.pop_front() else { return };
        match step {
            Step::Launch(name) => self.launch(host, at, name, "start"),
            Step::CleanUp(name) => self.launch(host, at, name, "delete"),
            Step::Ask(ask, answer) => {
                self.threads[at].awaited = self.call(host, at, ask, answer);
            }
            Step::Begin(ask, answer) => drop(self.call(host, at, ask, answer)),
            Step::Until(_) => {}
            Step::Mark(mark) => {
                self.marks.insert(mark);
                for process in &self.flow.plan.processes {
                    if process.reads_from == Some(mark)
                        && let Some(streams) = self.streams.get_mut(process.name)
                    {
                        streams.may_read = true;
                    }
                }
            }
            Step::EndInput(name) => {
                if let Some(streams) = self.streams.get_mut(name) {
                    streams.end_input();
                }
            }
            Step::HangUp => self.hang_up(host, at),
            Step::Die => self.die(host),
            Step::Return => self.come_back(host),
            Step::RefuseEvents(refuse) => {
                if let Some(receiver) = &mut self.receiver {
                    receiver.refuse(refuse.then(|| Status::unavailable("not now")));
                }
            }
            Step::RunOutOfMemory(kills) => {
                let file = Path::new(CGROUP_DIR).join("memory.events");
                if let Ok(fd) = host.open(&file, OpenFlags::WRITE, 0) {
                    let _ = host.write(fd, memory_events(kills).as_bytes());
                    close_all(host, [fd]);
                }
            }
            Step::Census => self.take_census(host),
            Step::KillShim => {
                for pid in shims(host) {
                    let _ = host.kill(pid, Signal::KILL);
                }
            }
        }
    }

    fn launch(&mut self, host: &mut SimHost<'_>, at: usize, name: Name, action: &'static str) {
        match Launch::begin(host, name, action, self.manner) {
            Ok(launch) => self.threads[at].launch = Some(launch),
            Err(error) => self.told.wrong.push(error),
        }
    }

    /// Makes the connection that a thread needs.
    fn connect(&mut self, host: &mut SimHost<'_>, at: usize, name: Name) -> bool {
        if self.threads[at].client.is_some() {
            return true;
        }
        let Some(address) = self.addresses.get(container_of(name)) else { return false };
        match TaskClient::connect(host, address) {
            Ok(client) => {
                self.threads[at].client = Some(client.service(self.service));
                for wait in std::mem::take(&mut self.threads[at].lost_waits) {
                    self.wait_for(host, at, wait);
                }
                true
            }
            Err(error) => {
                self.told.wrong.push(error.to_string());
                false
            }
        }
    }

    fn wait_for(&mut self, host: &mut SimHost<'_>, at: usize, name: Name) {
        // What was deleted meanwhile is not known any more.
        let answer = done()
            .or(Code::NotFound, "process does not exist")
            .or(Code::NotFound, "container not created");
        self.call(host, at, Ask::Wait(name), answer);
    }

    fn call(&mut self, host: &mut SimHost<'_>, at: usize, ask: Ask, answer: Answer) -> Option<u32> {
        if !self.connect(host, at, ask.name()) {
            return None;
        }
        if let Ask::Create(name) | Ask::Exec(name) = ask
            && let Some(streams) = self.streams.get_mut(name)
        {
            streams.open(host, process(self.flow, name).is_some_and(|it| it.terminal));
        }
        let thread = &mut self.threads[at];
        thread.container = Some(ask.name());
        let client = thread.client.as_mut()?;
        match asks::send(host, client, &ask, &self.flow.plan.processes) {
            Ok(stream) => {
                thread.open.push(Open { stream, ask, answer });
                Some(stream)
            }
            Err(error) => {
                self.told.wrong.push(format!("{ask:?}: {error}"));
                None
            }
        }
    }

    fn hang_up(&mut self, host: &mut SimHost<'_>, at: usize) {
        let thread = &mut self.threads[at];
        if let Some(client) = thread.client.take() {
            client.close(host);
        }
        thread.awaited = None;
        for open in std::mem::take(&mut thread.open) {
            if let Ask::Wait(name) = open.ask {
                thread.lost_waits.push(name);
            }
        }
    }

    fn die(&mut self, host: &mut SimHost<'_>) {
        for at in 0..self.threads.len() {
            self.hang_up(host, at);
        }
        if let Some(receiver) = self.receiver.take() {
            receiver.close(host);
        }
        self.streams.values_mut().for_each(|streams| streams.close(host));
    }

    fn come_back(&mut self, host: &mut SimHost<'_>) {
        self.listen(host);
        for (name, streams) in &mut self.streams {
            streams.open(host, process(self.flow, name).is_some_and(|it| it.terminal));
        }
        for at in 0..self.threads.len() {
            if let Some(name) = self.threads[at].container {
                self.connect(host, at, name);
            }
        }
    }

    /// Waits for something to happen, and takes note of it.
    fn turn(&mut self, host: &mut SimHost<'_>, timeout: Option<Duration>) {
        let mut questions: Vec<PollFd> =
            self.logs.iter().map(|fd| PollFd::new(*fd, Ready::READ)).collect();
        if let Some(receiver) = &self.receiver {
            receiver.ask(&mut questions);
        }
        for thread in &self.threads {
            questions.extend(thread.client.as_ref().map(TaskClient::question));
            questions.extend(thread.launch.as_ref().map(Launch::question));
        }
        self.streams.values().for_each(|streams| streams.ask(&mut questions));
        let rest = self.threads.iter().filter_map(|thread| thread.until).min();
        let rest = rest.map(|until| until.saturating_sub(host.now()));
        let must_look = self.streams.values().any(Streams::must_look_again);
        let again = must_look.then_some(LOOK_AGAIN);
        let timeout = [timeout, rest, again].into_iter().flatten().min();
        let _ = host.poll(&mut questions, timeout);
        let is_ready =
            |fd: Fd| questions.iter().any(|answer| answer.fd == fd && !answer.ready.is_empty());
        for log in self.logs.iter().filter(|fd| is_ready(**fd)) {
            let mut buffer = [0; 4096];
            if let Ok(count) = host.read(*log, &mut buffer) {
                self.told.log.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
        self.take_events(host, &questions);
        for streams in self.streams.values_mut() {
            streams.turn(host, &questions);
        }
        for at in 0..self.threads.len() {
            self.turn_launch(host, at, &questions);
            let fd = self.threads[at].client.as_ref().map(TaskClient::fd);
            if fd.is_some_and(is_ready) {
                self.turn_client(host, at);
            }
        }
    }

    fn take_events(&mut self, host: &mut SimHost<'_>, answers: &[PollFd]) {
        let Some(receiver) = &mut self.receiver else { return };
        for received in receiver.turn(host, answers) {
            match asks::event(&received) {
                Ok(event) => {
                    if let Some(exit) = event.exit {
                        let source = if event.topic == "/tasks/exit" { "TaskExit" } else { "TaskDelete" };
                        self.note_exit(&event.name, source, exit);
                    }
                    self.told.events.push(event);
                }
                Err(error) => self.told.wrong.push(error),
            }
        }
    }

    fn note_exit(&mut self, name: &str, source: &'static str, exit: Exit) {
        self.told.exits.entry(name.to_owned()).or_default().push((source, exit));
    }

    fn turn_launch(&mut self, host: &mut SimHost<'_>, at: usize, answers: &[PollFd]) {
        let Some(launch) = &mut self.threads[at].launch else { return };
        let name = launch.name;
        match launch.turn(host, answers) {
            None => return,
            Some(Ok(Said::Address(address))) => drop(self.addresses.insert(name, address)),
            // Of what was never made it has to invent an end.
            Some(Ok(Said::Deleted(exit))) => {
                if let Some(exit) = exit.filter(|_| self.told.pids.contains_key(name)) {
                    self.note_exit(name, "delete", exit);
                }
            }
            Some(Err(error)) => self.told.wrong.push(error),
        }
        self.threads[at].launch = None;
    }

    fn turn_client(&mut self, host: &mut SimHost<'_>, at: usize) {
        let thread = &mut self.threads[at];
        let Some(client) = &mut thread.client else { return };
        let lost = client.turn(host).err();
        let mut answered = Vec::new();
        for open in std::mem::take(&mut thread.open) {
            match client.take(open.stream) {
                Some(result) => answered.push((open, result)),
                None => thread.open.push(open),
            }
        }
        let is_dead = lost.is_some();
        if is_dead {
            for open in &thread.open {
                let ask = open.ask;
                if !self.flow.shim_is_killed {
                    self.told.wrong.push(format!("{ask:?} got no answer: {lost:?}"));
                }
            }
        }
        for (open, result) in answered {
            if self.threads[at].awaited == Some(open.stream) {
                self.threads[at].awaited = None;
            }
            self.answered(host, at, &open, result);
        }
        if is_dead {
            self.hang_up(host, at);
            self.threads[at].lost_waits.clear();
        }
    }

    fn answered(
        &mut self,
        host: &mut SimHost<'_>,
        at: usize,
        open: &Open,
        result: Result<Vec<u8>, Status>,
    ) {
        let Open { ask, answer, .. } = open;
        let is_allowed = match &result {
            Ok(_) => answer.may_be_done,
            Err(status) => answer
                .refusals
                .iter()
                .any(|(code, text)| *code == status.code && status.message.contains(text)),
        };
        if !is_allowed {
            let what = result.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
            self.told.wrong.push(format!("{ask:?} was answered: {what}"));
        }
        match (ask, result) {
            (Ask::Create(name) | Ask::Exec(name), Ok(payload)) => {
                if matches!(ask, Ask::Create(_)) {
                    self.note_pid(name, &payload);
                }
                self.wait_for(host, at, name);
            }
            (Ask::Start(name), Ok(payload)) => {
                self.note_pid(name, &payload);
                self.told.started.push((*name).to_owned());
            }
            (Ask::Create(name) | Ask::Exec(name) | Ask::Start(name), Err(_)) => {
                let has_failed = !matches!(ask, Ask::Start(name) if exec_of(name).is_empty());
                if has_failed && !self.told.pids.contains_key(*name)
                    && let Some(streams) = self.streams.get_mut(name)
                {
                    streams.close(host);
                }
            }
            (Ask::Wait(name), result) => {
                self.ended.insert(name);
                if let Some(streams) = self.streams.get_mut(name) {
                    streams.process_ended();
                }
                if let Ok(payload) = result {
                    self.note_answered_exit(name, "Wait", &payload);
                }
            }
            (Ask::Delete(name), Ok(payload)) => self.note_answered_exit(name, "Delete", &payload),
            (Ask::State(name), Ok(payload)) => self.note_answered_exit(name, "State", &payload),
            _ => {}
        }
    }
}

fn process<'f>(flow: &'f Flow, name: &str) -> Option<&'f Process> {
    flow.plan.processes.iter().find(|process| process.name == name)
}

mod ending;
use ending::shims;
