//! How a program in the simulated machine makes a call, whichever it is.

use std::cell::RefCell;
use std::panic::Location;
use std::path::Path;

use corosensei::Yielder;
use wavetank::host::{Bug, Errno, Fd, Mark, Marked, Pid, Planted, Result, SpawnError, SpawnStep};

use crate::call::{Call, Shown};
use crate::event::{Event, What};
use crate::fault::About;
use crate::file::FileState;
use crate::kernel::Kernel;
use crate::pipe::PAGE;
use crate::process::Stage;
use crate::processes::Processes;
use crate::signals::pid_number;
use crate::site::Site;
use crate::trace::bytes_text;
use crate::wait::{Tried, Wait};

/// Why a process hands over to the scheduler.
pub(crate) enum Request {
    /// Its turn is over; the next one may be its own.
    Turn,
    /// It needs an answer to a question with so many answers.
    Choice(usize),
}

/// The operating system as one simulated process sees it.
///
/// Every call that others could notice is a point where somebody else may run first. Calls
/// that only look at the process itself (its pid, its environment, the clock) are not.
pub struct SimHost<'a> {
    pub(crate) kernel: &'a RefCell<Kernel>,
    pub(crate) pid: i32,
    pub(crate) yielder: &'a Yielder<usize, Request>,
}

/// A path as the trace shows it.
pub(crate) fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

/// What happens now to a process.
pub(crate) fn event(clock: u64, processes: &Processes, pid: i32, what: What) -> Event {
    let program = processes.get(pid).map(|process| process.name.to_string()).unwrap_or_default();
    Event { clock, pid: Pid(pid), program, choices: Vec::new(), what }
}

impl Kernel {
    /// Something happens to a process that follows from what else is in the trace.
    pub(crate) fn note(&mut self, pid: i32, what: impl FnOnce() -> What) {
        let Kernel { trace, processes, clock, .. } = self;
        trace.note(|| event(*clock, processes, pid, what()));
    }

    /// What happens at the start of every call; the error with which it is to fail, if that is planned.
    fn begin_call(&mut self, pid: i32, site: Site, about: About<'_>) -> Option<Errno> {
        self.tick();
        self.note_call(pid, site);
        self.process(pid).wait = None;
        self.fault(pid, site, about)
    }

    fn note_wait(&mut self, pid: i32, call: Call, arguments: &impl Fn() -> String, wait: &Wait) {
        if self.trace.keeps() {
            let wanted = self.wait_text(pid, wait);
            self.note(pid, || What::Waits { call, arguments: arguments(), wanted });
        }
    }
}

/// Plain conversion for the calls that never wait.
pub(crate) fn done<T>(result: Result<T>) -> Result<Tried<T>> {
    result.map(Tried::Done)
}

impl Planted for SimHost<'_> {
    fn planted(&self, bug: Bug) -> bool {
        self.kernel.borrow().config.planted == Some(bug)
    }
}

impl Marked for SimHost<'_> {
    fn mark(&self, mark: Mark) {
        self.kernel.borrow_mut().marks.insert(mark);
    }
}

