//! The little of `cgroups(7)`, version 2, that programs here use: which cgroup a process is in, files
//! that tell of their changes, and cgroups that are removed.
//!
//! Cgroups are the directories below `/sys/fs/cgroup`. The machine's owner puts their files there
//! and changes them; the kernel writes none by itself.

use std::path::Path;
use std::rc::Rc;

use wavetank::host::{Errno, Result};

use crate::file::OpenFile;
use crate::fs::{Inode, Node};
use crate::kernel::Kernel;
use crate::process::Stage;
use crate::slab::Id;
use crate::touch::Thing;

/// Where the cgroups are.
const MOUNT_POINT: &str = "/sys/fs/cgroup";
/// The file of a cgroup that takes a process's number, and the process with it.
const MEMBERS: &str = "cgroup.procs";

/// What a file that tells of changes has told to nobody.
pub(crate) const NEVER_READ: u64 = u64::MAX;

impl Kernel {
    /// Whether an inode is the root of the cgroups, or below it.
    fn is_of_cgroups(&self, inode: Id<Inode>) -> bool {
        self.look(Path::new(MOUNT_POINT)).is_some_and(|root| self.is_within(inode, root))
    }

    /// What an opening of this inode has seen of it, if that counts.
    pub(crate) fn watch(&mut self, inode: Id<Inode>) -> Option<u64> {
        let is_regular = matches!(self.inodes[inode].node, Node::Regular(_));
        if !is_regular || !self.is_of_cgroups(inode) {
            return None;
        }
        let Node::Regular(regular) = &mut self.inodes[inode].node else { return None };
        regular.watched = true;
        Some(NEVER_READ)
    }

    /// Whether a file tells of a change that this descriptor has not read: a removed one always does.
    pub(crate) fn tells_of_change(&self, open: &OpenFile) -> bool {
        match (&self.inodes[open.inode].node, open.seen) {
            (Node::Regular(regular), Some(seen)) => {
                seen != regular.version || self.is_removed_cgroup_file(open)
            }
            _ => false,
        }
    }

    pub(crate) fn is_removed_cgroup_file(&self, open: &OpenFile) -> bool {
        open.seen.is_some() && self.inodes[open.inode].parent.is_none()
    }

    /// Does what writing a process's number to `cgroup.procs` does; 0 is the writer itself.
    pub(crate) fn move_to_cgroup(&mut self, me: i32, inode: Id<Inode>, bytes: &[u8]) -> Result<()> {
        let path = self.path_of(inode);
        let Some(cgroup) = path.strip_prefix(MOUNT_POINT).ok().and_then(|it| it.parent()) else {
            return Ok(());
        };
        if path.file_name() != Some(MEMBERS.as_ref()) {
            return Ok(());
        }
        let number = std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok());
        let pid = match number.ok_or(Errno::EINVAL)? {
            0 => me,
            pid => pid,
        };
        let cgroup = Path::new("/").join(cgroup);
        self.sees(Thing::Life(pid));
        self.alters(Thing::Heritage(pid));
        let process = self.processes.get_mut(pid).ok_or(Errno::ESRCH)?;
        process.cgroup = Rc::from(cgroup.to_string_lossy());
        Ok(())
    }

    /// Takes the files of a cgroup away, which is what `rmdir(2)` of one does first.
    pub(crate) fn clear_cgroup(&mut self, inode: Id<Inode>) -> Result<()> {
        if !self.is_of_cgroups(inode) {
            return Ok(());
        }
        self.alters(Thing::Everything);
        let path = self.path_of(inode);
        let Ok(cgroup) = path.strip_prefix(MOUNT_POINT).map(|it| Path::new("/").join(it)) else {
            return Ok(());
        };
        let is_member = |it: &crate::process::Process| {
            Path::new(&*it.cgroup) == cgroup && !matches!(it.stage, Stage::Zombie(_))
        };
        let Node::Directory(entries) = &self.inodes[inode].node else { return Ok(()) };
        let has_child = entries.iter().any(|(_, child)| self.is_directory(child));
        if has_child || cgroup == Path::new("/") || self.processes.values().any(is_member) {
            return Err(Errno::EBUSY);
        }
        for name in entries.names() {
            self.unlink_entry(inode, &name);
        }
        self.changed();
        Ok(())
    }
}
