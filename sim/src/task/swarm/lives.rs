//! Drawn containers: their processes, and the threads of the daemon that look after them.

use wavetank::ttrpc::Code;

use super::super::plan::{Answer, Ask, Name, Process, Step, Until, done, whatever};
use super::HEALED;
use super::actors::{possible, questions};
use super::behaviour::{Behaviour, Ending, SIZE};
use crate::swarm::Draw;

/// How a container and what belongs to it is called; marks too.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) init: Name,
    launched: &'static str,
    created: &'static str,
    pub(super) started: &'static str,
    reading: &'static str,
    asked: &'static str,
    killed: &'static str,
    execs: [Name; 3],
    logger: &'static str,
}

pub(super) const CONTAINERS: [Names; 3] = [
    Names {
        init: "c1",
        launched: "c1 is launched",
        created: "c1 is created",
        started: "c1 is started",
        reading: "c1 is read",
        asked: "c1 was asked",
        killed: "c1 was killed",
        execs: ["c1/e1", "c1/e2", "c1/e3"],
        logger: "binary-v2:///bin/logger?ready=-&copy=/w/io/c1",
    },
    Names {
        init: "c2",
        launched: "c2 is launched",
        created: "c2 is created",
        started: "c2 is started",
        reading: "c2 is read",
        asked: "c2 was asked",
        killed: "c2 was killed",
        execs: ["c2/e1", "c2/e2", "c2/e3"],
        logger: "binary-v2:///bin/logger?ready=-&copy=/w/io/c2",
    },
    Names {
        init: "c3",
        launched: "c3 is launched",
        created: "c3 is created",
        started: "c3 is started",
        reading: "c3 is read",
        asked: "c3 was asked",
        killed: "c3 was killed",
        execs: ["c3/e1", "c3/e2", "c3/e3"],
        logger: "binary-v2:///bin/logger?ready=-&copy=/w/io/c3",
    },
];

/// A drawn container.
pub(super) struct Container {
    pub(super) processes: Vec<Process>,
    pub(super) threads: Vec<Vec<Step>>,
}

/// What is known of a container while its threads are drawn.
struct Sketch<'n> {
    names: &'n Names,
    is_disturbed: bool,
    /// Somebody kills it at any moment.
    is_hunted: bool,
    /// Nobody else is in the machine.
    is_alone: bool,
    is_pod: bool,
    count: usize,
    execs: usize,
}

impl Container {
    pub(super) fn draw(
        draw: &mut Draw<'_>,
        names: &Names,
        is_disturbed: bool,
        count: usize,
        is_pod: bool,
    ) -> Container {
        let init = Behaviour::draw(draw, names.init);
        let is_hunted = draw.seldom();
        let execs = draw.pick(&[0, 0, 1, 2, 3]);
        let is_alone = count == 1 && !is_disturbed;
        let sketch = Sketch { names, is_disturbed, is_hunted, is_alone, is_pod, count, execs };
        // Until its threads are done with it, it neither ends by itself nor is it killed.
        let is_steady = !is_hunted && matches!(init.ending, Ending::Input | Ending::Killed);
        let mut threads = vec![sketch.life(draw, &init, is_steady)];
        threads.push(sketch.asking(draw, &init));
        if is_hunted {
            threads.push(sketch.hunt(draw));
        }
        let mut processes = vec![sketch.finished(draw, init, true)];
        for name in &names.execs[..execs] {
            let exec = Behaviour::draw(draw, name);
            threads.push(sketch.exec(draw, &exec, is_steady));
            processes.push(sketch.finished(draw, exec, is_steady));
        }
        Container { processes, threads }
    }
}

