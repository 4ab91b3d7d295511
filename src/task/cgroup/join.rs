//! Changes to the tree of cgroups: putting a process into one, and turning controllers on.

use std::path::{Component, Path, PathBuf};

use crate::Error;
use crate::files::read_file;
use crate::host::{Errno, Host, OpenFlags, Pid, close_all, write_all};

use super::figures::FILE_MAX;
use super::find::{Machine, below};
use super::is_absent;

/// Puts a process into the cgroup `path` of the unified hierarchy, or of each hierarchy there is;
/// it is made if it is not there.
///
/// # Errors
/// The path leads out of the tree, or the first thing that could not be done; the process may be
/// in that cgroup of some hierarchies then.
pub fn join<H: Host>(host: &mut H, path: &str, pid: Pid) -> Result<(), Error> {
    join_on(host, path, pid, &Machine::OURS)
}

fn join_on<H: Host>(
    host: &mut H,
    path: &str,
    pid: Pid,
    machine: &Machine<'_>,
) -> Result<(), Error> {
    let leaves = |part| !matches!(part, Component::Normal(_) | Component::RootDir);
    if path.is_empty() || Path::new(path).components().any(leaves) {
        return Err(Error::invalid(format!("cgroup {path:?}"), "not a path from the root down"));
    }
    let tops = if machine.is_unified(host) {
        vec![PathBuf::from(machine.cgroups)]
    } else {
        machine.hierarchies(host)?.into_iter().map(|hierarchy| hierarchy.mount).collect()
    };
    for top in tops {
        let directory = below(&top, Path::new(path));
        make(host, &top, &directory)?;
        write(host, &directory.join("cgroup.procs"), &pid.to_string())?;
    }
    Ok(())
}

/// Makes a cgroup and those above it that are not there.
fn make<H: Host>(host: &mut H, top: &Path, directory: &Path) -> Result<(), Error> {
    let mut chain: Vec<_> = directory.ancestors().take_while(|above| *above != top).collect();
    chain.reverse();
    for directory in chain {
        match host.mkdir(directory, 0o755) {
            Ok(()) => inherit_cpuset(host, directory)?,
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(Error::system("mkdir", directory.display(), errno)),
        }
    }
    Ok(())
}

/// A new cpuset of version 1 has no processors and no memory, and nobody may enter it so.
fn inherit_cpuset<H: Host>(host: &mut H, directory: &Path) -> Result<(), Error> {
    let Some(parent) = directory.parent() else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        match read_file(host, &parent.join(file), FILE_MAX) {
            Ok(content) => {
                let own = directory.join(file);
                write(host, &own, String::from_utf8_lossy(&content).trim())?;
            }
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// See [`Cgroup::enable_controllers`](super::Cgroup::enable_controllers).
pub(super) fn enable_controllers<H: Host>(host: &mut H, cgroup: &Path) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut above: Vec<_> = cgroup.ancestors().skip(1).collect();
    above.reverse();
    for directory in above {
        match missing_controllers(host, directory) {
            Ok(missing) => {
                let control = directory.join("cgroup.subtree_control");
                // One at a time: one that cannot be turned on must not keep the others off.
                let turn_on = |name: String| write(host, &control, &format!("+{name}")).err();
                errors.extend(missing.into_iter().filter_map(turn_on));
            }
            // Above the root there are directories, but no cgroups.
            Err(error) if is_absent(&error) => {}
            Err(error) => errors.push(error),
        }
    }
    errors
}

/// The controllers that the cgroups in a directory could have and do not.
fn missing_controllers<H: Host>(host: &mut H, directory: &Path) -> Result<Vec<String>, Error> {
    let mut names = |file| {
        let content = read_file(host, &directory.join(file), FILE_MAX)?;
        let text = String::from_utf8_lossy(&content).into_owned();
        Ok(text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let mut missing = names("cgroup.controllers")?;
    let enabled = names("cgroup.subtree_control")?;
    missing.retain(|name| !enabled.contains(name));
    Ok(missing)
}

/// Writes a word to a file of a cgroup, in one call, as the kernel wants it.
pub(super) fn write<H: Host>(host: &mut H, path: &Path, word: &str) -> Result<(), Error> {
    let failed = |call| move |errno| Error::system(call, path.display(), errno);
    let fd = host.open(path, OpenFlags::WRITE, 0).map_err(failed("open"))?;
    let written = write_all(host, fd, word.as_bytes()).map_err(failed("write"));
    close_all(host, [fd]);
    written
}
