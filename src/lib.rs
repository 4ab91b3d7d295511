//! Wavetank: a containerd shim whose every system call goes through one door, [`host::Host`].
//!
//! `ARCHITECTURE.md` is the map.

pub mod classic;
pub mod files;
pub mod host;
pub mod manager;
pub mod oci;
pub mod process;
pub mod stdio;
pub mod supervisor;
pub mod task;
pub mod ttrpc;

mod error;
mod json;

pub use error::Error;
