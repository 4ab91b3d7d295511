//! Runtimes that fail, clients that go, daemons that die, and calls that are none.

use serde_json::json;
use wavetank::ttrpc::Code;

use super::super::plan::{Ask, Step, Until, done, refused};
use super::{Flow, birth, burial, flow_of, process, steps};

pub(super) fn flows() -> Vec<Flow> {
    vec![
        create_fails(
            "task/runtime-fails",
            "OCI runtime create failed: no",
            &json!({ "create": { "before": { "log_error": "no", "exit_code": 1 } } }),
        ),
        create_fails(
            "task/runtime-dies",
            "runc did not terminate successfully: exit status 137",
            &json!({ "create": { "before": { "die_by_signal": "KILL" } } }),
        ),
        create_fails(
            "task/no-pid-file",
            "init.pid: ",
            &json!({ "create": { "pid_file": "none" } }),
        ),
        create_fails(
            "task/stranger",
            "no child process",
            &json!({ "create": { "pid_file": { "text": "2" } } }),
        ),
        start_fails(),
        exec_fails(),
        retry("task/retry"),
        retry("task/retry-later").script(&json!({ "create": { "before": { "delay_ms": 20 } } })),
        daemon_dies_in_create(),
        clients_give_up("task/clients-give-up"),
        clients_give_up("task/clients-give-up-private").private(),
        clients_give_up("task/clients-give-up-slow").slowly(),
        daemon_dies(),
        refused_events(),
        refused_for_long(),
        unknown_calls(),
        shim_is_killed("task/shim-is-killed", &[]),
    ]
}

/// The container is not made, and its name is free again.
fn create_fails(name: &'static str, text: &'static str, on: &serde_json::Value) -> Flow {
    let tried = vec![
        Step::Launch("c1"),
        Step::Ask(Ask::Connect("c1"), done()),
        Step::Census,
        Step::Ask(Ask::Create("c1"), refused(Code::Unknown, text)),
        Step::Ask(Ask::State("c1"), refused(Code::NotFound, "container not created")),
        Step::Ask(Ask::Create("c1"), refused(Code::Unknown, text)),
        Step::Ask(Ask::Delete("c1"), refused(Code::NotFound, "container not created")),
        Step::Census,
        Step::CleanUp("c1"),
        Step::Ask(Ask::Shutdown("c1"), done()),
    ];
    flow_of(name, vec![process("c1", &["sleep-ms", "1000000"], &[], "")], vec![tried]).script(on)
}

fn start_fails() -> Flow {
    let tried = [
        Step::Launch("c1"),
        Step::Ask(Ask::Connect("c1"), done()),
        Step::Census,
        Step::Ask(Ask::Create("c1"), done()),
        Step::Ask(Ask::Start("c1"), refused(Code::Unknown, "OCI runtime start failed: no")),
        Step::Ask(Ask::State("c1"), done()),
        Step::Ask(Ask::Kill("c1", 9), done()),
    ];
    flow_of(
        "task/start-fails",
        vec![process("c1", &["exit", "1"], &[137], "")],
        vec![steps(&[&tried, &burial("c1")])],
    )
    .script(&json!({ "start": { "before": { "log_error": "no", "exit_code": 1 } } }))
}

fn exec_fails() -> Flow {
    let tried = [
        Step::Ask(Ask::Exec("c1/e1"), done()),
        Step::Ask(Ask::Start("c1/e1"), refused(Code::Unknown, "OCI runtime exec failed: no")),
        Step::Until(Until::Ended("c1/e1")),
        Step::Ask(Ask::State("c1/e1"), done()),
        Step::Ask(Ask::Delete("c1/e1"), done()),
        Step::Ask(Ask::Kill("c1", 9), done()),
    ];
    flow_of(
        "task/exec-fails",
        vec![
            process("c1", &["sleep-ms", "1000000"], &[137], ""),
            process("c1/e1", &["exit", "1"], &[], ""),
        ],
        vec![steps(&[&birth("c1"), &tried, &burial("c1")])],
    )
    .script(&json!({ "exec": { "before": { "log_error": "no", "exit_code": 1 } } }))
}

