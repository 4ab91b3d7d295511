//! Mounts in which files have other owners than on disk (`mount_setattr(2)`).

use std::path::{Path, PathBuf};

use super::helper::wait_for;
use super::job::{Job, spawn};
use super::make::Made;
use super::undo;
use crate::Error;
use crate::host::{
    Errno, Fd, Host, OpenFlags, Pid, Signal, close_all, make_directory_of_ours, variable, write_all,
};

/// What the child says when its namespace is there; anything else is why it is not.
pub(super) const READY: u8 = 0;

/// A user namespace with these maps, as `uidmap=` and `gidmap=` have them.
///
/// # Errors
/// A map is not one, or which call failed on what.
pub(super) fn user_namespace<H: Host>(
    host: &mut H,
    uid_map: &str,
    gid_map: &str,
) -> Result<Fd, Error> {
    let maps = [("uid_map", lines(uid_map)?), ("gid_map", lines(gid_map)?)];
    let pipe = host
        .pipe(OpenFlags::empty())
        .map_err(|errno| Error::system("pipe2", "user namespace", errno))?;
    let child = spawn(host, &Job::UserNamespace, pipe.write);
    close_all(host, [pipe.write]);
    let namespace = child.and_then(|child| {
        let namespace =
            expect_ready(host, pipe.read).and_then(|()| open_namespace(host, child, &maps));
        // It has nothing to do but be there.
        let _ = host.kill(child, Signal::KILL);
        wait_for(host, child).and(namespace)
    });
    close_all(host, [pipe.read]);
    namespace
}

/// The child's part: moves into a new user namespace, says so on `told`, and stays there.
pub(super) fn hold_user_namespace<H: Host>(host: &mut H, told: Fd) -> Result<(), Error> {
    let failed = |call| move |errno| Error::system(call, "user namespace", errno);
    host.enter_new_user_namespace().map_err(failed("unshare"))?;
    write_all(host, told, &[READY]).map_err(failed("write"))?;
    loop {
        match host.poll(&mut [], None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("ppoll")(errno)),
        }
    }
}

fn expect_ready<H: Host>(host: &mut H, from: Fd) -> Result<(), Error> {
    let mut buffer = [0; 512];
    let count = loop {
        match host.read(from, &mut buffer) {
            Err(Errno::EINTR) => {}
            answer => break answer,
        }
    };
    match count.map(|count| buffer.get(..count).unwrap_or_default()) {
        Ok([READY]) => Ok(()),
        Ok(text) => Err(Error::invalid("user namespace", String::from_utf8_lossy(text))),
        Err(errno) => Err(Error::system("read", "user namespace", errno)),
    }
}

fn open_namespace<H: Host>(host: &mut H, child: Pid, maps: &[(&str, String)]) -> Result<Fd, Error> {
    let open = |host: &mut H, path: &Path, flags| {
        host.open(path, flags, 0).map_err(|errno| Error::system("open", path.display(), errno))
    };
    for (name, map) in maps {
        let path = PathBuf::from(format!("/proc/{child}/{name}"));
        let fd = open(host, &path, OpenFlags::WRITE)?;
        let written = write_all(host, fd, map.as_bytes());
        close_all(host, [fd]);
        written.map_err(|errno| Error::system("write", path.display(), errno))?;
    }
    open(host, &PathBuf::from(format!("/proc/{child}/ns/user")), OpenFlags::READ)
}

/// `INSIDE:OUTSIDE:COUNT,…` as `user_namespaces(7)` wants it.
fn lines(map: &str) -> Result<String, Error> {
    map.split(',').map(line).collect::<Option<String>>().ok_or_else(|| {
        Error::invalid(format!("id map {map:?}"), "not of the form INSIDE:OUTSIDE:COUNT")
    })
}

fn line(range: &str) -> Option<String> {
    let numbers = range.split(':').map(|number| number.parse::<u32>().ok());
    match numbers.collect::<Option<Vec<_>>>()?[..] {
        [inside, outside, count] => Some(format!("{inside} {outside} {count}\n")),
        _ => None,
    }
}

