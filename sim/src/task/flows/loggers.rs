//! Output that goes to a logger, a program that has to say that it is ready.

use wavetank::ttrpc::Code;

use super::super::plan::{Ask, Step, done, refused};
use super::{Flow, birth, burial, flow_of, process, steps};
use crate::guests::pattern;

pub(super) fn flows() -> Vec<Flow> {
    vec![
        hello("task/logger", "binary-v2:///bin/logger?ready=-&copy=/w/io/c1"),
        // The first version need not say anything.
        hello("task/logger-that-says-nothing", "binary:///bin/logger?silent=-&copy=/w/io/c1"),
        create_fails(
            "task/logger-ends",
            "binary-v2:///bin/logger?exit=3",
            "logging binary did not call ready",
        ),
        create_fails(
            "task/logger-hangs",
            "binary-v2:///bin/logger?sleep-ms=1000000",
            "did not become ready in time",
        )
        .within(70),
        logger_goes(),
    ]
}

/// A logger that ends while the process has much to say does not keep it from ending.
fn logger_goes() -> Flow {
    let mut burial = burial("c1");
    burial.remove(1);
    flow_of(
        "task/logger-goes",
        vec![process("c1", &["bytes", "150000", "exit", "4"], &[4], "")],
        vec![steps(&[&birth("c1"), &burial])],
    )
    .change("c1", |it| {
        it.logger = "binary-v2:///bin/logger?ready=-&exit=0";
        (it.stdout, it.may_be_cut, it.is_never_opened) = (pattern(150_000), true, true);
    })
    // That output was lost is told.
    .complaining()
}

fn hello(name: &'static str, logger: &'static str) -> Flow {
    flow_of(
        name,
        vec![process("c1", &["print", "hello", "error", "no", "exit", "7"], &[7], "hello")],
        vec![steps(&[&birth("c1"), &burial("c1")])],
    )
    .change("c1", |it| (it.logger, it.stderr) = (logger, b"no".to_vec()))
}

fn create_fails(name: &'static str, logger: &'static str, text: &'static str) -> Flow {
    let tried = vec![
        Step::Launch("c1"),
        Step::Ask(Ask::Connect("c1"), done()),
        Step::Census,
        Step::Ask(Ask::Create("c1"), refused(Code::Unknown, text)),
        Step::Ask(Ask::State("c1"), refused(Code::NotFound, "container not created")),
        Step::Census,
        Step::CleanUp("c1"),
        Step::Ask(Ask::Shutdown("c1"), done()),
    ];
    flow_of(name, vec![process("c1", &["exit", "1"], &[], "")], vec![tried])
        .change("c1", |it| it.logger = logger)
}
