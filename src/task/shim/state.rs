//! What a shim knows: containers, their processes, and what is being done to them.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::calls::CallId;

use crate::host::{ExitStatus, Fd, Pid, WindowSize};
use crate::oci::Runc;
use crate::process::{Act, Life};
use crate::stdio::TaskStdio;
use crate::task::cgroup::{Cgroup, OomWatch};
use crate::task::mounts::Mount;
use crate::task::options::{CheckpointOptions, Options};
use crate::ttrpc::Status;

/// A process of this shim, never used twice: the names that clients give may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ProcessKey(pub u32);

/// A job of this shim, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct JobKey(pub u32);

/// Who a child of the shim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// A container's process.
    Process(ProcessKey),
    /// The runtime, or a child that mounts or unmounts, at work for a job.
    Worker(JobKey),
    /// The program that takes a process's output.
    Logger(ProcessKey),
}

/// A container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Container {
    /// Its bundle.
    pub bundle: PathBuf,
    /// How its runtime is to be used.
    pub options: Options,
    /// The runtime's command lines.
    pub runtime: Runc,
    /// The runtime's file; `None` if there is none in `PATH`.
    pub program: Option<PathBuf>,
    /// The checkpoint that it comes from; empty for none.
    pub checkpoint: String,
    /// Its first process.
    pub init: ProcessKey,
    /// Its further processes, by the name that the client gave.
    pub execs: BTreeMap<String, ProcessKey>,
    /// Its init has made a pid namespace, so that the kernel kills the others with it.
    pub private_pids: bool,
    /// Its root file system is to be unmounted when it is deleted.
    pub mounted: bool,
    /// The runtime knows nothing of it any more.
    pub removed: bool,
    /// It is being made for nobody, and a daemon that knows nothing of it wants it gone.
    pub disowned: bool,
    /// Where its processes are counted, once they are.
    pub cgroup: Option<Cgroup>,
    /// What tells that it ran out of memory.
    pub oom: Option<OomWatch>,
}

impl Container {
    /// Whether its runtime is one of those whose doings are known to us exactly.
    pub(super) fn is_of_known_runtime(&self) -> bool {
        let name = std::path::Path::new(&self.runtime.program).file_name();
        name.is_some_and(|name| name == "runc" || name == "crun")
    }
}

/// A process: init or exec.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Process {
    /// Its container.
    pub container: String,
    /// The name that the client gave; empty for init.
    pub exec_id: String,
    /// Where it is in its life.
    pub life: Life,
    /// Its pid, once the runtime has made it; 0 before.
    pub pid: u32,
    /// Where the client wants its streams to go.
    pub stdin: String,
    /// See `stdin`.
    pub stdout: String,
    /// See `stdin`.
    pub stderr: String,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// What an exec is to run: a runtime-spec `Process`, as JSON. Empty once it was started. It may
    /// hold secrets, and is not written down.
    #[serde(skip)]
    pub spec: Vec<u8>,
    /// What carries its bytes.
    pub stdio: TaskStdio,
    /// The client has no more input for it; said perhaps before there was anything to close.
    pub stdin_closed: bool,
    /// The window's size that the client wished for last.
    pub size: Option<WindowSize>,
    /// It has ended, and what has to come before that is told is still under way.
    pub ended: Option<ExitStatus>,
    /// What its death still waits for: the killing of what it left, or the thawing of it.
    pub cleaning: Option<JobKey>,
    /// What it left has been killed, or could not be.
    pub cleaned: bool,
    /// How it ended, as it is told to everybody.
    pub exit: Option<Exited>,
    /// Its start failed; there will be nothing to wait for.
    pub failed: bool,
    /// Who waits for its end.
    pub waiters: Vec<CallId>,
    /// What is being done to it; only one thing at a time.
    pub busy: Option<JobKey>,
    /// What is to be done to it next.
    pub queue: VecDeque<Order>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exited {
    /// Its exit code, or 128 and the signal.
    pub status: u32,
    /// When ([`Host::wall_clock`](crate::host::Host::wall_clock)).
    pub at: Duration,
}

/// Something that a client wants done, and who wants to hear of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// What.
    pub task: Task,
    /// Who.
    pub call: CallId,
}

/// Something to be done for which others are needed: the runtime, a mount, a logger, a console.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    /// Have a container made, its root file system mounted before.
    Create(Vec<Mount>),
    /// Start what was created, or have an exec made.
    Start,
    /// Remove what has ended.
    Delete,
    /// Freeze it.
    Pause,
    /// Thaw it.
    Resume,
    /// Change its limits: the runtime-spec's `LinuxResources`, as JSON.
    Update(Vec<u8>),
    /// Write it down.
    Checkpoint(Box<CheckpointTask>),
    /// Send it a signal.
    Kill {
        /// The signal's number.
        signal: u32,
        /// Whether all of its processes are meant.
        all: bool,
    },
    /// Kill what init left behind.
    KillRest,
    /// Let what has died be frozen no more.
    Thaw,
}

/// Where a checkpoint goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CheckpointTask {
    /// The directory for the images.
    pub path: String,
    /// How.
    pub options: CheckpointOptions,
    /// The directory for what is only of use meanwhile, and whether it is ours to remove.
    pub work: PathBuf,
    /// See `work`.
    pub work_is_ours: bool,
}

impl Task {
    /// What the table of lives calls it.
    pub(super) fn act(&self) -> Option<Act> {
        match self {
            Task::Start => Some(Act::Start),
            Task::Delete => Some(Act::Delete),
            Task::Pause => Some(Act::Pause),
            Task::Resume => Some(Act::Resume),
            Task::Update(_) => Some(Act::Update),
            Task::Checkpoint(_) => Some(Act::Checkpoint),
            Task::Kill { .. } => Some(Act::Kill),
            Task::Create(_) | Task::KillRest | Task::Thaw => None,
        }
    }

    /// Whether to ask for it twice is to ask for it once: a client that came back after its
    /// deadline hears of the first attempt.
    pub(super) fn is_same(&self, other: &Task) -> bool {
        matches!(
            (self, other),
            (Task::Create(_), Task::Create(_))
                | (Task::Start, Task::Start)
                | (Task::Delete, Task::Delete)
                | (Task::Pause, Task::Pause)
                | (Task::Resume, Task::Resume)
        )
    }
}

/// What a job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// The root file system's being mounted.
    Mount,
    /// The logger's being ready.
    Logger,
    /// The runtime, which makes a process.
    Make,
    /// The console, which the runtime has sent.
    Console,
    /// The runtime, which does as it was told.
    Runtime,
    /// Output that is on its way.
    Drain,
    /// The root file system's being unmounted.
    Unmount,
    /// The same, after a failure.
    Undo,
}

/// Something that is being done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// What.
    pub task: Task,
    /// To which process.
    pub process: ProcessKey,
    /// How far it is.
    pub step: Step,
    /// Who wants to hear of it.
    pub calls: Vec<CallId>,
    /// What the child at work says, as a file.
    pub output: Option<Fd>,
    /// How long the runtime's log was before.
    pub log_from: u64,
    /// The process that was made.
    pub made: Option<Pid>,
    /// The runtime says that it has made the container, which is to be undone if that is not true
    /// of all of it.
    pub is_there: bool,
    /// When it is given up ([`Host::now`](crate::host::Host::now)).
    pub deadline: Option<Duration>,
    /// Why it failed, while what it has done is being undone.
    pub failure: Option<Status>,
}
