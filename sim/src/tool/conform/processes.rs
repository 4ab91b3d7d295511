//! Calls about processes and signals, and one parent that makes them.
//!
//! On Linux the parent is a process of its own for each sequence, and its children are this very
//! executable; in the simulated kernel they are the same code.

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use wavetank::host::{
    Command, Errno, Fd, Host, Lead, LinuxHost, OpenFlags, Pid, PollFd, Ready, Result, Signal,
    WaitFor, close_all, read_to_end, write_all,
};
use wavetank_sim::{Choose, Config, Outcome, Random, World};

use super::compare::{Answer, Pairs, Topic, count};

/// The first argument of a child.
pub(crate) const ACT: &str = "--act";
/// The first argument of a parent on Linux.
pub(crate) const PLAY: &str = "--play";

const CALLS: usize = 30;
const SLOTS: usize = 4;
const MOMENT: Duration = Duration::from_micros(200);
/// So many moments are given to what must happen.
const PATIENCE: usize = 10_000;

const NOTHING: Signal = Signal(0);
const OWN: [Signal; 3] = [Signal::CHLD, Signal::USR1, Signal::USR2];

/// What a child does: the words that it is started with.
type Life = &'static [&'static str];

const ENDING: [Life; 7] = [
    &["exit", "0"],
    &["exit", "7"],
    &["exit", "255"],
    &["die", "9"],
    &["die", "15"],
    &["die", "10"],
    &["die", "6"],
];
const HANGING: Life = &["hang"];

/// Lives of parents who leave a child behind. The pid of that one they write to descriptor 0.
const LEAVING: [Life; 4] =
    [&["leave", "exit", "4"], &["leave", "hang"], &["leave", "die", "9"], &["leave-bound", "hang"]];

/// Starts that fail: program, working directory, and whether a bad descriptor is given.
const FAILING: [(&str, Option<&str>, bool); 10] = [
    ("missing", None, false),
    ("text", None, false),
    ("script", None, false),
    (".", None, false),
    ("text/x", None, false),
    ("child", Some("missing"), false),
    ("child", Some("text"), false),
    ("missing", Some("missing"), false),
    ("missing", Some("."), false),
    ("missing", Some("missing"), true),
];

/// A call, with slots for children.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Spawn(usize, Life, Lead),
    SpawnAndWait(Life),
    SpawnFailing(usize),
    Leave(usize, Life, Lead),
    Wait(usize, bool),
    WaitAny(bool),
    Kill(usize, Signal),
    KillGroup(usize, Signal),
    KillAndWait(usize),
    KillSelf(Signal),
    State(usize),
    Subreaper,
    Signals,
    ReadSignal,
    PollSignals,
}

fn draw(chooser: &mut Random) -> Step {
    let slot = chooser.choose(SLOTS);
    let ending = ENDING[chooser.choose(ENDING.len())];
    let lead = [Lead::Nothing, Lead::Group, Lead::Session][chooser.choose(3)];
    let block = chooser.choose(2) == 1;
    let signals = [
        NOTHING,
        Signal::KILL,
        Signal::TERM,
        Signal::USR1,
        Signal::CHLD,
        Signal::CONT,
        Signal::STOP,
    ];
    let signal = signals[chooser.choose(signals.len())];
    match chooser.choose(24) {
        0 | 1 => Step::Spawn(slot, ending, lead),
        2..=4 => Step::Spawn(slot, HANGING, lead),
        5 => Step::SpawnAndWait(ending),
        6 => Step::SpawnFailing(chooser.choose(FAILING.len())),
        7 | 8 => Step::Leave(slot, LEAVING[chooser.choose(LEAVING.len())], lead),
        9 | 10 => Step::Wait(slot, block),
        11 | 12 => Step::WaitAny(block),
        13..=15 => Step::Kill(slot, signal),
        16 => Step::KillGroup(slot, [NOTHING, Signal::KILL][chooser.choose(2)]),
        17 => Step::KillAndWait(slot),
        18 => Step::KillSelf([NOTHING, Signal::USR1, Signal::USR2, Signal(99)][chooser.choose(4)]),
        19 => Step::State(slot),
        20 => [Step::Subreaper, Step::State(slot)][chooser.choose(2)].clone(),
        21 => Step::Signals,
        22 => Step::ReadSignal,
        _ => [Step::ReadSignal, Step::PollSignals][chooser.choose(2)].clone(),
    }
}

