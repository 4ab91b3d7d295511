//! The life of one process, as a table.

mod task;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use task::{Act, Life, Refusal};

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The runtime is making it.
    #[default]
    Starting,
    /// It is there: created or running, which the classic daemon knows and its shim does not.
    Alive,
    /// It has ended, or never came to be; its traces are being removed.
    Stopped,
    /// Nothing of it is left.
    Deleted,
}

/// What happens to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The runtime has made it.
    Started,
    /// The runtime could not make it.
    FailedToStart,
    /// It has ended.
    Exited,
    /// All that had to be done after its end was done.
    Removed,
}

/// Something that cannot happen to a process at its stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IllegalMove {
    /// The stage.
    pub stage: Stage,
    /// What was to happen.
    pub change: Change,
}

impl fmt::Display for IllegalMove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a process that is {:?} cannot be {:?}", self.stage, self.change)
    }
}

impl std::error::Error for IllegalMove {}

impl Stage {
    /// The stage after a change.
    ///
    /// # Errors
    /// That the change is impossible at this stage.
    pub fn after(self, change: Change) -> Result<Stage, IllegalMove> {
        match (self, change) {
            (Stage::Starting, Change::Started) => Ok(Stage::Alive),
            (Stage::Starting, Change::FailedToStart) => Ok(Stage::Stopped),
            (Stage::Alive, Change::Exited) => Ok(Stage::Stopped),
            (Stage::Stopped, Change::Removed) => Ok(Stage::Deleted),
            (stage, change) => Err(IllegalMove { stage, change }),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const CHANGES: [Change; 4] =
        [Change::Started, Change::FailedToStart, Change::Exited, Change::Removed];

    #[rstest]
    #[case(Stage::Starting, [Some(Stage::Alive), Some(Stage::Stopped), None, None])]
    #[case(Stage::Alive, [None, None, Some(Stage::Stopped), None])]
    #[case(Stage::Stopped, [None, None, None, Some(Stage::Deleted)])]
    #[case(Stage::Deleted, [None, None, None, None])]
    fn the_whole_table(#[case] stage: Stage, #[case] after: [Option<Stage>; 4]) {
        assert_eq!(CHANGES.map(|change| stage.after(change).ok()), after);
    }
}
