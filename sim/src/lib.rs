//! A simulated kernel in which wavetank's own code runs.
//!
//! A [`World`] is a machine in memory: files, fifos, pipes, terminals, sockets, processes, signals
//! and a clock, as Linux has them. Its programs are ordinary code written against
//! [`Host`](wavetank::host::Host); every process runs on a stack of its own, and at every call
//! somebody else may go first. Who does, and everything else that may differ from run to run, is
//! one call of [`Choose`], so that a run is its list of answers and can be had again.

mod call;
mod caller;
mod checks;
mod choose;
pub mod classic;
mod config;
mod exit;
mod fault;
mod file;
mod fs;
pub mod guests;
mod host;
mod io;
mod kernel;
mod line;
mod names;
mod open;
mod pipe;
mod poll;
mod proc;
mod process;
mod pty;
mod sched;
mod signals;
mod slab;
mod socket;
mod trace;
mod wait;
mod world;

pub use call::Call;
pub use caller::SimHost;
pub use checks::{Leftover, leftovers};
pub use choose::{Choose, Odometer, Random, Recorded, Replay};
pub use config::Config;
pub use fault::{Fault, FaultKind};
pub use kernel::Program;
pub use sched::{Outcome, Waiting};
pub use trace::first_difference;
pub use world::{ProcessView, World};
