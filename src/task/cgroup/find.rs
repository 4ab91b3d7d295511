//! From a process to the directories of its cgroup.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::files::read_file;
use crate::host::{Host, Pid};

use super::Cgroup;

/// More than any list of mounts is long.
const MOUNTS_MAX: usize = 64 * 1024 * 1024;
/// More than a process has lines about its cgroups.
const CGROUPS_MAX: usize = 1024 * 1024;

/// Where a machine shows its cgroups and its processes.
pub(super) struct Machine<'a> {
    /// The directory `/sys/fs/cgroup`.
    pub(super) cgroups: &'a str,
    /// The directory `/proc`.
    pub(super) proc: &'a str,
    /// The directory `/sys/kernel/mm/hugepages`.
    pub(super) huge_pages: &'a str,
}

/// One hierarchy of version 1 as it is mounted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// The mount's options, among which are the names of its controllers.
    pub(super) options: Vec<Vec<u8>>,
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// The cgroup that is seen there; not `/` in a container.
    root: PathBuf,
}

impl Machine<'static> {
    /// The one we are on.
    pub(super) const OURS: Machine<'static> = Machine {
        cgroups: "/sys/fs/cgroup",
        proc: "/proc",
        huge_pages: "/sys/kernel/mm/hugepages",
    };
}

impl Machine<'_> {
    /// Whether the unified hierarchy is mounted where cgroups are looked for, so that there is no
    /// other. Every cgroup of version 2 has this file.
    pub(super) fn is_unified<H: Host>(&self, host: &mut H) -> bool {
        host.stat(&Path::new(self.cgroups).join("cgroup.controllers")).is_ok()
    }

    /// The hierarchies of version 1, those mounted in the usual place first.
    pub(super) fn hierarchies<H: Host>(&self, host: &mut H) -> Result<Vec<Hierarchy>, Error> {
        let mounts = read_file(host, &Path::new(self.proc).join("self/mountinfo"), MOUNTS_MAX)?;
        let mut found: Vec<_> =
            mounts.split(|byte| *byte == b'\n').filter_map(Hierarchy::parse).collect();
        found.sort_by_key(|hierarchy| !hierarchy.mount.starts_with(self.cgroups));
        Ok(found)
    }
}

impl Hierarchy {
    /// Reads a line of `mountinfo` (`proc_pid_mountinfo(5)`):
    /// `35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory`.
    fn parse(line: &[u8]) -> Option<Hierarchy> {
        let mut fields = line.split(|byte| *byte == b' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
        let kind = fields.next()?;
        let options = fields.nth(1)?;
        (kind == b"cgroup").then(|| Hierarchy {
            options: options.split(|byte| *byte == b',').map(<[u8]>::to_vec).collect(),
            mount: unescaped(mount),
            root: unescaped(root),
        })
    }

    fn has(&self, controller: &[u8]) -> bool {
        self.options.iter().any(|option| option == controller)
    }

    /// The directory of a cgroup, given as the kernel names it.
    fn directory(&self, path: &Path) -> PathBuf {
        below(&self.mount, path.strip_prefix(&self.root).unwrap_or(path))
    }
}

/// See [`Cgroup::of_process`].
pub(super) fn of_process<H: Host>(
    host: &mut H,
    pid: Pid,
    machine: &Machine<'_>,
) -> Result<Cgroup, Error> {
    let file = Path::new(machine.proc).join(pid.to_string()).join("cgroup");
    let content = read_file(host, &file, CGROUPS_MAX)?;
    let mut lines = content.split(|byte| *byte == b'\n');
    if machine.is_unified(host) {
        let path = lines
            .find_map(|line| line.strip_prefix(b"0::"))
            .ok_or_else(|| Error::invalid(file.display(), "nothing of the unified hierarchy"))?;
        let path = Path::new(OsStr::from_bytes(path));
        return Ok(Cgroup::V2 { path: below(Path::new(machine.cgroups), path) });
    }
    let hierarchies = machine.hierarchies(host)?;
    let mut directories = BTreeMap::new();
    for (controllers, path) in lines.filter_map(controllers_and_path) {
        for controller in controllers.split(|byte| *byte == b',') {
            if let Some(hierarchy) = hierarchies.iter().find(|known| known.has(controller)) {
                let name = String::from_utf8_lossy(controller).into_owned();
                directories.insert(name, hierarchy.directory(path));
            }
        }
    }
    if directories.is_empty() {
        return Err(Error::invalid(file.display(), "no cgroup that is mounted"));
    }
    Ok(Cgroup::V1 { directories })
}

/// Reads a line of `/proc/PID/cgroup` (`cgroups(7)`): `4:memory:/default/web`.
fn controllers_and_path(line: &[u8]) -> Option<(&[u8], &Path)> {
    let mut parts = line.splitn(3, |byte| *byte == b':').skip(1);
    let controllers = parts.next().filter(|names| !names.is_empty())?;
    Some((controllers, Path::new(OsStr::from_bytes(parts.next()?))))
}

/// The directory of a cgroup below a mount, whether its path begins with a slash or not.
pub(super) fn below(mount: &Path, path: &Path) -> PathBuf {
    // An empty path must not leave a slash at the end.
    path.strip_prefix("/")
        .unwrap_or(path)
        .components()
        .fold(mount.to_owned(), |place, part| place.join(part))
}

/// Undoes the `\040` that stands for a space in `mountinfo`, and its like.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut parts = field.split(|byte| *byte == b'\\');
    let mut bytes = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(part.len().min(3));
        let letter = str::from_utf8(code).ok().and_then(|code| u8::from_str_radix(code, 8).ok());
        match letter {
            Some(letter) => bytes.push(letter),
            None => bytes.extend_from_slice(code),
        }
        bytes.extend_from_slice(rest);
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}