/// A client whose connection breaks during Create comes back and asks again.
fn retry(name: &'static str) -> Flow {
    let begun = [
        Step::Launch("c1"),
        Step::Begin(Ask::Create("c1"), done()),
        Step::HangUp,
        Step::Ask(Ask::Create("c1"), done().or(Code::AlreadyExists, "container c1")),
        Step::Begin(Ask::Start("c1"), done()),
        Step::HangUp,
        Step::Ask(
            Ask::Start("c1"),
            done()
                .or(Code::Unknown, "cannot start a running process")
                .or(Code::Unknown, "cannot start a stopped process"),
        ),
        Step::Ask(Ask::Wait("c1"), done()),
    ];
    let mut flow = flow_of(
        name,
        vec![process("c1", &["exit", "4"], &[4], "")],
        vec![steps(&[&begun, &burial("c1")])],
    );
    flow.plan.processes[0].may_vanish = true;
    flow
}

/// A daemon that dies while a container is being created; the next one finds it, and ends it.
fn daemon_dies_in_create() -> Flow {
    let gone = [
        Step::Launch("c1"),
        Step::Begin(Ask::Create("c1"), done()),
        Step::Until(Until::Passed(5)),
        Step::Die,
        Step::Until(Until::Passed(100)),
        Step::Return,
        Step::Ask(Ask::State("c1"), done()),
        Step::Ask(Ask::Kill("c1", 9), done()),
        Step::Until(Until::Told("/tasks/exit", "c1")),
        Step::Ask(Ask::Delete("c1"), done()),
        Step::CleanUp("c1"),
        Step::Ask(Ask::Shutdown("c1"), done()),
    ];
    let mut flow = flow_of(
        "task/daemon-dies-in-create",
        vec![process("c1", &["exit", "1"], &[137], "")],
        vec![gone.to_vec()],
    )
    .script(&json!({ "create": { "before": { "delay_ms": 20 } } }))
    .complaining()
    .within(15);
    flow.may_repeat_events = true;
    flow.plan.processes[0].is_never_opened = true;
    flow
}

/// The container ends while there is no daemon; the next one hears of it.
fn daemon_dies() -> Flow {
    let gone = [
        Step::Until(Until::Output("c1", 1)),
        Step::Die,
        Step::Until(Until::Passed(300)),
        Step::Return,
        Step::Ask(Ask::State("c1"), done()),
        Step::Until(Until::Told("/tasks/exit", "c1")),
    ];
    // Whoever opens a fifo again may find that nobody has it open any more, and waits for nobody.
    let mut burial = burial("c1");
    burial.remove(1);
    let mut flow = flow_of(
        "task/daemon-dies",
        vec![process(
            "c1",
            &["print", "x", "sleep-ms", "20", "print", "y", "exit", "4"],
            &[4],
            "xy",
        )],
        vec![steps(&[&birth("c1"), &gone, &burial])],
    )
    .complaining()
    .within(15);
    flow.may_repeat_events = true;
    // What is written while nobody has the fifo open but the shim is lost when the shim closes it.
    flow.plan.processes[0].may_be_cut = true;
    flow.plan.processes[0].is_never_opened = true;
    flow
}

/// That a container was started is refused so often that the shim gives it up; what comes after is told.
fn refused_for_long() -> Flow {
    let gone = [
        Step::Launch("c1"),
        Step::Ask(Ask::Create("c1"), done()),
        Step::Until(Until::Told("/tasks/create", "c1")),
        Step::RefuseEvents(true),
        Step::Ask(Ask::Start("c1"), done()),
        Step::Until(Until::Passed(17_000)),
        Step::RefuseEvents(false),
        Step::Until(Until::Told("/tasks/exit", "c1")),
    ];
    let mut burial = burial("c1");
    burial.retain(|step| !matches!(step, Step::Census));
    flow_of(
        "task/refused-for-long",
        vec![process("c1", &["sleep-ms", "10", "exit", "4"], &[4], "")],
        vec![steps(&[&gone, &burial])],
    )
    .change("c1", |it| it.may_vanish = true)
    .complaining()
    .within(40)
}

fn refused_events() -> Flow {
    let gone = [
        Step::RefuseEvents(true),
        Step::Ask(Ask::Create("c1"), done()),
        Step::Ask(Ask::Start("c1"), done()),
        Step::Until(Until::Passed(1500)),
        Step::RefuseEvents(false),
        Step::Until(Until::Told("/tasks/exit", "c1")),
    ];
    let first = [Step::Launch("c1"), Step::Ask(Ask::Connect("c1"), done()), Step::Census];
    flow_of(
        "task/refused-events",
        vec![process("c1", &["exit", "4"], &[4], "")],
        vec![steps(&[&first, &gone, &burial("c1")])],
    )
    .complaining()
    .within(15)
}

