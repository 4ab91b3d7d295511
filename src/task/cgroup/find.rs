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
        let digits = str::from_utf8(code).ok().filter(|digits| digits.len() == 3);
        let letter = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match letter {
            Some(letter) => bytes.push(letter),
            None => bytes.extend([b"\\", code].concat()),
        }
        bytes.extend_from_slice(rest);
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::fake::Fake;
    use super::*;
    use crate::host::LinuxHost;

    /// A process in cgroups of version 1, and in one of the unified hierarchy besides.
    const HYBRID: &str = "12:cpu,cpuacct:/default/web\n4:memory:/default/web\n2:rdma:/\n\
                          1:name=systemd:/default/web\n0::/default/web\n";

    fn mounts(fake: &Fake, root: &str) -> String {
        let cgroups = fake.path("cgroup");
        let cgroups = cgroups.display();
        format!(
            "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
             35 31 0:32 / /var/lib/web/sys\\040cgroup/memory ro - cgroup cgroup rw,memory\n\
             31 23 0:28 / {cgroups} rw shared:9 - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 {root} {cgroups}/cpu,cpuacct rw shared:2 - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 {root} {cgroups}/memory rw,relatime shared:3 - cgroup cgroup rw,memory\n\
             36 31 0:33 {root} {cgroups}/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             37 31 0:38 {root} {cgroups}/unified rw - cgroup2 cgroup2 rw\n\
             a line of something else\n"
        )
    }

    fn find(fake: &Fake) -> Result<Cgroup, Error> {
        of_process(&mut LinuxHost::new(), Pid(42), &fake.machine())
    }

    #[rstest]
    #[case::all_of_it("/")]
    #[case::in_a_container("/default")]
    fn on_a_hybrid_machine_each_controller_has_its_directory(#[case] root: &str) {
        let fake = Fake::new(&[("proc/42/cgroup", HYBRID)]);
        fake.write("proc/self/mountinfo", &mounts(&fake, root));
        let inner = if root == "/" { "default/web" } else { "web" };
        let directory = |mount| fake.path("cgroup").join(mount).join(inner);
        let expected = [
            ("cpu", directory("cpu,cpuacct")),
            ("cpuacct", directory("cpu,cpuacct")),
            ("memory", directory("memory")),
            ("name=systemd", directory("systemd")),
        ];
        let directories = expected.map(|(name, path)| (name.to_owned(), path)).into();
        assert_eq!(find(&fake), Ok(Cgroup::V1 { directories }));
    }

    #[rstest]
    #[case::below("0::/kubepods.slice/cri-1.scope\n", "/kubepods.slice/cri-1.scope")]
    #[case::root("0::/\n", "")]
    #[case::named_besides("1:name=systemd:/x\n0::/web\n", "/web")]
    fn on_a_unified_machine_there_is_one_directory(#[case] lines: &str, #[case] path: &str) {
        let fake = Fake::new(&[("proc/42/cgroup", lines), ("cgroup/cgroup.controllers", "cpu\n")]);
        let path = PathBuf::from(format!("{}{path}", fake.path("cgroup").display()));
        assert_eq!(find(&fake), Ok(Cgroup::V2 { path }));
    }

    #[rstest]
    #[case::gone(None, "open {}: no such file or directory (ENOENT)")]
    #[case::not_mounted(Some("4:hugetlb:/web\n0::/web\n"), "{}: no cgroup that is mounted")]
    #[case::empty(Some(""), "{}: no cgroup that is mounted")]
    #[case::nonsense(Some("what:\n\n::\n"), "{}: no cgroup that is mounted")]
    fn what_cannot_be_found_is_told(#[case] lines: Option<&str>, #[case] message: &str) {
        let fake = Fake::new(&[]);
        fake.write("proc/self/mountinfo", &mounts(&fake, "/"));
        if let Some(lines) = lines {
            fake.write("proc/42/cgroup", lines);
        }
        let file = fake.path("proc/42/cgroup").display().to_string();
        assert_eq!(find(&fake).unwrap_err().to_string(), message.replace("{}", &file));
    }

    #[rstest]
    #[case(r"/plain", "/plain")]
    #[case(r"/a\040b\134c", r"/a b\c")]
    #[case(r"/end\04", r"/end\04")]
    #[case(r"/end\", r"/end\")]
    fn escapes_of_mountinfo_are_undone(#[case] field: &str, #[case] path: &str) {
        assert_eq!(unescaped(field.as_bytes()), PathBuf::from(path));
    }

    #[test]
    fn our_own_cgroup_is_found_on_this_machine() {
        let host = &mut LinuxHost::new();
        let pid = host.pid();
        let cgroup = Cgroup::of_process(host, pid).unwrap();
        assert!(cgroup.pids(host).unwrap().contains(&pid), "{cgroup:?}");
    }
}