/// Replaces a mount by one whose files have the owners that a user namespace gives them.
///
/// # Errors
/// Which call failed. The mount is then gone.
pub(super) fn remap<H: Host>(host: &mut H, made: &Made, namespace: Fd) -> Result<(), Error> {
    let copy = copy(host, &made.target, namespace, false);
    undo::undo(host, made);
    let copy = copy?;
    let attached = host.attach_tree(copy, &made.target);
    close_all(host, [copy]);
    attached.map_err(|errno| Error::system("move_mount", made.target.display(), errno))
}

/// A mount that is not attached yet.
fn copy<H: Host>(host: &mut H, path: &Path, namespace: Fd, read_only: bool) -> Result<Fd, Error> {
    let failed = |call| move |errno| Error::system(call, path.display(), errno);
    let tree = host.clone_tree(path).map_err(failed("open_tree"))?;
    let mapped = host.map_tree_ids(tree, namespace, read_only).map_err(failed("mount_setattr"));
    if mapped.is_err() {
        close_all(host, [tree]);
    }
    mapped.map(|()| tree)
}

/// Read-only copies of directories, in which files have the owners that a user namespace gives
/// them, in a temporary directory. One for each, as each may be a mount of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copies {
    directory: PathBuf,
    pub(super) paths: Vec<PathBuf>,
}

impl Copies {
    /// # Errors
    /// Which call failed. Nothing is left behind.
    pub(super) fn of<H: Host>(
        host: &mut H,
        originals: &[PathBuf],
        namespace: Fd,
    ) -> Result<Copies, Error> {
        let env = host.environment();
        let parent = variable(&env, "TMPDIR").filter(|path| !path.is_empty());
        let parent = parent.map_or(Path::new("/tmp"), Path::new);
        let directory = make_directory_of_ours(host, parent, "ovl-idmapped")
            .map_err(|errno| Error::system("mkdir", parent.display(), errno))?;
        let mut copies = Copies { directory, paths: Vec::new() };
        match originals.iter().try_for_each(|original| copies.add(host, original, namespace)) {
            Ok(()) => Ok(copies),
            Err(error) => {
                copies.remove(host);
                Err(error)
            }
        }
    }

    fn add<H: Host>(&mut self, host: &mut H, original: &Path, namespace: Fd) -> Result<(), Error> {
        let path = self.directory.join(self.paths.len().to_string());
        let failed = |call, errno| Error::system(call, path.display(), errno);
        host.mkdir(&path, 0o700).map_err(|errno| failed("mkdir", errno))?;
        let attached = copy(host, original, namespace, true).and_then(|tree| {
            let attached =
                host.attach_tree(tree, &path).map_err(|errno| failed("move_mount", errno));
            close_all(host, [tree]);
            attached
        });
        match attached {
            Ok(()) => self.paths.push(path),
            Err(error) => {
                let _ = host.rmdir(&path);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes the copies away. Mounts that were made of them keep what they need. What cannot be
    /// taken away harms nobody.
    pub(super) fn remove<H: Host>(self, host: &mut H) {
        for path in &self.paths {
            let _ = host.unmount(path, true);
            let _ = host.rmdir(path);
        }
        let _ = host.rmdir(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0:1000:65536", Some("0 1000 65536\n"))]
    #[case("0:1000:1,1:2000:5", Some("0 1000 1\n1 2000 5\n"))]
    #[case("", None)]
    #[case("0:1000", None)]
    #[case("0:1000:1:1", None)]
    #[case("0:-1:1", None)]
    #[case("0:1000:1,", None)]
    #[case("0:4294967296:1", None)]
    fn maps_as_the_kernel_wants_them(#[case] map: &str, #[case] expected: Option<&str>) {
        assert_eq!(lines(map).ok().as_deref(), expected);
    }
}
