//! The server itself: how it comes, how it goes, and what must not keep it from either.

use serde_json::json;
use wavetank::host::{Errno, Signal};
use wavetank::ttrpc::Code;

use super::super::SHIM;
use super::super::plan::{Ask, Name, Step, Until, done, refused, whatever};
use super::trouble::shim_is_killed;
use super::{Flow, birth, burial, flow_of, process, steps};
use crate::{Call, Fault};

pub(super) fn flows() -> Vec<Flow> {
    vec![
        unplaced(),
        socket_left(),
        start_is_killed(),
        terminated(),
        ends_while_terminated(),
        killed_while_frozen(),
        log_unread(),
        slow_runtime(),
        runtime_hangs(),
        no_console(),
        console_lost(),
        console_waits(),
        checkpoint(),
        lingering(),
        coming_and_going(),
        hello_with("task/poll-without-memory", Fault::fail(Errno::ENOMEM).of(Call::Poll).after(12)),
        hello_with(
            "task/fifo-cannot-be-opened-again",
            Fault::fail(Errno::EMFILE).of(Call::Open).on("c1-stdout").after(3),
        )
        .private(),
        hello_with(
            "task/fifo-is-gone",
            Fault::fail(Errno::ENOENT).of(Call::Open).by(SHIM).on("c1-stdout").after(3).for_ever(),
        )
        .private(),
    ]
}

/// `start` fails when the server runs already, and must not leave it.
fn unplaced() -> Flow {
    let no_descriptor = Fault::fail(Errno::EMFILE).of(Call::Open).by(SHIM).on("oom_score_adj");
    let mut flow = flow_of(
        "task/start-fails-late",
        vec![process("c1", &["exit", "1"], &[1], "")],
        vec![steps(&[&birth("c1"), &burial("c1")])],
    )
    .fault(no_descriptor.after(1))
    .complaining();
    flow.repeats = true;
    flow
}

/// A call of the shim fails, and it does not matter.
fn hello_with(name: &'static str, fault: Fault) -> Flow {
    flow_of(
        name,
        vec![process("c1", &["print", "hello", "exit", "7"], &[7], "hello")],
        vec![steps(&[&birth("c1"), &burial("c1")])],
    )
    .fault(fault.by(SHIM))
}

/// A shim is killed before it has a container, so that nobody cleans up after it; the next one
/// replaces its socket.
fn socket_left() -> Flow {
    let killed = [Step::Launch("c1"), Step::KillShim, Step::SeeShimOff];
    flow_of(
        "task/socket-left",
        vec![process("c1", &["exit", "1"], &[1], "")],
        vec![steps(&[&killed, &birth("c1"), &burial("c1")])],
    )
}

/// A `start` is killed that has a server and has told nobody; the server goes when nobody comes, also
/// when a second `start` has found it.
fn start_is_killed() -> Flow {
    let killed = Fault::signal(Signal::KILL).by(SHIM).part("start").of(Call::Parent);
    let unasked = [Step::Launch("c1"), Step::SeeShimOff, Step::CleanUp("c1")];
    let mut flow = flow_of(
        "task/start-is-killed",
        vec![process("c1", &["exit", "1"], &[1], "")],
        vec![steps(&[&unasked, &birth("c1"), &burial("c1")])],
    )
    .fault(killed)
    .complaining()
    .within(70);
    flow.repeats = true;
    flow
}

/// The machine goes down, and nobody waits for anybody.
fn terminated() -> Flow {
    let down = [
        Step::Until(Until::Output("c1", 1)),
        Step::TerminateShim,
        Step::SeeShimOff,
        Step::CleanUp("c1"),
    ];
    let mut flow = flow_of(
        "task/terminated",
        vec![process("c1", &["print", "x", "sleep-ms", "1000000"], &[137], "x")],
        vec![steps(&[&birth("c1"), &down])],
    );
    flow.shim_is_killed = true;
    flow
}

