//! Further processes in a container.

use serde_json::json;
use wavetank::ttrpc::Code;

use super::super::plan::{Answer, Ask, Name, Step, Until, done, refused, whatever};
use super::{Flow, birth, burial, flow_of, process, steps};

pub(super) fn flows() -> Vec<Flow> {
    let slowly = json!({ "exec": { "checked": { "delay_ms": 20 } } });
    vec![
        one(),
        twice(),
        storm("task/exec-storm"),
        storm("task/exec-storm-private").private(),
        storm("task/exec-storm-slow").script(&slowly),
        init_dies("task/exec-and-init"),
        init_dies("task/exec-and-init-private").private(),
        init_dies("task/exec-and-init-slow").script(&slowly),
        unstarted(),
        name_again(),
        churn(),
        abandoned(),
        deleted_meanwhile(),
        terminated_meanwhile(),
    ]
}

/// An exec's whole life.
fn life(name: Name) -> Vec<Step> {
    vec![
        Step::Ask(Ask::Exec(name), done()),
        Step::Ask(Ask::Start(name), done()),
        Step::Until(Until::Ended(name)),
        Step::Until(Until::Eof(name)),
        Step::Ask(Ask::State(name), done()),
        Step::Ask(Ask::Delete(name), done()),
    ]
}

fn one() -> Flow {
    let kill = [Step::Ask(Ask::Kill("c1", 9), done())];
    flow_of(
        "task/exec",
        vec![
            process("c1", &["sleep-ms", "1000000"], &[137], ""),
            process("c1/e1", &["print", "second", "exit", "9"], &[9], "second"),
        ],
        vec![steps(&[&birth("c1"), &life("c1/e1"), &kill, &burial("c1")])],
    )
}

/// A name that is taken, and then free again.
fn twice() -> Flow {
    let taken = [
        Step::Ask(Ask::Exec("c1/e1"), done()),
        Step::Ask(Ask::Exec("c1/e1"), refused(Code::AlreadyExists, "id e1")),
        Step::Ask(Ask::Kill("c1/e1", 9), refused(Code::FailedPrecondition, "not created")),
        Step::Ask(Ask::Delete("c1/e1"), done()),
        Step::Ask(Ask::Start("c1/e1"), refused(Code::NotFound, "process does not exist e1")),
        Step::Ask(Ask::Exec("c1/e2"), done()),
        Step::Ask(Ask::Start("c1/e2"), done()),
        Step::Ask(
            Ask::Start("c1/e2"),
            refused(Code::Unknown, "cannot start a running process")
                .or(Code::Unknown, "cannot start a stopped process"),
        ),
        Step::Ask(
            Ask::Delete("c1/e2"),
            done().or(Code::Unknown, "cannot delete a running process"),
        ),
        Step::Ask(Ask::Kill("c1", 9), done()),
        Step::Until(Until::Ended("c1/e2")),
    ];
    let mut flow = flow_of(
        "task/exec-names",
        vec![
            process("c1", &["sleep-ms", "1000000"], &[137], ""),
            process("c1/e1", &[], &[], ""),
            process("c1/e2", &["exit", "1"], &[1], ""),
        ],
        vec![steps(&[&birth("c1"), &taken, &burial("c1")])],
    );
    // The second of the same name is never opened by a shim, and the first neither.
    flow.plan.processes[1].is_never_opened = true;
    flow
}

/// What may come of starting an exec whose init may be dying.
pub(super) fn started() -> Answer {
    done()
        .or(Code::FailedPrecondition, "container c1 init process is not running")
        .or(Code::Unknown, "OCI runtime exec failed")
        .or(Code::NotFound, "container not created")
}

fn exec_of_the_dying(name: Name) -> Vec<Step> {
    let gone = |answer: Answer| answer.or(Code::NotFound, "container not created");
    let exec = gone(done()).or(Code::Unknown, "cannot exec in a stopped state");
    let no_exec = |answer: Answer| gone(answer).or(Code::NotFound, "process does not exist");
    let kill = no_exec(done())
        .or(Code::NotFound, "process already finished")
        .or(Code::FailedPrecondition, "process not created");
    vec![
        Step::Until(Until::Marked("started")),
        Step::Ask(Ask::Exec(name), exec),
        Step::Ask(Ask::Start(name), no_exec(started())),
        Step::Ask(Ask::State(name), no_exec(done())),
        Step::Ask(Ask::Kill(name, 15), kill),
        Step::Ask(
            Ask::Delete(name),
            no_exec(done()).or(Code::Unknown, "cannot delete a running process"),
        ),
        Step::Mark(name),
    ]
}

