//! Where a flow can be hit: every call of every program that may be killed.

use std::collections::BTreeMap;

use serde::Serialize;
use wavetank::host::Signal;

use super::{CLASSIC_SHIM, DAEMON, Flow};
use crate::task::SHIM;
use crate::{Case, Choose, Fault, Made};

/// A crash point: who is killed, and at which of its calls, counted from 0.
pub type Point = (Killed, u64);

/// Everybody who may be killed.
const MORTALS: [Killed; 6] = [
    Killed { program: SHIM, part: "server" },
    Killed { program: SHIM, part: "start" },
    Killed { program: SHIM, part: "mount" },
    Killed { program: SHIM, part: "delete" },
    Killed { program: CLASSIC_SHIM, part: "server" },
    Killed { program: DAEMON, part: "" },
];

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

/// Every crash point of a flow's run, in the order of the calls.
pub fn points(flow: &Flow, chooser: &mut dyn Choose) -> Vec<Point> {
    let mut made: BTreeMap<Killed, u64> = BTreeMap::new();
    let killed = super::calls(flow, chooser).into_iter().filter_map(|call| mortal(&call));
    killed
        .map(|killed| {
            let calls = made.entry(killed).or_default();
            *calls += 1;
            (killed, *calls - 1)
        })
        .collect()
}

fn mortal(call: &Made) -> Option<Killed> {
    MORTALS.into_iter().find(|it| it.program == call.program && it.part == call.part)
}

/// The crash points that come after this one in the run in which it is one: with each of them it is a
/// pair of kills.
pub fn points_after(flow: &Flow, first: Point, chooser: &mut dyn Choose) -> Vec<Point> {
    let mut hit = flow.clone();
    hit.faults.push(first.0.at(first.1));
    let points = points(&hit, chooser);
    // The calls before it are the same as without it.
    let place = points.iter().position(|point| *point == first);
    points.into_iter().skip(place.map_or(usize::MAX, |place| place + 1)).collect()
}

/// A flow with these crashes.
#[must_use]
pub fn case(flow: &Flow, crashes: &[Point]) -> Case {
    let faults = crashes.iter().map(|(killed, after)| killed.at(*after)).collect();
    Case { faults, ..Case::of(flow.name) }
}