/// A container ends while its shim, which is to end, has still something to tell; nobody listens,
/// but whoever cleans up knows how it ended.
fn ends_while_terminated() -> Flow {
    let life = [
        Step::Launch("c1"),
        Step::RefuseEvents(true),
        Step::Ask(Ask::Create("c1"), done()),
        Step::Ask(Ask::Start("c1"), done()),
        Step::Until(Until::Output("c1", 1)),
        Step::TerminateShim,
        Step::SeeShimOff,
        Step::CleanUp("c1"),
    ];
    let mut flow = flow_of(
        "task/ends-while-terminated",
        vec![process("c1", &["print", "x", "sleep-ms", "300", "exit", "4"], &[4], "x")],
        vec![life.to_vec()],
    )
    .complaining()
    .within(10);
    flow.shim_is_killed = true;
    flow
}

/// What is frozen cannot die of itself.
fn killed_while_frozen() -> Flow {
    let pause = [Step::Ask(Ask::Pause("c1"), done())];
    shim_is_killed("task/shim-is-killed-while-paused", &pause)
}

/// Nobody reads the shim's log when it has something to say: that the daemon cannot be reached.
fn log_unread() -> Flow {
    let gone = [
        Step::Until(Until::Output("c1", 1)),
        Step::Die,
        Step::Until(Until::Passed(800)),
        Step::Return,
        Step::Until(Until::Told("/tasks/exit", "c1")),
    ];
    let mut burial = burial("c1");
    burial.remove(1);
    let mut flow = flow_of(
        "task/log-unread",
        vec![process("c1", &["print", "x", "sleep-ms", "300", "exit", "4"], &[4], "x")],
        vec![steps(&[&birth("c1"), &gone, &burial])],
    )
    .complaining()
    .within(15);
    flow.may_repeat_events = true;
    (flow.plan.processes[0].may_be_cut, flow.plan.processes[0].is_never_opened) = (true, true);
    flow
}

/// What needs no runtime does not wait for one.
fn slow_runtime() -> Flow {
    let meanwhile = vec![
        Step::Until(Until::Told("/tasks/create", "c1")),
        Step::Until(Until::Passed(100)),
        Step::Ask(Ask::State("c1"), done()),
        Step::Ask(Ask::Connect("c1"), done()),
        Step::Ask(Ask::Pids("c1"), done()),
        Step::Mark("asked"),
    ];
    flow_of(
        "task/runtime-takes-long",
        vec![process("c1", &["exit", "5"], &[5], "")],
        vec![
            steps(&[&birth("c1"), &[Step::Until(Until::Marked("asked"))], &burial("c1")]),
            meanwhile,
        ],
    )
    .script(&json!({ "start": { "before": { "delay_ms": 9000 } } }))
    .told_within(10)
    .within(12)
}

/// A runtime that is to kill what an init has left never ends; the end is told all the same.
fn runtime_hangs() -> Flow {
    flow_of(
        "task/runtime-hangs",
        vec![process("c1", &["exit", "5"], &[5], "")],
        vec![steps(&[&birth("c1"), &burial("c1")])],
    )
    .script(&json!({ "kill": { "before": { "hang": true } } }))
    .complaining()
    .told_within(11)
    .within(15)
}

/// The terminal that comes is of no use, and the process is hung up: it is not made, and the same works a
/// second time.
fn console_lost() -> Flow {
    let tried = [
        Step::Launch("c1"),
        Step::Census,
        Step::Ask(Ask::Create("c1"), refused(Code::Unknown, "the console that the runtime sent")),
        Step::Ask(Ask::Create("c1"), done()),
        Step::Ask(Ask::Start("c1"), done()),
    ];
    flow_of(
        "task/console-lost",
        vec![process("c1", &["print", "hello", "exit", "3"], &[3], "hello")],
        vec![steps(&[&tried, &burial("c1")])],
    )
    .change("c1", |it| it.terminal = true)
    .fault(Fault::fail(Errno::EIO).of(Call::WindowSize).by(SHIM))
    .complaining()
}

/// There is no memory for the terminal when it comes, and then there is.
fn console_waits() -> Flow {
    flow_of(
        "task/console-waits",
        vec![process("c1", &["print", "hello", "exit", "3"], &[3], "hello")],
        vec![steps(&[&birth("c1"), &burial("c1")])],
    )
    .change("c1", |it| it.terminal = true)
    .fault(Fault::fail(Errno::ENOMEM).of(Call::Receive).by(SHIM))
}

