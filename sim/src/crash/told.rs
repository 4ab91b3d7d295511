//! What has come to be known in a run, by whoever of the daemons that followed each other knew it.
//!
//! It outlives every daemon: the oracles remember what a daemon forgot when it was killed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use crate::task::plan::{Exit, Name, container_of};

/// All that is known, in everybody's hands.
pub(crate) type Shared = Rc<RefCell<Told>>;

/// One attempt to bring a container to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Life {
    /// The pids of its processes, as answers, events and files gave them.
    pub(crate) pids: BTreeMap<Name, u32>,
    /// The processes that somebody heard of as started.
    pub(crate) started: BTreeSet<Name>,
    /// Who said what of the end of which process.
    pub(crate) exits: BTreeMap<Name, Vec<(&'static str, Exit)>>,
    /// The processes whose end came as an event.
    pub(crate) events: BTreeSet<Name>,
    /// What the processes wrote: to stdout and to stderr.
    pub(crate) outputs: BTreeMap<Name, [Vec<u8>; 2]>,
    /// A daemon found its shim gone that nobody had told to go.
    pub(crate) shim_lost: bool,
    /// It was brought to its end and removed.
    pub(crate) over: bool,
}

/// What the daemon wants of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// New streams for a container that is to be made.
    Streams(Name),
    /// The end of all its input.
    EndInput(Name),
}

/// All that is known of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// The lives of each container.
    pub(crate) lives: BTreeMap<Name, Vec<Life>>,
    /// What the client has still to do.
    pub(crate) wishes: Vec<Wish>,
    /// How many daemons there have been.
    pub(crate) daemons: u32,
    /// What must not be, found at once.
    pub(crate) wrong: Vec<String>,
    /// Processes of containers and shims that lived when all was over.
    pub(crate) lost: Vec<String>,
    /// Other things that were left.
    pub(crate) left: Vec<String>,
    /// The shims' logs.
    pub(crate) log: String,
    /// When all was over; nothing as long as it is not.
    pub(crate) end: Option<Duration>,
}

impl Told {
    /// The life that a container has now; one that was never begun is an empty one.
    pub(crate) fn life(&mut self, container: Name) -> &mut Life {
        let lives = self.lives.entry(container_of(container)).or_default();
        if lives.is_empty() {
            lives.push(Life::default());
        }
        let last = lives.len() - 1;
        &mut lives[last]
    }

    /// The life in which a process had this pid; the one that its container has now if none had.
    pub(crate) fn life_with(&mut self, name: Name, pid: u32) -> &mut Life {
        let lives = self.lives.entry(container_of(name)).or_default();
        let place = lives.iter().position(|life| life.pids.get(name) == Some(&pid));
        if lives.is_empty() {
            lives.push(Life::default());
        }
        let place = place.unwrap_or(lives.len() - 1);
        &mut lives[place]
    }

    /// Begins another life.
    pub(crate) fn begin(&mut self, container: Name) {
        self.lives.entry(container).or_default().push(Life::default());
    }

    /// Notes what somebody says of an end.
    pub(crate) fn exit(&mut self, name: Name, source: &'static str, exit: Exit) {
        self.life(name).exits.entry(name).or_default().push((source, exit));
    }
}