impl Sketch<'_> {
    /// What may differ from the plan in what a process does.
    fn finished(&self, draw: &mut Draw<'_>, behaviour: Behaviour, is_sure: bool) -> Process {
        let Behaviour { mut process, ending } = behaviour;
        let is_init = process.name == self.names.init;
        if process.words.contains(&"wait-signal") {
            process.stdout = b"x15".to_vec();
        }
        let may_be_killed = self.is_hunted || ending == Ending::Killed || !is_sure;
        if may_be_killed {
            process.may_be_cut = true;
            process.ends.extend([137, 143]);
            if process.words.contains(&"fork-hold-stdout-ms") {
                // In a pid namespace whose init is dead nobody can fork.
                process.ends.push(111);
            }
        }
        if process.terminal {
            process.ends.push(129);
        }
        if process.leaves_after.is_some() {
            (process.may_be_cut, process.is_never_opened) = (true, true);
        }
        process.may_vanish = self.is_hunted || !is_sure;
        process.is_disturbed = self.is_disturbed;
        if is_init && draw.seldom() {
            process.mounts = draw.pick(&[&["", "a"][..], &[""]]).to_vec();
        }
        let may_be_logged = is_init && !process.terminal && process.leaves_after.is_none();
        if may_be_logged && draw.one_in(8, 1) {
            process.logger = self.names.logger;
            return process;
        }
        // Nobody else has its output, so it may wait for its reader.
        if !process.terminal && ending != Ending::Sized && draw.seldom() {
            process.reads_from = Some(match (self.is_disturbed, is_init) {
                (true, _) => HEALED,
                (false, _) => self.names.reading,
            });
        }
        process
    }

    fn rest(draw: &mut Draw<'_>, steps: &mut Vec<Step>) {
        if draw.seldom() {
            steps.push(Step::Until(Until::Passed(draw.pick(&[0, 1, 3, 10, 30]))));
        }
    }

    /// From launch to burial.
    fn life(&self, draw: &mut Draw<'_>, init: &Behaviour, is_steady: bool) -> Vec<Step> {
        let Sketch { names, is_disturbed, .. } = *self;
        let name = names.init;
        let sure = |answer: Answer| if is_disturbed { whatever() } else { answer };
        let mut steps = Vec::new();
        Self::rest(draw, &mut steps);
        steps.extend([Step::Launch(name), Step::Mark(names.launched)]);
        if self.is_pod && !is_disturbed {
            let others = CONTAINERS[..self.count].iter().map(|it| it.launched);
            steps.extend(others.map(|mark| Step::Until(Until::Marked(mark))));
        }
        steps.push(Step::Ask(Ask::Connect(name), sure(done())));
        if self.is_alone {
            steps.push(Step::Census);
        }
        steps.extend([Step::Ask(Ask::Create(name), sure(done())), Step::Mark(names.created)]);
        Self::rest(draw, &mut steps);
        let start = if self.is_hunted { possible() } else { done() };
        steps.extend([Step::Ask(Ask::Start(name), sure(start)), Step::Mark(names.started)]);
        if draw.seldom() {
            // The next connection asks again for what was not answered.
            steps.extend([Step::HangUp, Step::Ask(Ask::Connect(name), self.late())]);
        }
        self.middle(draw, init, is_steady, &mut steps);
        steps.push(Step::Until(Until::Ended(name)));
        steps.extend([names.asked].map(|mark| Step::Until(Until::Marked(mark))));
        if self.is_hunted {
            steps.push(Step::Until(Until::Marked(names.killed)));
        }
        if !is_steady {
            self.join(&mut steps);
        }
        let deletes_first = draw.seldom();
        // Whoever opens a fifo again may find that nobody has it open any more, and waits for nobody.
        if !deletes_first && init.process.leaves_after.is_none() {
            steps.push(Step::Until(Until::Eof(name)));
        }
        // Somebody who asked before may have had it removed.
        let there = || done().or(Code::NotFound, "container not created");
        steps.push(Step::Ask(Ask::State(name), sure(there())));
        steps.push(Step::Ask(Ask::Delete(name), sure(there())));
        if self.is_alone {
            steps.push(Step::Census);
        }
        steps.extend([Step::CleanUp(name), Step::Mark(name)]);
        if self.is_pod && !is_disturbed {
            let others = CONTAINERS[..self.count].iter().map(|it| it.init);
            steps.extend(others.map(|mark| Step::Until(Until::Marked(mark))));
        }
        // Who shares a shim has it ended by the first of them.
        if !self.is_pod || is_disturbed || name == CONTAINERS[0].init {
            steps.push(Step::Ask(Ask::Shutdown(name), sure(done())));
        }
        steps
    }

    /// What is done to a container that runs, and what makes it end.
    fn middle(
        &self,
        draw: &mut Draw<'_>,
        init: &Behaviour,
        is_steady: bool,
        steps: &mut Vec<Step>,
    ) {
        let name = self.names.init;
        let sure = |answer: Answer| if self.is_disturbed { whatever() } else { answer };
        if is_steady && self.execs == 0 && draw.seldom() {
            steps.push(Step::Ask(Ask::Pause(name), sure(done())));
            Self::rest(draw, steps);
            // Who is frozen dies nevertheless.
            if init.ending == Ending::Killed && draw.often() {
                steps.push(Step::Ask(Ask::Kill(name, 9), sure(done())));
                return;
            }
            steps.push(Step::Ask(Ask::Resume(name), sure(done())));
        }
        if is_steady {
            self.join(steps);
        }
        // It ends of being written down.
        if is_steady && init.ending == Ending::Killed && self.execs == 0 && draw.seldom() {
            steps.push(Step::Ask(Ask::Checkpoint(name), sure(done())));
        }
        Self::rest(draw, steps);
        self.end(draw, init, steps);
    }

    /// What makes a process end.
    fn end(&self, draw: &mut Draw<'_>, behaviour: &Behaviour, steps: &mut Vec<Step>) {
        let name = behaviour.process.name;
        match behaviour.ending {
            Ending::Itself => {}
            Ending::Sized => steps.push(Step::Ask(Ask::Resize(name, SIZE), self.late())),
            Ending::Input => {
                let mut end = [Step::EndInput(name), Step::Ask(Ask::CloseIo(name), self.late())];
                if draw.often() {
                    end.reverse();
                }
                steps.extend(end);
            }
            Ending::Killed => {
                let signal = draw.pick(&[9, 15]);
                steps.push(Step::Ask(Ask::Kill(name, signal), self.late()));
                // A first process of a pid space minds no signal that it does not wait for.
                if signal == 15 {
                    steps.push(Step::Ask(Ask::Kill(name, 9), self.late()));
                }
            }
        }
    }

    /// What a process may answer that may have gone meanwhile.
    fn late(&self) -> Answer {
        if self.is_disturbed { whatever() } else { possible() }
    }

    /// Waits for the execs' threads.
    fn join(&self, steps: &mut Vec<Step>) {
        let execs = &self.names.execs[..self.execs];
        steps.extend(execs.iter().map(|name| Step::Until(Until::Marked(name))));
    }

    fn exec(&self, draw: &mut Draw<'_>, exec: &Behaviour, is_steady: bool) -> Vec<Step> {
        let name = exec.process.name;
        let is_sure = is_steady && !self.is_disturbed;
        let sure = |answer: Answer| match (self.is_disturbed, is_steady) {
            (true, _) => whatever(),
            (false, true) => answer,
            (false, false) => possible(),
        };
        let mut steps = vec![Step::Until(Until::Marked(self.names.started))];
        Self::rest(draw, &mut steps);
        steps.push(Step::Ask(Ask::Exec(name), sure(done())));
        if draw.seldom() {
            steps.push(Step::Ask(Ask::CloseIo(name), sure(done())));
        }
        steps.push(Step::Ask(Ask::Start(name), sure(done())));
        Self::rest(draw, &mut steps);
        self.end(draw, exec, &mut steps);
        if is_sure {
            steps.push(Step::Until(Until::Ended(name)));
            if exec.process.leaves_after.is_none() {
                steps.push(Step::Until(Until::Eof(name)));
            }
        }
        if draw.often() {
            steps.push(Step::Ask(Ask::State(name), sure(done())));
        }
        steps.extend([Step::Ask(Ask::Delete(name), sure(done())), Step::Mark(name)]);
        steps
    }

    fn asking(&self, draw: &mut Draw<'_>, init: &Behaviour) -> Vec<Step> {
        let begun = draw.pick(&[self.names.started, self.names.created, self.names.launched]);
        let mut steps = vec![Step::Until(Until::Marked(begun))];
        let name = self.names.init;
        // A shim that has nothing to look after goes, if it is asked to; and what was only created
        // can be deleted. Who wants no surprise asks for neither, and not for one after the other.
        let wanted = match (self.is_disturbed, draw.often()) {
            (true, _) => [Some(Ask::Shutdown(name)), Some(Ask::Delete(name))],
            (false, true) if begun != self.names.launched => [Some(Ask::Shutdown(name)), None],
            (false, false) if begun == self.names.started => [None, Some(Ask::Delete(name))],
            (false, _) => [None, None],
        };
        Self::rest(draw, &mut steps);
        // Deleting waits for output, though not for ever.
        steps.push(Step::Mark(self.names.reading));
        for _ in 0..draw.below(6) {
            Self::rest(draw, &mut steps);
            let Some(ask) = questions(draw, name, init.process.terminal, wanted) else { continue };
            let awaits = matches!(ask, Ask::Shutdown(_)) || draw.one_in(4, 3);
            let answer = self.late();
            steps.push(if awaits { Step::Ask(ask, answer) } else { Step::Begin(ask, answer) });
        }
        steps.push(Step::Mark(self.names.asked));
        steps
    }

    fn hunt(&self, draw: &mut Draw<'_>) -> Vec<Step> {
        let name = self.names.init;
        let begun = draw.pick(&[self.names.started, self.names.created]);
        let mut steps = vec![Step::Until(Until::Marked(begun))];
        Self::rest(draw, &mut steps);
        let first = match draw.below(3) {
            0 => Ask::Kill(name, 9),
            1 => Ask::Kill(name, 15),
            _ => Ask::KillAll(name, 9),
        };
        if draw.seldom() {
            steps.push(Step::RunOutOfMemory(name));
        }
        steps.push(Step::Ask(first, self.late()));
        steps.push(Step::Ask(Ask::Kill(name, 9), self.late()));
        steps.push(Step::Mark(self.names.killed));
        steps
    }
}