/// A runtime that succeeds and has sent no terminal.
fn no_console() -> Flow {
    let text = "the runtime has sent no console";
    let tried = vec![
        Step::Launch("c1"),
        Step::Ask(Ask::Connect("c1"), done()),
        Step::Census,
        Step::Ask(Ask::Create("c1"), refused(Code::Unknown, text)),
        Step::Census,
        Step::CleanUp("c1"),
        Step::Ask(Ask::Shutdown("c1"), done()),
    ];
    flow_of("task/no-console", vec![process("c1", &["exit", "1"], &[], "")], vec![tried])
        .change("c1", |it| it.terminal = true)
        .script(&json!({ "create": { "console": "skipped" } }))
        .within(40)
}

/// What was checkpointed and does not go on is not known to the runtime any more.
fn checkpoint() -> Flow {
    let checkpoint =
        [Step::Until(Until::Output("c1", 1)), Step::Ask(Ask::Checkpoint("c1"), done())];
    let killed = 128 + Signal::KILL.0.unsigned_abs();
    flow_of(
        "task/checkpoint",
        vec![process("c1", &["print", "x", "sleep-ms", "1000000"], &[killed], "x")],
        vec![steps(&[&birth("c1"), &checkpoint, &burial("c1")])],
    )
    // Killing the rest of what the runtime does not know fails, which is told.
    .complaining()
}

/// A shim that ends lingers for what it has still to tell, and a container that comes meanwhile
/// gets another shim.
fn lingering() -> Flow {
    let over = [
        Step::Until(Until::Ended("c1")),
        Step::Until(Until::Eof("c1")),
        Step::RefuseEvents(true),
        Step::Ask(Ask::Delete("c1"), done()),
        Step::Ask(Ask::Shutdown("c1"), done()),
        Step::Launch("c2"),
        // Still at the old one's.
        Step::Ask(Ask::Create("c2"), refused(Code::Unavailable, "shutting down")),
        Step::HangUp,
        Step::Ask(Ask::Create("c2"), done()),
        Step::Ask(Ask::Start("c2"), done()),
        Step::Until(Until::Passed(500)),
        Step::RefuseEvents(false),
        Step::CleanUp("c1"),
    ];
    let mut flow = flow_of(
        "task/lingering-shim",
        vec![process("c1", &["exit", "1"], &[1], ""), process("c2", &["exit", "2"], &[2], "")],
        vec![steps(&[&birth("c1"), &over, &burial("c2")])],
    )
    .complaining()
    .within(10);
    flow.plan.group = "pod";
    // What another shim has open is not to be compared.
    flow.plan.threads[0].retain(|step| !matches!(step, Step::Census));
    flow
}

/// A shim ends when it is told to, while others are being started at its place.
fn coming_and_going() -> Flow {
    const OTHERS: [Name; 5] = ["c2", "c3", "c4", "c5", "c6"];
    let mut first =
        vec![Step::Launch("c1"), Step::Mark("c1"), Step::Ask(Ask::Shutdown("c1"), whatever())];
    first.extend(OTHERS.map(|name| Step::Until(Until::Marked(name))));
    first.extend([Step::HangUp, Step::Ask(Ask::Shutdown("c1"), whatever()), Step::SeeShimOff]);
    let launch =
        |name| vec![Step::Until(Until::Marked("c1")), Step::Launch(name), Step::Mark(name)];
    let mut threads: Vec<_> = OTHERS.map(launch).to_vec();
    let names = || ["c1"].into_iter().chain(OTHERS);
    first.extend(names().map(Step::CleanUp));
    threads.push(first);
    let processes = names().map(|name| process(name, &[], &[], "")).collect();
    let mut flow = flow_of("task/shims-come-and-go", processes, threads).complaining().within(60);
    flow.plan.group = "pod";
    // Whoever comes when the shim goes has a shim or not.
    (flow.is_disturbed, flow.shim_may_go) = (true, true);
    for process in &mut flow.plan.processes {
        (process.is_disturbed, process.is_never_opened) = (true, true);
    }
    flow
}
