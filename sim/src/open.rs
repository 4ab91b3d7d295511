//! `open(2)`, for every kind of file.

use std::path::Path;

use wavetank::host::{Errno, Fd, OpenFlags, Result};

use crate::file::{FileState, OpenFile};
use crate::fs::{Device, Inode, LastLink, Node, Place, READ, Regular, UMASK, WRITE};
use crate::kernel::Kernel;
use crate::slab::Id;
use crate::touch::Thing;
use crate::wait::{Tried, Wait};

impl Kernel {
    pub(crate) fn open(
        &mut self,
        pid: i32,
        path: &Path,
        flags: OpenFlags,
        mode: u32,
    ) -> Result<Tried<Fd>> {
        if let Some(file) = self.process(pid).opening.take() {
            self.sees_file(file);
            return self.install(pid, file).map(Tried::Done);
        }
        self.free_descriptor(pid)?;
        let exclusive = flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        let creates = flags.contains(OpenFlags::CREATE);
        if creates && flags.contains(OpenFlags::DIRECTORY) {
            return Err(Errno::EINVAL);
        }
        if let Some(mark) = self.proc_file_mark(pid, path) {
            return self.open_proc_file(pid, mark?, flags).map(Tried::Done);
        }
        let follows = !flags.contains(OpenFlags::NOFOLLOW) && !exclusive;
        let last = match (creates, follows) {
            (true, true) => LastLink::Create,
            (true, false) => LastLink::CreateHere,
            (false, true) => LastLink::Follow,
            (false, false) => LastLink::Keep,
        };
        let place = self.walk(pid, path, last)?;
        let inode = match place.inode {
            None => self.create_for_open(pid, place, flags, mode)?,
            Some(_) if exclusive => return Err(Errno::EEXIST),
            Some(inode) => {
                self.check_open(pid, inode, flags)?;
                inode
            }
        };
        let (file, wait) = self.open_inode(pid, inode, flags)?;
        match wait {
            None => self.install(pid, file).map(Tried::Done),
            Some(wait) => {
                self.process(pid).opening = Some(file);
                Ok(Tried::Wait(wait))
            }
        }
    }

    fn create_for_open(
        &mut self,
        pid: i32,
        place: Place<'_>,
        flags: OpenFlags,
        mode: u32,
    ) -> Result<Id<Inode>> {
        if !flags.contains(OpenFlags::CREATE) {
            return Err(Errno::ENOENT);
        }
        let node = Node::Regular(Regular::default());
        self.create(self.walker(pid), place, node, mode & !UMASK)
    }

    fn check_open(&self, pid: i32, inode: Id<Inode>, flags: OpenFlags) -> Result<()> {
        let write = flags.intersects(OpenFlags::WRITE | OpenFlags::TRUNCATE);
        match &self.inodes[inode].node {
            Node::Symlink(_) if flags.contains(OpenFlags::DIRECTORY) => {
                return Err(Errno::ENOTDIR);
            }
            Node::Symlink(_) => return Err(Errno::ELOOP),
            Node::Directory(_) if write || flags.contains(OpenFlags::CREATE) => {
                return Err(Errno::EISDIR);
            }
            Node::Directory(_) => {}
            _ if flags.contains(OpenFlags::DIRECTORY) => return Err(Errno::ENOTDIR),
            Node::Regular(_) if write => {
                self.writable_place(inode)?;
                self.sees(Thing::Text(self.inodes[inode].number));
                let runs = |process: &crate::process::Process| process.exe == Some(inode);
                if self.processes.values().any(runs) {
                    return Err(Errno::ETXTBSY);
                }
            }
            Node::Socket(_) | Node::Signals | Node::Counter | Node::ProcFile(..) => {
                return Err(Errno::ENXIO);
            }
            _ => {}
        }
        let mut wanted = if write { WRITE } else { 0 };
        if flags.contains(OpenFlags::READ) {
            wanted |= READ;
        }
        self.allow(self.walker(pid), inode, wanted)
    }

    /// Opens an inode that may be opened, and says what the opening must wait for.
    fn open_inode(
        &mut self,
        pid: i32,
        inode: Id<Inode>,
        flags: OpenFlags,
    ) -> Result<(Id<OpenFile>, Option<Wait>)> {
        if flags.contains(OpenFlags::TRUNCATE) {
            self.alters(Thing::Data(self.inodes[inode].number));
        }
        let state = match &mut self.inodes[inode].node {
            Node::Fifo(_) => FileState::Fifo { openings: None },
            Node::Device(Device::Ptmx) => FileState::Master(self.new_pty(pid)?),
            Node::Device(Device::Slave(pty)) => {
                let pty = *pty;
                self.open_slave(pid, pty, flags)?;
                FileState::Slave(pty)
            }
            Node::Regular(regular) if flags.contains(OpenFlags::TRUNCATE) => {
                self.disk_used -= regular.disk_bytes();
                regular.content.clear();
                regular.version += 1;
                FileState::Plain
            }
            _ => FileState::Plain,
        };
        let seen = self.watch(inode);
        let file = self.add_file(OpenFile { seen, ..OpenFile::new(inode, flags, state) });
        if !matches!(state, FileState::Fifo { .. }) {
            return Ok((file, None));
        }
        match self.open_fifo(file) {
            Ok(wait) => Ok((file, wait)),
            Err(errno) => {
                self.files[file].state = FileState::Plain;
                self.drop_file(file);
                Err(errno)
            }
        }
    }
}
