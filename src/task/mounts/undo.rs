//! Taking mounts away.

use std::cmp::Reverse;
use std::path::Path;
use std::time::Duration;

use super::make::Made;
use super::mountinfo::Entry;
use super::{canonical, helper, mountinfo};
use crate::Error;
use crate::host::{Bug, Errno, Host, MountFlags};

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
pub(crate) fn unmount_all<H: Host>(host: &mut H, rootfs: &Path) -> Result<(), Error> {
    if rootfs.as_os_str().is_empty() {
        return Ok(());
    }
    let root = canonical(host, rootfs)?;
    let mut entries = mountinfo::read(host)?;
    entries.retain(|entry| entry.target.starts_with(&root));
    entries.sort_by_cached_key(|entry| {
        Reverse((entry.target.components().count(), entry.target.clone()))
    });
    entries.dedup_by(|one, other| one.target == other.target);
    if host.planted(Bug::TopmostFirst) {
        entries.reverse();
    }
    let mut last = Ok(());
    for entry in &entries {
        last = unmount_stack(host, entry);
    }
    last
}

/// Mounts may lie on top of each other.
fn unmount_stack<H: Host>(host: &mut H, entry: &Entry) -> Result<(), Error> {
    let target = &entry.target;
    loop {
        match unmount(host, target) {
            Ok(()) => {}
            // What another mount covers goes with that one.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(Errno::EPERM) if entry.kind.starts_with("fuse") => helper::unmount(host, target)?,
            Err(errno) => return Err(Error::system("unmount", target.display(), errno)),
        }
    }
}

fn unmount<H: Host>(host: &mut H, target: &Path) -> Result<(), Errno> {
    let tries = if host.planted(Bug::BusyIsFinal) { 1 } else { TRIES };
    for _ in 1..tries {
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

#[cfg(test)]
mod tests {
    use mockall::Sequence;

    use super::*;
    use crate::host::{Fd, FileKind, FileStat, MockHost};

    const LIST: &str = "\
        1 0 0:1 / / rw - ext4 /dev/root rw\n\
        2 1 0:2 / /b/rootfs rw - overlay overlay rw\n\
        3 2 0:3 / /b/rootfs/a rw - tmpfs none rw\n\
        4 3 0:4 / /b/rootfs/a/with\\040space rw - tmpfs none rw\n\
        5 1 0:5 / /b/rootfs2 rw - tmpfs none rw\n\
        6 2 0:6 / /b/rootfs/a rw - tmpfs none rw\n";

    /// Nothing is a link, and these are the mounts.
    fn host(list: &'static str) -> MockHost {
        let mut host = MockHost::new();
        let mut left = list.as_bytes();
        let file = FileKind::Regular;
        let stat = FileStat { kind: file, mode: 0, uid: 0, gid: 0, size: 0, device: 0, inode: 0 };
        host.expect_readlink().returning(|_| Err(Errno::EINVAL));
        host.expect_open().returning(|_, _, _| Ok(Fd(9)));
        host.expect_fstat().returning(move |_| Ok(stat));
        host.expect_read().returning(move |_, buffer| {
            let count = left.len().min(buffer.len());
            let (now, later) = left.split_at(count);
            buffer[..count].copy_from_slice(now);
            left = later;
            Ok(count)
        });
        host.expect_close().once().returning(|_| Ok(()));
        host
    }

    fn expect_unmount(
        host: &mut MockHost,
        order: &mut Sequence,
        target: &'static str,
        answer: Result<(), Errno>,
    ) {
        host.expect_unmount()
            .withf(move |path, detach| path == Path::new(target) && !detach)
            .once()
            .in_sequence(order)
            .returning(move |_, _| answer);
    }

    #[test]
    fn the_deepest_goes_first_and_each_until_nothing_is_left_there() {
        let mut host = host(LIST);
        let mut order = Sequence::new();
        for (target, answer) in [
            ("/b/rootfs/a/with space", Err(Errno::ENOENT)),
            ("/b/rootfs/a", Ok(())),
            ("/b/rootfs/a", Ok(())),
            ("/b/rootfs/a", Err(Errno::EINVAL)),
            ("/b/rootfs", Ok(())),
            ("/b/rootfs", Err(Errno::EINVAL)),
        ] {
            expect_unmount(&mut host, &mut order, target, answer);
        }
        unmount_all(&mut host, Path::new("/b/rootfs")).unwrap();
    }

    #[test]
    fn only_the_topmost_failure_counts() {
        let mut host = host(LIST);
        let mut order = Sequence::new();
        for (target, answer) in [
            ("/b/rootfs/a/with space", Err(Errno::EPERM)),
            ("/b/rootfs/a", Err(Errno::EPERM)),
            ("/b/rootfs", Err(Errno::EINVAL)),
        ] {
            expect_unmount(&mut host, &mut order, target, answer);
        }
        unmount_all(&mut host, Path::new("/b/rootfs")).unwrap();
    }

    #[test]
    fn what_is_in_use_for_a_while_is_waited_for() {
        let mut host = host("2 1 0:2 / /r rw - tmpfs none rw\n");
        let mut order = Sequence::new();
        for _ in 0..3 {
            expect_unmount(&mut host, &mut order, "/r", Err(Errno::EBUSY));
            host.expect_poll()
                .withf(|fds, time| fds.is_empty() && *time == Some(Duration::from_millis(50)))
                .once()
                .in_sequence(&mut order)
                .returning(|_, _| Ok(0));
        }
        expect_unmount(&mut host, &mut order, "/r", Ok(()));
        expect_unmount(&mut host, &mut order, "/r", Err(Errno::EINVAL));
        unmount_all(&mut host, Path::new("/r")).unwrap();
    }

    #[test]
    fn a_user_s_own_mount_is_the_business_of_a_helper() {
        let mut host = host("2 1 0:2 / /r rw - fuse.some-fs none rw\n");
        host.expect_unmount().once().returning(|_, _| Err(Errno::EPERM));
        host.expect_environment().times(2).returning(Vec::new);
        let error = unmount_all(&mut host, Path::new("/r")).unwrap_err();
        assert_eq!(error.to_string(), "fusermount: not installed on system");
    }

    #[test]
    fn what_stays_in_use_is_told() {
        let mut host = host("2 1 0:2 / /r rw - tmpfs none rw\n");
        host.expect_unmount().times(50).returning(|_, _| Err(Errno::EBUSY));
        host.expect_poll().times(49).returning(|_, _| Ok(0));
        let error = unmount_all(&mut host, Path::new("/r")).unwrap_err();
        assert_eq!(error.to_string(), "unmount /r: device or resource busy (EBUSY)");
    }

    #[test]
    fn without_a_root_or_without_mounts_nothing_is_done() {
        unmount_all(&mut MockHost::new(), Path::new("")).unwrap();
        unmount_all(&mut host(LIST), Path::new("/b/root")).unwrap();
    }
}