fn unknown_calls() -> Flow {
    let odd = [
        Step::Ask(Ask::Odd("c1", "Nonsense", b""), refused(Code::Unimplemented, "Nonsense")),
        Step::Ask(Ask::Odd("c1", "State", b"\x08\x01"), refused(Code::NotFound, "not created")),
        Step::Ask(Ask::Odd("c1", "State", b"\x0a\x02\xff\xfe"), refused(Code::Internal, "")),
        Step::Ask(Ask::Odd("c1", "Wait", b""), refused(Code::NotFound, "not created")),
        Step::Ask(Ask::Odd("c1", "Create", b""), refused(Code::Unknown, "")),
        Step::Ask(Ask::Create("c1"), refused(Code::AlreadyExists, "container c1")),
        Step::Ask(Ask::State("c1/nobody"), refused(Code::NotFound, "process does not exist")),
        Step::Ask(Ask::Exec("c1/.."), refused(Code::InvalidArgument, "..")),
        Step::Ask(Ask::Pids("c1"), done()),
        Step::Ask(Ask::Kill("c1", 77), refused(Code::Unknown, "")),
        Step::Ask(Ask::Kill("c1", 0), done()),
        Step::Ask(Ask::Kill("c1", 9), done()),
    ];
    flow_of(
        "task/unknown-calls",
        vec![process("c1", &["sleep-ms", "1000000"], &[137], "")],
        vec![steps(&[&birth("c1"), &odd, &burial("c1")])],
    )
}

/// The kernel kills the shim, when this has been done; `delete` ends what it left, and invents an end.
pub(super) fn shim_is_killed(name: &'static str, before: &[Step]) -> Flow {
    let speaks = [Step::Until(Until::Output("c1", 1))];
    let killed = [
        Step::KillShim,
        Step::CleanUp("c1"),
        Step::Launch("c1"),
        Step::Ask(Ask::Delete("c1"), refused(Code::NotFound, "container not created")),
        Step::Ask(Ask::Shutdown("c1"), done()),
    ];
    let mut flow = flow_of(
        name,
        vec![process("c1", &["print", "x", "sleep-ms", "1000000"], &[137], "x")],
        vec![steps(&[&birth("c1"), &speaks, before, &killed])],
    );
    flow.shim_is_killed = true;
    flow
}

impl Flow {
    /// Whatever the runtime does takes some time.
    fn slowly(mut self) -> Flow {
        let slow = json!({ "delay_ms": 7 });
        self.script = json!({ "any": { "before": slow, "midway": slow, "after": slow } });
        self
    }
}

/// Whoever gives up and asks again comes to the same end.
fn clients_give_up(name: &'static str) -> Flow {
    // With a container the shim has more open than without.
    let [mut birth, mut burial] = [birth("c1"), burial("c1")];
    for part in [&mut birth, &mut burial] {
        part.retain(|step| !matches!(step, Step::Census));
    }
    let life = [
        Step::Ask(Ask::Exec("c1/e1"), done()),
        Step::Ask(Ask::Start("c1/e1"), done()),
        Step::Ask(Ask::State("c1/e1"), done()),
        Step::Ask(Ask::Pause("c1"), done()),
        Step::Ask(Ask::Resume("c1"), done()),
        Step::Ask(Ask::Update("c1"), done()),
        Step::Ask(Ask::Kill("c1/e1", 9), done()),
        Step::Until(Until::Ended("c1/e1")),
        Step::Ask(Ask::State("c1/e1"), done()),
        Step::Ask(Ask::Delete("c1/e1"), done()),
        Step::Census,
        Step::Ask(Ask::State("c1"), done()),
        Step::Ask(Ask::Kill("c1", 9), done()),
    ];
    let mut flow = flow_of(
        name,
        vec![
            process("c1", &["sleep-ms", "1000000"], &[137], ""),
            process("c1/e1", &["sleep-ms", "1000000"], &[137], ""),
        ],
        vec![steps(&[&birth, &[Step::Census], &life, &burial])],
    )
    .within(10);
    flow.gives_up = true;
    // That it was started, too, may have been told to somebody who had gone.
    flow.plan.processes.iter_mut().for_each(|process| process.may_vanish = true);
    flow
}
