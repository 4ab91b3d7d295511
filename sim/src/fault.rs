//! Faults that a test plans: this call of that program fails, or is the last thing it does.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wavetank::host::{Errno, Fd, Pid, Signal};

use crate::call::Call;
use crate::errnos::is_excepted;
use crate::kernel::Kernel;
use crate::site::Site;
use crate::touch::Thing;

/// What happens instead of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// It fails with this error.
    Fail(Errno),
    /// The process gets this signal just before it.
    Signal(Signal),
}

/// A planned fault. By default it means every call of every process; the fields narrow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// Only processes of the program with this name (the last part of its path).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Only processes that play this part of their program, as `start` of a shim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Only this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<Pid>,
    /// Only this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// Only calls on a file whose path ends so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// How many calls that are meant go well before.
    #[serde(default)]
    pub after: u64,
    /// Whether all calls from then on are hit, not that one alone.
    #[serde(default)]
    pub for_ever: bool,
    /// How many calls that are meant there have been.
    #[serde(skip)]
    pub(crate) seen: u64,
    /// The flow that is run knows nothing of it.
    #[serde(skip)]
    pub(crate) is_trouble: bool,
}

impl Fault {
    /// Every call fails so; narrow it.
    #[must_use]
    pub fn fail(errno: Errno) -> Fault {
        Fault::new(FaultKind::Fail(errno))
    }

    /// The process gets the signal before every call; narrow it.
    #[must_use]
    pub fn signal(signal: Signal) -> Fault {
        Fault::new(FaultKind::Signal(signal))
    }

    fn new(kind: FaultKind) -> Fault {
        let (program, part, pid, call, path) = (None, None, None, None, None);
        Fault {
            kind,
            program,
            part,
            pid,
            call,
            path,
            after: 0,
            for_ever: false,
            seen: 0,
            is_trouble: false,
        }
    }

    /// Only this call.
    #[must_use]
    pub fn of(self, call: Call) -> Fault {
        Fault { call: Some(call), ..self }
    }

    /// Only processes of the program with this name.
    #[must_use]
    pub fn by(self, program: &str) -> Fault {
        Fault { program: Some(program.to_owned()), ..self }
    }

    /// Only processes that play this part of their program.
    #[must_use]
    pub fn part(self, part: &str) -> Fault {
        Fault { part: Some(part.to_owned()), ..self }
    }

    /// Only this process.
    #[must_use]
    pub fn by_pid(self, pid: Pid) -> Fault {
        Fault { pid: Some(pid), ..self }
    }

    /// Only calls on a file whose path ends with these names.
    #[must_use]
    pub fn on(self, path: impl Into<PathBuf>) -> Fault {
        Fault { path: Some(path.into()), ..self }
    }

    /// Only after so many calls that went well.
    #[must_use]
    pub fn after(self, calls: u64) -> Fault {
        Fault { after: calls, ..self }
    }

    /// From then on always, not once.
    #[must_use]
    pub fn for_ever(self) -> Fault {
        Fault { for_ever: true, ..self }
    }

    /// The same as [trouble](crate::Trouble): the flow that is run knows nothing of it.
    #[must_use]
    pub(crate) fn into_trouble(self) -> Fault {
        Fault { is_trouble: true, ..self }
    }

    /// Whether it has struck, and will again.
    pub(crate) fn lasts(&self) -> bool {
        self.for_ever && self.seen > self.after
    }

    /// What the flow knows nothing of is never an error that there cannot be at this place.
    fn may_hit(&self, site: Site) -> bool {
        let FaultKind::Fail(errno) = self.kind else { return true };
        !self.is_trouble || !is_excepted(site.call, site.file, errno)
    }

    fn strikes(&mut self) -> bool {
        self.seen += 1;
        if self.for_ever { self.seen > self.after } else { self.seen == self.after + 1 }
    }
}

/// What a call is about: how a fault finds the file it is to hit.
#[derive(Clone, Copy)]
pub(crate) enum About<'a> {
    Nothing,
    Path(&'a Path),
    Descriptor(Fd),
}

impl Kernel {
    /// The error with which this call is to fail instead of being done, if any. This is the one
    /// place where calls go wrong without a reason.
    pub(crate) fn fault(&mut self, pid: i32, site: Site, about: About<'_>) -> Option<Errno> {
        if self.faults.is_empty() {
            return None;
        }
        self.alters(Thing::Everything);
        let mut faults = std::mem::take(&mut self.faults);
        let mut hit = None;
        for fault in &mut faults {
            let is_meant = self.is_meant(fault, pid, site.call, about);
            if is_meant && fault.strikes() && fault.may_hit(site) && hit.is_none() {
                hit = Some(fault.kind);
                self.note_trouble(fault);
                if !fault.is_trouble && matches!(fault.kind, FaultKind::Fail(_)) {
                    self.note_failure();
                }
            }
        }
        self.faults = faults;
        self.faults_struck += u64::from(hit.is_some());
        match hit? {
            FaultKind::Fail(errno) => Some(errno),
            FaultKind::Signal(signal) => {
                self.planned_signal(pid, signal);
                None
            }
        }
    }

    fn note_trouble(&mut self, fault: &Fault) {
        if fault.is_trouble {
            let is_signal = matches!(fault.kind, FaultKind::Signal(_));
            self.trouble.signalled |= is_signal;
            self.trouble.failed |= !is_signal;
            self.trouble.lasts |= fault.for_ever;
        }
    }

    fn is_meant(&self, fault: &Fault, pid: i32, call: Call, about: About<'_>) -> bool {
        fault.call.is_none_or(|only| only == call)
            && fault.pid.is_none_or(|only| only.0 == pid)
            && fault.program.as_deref().is_none_or(|only| *only == *self.processes[pid].name)
            && fault.part.as_deref().is_none_or(|only| only == self.processes[pid].part)
            && fault.path.as_deref().is_none_or(|only| self.is_about(pid, about, only))
    }

    fn is_about(&self, pid: i32, about: About<'_>, path: &Path) -> bool {
        match about {
            About::Nothing => false,
            About::Path(it) => it.ends_with(path),
            About::Descriptor(fd) => {
                self.file(pid, fd).is_ok_and(|file| self.name_of_file(file).ends_with(path))
            }
        }
    }
}
