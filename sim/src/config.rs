//! What a simulated machine is like.

use std::time::Duration;

use wavetank::host::Bug;

/// The settings of a simulated machine. [`Config::default`] is a plain Linux.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many descriptors a process may have (`RLIMIT_NOFILE`).
    pub descriptors: usize,
    /// Pids are below this number, then they start again (`kernel.pid_max`).
    pub pid_max: i32,
    /// Pages of 4096 bytes that a pipe or fifo holds (`F_SETPIPE_SZ`).
    pub pipe_pages: usize,
    /// Bytes that a terminal holds in each direction.
    pub terminal_bytes: usize,
    /// Memory that a socket may fill for its reader; a message takes some besides its bytes.
    pub socket_bytes: usize,
    /// Bytes that all regular files may have together; then `ENOSPC`.
    pub disk_bytes: Option<u64>,
    /// Makes one in so many reads, writes and splices a short one; 0 makes none.
    pub short_one_in: usize,
    /// Whether a timer may end before everything else that could happen has happened. Without it,
    /// time stands nearly still while any process can run.
    pub timers_race: bool,
    /// Whether the same calls of a process have the same results wherever others are who have nothing
    /// to do with it: inode and random numbers are each process's own, a call that would wait is
    /// begun when it would not, and no call takes time.
    pub orderly: bool,
    /// How much time each call takes.
    pub tick: Duration,
    /// `CLOCK_REALTIME` at the start.
    pub wall_clock: Duration,
    /// Seed of what `getrandom(2)` gives.
    pub entropy: u64,
    /// A bug that the programs are to have.
    pub planted: Option<Bug>,
    /// Whether to keep the text of the trace.
    pub trace: bool,
    /// Whether to list every call and where in the source it was made.
    pub list_calls: bool,
    /// After how many steps a run is given up.
    pub steps: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            descriptors: 1024,
            pid_max: 32768,
            pipe_pages: 16,
            terminal_bytes: 4096,
            socket_bytes: 212_992,
            disk_bytes: None,
            short_one_in: 0,
            timers_race: false,
            orderly: false,
            tick: Duration::from_micros(1),
            wall_clock: Duration::from_secs(1_767_225_600),
            entropy: 0,
            planted: None,
            trace: false,
            list_calls: false,
            steps: 1_000_000,
        }
    }
}
