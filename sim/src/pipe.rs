//! Pipes and fifos (`pipe(7)`, `fifo(7)`), page by page as Linux keeps them.
//!
//! A pipe is a ring of pages. A write goes on in the last page if its odd part fits there, and takes
//! new pages otherwise; so sixteen writes of one byte each that were *spliced* in fill a pipe,
//! and sixteen that were written do not. Readiness to be written to means a free page.

use std::collections::VecDeque;

use wavetank::host::{Errno, Fd, OpenFlags, Pipe, Ready, Result};

use crate::file::{FileState, OpenFile};
use crate::fs::{Inode, Node};
use crate::kernel::Kernel;
use crate::signals::PIPE;
use crate::slab::Id;
use crate::touch::Thing;
use crate::wait::{Tried, Wait};

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;

/// A piece of a pipe's bytes that shares a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    /// Bytes before it in the page, read already or never ours.
    offset: usize,
    len: usize,
    /// Whether a later write may go on behind it.
    mergeable: bool,
}

/// What is in a pipe, and who has it open.
#[derive(Debug, Default)]
pub(crate) struct PipeBuffer {
    bytes: VecDeque<u8>,
    pages: VecDeque<Page>,
    pages_max: usize,
    pub(crate) readers: u32,
    pub(crate) writers: u32,
    /// How often it was opened for reading, ever.
    pub(crate) reader_openings: u64,
    /// How often it was opened for writing, ever.
    pub(crate) writer_openings: u64,
}

/// Whether a pipe is empty, is full, and has readers and writers; how often either came.
type FifoState = (bool, bool, [bool; 2], [u64; 2]);

/// Moves bytes out of a queue, as many as are there and have room.
pub(crate) fn move_out(queue: &mut VecDeque<u8>, buffer: &mut [u8]) -> usize {
    let count = buffer.len().min(queue.len());
    let (front, back) = queue.as_slices();
    let from_front = front.len().min(count);
    buffer[..from_front].copy_from_slice(&front[..from_front]);
    buffer[from_front..count].copy_from_slice(&back[..count - from_front]);
    queue.drain(..count);
    count
}

impl PipeBuffer {
    pub(crate) fn new(pages_max: usize) -> PipeBuffer {
        PipeBuffer { pages_max: pages_max.max(1), ..PipeBuffer::default() }
    }

    pub(crate) fn open(&mut self, read: bool, write: bool) {
        if read {
            self.readers += 1;
            self.reader_openings += 1;
        }
        if write {
            self.writers += 1;
            self.writer_openings += 1;
        }
    }

    /// Bytes stay while anybody has it open, and no longer.
    pub(crate) fn close(&mut self, read: bool, write: bool) {
        self.readers -= u32::from(read);
        self.writers -= u32::from(write);
        if self.readers == 0 && self.writers == 0 {
            self.bytes.clear();
            self.pages.clear();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.pages.len() >= self.pages_max
    }

    /// All that a poll tells of it.
    fn state(&self) -> FifoState {
        let openings = [self.reader_openings, self.writer_openings];
        (self.is_empty(), self.is_full(), [self.readers > 0, self.writers > 0], openings)
    }

    /// Moves bytes out, at most as many as the buffer holds.
    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let count = move_out(&mut self.bytes, buffer);
        let mut left = count;
        while left > 0 {
            let Some(page) = self.pages.front_mut() else { break };
            let part = left.min(page.len);
            page.offset += part;
            page.len -= part;
            left -= part;
            if page.len == 0 {
                self.pages.pop_front();
            }
        }
        count
    }

    /// Moves bytes in, as far as there is room. `whole` is the length of the write that these
    /// bytes are the rest of.
    fn put(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        let odd = bytes.len() % PAGE;
        if let Some(last) = self.pages.back_mut()
            && odd > 0
            && last.mergeable
            && last.offset + last.len + odd <= PAGE
        {
            last.len += odd;
            done = odd;
        }
        while done < bytes.len() && !self.is_full() {
            let len = PAGE.min(bytes.len() - done);
            self.pages.push_back(Page { offset: 0, len, mergeable: true });
            done += len;
        }
        self.bytes.extend(&bytes[..done]);
        done
    }

    /// Moves pages to another pipe; a page of which only a part goes is shared from then on.
    fn splice(&mut self, to: &mut PipeBuffer, len: usize) -> usize {
        let mut done = 0;
        while done < len && !to.is_full() {
            let Some(page) = self.pages.front_mut() else { break };
            let part = page.len.min(len - done);
            if part == page.len {
                to.pages.extend(self.pages.pop_front());
            } else {
                to.pages.push_back(Page { len: part, mergeable: false, ..*page });
                page.offset += part;
                page.len -= part;
            }
            done += part;
        }
        to.bytes.extend(self.bytes.drain(..done));
        done
    }
}

