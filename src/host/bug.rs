//! Bugs that shims had, by name, to be put back where a simulator is to find them.

use super::named::named;

named! {
    /// A bug that a shim had in the world, and that this one does not have.
    ///
    /// Where it could be, the code asks [`Planted::planted`] and behaves as the
    /// other shim did. Only a simulated kernel ever says yes; for a real one the question is a
    /// constant, and nothing of the bug is in the program.
    Bug {
        // 1 to 20: exits and pipes.
        /// One `wait(2)` for every `SIGCHLD`, as if signals did not coalesce.
        OneWaitPerSignal "one-wait-per-signal",
        /// The end of a process is dropped when it comes while something else is being done.
        ExitLostWhileBusy "exit-lost-while-busy",
        /// The end of a process that has ended before its start was over is dropped.
        EarlyExitForgotten "early-exit-forgotten",
        /// An init's end is told whether its execs have ended or not.
        InitBeforeExecs "init-before-execs",
        /// Execs of an init that is dead are still begun, and its end waits for each of them.
        InitWaitsForStarts "init-waits-for-starts",
        /// An exec that came while the rest was being killed lives on.
        ExecOutlivesInit "exec-outlives-init",
        /// While something is being done a process's end blocks the way, also for the runtime's.
        ExitsBehindRequests "exits-behind-requests",
        /// An event that does not arrive at once is given up.
        PublishesOnce "publishes-once",
        /// The second attempt to tell an event has the deadline of the first, which is over.
        RetriesTooLate "retries-too-late",
        /// An event whose sending was interrupted counts as sent.
        EventTakenUnsent "event-taken-unsent",
        /// `Wait` waits for an end that is to come, also where it has come already.
        WaitsOnlyForward "waits-only-forward",
        /// `delete` says that a container was killed, whatever is known of its end.
        InventedStatus "invented-status",
        /// A process that somebody else has reaped has ended with 0.
        NoChildIsZero "no-child-is-zero",
        /// Children that are not known are reaped, also while one of them may be the new process.
        ReapedBeforeKnown "reaped-before-known",
        /// A signal goes to a process's number, whether it is still its own or not.
        SignalToANumber "signal-to-a-number",
        /// An end belongs to the first process that had this number.
        ExitOfANumber "exit-of-a-number",
        /// A process's end is not told before its output has come to its end.
        ExitWaitsForOutput "exit-waits-for-output",
        /// Removing a process waits for its output as long as it takes.
        DrainWithoutEnd "drain-without-end",
        /// Output that nobody has read two seconds after the end of its process is lost.
        DrainCutsOutput "drain-cuts-output",
        /// When output does not come to its end in time, removing the process fails.
        DrainEndsDelete "drain-ends-delete",
        /// After one full disk nothing is carried any more.
        FullDiskIsFinal "full-disk-is-final",
        /// The process is removed, and the client goes, though it has not read yet what is in its fifo.
        RemovedUnread "removed-unread",
        /// A reader that goes away breaks the output for good.
        NoReaderIsFinal "no-reader-is-final",
        /// The process gets the client's fifo, and nobody else holds it.
        FifoGivenAway "fifo-given-away",
        /// That a logger has ended changes nothing for the process that it read.
        LoggerGone "logger-gone",
        /// Output waits for its reader inside `write(2)`, and everybody with it.
        OutputWaits "output-waits",
        /// The shim waits until there is room in its log.
        LogWaits "log-waits",
        /// The input is opened as programs open files: until somebody has it open to write.
        OpenWaits "open-waits",
        /// The input is opened to read and to write, so that it never ends.
        OwnWriterKept "own-writer-kept",
        /// `CloseIO` does nothing to a process that is not there yet, and is not remembered.
        ForgottenCloseIo "forgotten-close-io",
        /// `CloseIO` closes the input with all that is still on its way.
        InputCutByCloseIo "input-cut-by-close-io",
        /// The shim has the process's ends of the pipes open until it is started.
        EndsHeldUntilStart "ends-held-until-start",
        /// Input waits for the process inside `write(2)`, and its output with it.
        InputWaits "input-waits",
        /// Where there is nothing to read yet, that is the end.
        EmptyIsEnd "empty-is-end",
        /// A full sink is tried again at once, for as long as it is full.
        FullSinkPolled "full-sink-polled",
        /// With its process a terminal is closed, whatever is still in it.
        TerminalDropped "terminal-dropped",
        /// A terminal that nobody has open for a moment has ended.
        NoSlaveOfOurs "no-slave-of-ours",
        /// A terminal's hanging up is a failed read, not its end.
        HangUpIsFailure "hang-up-is-failure",
        /// A descriptor is closed once more, when its number is another's.
        ClosedTwice "closed-twice",
        /// What a runtime says goes into a pipe, which is read when it has ended.
        StderrReadLast "stderr-read-last",
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
        /// A server of whose `start` nothing was heard waits for ever.
        UnaskedStays "unasked-stays",
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
        /// Whoever finds a dead socket removes what is at its place by now.
        UnlinksUnseen "unlinks-unseen",
        /// While a container is being removed the killing of its rest is begun, whose end nobody minds then.
        RestKilledForNobody "rest-killed-for-nobody",
        /// What an exec was to run is left in a file, when its container or the shim goes while it is started.
        ProcessFileLeft "process-file-left",
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
}

impl Bug {
    /// The bug of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Bug> {
        Bug::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

/// Whether a [`Bug`] has been put back on purpose: part of every [`Host`](super::Host).
pub trait Planted {
    /// Whether this one is. Only a simulated kernel ever says yes.
    #[must_use]
    fn planted(&self, _bug: Bug) -> bool {
        false
    }
}
