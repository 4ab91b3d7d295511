//! What a run of a flow came to.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use wavetank::host::Mark;

use crate::event::Event;
use crate::world::World;
use crate::{Made, Trouble};

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// The first thing that is not as it was promised, if any.
    pub failure: Option<Failure>,
    /// Same for runs in which the same happened.
    pub hash: u64,
    /// Same for runs in which the daemon and its clients saw the same, where orders are tried; else 0.
    pub outcome: u64,
    /// Calls of the host that were made.
    pub steps: u64,
    /// What happened, line by line, if it was to be kept.
    pub trace: Vec<String>,
    /// What happened, as data, if it was to be kept.
    pub events: Vec<Event>,
    /// How many calls a planned fault has hit.
    pub struck: u64,
    /// What befell it besides what its flow says.
    pub trouble: Trouble,
    /// Rare branches of the shim that were taken.
    pub marks: BTreeSet<Mark>,
    /// Every call that was made, if they were to be listed.
    pub calls: Vec<Made>,
}

impl Run {
    /// What came of a world that has been run.
    pub(crate) fn of(world: &World, failure: Option<Failure>) -> Run {
        Run {
            outcome: 0,
            failure,
            hash: world.hash(),
            steps: world.steps(),
            trace: world.trace(),
            events: world.events(),
            struck: world.faults_struck(),
            trouble: world.trouble(),
            marks: world.marks(),
            calls: world.calls(),
        }
    }
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The name of the oracle that says so.
    pub oracle: &'static str,
    /// What it promises.
    pub promise: &'static str,
    /// What was seen instead.
    pub objection: String,
    /// The shims' logs.
    pub log: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.oracle, self.promise, self.objection)?;
        if self.log.is_empty() { Ok(()) } else { write!(f, "\nlog: {}", self.log) }
    }
}

/// For runs that do not come to their end.
pub(crate) const SETTLES: Failure = Failure {
    oracle: "settles",
    promise: "every run comes to its end: nobody waits for ever, runs for ever or panics",
    objection: String::new(),
    log: String::new(),
};

impl Failure {
    /// Not even the first program could be started.
    pub(crate) fn at_start(error: wavetank::host::SpawnError) -> Failure {
        Failure { objection: format!("the actor could not be started: {error:?}"), ..SETTLES }
    }
}
