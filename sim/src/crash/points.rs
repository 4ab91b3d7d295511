//! Where a flow can be hit: every call of every program that may be killed.

use serde::Serialize;
use wavetank::host::Signal;

use super::{DAEMON, Door, Flow};
use crate::{Case, Choose, Fault};

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Killed {
    /// The program.
    pub program: &'static str,
    /// Which of its parts.
    pub part: &'static str,
}

impl Killed {
    /// Killed at its call number `after`, counted from 0. That call is the last one it makes.
    #[must_use]
    pub fn at(self, after: u64) -> Fault {
        let fault = Fault::signal(Signal::KILL).by(self.program).after(after);
        if self.part.is_empty() { fault } else { fault.part(self.part) }
    }
}

/// How many calls everybody makes in a flow's plain run.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Who, and how many calls.
    pub calls: Vec<(Killed, u64)>,
}

impl Survey {
    /// Every crash point of one kill.
    pub fn points(&self) -> impl Iterator<Item = (Killed, u64)> {
        self.calls.iter().flat_map(|(killed, calls)| (0..*calls).map(|after| (*killed, after)))
    }

    /// How many calls one of them makes.
    #[must_use]
    pub fn calls_of(&self, program: &str, part: &str) -> u64 {
        let is_meant = |it: &&(Killed, u64)| (it.0.program, it.0.part) == (program, part);
        self.calls.iter().find(is_meant).map_or(0, |it| it.1)
    }
}

/// Counts the calls of a flow's run.
pub fn survey(flow: &Flow, chooser: &mut dyn Choose) -> Survey {
    let parts: &[&str] = match flow.door {
        Door::Task => &["server", "start", "mount", "delete"],
        Door::Classic(_) => &["server"],
    };
    let shims = parts.iter().map(|part| Killed { program: flow.shim(), part });
    let daemon = Killed { program: DAEMON, part: "" };
    let mut killed: Vec<Killed> = shims.chain([daemon]).collect();
    let calls = super::count(flow, chooser, &killed);
    let calls = killed.drain(..).zip(calls).filter(|(_, calls)| *calls > 0).collect();
    Survey { calls }
}

/// A flow with these crashes.
#[must_use]
pub fn case(flow: &Flow, crashes: &[(Killed, u64)]) -> Case {
    let faults = crashes.iter().map(|(killed, after)| killed.at(*after)).collect();
    Case { faults, ..Case::of(flow.name) }
}