/// The child. Its words are among those of its parent's [`Life`].
pub(crate) fn act<H: Host>(host: &mut H, words: &[OsString]) -> i32 {
    let number = || words.get(1).and_then(|it| it.to_str()).unwrap().parse::<i32>().unwrap();
    match words[0].to_str().unwrap() {
        "exit" => return number(),
        "die" => {
            let me = host.pid();
            host.kill(me, Signal(number())).unwrap();
        }
        "hang" => while let Ok(_) | Err(Errno::EINTR) = host.poll(&mut [], None) {},
        word => {
            let bound = word == "leave-bound";
            let command = Command {
                program: PathBuf::from("/proc/self/exe"),
                argv: ["child", ACT]
                    .map(OsString::from)
                    .iter()
                    .chain(&words[1..])
                    .cloned()
                    .collect(),
                parent_death_signal: bound.then_some(Signal::KILL),
                ..Command::default()
            };
            let left = host.spawn(&command).unwrap();
            write_all(host, Fd(0), left.to_string().as_bytes()).unwrap();
            return 0;
        }
    }
    111
}

/// What `/proc` says of a process.
#[derive(Clone, Copy)]
struct Seen {
    state: char,
    parent: Pid,
    group: i32,
}

impl Seen {
    fn lives(self) -> bool {
        !"ZX".contains(self.state)
    }
}

struct Parent<'a, H> {
    host: &'a mut H,
    program: PathBuf,
    /// Where the files are that cannot be executed.
    base: PathBuf,
    me: Pid,
    slots: [Option<Pid>; SLOTS],
    /// All that were started, in that order; each has its place for a name.
    known: Vec<Pid>,
    /// Those who were sent their end while they were stopped.
    doomed: Vec<Pid>,
    /// Groups of those who are not ours to reap: nobody knows when they are gone.
    strays: Vec<Pid>,
    signals: Option<Fd>,
    subreaper: bool,
}

