//! Taking mounts away.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::make::Made;
use super::{canonical, mountinfo};
use crate::Error;
use crate::host::{Errno, Host, MountFlags};

/// As containerd: 50 times, 50 ms apart.
const TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Takes away whatever is mounted at `rootfs` and below, the deepest first. That nothing is, that
/// `rootfs` does not exist, or that it is empty, is fine. What is in use is tried again for two
/// and a half seconds. It may take long.
///
/// # Errors
/// The last mount, which is the topmost, cannot be taken away, or the list of mounts cannot be
/// read.
pub fn unmount_all<H: Host>(host: &mut H, rootfs: &Path) -> Result<(), Error> {
    if rootfs.as_os_str().is_empty() {
        return Ok(());
    }
    let root = canonical(host, rootfs)?;
    let mut targets: Vec<PathBuf> = mountinfo::read(host)?
        .into_iter()
        .map(|entry| entry.target)
        .filter(|target| target.starts_with(&root))
        .collect();
    targets.sort_by_cached_key(|target| Reverse((target.components().count(), target.clone())));
    targets.dedup();
    targets.iter().fold(Ok(()), |_, target| unmount_stack(host, target))
}

/// Mounts may lie on top of each other.
fn unmount_stack<H: Host>(host: &mut H, target: &Path) -> Result<(), Error> {
    loop {
        match unmount(host, target) {
            Ok(()) => {}
            // What another mount covers goes with that one.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(Error::system("unmount", target.display(), errno)),
        }
    }
}

fn unmount<H: Host>(host: &mut H, target: &Path) -> Result<(), Errno> {
    for _ in 1..TRIES {
        match host.unmount(target, false) {
            Err(Errno::EBUSY) => {
                let _ = host.poll(&mut [], Some(BETWEEN_TRIES));
            }
            answer => return answer,
        }
    }
    host.unmount(target, false)
}

/// Takes a mount of ours away as well as can be: what failed already is told, not this.
pub(super) fn undo<H: Host>(host: &mut H, made: &Made) {
    if made.recursive {
        // Otherwise what was mounted below the source would go from there, too.
        let private = MountFlags::PRIVATE | MountFlags::REC;
        let _ = host.mount(Path::new(""), &made.target, "", private, "");
        let _ = host.unmount(&made.target, true);
    } else {
        let _ = unmount(host, &made.target);
    }
}
