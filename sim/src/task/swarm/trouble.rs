//! What goes wrong in a drawn run: every run has its own selection.

use serde_json::{Value, json};
use wavetank::host::Signal;

use super::super::SHIM;
use super::super::flows::Flow;
use super::super::plan::{Ask, Step, Until};
use crate::swarm::{Draw, failing_calls};

/// Files that are written.
const FILES: [&str; 6] =
    ["exit.json.new", "options.json", "runtime", "resources.json", "e1-process.json", "state.json"];

pub(super) fn draw(draw: &mut Draw<'_>, flow: &mut Flow) {
    // Whoever has nothing to look after goes when anybody asks, also when another one is coming.
    let mut steps = flow.plan.threads.iter().flatten();
    let shutdowns = steps.by_ref().filter(|it| matches!(it, Step::Ask(Ask::Shutdown(_), _)));
    flow.shim_may_go = shutdowns.count() > flow.plan.inits().count() || !flow.plan.group.is_empty();
    if draw.often() {
        calls(draw, flow);
    }
    if draw.seldom() {
        machine(draw, flow);
    }
    if draw.often() {
        flow.script = runtime(draw);
    }
    if draw.often() {
        daemon(draw, flow);
    }
    if draw.one_in(8, 1) {
        let signal = draw.pick(&[Signal::TERM, Signal::INT, Signal::KILL]);
        let after = draw.pick(&[1, 0, 2, 5, 20, 100]);
        flow.plan.threads.push(vec![Step::Until(Until::Passed(after)), Step::SignalShim(signal)]);
        (flow.shim_may_go, flow.shim_is_killed) = (true, signal == Signal::KILL);
    }
}

/// Calls of a shim or of the runtime fail.
fn calls(draw: &mut Draw<'_>, flow: &mut Flow) {
    let program = draw.pick(&[SHIM, SHIM, "runc"]);
    flow.faults.extend(failing_calls(draw, program, &FILES));
}

/// Of something there is very little.
fn machine(draw: &mut Draw<'_>, flow: &mut Flow) {
    match draw.below(5) {
        0 => flow.config.pid_max = draw.pick(&[40, 24, 60]),
        1 => flow.config.descriptors = draw.pick(&[64, 80]),
        2 => flow.config.disk_bytes = Some(draw.pick(&[8000, 3000, 20_000]) as u64),
        3 => flow.config.socket_bytes = draw.pick(&[4096, 2048]),
        _ => flow.config.timers_race = true,
    }
}

/// What the runtime does wrong.
fn runtime(draw: &mut Draw<'_>) -> Value {
    let mut on = serde_json::Map::new();
    for _ in 0..1 + draw.below(2) {
        let command = draw.pick(&["create", "start", "exec", "delete", "kill", "pause", "update"]);
        let moment = match draw.below(7) {
            0 => json!({ "delay_ms": draw.pick(&[1, 7, 30]) }),
            1 => json!({ "exit_code": 1 }),
            2 => json!({ "log_error": "no", "exit_code": 1 }),
            3 => json!({ "die_by_signal": "KILL" }),
            4 => json!({ "hang": true }),
            5 => json!({ "stderr_bytes": 70_000 }),
            _ => json!({ "log_raw": "{\"level\":\"error\",\"msg\":\"half", "exit_code": 1 }),
        };
        let makes = matches!(command, "create" | "exec");
        let mut steps = serde_json::Map::new();
        let moments: &[&str] =
            if makes { &["before", "midway", "after"] } else { &["before", "after"] };
        steps.insert(draw.pick(moments).to_owned(), moment);
        if makes && draw.often() {
            let pid_file = draw.pick(&["none", "empty", "partial", "newline", "negative", "huge"]);
            steps.insert("pid_file".to_owned(), pid_file.into());
        }
        if makes && draw.seldom() {
            let console = draw.pick(&["skipped", "only_connected", "without_descriptor"]);
            steps.insert("console".to_owned(), console.into());
        }
        on.insert(command.to_owned(), steps.into());
    }
    json!({ "on": on })
}

/// The daemon goes and comes back, or takes no events.
fn daemon(draw: &mut Draw<'_>, flow: &mut Flow) {
    let first = Step::Until(Until::Passed(draw.pick(&[1, 0, 3, 20])));
    let pause = Step::Until(Until::Passed(draw.pick(&[5, 0, 300, 1500])));
    let (begin, end) = if draw.often() {
        (Step::Die, Step::Return)
    } else {
        (Step::RefuseEvents(true), Step::RefuseEvents(false))
    };
    flow.plan.threads.push(vec![first, begin, pause, end]);
}
