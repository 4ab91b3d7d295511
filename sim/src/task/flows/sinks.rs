//! Readers that come late or never, full disks, narrow pipes, and what a runtime has to say.

use serde_json::json;
use wavetank::host::Errno;

use super::super::SHIM;
use super::super::plan::{Ask, Step, Until, done};
use super::streams::shown;
use super::{Flow, birth, burial, flow_of, process, steps};
use crate::guests::pattern;
use crate::{Call, Fault};

pub(super) fn flows() -> Vec<Flow> {
    vec![
        late_reader(),
        client_leaves_at_delete("task/client-leaves-at-delete"),
        client_leaves_at_delete("task/client-leaves-at-delete-private").private(),
        reader_away("task/reader-away"),
        reader_away("task/reader-away-direct").private(),
        exec_grandchild(),
        client_never_comes(),
        much_input(),
        narrow_echo(),
        terminal_output(),
        terminal_reopened(),
        terminal_to_full_disk(),
        talkative_runtime(),
        log_full(),
    ]
}

/// A reader that begins long after the process has ended loses nothing.
fn late_reader() -> Flow {
    let late =
        [Step::Until(Until::Ended("c1")), Step::Until(Until::Passed(3000)), Step::Mark("reading")];
    flow_of(
        "task/late-reader",
        vec![process("c1", &["bytes", "100000", "exit", "1"], &[1], "")],
        vec![steps(&[&birth("c1"), &late, &burial("c1")])],
    )
    .change("c1", |it| (it.stdout, it.reads_from) = (pattern(100_000), Some("reading")))
}

/// A client that goes as soon as the process is removed has read all by then, though it was slow.
fn client_leaves_at_delete(name: &'static str) -> Flow {
    let removed = [
        Step::Until(Until::Ended("c1")),
        Step::Mark("deleting"),
        Step::Ask(Ask::Delete("c1"), done()),
        Step::CleanUp("c1"),
        Step::Ask(Ask::Shutdown("c1"), done()),
    ];
    let client = vec![
        Step::Until(Until::Marked("deleting")),
        Step::Until(Until::Passed(100)),
        Step::Mark("reading"),
    ];
    flow_of(
        name,
        vec![process("c1", &["print", "out", "exit", "3"], &[3], "out")],
        vec![steps(&[&birth("c1"), &removed]), client],
    )
    .change("c1", |it| (it.reads_from, it.leaves_at_delete) = (Some("reading"), true))
}

/// What is written while nobody reads waits for the reader that comes back.
fn reader_away(name: &'static str) -> Flow {
    let away =
        [Step::Until(Until::Output("c1", 1)), Step::Until(Until::Passed(30)), Step::Mark("back")];
    flow_of(
        name,
        vec![process(
            "c1",
            &["print", "a", "sleep-ms", "10", "bytes", "3000", "exit", "3"],
            &[3],
            "",
        )],
        vec![steps(&[&birth("c1"), &away, &burial("c1")])],
    )
    .change("c1", |it| {
        it.stdout = [b"a".to_vec(), pattern(3000)].concat();
        (it.leaves_after, it.returns_at) = (Some(1), Some("back"));
    })
}

/// What an exec leaves behind keeps its output open, and neither its end nor its deletion.
fn exec_grandchild() -> Flow {
    let exec = [
        Step::Ask(Ask::Exec("c1/e1"), done()),
        Step::Ask(Ask::Start("c1/e1"), done()),
        Step::Until(Until::Ended("c1/e1")),
        Step::Ask(Ask::Delete("c1/e1"), done()),
        Step::Ask(Ask::Kill("c1", 9), done()),
    ];
    flow_of(
        "task/exec-grandchild",
        vec![
            process("c1", &["sleep-ms", "1000000"], &[137], ""),
            process("c1/e1", &["print", "x", "fork-hold-stdout-ms", "60000"], &[0], "x"),
        ],
        vec![steps(&[&birth("c1"), &exec, &burial("c1")])],
    )
    .within(15)
}

