//! Reading the small files of a cgroup.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::files::read_file;
use crate::host::{Errno, Host};

use super::is_absent;

/// More than any file of a cgroup holds.
pub(super) const FILE_MAX: usize = 16 * 1024 * 1024;

/// Reads the file of this name in a cgroup and in every cgroup below it, and tells in which
/// directories they were.
///
/// # Errors
/// The file that could not be read; cgroups below that go away meanwhile are none.
pub(super) fn read_tree<H: Host>(
    host: &mut H,
    top: &Path,
    name: &str,
) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut found = vec![(top.to_owned(), read_text(host, &top.join(name))?)];
    let mut unlisted = vec![top.to_owned()];
    while let Some(directory) = unlisted.pop() {
        let entries = match host.list(&directory) {
            Err(Errno::ENOENT | Errno::ENODEV) => continue,
            entries => {
                entries.map_err(|errno| Error::system("list", directory.display(), errno))?
            }
        };
        for entry in entries {
            let child = directory.join(entry);
            match read_text(host, &child.join(name)) {
                Ok(content) => {
                    found.push((child.clone(), content));
                    unlisted.push(child);
                }
                Err(error) if is_absent(&error) || is_no_cgroup(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

/// A directory has files beside the cgroups below it, and a cgroup of threads has no processes.
fn is_no_cgroup(error: &Error) -> bool {
    matches!(error, Error::System { errno: Errno::ENOTDIR | Errno::EOPNOTSUPP, .. })
}

fn read_text<H: Host>(host: &mut H, path: &Path) -> Result<String, Error> {
    let content = read_file(host, path, FILE_MAX)?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// Reads a file that is not on every machine, or not in every cgroup. If it is not there, or not
/// in use, it is empty.
pub(super) fn read_if_there<H: Host>(host: &mut H, path: &Path) -> Result<String, Error> {
    match read_text(host, path) {
        Err(error) if is_absent(&error) || is_no_cgroup(&error) => Ok(String::new()),
        answer => answer,
    }
}

/// A number as the kernel writes it; no limit is `max`, and the greatest there is.
pub(super) fn number(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        digits => digits.parse().unwrap_or(0),
    }
}

/// Reads a file that holds one number; 0 if it is not there.
pub(super) fn read_number<H: Host>(host: &mut H, path: &Path) -> Result<u64, Error> {
    Ok(number(&read_if_there(host, path)?))
}

/// The number of a key in a file of lines like `oom_kill 0`.
pub(super) fn value_of(text: &str, key: &str) -> Option<u64> {
    pairs(text).find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// The keys and numbers of a file of lines like `oom_kill 0`.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| line.split_once(' ')).map(|(key, value)| (key, number(value)))
}
