//! The scheduler: who runs next, until nobody can.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};
use wavetank::host::{ExitStatus, Pid};

use crate::caller::{Request, SimHost};
use crate::choose::{Choose, Seen, Turn};
use crate::event::Choice;
use crate::kernel::Kernel;
use crate::process::{Process, Stage, Start};
use crate::touch::Thing;
use crate::wait::Wait;

/// A program on its way, with a stack of its own.
type Task = Coroutine<usize, Request, i32, DefaultStack>;

thread_local! {
    /// Stacks of ended processes, for those to come. Making one costs far more than a short
    /// life. What is left on them nobody can see.
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No process is left.
    Done,
    /// Nothing can happen any more, and these processes wait.
    Stuck(Vec<Waiting>),
    /// A program panicked.
    Panicked {
        /// Which process.
        pid: Pid,
        /// With these words.
        message: String,
    },
    /// The run was longer than the configuration allows.
    StepLimit,
}

/// A process that waits for something that will not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub pid: Pid,
    /// The name of its program.
    pub program: String,
    /// What it waits for.
    pub what: String,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} waits for {}", self.pid, self.program, self.what)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done => write!(f, "done"),
            Outcome::Stuck(waiting) => {
                write!(f, "stuck")?;
                waiting.iter().try_for_each(|it| write!(f, "; {it}"))
            }
            Outcome::Panicked { pid, message } => write!(f, "{pid} panicked: {message}"),
            Outcome::StepLimit => write!(f, "not over after as many steps as are allowed"),
        }
    }
}

/// The processes' coroutines.
#[derive(Default)]
pub(crate) struct Scheduler {
    /// By their pids; few at a time.
    tasks: Vec<(i32, Task)>,
    runnable: Vec<i32>,
}

impl Scheduler {
    pub(crate) fn run(
        &mut self,
        kernel: &Rc<RefCell<Kernel>>,
        chooser: &mut dyn Choose,
    ) -> Outcome {
        loop {
            let pid = match self.pick(&mut kernel.borrow_mut(), chooser) {
                Ok(pid) => pid,
                Err(outcome) => return outcome,
            };
            if let Err(panic) = self.step(kernel, pid, chooser) {
                return Outcome::Panicked { pid: Pid(pid), message: panic_message(&*panic) };
            }
        }
    }

    /// Decides who runs next.
    fn pick(&mut self, kernel: &mut Kernel, chooser: &mut dyn Choose) -> Result<i32, Outcome> {
        loop {
            kernel.steps += 1;
            if kernel.steps > kernel.config.steps {
                return Err(Outcome::StepLimit);
            }
            let touches = kernel.touches.end_step();
            if !std::mem::take(&mut kernel.is_listed) {
                kernel.list_runnable();
            }
            std::mem::swap(&mut self.runnable, &mut kernel.runnable);
            let timer_counts = kernel.config.timers_race || self.runnable.is_empty();
            let timer = if timer_counts { kernel.next_deadline() } else { None };
            let turn = Turn { runnable: &self.runnable, timer: timer.is_some() };
            if kernel.config.orderly {
                let seen = Seen {
                    touches: &touches,
                    turn,
                    is_race: kernel.is_race,
                    readers: &kernel.readers,
                };
                if !chooser.watch(&seen) {
                    return Err(Outcome::StepLimit);
                }
                kernel.touches.begin_step(chooser.weighs_step(), touches);
            }
            let answer = match turn.answers() {
                0 => return Err(kernel.standstill()),
                1 => 0,
                _ => {
                    let answer = chooser.schedule(&turn);
                    kernel.trace.chose(|| Choice::Turn {
                        among: turn.runnable.iter().copied().map(Pid).collect(),
                        time: turn.timer,
                        answer,
                    });
                    answer
                }
            };
            match (self.runnable.get(answer), timer) {
                (Some(&pid), _) => {
                    kernel.current = pid;
                    kernel.sees(Thing::Life(pid));
                    kernel.process(pid).wait = None;
                    return Ok(pid);
                }
                (None, Some(deadline)) => kernel.clock = kernel.clock.max(deadline),
                (None, None) => panic!("the chooser answered {answer}, which nobody asked"),
            }
        }
    }

    /// Lets a process do its next step.
    fn step(
        &mut self,
        kernel: &Rc<RefCell<Kernel>>,
        pid: i32,
        chooser: &mut dyn Choose,
    ) -> Result<(), Box<dyn Any + Send>> {
        let (stage, starts) = {
            let mut kernel = kernel.borrow_mut();
            let process = kernel.process(pid);
            (process.stage, process.start.is_some())
        };
        match stage {
            Stage::Closing(status) => {
                self.end_task(pid);
                kernel.borrow_mut().close_everything(pid, status);
                return Ok(());
            }
            Stage::Ending(status) => {
                kernel.borrow_mut().end(pid, status);
                return Ok(());
            }
            Stage::Running | Stage::Zombie(_) | Stage::Init => {}
        }
        if starts {
            self.end_task(pid);
            self.begin_task(kernel, pid);
        }
        self.resume(kernel, pid, chooser)
    }

