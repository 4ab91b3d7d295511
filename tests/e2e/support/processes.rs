//! Processes by their pid. Nothing here ever waits for just any child: tests run at the same time,
//! and each has its own.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Once;

use wavetank::host::{Host, LinuxHost, Pid, Signal, WaitFor};

use super::until;

/// Children of dead shims become ours, where they can be seen and reaped.
pub(crate) fn become_subreaper() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| LinuxHost::new().become_subreaper().unwrap());
}

pub(crate) fn signal(pid: i32, number: i32) {
    LinuxHost::new().kill(Pid(pid), Signal(number)).unwrap();
}

/// Kills a process of ours, and reaps it if it is our child.
pub(crate) fn kill(pid: i32) {
    let _ = LinuxHost::new().kill(Pid(pid), Signal::KILL);
    until(&format!("{pid} is dead"), || has_ended(pid));
    reap(pid);
}

/// Reaps a child that has ended; what is no child of ours is not reaped.
pub(crate) fn reap(pid: i32) {
    let _ = LinuxHost::new().wait(WaitFor::Pid(Pid(pid)), false);
}

/// A field of `/proc/PID/stat`, counted as in `proc_pid_stat(5)`, of those after the name.
pub(crate) fn stat_field(pid: i32, number: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(number - 3).map(str::to_owned)
}

/// Whether a process is there, and more than a zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    stat_field(pid, 3).is_some_and(|state| !["Z", "X"].contains(&&*state))
}

pub(crate) fn has_ended(pid: i32) -> bool {
    !is_alive(pid)
}

#[track_caller]
pub(crate) fn wait_for_end(pid: i32) {
    until(&format!("process {pid} has ended"), || has_ended(pid));
}

pub(super) fn command_line(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

fn all() -> impl Iterator<Item = i32> {
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok())
}

/// Processes with this variable in the environment that they were started with. A zombie has none.
pub(super) fn with_variable(name: &str, value: &Path) -> Vec<i32> {
    let entry = [name.as_bytes(), b"=", value.as_os_str().as_bytes()].concat();
    let has_it = |pid: &i32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|e| e == entry))
    };
    all().filter(has_it).collect()
}

/// Reaps what the shims of this place have left to us and what has ended since: it is in a group,
/// or a session, of a process that was known here.
pub(crate) fn groups_gone(place: &Path) {
    let mut known: Vec<String> = Vec::new();
    let entries = |path| fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
    for path in entries(place.to_owned()).chain(entries(place.join("state/c1"))) {
        let file = if path.is_dir() { path.join("pid") } else { path };
        if file.extension().is_some_and(|end| end == "shim-pid") || file.ends_with("pid") {
            known.extend(fs::read_to_string(file));
        }
    }
    let ours = std::process::id().to_string();
    for pid in all() {
        let is_our_zombie = stat_field(pid, 3).as_deref() == Some("Z")
            && stat_field(pid, 4).as_ref() == Some(&ours);
        let belongs = |field| stat_field(pid, field).is_some_and(|id| known.contains(&id));
        if is_our_zombie && (belongs(5) || belongs(6)) {
            reap(pid);
        }
    }
}
