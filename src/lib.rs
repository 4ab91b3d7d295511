//! Wavetank: a containerd shim whose every system call goes through one door, [`host::Host`].
//!
//! `ARCHITECTURE.md` is the map.

pub mod host;
pub mod oci;

mod error;
mod json;

pub use error::Error;
