//! Containers that run out of memory, as their cgroup tells it.

use wavetank::host::Errno;

use super::super::SHIM;
use super::super::plan::{Ask, Step, Until, done};
use super::{Flow, birth, burial, flow_of, process, steps};
use crate::{Call, Fault};

pub(super) fn flows() -> Vec<Flow> {
    vec![killed(), killed_early(), not_killed(), unreadable()]
}

fn flow(name: &'static str, meanwhile: &[Step]) -> Flow {
    flow_of(
        name,
        vec![process("c1", &["sleep-ms", "1000000"], &[137], "")],
        vec![steps(&[&birth("c1"), meanwhile, &burial("c1")])],
    )
}

fn kill() -> Step {
    Step::Ask(Ask::Kill("c1", 9), done())
}

/// The kernel counts a kill, and the container ends of it.
fn killed() -> Flow {
    let killed = [
        Step::RunOutOfMemory("c1"),
        Step::Until(Until::Told("/tasks/exit", "c1")),
        Step::Until(Until::Told("/tasks/oom", "c1")),
    ];
    // With a pid namespace the end can be told at once, and nothing has to be killed before.
    flow("task/out-of-memory", &killed).private()
}

/// The kill comes before anybody can watch for it.
fn killed_early() -> Flow {
    let told = Step::Until(Until::Told("/tasks/oom", "c1"));
    let mut flow = flow("task/out-of-memory-at-once", &[told, kill()]);
    // After the launch, and before the container is created.
    flow.plan.threads[0].insert(1, Step::RunOutOfMemory("c1"));
    flow
}

/// Memory is used up, which is not to be killed for it.
fn not_killed() -> Flow {
    let changed = [Step::NearlyRunOutOfMemory, Step::Until(Until::Passed(5)), kill()];
    flow("task/nearly-out-of-memory", &changed)
}

/// The counters cannot be read any more, as when systemd was faster and has removed the cgroup.
fn unreadable() -> Flow {
    let gone = Fault::fail(Errno::ENODEV).of(Call::ReadAt).by(SHIM).on("memory.events");
    let changed = [Step::NearlyRunOutOfMemory, Step::Until(Until::Passed(1000)), kill()];
    flow("task/unreadable-memory", &changed).fault(gone.for_ever())
}
