//! The mount table (`mount(2)`, `umount2(2)`, `proc_pid_mountinfo(5)`).
//!
//! What is below a mount point stays the directory's own tree: what a bind mount, an overlay or a
//! fresh file system would show there is not simulated. So whatever is used below a mount point
//! counts as a use of the mount, also if it was there before. There is one mount namespace.
//!
//! This kernel is older than copies of mounts (`open_tree(2)`: `ENOSYS`), was built without user
//! namespaces (`EINVAL`), and has no loop devices: whatever is asked to be one is none (`ENOTTY`).

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use wavetank::host::{Errno, Fd, MountFlags, Result};

use crate::fs::{Inode, LastLink};
use crate::kernel::Kernel;
use crate::pipe::PAGE;
use crate::slab::Id;
use crate::touch::Thing;

/// Kinds of file systems that need no device. There are no devices to mount, so there are no others.
const KINDS: [&str; 12] = [
    "9p", "cgroup", "cgroup2", "devpts", "fuse", "mqueue", "overlay", "proc", "ramfs", "sysfs",
    "tmpfs", "virtiofs",
];
/// The number of the mount that is there from the start.
const ROOT: u64 = 1;
/// Flags that say to whom a mount is shown.
const PROPAGATION: MountFlags = MountFlags::SHARED
    .union(MountFlags::PRIVATE)
    .union(MountFlags::SLAVE)
    .union(MountFlags::UNBINDABLE);
/// Flags that a bind mount has of its own, and their names; `relatime` is told apart.
const OWN_FLAGS: [(MountFlags, &str); 7] = [
    (MountFlags::RDONLY, "ro"),
    (MountFlags::NOSUID, "nosuid"),
    (MountFlags::NODEV, "nodev"),
    (MountFlags::NOEXEC, "noexec"),
    (MountFlags::NOATIME, "noatime"),
    (MountFlags::NODIRATIME, "nodiratime"),
    (MountFlags::NOSYMFOLLOW, "nosymfollow"),
];
/// Flags that belong to the file system and not to the mount.
const SHARED_FLAGS: [(MountFlags, &str); 5] = [
    (MountFlags::RDONLY, "ro"),
    (MountFlags::SYNCHRONOUS, "sync"),
    (MountFlags::DIRSYNC, "dirsync"),
    (MountFlags::MANDLOCK, "mand"),
    (MountFlags::LAZYTIME, "lazytime"),
];

/// Something mounted.
#[derive(Clone)]
pub(crate) struct Mount {
    id: u64,
    parent: u64,
    pub(crate) target: Id<Inode>,
    /// What of the file system is seen there.
    root: PathBuf,
    pub(crate) source: PathBuf,
    pub(crate) kind: String,
    pub(crate) flags: MountFlags,
    /// Flags that the file system was mounted with.
    shared: MountFlags,
    pub(crate) data: String,
}

/// A mount, as it was asked for.
pub(crate) struct Request<'a> {
    pub(crate) source: &'a Path,
    pub(crate) target: &'a Path,
    pub(crate) kind: &'a str,
    pub(crate) flags: MountFlags,
    pub(crate) data: &'a str,
}

impl Kernel {
    pub(crate) fn mount(&mut self, me: i32, request: &Request<'_>) -> Result<()> {
        self.alters(Thing::Everything);
        let target = self.walk(me, request.target, LastLink::Follow)?.existing()?;
        self.allow_mounting(me)?;
        let flags = request.flags;
        match () {
            () if flags.contains(MountFlags::REMOUNT) => self.remount(target, request),
            () if flags.contains(MountFlags::BIND) => self.bind_mount(me, target, request),
            () if flags.intersects(PROPAGATION) => match self.mounted_at(target) {
                Some(_) if (flags & PROPAGATION).bits().is_power_of_two() => Ok(()),
                _ => Err(Errno::EINVAL),
            },
            () if flags.contains(MountFlags::MOVE) => self.move_mount(me, target, request.source),
            () => self.new_mount(target, request),
        }
    }

