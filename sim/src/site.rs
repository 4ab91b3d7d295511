//! Where in the source a program makes its calls.

use std::fmt;
use std::panic::Location;

use serde::{Serialize, Serializer};

use crate::call::Call;
use crate::kernel::Kernel;

/// A place in the source at which a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// The file, from the top of the workspace.
    pub file: &'static str,
    /// The line, counted from 1.
    pub line: u32,
    /// Which call.
    pub call: Call,
}

impl Site {
    pub(crate) fn of(call: Call, location: &'static Location<'static>) -> Site {
        Site { file: location.file(), line: location.line(), call }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.file, self.line, self.call.name())
    }
}

impl Serialize for Site {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The name of the program that made it.
    pub program: String,
    /// Which part of its program the process played, as `start` of a shim.
    pub part: &'static str,
    /// Where.
    pub site: Site,
    /// It failed, since its flow has planned it so.
    pub has_failed: bool,
}

impl Kernel {
    /// Notes a call, if calls are to be listed. Those that come when all trouble is over cannot fail.
    pub(crate) fn note_call(&mut self, pid: i32, site: Site) {
        if let Some(calls) = self.calls.as_mut().filter(|_| !self.is_healed) {
            let process = &self.processes[pid];
            let (program, part) = (process.name.to_string(), process.part);
            calls.push(Made { program, part, site, has_failed: false });
        }
    }

    /// Notes that the call that was noted last has failed.
    pub(crate) fn note_failure(&mut self) {
        if let Some(made) = self.calls.as_mut().and_then(|calls| calls.last_mut()) {
            made.has_failed = true;
        }
    }
}
