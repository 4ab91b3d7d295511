//! Ends of processes that come at a bad moment.

use serde_json::json;
use wavetank::ttrpc::Code;

use super::super::plan::{Ask, Name, Step, Until, done, refused};
use super::execs::started;
use super::{Flow, birth, burial, flow_of, process, steps};

pub(super) fn flows() -> Vec<Flow> {
    vec![execs_of_the_dead(), daemon_dies_at_exit(), kill_the_dead(), never_started()]
}

const EARLY: [Name; 4] = ["c1/e1", "c1/e2", "c1/e3", "c1/e4"];
const LATE: [Name; 4] = ["c1/l1", "c1/l2", "c1/l3", "c1/l4"];

/// Execs are asked for one after the other, by two clients, while their init is dead already.
fn execs_of_the_dead() -> Flow {
    let one = |name| {
        let exec = done()
            .or(Code::Unknown, "cannot exec in a stopped state")
            .or(Code::NotFound, "container not created");
        let start = started().or(Code::NotFound, "process does not exist");
        [Step::Ask(Ask::Exec(name), exec), Step::Ask(Ask::Start(name), start)]
    };
    let thread = |wait: u64, names: [Name; 4], mark| {
        let begun = [Step::Until(Until::Marked("started")), Step::Until(Until::Passed(wait))];
        steps(&[&begun, names.map(one).as_flattened(), &[Step::Mark(mark)]])
    };
    let first = [
        Step::Mark("started"),
        Step::Until(Until::Marked("early")),
        Step::Until(Until::Marked("late")),
    ];
    let exec = |name: &Name| {
        let mut process = process(name, &["exit", "1"], &[1, 137], "");
        (process.may_be_cut, process.may_vanish) = (true, true);
        process
    };
    let init = process("c1", &["sleep-ms", "100", "exit", "6"], &[6], "");
    flow_of(
        "task/execs-of-the-dead",
        std::iter::once(init).chain(EARLY.iter().chain(&LATE).map(exec)).collect(),
        vec![
            steps(&[&birth("c1"), &first, &burial("c1")]),
            thread(0, EARLY, "early"),
            thread(200, LATE, "late"),
        ],
    )
    .script(&json!({ "exec": { "before": { "delay_ms": 400 } } }))
    .complaining()
}

/// The daemon goes at any moment of a container's end.
fn daemon_dies_at_exit() -> Flow {
    let gone = [
        Step::Until(Until::Marked("started")),
        Step::Die,
        Step::Until(Until::Passed(300)),
        Step::Return,
        Step::Mark("back"),
    ];
    let end = [
        Step::Mark("started"),
        Step::Until(Until::Marked("back")),
        Step::Ask(Ask::State("c1"), done()),
        Step::Until(Until::Told("/tasks/exit", "c1")),
    ];
    // As where a daemon dies earlier: nobody waits for the end of fifos that were let go.
    let mut burial = burial("c1");
    burial.remove(1);
    let mut flow = flow_of(
        "task/daemon-dies-at-exit",
        vec![process("c1", &["print", "x", "exit", "4"], &[4], "x")],
        vec![steps(&[&birth("c1"), &end, &burial]), gone.to_vec()],
    )
    .change("c1", |it| (it.may_be_cut, it.is_never_opened) = (true, true))
    .complaining()
    .within(15);
    flow.may_repeat_events = true;
    flow
}

/// A signal for one that has ended, when its number is another's.
fn kill_the_dead() -> Flow {
    let start = |name| [Step::Ask(Ask::Exec(name), done()), Step::Ask(Ask::Start(name), done())];
    // Numbers that come again in the same tick of the clock are the same to a runtime.
    let later = [Step::Until(Until::Passed(20))];
    let kill = [
        Step::Ask(Ask::Kill("c1/e1", 9), refused(Code::NotFound, "process already finished")),
        Step::Ask(Ask::State("c1"), done()),
    ];
    let end = |name| {
        [
            Step::Ask(Ask::Kill(name, 15), done()),
            Step::Until(Until::Ended(name)),
            Step::Ask(Ask::Delete(name), done()),
        ]
    };
    let execs = steps(&[
        &start("c1/e1"),
        &[Step::Until(Until::Ended("c1/e1"))],
        &later,
        &start("c1/e2"),
        &later,
        &start("c1/e3"),
        &later,
        &start("c1/e4"),
        &kill,
        &end("c1/e2"),
        &end("c1/e3"),
        &end("c1/e4"),
        &[Step::Ask(Ask::Kill("c1", 9), done())],
    ]);
    let exec = |name| process(name, &["sleep-ms", "1000000"], &[143], "");
    let mut flow = flow_of(
        "task/kill-the-dead",
        vec![
            process("c1", &["sleep-ms", "1000000"], &[137], ""),
            process("c1/e1", &["exit", "1"], &[1], ""),
            exec("c1/e2"),
            exec("c1/e3"),
            exec("c1/e4"),
        ],
        vec![steps(&[&birth("c1"), &execs, &later, &burial("c1")])],
    );
    flow.config.pid_max = 11;
    flow
}

/// Created, killed and deleted, and never started.
fn never_started() -> Flow {
    let created = [
        Step::Launch("c1"),
        Step::Ask(Ask::Connect("c1"), done()),
        Step::Census,
        Step::Ask(Ask::Create("c1"), done()),
        Step::Ask(Ask::Kill("c1", 9), done()),
    ];
    flow_of(
        "task/never-started",
        vec![process("c1", &["print", "x"], &[137], "")],
        vec![steps(&[&created, &burial("c1")])],
    )
}
