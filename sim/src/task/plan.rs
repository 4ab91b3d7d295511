//! What a daemon and its clients are to do, and what they have seen.

use std::collections::BTreeMap;
use std::time::Duration;

use wavetank::host::{Signal, WindowSize};
use wavetank::ttrpc::{Code, Status};

/// Names a process: `c1` is the first of the container of that name, `c1/e1` an exec in it.
pub type Name = &'static str;

/// The container of a process.
#[must_use]
pub(crate) fn container_of(name: &str) -> &str {
    name.split_once('/').map_or(name, |(container, _)| container)
}

/// The exec's id; empty for a container's first process.
#[must_use]
pub(crate) fn exec_of(name: &str) -> &str {
    name.split_once('/').map_or("", |(_, exec)| exec)
}

/// What the daemon is to do. Its threads run at the same time, each one step after the other.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The processes, and what their clients do.
    pub processes: Vec<Process>,
    /// Who shares a shim; empty: every container has its own.
    pub group: &'static str,
    /// The containers have pid namespaces, so the kernel ends what an init leaves.
    pub private_pids: bool,
    /// Nobody reads the shims' logs.
    pub log_is_unread: bool,
    /// The threads, each with a connection of its own.
    pub threads: Vec<Vec<Step>>,
}

impl Plan {
    /// The containers' first processes.
    pub(super) fn inits(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| exec_of(process.name).is_empty())
    }

    /// Whether there is a time from which on all must be right.
    pub(super) fn heals(&self) -> bool {
        self.threads.iter().flatten().any(|step| matches!(step, Step::Heal))
    }
}

/// A process, and what its client does.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Which.
    pub name: Name,
    /// The guest's words.
    pub words: Vec<&'static str>,
    /// It has a terminal.
    pub terminal: bool,
    /// What the client writes.
    pub input: Vec<u8>,
    /// With what it may end, as containerd counts; none if it never runs.
    pub ends: Vec<u32>,
    /// All its output.
    pub stdout: Vec<u8>,
    /// All its other output.
    pub stderr: Vec<u8>,
    /// Its output may be cut off, since it may be killed while it writes.
    pub may_be_cut: bool,
    /// It may end before it is told of as started: when its start fails then, nobody hears of it.
    pub may_vanish: bool,
    /// A runtime that fails to make it says so where the process would have spoken.
    pub runtime_speaks: bool,
    /// No shim need open its fifos, so that there may be no end to read.
    pub is_never_opened: bool,
    /// The client reads nothing before this mark.
    pub reads_from: Option<&'static str>,
    /// Its output goes to this file, as `/w/out`, and to no client.
    pub file: Option<&'static str>,
    /// The client never comes to its fifos.
    pub client_never_comes: bool,
    /// The client goes after so many bytes of output, and comes back.
    pub leaves_after: Option<usize>,
    /// The client closes its fifos when it hears that the process is removed, read or not.
    pub leaves_at_delete: bool,
    /// It comes back at this mark; without one at once.
    pub returns_at: Option<&'static str>,
    /// A URI that says who takes its output, in the place of the fifo's path.
    pub logger: &'static str,
    /// What is mounted for its root file system: at these places inside of it, the top being
    /// empty.
    pub mounts: Vec<&'static str>,
    /// Calls that fail may spoil everything about it but the truth of what is told.
    pub is_disturbed: bool,
}

