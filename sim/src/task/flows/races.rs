//! Two things at the same time, and nothing else: for those who try every order.

use wavetank::host::WindowSize;
use wavetank::ttrpc::Code;

use super::super::plan::{Answer, Ask, Daemon, Step, Until, done};
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

const SLEEP: &[&str] = &["sleep-ms", "1000000"];
const WINSIZE: [&str; 3] = ["winsize", "sleep-ms", "1000000"];

/// A life with a race in it, which several threads of the daemon begin at once.
fn race(
    name: &'static str,
    words: &[&'static str],
    ends: &[u32],
    before: &[Step],
    at_once: &[Vec<Step>],
) -> Flow {
    let mut flow = flow_of(name, vec![process("c1", words, ends, "")], Vec::new());
    flow.plan.threads = threads(before, at_once, &burial("c1"));
    flow.config = Config { orderly: true, ..Config::default() };
    flow
}

/// The first thread does what is before the race and after it.
fn threads(before: &[Step], at_once: &[Vec<Step>], after: &[Step]) -> Vec<Vec<Step>> {
    let mut first = steps(&[before, &[Step::Race(Daemon::Reads), Step::Mark("race")], &at_once[0]]);
    let mut threads: Vec<Vec<Step>> = Vec::new();
    for (mark, thread) in ["second", "third"].into_iter().zip(&at_once[1..]) {
        first.push(Step::Until(Until::Marked(mark)));
        threads.push(steps(&[&[Step::Until(Until::Marked("race"))], thread, &[Step::Mark(mark)]]));
    }
    // Everybody waits: the race is over.
    first.push(Step::Until(Until::Passed(1)));
    threads.insert(0, steps(&[&first, after]));
    threads
}

fn gone(answer: Answer) -> Answer {
    answer
        .or(Code::NotFound, "process already finished")
        .or(Code::NotFound, "container not created")
        .or(Code::NotFound, "no such container")
}

/// A race of an exec, in a container that goes on until it is killed. So may the exec.
fn race_of_exec(
    name: &'static str,
    words: &[&'static str],
    end: u32,
    at_once: &[Vec<Step>],
) -> Flow {
    let after = [
        Step::Ask(Ask::Kill("c1/e1", 9), gone(done())),
        Step::Until(Until::Ended("c1/e1")),
        Step::Ask(Ask::Delete("c1/e1"), done()),
        Step::Ask(Ask::Kill("c1", 9), done()),
    ];
    let before = steps(&[&birth("c1"), &[Step::Ask(Ask::Exec("c1/e1"), done())]]);
    let mut flow = race(name, SLEEP, &[137], &[], &[Vec::new()]);
    flow.plan.processes.push(process("c1/e1", words, &[end], ""));
    flow.plan.threads = threads(&before, at_once, &steps(&[&after, &burial("c1")]));
    flow
}

/// `Delete` comes while `Kill` is at work, or the other way round.
fn kill_delete() -> Flow {
    let delete = done()
        .or(Code::Unknown, "cannot delete a running process")
        .or(Code::NotFound, "container not created");
    let kill = vec![Step::Ask(Ask::Kill("c1", 9), gone(done()))];
    let at_once = [kill, vec![Step::Ask(Ask::Delete("c1"), delete)]];
    let mut flow = race("race/kill-delete", SLEEP, &[137], &birth("c1"), &at_once);
    // It may be deleted by then.
    let late = |step: &mut Step| match step {
        Step::Ask(Ask::Delete(_), answer) | Step::Ask(Ask::State(_), answer) => {
            *answer = answer.clone().or(Code::NotFound, "container not created");
        }
        _ => {}
    };
    flow.plan.threads[0].iter_mut().for_each(late);
    flow
}

pub(super) fn flows() -> Vec<Flow> {
    let killed = vec![Step::KillProcess("c1")];
    let life = birth("c1");
    let (created, start) = life.split_at(4);
    let close_io = vec![Step::Ask(Ask::CloseIo("c1"), gone(done()))];
    let reconnect = vec![Step::HangUp, Step::Ask(Ask::State("c1"), done())];
    let start_exec = vec![Step::Ask(Ask::Start("c1/e1"), done())];
    let resize = vec![Step::Ask(Ask::Resize("c1/e1", SIZE), done())];
    let console = [start_exec.clone(), resize];
    vec![
        race("race/exit-start", &["exit", "5"], &[5], created, &[start.to_vec()]),
        race_of_exec("race/exit-exec", &["exit", "2"], 2, &[start_exec]),
        kill_delete(),
        race("race/close-io-exit", SLEEP, &[137], &life, &[close_io, killed.clone()]).reading(),
        race_of_exec("race/resize-console", &WINSIZE, 137, &console).change("c1/e1", |it| {
            it.terminal = true;
            it.stdout = b"91x37".to_vec();
        }),
        race("race/reconnect-exit", SLEEP, &[137], &life, &[reconnect, killed]),
    ]
}

impl Flow {
    /// The daemon's reading is part of the race.
    fn reading(mut self) -> Flow {
        for step in self.plan.threads.iter_mut().flatten() {
            if let Step::Race(part) = step {
                *part = Daemon::TakesPart;
            }
        }
        self
    }
}
