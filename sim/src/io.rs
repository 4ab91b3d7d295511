//! `read(2)` and `write(2)`, for every kind of file.

use wavetank::host::{Errno, Fd, Result};

use crate::file::{FileState, OpenFile};
use crate::fs::{Device, Inode, Node};
use crate::kernel::Kernel;
use crate::slab::Id;
use crate::touch::Thing;
use crate::wait::{Tried, Wait};

impl Kernel {
    pub(crate) fn read(&mut self, pid: i32, fd: Fd, buffer: &mut [u8]) -> Result<Tried<usize>> {
        let file = self.readable_file(pid, fd)?;
        self.alters_file(file);
        match self.files[file].state {
            FileState::Fifo { .. } => self.read_fifo(file, buffer),
            FileState::Master(pty) => self.read_master(file, pty, buffer),
            FileState::Slave(pty) => self.read_slave(file, pty, buffer),
            FileState::Socket(socket) => self.read_socket(file, socket, buffer),
            FileState::Signals(_) => Err(Errno::EINVAL),
            FileState::Counter(count) => self.read_counter(file, count, buffer),
            FileState::ProcFile(mark) => self.read_proc_file(file, mark, buffer).map(Tried::Done),
            FileState::Plain => self.read_plain(file, buffer).map(Tried::Done),
        }
    }

    /// What a read would wait for, if nothing is there.
    pub(crate) fn read_would_wait(&self, pid: i32, fd: Fd) -> Option<Wait> {
        let file = self.readable_file(pid, fd).ok()?;
        let open = &self.files[file];
        let waits = !matches!(
            open.state,
            FileState::Plain | FileState::ProcFile(_) | FileState::Signals(_)
        );
        (waits && !open.nonblock).then_some(Wait::Readable(file))
    }

    /// Reads where it is told to, wherever the descriptor stands.
    pub(crate) fn read_at(
        &mut self,
        pid: i32,
        fd: Fd,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize> {
        let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let file = self.file(pid, fd)?;
        let (FileState::Plain | FileState::ProcFile(_)) = self.files[file].state else {
            return Err(Errno::ESPIPE);
        };
        self.readable_file(pid, fd)?;
        self.sees(Thing::File(self.files[file].serial));
        let offset = usize::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let before = std::mem::replace(&mut self.files[file].offset, offset);
        let count = match self.files[file].state {
            FileState::ProcFile(mark) => self.read_proc_file(file, mark, buffer),
            _ => self.read_plain(file, buffer),
        };
        self.files[file].offset = before;
        count
    }

    fn read_plain(&mut self, file: Id<OpenFile>, buffer: &mut [u8]) -> Result<usize> {
        if self.is_removed_cgroup_file(&self.files[file]) {
            return Err(Errno::ENODEV);
        }
        let open = &mut self.files[file];
        match &self.inodes[open.inode].node {
            Node::Directory(_) => Err(Errno::EISDIR),
            Node::Device(Device::Null) => Ok(0),
            Node::Device(_) => {
                buffer.fill(0);
                Ok(buffer.len())
            }
            Node::Regular(regular) => {
                let number = self.inodes[open.inode].number;
                self.touches.sees(Thing::Data(number));
                // The text of such a file is made when its start is read.
                if open.offset == 0 {
                    open.seen = open.seen.map(|_| regular.version);
                }
                let rest = regular.content.get(open.offset..).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                open.offset += count;
                Ok(count)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// `done` counts the bytes of this call that were taken before it had to wait.
    pub(crate) fn write(
        &mut self,
        pid: i32,
        fd: Fd,
        bytes: &[u8],
        done: &mut usize,
    ) -> Result<Tried<usize>> {
        let file = self.writable_file(pid, fd)?;
        self.alters_file(file);
        match self.files[file].state {
            FileState::Fifo { .. } => self.write_fifo(pid, file, bytes, done),
            FileState::Master(pty) => self.write_master(file, pty, bytes, done),
            FileState::Slave(pty) => self.write_slave(file, pty, bytes, done),
            FileState::Socket(socket) => self.write_socket(pid, file, socket, bytes, done),
            FileState::Counter(count) => self.write_counter(file, count, bytes),
            FileState::ProcFile(mark) => self.write_proc_file(pid, mark, bytes).map(Tried::Done),
            FileState::Signals(_) => Err(Errno::EINVAL),
            FileState::Plain => {
                if self.files[file].seen.is_some() {
                    self.move_to_cgroup(pid, self.files[file].inode, bytes)?;
                }
                self.write_plain(file, bytes).map(Tried::Done)
            }
        }
    }

    pub(crate) fn write_plain(&mut self, file: Id<OpenFile>, bytes: &[u8]) -> Result<usize> {
        if self.is_removed_cgroup_file(&self.files[file]) {
            return Err(Errno::ENODEV);
        }
        let OpenFile { inode, append, offset, .. } = self.files[file];
        match &self.inodes[inode].node {
            Node::Device(Device::Full) => Err(Errno::ENOSPC),
            Node::Device(_) => Ok(bytes.len()),
            Node::Regular(regular) => {
                let offset = if append { regular.content.len() } else { offset };
                let count = self.write_regular(inode, offset, bytes)?;
                self.files[file].offset = offset + count;
                Ok(count)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// Writes what the disk has room for; `ENOSPC` when that is nothing.
    pub(crate) fn write_regular(
        &mut self,
        inode: Id<Inode>,
        offset: usize,
        bytes: &[u8],
    ) -> Result<usize> {
        self.alters(Thing::Data(self.inodes[inode].number));
        if self.config.disk_bytes.is_some() {
            self.alters(Thing::Everything);
        }
        let Node::Regular(regular) = &mut self.inodes[inode].node else {
            return Err(Errno::EINVAL);
        };
        let on_disk = !regular.in_memory;
        let content = &mut regular.content;
        let room = self.config.disk_bytes.filter(|_| on_disk).map_or(usize::MAX, |limit| {
            let free = usize::try_from(limit.saturating_sub(self.disk_used)).unwrap_or(usize::MAX);
            free.saturating_add(content.len()).saturating_sub(offset)
        });
        let count = bytes.len().min(room);
        if count == 0 && !bytes.is_empty() {
            return Err(Errno::ENOSPC);
        }
        let grown = content.len().max(offset + count);
        if on_disk {
            self.disk_used += (grown - content.len()) as u64;
        }
        content.resize(grown, 0);
        content[offset..offset + count].copy_from_slice(&bytes[..count]);
        regular.version += 1;
        if regular.watched {
            self.changed();
        }
        Ok(count)
    }
}
