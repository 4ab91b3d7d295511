//! Two things at the same time, and nothing else: for those who try every order.

use wavetank::host::WindowSize;
use wavetank::ttrpc::Code;

use super::super::plan::{Answer, Ask, Name, Step, Until, done};
use super::{Flow, birth, burial, flow_of, process, steps};
use crate::Config;

/// Their names, and what races with what.
pub(crate) const RACES: &[(&str, &str)] = &[
    ("race/exit-start", "exit against start"),
    ("race/exit-exec", "exit against exec start"),
    ("race/kill-delete", "kill against delete"),
    ("race/close-io-exit", "CloseIO against exit"),
    ("race/resize-console", "resize against console"),
    ("race/reconnect-exit", "reconnect against exit"),
];

const SIZE: WindowSize = WindowSize { columns: 91, rows: 37 };

/// A life with a race in it, which several threads of the daemon begin at once.
fn race(
    name: &'static str,
    words: &[&'static str],
    ends: &[u32],
    before: &[Step],
    at_once: &[Vec<Step>],
) -> Flow {
    let mut first = steps(&[before, &[Step::Race, Step::Mark("race")], &at_once[0]]);
    let mut threads: Vec<Vec<Step>> = Vec::new();
    for (mark, thread) in ["second", "third"].into_iter().zip(&at_once[1..]) {
        first.push(Step::Until(Until::Marked(mark)));
        threads.push(steps(&[&[Step::Until(Until::Marked("race"))], thread, &[Step::Mark(mark)]]));
    }
    threads.insert(0, steps(&[&first, &burial("c1")]));
    let flow = flow_of(name, vec![process("c1", words, ends, "")], threads);
    Flow { config: Config { orderly: true, ..Config::default() }, ..flow }
}

const SLEEP: &[&str] = &["sleep-ms", "1000000"];

fn gone(answer: Answer) -> Answer {
    answer
        .or(Code::NotFound, "process already finished")
        .or(Code::NotFound, "container not created")
        .or(Code::NotFound, "no such container")
}

fn exec(name: Name) -> [Step; 2] {
    [Step::Ask(Ask::Exec(name), done()), Step::Race]
}

pub(super) fn flows() -> Vec<Flow> {
    let killed = vec![Step::KillProcess("c1")];
    let life = birth("c1");
    let (created, start) = life.split_at(4);
    let exec_end = [
        Step::Ask(Ask::Start("c1/e1"), done()),
        Step::Until(Until::Ended("c1/e1")),
        Step::Ask(Ask::Delete("c1/e1"), done()),
        Step::Ask(Ask::Kill("c1", 9), done()),
    ];
    let mut exit_exec = race("race/exit-exec", SLEEP, &[137], &[], &[Vec::new()]);
    exit_exec.plan.processes.push(process("c1/e1", &["exit", "2"], &[2], ""));
    exit_exec.plan.threads = vec![steps(&[&life, &exec("c1/e1"), &exec_end, &burial("c1")])];
    let delete = done()
        .or(Code::Unknown, "cannot delete a running process")
        .or(Code::NotFound, "container not created");
    let mut kill_delete = race(
        "race/kill-delete",
        SLEEP,
        &[137],
        &life,
        &[
            vec![Step::Ask(Ask::Kill("c1", 9), gone(done()))],
            vec![Step::Ask(Ask::Delete("c1"), delete)],
        ],
    );
    // It may be deleted by then.
    let late = |step: &mut Step| match step {
        Step::Ask(Ask::Delete(_), answer) | Step::Ask(Ask::State(_), answer) => {
            *answer = answer.clone().or(Code::NotFound, "container not created");
        }
        _ => {}
    };
    kill_delete.plan.threads[0].iter_mut().for_each(late);
    let reconnect = vec![Step::HangUp, Step::Ask(Ask::State("c1"), done())];
    let resize = vec![Step::Ask(
        Ask::Resize("c1", SIZE),
        done().or(Code::NotFound, "container not created"),
    )];
    let resize_console = race(
        "race/resize-console",
        &["exit", "3"],
        &[3],
        &life[..3],
        &[life[3..].to_vec(), resize],
    );
    vec![
        race("race/exit-start", &["exit", "5"], &[5], created, &[start.to_vec()]),
        exit_exec,
        kill_delete,
        race(
            "race/close-io-exit",
            SLEEP,
            &[137],
            &life,
            &[vec![Step::Ask(Ask::CloseIo("c1"), gone(done()))], killed.clone()],
        ),
        resize_console.change("c1", |it| it.terminal = true),
        race("race/reconnect-exit", SLEEP, &[137], &life, &[reconnect, killed]),
    ]
}