    fn allow_mounting(&self, me: i32) -> Result<()> {
        if self.processes[me].uid == 0 { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn new_mount(&mut self, target: Id<Inode>, request: &Request<'_>) -> Result<()> {
        if request.kind.is_empty() {
            return Err(Errno::EINVAL);
        }
        if !KINDS.contains(&request.kind) {
            return Err(Errno::ENODEV);
        }
        if !self.is_directory(target) {
            return Err(Errno::ENOTDIR);
        }
        let none = Path::new("none");
        let source = if request.source.as_os_str().is_empty() { none } else { request.source };
        self.add_mount(Mount {
            id: 0,
            parent: 0,
            target,
            root: PathBuf::from("/"),
            source: source.to_owned(),
            kind: request.kind.to_owned(),
            flags: request.flags,
            shared: request.flags,
            data: page_of(request.data),
        });
        Ok(())
    }

    /// A bind mount is another place of what is mounted there already; its flags are the same.
    fn bind_mount(&mut self, me: i32, target: Id<Inode>, request: &Request<'_>) -> Result<()> {
        if request.source.as_os_str().is_empty() {
            return Err(Errno::EINVAL);
        }
        let source = self.walk(me, request.source, LastLink::Follow)?.existing()?;
        if self.is_directory(source) != self.is_directory(target) {
            return Err(Errno::ENOTDIR);
        }
        let path = self.path_of(source);
        let mount = match self.mount_of(source) {
            Some(mount) => {
                let inside = path.strip_prefix(self.path_of(mount.target)).unwrap_or(&path);
                let inside = inside.components().as_path();
                let root = if inside.as_os_str().is_empty() {
                    mount.root.clone()
                } else {
                    mount.root.join(inside)
                };
                Mount { target, root, ..mount.clone() }
            }
            None => Mount {
                id: 0,
                parent: 0,
                target,
                root: path,
                source: PathBuf::from("rootfs"),
                kind: "rootfs".to_owned(),
                flags: MountFlags::empty(),
                shared: MountFlags::empty(),
                data: String::new(),
            },
        };
        self.add_mount(mount);
        Ok(())
    }

    fn add_mount(&mut self, mount: Mount) {
        let parent = self.mount_of(mount.target).map_or(ROOT, |it| it.id);
        self.last_mount += 1;
        self.mounts.push(Mount { id: ROOT + self.last_mount, parent, ..mount });
    }

    /// With `BIND` only the flags of this mount change; without, also those of its file system.
    fn remount(&mut self, target: Id<Inode>, request: &Request<'_>) -> Result<()> {
        let at = self.mounted_at(target).ok_or(Errno::EINVAL)?;
        let mount = &mut self.mounts[at];
        mount.flags = request.flags.difference(MountFlags::REMOUNT | MountFlags::BIND);
        if !request.flags.contains(MountFlags::BIND) {
            mount.shared = mount.flags;
            if !request.data.is_empty() {
                mount.data = page_of(request.data);
            }
        }
        Ok(())
    }

    fn move_mount(&mut self, me: i32, target: Id<Inode>, source: &Path) -> Result<()> {
        if source.as_os_str().is_empty() {
            return Err(Errno::EINVAL);
        }
        let source = self.walk(me, source, LastLink::Follow)?.existing()?;
        let at = self.mounted_at(source).ok_or(Errno::EINVAL)?;
        if self.is_directory(source) != self.is_directory(target) {
            return Err(Errno::EINVAL);
        }
        if self.is_within(target, source) {
            return Err(Errno::ELOOP);
        }
        let parent = self.mount_of(target).map_or(ROOT, |it| it.id);
        let mount = &mut self.mounts[at];
        (mount.target, mount.parent) = (target, parent);
        Ok(())
    }

    pub(crate) fn unmount(&mut self, me: i32, target: &Path, detach: bool) -> Result<()> {
        self.alters(Thing::Everything);
        let inode = self.walk(me, target, LastLink::Keep)?.existing()?;
        self.allow_mounting(me)?;
        let at = self.mounted_at(inode).ok_or(Errno::EINVAL)?;
        let later = self.mounts[at + 1..].iter();
        let below: Vec<u64> =
            later.filter(|it| self.is_within(it.target, inode)).map(|it| it.id).collect();
        if !detach && (!below.is_empty() || self.is_used_below(inode)) {
            return Err(Errno::EBUSY);
        }
        self.mounts.remove(at);
        self.mounts.retain(|it| !below.contains(&it.id));
        Ok(())
    }

    /// What anything says that is asked to be a loop device.
    pub(crate) fn no_loop(&self, me: i32, fd: Fd) -> Result<u32> {
        self.file(me, fd).and(Err(Errno::ENOTTY))
    }

    /// Whether anybody has a file open, or a working directory, or its program there.
    fn is_used_below(&self, inode: Id<Inode>) -> bool {
        let path = self.path_of(inode);
        self.inodes.iter().any(|(id, it)| it.users > 0 && self.path_of(id).starts_with(&path))
    }

    /// The mount whose root is here, the latest if there are several.
    fn mounted_at(&self, inode: Id<Inode>) -> Option<usize> {
        self.mounts.iter().rposition(|it| it.target == inode)
    }

    pub(crate) fn is_mount_point(&self, inode: Id<Inode>) -> bool {
        self.mounted_at(inode).is_some()
    }

    /// The mount in which an inode is; none is that of the root.
    fn mount_of(&self, inode: Id<Inode>) -> Option<&Mount> {
        if self.mounts.is_empty() {
            return None;
        }
        let mut at = inode;
        loop {
            match (self.mounted_at(at), self.inodes[at].parent) {
                (Some(found), _) => return self.mounts.get(found),
                (None, Some(parent)) if at != self.root => at = parent,
                _ => return None,
            }
        }
    }

    /// Whether two inodes are in the same mount, as `rename(2)` wants it.
    pub(crate) fn are_in_one_mount(&self, one: Id<Inode>, other: Id<Inode>) -> bool {
        self.mount_of(one).map(|it| it.id) == self.mount_of(other).map(|it| it.id)
    }

    pub(crate) fn is_mounted_read_only(&self, inode: Id<Inode>) -> bool {
        let flags = self.mount_of(inode).map(|it| it.flags | it.shared);
        flags.is_some_and(|flags| flags.contains(MountFlags::RDONLY))
    }

    /// What `/proc/PID/mountinfo` says.
    pub(crate) fn mount_info(&self) -> String {
        let mut text = format!("{ROOT} {ROOT} 0:1 / / rw,relatime - rootfs rootfs rw\n");
        for mount in &self.mounts {
            let target = self.path_of(mount.target);
            let _ = writeln!(
                text,
                "{id} {parent} 0:{id} {root} {target} {own} - {kind} {source} {shared}",
                id = mount.id,
                parent = mount.parent,
                root = escaped(&mount.root),
                target = escaped(&target),
                own = mount.own_options(),
                kind = mount.kind,
                source = escaped(&mount.source),
                shared = mount.shared_options(),
            );
        }
        text
    }
}

impl Mount {
    fn own_options(&self) -> String {
        let mut words = names(&OWN_FLAGS, self.flags);
        if !self.flags.intersects(MountFlags::NOATIME | MountFlags::STRICTATIME) {
            words.push("relatime");
        }
        words.join(",")
    }

    fn shared_options(&self) -> String {
        let mut words = names(&SHARED_FLAGS, self.shared);
        if !self.data.is_empty() {
            words.push(&self.data);
        }
        words.join(",")
    }
}

/// The names of the flags that are set, and first whether one may write.
fn names<'a>(table: &[(MountFlags, &'a str)], flags: MountFlags) -> Vec<&'a str> {
    let writable = (!flags.contains(MountFlags::RDONLY)).then_some("rw");
    let set = table.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name);
    writable.into_iter().chain(set).collect()
}

/// The kernel takes one page of it, the last byte of which is zero.
fn page_of(data: &str) -> String {
    let mut end = data.len().min(PAGE - 1);
    while !data.is_char_boundary(end) {
        end -= 1;
    }
    data[..end].to_owned()
}

/// A path whose spaces and backslashes are octal numbers, as `proc_pid_mountinfo(5)` has it.
fn escaped(path: &Path) -> String {
    let mut text = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => text.extend(format!("\\{byte:03o}").into_bytes()),
            _ => text.push(byte),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
