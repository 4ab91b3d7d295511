//! File systems of the user space (`mount.fuse3(8)`, `fusermount3(1)`): programs mount them.

use std::ffi::OsString;
use std::path::Path;

use super::Mount;
use crate::Error;
use crate::host::{Command, Errno, ExitStatus, Host, Pid, WaitFor, close_all, read_from_start};
use crate::oci::find_program;
use crate::stdio::open_null;

/// The program that mounts this type of file system, and the type as that program knows it; `None`
/// if the kernel does it itself.
pub(super) fn of_kind(kind: &str) -> Option<(&'static str, &str)> {
    let helpers = [("fuse.", "mount.fuse"), ("fuse3.", "mount.fuse3")];
    helpers.into_iter().find_map(|(prefix, helper)| Some((helper, kind.strip_prefix(prefix)?)))
}

/// Has a helper mount. The file system's own process outlives it, and is an orphan.
///
/// # Errors
/// There is no such program, it cannot be started, or what it said when it failed.
pub(super) fn mount<H: Host>(
    host: &mut H,
    (helper, kind): (&str, &str),
    mount: &Mount,
    target: &Path,
) -> Result<(), Error> {
    let mut arguments = vec![OsString::from(&mount.source), target.into()];
    for option in &mount.options {
        arguments.extend(["-o".into(), option.into()]);
    }
    arguments.extend(["-t".into(), kind.into()]);
    run(host, helper, arguments)
}

/// Has the mount taken away by who may: a user's own mounts are the business of a program that is
/// set-user-id-root.
///
/// # Errors
/// As [`mount`].
pub(super) fn unmount<H: Host>(host: &mut H, target: &Path) -> Result<(), Error> {
    let arguments = || vec![OsString::from("-u"), target.into()];
    run(host, "fusermount3", arguments()).or_else(|_| run(host, "fusermount", arguments()))
}

/// Runs a program to its end.
fn run<H: Host>(host: &mut H, name: &str, arguments: Vec<OsString>) -> Result<(), Error> {
    let env = host.environment();
    let program = find_program(host, Path::new(name), &env)
        .ok_or_else(|| Error::invalid(name, "not installed on system"))?;
    let null = open_null(host)?;
    // Not a pipe: the file system's own process may keep it open for ever.
    let said = host.memory_file().map_err(|errno| Error::system("memfd_create for", name, errno));
    let ended = said.and_then(|said| {
        let argv = [name.into()].into_iter().chain(arguments).collect();
        let fds = vec![null, said, said];
        let ended = run_to_end(host, &Command { program, argv, fds, ..Command::default() });
        let told = ended.and_then(|status| {
            if status.success() {
                Ok(())
            } else {
                let text = read_from_start(host, said, usize::MAX).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                Err(Error::invalid(name, format!("{status}: {}", text.trim_end())))
            }
        });
        close_all(host, [said]);
        told
    });
    close_all(host, [null]);
    ended
}

fn run_to_end<H: Host>(host: &mut H, command: &Command) -> Result<ExitStatus, Error> {
    let pid = host
        .spawn(command)
        .map_err(|error| Error::system("start", command.program.display(), error.errno))?;
    wait_for(host, pid)
}

/// Waits for the end of a child.
pub(super) fn wait_for<H: Host>(host: &mut H, pid: Pid) -> Result<ExitStatus, Error> {
    loop {
        match host.wait(WaitFor::Pid(pid), true) {
            Ok(Some(exit)) => return Ok(exit.status),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::system("wait4", pid, errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("fuse.sshfs", Some(("mount.fuse", "sshfs")))]
    #[case("fuse3.fuse-overlayfs", Some(("mount.fuse3", "fuse-overlayfs")))]
    #[case("fuse", None)]
    #[case("fuseblk", None)]
    #[case("overlay", None)]
    fn who_mounts_what(#[case] kind: &str, #[case] helper: Option<(&'static str, &str)>) {
        assert_eq!(of_kind(kind), helper);
    }
}