impl Kernel {
    pub(crate) fn fifo(&mut self, inode: Id<Inode>) -> &mut PipeBuffer {
        match &mut self.inodes[inode].node {
            Node::Fifo(pipe) => pipe,
            _ => panic!("a pipe was looked for in what is none"),
        }
    }

    /// Changes what is in a pipe, or who has it open.
    pub(crate) fn altering_fifo<T>(
        &mut self,
        inode: Id<Inode>,
        change: impl FnOnce(&mut PipeBuffer) -> T,
    ) -> T {
        let before = self.fifo_ref(inode).state();
        let value = change(self.fifo(inode));
        self.note_fifo(inode, before);
        value
    }

    /// A pipe has changed that was like this before.
    fn note_fifo(&self, inode: Id<Inode>, before: FifoState) {
        let number = self.inodes[inode].number;
        self.alters(Thing::Fifo(number));
        if self.fifo_ref(inode).state() != before {
            self.alters(Thing::FifoState(number));
        }
    }

    fn fifo_ref(&self, inode: Id<Inode>) -> &PipeBuffer {
        match &self.inodes[inode].node {
            Node::Fifo(pipe) => pipe,
            _ => panic!("a pipe was looked for in what is none"),
        }
    }

    pub(crate) fn pipe(&mut self, pid: i32, flags: OpenFlags) -> Result<Pipe> {
        let nonblock = flags & OpenFlags::NONBLOCK;
        let process = &self.processes[pid];
        let free = process.fds.iter().filter(|fd| fd.is_none()).count()
            + self.config.descriptors.saturating_sub(process.fds.len());
        if free < 2 {
            return Err(Errno::EMFILE);
        }
        let (uid, gid) = (process.uid, process.gid);
        let mut buffer = PipeBuffer::new(self.config.pipe_pages);
        buffer.open(true, true);
        let inode = self.new_inode(Node::Fifo(buffer), 0o600, uid, gid);
        let state = FileState::Fifo { openings: None };
        let read = self.add_file(OpenFile::new(inode, OpenFlags::READ | nonblock, state));
        let write = self.add_file(OpenFile::new(inode, OpenFlags::WRITE | nonblock, state));
        Ok(Pipe { read: self.install(pid, read)?, write: self.install(pid, write)? })
    }

    /// Opens a fifo for a new open file; what it must wait for, if anything.
    pub(crate) fn open_fifo(&mut self, file: Id<OpenFile>) -> Result<Option<Wait>> {
        let OpenFile { inode, readable, writable, nonblock, .. } = self.files[file];
        self.alters(Thing::Fifo(self.inodes[inode].number));
        self.alters(Thing::FifoState(self.inodes[inode].number));
        let fifo = self.fifo(inode);
        if writable && !readable && nonblock && fifo.readers == 0 {
            return Err(Errno::ENXIO);
        }
        fifo.open(readable, writable);
        let alone = if readable { fifo.writers == 0 } else { fifo.readers == 0 };
        let openings = if readable { fifo.writer_openings } else { fifo.reader_openings };
        let unseen = (readable && alone && nonblock).then_some(openings);
        self.files[file].state = FileState::Fifo { openings: unseen };
        self.changed();
        let waits = alone && !nonblock;
        Ok(waits.then_some(Wait::Partner { inode, writer: readable, openings }))
    }

    /// Whether somebody has come to the other side since the waiting began, even if he has gone
    /// again.
    pub(crate) fn partner_came(&self, inode: Id<Inode>, writer: bool, openings: u64) -> bool {
        let fifo = self.fifo_ref(inode);
        openings != if writer { fifo.writer_openings } else { fifo.reader_openings }
    }

    pub(crate) fn read_fifo(
        &mut self,
        file: Id<OpenFile>,
        buffer: &mut [u8],
    ) -> Result<Tried<usize>> {
        let OpenFile { inode, nonblock, .. } = self.files[file];
        if buffer.is_empty() {
            return Ok(Tried::Done(0));
        }
        self.sees_file(file);
        let fifo = self.fifo(inode);
        if fifo.is_empty() {
            return match () {
                () if fifo.writers == 0 => Ok(Tried::Done(0)),
                () if nonblock => Err(Errno::EAGAIN),
                () => Ok(Tried::Wait(Wait::Readable(file))),
            };
        }
        let count = self.altering_fifo(inode, |fifo| fifo.take(buffer));
        self.changed();
        Ok(Tried::Done(count))
    }

