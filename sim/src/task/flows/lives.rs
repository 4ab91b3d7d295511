//! Containers' lives: from create to delete, and what daemons ask meanwhile.

use serde_json::json;
use wavetank::ttrpc::Code;

use super::super::plan::{Ask, Step, Until, done, refused};
use super::{Flow, birth, burial, flow_of, process, steps};

pub(super) fn flows() -> Vec<Flow> {
    vec![
        flow_of(
            "task/hello",
            vec![process("c1", &["print", "hello", "exit", "7"], &[7], "hello")],
            vec![steps(&[&birth("c1"), &burial("c1")])],
        ),
        flow_of(
            "task/questions",
            vec![process("c1", &["print", "x", "wait-signal", "15", "exit", "3"], &[3], "x15")],
            vec![
                steps(&[
                    &birth("c1"),
                    &[
                        Step::Ask(Ask::Update("c1"), done()),
                        Step::Until(Until::Output("c1", 1)),
                        Step::Until(Until::Marked("asked")),
                        // It may not have come to waiting for the signal.
                        Step::Until(Until::Passed(1)),
                        Step::Ask(Ask::Kill("c1", 15), done()),
                    ],
                    &burial("c1"),
                ]),
                vec![
                    Step::Until(Until::Told("/tasks/create", "c1")),
                    Step::Ask(Ask::State("c1"), done()),
                    Step::Ask(Ask::Pids("c1"), done().or(Code::NotFound, "container not created")),
                    Step::Ask(Ask::Stats("c1"), done().or(Code::NotFound, "not ")),
                    Step::Ask(Ask::Shutdown("c1"), done()),
                    Step::Mark("asked"),
                ],
            ],
        ),
        flow_of(
            "task/slow-start",
            vec![process("c1", &["exit", "5"], &[5], "")],
            vec![steps(&[&birth("c1"), &burial("c1")])],
        )
        .script(&json!({ "start": { "after": { "delay_ms": 30 } } })),
        flow_of(
            "task/slow-create",
            vec![process("c1", &["exit", "5"], &[5], "")],
            vec![
                steps(&[&birth("c1"), &[Step::Until(Until::Marked("asked"))], &burial("c1")]),
                vec![
                    Step::Ask(Ask::State("c1"), done().or(Code::NotFound, "container not created")),
                    Step::Ask(
                        Ask::Start("c1"),
                        done()
                            .or(Code::NotFound, "container not created")
                            .or(Code::Unknown, "cannot start a "),
                    ),
                    Step::Ask(
                        Ask::Delete("c1"),
                        refused(Code::NotFound, "container not created")
                            .or(Code::Unknown, "cannot delete a running process"),
                    ),
                    Step::Mark("asked"),
                ],
            ],
        )
        .script(&json!({ "create": { "after": { "delay_ms": 30 } } })),
        killed_before_start("task/killed-before-start"),
        killed_before_start("task/killed-while-starting")
            .script(&json!({ "start": { "before": { "delay_ms": 9000 } } }))
            .told_within(10)
            .within(15),
        kill_and_delete(),
        killed_while_deleted(),
        pause(),
        exit_while_paused(),
        pause_and_exit("task/pause-and-exit"),
        pause_and_exit("task/pause-and-exit-slow").script(&json!({
            "pause": { "after": { "delay_ms": 20 } },
        })),
        pod(),
        pod_that_goes(),
        slowly(),
        pids_again(),
    ]
}

/// The last container goes, and the shim with it, when the daemon wants to put another one in.
fn pod_that_goes() -> Flow {
    let mut flow = flow_of(
        "task/pod-that-goes",
        vec![process("c1", &["exit", "1"], &[1], ""), process("c2", &["exit", "2"], &[2], "")],
        vec![
            steps(&[&birth("c1"), &[Step::Mark("started")], &burial("c1")]),
            steps(&[&[Step::Until(Until::Marked("started"))], &birth("c2"), &burial("c2")]),
        ],
    );
    flow.plan.group = "pod";
    flow.repeats = true;
    // What a shim has depends on who else is in it.
    for thread in &mut flow.plan.threads {
        thread.retain(|step| !matches!(step, Step::Census));
    }
    flow.complaining()
}

/// A runtime that takes its time, before and after.
fn slowly() -> Flow {
    let questions = [
        Step::Until(Until::Marked("asked")),
        Step::Ask(Ask::Pause("c1"), done()),
        Step::Ask(Ask::Resume("c1"), done()),
        Step::Ask(Ask::Kill("c1", 9), done()),
    ];
    let mut flow = flow_of(
        "task/slow-runtime",
        vec![
            process("c1", &["sleep-ms", "1000000"], &[137], ""),
            process("c1/e1", &["print", "x", "exit", "2"], &[2], "x"),
        ],
        vec![
            steps(&[&birth("c1"), &questions, &burial("c1")]),
            vec![
                Step::Until(Until::Told("/tasks/start", "c1")),
                Step::Ask(Ask::Exec("c1/e1"), done()),
                Step::Ask(Ask::Start("c1/e1"), done()),
                Step::Until(Until::Ended("c1/e1")),
                Step::Ask(Ask::Delete("c1/e1"), done()),
                Step::Mark("asked"),
            ],
        ],
    );
    let slow = json!({ "delay_ms": 7 });
    flow.script = json!({ "any": { "before": slow, "midway": slow, "after": slow } });
    flow
}

