//! What the simulated kernel does, rule by rule, as programs see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;
mod fifos;
