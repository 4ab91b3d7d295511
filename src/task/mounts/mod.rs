//! Mounting a container's root file system, and undoing it.
//!
//! The daemon describes the root as a list of mounts, and the shim makes them in the daemon's own
//! mount namespace. What is understood, and how, is containerd's `mount.All` and
//! `mount.UnmountRecursive`.

mod job;
mod make;
mod mountinfo;
mod options;
mod overlay;
mod root_path;
mod undo;

use std::path::{Path, PathBuf};

use containerd_shim_protos::types::mount as proto;
use serde::{Deserialize, Serialize};

pub use job::{Job, child, command};
pub use undo::unmount_all;

use crate::Error;
use crate::host::Host;

/// One mount as containerd describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The file system's type, as `overlay`; a bind mount may have any.
    pub kind: String,
    /// What is mounted: a directory, a device, or only a name.
    pub source: String,
    /// Where, as a path inside the root file system; empty is its top.
    pub target: String,
    /// Options as in `fstab(5)`.
    pub options: Vec<String>,
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
pub fn mount_all<H: Host>(host: &mut H, rootfs: &Path, mounts: &[Mount]) -> Result<(), Error> {
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