/// So few numbers that those of the dead are soon those of others.
fn pids_again() -> Flow {
    let exec = |name| {
        [
            Step::Ask(Ask::Exec(name), done()),
            Step::Ask(Ask::Start(name), done()),
            Step::Until(Until::Ended(name)),
            Step::Ask(Ask::State(name), done()),
            // Numbers that come again in the same tick of the clock are the same to a runtime.
            Step::Until(Until::Passed(20)),
        ]
    };
    let names = ["c1/e1", "c1/e2", "c1/e3", "c1/e4"];
    let deletions = names.map(|name| Step::Ask(Ask::Delete(name), done()));
    let kill = [Step::Ask(Ask::Kill("c1", 9), done()), Step::Until(Until::Passed(20))];
    let execs = names.map(exec);
    let mut flow = flow_of(
        "task/pids-again",
        vec![
            process("c1", &["sleep-ms", "1000000"], &[137], ""),
            process("c1/e1", &["print", "x", "exit", "1"], &[1], "x"),
            process("c1/e2", &["print", "y", "exit", "2"], &[2], "y"),
            process("c1/e3", &["print", "z", "exit", "3"], &[3], "z"),
            process("c1/e4", &["exit", "4"], &[4], ""),
        ],
        vec![steps(&[&birth("c1"), execs.as_flattened(), &deletions, &kill, &burial("c1")])],
    );
    flow.config.pid_max = 8;
    flow
}

fn killed_before_start(name: &'static str) -> Flow {
    let start = done()
        .or(Code::Unknown, "OCI runtime start failed")
        .or(Code::Unknown, "cannot start a stopped process");
    flow_of(
        name,
        vec![process("c1", &["sleep-ms", "1000000"], &[137], "")],
        vec![
            steps(&[
                &[
                    Step::Launch("c1"),
                    Step::Census,
                    Step::Ask(Ask::Create("c1"), done()),
                    Step::Mark("created"),
                    Step::Ask(Ask::Start("c1"), start),
                ],
                &burial("c1"),
            ]),
            vec![Step::Until(Until::Marked("created")), Step::Ask(Ask::Kill("c1", 9), done())],
        ],
    )
    .change("c1", |it| it.may_vanish = true)
}

fn kill_and_delete() -> Flow {
    let gone = || done().or(Code::NotFound, "process already finished");
    let late = || gone().or(Code::NotFound, "container not created");
    flow_of(
        "task/kill-and-delete",
        vec![process("c1", &["sleep-ms", "1000000"], &[137, 143], "")],
        vec![
            steps(&[
                &birth("c1"),
                &[
                    Step::Mark("started"),
                    Step::Ask(Ask::Kill("c1", 9), late().or(Code::NotFound, "no such container")),
                    Step::Until(Until::Ended("c1")),
                    Step::Ask(Ask::Delete("c1"), done().or(Code::NotFound, "not created")),
                    Step::Until(Until::Marked("killed")),
                    Step::Until(Until::Marked("deleted")),
                    Step::Until(Until::Eof("c1")),
                    Step::Census,
                    Step::CleanUp("c1"),
                    Step::Ask(Ask::Shutdown("c1"), done()),
                ],
            ]),
            vec![
                Step::Until(Until::Marked("started")),
                Step::Ask(Ask::Kill("c1", 15), late()),
                Step::Ask(Ask::KillAll("c1", 9), late().or(Code::NotFound, "no such container")),
                Step::Mark("killed"),
            ],
            vec![
                Step::Until(Until::Marked("started")),
                Step::Ask(
                    Ask::Delete("c1"),
                    done()
                        .or(Code::Unknown, "cannot delete a running process")
                        .or(Code::NotFound, "container not created"),
                ),
                Step::Mark("deleted"),
            ],
        ],
    )
}

fn pause() -> Flow {
    let first = [
        Step::Until(Until::Output("c1", 1)),
        Step::Ask(Ask::Pause("c1"), done()),
        Step::Ask(Ask::Pause("c1"), refused(Code::Unknown, "cannot pause a paused container")),
        Step::Ask(Ask::Delete("c1"), refused(Code::Unknown, "cannot delete a paused process")),
        Step::Ask(Ask::Start("c1"), refused(Code::Unknown, "cannot start a paused process")),
        Step::Ask(Ask::State("c1"), done()),
        Step::Ask(Ask::Resume("c1"), done()),
        Step::Ask(Ask::Resume("c1"), refused(Code::Unknown, "cannot resume a running process")),
        Step::EndInput("c1"),
        Step::Ask(Ask::CloseIo("c1"), done()),
    ];
    flow_of(
        "task/pause",
        vec![process("c1", &["print", "x", "read-all", "exit", "2"], &[2], "x0")],
        vec![steps(&[&birth("c1"), &first, &burial("c1")])],
    )
}

