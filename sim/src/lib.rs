//! A simulated kernel in which wavetank's own code runs.
//!
//! A [`World`] is a machine in memory: files, fifos, pipes, terminals, sockets, mounts, processes,
//! signals and a clock, as Linux has them. Its programs are ordinary code written against
//! [`Host`](wavetank::host::Host); every process runs on a stack of its own, and at every call
//! somebody else may go first. Who does, and everything else that may differ from run to run, is
//! one call of [`Choose`], so that a run is its list of answers and can be had again.
//!
//! ```
//! use std::path::Path;
//! use wavetank::host::{Host, OpenFlags, write_all};
//! use wavetank_sim::{Config, Odometer, Outcome, World};
//!
//! // Two programs write to one file; every order of their calls is tried.
//! let mut odometer = Odometer::new();
//! let mut contents = std::collections::BTreeSet::new();
//! loop {
//!     let mut world = World::new(Config::default());
//!     for name in ["a", "b"] {
//!         world.add_program(format!("/bin/{name}"), |host, argv| {
//!             let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::APPEND;
//!             let Ok(fd) = host.open(Path::new("/log"), flags, 0o644) else { return 1 };
//!             i32::from(write_all(host, fd, argv[0].as_encoded_bytes()).is_err())
//!         });
//!         world.start(format!("/bin/{name}"), &[name]).unwrap();
//!     }
//!     assert_eq!(world.run(&mut odometer), Outcome::Done);
//!     assert!(world.exits().iter().all(|(_, status)| status.success()));
//!     contents.extend(world.text("/log"));
//!     if !odometer.advance() {
//!         break;
//!     }
//! }
//! assert!(contents.iter().eq(["ab", "ba"]));
//! ```

mod call;
mod caller;
mod cgroup;
mod checks;
mod choose;
pub mod classic;
mod config;
mod counter;
mod coverage;
pub mod crash;
mod directory;
pub mod errnos;
mod event;
pub mod exhaust;
mod exit;
mod fault;
mod file;
mod flow;
mod fs;
pub mod fuzz;
pub mod guests;
mod host;
mod io;
mod kernel;
mod line;
mod mounts;
pub mod museum;
mod names;
mod open;
mod pct;
mod pid_space;
mod pipe;
mod poll;
mod proc;
mod process;
mod processes;
mod pty;
mod run;
mod sched;
pub mod show;
mod shrink;
mod signals;
mod site;
mod slab;
mod socket;
mod swarm;
pub mod sweep;
mod tape;
pub mod task;
mod touch;
mod trace;
mod trouble;
mod wait;
mod world;

pub use call::Call;
pub use caller::SimHost;
pub use checks::{Leftover, leftovers};
pub use choose::{Bytes, Choose, Lazy, Odometer, Random, Recorded, Replay, Seen, Turn};
pub use config::Config;
pub use coverage::Coverage;
pub use event::{Choice, Event, What};
pub use fault::{Fault, FaultKind};
pub use flow::{Case, Flow};
pub use kernel::{LateReap, Program};
pub use pct::Pct;
pub use run::{Failure, Run};
pub use sched::{Outcome, Waiting};
pub use shrink::shrink;
pub use site::{Made, Site};
pub use tape::{Tape, TapeError};
pub use trace::first_difference;
pub use trouble::Trouble;
pub use world::{MountView, ProcessView, World};
