//! Reading the small files of a cgroup.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::files::read_file;
use crate::host::{Errno, Host};

use super::find::Machine;
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
        for entry in entries.iter().filter(|entry| !is_kernels_own(entry)) {
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

/// The kernel's files in a cgroup, which are many: no need to look whether they are cgroups.
fn is_kernels_own(entry: &OsStr) -> bool {
    const CONTROLLERS: [&str; 16] = [
        "blkio",
        "cgroup",
        "cpu",
        "cpuacct",
        "cpuset",
        "devices",
        "freezer",
        "hugetlb",
        "io",
        "memory",
        "misc",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
        "rdma",
    ];
    let name = entry.to_str().unwrap_or_default();
    match name.split_once('.') {
        Some((controller, _)) => CONTROLLERS.contains(&controller),
        None => matches!(name, "tasks" | "notify_on_release" | "release_agent"),
    }
}

/// A directory has files beside the cgroups below it, and a cgroup of threads has no processes.
fn is_no_cgroup(error: &Error) -> bool {
    matches!(error, Error::System { errno: Errno::ENOTDIR | Errno::EOPNOTSUPP, .. })
}

fn read_text<H: Host>(host: &mut H, path: &Path) -> Result<String, Error> {
    let content = read_file(host, path, FILE_MAX)?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// The files of one cgroup. One that is not on this machine, or not in this cgroup, or not in use,
/// is as good as empty.
pub(super) struct Files<'a, H> {
    /// Who reads them.
    pub(super) host: &'a mut H,
    /// Where they are.
    pub(super) directory: &'a Path,
}

impl<H: Host> Files<'_, H> {
    /// Reads a file.
    pub(super) fn text(&mut self, name: &str) -> Result<String, Error> {
        match read_text(self.host, &self.directory.join(name)) {
            Err(error) if is_absent(&error) || is_no_cgroup(&error) => Ok(String::new()),
            answer => answer,
        }
    }

    /// Reads a file that holds one number; 0 if it is not there.
    pub(super) fn number(&mut self, name: &str) -> Result<u64, Error> {
        Ok(number(&self.text(name)?))
    }
}

/// A number as the kernel writes it; no limit is `max`, and the greatest there is.
pub(super) fn number(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        digits => digits.parse().unwrap_or(0),
    }
}

/// A file of lines like `oom_kill 0`.
pub(super) struct Table<'a>(BTreeMap<&'a str, u64>);

impl<'a> Table<'a> {
    /// Reads the lines that are of that kind.
    pub(super) fn parse(text: &'a str) -> Table<'a> {
        let pair = |line: &'a str| line.split_once(' ').map(|(key, value)| (key, number(value)));
        Table(text.lines().filter_map(pair).collect())
    }

    /// The number of a key.
    pub(super) fn find(&self, key: &str) -> Option<u64> {
        self.0.get(key).copied()
    }

    /// The number of a key; 0 if it is not there.
    pub(super) fn get(&self, key: &str) -> u64 {
        self.find(key).unwrap_or(0)
    }
}

/// A message with fields set from the lines of a table that have the same names.
macro_rules! filled {
    ($message:ident, $table:expr, [$($field:ident),+ $(,)?]) => {
        $message {
            $($field: $table.get(stringify!($field)),)+
            ..Default::default()
        }
    };
}
pub(super) use filled;

/// The devices of a file with lines like `mlx4_0 hca_handle=2 hca_object=max` (`rdma.max`), with
/// the two numbers; no limit is the greatest there is.
pub(super) fn rdma_devices(text: &str) -> impl Iterator<Item = (&str, u32, u32)> {
    text.lines().filter_map(|line| {
        let (device, rest) = line.split_once(' ')?;
        let value_of = |key| {
            let value = rest.split(' ').find_map(|pair| pair.strip_prefix(key)).unwrap_or_default();
            u32::try_from(number(value)).unwrap_or(u32::MAX)
        };
        Some((device, value_of("hca_handle="), value_of("hca_object=")))
    })
}

/// The sizes of huge pages that the machine has, as the files of a cgroup name them: `2MB`.
pub(super) fn huge_page_sizes<H: Host>(host: &mut H, machine: &Machine<'_>) -> Vec<String> {
    let directory = Path::new(machine.huge_pages);
    // A kernel without huge pages does not have it.
    let entries = host.list(directory).unwrap_or_default();
    entries.iter().filter_map(|entry| size_name(entry.to_str()?)).collect()
}

/// From `hugepages-2048kB` to `2MB`.
fn size_name(directory: &str) -> Option<String> {
    let digits = directory.strip_prefix("hugepages-")?.strip_suffix("kB")?;
    let kilobytes: u64 = digits.parse().ok()?;
    Some(match kilobytes {
        0x10_0000.. => format!("{}GB", kilobytes >> 20),
        0x400.. => format!("{}MB", kilobytes >> 10),
        _ => format!("{kilobytes}KB"),
    })
}
