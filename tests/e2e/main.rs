//! The real programs, end to end: what a daemon of containerd 0.2, a runtime and a client see of
//! them. The runtime is the bundled `fake-runc`, but for the tests in `runc`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs
)]

mod argv;
mod bad_input;
mod control;
mod design_bugs;
mod exit;
mod fixtures;
mod record;
mod run;
mod runc;
mod stdio;
mod support;
mod surroundings;
mod tty;
mod v2_cli;
mod v2_events;
mod v2_exec;
mod v2_group;
mod v2_life;
mod v2_mounts;
mod v2_museum;
mod v2_orders;
mod v2_refusals;
mod v2_sinks;
mod v2_slow;
mod v2_stdio;
