//! The daemon and its clients as one actor: does what the plan says, and tells what it saw.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use wavetank::host::{Fd, Host, OpenFlags, Pid, PollFd, Ready, Signal, close_all};
use wavetank::manager::events::EventReceiver;
use wavetank::manager::tasks::{TASK_V2, TASK_V3, TaskClient};
use wavetank::ttrpc::Status;

use super::flows::Flow;
use super::launch::{Launch, Manner, event_socket, socket_dir};
use super::plan::{Exit, Name, Process, Step, Told, Until, container_of, exec_of};
use super::streams::Streams;
use super::swarm::HEALED;
use super::{CGROUP_DIR, SHIM, SOCKETS, WORK, asks, memory_events};
use crate::caller::SimHost;
use crate::trouble::{Impatience, Patience};

/// How long the daemon waits before it looks again for what no descriptor tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How long a shim may stay after it was told to go, or if nobody has ever come.
const LONGEST_STAY: Duration = Duration::from_secs(65);

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
    /// How often in a row it did not wait for an answer.
    hung_up: u32,
}

struct Daemon<'f> {
    flow: &'f Flow,
    manner: Manner,
    service: &'static str,
    receiver: Option<EventReceiver>,
    threads: Vec<Thread>,
    streams: BTreeMap<Name, Streams>,
    logs: Vec<Fd>,
    held_back: Option<Fd>,
    addresses: BTreeMap<Name, String>,
    marks: BTreeSet<&'static str>,
    ended: BTreeSet<Name>,
    census: Option<Vec<String>>,
    recollection: Option<Vec<usize>>,
    /// How often something that a planned fault spoilt was tried again.
    repeated: u32,
    patience: Patience,
    gave_up_at: Option<Duration>,
    has_cleaned_up: bool,
    /// All that it still does in a race is to read.
    only_reads: bool,
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
        hung_up: 0,
    };
    let mut daemon = Daemon {
        flow,
        manner,
        service,
        receiver: None,
        threads: flow.plan.threads.iter().map(thread).collect(),
        streams: BTreeMap::new(),
        logs: Vec::new(),
        held_back: None,
        addresses: BTreeMap::new(),
        marks: BTreeSet::new(),
        ended: BTreeSet::new(),
        census: None,
        recollection: None,
        repeated: 0,
        patience: Patience::default(),
        gave_up_at: None,
        has_cleaned_up: false,
        only_reads: false,
        told: Told::default(),
    };
    daemon.begin(host);
    while daemon.threads.iter().any(|thread| !thread.is_over()) || daemon.cleans_up() {
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
        // Held back and never read: a connection that is gone is told by the call.
        self.held_back = host.signals(&[Signal::PIPE]).ok();
        self.listen(host);
        for process in &self.flow.plan.processes {
            match Streams::make(host, process) {
                Ok(streams) => drop(self.streams.insert(process.name, streams)),
                Err(errno) => self.told.wrong.push(format!("mkfifo: {errno}")),
            }
        }
        self.open_logs(host);
    }

    fn open_logs(&mut self, host: &mut SimHost<'_>) {
        for process in &self.flow.plan.processes {
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
            if self.only_reads {
                host.only_read();
            }
            return self.turn(host, None);
        }
        // First those who can; then everybody else in the machine a little, or as far as they come.
        // In a race everybody else gets his turn anyway.
        let idle = if self.flow.config.orderly { 0 } else { 2 };
        match host.choose(able.len() + idle) {
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
                // Once all is sound, an address that has not come will not come.
                self.marks.contains(HEALED) || self.addresses.contains_key(container_of(ask.name()))
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
        self.patience.renew();
        match step {
            Step::Launch(name) => self.launch(host, at, name, "start"),
            Step::CleanUp(name) => self.launch(host, at, name, "delete"),
            Step::Ask(ask, answer) => {
                self.threads[at].awaited = self.call(host, at, ask, answer.clone());
                self.perhaps_give_up(host, at, ask, &answer);
            }
            Step::Begin(ask, answer) => drop(self.call(host, at, ask, answer)),
            Step::Until(_) => {}
            Step::Mark(mark) => {
                self.marks.insert(mark);
                for process in &self.flow.plan.processes {
                    if let Some(streams) = self.streams.get_mut(process.name) {
                        streams.marked(host, process.reads_from == Some(mark), mark);
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
            Step::RunOutOfMemory(name) => {
                self.told.memory_kills += 1;
                let kills = self.told.memory_kills;
                tell_of_memory(host, &memory_events(kills, kills));
                if let Some(pid) = self.told.pids.get(name) {
                    let _ = host.kill(Pid(pid.cast_signed()), Signal::KILL);
                }
            }
            Step::NearlyRunOutOfMemory => tell_of_memory(host, &memory_events(1, 0)),
            Step::Census => self.take_census(host),
            Step::Recollection => self.compare_recollection(host),
            Step::KillShim => signal_shims(host, Signal::KILL),
            Step::TerminateShim => signal_shims(host, Signal::TERM),
            Step::SeeShimOff => self.see_shims_off(host),
            Step::WriteDown => signal_shims(host, Signal::USR1),
            Step::SignalShim(signal) => signal_shims(host, signal),
            Step::Heal => self.heal(host, at),
            Step::KillHung => kill_runtimes(host, Whose::AtWork),
            Step::KillUnknown if self.flow.shim_may_go => kill_runtimes(host, Whose::Unmade),
            Step::KillUnknown => {}
            Step::Bare => self.look_for_holdings(host),
            Step::KillProcess(name) => {
                let pid = self.told.pids.get(name).and_then(|pid| i32::try_from(*pid).ok());
                if let Some(pid) = pid {
                    let _ = host.kill(Pid(pid), Signal::KILL);
                }
            }
            Step::Race(part) => {
                self.only_reads = part == super::plan::Daemon::Reads;
                let _ = host.poll(&mut [], Some(LOOK_AGAIN));
                host.begin_race();
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
        close_all(host, std::mem::take(&mut self.logs));
    }

    fn come_back(&mut self, host: &mut SimHost<'_>) {
        self.listen(host);
        self.open_logs(host);
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
        let logs = self.logs.iter().filter(|_| !self.flow.plan.log_is_unread);
        let mut questions: Vec<PollFd> = logs.map(|fd| PollFd::new(*fd, Ready::READ)).collect();
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
        let left = self.patience.left(host);
        let timeout = [timeout, rest, again, left].into_iter().flatten().min();
        let _ = host.poll(&mut questions, timeout);
        if self.patience.ends(host) == Some(Impatience::Hangs) {
            return self.lose_patience(host);
        }
        let is_ready =
            |fd: Fd| questions.iter().any(|answer| answer.fd == fd && !answer.ready.is_empty());
        let is_read = |fd: &&Fd| is_ready(**fd) && !self.flow.plan.log_is_unread;
        for log in self.logs.iter().filter(is_read) {
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
                        let source =
                            if event.topic == "/tasks/exit" { "TaskExit" } else { "TaskDelete" };
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
}

fn tell_of_memory(host: &mut SimHost<'_>, events: &str) {
    let file = Path::new(CGROUP_DIR).join("memory.events");
    if let Ok(fd) = host.open(&file, OpenFlags::WRITE, 0) {
        let _ = host.write(fd, events.as_bytes());
        close_all(host, [fd]);
    }
}

fn process<'f>(flow: &'f Flow, name: &str) -> Option<&'f Process> {
    flow.plan.processes.iter().find(|process| process.name == name)
}

mod calls;
mod ending;
mod giving_up;
mod healing;

use calls::Open;
use ending::{shims, signal_shims};
pub(super) use giving_up::LATER;
use healing::{Whose, kill_runtimes};
