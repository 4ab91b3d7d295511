//! What a daemon is to do, and what it has seen.

use wavetank::host::{Pid, Signal, WindowSize};
use wavetank::oci::Dialect;

/// What the daemon is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The runtime, by its name in `/bin`.
    pub runtime: &'static str,
    /// The runtime's dialect, told to the shim.
    pub dialect: Dialect,
    /// Further environment of the shim.
    pub env: Vec<String>,
    /// The processes, the container's first one first. The others are started once it is there,
    /// and its input is kept open until they have ended.
    pub processes: Vec<Process>,
    /// From the start of the shim on all orders are tried, where somebody does that; the daemon
    /// then reads what it is told when nobody else can go on.
    pub race: bool,
}

/// One process, and what its client does.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// `init`, or the exec's id.
    pub id: String,
    /// It has a terminal.
    pub terminal: bool,
    /// A checkpoint to restore it from.
    pub checkpoint: String,
    /// What the client writes.
    pub input: Vec<u8>,
    /// The window's size, told right at the start.
    pub size: Option<WindowSize>,
    /// A signal for the process as soon as its output is as long as this.
    pub signal: Option<(Signal, usize)>,
    /// A fifo that the client has forgotten to make.
    pub without: Option<&'static str>,
    /// Lines for the control fifo before anything else.
    pub control: String,
    /// The client leaves after so many bytes of output, and comes back.
    pub leaves_after: Option<usize>,
}

/// What the daemon saw of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Which process.
    pub process: String,
    /// Its pid, if it was told.
    pub pid: Option<Pid>,
    /// The exit code of its shim.
    pub shim_code: Option<i32>,
    /// What `exitStatus` said when the exit fifo hung up.
    pub status: Option<String>,
    /// Its output.
    pub stdout: Vec<u8>,
    /// Its other output.
    pub stderr: Vec<u8>,
    /// `shim-log.json`.
    pub shim_log: String,
    /// Something that a daemon must not see.
    pub astonished: Option<String>,
}
