//! Bugs that shims had, by name, to be put back where a simulator is to find them.

use serde::{Deserialize, Serialize};

macro_rules! bugs {
    ($($(#[doc = $what:literal])+ $variant:ident $name:literal,)*) => {
        /// A bug that a shim had in the world, and that this one does not have.
        ///
        /// Where it could be, the code asks [`Planted::planted`] and behaves as the
        /// other shim did. Only a simulated kernel ever says yes; for a real one the question is a
        /// constant, and nothing of the bug is in the program.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Bug {
            $($(#[doc = $what])+ #[serde(rename = $name)] $variant,)*
        }

        impl Bug {
            /// Every one.
            pub const ALL: &[Bug] = &[$(Bug::$variant),*];

            /// Its name, as tapes and the museum's table have it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Bug::$variant => $name,)*
                }
            }

            /// What the shim does that has it.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self {
                    $(Bug::$variant => concat!($($what),+).trim_ascii(),)*
                }
            }

            /// The bug of that name.
            #[must_use]
            pub fn named(name: &str) -> Option<Bug> {
                Bug::ALL.iter().copied().find(|bug| bug.name() == name)
            }
        }
    };
}

bugs! {
    /// One `wait(2)` for every `SIGCHLD`, as if signals did not coalesce.
    OneWaitPerSignal "one-wait-per-signal",
    /// `delete` says that a container was killed, whatever is known of its end.
    InventedStatus "invented-status",
    /// `CloseIO` does nothing to a process that is not there yet, and is not remembered.
    ForgottenCloseIo "forgotten-close-io",
    // 21 and on: what waits, what stays behind, loops, and what was read in the code of 0.2.9.
    /// A logger that ends without a word counts as ready.
    ReadyByEnd "ready-by-end",
    /// A logger that never says that it is ready is waited for.
    LoggerAwaited "logger-awaited",
    /// An unmounting that failed is not tried again by the next delete.
    UnmountedOnce "unmounted-once",
    /// A container whose unmounting failed is forgotten all the same.
    ForgottenWhileMounted "forgotten-while-mounted",
    /// Whoever asks for what is being done already has it done a second time, and in vain.
    AskedAgain "asked-again",
    /// `start` leaves a server running that it could not put where it belongs.
    ServerLeft "server-left",
    /// A container whose creation nobody waits for any more is forgotten when it is there.
    CreateForgotten "create-forgotten",
    /// `Shutdown` ends a shim that has other containers.
    ShutDownWithOthers "shut-down-with-others",
    /// Only the newer of both names of the Task service is served.
    OneProtocol "one-protocol",
    /// The socket's file is left.
    SocketLeft "socket-left",
    /// A shim that ends is found as long as it has something to tell.
    FoundWhileEnding "found-while-ending",
    /// A socket that a dead shim has left is not replaced.
    BindInUse "bind-in-use",
    /// A mount that is busy is given up at once.
    BusyIsFinal "busy-is-final",
    /// What is mounted last is unmounted last.
    TopmostFirst "topmost-first",
    /// The server keeps the stdout of `start`.
    InheritedOutput "inherited-output",
    /// The masters of terminals are never closed.
    MasterLeft "master-left",
    /// An exec that was deleted stays in the shim's memory.
    ExecsRemembered "execs-remembered",
    /// Only children that are known are reaped.
    OrphansLeft "orphans-left",
    /// Reaping goes on until there are no children any more.
    ReapsUntilNoneIsLeft "reaps-until-none-is-left",
    /// Nobody is reaped as long as output is waited for.
    OrphansWaitForOutput "orphans-wait-for-output",
    /// `delete` has the runtime remove what has ended, and nothing that lives.
    CleansUpOnlyTheDead "cleans-up-only-the-dead",
    /// An end is told while the runtime is still freezing what has ended.
    EndWhileFreezing "end-while-freezing",
    /// What ends while it is paused counts as paused.
    StaysPaused "stays-paused",
    /// That the runtime knows nothing of a container any more keeps it from being deleted.
    GoneIsAFailure "gone-is-a-failure",
    /// Nobody is served while a runtime is at work.
    LockedByRuntime "locked-by-runtime",
    /// `Kill` waits until whatever else is being done to a process is done.
    KillWaitsItsTurn "kill-waits-its-turn",
    /// A shim that ends leaves answers and events unsent.
    EndsUnsaid "ends-unsaid",
    /// That a line could not be logged is logged.
    LogsThatItCannotLog "logs-that-it-cannot-log",
    /// The ends of execs are told to those who wait, and not as events.
    ExecEndsUntold "exec-ends-untold",
    /// Of several ends at the same time only one is taken note of.
    ExitsDropped "exits-dropped",
    /// A shim that ends takes no note of ends.
    EndingIsDeaf "ending-is-deaf",
    /// `SIGTERM` is of no effect.
    TermIgnored "term-ignored",
    /// A kill for want of memory is told after the end that came of it.
    OomAfterEnd "oom-after-end",
    /// What the kernel killed for want of memory before it was watched is not told.
    OomBeforeWatchUntold "oom-before-watch-untold",
    /// That memory ran out is told as a kill.
    OomMistaken "oom-mistaken",
    /// A cgroup that cannot be read any more is watched on.
    OomWatchSpins "oom-watch-spins",
    /// An end is told only when there was a kill for want of memory to be told before.
    EndAwaitsOom "end-awaits-oom",
    /// The process that a pid file names is taken for a child, whoever it is.
    StrangerTrusted "stranger-trusted",
    /// A window's size that comes before the terminal is forgotten.
    EarlyResizeLost "early-resize-lost",
    /// The exit fifo is closed before all else.
    ExitFifoFirst "exit-fifo-first",
    /// An exec that was never started cannot be deleted.
    UnstartedStays "unstarted-stays",
    /// The name of an exec that was deleted stays taken.
    NameStaysTaken "name-stays-taken",
    /// An exec whose start nobody waits for any more is forgotten when it runs.
    StartForgotten "start-forgotten",
    /// A control fifo that cannot be read is asked again and again.
    ControlSpins "control-spins",
    /// What is no message stays in the control fifo.
    MalformedLineStays "malformed-line-stays",
    /// The exit status is written once and in its place, whatever comes of it.
    StatusInPlace "status-in-place",
    /// A console that the runtime has not sent is waited for.
    ConsoleAwaited "console-awaited",
    /// A runtime that cleans up may take as long as it likes.
    CleaningUpForEver "cleaning-up-for-ever",
}

/// Whether a [`Bug`] has been put back on purpose: part of every [`Host`](super::Host).
pub trait Planted {
    /// Whether this one is. Only a simulated kernel ever says yes.
    #[must_use]
    fn planted(&self, _bug: Bug) -> bool {
        false
    }
}