/// One step of a thread.
#[derive(Clone, Debug)]
pub enum Step {
    /// Has a shim started for a container, or finds the one that it shares.
    Launch(Name),
    /// Calls, and waits for the answer.
    Ask(Ask, Answer),
    /// Calls, and goes on.
    Begin(Ask, Answer),
    /// Waits.
    Until(Until),
    /// Sets a mark that others wait for.
    Mark(&'static str),
    /// The client closes the input as soon as all is written.
    EndInput(Name),
    /// This thread's connection is dropped; the next call makes another.
    HangUp,
    /// The daemon is gone: connections, socket, and the ends of all fifos.
    Die,
    /// The daemon is back.
    Return,
    /// From now on the daemon takes no event (`true`), or takes them again.
    RefuseEvents(bool),
    /// The kernel kills this process for want of memory, if it is there, and the cgroup says so.
    RunOutOfMemory(Name),
    /// Memory was used up, says the cgroup, and nobody was killed for it.
    NearlyRunOutOfMemory,
    /// What the shim has open must be what it had open at the first census.
    Census,
    /// What the shim remembers must be as much as the first time, as it tells whoever sends it
    /// `SIGUSR1`.
    Recollection,
    /// Runs the shim's `delete`, as daemons do after every container.
    CleanUp(Name),
    /// Kills the server itself, as the kernel may.
    KillShim,
    /// The machine is going down: the server gets `SIGTERM`.
    TerminateShim,
    /// Waits until no server runs any more.
    SeeShimOff,
    /// The servers are to write down all that they know (`SIGUSR1`).
    WriteDown,
    /// The servers get a signal.
    SignalShim(Signal),
    /// Nothing goes wrong any more, the daemon is back, and everybody reads; the other threads are over.
    Heal,
    /// Whoever of the runtime is still at work is killed.
    KillHung,
    /// What a runtime was about to make when it was killed with its server is killed, too: a real one's
    /// init ends by itself as long as the runtime has not written down that it is there.
    KillUnknown,
    /// The servers hold nothing of any container any more.
    Bare,
    /// Somebody else kills a process.
    KillProcess(Name),
    /// Waits until everybody waits; from then on all orders are tried, where somebody does that.
    Race(Daemon),
}

/// What the daemon does in a race, once it has made its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// It reads what it is told as soon as it likes, and that is part of the race.
    TakesPart,
    /// It reads what it is told when nobody else can go on.
    Reads,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// The `Wait` for this process is answered.
    Ended(Name),
    /// An event about this process has come, as `/tasks/exit`.
    Told(&'static str, Name),
    /// So many bytes of output have come.
    Output(Name, usize),
    /// All output has come.
    Eof(Name),
    /// A mark is set.
    Marked(&'static str),
    /// Milliseconds are over.
    Passed(u64),
}

/// A call of the Task service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the service")]
pub enum Ask {
    Create(Name),
    Start(Name),
    Exec(Name),
    Wait(Name),
    State(Name),
    Kill(Name, u32),
    KillAll(Name, u32),
    Delete(Name),
    Pause(Name),
    Resume(Name),
    CloseIo(Name),
    Resize(Name, WindowSize),
    Pids(Name),
    Connect(Name),
    Stats(Name),
    Update(Name),
    /// Written down, so that nothing of it goes on.
    Checkpoint(Name),
    Shutdown(Name),
    /// A method of this name, with these bytes for a message.
    Odd(Name, &'static str, &'static [u8]),
}

impl Ask {
    /// Whether it is answered at once, whatever a runtime is doing for others.
    #[must_use]
    pub(super) fn is_quick(&self) -> bool {
        match *self {
            Ask::Create(_)
            | Ask::Start(_)
            | Ask::Wait(_)
            | Ask::Delete(_)
            | Ask::Pause(_)
            | Ask::Resume(_)
            | Ask::Update(_)
            | Ask::Checkpoint(_)
            | Ask::Odd(..) => false,
            // The runtime may have to do it, but that is the only thing to wait for.
            Ask::Kill(..)
            | Ask::KillAll(..)
            | Ask::Exec(_)
            | Ask::State(_)
            | Ask::CloseIo(_)
            | Ask::Resize(..)
            | Ask::Pids(_)
            | Ask::Connect(_)
            | Ask::Stats(_)
            | Ask::Shutdown(_) => true,
        }
    }

    /// Which process it is about.
    #[must_use]
    pub fn name(&self) -> Name {
        match *self {
            Ask::Create(name)
            | Ask::Start(name)
            | Ask::Exec(name)
            | Ask::Wait(name)
            | Ask::State(name)
            | Ask::Kill(name, _)
            | Ask::KillAll(name, _)
            | Ask::Delete(name)
            | Ask::Pause(name)
            | Ask::Resume(name)
            | Ask::CloseIo(name)
            | Ask::Resize(name, _)
            | Ask::Pids(name)
            | Ask::Connect(name)
            | Ask::Stats(name)
            | Ask::Update(name)
            | Ask::Checkpoint(name)
            | Ask::Shutdown(name)
            | Ask::Odd(name, ..) => name,
        }
    }
}

/// What may come of a call.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// It may be done.
    pub may_be_done: bool,
    /// Or refused with one of these, the text being part of the message.
    pub refusals: Vec<(Code, &'static str)>,
    /// Or refused in any other way.
    pub may_be_refused: bool,
}

/// It is done, and nothing else.
#[must_use]
pub(super) fn done() -> Answer {
    Answer { may_be_done: true, ..Answer::default() }
}

/// It is answered.
#[must_use]
pub(super) fn whatever() -> Answer {
    Answer { may_be_done: true, may_be_refused: true, ..Answer::default() }
}

/// There is no such container any more.
#[must_use]
pub(super) fn gone() -> Answer {
    refused(Code::NotFound, "container not created")
}

/// It is refused.
#[must_use]
pub(super) fn refused(code: Code, text: &'static str) -> Answer {
    Answer { refusals: vec![(code, text)], ..Answer::default() }
}

impl Answer {
    /// Or it had been done already, when it is asked for a second time; none if it can be asked for
    /// only once.
    #[must_use]
    pub(super) fn or_done(self, ask: Ask) -> Option<Answer> {
        let text: &[(Code, &'static str)] = match ask {
            Ask::Create(_) | Ask::Exec(_) => &[(Code::AlreadyExists, "")],
            Ask::Start(_) => &[
                (Code::Unknown, "cannot start a running process"),
                (Code::Unknown, "cannot start a stopped process"),
            ],
            Ask::Delete(_) => &[
                (Code::NotFound, "container not created"),
                (Code::NotFound, "process does not exist"),
            ],
            Ask::Pause(_) => &[(Code::Unknown, "cannot pause a paused container")],
            Ask::Resume(_) => &[(Code::Unknown, "cannot resume a running process")],
            Ask::Kill(..) | Ask::KillAll(..) => &[(Code::NotFound, "process already finished")],
            Ask::Checkpoint(_) | Ask::Shutdown(_) | Ask::Odd(..) => return None,
            Ask::Wait(_)
            | Ask::State(_)
            | Ask::CloseIo(_)
            | Ask::Resize(..)
            | Ask::Pids(_)
            | Ask::Connect(_)
            | Ask::Stats(_)
            | Ask::Update(_) => &[],
        };
        let refusals = [self.refusals, text.to_vec()].concat();
        Some(Answer { refusals, ..self })
    }

    /// Whether it may be refused like this.
    pub(super) fn allows(&self, status: &Status) -> bool {
        let is_one =
            |(code, text): &(Code, &str)| *code == status.code && status.message.contains(text);
        self.may_be_refused || self.refusals.iter().any(is_one)
    }

    /// Or it is refused so.
    #[must_use]
    pub fn or(mut self, code: Code, text: &'static str) -> Answer {
        self.refusals.push((code, text));
        self
    }
}

/// An event, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// As `/tasks/exit`.
    pub topic: String,
    /// Which process, as [`Name`].
    pub name: String,
    /// Its pid; 0 if the event has none.
    pub pid: u32,
    /// How it ended, for an exit and a deletion.
    pub exit: Option<Exit>,
}

/// How a process ended, as somebody was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 128 and the signal, or the code.
    pub status: u32,
    /// Seconds and nanoseconds.
    pub at: (i64, i32),
}

/// What the daemon and its clients have seen.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Events, in their order.
    pub events: Vec<Event>,
    /// Who said what of the end of which process.
    pub exits: BTreeMap<String, Vec<(&'static str, Exit)>>,
    /// Pids, as `Create` and `Start` gave them.
    pub pids: BTreeMap<String, u32>,
    /// The processes whose `Start` was answered well.
    pub started: Vec<String>,
    /// What the processes wrote: to stdout and to stderr.
    pub outputs: BTreeMap<String, [Vec<u8>; 2]>,
    /// Whether all output came to its end.
    pub unended: Vec<String>,
    /// The containers whose `Delete` was answered well.
    pub deleted: Vec<String>,
    /// How many were killed for want of memory.
    pub memory_kills: u32,
    /// What must not be, found at once.
    pub wrong: Vec<String>,
    /// A server went that nobody told to, or the daemon killed it; so much is lost.
    pub lost: bool,
    /// The daemon gave its plan up and cleaned up.
    pub gave_up: bool,
    /// The shims' logs.
    pub log: String,
    /// When all was over.
    pub end: Duration,
    /// When things went wrong for the last time.
    pub healed: Duration,
}
