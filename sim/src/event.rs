//! What happened in a run, as data: for whoever wants to read or draw it.

use serde::Serialize;
use wavetank::host::{Errno, ExitStatus, Pid, Signal};

use crate::call::Call;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When, in nanoseconds since the machine started.
    pub clock: u64,
    /// To whom.
    pub pid: Pid,
    /// The name of its program.
    pub program: String,
    /// What was decided before it, since the last event.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What can happen to a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// It was started.
    Born {
        /// By whom.
        parent: Pid,
        /// With these words.
        argv: Vec<String>,
    },
    /// It becomes another program.
    Becomes {
        /// With these words.
        argv: Vec<String>,
    },
    /// It cannot go on with a call.
    Waits {
        /// Which.
        call: Call,
        /// As people read them.
        arguments: String,
        /// What would let it go on.
        wanted: String,
    },
    /// A call is over.
    Calls {
        /// Which.
        call: Call,
        /// As people read them.
        arguments: String,
        /// Its value or error, as people read it.
        result: String,
        /// Its error, if it is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        errno: Option<Errno>,
        /// Whether it failed because that was planned.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        fault: bool,
        /// Whether it had to wait first.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        waited: bool,
    },
    /// It gets a signal.
    Signalled {
        /// Which.
        signal: Signal,
        /// Who was at work when it was sent; none if it was planned.
        by: Option<Pid>,
    },
    /// It will do nothing any more.
    Doomed {
        /// How it will have ended.
        status: ExitStatus,
    },
    /// All that it had open is closed.
    Closes,
    /// It has ended, and its parent can know.
    Ended {
        /// How.
        status: ExitStatus,
    },
    /// It is gone.
    Reaped {
        /// Who asked how it ended.
        by: Pid,
    },
    /// The run is over and it is still there.
    Left {
        /// What is to be said of that.
        why: String,
    },
}

/// An answer to a question that had more than one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "question", rename_all = "snake_case")]
pub enum Choice {
    /// Who goes on.
    Turn {
        /// Everybody who could, the plain answer first.
        among: Vec<Pid>,
        /// Whether time could pass instead, as the last answer.
        time: bool,
        /// The place in that list.
        answer: usize,
    },
    /// Anything else, as how many bytes are moved.
    Other {
        /// How many answers there were.
        answers: usize,
        /// Which was given; 0 is the plain one.
        answer: usize,
    },
}

impl Choice {
    /// Whether the answer is the one that a tape without anything on it gives.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let (Choice::Turn { answer, .. } | Choice::Other { answer, .. }) = self;
        *answer == 0
    }
}

impl Event {
    /// Whether somebody planned that this should go wrong.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        matches!(self.what, What::Calls { fault: true, .. } | What::Signalled { by: None, .. })
    }

    /// The call that this event is about, if it is about one.
    #[must_use]
    pub fn call(&self) -> Option<Call> {
        match self.what {
            What::Calls { call, .. } | What::Waits { call, .. } => Some(call),
            _ => None,
        }
    }

    /// The line of the trace that tells of this event: of calls that are over, and of ends.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        let Event { pid, program, .. } = self;
        match &self.what {
            What::Calls { call, arguments, result, .. } => {
                Some(format!("{pid} {program} {}({arguments}) -> {result}", call.name()))
            }
            What::Doomed { status } => Some(format!("{pid} is ended by {status}")),
            What::Closes => Some(format!("{pid} closes everything")),
            What::Ended { status } => Some(format!("{pid} has ended: {status}")),
            _ => None,
        }
    }
}