impl<H: Host> Parent<'_, H> {
    fn look(&mut self, pid: Pid) -> Option<Seen> {
        let path = PathBuf::from(format!("/proc/{pid}/stat"));
        let fd = self.host.open(&path, OpenFlags::READ, 0).ok()?;
        let text = read_to_end(self.host, fd, 4096);
        self.host.close(fd).unwrap();
        let text = String::from_utf8(text.ok()?).unwrap();
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        Some(Seen {
            state: fields.next()?.chars().next()?,
            parent: Pid(fields.next()?.parse().ok()?),
            group: fields.next()?.parse().ok()?,
        })
    }

    /// Waits until a process is as it must become.
    fn until(&mut self, pid: Pid, wanted: impl Fn(Option<Seen>) -> bool) {
        for _ in 0..PATIENCE {
            if wanted(self.look(pid)) {
                // A zombie is seen a moment before its parent is told; a wait comes after that.
                let none = self.host.wait(WaitFor::Pid(self.me), false);
                assert_eq!(none, Err(Errno::ECHILD));
                return;
            }
            self.host.poll(&mut [], Some(MOMENT)).unwrap();
        }
        panic!("process {pid} is not what it must have become");
    }

    fn until_ended(&mut self, pid: Pid) {
        self.until(pid, |seen| seen.is_none_or(|seen| !seen.lives()));
        if self.look(pid).is_none_or(|seen| seen.parent != self.me) {
            // Nobody knows when somebody else reaps it.
            self.slots.iter_mut().filter(|it| **it == Some(pid)).for_each(|it| *it = None);
        }
    }

    fn is_my_child(&mut self, pid: Pid) -> bool {
        let me = self.me;
        self.look(pid).is_some_and(|seen| seen.parent == me)
    }

    fn name(&mut self, pid: Pid) -> String {
        match self.known.iter().position(|it| *it == pid) {
            Some(place) => format!("child {place}"),
            None => "a stranger".to_owned(),
        }
    }

    fn command(&self, life: Life, lead: Lead, fds: Vec<Fd>) -> Command {
        Command {
            program: self.program.clone(),
            argv: ["child", ACT].iter().chain(life).map(OsString::from).collect(),
            env: Some(Vec::new()),
            fds,
            lead,
            ..Command::default()
        }
    }

    fn spawn(&mut self, life: Life, lead: Lead, fds: Vec<Fd>) -> Pid {
        let command = self.command(life, lead, fds);
        let pid = self.host.spawn(&command).unwrap();
        self.known.push(pid);
        pid
    }

    fn wait(&mut self, target: WaitFor, block: bool) -> String {
        match self.host.wait(target, block) {
            Ok(Some(exit)) => format!("{} {:?}", self.name(exit.pid), exit.status),
            other => format!("{other:?}"),
        }
    }

    /// Whether a wait that blocks would come back.
    fn ends(&mut self, meant: &[Pid]) -> bool {
        let me = self.me;
        let seen: Vec<Seen> = meant.iter().filter_map(|pid| self.look(*pid)).collect();
        let mut children = seen.iter().filter(|seen| seen.parent == me);
        children.clone().next().is_none() || children.any(|seen| !seen.lives())
    }

    fn kill(&mut self, pid: Pid, signal: Signal) -> String {
        let before = self.look(pid).filter(|seen| seen.lives());
        let result = self.host.kill(pid, signal);
        let Some(before) = before else { return text(result) };
        let stopped = before.state == 'T';
        match signal {
            Signal::KILL => self.until_ended(pid),
            Signal::TERM | Signal::USR1 if stopped => self.doomed.push(pid),
            Signal::TERM | Signal::USR1 => self.until_ended(pid),
            Signal::CONT if self.doomed.contains(&pid) => self.until_ended(pid),
            Signal::CONT if stopped => {
                self.until(pid, |seen| seen.is_some_and(|it| it.state == 'S'));
            }
            Signal::STOP if !stopped => {
                self.until(pid, |seen| seen.is_some_and(|it| it.state == 'T'));
                // Here the parent is told after that can be seen.
                self.host.poll(&mut [], Some(MOMENT * 2)).unwrap();
            }
            _ => {}
        }
        text(result)
    }

    fn kill_group(&mut self, leader: Pid, signal: Signal) -> String {
        if self.strays.contains(&leader) {
            return "nobody knows".to_owned();
        }
        let group = leader.0;
        let known = self.known.clone();
        let lives = |seen: Seen| seen.lives() && seen.group == group;
        let members: Vec<Pid> =
            known.into_iter().filter(|pid| self.look(*pid).is_some_and(lives)).collect();
        let result = self.host.kill(Pid(-group), signal);
        if signal == Signal::KILL {
            members.into_iter().for_each(|pid| self.until_ended(pid));
        }
        text(result)
    }

    fn leave(&mut self, slot: usize, life: Life, lead: Lead) -> String {
        let pipe = self.host.pipe(OpenFlags::empty()).unwrap();
        let pid = self.spawn(life, lead, vec![pipe.write]);
        self.host.close(pipe.write).unwrap();
        let text = read_to_end(self.host, pipe.read, 64).unwrap();
        self.host.close(pipe.read).unwrap();
        let left = Pid(String::from_utf8(text).unwrap().parse().unwrap());
        self.known.push(left);
        if !self.subreaper {
            self.strays.push(pid);
        }
        self.slots[slot] = Some(pid);
        self.slots[(slot + 1) % SLOTS] = Some(left);
        self.until_ended(pid);
        if life.last() == Some(&"hang") && life[0] == "leave" {
            format!("{}", self.is_my_child(left))
        } else {
            self.until_ended(left);
            String::new()
        }
    }

    fn step(&mut self, step: &Step) -> String {
        // A number that is no process.
        let pid = |slot: usize, slots: &[Option<Pid>; SLOTS]| slots[slot].unwrap_or(Pid(i32::MAX));
        match *step {
            Step::Spawn(slot, life, lead) => {
                let pid = self.spawn(life, lead, Vec::new());
                self.slots[slot] = Some(pid);
                if life == HANGING {
                    self.until(pid, |seen| seen.is_some_and(|it| it.state == 'S'));
                } else {
                    self.until_ended(pid);
                }
                String::new()
            }
            Step::SpawnAndWait(life) => {
                let pid = self.spawn(life, Lead::Nothing, Vec::new());
                self.wait(WaitFor::Pid(pid), true)
            }
            Step::SpawnFailing(which) => {
                let (program, cwd, bad) = FAILING[which];
                let fds = if bad { vec![Fd(999)] } else { Vec::new() };
                let mut command = self.command(&["exit", "0"], Lead::Nothing, fds);
                command.cwd = cwd.map(|cwd| self.base.join(cwd));
                if program != "child" {
                    command.program = self.base.join(program);
                }
                format!("{:?}", self.host.spawn(&command).map(drop))
            }
            Step::Leave(slot, life, lead) => self.leave(slot, life, lead),
            Step::Wait(slot, block) => {
                let pid = pid(slot, &self.slots);
                let block = block && self.ends(&[pid]);
                self.wait(WaitFor::Pid(pid), block)
            }
            Step::WaitAny(block) => {
                let known = self.known.clone();
                let block = block && self.ends(&known);
                self.wait(WaitFor::Any, block)
            }
            Step::Kill(slot, signal) => self.kill(pid(slot, &self.slots), signal),
            Step::KillGroup(slot, signal) => self.kill_group(pid(slot, &self.slots), signal),
            Step::KillAndWait(slot) => {
                let pid = pid(slot, &self.slots);
                if !self.is_my_child(pid) {
                    return "no child".to_owned();
                }
                let killed = self.host.kill(pid, Signal::KILL);
                format!("{killed:?} {}", self.wait(WaitFor::Pid(pid), true))
            }
            Step::KillSelf(signal) if self.signals.is_some() || !OWN.contains(&signal) => {
                text(self.host.kill(self.me, signal))
            }
            Step::KillSelf(_) => "would end us".to_owned(),
            Step::State(slot) => match self.slots[slot].and_then(|pid| self.look(pid)) {
                None => "gone".to_owned(),
                // Whether it still runs or waits already is nobody's promise.
                Some(seen) if "RSD".contains(seen.state) => "runs".to_owned(),
                Some(seen) => format!("{} {}", seen.state, seen.parent == self.me),
            },
            Step::Subreaper => {
                self.subreaper = true;
                text(self.host.become_subreaper())
            }
            Step::Signals if self.signals.is_some() => String::new(),
            Step::Signals => {
                let result = self.host.signals(&OWN);
                self.signals = result.ok();
                text(result.map(drop))
            }
            Step::ReadSignal => text(self.host.read_signal(self.signals.unwrap_or(Fd(999)))),
            Step::PollSignals => {
                let fd = self.signals.unwrap_or(Fd(999));
                let mut fds = [PollFd::new(fd, Ready::READ | Ready::WRITE)];
                let count = self.host.poll(&mut fds, Some(Duration::ZERO));
                format!("{count:?} {:?}", fds[0].ready)
            }
        }
    }

    /// Ends all that were started.
    fn finish(&mut self) {
        for pid in self.known.clone() {
            if self.look(pid).is_some_and(Seen::lives) {
                self.host.kill(pid, Signal::KILL).unwrap();
                self.until_ended(pid);
            }
        }
        while let Ok(Some(_)) = self.host.wait(WaitFor::Any, true) {}
        close_all(self.host, self.signals.take());
    }
}

