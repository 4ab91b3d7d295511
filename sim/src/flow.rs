//! The flows of both doors under one roof, and what else a run is made of besides its tape.

use serde::{Deserialize, Serialize};
use wavetank::host::Bug;

use crate::choose::Choose;
use crate::fault::Fault;
use crate::run::Run;
use crate::{classic, crash, task};

/// A flow of either door.
#[derive(Clone, Debug)]
pub enum Flow {
    /// Of the classic door.
    Classic(Box<classic::Flow>),
    /// Of the runtime v2 door.
    Task(Box<task::Flow>),
    /// With a daemon that is started again when it was killed.
    Crash(Box<crash::Flow>),
}

impl Flow {
    /// Every flow that goes right if nobody is killed; those for crash points are in
    /// [`crash::flows`].
    #[must_use]
    pub fn all() -> Vec<Flow> {
        let classic = classic::flows().into_iter().map(|flow| Flow::Classic(Box::new(flow)));
        let task = task::flows().into_iter().map(|flow| Flow::Task(Box::new(flow)));
        classic.chain(task).collect()
    }

    /// The flow of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Flow> {
        let crash = crash::flows().into_iter().map(|flow| Flow::Crash(Box::new(flow)));
        let races = task::races().into_iter().map(|flow| Flow::Task(Box::new(flow)));
        let classic = classic::races().into_iter().map(|flow| Flow::Classic(Box::new(flow)));
        let all = Flow::all().into_iter().chain(crash).chain(races).chain(classic);
        all.into_iter().find(|flow| flow.name() == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Flow::Classic(flow) => flow.name,
            Flow::Task(flow) => flow.name,
            Flow::Crash(flow) => flow.name,
        }
    }

    /// Whether all about it is drawn when it is run.
    #[must_use]
    pub fn is_drawn(&self) -> bool {
        match self {
            Flow::Task(flow) => flow.is_drawn,
            _ => false,
        }
    }

    /// The same flow with more that goes wrong than it knows of: its daemon and its oracles ask the
    /// run's [`Trouble`](crate::Trouble).
    #[must_use]
    pub fn with(mut self, faults: &[Fault], bug: Option<Bug>) -> Flow {
        let (own, config) = match &mut self {
            Flow::Classic(flow) => (&mut flow.faults, &mut flow.config),
            Flow::Task(flow) => (&mut flow.faults, &mut flow.config),
            Flow::Crash(flow) => (&mut flow.faults, &mut flow.config),
        };
        own.extend(faults.iter().cloned().map(Fault::into_trouble));
        config.planted = bug.or(config.planted);
        self
    }

    /// The same flow, whose runs list every call that was made.
    #[must_use]
    pub fn listing_calls(mut self) -> Flow {
        match &mut self {
            Flow::Classic(flow) => flow.config.list_calls = true,
            Flow::Task(flow) => flow.config.list_calls = true,
            Flow::Crash(flow) => flow.config.list_calls = true,
        }
        self
    }

    /// Runs it once, every choice made by `chooser`.
    pub fn run(&self, chooser: &mut dyn Choose, keep_trace: bool) -> Run {
        match self {
            Flow::Classic(flow) => classic::run(flow, chooser, keep_trace),
            Flow::Task(flow) => task::run(flow, chooser, keep_trace),
            Flow::Crash(flow) => crash::run(flow, chooser, keep_trace),
        }
    }
}

/// What a run is made of besides its tape, as data that can be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The name of the flow.
    pub flow: String,
    /// What goes wrong besides what the flow says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// The bug that the shim is to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bug: Option<Bug>,
}

impl Case {
    /// A flow as it is.
    #[must_use]
    pub fn of(flow: &str) -> Case {
        Case { flow: flow.to_owned(), ..Case::default() }
    }

    /// The same with a bug in the shim.
    #[must_use]
    pub fn planted(self, bug: Bug) -> Case {
        Case { bug: Some(bug), ..self }
    }

    /// What is to be run; none if there is no such flow.
    #[must_use]
    pub fn flow(&self) -> Option<Flow> {
        Some(Flow::named(&self.flow)?.with(&self.faults, self.bug))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Flow;

    #[test]
    fn every_flow_has_a_name_of_its_own() {
        let flows = Flow::all();
        let names: BTreeSet<&str> = flows.iter().map(Flow::name).collect();
        assert_eq!(names.len(), flows.len());
    }
}
