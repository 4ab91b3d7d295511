//! Event counters (`eventfd(2)`).

use wavetank::host::{Errno, Fd, OpenFlags, Ready, Result};

use crate::file::{FileState, OpenFile};
use crate::fs::Node;
use crate::kernel::Kernel;
use crate::slab::Id;
use crate::wait::{Tried, Wait};

/// Bytes of a number that is read or written.
const WORD: usize = 8;
/// The highest that a counter can be.
const HIGHEST: u64 = u64::MAX - 1;

impl Kernel {
    pub(crate) fn event_counter(&mut self, pid: i32) -> Result<Fd> {
        self.free_descriptor(pid)?;
        let inode = self.new_inode(Node::Counter, 0o600, 0, 0);
        let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::NONBLOCK;
        let file = self.add_file(OpenFile::new(inode, flags, FileState::Counter(0)));
        self.install(pid, file)
    }

    pub(crate) fn read_counter(
        &mut self,
        file: Id<OpenFile>,
        count: u64,
        buffer: &mut [u8],
    ) -> Result<Tried<usize>> {
        let word = buffer.get_mut(..WORD).ok_or(Errno::EINVAL)?;
        match count {
            0 if self.files[file].nonblock => return Err(Errno::EAGAIN),
            0 => return Ok(Tried::Wait(Wait::Readable(file))),
            _ => word.copy_from_slice(&count.to_ne_bytes()),
        }
        self.files[file].state = FileState::Counter(0);
        self.changed();
        Ok(Tried::Done(WORD))
    }

    /// Since Linux 6.8 the bytes must be exactly one number.
    pub(crate) fn write_counter(
        &mut self,
        file: Id<OpenFile>,
        count: u64,
        bytes: &[u8],
    ) -> Result<Tried<usize>> {
        let word = <[u8; WORD]>::try_from(bytes).map_err(|_| Errno::EINVAL)?;
        let more = match u64::from_ne_bytes(word) {
            u64::MAX => return Err(Errno::EINVAL),
            more => more,
        };
        match count.checked_add(more).filter(|sum| *sum <= HIGHEST) {
            Some(sum) => self.files[file].state = FileState::Counter(sum),
            None if self.files[file].nonblock => return Err(Errno::EAGAIN),
            None => return Ok(Tried::Wait(Wait::Room(file, more))),
        }
        self.changed();
        Ok(Tried::Done(WORD))
    }

    pub(crate) fn poll_counter(&self, count: u64) -> Ready {
        let mut ready = Ready::empty();
        ready.set(Ready::READ, count > 0);
        ready.set(Ready::WRITE, count < HIGHEST);
        ready
    }

    /// Whether a counter can grow by so much.
    pub(crate) fn counter_has_room(&self, file: Id<OpenFile>, more: u64) -> bool {
        match self.files[file].state {
            FileState::Counter(count) => count.checked_add(more).is_some_and(|sum| sum <= HIGHEST),
            _ => true,
        }
    }
}
