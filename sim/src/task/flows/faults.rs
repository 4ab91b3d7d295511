//! Calls of the kernel that fail.

use wavetank::host::Errno;
use wavetank::ttrpc::Code;

use super::super::SHIM;
use super::super::plan::{Ask, Step, Until, done, refused};
use super::{Flow, birth, burial, flow_of, process, steps};
use crate::{Call, Choose, Fault};

pub(super) fn flows() -> Vec<Flow> {
    let spawn = |nth| Fault::fail(Errno::EAGAIN).of(Call::Spawn).by(SHIM).after(nth);
    let no_space = |name: &str| Fault::fail(Errno::ENOSPC).of(Call::Write).on(name);
    let create = "OCI runtime create failed";
    vec![
        // The first program that a shim starts is its server.
        second_create("task/no-process-for-create", create).fault(spawn(1)),
        second_create("task/no-space-for-options", "write").fault(no_space("options.json")),
        second_create("task/no-space-for-runtime", "write")
            .fault(Fault::fail(Errno::ENOSPC).of(Call::Open).on("bundles/c1/runtime")),
        second_create("task/no-space-for-pid", create)
            .fault(Fault::fail(Errno::ENOSPC).of(Call::Rename).on("init.pid"))
            .change("c1", |it| it.runtime_speaks = true),
        second_create("task/no-pipe", "pipe")
            .fault(Fault::fail(Errno::EMFILE).of(Call::Pipe).by(SHIM).after(1)),
        second_create("task/no-descriptor-for-fifo", "c1-stderr")
            .fault(Fault::fail(Errno::EMFILE).of(Call::Open).by(SHIM).on("c1-stderr").after(1)),
        second_start().fault(spawn(2)),
        // Only what the runtime says would be lost.
        hello("task/no-memory-for-start")
            .fault(Fault::fail(Errno::ENOMEM).of(Call::MemoryFile).by(SHIM)),
        second_delete().fault(spawn(4)),
        hello("task/no-process-for-killing").complaining().fault(spawn(3)),
        hello("task/no-space-for-exit").complaining().unrecorded().fault(no_space("exit.json.new")),
        hello("task/no-descriptor-for-accept")
            .complaining()
            .fault(Fault::fail(Errno::EMFILE).of(Call::Accept).by(SHIM)),
        life("task/life"),
        chance("task/any-fault"),
        chance("task/any-fault-rootfs").change("c1", |it| it.mounts = vec!["", "a"]),
        chance("task/any-fault-logger")
            .change("c1", |it| it.logger = "binary-v2:///bin/logger?ready=-&copy=/w/io/c1"),
        chance("task/any-fault-tty").change("c1", |it| it.terminal = true),
    ]
}

impl Flow {
    fn unrecorded(self) -> Flow {
        Flow { exit_is_unrecorded: true, ..self }
    }
}

fn hello(name: &'static str) -> Flow {
    flow_of(
        name,
        vec![process("c1", &["print", "hello", "exit", "7"], &[7], "hello")],
        vec![steps(&[&birth("c1"), &burial("c1")])],
    )
}

/// Creating fails, leaves nothing, and the same works a second time.
fn second_create(name: &'static str, text: &'static str) -> Flow {
    let tried = [
        Step::Launch("c1"),
        Step::Ask(Ask::Connect("c1"), done()),
        Step::Census,
        Step::Ask(Ask::Create("c1"), refused(Code::Unknown, text)),
        Step::Census,
        Step::Ask(Ask::Create("c1"), done()),
        Step::Ask(Ask::Start("c1"), done()),
    ];
    let flow = hello(name);
    let threads = vec![steps(&[&tried, &burial("c1")])];
    Flow { plan: super::Plan { threads, ..flow.plan }, ..flow }
}

