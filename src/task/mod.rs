//! The second front door: the runtime v2 shim of containerd 1.6 to 2.x, Docker and Kubernetes.

mod arguments;
mod bootstrap;
mod cgroup;
mod delete;
mod events;
mod info;
mod mounts;
mod options;
mod shim;
mod start;

use std::ffi::OsString;

use crate::host::{Fd, Host, write_all};

/// The name that containerd knows us by.
const RUNTIME: &str = "io.containerd.wavetank.v2";

/// The program: `argv` with its own name first; gives the exit code.
pub fn main<H: Host>(host: &mut H, argv: &[OsString]) -> i32 {
    if argv.get(1).is_some_and(|action| action == "mount") {
        return mounts::child(host);
    }
    1
}

/// Says why the program cannot even begin, and gives the exit code for that.
pub fn refuse<H: Host>(host: &mut H, reason: &str) -> i32 {
    // Whoever closed stderr does not want to know.
    let _ = write_all(host, Fd(2), format!("{RUNTIME}: {reason}").as_bytes());
    1
}