#[expect(clippy::needless_pass_by_value, reason = "every caller has it to give away")]
fn text(result: Result<impl std::fmt::Debug>) -> String {
    format!("{result:?}")
}

fn play<H: Host>(host: &mut H, program: &Path, base: &Path, steps: &[Step]) -> Vec<Answer> {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE;
    for (name, mode) in [("text", 0o644), ("script", 0o755)] {
        let fd = host.open(&base.join(name), flags, mode).unwrap();
        write_all(host, fd, b"words\n").unwrap();
        host.close(fd).unwrap();
    }
    let me = host.pid();
    let mut parent = Parent {
        host,
        program: program.to_owned(),
        base: base.to_owned(),
        me,
        slots: [None; SLOTS],
        known: Vec::new(),
        doomed: Vec::new(),
        strays: Vec::new(),
        signals: None,
        subreaper: false,
    };
    let answers = steps.iter().map(|step| parent.step(step)).collect::<Vec<_>>();
    parent.finish();
    answers.into_iter().map(|said| Answer { said, after: String::new() }).collect()
}

/// The parent on Linux: plays the steps of a seed that are at these places, one answer a line.
pub(crate) fn play_alone(seed: &str, kept: &str) -> Vec<String> {
    let steps = Processes.draw(seed.parse().unwrap());
    let kept = kept.split(',').map(|place| place.parse::<usize>().unwrap());
    let steps: Vec<Step> = kept.map(|place| steps[place].clone()).collect();
    let directory = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let answers = play(&mut LinuxHost::new(), &program, directory.path(), &steps);
    answers.into_iter().map(|answer| answer.said).collect()
}

