//! The calls that make, remove, rename and read the names of files.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use wavetank::host::{Errno, FileStat, Result};

use crate::fs::{EXECUTE, Inode, LastLink, NAME_BYTES, Node, PATH_BYTES, Place, READ, UMASK};
use crate::kernel::Kernel;
use crate::proc::ProcLink;
use crate::slab::Id;
use crate::touch::Thing;

fn is_last_name_long(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.len() > NAME_BYTES)
}

impl Kernel {
    pub(crate) fn stat(&self, pid: i32, path: &Path) -> Result<FileStat> {
        Ok(self.stat_inode(self.walk(pid, path, LastLink::Follow)?.existing()?))
    }

    pub(crate) fn make(&mut self, pid: i32, path: &Path, node: Node, mode: u32) -> Result<()> {
        let place = self.walk(pid, path, LastLink::Name)?;
        self.create(self.walker(pid), place, node, mode & !UMASK).map(drop)
    }

    pub(crate) fn symlink(&mut self, pid: i32, target: &Path, path: &Path) -> Result<()> {
        let target = target.as_os_str();
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        if target.len() > PATH_BYTES {
            return Err(Errno::ENAMETOOLONG);
        }
        let place = self.walk(pid, path, LastLink::Name)?;
        let node = Node::Symlink(target.to_owned());
        self.create(self.walker(pid), place, node, 0o777).map(drop)
    }

    pub(crate) fn readlink(&self, pid: i32, path: &Path) -> Result<PathBuf> {
        if let Some(link) = ProcLink::parse(path.as_os_str().as_bytes()) {
            return self.proc_target(pid, link);
        }
        let inode = self.walk(pid, path, LastLink::Keep)?.existing()?;
        self.link_target(inode).map(PathBuf::from).ok_or(Errno::EINVAL)
    }

    pub(crate) fn list(&self, pid: i32, path: &Path) -> Result<Vec<OsString>> {
        let free = self.free_descriptor(pid)?;
        if path.as_os_str() == "/proc/self/fd" {
            return Ok(self.proc_descriptors(pid, free));
        }
        let inode = self.walk(pid, path, LastLink::Follow)?.existing()?;
        let Node::Directory(entries) = &self.inodes[inode].node else {
            return Err(Errno::ENOTDIR);
        };
        self.allow(self.walker(pid), inode, READ)?;
        self.sees(Thing::Names(self.inodes[inode].number));
        Ok(entries.names())
    }

    pub(crate) fn unlink(&mut self, pid: i32, path: &Path) -> Result<()> {
        let place = self.walk(pid, path, LastLink::Name)?;
        let inode = place.existing()?;
        if self.is_directory(inode) {
            return Err(Errno::EISDIR);
        }
        if place.slash {
            return Err(Errno::ENOTDIR);
        }
        self.allow_change(self.walker(pid), place.parent)?;
        if self.is_mount_point(inode) {
            return Err(Errno::EBUSY);
        }
        self.unlink_entry(place.parent, &place.name);
        Ok(())
    }

    pub(crate) fn rmdir(&mut self, pid: i32, path: &Path) -> Result<()> {
        let place = self.walk(pid, path, LastLink::Name)?;
        let inode = place.existing()?;
        match place.name.as_bytes() {
            b"." => return Err(Errno::EINVAL),
            b".." => return Err(Errno::ENOTEMPTY),
            _ if inode == self.root => return Err(Errno::EBUSY),
            _ => {}
        }
        self.allow_change(self.walker(pid), place.parent)?;
        if self.is_mount_point(inode) {
            return Err(Errno::EBUSY);
        }
        if self.is_directory(inode) {
            self.clear_cgroup(inode)?;
        }
        self.sees(Thing::Names(self.inodes[inode].number));
        match &self.inodes[inode].node {
            Node::Directory(entries) if entries.is_empty() => {}
            Node::Directory(_) => return Err(Errno::ENOTEMPTY),
            _ => return Err(Errno::ENOTDIR),
        }
        self.unlink_entry(place.parent, &place.name);
        Ok(())
    }

    pub(crate) fn rename(&mut self, pid: i32, from: &Path, to: &Path) -> Result<()> {
        let places = [from, to].map(|path| (self.walk(pid, path, LastLink::Name), path));
        // The last names are looked at once both directories are found.
        for (place, path) in &places {
            if let Err(errno) = place
                && !(*errno == Errno::ENAMETOOLONG && is_last_name_long(path))
            {
                return Err(*errno);
            }
        }
        let [old, new] = places.map(|(place, _)| place);
        let is_no_name = |it: &Place<'_>| it.is_dots() || *it.name == *"/";
        if [&old, &new].into_iter().flatten().any(is_no_name) {
            return Err(Errno::EBUSY);
        }
        let old = old?;
        if new.is_err() {
            old.existing()?;
        }
        let new = new?;
        if !self.are_in_one_mount(old.parent, new.parent) {
            return Err(Errno::EXDEV);
        }
        let inode = old.existing()?;
        if (old.slash || new.slash) && !self.is_directory(inode) {
            return Err(Errno::ENOTDIR);
        }
        if self.is_directory(inode) && self.is_within(new.parent, inode) {
            return Err(Errno::EINVAL);
        }
        if new.inode.is_some_and(|it| it != inode && self.is_within(old.parent, it)) {
            return Err(Errno::ENOTEMPTY);
        }
        if new.inode == Some(inode) {
            return Ok(());
        }
        if self.is_directory(inode) {
            self.alters(Thing::Everything);
        }
        let walker = self.walker(pid);
        self.allow_change(walker, old.parent)?;
        self.allow_change(walker, new.parent)?;
        if let Some(replaced) = new.inode {
            match (self.is_directory(inode), self.is_directory(replaced)) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                _ => {}
            }
        }
        if [Some(inode), new.inode].into_iter().flatten().any(|it| self.is_mount_point(it)) {
            return Err(Errno::EBUSY);
        }
        if let Some(replaced) = new.inode {
            if let Node::Directory(entries) = &self.inodes[replaced].node
                && !entries.is_empty()
            {
                return Err(Errno::ENOTEMPTY);
            }
            self.unlink_entry(new.parent, &new.name);
        }
        self.entries(old.parent).remove(&old.name);
        self.alters_name(old.parent, &old.name);
        self.link(new.parent, new.name.into_owned(), inode);
        Ok(())
    }

    /// Whether `inode` is `directory` or lies somewhere below it.
    pub(crate) fn is_within(&self, inode: Id<Inode>, directory: Id<Inode>) -> bool {
        let mut at = inode;
        while at != directory && at != self.root {
            at = self.inodes[at].parent.unwrap_or(self.root);
        }
        at == directory
    }

    pub(crate) fn change_dir(&mut self, pid: i32, path: &Path) -> Result<()> {
        let walker = self.walker(pid);
        let cwd = self.directory(walker, path)?;
        self.allow(walker, cwd, EXECUTE)?;
        self.use_inode(cwd);
        let old = std::mem::replace(&mut self.process(pid).cwd, cwd);
        self.leave_inode(old);
        Ok(())
    }

    pub(crate) fn current_dir(&self, pid: i32) -> Result<PathBuf> {
        let cwd = self.processes[pid].cwd;
        self.sees(Thing::Node(self.inodes[cwd].number));
        match self.inodes[cwd].parent {
            None => Err(Errno::ENOENT),
            Some(_) => Ok(self.path_of(cwd)),
        }
    }
}
