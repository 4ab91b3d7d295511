//! Input, output and terminals.

use wavetank::host::WindowSize;

use super::super::plan::{Ask, Step, Until, done};
use super::{Flow, birth, burial, flow_of, process, steps};
use crate::guests::pattern;

pub(super) fn flows() -> Vec<Flow> {
    vec![
        echo(),
        close_io_at_any_time(),
        output("task/output"),
        output("task/output-direct").private(),
        reader_stalls(),
        reader_returns("task/reader-returns"),
        reader_returns("task/reader-returns-direct").private(),
        terminal(),
        exec_terminal(),
        flow_of(
            "task/grandchild",
            vec![process("c1", &["print", "x", "fork-hold-stdout-ms", "50"], &[0], "x")],
            vec![steps(&[&birth("c1"), &burial("c1")])],
        ),
        grandchild_for_ever(),
        nobody_reads(),
        input_unread(),
        terminal_killed(),
    ]
}

/// What nobody reads within the time for it is lost, and no more than that.
fn nobody_reads() -> Flow {
    let killed = [
        Step::Until(Until::Passed(20)),
        Step::Ask(Ask::Kill("c1", 9), done()),
        Step::Until(Until::Ended("c1")),
        Step::Ask(Ask::Delete("c1"), done()),
        Step::Mark("reading"),
        Step::Until(Until::Eof("c1")),
        Step::Census,
        Step::CleanUp("c1"),
        Step::Ask(Ask::Shutdown("c1"), done()),
    ];
    flow_of(
        "task/nobody-reads",
        vec![process("c1", &["bytes", "150000", "sleep-ms", "1000000"], &[137], "")],
        vec![steps(&[&birth("c1"), &killed])],
    )
    .change("c1", |it| {
        (it.stdout, it.reads_from, it.may_be_cut) = (pattern(150_000), Some("reading"), true);
    })
    .complaining()
    .within(20)
}

/// Input that the process never takes does not keep it from ending.
fn input_unread() -> Flow {
    let killed = [Step::Until(Until::Passed(5)), Step::Ask(Ask::Kill("c1", 9), done())];
    flow_of(
        "task/input-unread",
        vec![process("c1", &["sleep-ms", "1000000"], &[137], "")],
        vec![steps(&[&birth("c1"), &killed, &burial("c1")])],
    )
    .change("c1", |it| it.input = pattern(200_000))
}

fn terminal_killed() -> Flow {
    let killed = [Step::Until(Until::Output("c1", 5)), Step::Ask(Ask::Kill("c1", 9), done())];
    flow_of(
        "task/tty-killed",
        vec![process("c1", &["print", "hello", "sleep-ms", "1000000"], &[137], "hello")],
        vec![steps(&[&birth("c1"), &killed, &burial("c1")])],
    )
    .change("c1", |it| it.terminal = true)
}

fn echo() -> Flow {
    let end = [Step::EndInput("c1"), Step::Ask(Ask::CloseIo("c1"), done())];
    flow_of(
        "task/echo",
        vec![process("c1", &["echo", "error", "done"], &[0], "")],
        vec![steps(&[&birth("c1"), &end, &burial("c1")])],
    )
    .change("c1", |it| {
        (it.input, it.stdout, it.stderr) = (pattern(300), pattern(300), b"done".to_vec());
    })
}

/// `CloseIO` ends the input only when the client has ended it, too.
fn close_io_at_any_time() -> Flow {
    let mut flow = flow_of(
        "task/close-io",
        vec![process("c1", &["read-all"], &[0], "300"), process("c1/e1", &["echo"], &[0], "")],
        vec![
            steps(&[
                &[
                    Step::Launch("c1"),
                    Step::Census,
                    Step::Ask(Ask::Create("c1"), done()),
                    Step::Mark("created"),
                    Step::Ask(Ask::Start("c1"), done()),
                    Step::Ask(Ask::Exec("c1/e1"), done()),
                    Step::Mark("exec"),
                    Step::Ask(Ask::Start("c1/e1"), done()),
                    Step::EndInput("c1/e1"),
                    Step::Until(Until::Ended("c1/e1")),
                    Step::Until(Until::Eof("c1/e1")),
                    Step::Until(Until::Marked("closed")),
                    Step::EndInput("c1"),
                ],
                &burial("c1"),
            ]),
            vec![
                Step::Until(Until::Marked("created")),
                Step::Ask(Ask::CloseIo("c1"), done()),
                Step::Until(Until::Marked("exec")),
                Step::Ask(Ask::CloseIo("c1/e1"), done()),
                Step::Ask(Ask::CloseIo("c1"), done()),
                Step::Mark("closed"),
            ],
        ],
    );
    flow = flow.change("c1", |it| it.input = pattern(300));
    flow.change("c1/e1", |it| (it.input, it.stdout) = (pattern(90), pattern(90)))
}

