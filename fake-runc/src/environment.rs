//! Environment variables, and the search for programs.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use wavetank::host::{self, Errno, FileKind, Host};

use crate::error::{Error, Result};

/// Where programs are looked for when nobody says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A variable of our own environment, if it is set and not empty.
pub(crate) fn variable<H: Host>(host: &mut H, name: &str) -> Option<OsString> {
    value_in(&host.environment(), name)
}

fn value_in(environment: &[OsString], name: &str) -> Option<OsString> {
    let value = host::variable(environment, name).filter(|value| !value.is_empty());
    value.map(OsStr::to_owned)
}

/// Finds the file of a program as `execvp(3)` does: in the `PATH` that it will have, or else ours.
pub(crate) fn find_program<H: Host>(
    host: &mut H,
    name: &str,
    environment: Option<&[OsString]>,
    cwd: &Path,
) -> Result<PathBuf> {
    let unable = |what: &dyn std::fmt::Display| {
        Error::new(format!("unable to start container process: exec: \"{name}\": {what}"))
    };
    if name.contains('/') {
        let path = cwd.join(name);
        return executable(host, &path).map(|()| path).map_err(|errno| unable(&errno));
    }
    let theirs = environment.and_then(|environment| value_in(environment, "PATH"));
    let directories =
        theirs.or_else(|| variable(host, "PATH")).unwrap_or_else(|| DEFAULT_PATH.into());
    directories
        .as_bytes()
        .split(|byte| *byte == b':')
        .map(|directory| cwd.join(OsStr::from_bytes(directory)).join(name))
        .find(|path| executable(host, path).is_ok())
        .ok_or_else(|| unable(&"executable file not found in $PATH"))
}

fn executable<H: Host>(host: &mut H, path: &Path) -> std::result::Result<(), Errno> {
    let stat = host.stat(path)?;
    match stat.kind {
        FileKind::Regular if stat.mode & 0o111 != 0 => Ok(()),
        _ => Err(Errno::EACCES),
    }
}