fn exit_while_paused() -> Flow {
    let killed = [Step::Ask(Ask::Pause("c1"), done()), Step::Ask(Ask::Kill("c1", 9), done())];
    flow_of(
        "task/killed-while-paused",
        vec![process("c1", &["sleep-ms", "1000000"], &[137], "")],
        vec![steps(&[&birth("c1"), &killed, &burial("c1")])],
    )
    // Resuming what is dead fails, which is told.
    .complaining()
}

/// Pausing and resuming, while the process may end at any moment.
fn pause_and_exit(name: &'static str) -> Flow {
    let stopped = "a stopped container";
    let pause = || {
        done()
            .or(Code::Unknown, "OCI runtime pause failed")
            .or(Code::Unknown, stopped)
            .or(Code::NotFound, "container not created")
    };
    let resume = || {
        done()
            .or(Code::Unknown, "OCI runtime resume failed")
            .or(Code::Unknown, "cannot resume a running process")
            .or(Code::Unknown, stopped)
            .or(Code::NotFound, "container not created")
    };
    flow_of(
        name,
        vec![process("c1", &["sleep-ms", "15", "exit", "4"], &[4], "")],
        vec![
            steps(&[
                &birth("c1"),
                &[Step::Mark("started"), Step::Until(Until::Marked("resumed"))],
                &burial("c1"),
            ]),
            vec![
                Step::Until(Until::Marked("started")),
                Step::Ask(Ask::Pause("c1"), pause()),
                Step::Ask(Ask::State("c1"), done()),
                Step::Ask(Ask::Resume("c1"), resume()),
                Step::Ask(Ask::Pause("c1"), pause()),
                Step::Ask(Ask::Resume("c1"), resume()),
                Step::Mark("resumed"),
            ],
        ],
    )
    .complaining()
}

/// Two containers share a shim; whoever is done first asks it to go, in vain.
fn pod() -> Flow {
    let one = |name, mark| {
        steps(&[&[
            Step::Launch(name),
            Step::Mark(mark),
            Step::Until(Until::Marked("one")),
            Step::Until(Until::Marked("two")),
            Step::Ask(Ask::Create(name), done()),
            Step::Ask(Ask::Shutdown(name), done()),
            Step::Ask(Ask::Start(name), done()),
            Step::Until(Until::Ended(name)),
            Step::Until(Until::Eof(name)),
            Step::Ask(Ask::Delete(name), done()),
            Step::CleanUp(name),
        ]])
    };
    let end = [Step::Until(Until::Marked("over")), Step::Ask(Ask::Shutdown("c2"), done())];
    let mut flow = flow_of(
        "task/pod",
        vec![
            process("c1", &["print", "one", "exit", "1"], &[1], "one"),
            process("c2", &["print", "two", "exit", "2"], &[2], "two"),
        ],
        vec![steps(&[&one("c1", "one"), &[Step::Mark("over")]]), steps(&[&one("c2", "two"), &end])],
    );
    flow.plan.group = "pod";
    flow
}

/// A container that was never started is killed and deleted at the same time, and nothing of it stays.
fn killed_while_deleted() -> Flow {
    let life = [
        Step::Launch("c1"),
        Step::Ask(Ask::Connect("c1"), done()),
        Step::Census,
        Step::Ask(Ask::Create("c1"), done()),
        Step::Mark("created"),
        Step::Ask(Ask::Delete("c1"), done()),
        Step::Until(Until::Marked("killed")),
        Step::HangUp,
        Step::Ask(Ask::Connect("c1"), done()),
        Step::Census,
        Step::CleanUp("c1"),
        Step::Ask(Ask::Shutdown("c1"), done()),
    ];
    let gone = done()
        .or(Code::NotFound, "container not created")
        .or(Code::NotFound, "no such container")
        .or(Code::NotFound, "process already finished");
    let killed = [
        Step::Until(Until::Marked("created")),
        Step::Ask(Ask::Kill("c1", 9), gone),
        Step::HangUp,
        Step::Mark("killed"),
    ];
    let mut flow = flow_of(
        "task/killed-while-deleted",
        vec![process("c1", &["sleep-ms", "1000000"], &[137], "")],
        vec![life.to_vec(), killed.to_vec()],
    )
    .complaining();
    let process = &mut flow.plan.processes[0];
    (process.may_vanish, process.is_never_opened, process.may_be_cut) = (true, true, true);
    flow
}
