//! Rare branches of the shim, by name: a simulator that has not been there for a whole night is too narrow.

use super::named::named;

named! {
    /// A rare branch of the shim.
    ///
    /// Where it is taken, the code says so ([`Marked::mark`]). Only a simulated kernel keeps it; for
    /// a real one nothing is done, and nothing of it is in the program.
    Mark {
        // A server's coming and going.
        /// `start` finds another shim that listens already.
        SocketOfAnother "socket-of-another",
        /// `start` replaces a socket that a dead shim has left.
        SocketOfTheDead "socket-of-the-dead",
        /// A socket in the way of `start` is gone, or another's, when it has been looked at.
        SocketGoneMeanwhile "socket-gone-meanwhile",
        /// `start` ends a server of which nobody could be told.
        ServerTakenBack "server-taken-back",
        /// A shim ends to which nobody has come.
        EndsUnasked "ends-unasked",
        /// A container is to be made by a shim that ends.
        CreateWhileEnding "create-while-ending",
        /// A shim ends before all is told.
        EndsUntold "ends-untold",
        /// The kernel has no memory for a `poll(2)`.
        PollWithoutMemory "poll-without-memory",
        // Connections and calls.
        /// There is no descriptor for a connection.
        AcceptRests "accept-rests",
        /// A connection takes no more of an answer for now.
        AnswerBlocked "answer-blocked",
        /// Somebody asks for what is being done already.
        OrderJoined "order-joined",
        /// What was to be done next is not wanted any more.
        OrderAbandoned "order-abandoned",
        // Events.
        /// An event was not taken, and is sent again.
        EventRetried "event-retried",
        /// A daemon has refused an event.
        EventRefused "event-refused",
        /// An event is lost, since it was refused too often.
        EventLost "event-lost",
        // Making.
        /// A process has ended before it is known.
        EndedWhenMade "ended-when-made",
        /// A runtime says that it has made a process, and there is none.
        MadeNothing "made-nothing",
        /// A console does not come.
        ConsoleMissing "console-missing",
        /// A container that the runtime has made is removed again.
        CreateUndone "create-undone",
        /// A container that was being made for nobody is removed again.
        CreateDisowned "create-disowned",
        /// An exec is started after its init's end.
        ExecAfterInit "exec-after-init",
        /// The client's fifo cannot be opened again at the end of a process.
        FifoGone "fifo-gone",
        /// A logger is not ready in time.
        LoggerLate "logger-late",
        /// A logger has ended, and nobody takes the output that it should have had.
        LoggerGone "logger-gone",
        // Ending.
        /// An init's end waits for that of an exec.
        InitAwaitsExec "init-awaits-exec",
        /// An init ends while it is being frozen or thawed.
        EndWhileFreezing "end-while-freezing",
        /// An init has ended that is frozen, and is thawed.
        DeadThawed "dead-thawed",
        /// An end cannot be written down.
        RecordFailed "record-failed",
        /// A kill for want of memory is only seen at the end that came of it.
        LateOom "late-oom",
        /// A runtime that cleans up is killed, since it takes too long.
        OverdueKilled "overdue-killed",
        // Removing.
        /// The runtime knows nothing of a container that it is to remove.
        RemovedAlready "removed-already",
        /// A root file system cannot be unmounted.
        UnmountFailed "unmount-failed",
        /// A container is removed while something is being done to one of its processes.
        JobsCutShort "jobs-cut-short",
        /// Output is lost, since nobody has read it.
        OutputLost "output-lost",
        /// `delete` finds a container whose end nobody has recorded.
        EndInvented "end-invented",
        // The classic shim.
        /// An exit status cannot be written, and is tried again.
        StatusTriedAgain "status-tried-again",
        /// Removing a container is tried again, since it has not ended yet.
        RemovalTriedAgain "removal-tried-again",
        /// What a runtime has left of a process that it could not make is killed.
        StrangersKilled "strangers-killed",
    }
}

/// Takes note of a [`Mark`]: part of every [`Host`](super::Host).
pub trait Marked {
    /// This branch is taken. Only a simulated kernel minds.
    fn mark(&self, _mark: Mark) {}
}
