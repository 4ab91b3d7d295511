//! The flows that must go right whatever the order of events.

use std::time::Duration;

use serde_json::{Value, json};

use super::plan::{Ask, Name, Plan, Process, Step, Until, done};
use crate::{Config, Fault};

mod ends;
mod execs;
mod faults;
mod lives;
mod loggers;
mod memory;
mod races;
mod rootfs;
mod servers;
mod sinks;
mod streams;
mod trouble;

pub(super) use faults::any_fault;
pub(crate) use races::RACES;

/// A flow: who does what, and what must come of it.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its name, with `task/` before it.
    pub name: &'static str,
    /// What the machine is like.
    pub config: Config,
    /// What daemon and clients do.
    pub plan: Plan,
    /// What the runtime does wrong.
    pub script: Value,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// One call of a shim fails, and chance says which.
    pub chance: bool,
    /// All of it is drawn when it is run.
    pub is_drawn: bool,
    /// What was refused, or lost with its connection, is tried again, at first with another shim.
    pub repeats: bool,
    /// Whether the shim's log is looked at.
    pub log_counts: bool,
    /// Something that the shim's log must say; an empty one must say nothing.
    pub log: &'static str,
    /// Clients give up waiting now and then, come back, and ask the same again.
    pub gives_up: bool,
    /// An event may come twice, since an answer may have been lost.
    pub may_repeat_events: bool,
    /// The shim is killed; so much is lost.
    pub shim_is_killed: bool,
    /// The shim is told to go, whatever it has to look after.
    pub shim_may_go: bool,
    /// How a container ended may not be in its bundle.
    pub exit_is_unrecorded: bool,
    /// How long after a process's end it may be told.
    pub prompt: Duration,
    /// Things go wrong until they are healed.
    pub is_disturbed: bool,
    /// When all must be over, or how long after the healing.
    pub limit: Duration,
}

/// The flow of that name.
#[must_use]
pub fn flow(name: &str) -> Option<Flow> {
    flows().into_iter().find(|flow| flow.name == name)
}

fn process(name: Name, words: &[&'static str], ends: &[u32], stdout: &str) -> Process {
    Process {
        name,
        words: words.to_vec(),
        ends: ends.to_vec(),
        stdout: stdout.as_bytes().to_vec(),
        ..Process::default()
    }
}

fn flow_of(name: &'static str, processes: Vec<Process>, threads: Vec<Vec<Step>>) -> Flow {
    Flow {
        name,
        config: Config { short_one_in: 4, timers_race: false, steps: 200_000, ..Config::default() },
        plan: Plan { processes, threads, ..Plan::default() },
        script: json!({}),
        faults: Vec::new(),
        chance: false,
        is_drawn: false,
        repeats: false,
        gives_up: false,
        log_counts: true,
        log: "",
        may_repeat_events: false,
        shim_is_killed: false,
        exit_is_unrecorded: false,
        prompt: Duration::from_secs(1),
        is_disturbed: false,
        shim_may_go: false,
        limit: Duration::from_secs(5),
    }
}

/// What brings a container to life.
fn birth(name: Name) -> Vec<Step> {
    vec![
        Step::Launch(name),
        Step::Ask(Ask::Connect(name), done()),
        Step::Census,
        Step::Ask(Ask::Create(name), done()),
        Step::Ask(Ask::Start(name), done()),
    ]
}

/// What a daemon does with one that has ended, the shim's end included.
fn burial(name: Name) -> Vec<Step> {
    vec![
        Step::Until(Until::Ended(name)),
        Step::Until(Until::Eof(name)),
        Step::Ask(Ask::State(name), done()),
        Step::Ask(Ask::Delete(name), done()),
        Step::Census,
        Step::CleanUp(name),
        Step::Ask(Ask::Shutdown(name), done()),
    ]
}

fn steps(parts: &[&[Step]]) -> Vec<Step> {
    parts.concat()
}

impl Flow {
    fn change(mut self, name: &str, change: impl FnOnce(&mut Process)) -> Flow {
        if let Some(process) = self.plan.processes.iter_mut().find(|it| it.name == name) {
            change(process);
        }
        self
    }

    /// What the runtime does wrong, as fake-runc's script has it.
    fn script(self, on: &Value) -> Flow {
        Flow { script: json!({ "on": on }), ..self }
    }

    fn fault(mut self, fault: Fault) -> Flow {
        self.faults.push(fault);
        self
    }

    /// The container has a pid namespace, so that all end with its init.
    fn private(mut self) -> Flow {
        self.plan.private_pids = true;
        self
    }

    /// The log may say what it will.
    fn complaining(self) -> Flow {
        Flow { log_counts: false, ..self }
    }

    /// So much later than the end of a process it may be told.
    fn told_within(self, seconds: u64) -> Flow {
        Flow { prompt: Duration::from_secs(seconds), ..self }
    }

    fn within(self, seconds: u64) -> Flow {
        Flow { limit: Duration::from_secs(seconds), ..self }
    }
}

/// Every flow.
#[must_use]
pub fn flows() -> Vec<Flow> {
    [
        lives::flows(),
        execs::flows(),
        ends::flows(),
        streams::flows(),
        sinks::flows(),
        loggers::flows(),
        memory::flows(),
        rootfs::flows(),
        servers::flows(),
        trouble::flows(),
        faults::flows(),
        vec![super::swarm::flow()],
    ]
    .concat()
}

/// The flows that are races.
pub(crate) fn races() -> Vec<Flow> {
    races::flows()
}