impl SimHost<'_> {
    /// Lets the scheduler decide who goes on, if there is more than one who could.
    pub(crate) fn turn(&self) {
        let goes_on = self.kernel.borrow_mut().goes_on(self.pid);
        if !goes_on {
            self.yielder.suspend(Request::Turn);
        }
    }

    /// Says which of its program's parts this process plays, so that a fault can tell them apart.
    pub fn play_part(&mut self, part: &'static str) {
        self.kernel.borrow_mut().process(self.pid).part = part;
    }

    /// Asks the run's chooser: for programs that may themselves behave in one way or another.
    pub fn choose(&mut self, n: usize) -> usize {
        if n <= 1 { 0 } else { self.yielder.suspend(Request::Choice(n)) }
    }

    /// Says before a call what it would wait for: where that counts, it is begun when it need not wait.
    /// The time until which it would wait at most.
    pub(crate) fn announce(&self, wait: impl FnOnce(&Kernel) -> Option<Wait>) -> Option<u64> {
        let kernel = &mut *self.kernel.borrow_mut();
        let wait = if kernel.config.orderly { wait(kernel) } else { None }?;
        let deadline = wait.deadline();
        let process = kernel.process(self.pid);
        process.wait = Some(wait);
        process.looked.set(u64::MAX);
        deadline
    }

    /// From here on all orders are tried, by those who do.
    pub(crate) fn begin_race(&self) {
        self.kernel.borrow_mut().is_race = true;
        self.turn();
    }

    /// From here on this process only reads what it is told, as far as a race is concerned.
    pub(crate) fn only_read(&self) {
        let readers = &mut self.kernel.borrow_mut().readers;
        if !readers.contains(&self.pid) {
            readers.push(self.pid);
        }
    }

    /// One call: somebody's turn, then a planned fault, or tries until it is over.
    #[track_caller]
    pub(crate) fn call<T>(
        &mut self,
        call: Call,
        about: About<'_>,
        arguments: impl Fn() -> String,
        mut attempt: impl FnMut(&mut Kernel, i32) -> Result<Tried<T>>,
    ) -> Result<T>
    where
        Result<T>: Shown,
    {
        let site = Site::of(call, Location::caller());
        self.turn();
        let pid = self.pid;
        let fault = self.in_kernel(|kernel| kernel.begin_call(pid, site, about));
        let mut waited = false;
        loop {
            let tried = self.in_kernel(|kernel| {
                let result = match fault {
                    Some(errno) if call == Call::Close => attempt(kernel, pid).and(Err(errno)),
                    Some(errno) => Err(errno),
                    None => attempt(kernel, pid),
                };
                let result = match result {
                    Ok(Tried::Wait(wait)) => {
                        if !std::mem::replace(&mut waited, true) {
                            kernel.note_wait(pid, call, &arguments, &wait);
                        }
                        let changes = kernel.changes.get();
                        let process = kernel.process(pid);
                        process.wait = Some(wait);
                        process.looked.set(changes);
                        return None;
                    }
                    Ok(Tried::Done(value)) => Ok(value),
                    Err(errno) => Err(errno),
                };
                let numbers = [pid_number(pid), call as u64, result.number()];
                let Kernel { trace, processes, clock, .. } = kernel;
                trace.event(numbers, || {
                    let what = What::Calls {
                        call,
                        arguments: arguments(),
                        result: result.text(),
                        errno: result.errno(),
                        fault: fault.is_some(),
                        waited,
                    };
                    event(*clock, processes, pid, what)
                });
                Some(result)
            });
            match tried {
                Some(result) => return result,
                None => self.turn(),
            }
        }
    }

    /// A call that takes a descriptor alone and never waits.
    #[track_caller]
    pub(crate) fn call_on<T>(
        &mut self,
        call: Call,
        fd: Fd,
        mut attempt: impl FnMut(&mut Kernel, i32) -> Result<T>,
    ) -> Result<T>
    where
        Result<T>: Shown,
    {
        let arguments = || fd.to_string();
        self.call(call, About::Descriptor(fd), arguments, |kernel, pid| done(attempt(kernel, pid)))
    }

    /// A call that takes a path alone and never waits.
    #[track_caller]
    pub(crate) fn call_at<T>(
        &mut self,
        call: Call,
        path: &Path,
        mut attempt: impl FnMut(&mut Kernel, i32) -> Result<T>,
    ) -> Result<T>
    where
        Result<T>: Shown,
    {
        let arguments = || quoted(path);
        self.call(call, About::Path(path), arguments, |kernel, pid| done(attempt(kernel, pid)))
    }

    /// A call that takes nothing and never waits.
    #[track_caller]
    pub(crate) fn call_bare<T>(
        &mut self,
        call: Call,
        mut attempt: impl FnMut(&mut Kernel, i32) -> Result<T>,
    ) -> Result<T>
    where
        Result<T>: Shown,
    {
        self.call(call, About::Nothing, String::new, |kernel, pid| done(attempt(kernel, pid)))
    }

    /// Does something in the kernel; never comes back if that ended this process, or made it
    /// another program.
    fn in_kernel<T>(&self, work: impl FnOnce(&mut Kernel) -> T) -> T {
        let (value, goes_on) = {
            let kernel = &mut *self.kernel.borrow_mut();
            let value = work(kernel);
            let process = &kernel.processes[self.pid];
            (value, process.stage == Stage::Running && process.start.is_none())
        };
        if goes_on {
            return value;
        }
        loop {
            self.yielder.suspend(Request::Turn);
        }
    }

    /// A call that cannot fail, and so is hit by no fault.
    #[track_caller]
    pub(crate) fn sure<T: Shown>(&mut self, call: Call, look: impl FnOnce(&Kernel, i32) -> T) -> T {
        self.turn();
        let pid = self.pid;
        self.in_kernel(|kernel| {
            kernel.tick();
            let value = look(kernel, pid);
            let Kernel { trace, processes, clock, .. } = kernel;
            trace.event([pid_number(pid), call as u64, value.number()], || {
                let what = What::Calls {
                    call,
                    arguments: String::new(),
                    result: value.text(),
                    errno: None,
                    fault: false,
                    waited: false,
                };
                event(*clock, processes, pid, what)
            });
            value
        })
    }

    /// Reads may be short, but not those of a counter, whose number comes whole.
    pub(crate) fn shortened_read(&mut self, fd: Fd, len: usize) -> usize {
        let is_counter = {
            let kernel = self.kernel.borrow();
            let file = kernel.file(self.pid, fd).map(|file| kernel.files[file].state);
            matches!(file, Ok(FileState::Counter(_)))
        };
        if is_counter { len } else { self.shortened(len) }
    }

    /// How many of `len` bytes this call is to move at most.
    pub(crate) fn shortened(&mut self, len: usize) -> usize {
        let one_in = self.kernel.borrow().config.short_one_in;
        if one_in < 2 || len < 2 || self.choose(one_in) < one_in - 1 {
            return len;
        }
        match self.choose(3) {
            0 => len - 1,
            1 => len / 2,
            _ => 1,
        }
    }

    /// Writes to a pipe are whole up to a page, and others may be short.
    pub(crate) fn shortened_write(&mut self, len: usize) -> usize {
        if len <= PAGE { len } else { self.shortened(len).max(PAGE + 1) }
    }

    pub(crate) fn note_bytes(&self, bytes: &[u8]) {
        self.kernel.borrow_mut().trace.more(|| format!(" {}", bytes_text(bytes)));
    }
}

/// What came of starting a program.
pub(crate) struct Spawned<T>(pub(crate) std::result::Result<T, SpawnError>);

impl<T: Shown> Shown for Spawned<T> {
    fn text(&self) -> String {
        self.0.text()
    }

    fn number(&self) -> u64 {
        self.0.number()
    }

    fn errno(&self) -> Option<Errno> {
        self.0.errno()
    }
}

/// The step at which a planned failure of starting a program happened: the one that can fail so.
pub(crate) fn planned(errno: Errno) -> SpawnError {
    let step = match errno {
        Errno::EAGAIN | Errno::ENOMEM => SpawnStep::Fork,
        Errno::EBADF | Errno::EPERM => SpawnStep::Prepare,
        _ => SpawnStep::Exec,
    };
    SpawnError { step, errno }
}
