//! The life cycles whose every call is a crash point.

use std::time::Duration;

use wavetank::oci::Dialect;

use super::{Door, Flow};
use crate::Config;
use crate::task::plan::{Name, Plan, Process};

/// What all of them print first.
const HELLO: &[u8] = b"hello";

/// A container that greets, copies its input and ends.
fn container(name: Name) -> Process {
    Process {
        name,
        words: vec!["print", "hello", "echo", "exit", "7"],
        input: b", you".to_vec(),
        ends: vec![7],
        stdout: [HELLO, b", you"].concat(),
        ..Process::default()
    }
}

/// A further process of a container. It may be killed with it, when a daemon that has just come back
/// ends the container.
fn exec(name: Name) -> Process {
    Process {
        name,
        words: vec!["print", "second", "exit", "9"],
        ends: vec![9, 137],
        stdout: b"second".to_vec(),
        may_be_cut: true,
        ..Process::default()
    }
}

fn flow(name: &'static str, door: Door, processes: Vec<Process>) -> Flow {
    Flow {
        name,
        config: Config { short_one_in: 0, timers_race: false, ..Config::default() },
        door,
        plan: Plan { processes, ..Plan::default() },
        pauses: false,
        faults: Vec::new(),
        limit: Duration::from_secs(60),
    }
}

fn task(name: &'static str, processes: Vec<Process>) -> Flow {
    flow(name, Door::Task, processes)
}

fn classic(name: &'static str, dialect: Dialect, processes: Vec<Process>) -> Flow {
    flow(name, Door::Classic(dialect), processes)
}

/// The same in a pid namespace.
fn private(mut flow: Flow) -> Flow {
    flow.plan.private_pids = true;
    flow
}

fn terminal(name: Name) -> Process {
    Process {
        terminal: true,
        input: Vec::new(),
        words: vec!["print", "hello", "exit", "7"],
        stdout: HELLO.to_vec(),
        ..container(name)
    }
}

/// Every life cycle.
#[must_use]
pub fn flows() -> Vec<Flow> {
    let mounted = || Process { mounts: vec!["", ""], ..container("c1") };
    let mut pod = task("crash/pod", vec![container("c1"), container("c2")]);
    pod.plan.group = "pod";
    let paused = Flow { pauses: true, ..task("crash/paused", vec![container("c1")]) };
    vec![
        task("crash/io", vec![container("c1")]),
        task("crash/exec", vec![mounted(), exec("c1/e1")]),
        private(task("crash/private", vec![mounted(), exec("c1/e1")])),
        task("crash/tty", vec![terminal("c1")]),
        pod,
        paused,
        classic("crash/classic", Dialect::Run, vec![container("c1")]),
        classic("crash/classic-start", Dialect::Start, vec![container("c1"), exec("c1/e1")]),
        classic("crash/classic-create", Dialect::Create, vec![container("c1"), exec("c1/e1")]),
        classic("crash/classic-tty", Dialect::Run, vec![terminal("c1")]),
    ]
}
