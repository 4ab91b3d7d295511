//! Mounting a container's root file system, and undoing it.
//!
//! The daemon describes the root as a list of mounts, and the shim makes them in the daemon's own
//! mount namespace. What is understood, and how, is containerd's `mount.All` and
//! `mount.UnmountRecursive`.

mod helper;
mod ids;
mod job;
mod loop_device;
mod make;
mod mountinfo;
mod options;
mod overlay;
mod root_path;
mod undo;

use std::path::{Path, PathBuf};

use containerd_shim_protos::types::mount as proto;
use serde::{Deserialize, Serialize};

pub(crate) use job::{Job, child, command};
pub(crate) use undo::unmount_all;

use crate::Error;
use crate::host::Host;

/// One mount as containerd describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// The file system's type, as `overlay`; a bind mount may have any.
    pub(crate) kind: String,
    /// What is mounted: a directory, a device, or only a name.
    pub(crate) source: String,
    /// Where, as a path inside the root file system; empty is its top.
    pub(crate) target: String,
    /// Options as in `fstab(5)`.
    pub(crate) options: Vec<String>,
}

impl From<&proto::Mount> for Mount {
    fn from(mount: &proto::Mount) -> Mount {
        Mount {
            kind: mount.type_.clone(),
            source: mount.source.clone(),
            target: mount.target.clone(),
            options: mount.options.clone(),
        }
    }
}

impl Mount {
    /// For an error: which mount it is about.
    fn at(&self, target: &Path) -> String {
        let Mount { kind, source, .. } = self;
        format!("{kind:?} from {source:?} at {}", target.display())
    }
}

/// Makes the mounts in their order. A target is looked up inside of `rootfs`: no symbolic link and
/// no `..` leads out of it. It may take long.
///
/// # Errors
/// Which mount failed, and why. Those made before are undone, the last one first.
pub(crate) fn mount_all<H: Host>(
    host: &mut H,
    rootfs: &Path,
    mounts: &[Mount],
) -> Result<(), Error> {
    let root = canonical(host, rootfs)?;
    let mut made = Vec::new();
    for mount in mounts {
        let target = root_path::resolve(host, &root, Path::new(&mount.target));
        match target.and_then(|target| make::make(host, mount, target)) {
            Ok(new) => made.extend(new),
            Err(error) => {
                made.iter().rev().for_each(|made| undo::undo(host, made));
                return Err(error);
            }
        }
    }
    Ok(())
}

/// The absolute path without symbolic links, as the kernel lists it.
fn canonical<H: Host>(host: &mut H, path: &Path) -> Result<PathBuf, Error> {
    let start = if path.is_absolute() {
        PathBuf::new()
    } else {
        host.current_dir().map_err(|errno| Error::system("getcwd", path.display(), errno))?
    };
    root_path::resolve(host, Path::new("/"), &start.join(path))
}

#[cfg(test)]
mod tests {
    use mockall::Sequence;

    use super::*;
    use crate::host::{Errno, MockHost};

    fn mount(target: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(ToString::to_string).collect();
        Mount {
            kind: "tmpfs".to_owned(),
            source: "none".to_owned(),
            target: target.to_owned(),
            options,
        }
    }

    #[test]
    fn a_failure_undoes_what_was_made_before_the_last_first() {
        let mut host = MockHost::new();
        let mut order = Sequence::new();
        host.expect_readlink().returning(|_| Err(Errno::EINVAL));
        host.expect_open().returning(|_, _, _| Err(Errno::ENOENT));
        for (target, answer) in [("/r", Ok(())), ("/r/a", Ok(())), ("/r/b", Err(Errno::ENOENT))] {
            host.expect_mount()
                .withf(move |_, path, _, _, _| path == Path::new(target))
                .once()
                .in_sequence(&mut order)
                .returning(move |_, _, _, _, _| answer);
        }
        for target in ["/r/a", "/r"] {
            host.expect_unmount()
                .withf(move |path, detach| path == Path::new(target) && !detach)
                .once()
                .in_sequence(&mut order)
                .returning(|_, _| Ok(()));
        }
        let mounts = [mount("", &["size=1m"]), mount("a", &[]), mount("/b", &[])];
        let error = mount_all(&mut host, Path::new("/r"), &mounts).unwrap_err();
        assert_eq!(
            error.to_string(),
            "mount \"tmpfs\" from \"none\" at /r/b: no such file or directory (ENOENT)"
        );
    }

    #[test]
    fn a_mount_that_was_only_changed_is_not_undone() {
        let mut host = MockHost::new();
        host.expect_readlink().returning(|_| Err(Errno::EINVAL));
        host.expect_open().returning(|_, _, _| Err(Errno::ENOENT));
        let mut answers = vec![Err(Errno::EPERM), Ok(())];
        host.expect_mount().times(2).returning(move |_, _, _, _, _| answers.pop().unwrap());
        let mounts = [mount("", &["remount", "ro"]), mount("", &[])];
        mount_all(&mut host, Path::new("/r"), &mounts).unwrap_err();
    }
}
