//! A flow that is drawn: everything about it is an answer of the run's own chooser, so that a tape is
//! the whole of it.
//!
//! Some runs are calm: nothing goes wrong in them, and all that follows from the plan must be as the
//! plan says, to the byte. In the others chance says what goes wrong, and until when. Then all of it
//! stops, and everything must settle: every call is answered, every container can be got rid of, one
//! more lives as if nothing had been, and nothing is left.

mod actors;
mod behaviour;
mod lives;
mod trouble;

use std::time::Duration;

use serde_json::{Value, json};

use super::flows::Flow;
use super::plan::{Ask, Plan, Process, Step, Until, done, whatever};
use crate::swarm::Draw;
use crate::{Choose, Config};
use lives::{CONTAINERS, Container};

/// The mark that everything is sound again.
pub(super) const HEALED: &str = "healed";
/// The container that comes last.
const LAST: &str = "c9";
/// Within so much time all must be over.
const CALM_LIMIT: Duration = Duration::from_secs(5);
/// Within so much time after the healing all must be over: what waits longest is a drain, and then a
/// shim that takes leave.
const HEALED_LIMIT: Duration = Duration::from_secs(60);
/// How long a shim stays to which nobody comes.
const UNASKED: Duration = Duration::from_secs(60);

/// The row in the table of flows; what it does is drawn when it is run.
pub(super) fn flow() -> Flow {
    Flow {
        name: "task/swarm",
        config: Config::default(),
        plan: Plan::default(),
        script: json!({}),
        faults: Vec::new(),
        chance: false,
        is_drawn: true,
        repeats: false,
        gives_up: false,
        log_counts: false,
        log: "",
        may_repeat_events: false,
        shim_is_killed: false,
        exit_is_unrecorded: false,
        is_disturbed: false,
        shim_may_go: false,
        prompt: Duration::from_secs(1),
        limit: CALM_LIMIT,
    }
}

/// Draws a flow. What `flow` itself has, as planned faults, it keeps.
pub(super) fn draw(flow: &Flow, chooser: &mut dyn Choose) -> Flow {
    let mut draw = Draw::new(chooser);
    let mut flow = flow.clone();
    flow.is_disturbed = draw.one_in(4, 3);
    flow.config.short_one_in = draw.pick(&[0, 4, 2]);
    flow.config.pipe_pages = draw.pick(&[16, 1]);
    let count = 1 + draw.below(CONTAINERS.len());
    let is_pod = count > 1 && draw.often();
    flow.plan.group = if is_pod { "pod" } else { "" };
    flow.plan.private_pids = draw.often();
    let containers: Vec<Container> = CONTAINERS[..count]
        .iter()
        .map(|names| Container::draw(&mut draw, names, flow.is_disturbed, count, is_pod))
        .collect();
    for container in containers {
        flow.plan.processes.extend(container.processes);
        flow.plan.threads.extend(container.threads);
    }
    if flow.is_disturbed {
        trouble::draw(&mut draw, &mut flow);
        let owes_console = flow.script.to_string().contains("console");
        flow.plan.threads.push(healing(&mut draw, &CONTAINERS[..count], owes_console));
        flow.plan.processes.push(last());
        (flow.may_repeat_events, flow.exit_is_unrecorded) = (true, true);
        (flow.prompt, flow.limit) = (HEALED_LIMIT, HEALED_LIMIT + UNASKED);
    }
    flow
}

/// The script of a runtime that does nothing wrong.
pub(super) fn sound() -> Value {
    json!({})
}

fn last() -> Process {
    Process {
        name: LAST,
        words: vec!["print", "last", "exit", "5"],
        ends: vec![5],
        stdout: b"last".to_vec(),
        ..Process::default()
    }
}

/// Faults stop; whatever is there is got rid of; and one more container lives.
fn healing(draw: &mut Draw<'_>, containers: &[lives::Names], owes_console: bool) -> Vec<Step> {
    let after = draw.pick(&[1, 0, 2, 5, 20, 100, 1500, 8000]);
    // Everything takes less than these rests that was begun before, and is not hung.
    let mut steps = vec![
        Step::Until(Until::Passed(after)),
        Step::Heal,
        Step::Until(Until::Passed(200)),
        Step::KillHung,
        // A console is waited for that long.
        Step::Until(Until::Passed(if owes_console { 31_000 } else { 50 })),
    ];
    for names in containers {
        let name = names.init;
        steps.extend([
            Step::HangUp,
            Step::Ask(Ask::Kill(name, 9), whatever()),
            Step::Ask(Ask::Wait(name), whatever()),
            Step::Ask(Ask::Delete(name), whatever()),
            Step::Ask(Ask::State(name), super::plan::gone()),
            Step::Ask(Ask::Delete(name), super::plan::gone()),
            Step::CleanUp(name),
        ]);
    }
    steps.extend([Step::KillUnknown, Step::Bare]);
    for names in containers {
        steps.extend([Step::HangUp, Step::Ask(Ask::Shutdown(names.init), whatever())]);
    }
    steps.extend([
        Step::HangUp,
        Step::SeeShimOff,
        Step::Launch(LAST),
        Step::Ask(Ask::Connect(LAST), done()),
        Step::Ask(Ask::Create(LAST), done()),
        Step::Ask(Ask::Start(LAST), done()),
        Step::Until(Until::Ended(LAST)),
        Step::Until(Until::Eof(LAST)),
        Step::Ask(Ask::State(LAST), done()),
        Step::Ask(Ask::Delete(LAST), done()),
        Step::Bare,
        Step::CleanUp(LAST),
        Step::Ask(Ask::Shutdown(LAST), done()),
    ]);
    steps
}