    /// Writes what fits. `done` counts the bytes of this call that went in before it had to wait.
    pub(crate) fn write_fifo(
        &mut self,
        pid: i32,
        file: Id<OpenFile>,
        bytes: &[u8],
        done: &mut usize,
    ) -> Result<Tried<usize>> {
        let OpenFile { inode, nonblock, .. } = self.files[file];
        if bytes.is_empty() {
            return Ok(Tried::Done(0));
        }
        self.sees_file(file);
        if self.fifo(inode).readers == 0 {
            self.signal(pid, PIPE);
            return if *done > 0 { Ok(Tried::Done(*done)) } else { Err(Errno::EPIPE) };
        }
        let count = self.altering_fifo(inode, |fifo| fifo.put(&bytes[*done..]));
        *done += count;
        if count > 0 {
            self.changed();
        }
        match () {
            () if *done == bytes.len() => Ok(Tried::Done(*done)),
            () if !nonblock => Ok(Tried::Wait(Wait::Writable(file))),
            () if *done > 0 => Ok(Tried::Done(*done)),
            () => Err(Errno::EAGAIN),
        }
    }

    pub(crate) fn splice(&mut self, pid: i32, from: Fd, to: Fd, len: usize) -> Result<usize> {
        if len == 0 {
            return Ok(0);
        }
        let from = self.readable_file(pid, from)?;
        let to = self.writable_file(pid, to)?;
        self.alters_file(from);
        self.alters_file(to);
        self.sees_file(from);
        self.sees_file(to);
        let is_pipe = |file: Id<OpenFile>| match self.files[file].state {
            FileState::Fifo { .. } => Some(self.files[file].inode),
            _ => None,
        };
        let (from, to) = match (is_pipe(from), is_pipe(to)) {
            (Some(from), Some(to)) if from != to => (from, to),
            (Some(from), None) => return self.splice_out(from, to, len),
            (None, Some(to)) => return self.splice_from_none(pid, to),
            _ => return Err(Errno::EINVAL),
        };
        let before = [from, to].map(|inode| self.fifo_ref(inode).state());
        let mut target = std::mem::take(self.fifo(to));
        let moved = self.splice_into(pid, from, &mut target, len);
        *self.fifo(to) = target;
        if let Ok(1..) = moved {
            for (inode, before) in [from, to].into_iter().zip(before) {
                self.note_fifo(inode, before);
            }
            self.changed();
        }
        moved
    }

    /// Moves bytes of a pipe to a regular file or to a device that is none of ours.
    fn splice_out(&mut self, from: Id<Inode>, to: Id<OpenFile>, len: usize) -> Result<usize> {
        if !matches!(self.files[to].state, FileState::Plain) || self.files[to].append {
            return Err(Errno::EINVAL);
        }
        let pipe = self.fifo(from);
        if pipe.is_empty() {
            return if pipe.writers == 0 { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        let bytes: Vec<u8> = pipe.bytes.iter().copied().take(len).collect();
        let count = self.write_plain(to, &bytes)?;
        self.altering_fifo(from, |pipe| pipe.take(&mut vec![0; count]));
        self.changed();
        Ok(count)
    }

    /// Linux looks whether the pipe could take something before it finds that a file has nothing
    /// that can be spliced.
    fn splice_from_none(&mut self, pid: i32, to: Id<Inode>) -> Result<usize> {
        let target = self.fifo(to);
        match (target.readers, target.is_full()) {
            (0, _) => {
                self.signal(pid, PIPE);
                Err(Errno::EPIPE)
            }
            (_, true) => Err(Errno::EAGAIN),
            (_, false) => Err(Errno::EINVAL),
        }
    }

    /// The questions in the order in which Linux asks them: is there something, is there room, is
    /// there a reader, is this the end.
    fn splice_into(
        &mut self,
        pid: i32,
        from: Id<Inode>,
        target: &mut PipeBuffer,
        len: usize,
    ) -> Result<usize> {
        let source = self.fifo(from);
        if source.is_empty() && source.writers > 0 {
            return Err(Errno::EAGAIN);
        }
        if target.readers == 0 {
            self.signal(pid, PIPE);
            return Err(Errno::EPIPE);
        }
        if target.is_full() {
            return Err(Errno::EAGAIN);
        }
        Ok(self.fifo(from).splice(target, len))
    }

    pub(crate) fn poll_fifo(&self, file: &OpenFile) -> Ready {
        let fifo = self.fifo_ref(file.inode);
        let FileState::Fifo { openings } = file.state else { return Ready::empty() };
        let mut ready = Ready::empty();
        if file.readable {
            ready.set(Ready::READ, !fifo.is_empty());
            let unseen = openings == Some(fifo.writer_openings);
            ready.set(Ready::HANGUP, fifo.writers == 0 && !unseen);
        }
        if file.writable {
            ready.set(Ready::WRITE, !fifo.is_full());
            ready.set(Ready::ERROR, fifo.readers == 0);
        }
        ready
    }

    /// Whether a read would not wait.
    pub(crate) fn fifo_has_news(&self, inode: Id<Inode>) -> bool {
        let fifo = self.fifo_ref(inode);
        !fifo.is_empty() || fifo.writers == 0
    }

    /// Whether a write would not wait.
    pub(crate) fn fifo_has_room(&self, inode: Id<Inode>) -> bool {
        let fifo = self.fifo_ref(inode);
        !fifo.is_full() || fifo.readers == 0
    }
}