/// The topic.
pub(crate) struct Processes;

impl Topic for Processes {
    type Step = Step;

    fn name(&self) -> &'static str {
        "processes"
    }

    fn draw(&self, seed: u64) -> Vec<Step> {
        let mut chooser = Random::new(seed);
        let before = [Step::Subreaper, Step::Signals, Step::Spawn(0, HANGING, Lead::Nothing)];
        let mut steps: Vec<Step> = before.into_iter().filter(|_| chooser.choose(2) == 1).collect();
        steps.extend((0..CALLS).map(|_| draw(&mut chooser)));
        steps
    }

    fn on_linux(&self, seed: u64, kept: &[usize], _: &[Step], expected: &[Answer]) -> Vec<Answer> {
        if kept.is_empty() {
            return Vec::new();
        }
        let kept: Vec<String> = kept.iter().map(usize::to_string).collect();
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([PLAY, &seed.to_string(), &kept.join(",")])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "processes, seed {seed}: {} {error}", output.status);
        let text = String::from_utf8(output.stdout).unwrap();
        let answers: Vec<Answer> = text
            .lines()
            .map(|said| Answer { said: said.to_owned(), after: String::new() })
            .collect();
        assert_eq!(answers.len(), expected.len());
        answers
    }

    fn may_be_late(&self) -> bool {
        true
    }

    fn simulated(&self, seed: u64, steps: &[Step], pairs: &mut Pairs) -> Vec<Answer> {
        let mut world = World::new(Config { trace: true, ..Config::default() });
        let answers = Rc::new(RefCell::new(Vec::new()));
        let (steps, told) = (steps.to_vec(), Rc::clone(&answers));
        world.add_program("/bin/child", |host, argv| act(host, &argv[2..]));
        world.add_program("/bin/parent", move |host, _| {
            let played = play(host, Path::new("/bin/child"), Path::new("/work"), &steps);
            *told.borrow_mut() = played;
            0
        });
        world.add_dir("/work");
        world.start("/bin/parent", &["parent"]).unwrap();
        assert_eq!(world.run(&mut Random::new(seed)), Outcome::Done, "processes, seed {seed}");
        count(pairs, &world.events(), "parent");
        answers.take()
    }
}
