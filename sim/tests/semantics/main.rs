//! What the simulated kernel does, rule by rule, as programs see it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod cgroups;
mod common;
mod faults;
mod fifos;
mod files;
mod guests;
mod mounts;
mod paths;
mod pipes;
mod processes;
mod ptys;
mod runtime;
mod schedules;
mod signals;
mod sockets;
mod surroundings;
