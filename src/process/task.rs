//! The life of a v2 task's process, as containerd's runc shim lives it: init and exec in one table.

use serde::{Deserialize, Serialize};

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    /// An init that its runtime has made and not started; an exec that was only announced.
    Created,
    /// An init that is to come from a checkpoint when it is started.
    Restorable,
    /// It runs.
    Running,
    /// The runtime is freezing it.
    Pausing,
    /// It is frozen.
    Paused,
    /// It has ended.
    Stopped,
    /// It has ended and is removed.
    Deleted,
}

/// What a client may ask to be done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the Task service")]
pub enum Act {
    Start,
    Pause,
    Resume,
    Update,
    Checkpoint,
    Delete,
    Kill,
    Exec,
}

/// Why a process is at a stage of its life at which something cannot be done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What containerd's shim says, without the suffix of an error class.
    pub message: &'static str,
    /// It is there no more, so whoever wanted it gone may be content.
    pub gone: bool,
}

impl Life {
    /// Whether `act` can be done to a process at this stage.
    ///
    /// # Errors
    /// Why not, in the words of containerd's shim (`process/init_state.go`, `exec_state.go`).
    pub fn allows(self, act: Act) -> Result<(), Refusal> {
        let message = match (self, act) {
            (Life::Deleted, act) => return Err(refused_to_the_deleted(act)),
            (Life::Created | Life::Restorable, Act::Pause) => "cannot pause task in created state",
            (Life::Created | Life::Restorable, Act::Resume) => {
                "cannot resume task in created state"
            }
            (Life::Created | Life::Restorable, Act::Checkpoint) => {
                "cannot checkpoint a task in created state"
            }
            (Life::Restorable, Act::Exec) => "cannot exec in a created state",
            (Life::Running | Life::Pausing, Act::Start) => "cannot start a running process",
            (Life::Running | Life::Pausing, Act::Resume) => "cannot resume a running process",
            (Life::Running | Life::Pausing, Act::Delete) => "cannot delete a running process",
            (Life::Paused, Act::Start) => "cannot start a paused process",
            (Life::Paused, Act::Pause) => "cannot pause a paused container",
            (Life::Paused, Act::Delete) => "cannot delete a paused process",
            (Life::Paused, Act::Exec) => "cannot exec in a paused state",
            (Life::Stopped, Act::Start) => "cannot start a stopped process",
            (Life::Stopped, Act::Pause) => "cannot pause a stopped container",
            (Life::Stopped, Act::Resume) => "cannot resume a stopped container",
            (Life::Stopped, Act::Update) => "cannot update a stopped container",
            (Life::Stopped, Act::Checkpoint) => "cannot checkpoint a stopped container",
            (Life::Stopped, Act::Exec) => "cannot exec in a stopped state",
            (
                Life::Created
                | Life::Restorable
                | Life::Running
                | Life::Pausing
                | Life::Paused
                | Life::Stopped,
                _,
            ) => return Ok(()),
        };
        Err(Refusal { message, gone: false })
    }

    /// Whether the process has ended.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Life::Stopped | Life::Deleted)
    }
}

fn refused_to_the_deleted(act: Act) -> Refusal {
    let message = match act {
        Act::Start => "cannot start a deleted process",
        Act::Pause => "cannot pause a deleted process",
        Act::Resume => "cannot resume a deleted process",
        Act::Update => "cannot update a deleted process",
        Act::Checkpoint => "cannot checkpoint a deleted process",
        Act::Delete => "cannot delete a deleted process",
        Act::Kill => "cannot kill a deleted process",
        Act::Exec => "cannot exec in a deleted state",
    };
    Refusal { message, gone: matches!(act, Act::Delete | Act::Kill) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const ACTS: [Act; 8] = [
        Act::Start,
        Act::Pause,
        Act::Resume,
        Act::Update,
        Act::Checkpoint,
        Act::Delete,
        Act::Kill,
        Act::Exec,
    ];

    #[rstest]
    #[case(Life::Created, "start update delete kill exec")]
    #[case(Life::Restorable, "start update delete kill")]
    #[case(Life::Running, "pause update checkpoint kill exec")]
    #[case(Life::Pausing, "pause update checkpoint kill exec")]
    #[case(Life::Paused, "resume update checkpoint kill")]
    #[case(Life::Stopped, "delete kill")]
    #[case(Life::Deleted, "")]
    fn the_whole_table(#[case] life: Life, #[case] allowed: &str) {
        let names = ["start", "pause", "resume", "update", "checkpoint", "delete", "kill", "exec"];
        let found = ACTS.iter().zip(names).filter(|(act, _)| life.allows(**act).is_ok());
        assert_eq!(found.map(|(_, name)| name).collect::<Vec<_>>().join(" "), allowed);
    }

    #[test]
    fn only_who_wanted_it_gone_hears_that_it_is() {
        let gone = |act| Life::Deleted.allows(act).unwrap_err().gone;
        assert_eq!(ACTS.map(gone), [false, false, false, false, false, true, true, false]);
    }
}