    /// Runs a process until its turn is over.
    fn resume(
        &mut self,
        kernel: &Rc<RefCell<Kernel>>,
        pid: i32,
        chooser: &mut dyn Choose,
    ) -> Result<(), Box<dyn Any + Send>> {
        let Some((_, task)) = self.tasks.iter_mut().find(|(whose, _)| *whose == pid) else {
            panic!("a process was picked that has no program");
        };
        let mut answer = 0;
        loop {
            match catch_unwind(AssertUnwindSafe(|| task.resume(answer)))? {
                CoroutineResult::Yield(Request::Turn) => return Ok(()),
                CoroutineResult::Yield(Request::Choice(answers)) => {
                    answer = chooser.choose(answers);
                    let trace = &mut kernel.borrow_mut().trace;
                    trace.chose(|| Choice::Other { answers, answer });
                }
                CoroutineResult::Return(code) => {
                    self.end_task(pid);
                    let status = ExitStatus::Code(code & 0xff);
                    kernel.borrow_mut().close_everything(pid, status);
                    return Ok(());
                }
            }
        }
    }

    /// Has a process begin with what it is to do next.
    fn begin_task(&mut self, kernel: &Rc<RefCell<Kernel>>, pid: i32) {
        let start = {
            let kernel = &mut *kernel.borrow_mut();
            // The way to the first call is nobody's business; the call itself is this step.
            kernel.is_beginning = true;
            kernel.process(pid).start.take()
        };
        self.tasks.extend(start.map(|start| (pid, begin(kernel, pid, start))));
    }

    /// Throws away what a process was about to do, and keeps its stack.
    fn end_task(&mut self, pid: i32) {
        if let Some(at) = self.tasks.iter().position(|(whose, _)| *whose == pid) {
            let (_, mut task) = self.tasks.remove(at);
            task.force_unwind();
            STACKS.with_borrow_mut(|stacks| stacks.push(task.into_stack()));
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // In the order of their pids, whatever the order of their programs' starts.
        self.tasks.sort_unstable_by_key(|(pid, _)| *pid);
        while let Some((pid, _)) = self.tasks.first() {
            self.end_task(*pid);
        }
    }
}

fn begin(kernel: &Rc<RefCell<Kernel>>, pid: i32, start: Start) -> Task {
    let kernel = Rc::clone(kernel);
    let stack = STACKS.with_borrow_mut(Vec::pop).unwrap_or_default();
    Coroutine::with_stack(stack, move |yielder, _| {
        let mut host = SimHost { kernel: &kernel, pid, yielder };
        let code = (start.program)(&mut host, &start.argv);
        host.turn();
        code
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

impl Kernel {
    /// Who can run: first the one that ran last, then the others in the order of their pids,
    /// from its own on.
    fn list_runnable(&mut self) {
        let mut runnable = std::mem::take(&mut self.runnable);
        runnable.clear();
        self.processes.list_from(self.current, &mut runnable, |pid, it| self.can_run(pid, it));
        self.runnable = runnable;
    }

    /// Whether the process that runs goes on without anybody being asked: it has not come to its
    /// first call before, or nobody else can run. Otherwise the scheduler need not list again who can.
    pub(crate) fn goes_on(&mut self, pid: i32) -> bool {
        if std::mem::take(&mut self.is_beginning) {
            return true;
        }
        if self.config.orderly || self.config.timers_race || self.steps == self.config.steps {
            return false;
        }
        self.list_runnable();
        self.is_listed = self.runnable != [pid];
        if !self.is_listed {
            self.steps += 1;
            self.process(pid).wait = None;
        }
        !self.is_listed
    }

    fn can_run(&self, pid: i32, process: &Process) -> bool {
        if process.stage != Stage::Running {
            return self.can_end(pid, process.stage);
        }
        if process.stopped {
            return false;
        }
        let Some(wait) = &process.wait else { return true };
        if wait.deadline().is_some_and(|deadline| deadline <= self.clock) {
            return true;
        }
        // Nothing has happened since it was last looked at.
        if process.looked.get() == self.changes.get() {
            return false;
        }
        let has_come = self.has_come(pid, wait);
        if !has_come {
            process.looked.set(self.changes.get());
        }
        has_come
    }

    fn can_end(&self, pid: i32, stage: Stage) -> bool {
        match stage {
            Stage::Init | Stage::Running | Stage::Zombie(_) => false,
            Stage::Closing(_) => true,
            Stage::Ending(_) => !self.has_followers(pid),
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        let waiting =
            self.processes.values().filter(|it| it.stage == Stage::Running && !it.stopped);
        let deadlines = waiting.filter_map(|it| it.wait.as_ref().and_then(Wait::deadline));
        deadlines.filter(|deadline| *deadline > self.clock).min()
    }

    fn standstill(&self) -> Outcome {
        let waiting: Vec<Waiting> = self
            .processes
            .iter()
            .filter(|(_, process)| process.stage == Stage::Running)
            .map(|(pid, process)| Waiting {
                pid: Pid(pid),
                program: process.name.to_string(),
                what: self.standstill_text(pid),
            })
            .collect();
        if waiting.is_empty() { Outcome::Done } else { Outcome::Stuck(waiting) }
    }
}
