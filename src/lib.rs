//! Wavetank: a containerd shim whose every system call goes through one door.

pub mod host;