fn output(name: &'static str) -> Flow {
    flow_of(
        name,
        vec![process("c1", &["bytes", "200000"], &[0], "")],
        vec![steps(&[&birth("c1"), &burial("c1")])],
    )
    .change("c1", |it| it.stdout = pattern(200_000))
}

/// Nobody reads what the process writes until it waits for that; all else goes on.
fn reader_stalls() -> Flow {
    let meanwhile = [
        Step::Until(Until::Passed(50)),
        Step::Ask(Ask::State("c1"), done()),
        Step::Ask(Ask::Exec("c1/e1"), done()),
        Step::Ask(Ask::Start("c1/e1"), done()),
        Step::Until(Until::Ended("c1/e1")),
        Step::Ask(Ask::Delete("c1/e1"), done()),
        Step::Mark("reading"),
    ];
    flow_of(
        "task/reader-stalls",
        vec![
            process("c1", &["bytes", "150000", "exit", "1"], &[1], ""),
            process("c1/e1", &["print", "y"], &[0], "y"),
        ],
        vec![steps(&[&birth("c1"), &meanwhile, &burial("c1")])],
    )
    .change("c1", |it| (it.stdout, it.reads_from) = (pattern(150_000), Some("reading")))
}

fn reader_returns(name: &'static str) -> Flow {
    let end = [
        Step::Until(Until::Output("c1", 3000)),
        Step::EndInput("c1"),
        Step::Ask(Ask::CloseIo("c1"), done()),
    ];
    flow_of(
        name,
        vec![process("c1", &["bytes", "3000", "read-all"], &[0], "")],
        vec![steps(&[&birth("c1"), &end, &burial("c1")])],
    )
    .change("c1", |it| {
        it.stdout = [pattern(3000), b"0".to_vec()].concat();
        it.leaves_after = Some(1);
    })
}

pub(super) const SIZE: WindowSize = WindowSize { columns: 91, rows: 37 };

fn terminal() -> Flow {
    flow_of(
        "task/tty",
        vec![process("c1", &["winsize", "exit", "3"], &[3], "91x37")],
        vec![
            steps(&[&birth("c1"), &burial("c1")]),
            vec![
                Step::Until(Until::Told("/tasks/create", "c1")),
                Step::Ask(Ask::Resize("c1", SIZE), done()),
            ],
        ],
    )
    .change("c1", |it| it.terminal = true)
}

fn exec_terminal() -> Flow {
    let exec = [
        Step::Ask(Ask::Exec("c1/e1"), done()),
        Step::Ask(Ask::Resize("c1/e1", SIZE), done()),
        Step::Ask(Ask::Start("c1/e1"), done()),
        Step::Until(Until::Ended("c1/e1")),
        Step::Until(Until::Eof("c1/e1")),
        Step::Ask(Ask::Delete("c1/e1"), done()),
        Step::EndInput("c1"),
        Step::Ask(Ask::CloseIo("c1"), done()),
    ];
    flow_of(
        "task/tty-exec",
        vec![
            process("c1", &["read-all"], &[0], "0"),
            process("c1/e1", &["winsize", "bytes", "20", "exit", "2"], &[2], ""),
        ],
        vec![steps(&[&birth("c1"), &exec, &burial("c1")])],
    )
    .change("c1/e1", |it| {
        it.terminal = true;
        it.stdout = shown(b"91x37", &pattern(20));
    })
}

/// What a terminal makes of output: a new line begins at its left edge.
pub(super) fn shown(first: &[u8], second: &[u8]) -> Vec<u8> {
    let mut shown = first.to_vec();
    for byte in second {
        if *byte == b'\n' {
            shown.push(b'\r');
        }
        shown.push(*byte);
    }
    shown
}

/// Somebody keeps the output open for longer than anybody waits.
fn grandchild_for_ever() -> Flow {
    let mut burial = burial("c1");
    burial.remove(1);
    flow_of(
        "task/grandchild-for-ever",
        vec![process("c1", &["print", "x", "fork-hold-stdout-ms", "60000"], &[0], "x")],
        vec![steps(&[&birth("c1"), &burial])],
    )
    .within(20)
}