/// A client that is gone before it has opened anything: the container lives without it.
fn client_never_comes() -> Flow {
    let mut burial = burial("c1");
    burial.remove(1);
    flow_of(
        "task/client-never-comes",
        vec![process("c1", &["print", "x", "exit", "2"], &[2], "x")],
        vec![steps(&[&birth("c1"), &burial])],
    )
    .change("c1", |it| {
        (it.client_never_comes, it.may_be_cut, it.is_never_opened) = (true, true, true);
    })
    .complaining()
}

/// The end of the input is told while most of it is still on its way.
fn much_input() -> Flow {
    let end = [Step::EndInput("c1"), Step::Ask(Ask::CloseIo("c1"), done())];
    flow_of(
        "task/much-input",
        vec![process("c1", &["read-all"], &[0], "150000")],
        vec![steps(&[&birth("c1"), &end, &burial("c1")])],
    )
    .change("c1", |it| it.input = pattern(150_000))
}

/// A process that reads on only when what it wrote was read.
fn narrow_echo() -> Flow {
    let end = [Step::EndInput("c1"), Step::Ask(Ask::CloseIo("c1"), done())];
    let mut flow = flow_of(
        "task/narrow-echo",
        vec![process("c1", &["echo"], &[0], "")],
        vec![steps(&[&birth("c1"), &end, &burial("c1")])],
    )
    .change("c1", |it| (it.input, it.stdout) = (pattern(30_000), pattern(30_000)));
    flow.config.pipe_pages = 1;
    flow
}

/// More than a terminal holds, and at once its end.
fn terminal_output() -> Flow {
    flow_of(
        "task/tty-output",
        vec![process("c1", &["bytes", "20000", "exit", "3"], &[3], "")],
        vec![steps(&[&birth("c1"), &burial("c1")])],
    )
    .change("c1", |it| (it.terminal, it.stdout) = (true, shown(b"", &pattern(20_000))))
}

/// For a moment nobody has the terminal open but the shim.
fn terminal_reopened() -> Flow {
    let words = ["print", "a", "reopen-terminal", "print", "b", "exit", "2"];
    flow_of(
        "task/tty-reopened",
        vec![process("c1", &words, &[2], "ab")],
        vec![steps(&[&birth("c1"), &burial("c1")])],
    )
    .change("c1", |it| it.terminal = true)
}

/// The file that the output goes to has no room for a while.
fn terminal_to_full_disk() -> Flow {
    let full = |after| Fault::fail(Errno::ENOSPC).of(Call::Write).by(SHIM).on("w/out").after(after);
    flow_of(
        "task/tty-to-full-disk",
        vec![process("c1", &["bytes", "9000", "exit", "1"], &[1], "")],
        vec![steps(&[&birth("c1"), &burial("c1")])],
    )
    .change("c1", |it| {
        (it.terminal, it.file) = (true, Some("/w/out"));
        it.stdout = shown(b"", &pattern(9000));
    })
    .fault(full(0))
    .fault(full(1))
}

/// A runtime that says more than a pipe holds, and does as it was told.
fn talkative_runtime() -> Flow {
    let much = json!({ "before": { "stderr_bytes": 70_000 } });
    flow_of(
        "task/talkative-runtime",
        vec![process("c1", &["exit", "5"], &[5], "")],
        vec![steps(&[&birth("c1"), &burial("c1")])],
    )
    .script(&json!({ "start": much, "delete": much }))
}

/// The shim has more to say than its log holds, and nobody reads it.
fn log_full() -> Flow {
    let said = [Step::WriteDown, Step::Ask(Ask::State("c1"), done())];
    let kill = [Step::Ask(Ask::Kill("c1", 9), done())];
    let said = steps(&[&said, &said, &said, &said, &kill]);
    let mut flow = flow_of(
        "task/log-full",
        vec![process("c1", &["sleep-ms", "1000000"], &[137], "")],
        vec![steps(&[&birth("c1"), &said, &burial("c1")])],
    );
    flow.config.pipe_pages = 1;
    flow.plan.log_is_unread = true;
    flow
}
