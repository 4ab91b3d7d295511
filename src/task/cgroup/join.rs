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
pub(crate) fn join<H: Host>(host: &mut H, path: &str, pid: Pid) -> Result<(), Error> {
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
    let unified = machine.is_unified(host);
    let tops = if unified {
        vec![PathBuf::from(machine.cgroups)]
    } else {
        machine.hierarchies(host)?.into_iter().map(|hierarchy| hierarchy.mount).collect()
    };
    for top in tops {
        let directory = below(&top, Path::new(path));
        for made in make(host, &top, &directory)?.into_iter().filter(|_| !unified) {
            inherit_cpuset(host, made)?;
        }
        write(host, &directory.join("cgroup.procs"), &pid.to_string())?;
    }
    Ok(())
}

/// Makes a cgroup and those above it that are not there; tells which these were, from the top down.
fn make<'a, H: Host>(
    host: &mut H,
    top: &Path,
    directory: &'a Path,
) -> Result<Vec<&'a Path>, Error> {
    let mut chain: Vec<_> = directory.ancestors().take_while(|above| *above != top).collect();
    chain.reverse();
    let mut made = Vec::new();
    for directory in chain {
        match host.mkdir(directory, 0o755) {
            Ok(()) => made.push(directory),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(Error::system("mkdir", directory.display(), errno)),
        }
    }
    Ok(made)
}

/// A new cpuset of version 1 has no processors and no memory, and nobody may enter it so. In
/// version 2 it has those of the one above, and these files are there only where the controller is
/// on.
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::fake::Fake;
    use super::*;
    use crate::host::LinuxHost;

    fn content(fake: &Fake, name: &str) -> String {
        let content = read_file(&mut LinuxHost::new(), &fake.path(name), FILE_MAX).unwrap();
        String::from_utf8(content).unwrap()
    }

    #[test]
    fn what_is_not_turned_on_is_turned_on_from_the_root_down() {
        let all = ("io pids\n", "pids\n");
        let fake = Fake::new(&[
            ("cgroup/cgroup.controllers", all.0),
            ("cgroup/cgroup.subtree_control", all.0),
            ("cgroup/pod/cgroup.controllers", all.0),
            ("cgroup/pod/cgroup.subtree_control", "io\n"),
            ("cgroup/pod/web/cgroup.controllers", all.1),
            ("cgroup/pod/web/cgroup.subtree_control", ""),
        ]);
        let web = fake.path("cgroup/pod/web");
        assert_eq!(enable_controllers(&mut LinuxHost::new(), &web), []);
        assert_eq!(content(&fake, "cgroup/cgroup.subtree_control"), all.0);
        assert_eq!(content(&fake, "cgroup/pod/cgroup.subtree_control"), "+pids");
        assert_eq!(content(&fake, "cgroup/pod/web/cgroup.subtree_control"), "");
    }

    #[test]
    fn a_cgroup_that_cannot_be_changed_is_told_of_and_the_next_one_is_tried() {
        let fake = Fake::new(&[
            ("cgroup/cgroup.controllers", "cpu io\n"),
            ("cgroup/cgroup.subtree_control/not-a-file", ""),
            ("cgroup/pod/cgroup.controllers", "cpu\n"),
            ("cgroup/pod/cgroup.subtree_control", ""),
        ]);
        let errors = enable_controllers(&mut LinuxHost::new(), &fake.path("cgroup/pod/web"));
        let subject = fake.path("cgroup/cgroup.subtree_control");
        assert_eq!(errors, [Error::system("read", subject.display(), Errno::EISDIR)]);
        assert_eq!(content(&fake, "cgroup/pod/cgroup.subtree_control"), "+cpu");
    }

    #[test]
    fn a_new_cpuset_is_made_usable_before_it_is_entered() {
        let fake = Fake::new(&[("top/cpuset.cpus", "0-1\n"), ("top/cpuset.mems", "0\n")]);
        let host = &mut LinuxHost::new();
        host.mkdir(&fake.path("top/a"), 0o755).unwrap();
        fake.write("top/a/cpuset.cpus", "");
        fake.write("top/a/cpuset.mems", "");
        inherit_cpuset(host, &fake.path("top/a")).unwrap();
        assert_eq!(content(&fake, "top/a/cpuset.cpus"), "0-1");
        assert_eq!(content(&fake, "top/a/cpuset.mems"), "0");
    }

    #[test]
    fn a_process_joins_every_hierarchy() {
        let fake = Fake::new(&[
            ("cgroup/memory/shims/mine/cgroup.procs", ""),
            ("cgroup/pids/shims/mine/cgroup.procs", ""),
        ]);
        let root = fake.path("cgroup");
        let mount = |name: &str| {
            format!("35 31 0:32 / {}/{name} rw - cgroup cgroup rw,{name}\n", root.display())
        };
        fake.write("proc/self/mountinfo", &format!("{}{}", mount("memory"), mount("pids")));
        join_on(&mut LinuxHost::new(), "/shims/mine", Pid(42), &fake.machine()).unwrap();
        assert_eq!(content(&fake, "cgroup/memory/shims/mine/cgroup.procs"), "42");
        assert_eq!(content(&fake, "cgroup/pids/shims/mine/cgroup.procs"), "42");
    }

    #[rstest]
    #[case("/shims", "cgroup/shims/cgroup.procs")]
    #[case("shims/mine", "cgroup/shims/mine/cgroup.procs")]
    #[case::cpusets_are_on_above("/on/mine", "cgroup/on/mine/cgroup.procs")]
    fn a_cgroup_is_made_if_it_is_not_there(#[case] path: &str, #[case] file: &str) {
        let fake = Fake::new(&[
            ("cgroup/cgroup.controllers", "cpu\n"),
            ("cgroup/on/cpuset.cpus", "\n"),
            ("cgroup/on/cpuset.mems", "\n"),
        ]);
        let error = join_on(&mut LinuxHost::new(), path, Pid(42), &fake.machine()).unwrap_err();
        // A directory that the kernel does not fill has no such file.
        let file = fake.path(file);
        assert_eq!(error, Error::system("open", file.display(), Errno::ENOENT));
        assert!(LinuxHost::new().list(file.parent().unwrap()).unwrap().is_empty());
    }

    #[rstest]
    #[case("")]
    #[case("/../..")]
    #[case("/shims/../../etc")]
    #[case("./shims")]
    fn a_path_that_leads_elsewhere_is_refused(#[case] path: &str) {
        let fake = Fake::new(&[("cgroup/cgroup.controllers", "cpu\n")]);
        let error = join_on(&mut LinuxHost::new(), path, Pid(42), &fake.machine()).unwrap_err();
        let reason = format!("cgroup {path:?}: not a path from the root down");
        assert_eq!(error.to_string(), reason);
    }
}