/// Execs that start and end in any order, while their init dies of a signal.
fn storm(name: &'static str) -> Flow {
    let dying = [
        Step::Mark("started"),
        Step::Ask(Ask::Kill("c1", 9), done()),
        Step::Until(Until::Ended("c1")),
        Step::Until(Until::Marked("c1/e1")),
        Step::Until(Until::Marked("c1/e2")),
        Step::Until(Until::Marked("c1/e3")),
    ];
    let exec = |name, words: &[&'static str], ends: &[u32]| {
        let mut process = process(name, words, ends, "x");
        (process.may_be_cut, process.may_vanish) = (true, true);
        process
    };
    flow_of(
        name,
        vec![
            process("c1", &["sleep-ms", "1000000"], &[137], ""),
            exec("c1/e1", &["print", "x", "sleep-ms", "1000000"], &[137, 143]),
            exec("c1/e2", &["print", "x", "exit", "2"], &[2, 137, 143]),
            exec("c1/e3", &["print", "x", "sleep-ms", "3", "exit", "3"], &[3, 137, 143]),
        ],
        vec![
            steps(&[&birth("c1"), &dying, &burial("c1")]),
            exec_of_the_dying("c1/e1"),
            exec_of_the_dying("c1/e2"),
            exec_of_the_dying("c1/e3"),
        ],
    )
}

/// An exec that is being started while its init ends by itself, and that would never end.
fn init_dies(name: &'static str) -> Flow {
    let mut flow = flow_of(
        name,
        vec![
            process("c1", &["sleep-ms", "10", "exit", "6"], &[6], ""),
            process("c1/e1", &["print", "x", "sleep-ms", "1000000"], &[137], "x"),
        ],
        vec![
            steps(&[
                &birth("c1"),
                &[Step::Mark("started"), Step::Until(Until::Marked("tried"))],
                &burial("c1"),
            ]),
            vec![
                Step::Until(Until::Marked("started")),
                Step::Ask(
                    Ask::Exec("c1/e1"),
                    done().or(Code::Unknown, "cannot exec in a stopped state"),
                ),
                Step::Ask(
                    Ask::Start("c1/e1"),
                    started().or(Code::NotFound, "process does not exist e1"),
                ),
                Step::Mark("tried"),
            ],
        ],
    );
    (flow.plan.processes[1].may_be_cut, flow.plan.processes[1].may_vanish) = (true, true);
    flow
}

/// An exec that is only announced goes with its container.
fn unstarted() -> Flow {
    let announced = [
        Step::Ask(Ask::Exec("c1/e1"), done()),
        Step::Ask(Ask::State("c1/e1"), done()),
        Step::Ask(Ask::Kill("c1", 9), done()),
    ];
    let mut flow = flow_of(
        "task/exec-unstarted",
        vec![process("c1", &["sleep-ms", "1000000"], &[137], ""), process("c1/e1", &[], &[], "")],
        vec![steps(&[&birth("c1"), &announced, &burial("c1")])],
    );
    flow.plan.processes[1].is_never_opened = true;
    flow
}

/// The name of an exec that was never started and is deleted is free again.
fn name_again() -> Flow {
    let announced =
        [Step::Ask(Ask::Exec("c1/e1"), done()), Step::Ask(Ask::Delete("c1/e1"), done())];
    let kill = [Step::Ask(Ask::Kill("c1", 9), done())];
    flow_of(
        "task/exec-name-again",
        vec![
            process("c1", &["sleep-ms", "1000000"], &[137], ""),
            process("c1/e1", &["print", "second", "exit", "9"], &[9], "second"),
        ],
        vec![steps(&[&birth("c1"), &announced, &life("c1/e1"), &kill, &burial("c1")])],
    )
}

/// Execs come and go, and nothing of them stays: no descriptor, no child, no memory of them.
fn churn() -> Flow {
    const NAMES: [Name; 4] = ["c1/e1", "c1/e2", "c1/e3", "c1/e4"];
    let look = [Step::Census, Step::Recollection];
    let mut middle = steps(&[&look]);
    for name in NAMES {
        middle.extend(life(name));
        middle.extend(look.clone());
    }
    middle.push(Step::Ask(Ask::Kill("c1", 9), done()));
    let mut birth = birth("c1");
    birth.retain(|step| !matches!(step, Step::Census));
    let mut burial = burial("c1");
    burial.retain(|step| !matches!(step, Step::Census));
    let mut processes = vec![process("c1", &["sleep-ms", "1000000"], &[137], "")];
    processes.extend(NAMES.map(|name| process(name, &["winsize", "exit", "1"], &[1], "91x37")));
    let mut flow = flow_of("task/exec-churn", processes, vec![steps(&[&birth, &middle, &burial])]);
    // A short write would spoil what the shim tells of itself.
    flow.config.short_one_in = 0;
    for name in NAMES {
        flow = flow.change(name, |it| it.terminal = true);
        let resize = Step::Ask(Ask::Resize(name, super::streams::SIZE), done());
        let thread = &mut flow.plan.threads[0];
        let at = thread
            .iter()
            .position(|step| matches!(step, Step::Ask(Ask::Start(started), _) if *started == name));
        thread.insert(at.unwrap_or(0), resize);
    }
    flow
}

