//! Signals (`signal(7)`, `signalfd(2)`, `kill(2)`).

use wavetank::host::{Errno, ExitStatus, Fd, OpenFlags, Pid, Result, Signal};

use crate::caller::event;
use crate::event::What;
use crate::file::{FileState, OpenFile};
use crate::fs::Node;
use crate::kernel::{INIT, Kernel};
use crate::process::Stage;
use crate::touch::Thing;

pub(crate) const PIPE: Signal = Signal::PIPE;
const TSTP: Signal = Signal(20);
const TTIN: Signal = Signal(21);
const TTOU: Signal = Signal(22);
const URG: Signal = Signal(23);
const STOPS: [Signal; 4] = [Signal::STOP, TSTP, TTIN, TTOU];
/// The highest signal number.
const HIGHEST: i32 = 64;

/// A set of signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SignalSet(u64);

impl SignalSet {
    fn bit(signal: Signal) -> u64 {
        u32::try_from(signal.0 - 1).ok().and_then(|shift| 1u64.checked_shl(shift)).unwrap_or(0)
    }

    pub(crate) fn insert(&mut self, signal: Signal) {
        self.0 |= SignalSet::bit(signal);
    }

    pub(crate) fn remove(&mut self, signal: Signal) {
        self.0 &= !SignalSet::bit(signal);
    }

    pub(crate) fn contains(self, signal: Signal) -> bool {
        self.0 & SignalSet::bit(signal) != 0
    }

    pub(crate) fn intersects(self, other: SignalSet) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn union(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 | other.0)
    }

    fn intersection(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 & other.0)
    }

    fn without(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 & !other.0)
    }

    /// The one with the lowest number.
    fn lowest(self) -> Option<Signal> {
        let shift = i32::try_from(self.0.trailing_zeros()).unwrap_or(HIGHEST);
        (shift < HIGHEST).then_some(Signal(shift + 1))
    }
}

/// What a signal does to a process that has not asked for anything else.
enum Default {
    Ignore,
    Stop,
    End,
}

fn default_of(signal: Signal) -> Default {
    match signal {
        Signal::CHLD | Signal::CONT | Signal::WINCH | URG => Default::Ignore,
        Signal::STOP | TSTP | TTIN | TTOU => Default::Stop,
        _ => Default::End,
    }
}

impl Kernel {
    /// Sends a signal to a process. One that blocks it finds it in its signal descriptor;
    /// otherwise the signal does what it does by default, which nobody here can change.
    pub(crate) fn signal(&mut self, pid: i32, signal: Signal) {
        let by = Some(Pid(self.current));
        self.note(pid, || What::Signalled { signal, by });
        self.act_on(pid, signal);
    }

    /// The same for a signal that somebody planned.
    pub(crate) fn planned_signal(&mut self, pid: i32, signal: Signal) {
        self.note(pid, || What::Signalled { signal, by: None });
        self.act_on(pid, signal);
    }

    fn act_on(&mut self, pid: i32, signal: Signal) {
        self.touches.sees(Thing::Life(pid));
        let Some(process) = self.processes.get_mut(pid) else { return };
        if process.stage != Stage::Running {
            return;
        }
        let is_kept =
            process.blocked.contains(signal) && !matches!(signal, Signal::KILL | Signal::STOP);
        if is_kept {
            // Those that wait are a set.
            self.touches.adds_to(Thing::Pending(pid));
        } else {
            self.touches.alters(Thing::Pending(pid));
        }
        if STOPS.contains(&signal) || signal == Signal::CONT {
            self.touches.alters(Thing::Everything);
        }
        match signal {
            Signal::KILL => return self.doom(pid, ExitStatus::Signal(signal)),
            Signal::CONT => {
                STOPS.iter().for_each(|stop| process.pending.remove(*stop));
                self.go_on(pid);
            }
            Signal::STOP | TSTP | TTIN | TTOU => process.pending.remove(Signal::CONT),
            _ => {}
        }
        self.deliver(pid, signal);
    }

    fn deliver(&mut self, pid: i32, signal: Signal) {
        let process = self.process(pid);
        let unblockable = signal == Signal::STOP;
        if process.blocked.contains(signal) && !unblockable {
            process.pending.insert(signal);
            self.changed();
            return;
        }
        match default_of(signal) {
            Default::Ignore => {}
            Default::Stop if process.stopped => {}
            Default::Stop => {
                process.stopped = true;
                let parent = process.parent;
                self.signal(parent, Signal::CHLD);
            }
            Default::End if process.stopped => process.pending.insert(signal),
            Default::End => self.doom(pid, ExitStatus::Signal(signal)),
        }
    }