fn second_start() -> Flow {
    let tried = [
        Step::Launch("c1"),
        Step::Census,
        Step::Ask(Ask::Create("c1"), done()),
        Step::Ask(Ask::Start("c1"), refused(Code::Unknown, "OCI runtime start failed")),
        Step::Ask(Ask::State("c1"), done()),
        Step::Ask(Ask::Start("c1"), done()),
    ];
    let flow = hello("task/no-process-for-start");
    let threads = vec![steps(&[&tried, &burial("c1")])];
    Flow { plan: super::Plan { threads, ..flow.plan }, ..flow }
}

fn second_delete() -> Flow {
    let tried = [
        Step::Until(Until::Ended("c1")),
        Step::Ask(Ask::Delete("c1"), refused(Code::Unknown, "failed to delete task")),
        Step::Ask(Ask::State("c1"), done()),
    ];
    let flow = hello("task/no-process-for-delete");
    let threads = vec![steps(&[&birth("c1"), &tried, &burial("c1")])];
    Flow { plan: super::Plan { threads, ..flow.plan }, ..flow }
}

/// All that a container with an exec needs from its start to its end, its input and output included.
fn life(name: &'static str) -> Flow {
    let exec = [
        Step::Ask(Ask::Exec("c1/e1"), done().or(Code::AlreadyExists, "id e1")),
        Step::Ask(Ask::Start("c1/e1"), done()),
        Step::EndInput("c1/e1"),
        Step::Ask(Ask::CloseIo("c1/e1"), done()),
        Step::Until(Until::Ended("c1/e1")),
        Step::Until(Until::Eof("c1/e1")),
        Step::Ask(Ask::Delete("c1/e1"), done()),
        Step::Until(Until::Output("c1", 1)),
        Step::Ask(Ask::Kill("c1", 9), done().or(Code::NotFound, "process already finished")),
    ];
    flow_of(
        name,
        vec![
            process("c1", &["print", "x", "sleep-ms", "1000000"], &[137], "x"),
            process("c1/e1", &["echo", "exit", "3"], &[3], "input"),
        ],
        vec![steps(&[&birth("c1"), &exec, &burial("c1")])],
    )
    .change("c1/e1", |it| it.input = b"input".to_vec())
}

/// The same, and one call that fails.
fn chance(name: &'static str) -> Flow {
    let mut flow = life(name).complaining().unrecorded().within(30);
    (flow.chance, flow.repeats) = (true, true);
    flow.may_repeat_events = true;
    flow
}

/// One call of a shim, its server's or a short program's, that fails.
pub(in super::super) fn any_fault(chooser: &mut dyn Choose) -> Fault {
    const FAULTS: [(Call, Errno); 21] = [
        (Call::Spawn, Errno::EAGAIN),
        (Call::Spawn, Errno::ENOMEM),
        (Call::MemoryFile, Errno::EMFILE),
        (Call::Pipe, Errno::ENFILE),
        (Call::Open, Errno::EMFILE),
        (Call::Open, Errno::ENOMEM),
        (Call::Write, Errno::ENOSPC),
        (Call::Rename, Errno::ENOSPC),
        (Call::Mkdir, Errno::ENOSPC),
        (Call::Accept, Errno::EMFILE),
        (Call::Accept, Errno::ECONNABORTED),
        (Call::Socket, Errno::EMFILE),
        (Call::Connect, Errno::EAGAIN),
        (Call::Poll, Errno::ENOMEM),
        (Call::Poll, Errno::EINTR),
        (Call::Read, Errno::EINTR),
        (Call::Splice, Errno::EINTR),
        (Call::Send, Errno::EINTR),
        (Call::ReadSignal, Errno::EINTR),
        (Call::Stat, Errno::ENOMEM),
        (Call::Signals, Errno::EMFILE),
    ];
    let (call, errno) = FAULTS[chooser.choose(FAULTS.len())];
    let after = chooser.choose(24) as u64;
    Fault::fail(errno).of(call).by(SHIM).after(after)
}