/// A client gives up while an exec is being started; the next one finds it, and ends it.
fn abandoned() -> Flow {
    let tried = [
        Step::Ask(Ask::Exec("c1/e1"), done()),
        Step::Begin(Ask::Start("c1/e1"), done()),
        Step::Until(Until::Passed(5)),
        Step::HangUp,
        Step::Until(Until::Passed(100)),
        Step::Ask(Ask::State("c1/e1"), done()),
        Step::Ask(Ask::Kill("c1/e1", 9), done()),
        Step::Until(Until::Ended("c1/e1")),
        Step::Ask(Ask::Delete("c1/e1"), done()),
        Step::Ask(Ask::Kill("c1", 9), done()),
    ];
    let mut flow = flow_of(
        "task/exec-abandoned",
        vec![
            process("c1", &["sleep-ms", "1000000"], &[137], ""),
            process("c1/e1", &["sleep-ms", "1000000"], &[137], ""),
        ],
        vec![steps(&[&birth("c1"), &tried, &burial("c1")])],
    )
    .script(&json!({ "exec": { "checked": { "delay_ms": 20 } } }));
    flow.plan.processes[1].may_vanish = true;
    flow
}

/// A container that was never started is deleted while an exec in it is being started.
fn deleted_meanwhile() -> Flow {
    let life = [
        Step::Launch("c1"),
        Step::Ask(Ask::Create("c1"), done()),
        Step::Ask(Ask::Exec("c1/e1"), done()),
        Step::Mark("added"),
        Step::Ask(Ask::Delete("c1"), done()),
        Step::CleanUp("c1"),
        Step::Until(Until::Marked("tried")),
        Step::Ask(Ask::Shutdown("c1"), done()),
    ];
    let exec = [
        Step::Until(Until::Marked("added")),
        Step::Ask(Ask::Start("c1/e1"), started().or(Code::NotFound, "process does not exist e1")),
        Step::Mark("tried"),
    ];
    let mut flow = flow_of(
        "task/deleted-while-exec-starts",
        vec![
            process("c1", &["sleep-ms", "1000000"], &[137], ""),
            process("c1/e1", &["sleep-ms", "1000000"], &[137], ""),
        ],
        vec![life.to_vec(), exec.to_vec()],
    )
    .script(&json!({ "exec": { "before": { "delay_ms": 20 } } }))
    .complaining();
    unsettle(&mut flow);
    flow
}

/// The machine goes down while an exec is being started.
fn terminated_meanwhile() -> Flow {
    let life = [
        Step::Launch("c1"),
        Step::Ask(Ask::Create("c1"), done()),
        Step::Ask(Ask::Start("c1"), done()),
        Step::Ask(Ask::Exec("c1/e1"), done()),
        Step::Begin(Ask::Start("c1/e1"), whatever()),
        Step::Until(Until::Passed(5)),
        Step::TerminateShim,
        Step::SeeShimOff,
        Step::CleanUp("c1"),
    ];
    let mut flow = flow_of(
        "task/terminated-while-exec-starts",
        vec![
            process("c1", &["sleep-ms", "1000000"], &[137], ""),
            process("c1/e1", &["sleep-ms", "1000000"], &[137], ""),
        ],
        vec![life.to_vec()],
    )
    .script(&json!({ "exec": { "before": { "delay_ms": 20 } } }))
    .complaining();
    unsettle(&mut flow);
    (flow.is_disturbed, flow.shim_may_go, flow.exit_is_unrecorded) = (true, true, true);
    flow.plan.processes.iter_mut().for_each(|process| process.is_disturbed = true);
    flow
}

/// The processes may come to anything, or to nothing.
fn unsettle(flow: &mut Flow) {
    for process in &mut flow.plan.processes {
        (process.may_vanish, process.is_never_opened, process.may_be_cut) = (true, true, true);
    }
}