    fn go_on(&mut self, pid: i32) {
        let process = self.process(pid);
        if !process.stopped {
            return;
        }
        process.stopped = false;
        let parent = process.parent;
        self.signal(parent, Signal::CHLD);
        self.changed();
        self.deliver_unblocked(pid);
    }

    /// Lets the signals act that are pending and not blocked.
    pub(crate) fn deliver_unblocked(&mut self, pid: i32) {
        loop {
            let process = self.process(pid);
            let due = process.pending.without(process.blocked).lowest();
            let Some(signal) = due.filter(|_| process.stage == Stage::Running) else { return };
            process.pending.remove(signal);
            self.deliver(pid, signal);
        }
    }

    /// Ends a process, wherever it is. What belongs to an end happens in steps of its own.
    fn doom(&mut self, pid: i32, status: ExitStatus) {
        self.alters(Thing::Life(pid));
        let process = self.process(pid);
        process.stage = Stage::Closing(status);
        process.wait = None;
        process.start = None;
        let Kernel { trace, processes, clock, .. } = self;
        let doomed = What::Doomed { status };
        trace.event([pid_number(pid), 100, 0], || event(*clock, processes, pid, doomed));
    }

    pub(crate) fn signal_group(&mut self, group: i32, signal: Signal) {
        for pid in self.members(group) {
            self.signal(pid, signal);
        }
    }

    fn members(&self, group: i32) -> Vec<i32> {
        self.sees(Thing::Group(group));
        let members = self.processes.iter().filter(|(_, process)| process.group == group);
        members.map(|(pid, _)| pid).collect()
    }

    pub(crate) fn kill(&mut self, me: i32, pid: Pid, signal: Signal) -> Result<()> {
        if !(0..=HIGHEST).contains(&signal.0) {
            return Err(Errno::EINVAL);
        }
        self.sees(match pid.0 {
            -1 => Thing::Everything,
            pid => Thing::Life(pid),
        });
        let targets = match pid.0 {
            -1 => self.processes.pids().filter(|&it| it != INIT && it != me).collect(),
            0 => self.members(self.processes[me].group),
            pid if pid < 0 => self.members(pid.checked_neg().unwrap_or(i32::MAX)),
            pid => self.processes.get(pid).map(|_| pid).into_iter().collect(),
        };
        if targets.is_empty() {
            return Err(Errno::ESRCH);
        }
        let uid = self.processes[me].uid;
        let mut allowed = false;
        for target in targets {
            if uid == 0 || self.processes[target].uid == uid {
                allowed = true;
                if signal.0 > 0 {
                    self.signal(target, signal);
                }
            }
        }
        if allowed { Ok(()) } else { Err(Errno::EPERM) }
    }

    pub(crate) fn signals(&mut self, pid: i32, signals: &[Signal]) -> Result<Fd> {
        self.free_descriptor(pid)?;
        let mut set = SignalSet::default();
        for signal in signals {
            set.insert(*signal);
        }
        set.remove(Signal::KILL);
        set.remove(Signal::STOP);
        let inode = self.new_inode(Node::Signals, 0o600, 0, 0);
        let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::NONBLOCK;
        let file = self.add_file(OpenFile::new(inode, flags, FileState::Signals(set)));
        self.alters(Thing::Pending(pid));
        let process = self.process(pid);
        process.blocked = process.blocked.union(set);
        self.install(pid, file)
    }

    pub(crate) fn read_signal(&mut self, pid: i32, fd: Fd) -> Result<Signal> {
        let file = self.file(pid, fd)?;
        let FileState::Signals(set) = self.files[file].state else { return Err(Errno::EBADF) };
        self.sees(Thing::Pending(pid));
        let waiting = self.processes[pid].pending.intersection(set);
        let signal = waiting.lowest().ok_or(Errno::EAGAIN)?;
        self.alters(Thing::Pending(pid));
        let process = self.process(pid);
        process.pending.remove(signal);
        Ok(signal)
    }
}

/// A pid as a number of the trace.
pub(crate) fn pid_number(pid: i32) -> u64 {
    u64::from(pid.unsigned_abs())
}
