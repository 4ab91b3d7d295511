//! Descriptors, and the open files behind them that several processes may share.

use wavetank::host::{Errno, Fd, FileStat, OpenFlags, Result};

use crate::fs::{Inode, Node, Regular};
use crate::kernel::Kernel;
use crate::proc::ProcessMark;
use crate::process::Process;
use crate::pty::Pty;
use crate::signals::SignalSet;
use crate::slab::Id;
use crate::socket::Socket;
use crate::touch::Thing;

/// An open file description (`open(2)`).
pub(crate) struct OpenFile {
    /// Its own number, where those count.
    pub(crate) serial: u64,
    pub(crate) inode: Id<Inode>,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) append: bool,
    pub(crate) nonblock: bool,
    pub(crate) offset: usize,
    /// Which version of a file that tells of changes was read last.
    pub(crate) seen: Option<u64>,
    /// Descriptors, and messages under way, that refer to it.
    pub(crate) users: u32,
    pub(crate) state: FileState,
}

/// What an open file needs besides, by its kind.
#[derive(Clone, Copy)]
pub(crate) enum FileState {
    /// A regular file, a directory or a plain device.
    Plain,
    /// A pipe or fifo. `openings` is how often it had been opened for writing when this reader
    /// came without waiting and found no writer; while it is still that, the reader is not told
    /// that the writers are gone, since for it there were none.
    Fifo { openings: Option<u64> },
    /// The side of a terminal where the screen and the keyboard are.
    Master(Id<Pty>),
    /// The side of a terminal where programs are.
    Slave(Id<Pty>),
    /// A signal descriptor.
    Signals(SignalSet),
    /// An event counter, and what it counts.
    Counter(u64),
    /// A socket.
    Socket(Id<Socket>),
    /// What `/proc` says of a process.
    ProcFile(ProcessMark),
}

impl OpenFile {
    pub(crate) fn new(inode: Id<Inode>, flags: OpenFlags, state: FileState) -> OpenFile {
        OpenFile {
            serial: 0,
            inode,
            readable: flags.contains(OpenFlags::READ) || !flags.contains(OpenFlags::WRITE),
            writable: flags.contains(OpenFlags::WRITE),
            append: flags.contains(OpenFlags::APPEND),
            nonblock: flags.contains(OpenFlags::NONBLOCK),
            offset: 0,
            seen: None,
            users: 0,
            state,
        }
    }
}

impl Process {
    fn free_number(&self) -> usize {
        self.fds.iter().position(Option::is_none).unwrap_or(self.fds.len())
    }
}

impl Kernel {
    pub(crate) fn process(&mut self, pid: i32) -> &mut Process {
        &mut self.processes[pid]
    }

    /// The open file behind a descriptor.
    pub(crate) fn file(&self, pid: i32, fd: Fd) -> Result<Id<OpenFile>> {
        let number = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        self.processes[pid].fds.get(number).copied().flatten().ok_or(Errno::EBADF)
    }

    pub(crate) fn readable_file(&self, pid: i32, fd: Fd) -> Result<Id<OpenFile>> {
        let file = self.file(pid, fd)?;
        if self.files[file].readable { Ok(file) } else { Err(Errno::EBADF) }
    }

    pub(crate) fn writable_file(&self, pid: i32, fd: Fd) -> Result<Id<OpenFile>> {
        let file = self.file(pid, fd)?;
        if self.files[file].writable { Ok(file) } else { Err(Errno::EBADF) }
    }

    /// The number that the next descriptor will have.
    pub(crate) fn free_descriptor(&self, pid: i32) -> Result<Fd> {
        let number = self.processes[pid].free_number();
        if number >= self.config.descriptors {
            return Err(Errno::EMFILE);
        }
        i32::try_from(number).map(Fd).map_err(|_| Errno::EMFILE)
    }

    /// Gives a process a descriptor of an open file.
    pub(crate) fn install(&mut self, pid: i32, file: Id<OpenFile>) -> Result<Fd> {
        let fd = self.free_descriptor(pid)?;
        self.share_file(file);
        let fds = &mut self.process(pid).fds;
        match fds.get_mut(fd.0 as usize) {
            Some(free) => *free = Some(file),
            None => fds.push(Some(file)),
        }
        Ok(fd)
    }

    /// Puts an open file into the table, with no user yet.
    pub(crate) fn add_file(&mut self, mut file: OpenFile) -> Id<OpenFile> {
        file.serial = self.next_serial();
        self.use_inode(file.inode);
        self.alters_text(&file);
        self.files.insert(file)
    }

    /// One more user of an open file.
    pub(crate) fn share_file(&mut self, file: Id<OpenFile>) {
        self.files[file].users += 1;
        self.alters(Thing::Users(self.files[file].serial));
    }

    /// A file that is open to be written cannot be executed.
    fn alters_text(&self, file: &OpenFile) {
        if self.touches.are_wanted()
            && file.writable
            && let Node::Regular(_) = self.inodes[file.inode].node
        {
            self.alters(Thing::Text(self.inodes[file.inode].number));
        }
    }

    /// An empty regular file without a name.
    pub(crate) fn memory_file(&mut self, pid: i32) -> Result<Fd> {
        self.free_descriptor(pid)?;
        let (uid, gid) = (self.processes[pid].uid, self.processes[pid].gid);
        let node = Node::Regular(Regular { in_memory: true, ..Regular::default() });
        let inode = self.new_inode(node, 0o777, uid, gid);
        let flags = OpenFlags::READ | OpenFlags::WRITE;
        let file = self.add_file(OpenFile::new(inode, flags, FileState::Plain));
        self.install(pid, file)
    }

    pub(crate) fn close(&mut self, pid: i32, fd: Fd) -> Result<()> {
        let file = self.file(pid, fd)?;
        let process = self.process(pid);
        process.fds[fd.0 as usize] = None;
        while process.fds.last().is_some_and(Option::is_none) {
            process.fds.pop();
        }
        self.leave_file(file);
        Ok(())
    }

    /// What tells whether a call on an open file would do anything.
    pub(crate) fn sees_file(&self, file: Id<OpenFile>) {
        if !self.touches.are_wanted() {
            return;
        }
        let open = &self.files[file];
        self.sees(Thing::File(open.serial));
        match open.state {
            FileState::Master(pty) | FileState::Slave(pty) => {
                self.sees(Thing::TerminalState(self.terminal_number(pty)));
            }
            FileState::Fifo { .. } => {
                self.sees(Thing::FifoState(self.inodes[open.inode].number));
            }
            FileState::Socket(socket) => {
                self.sees(Thing::Link(self.sockets[socket].serial));
                self.sees(Thing::News(self.sockets[socket].serial));
            }
            FileState::Plain if open.seen.is_some() => {
                self.sees(Thing::Data(self.inodes[open.inode].number));
                self.sees(Thing::Node(self.inodes[open.inode].number));
            }
            _ => {}
        }
    }

    /// What a read or write of an open file changes of what somebody else may have a hold of.
    pub(crate) fn alters_file(&self, file: Id<OpenFile>) {
        if !self.touches.are_wanted() {
            return;
        }
        let open = &self.files[file];
        match open.state {
            FileState::Plain | FileState::ProcFile(_) | FileState::Counter(_) => {
                self.alters(Thing::File(open.serial));
            }
            FileState::Master(pty) | FileState::Slave(pty) => {
                self.sees(Thing::TerminalState(self.terminal_number(pty)));
            }
            FileState::Signals(_) | FileState::Socket(_) | FileState::Fifo { .. } => {}
        }
        self.sees(Thing::File(open.serial));
    }

    /// Takes one user from an open file. With the last one it closes, which its other side sees.
    pub(crate) fn leave_file(&mut self, file: Id<OpenFile>) {
        self.files[file].users -= 1;
        self.alters(Thing::Users(self.files[file].serial));
        if self.files[file].users == 0 {
            self.drop_file(file);
        }
    }

    /// Closes an open file that has no user.
    pub(crate) fn drop_file(&mut self, file: Id<OpenFile>) {
        let Some(closed) = self.files.remove(file) else { return };
        self.alters_text(&closed);
        match closed.state {
            FileState::Plain
            | FileState::Signals(_)
            | FileState::Counter(_)
            | FileState::ProcFile(_) => {}
            FileState::Fifo { .. } => {
                self.altering_fifo(closed.inode, |fifo| {
                    fifo.close(closed.readable, closed.writable);
                });
            }
            FileState::Master(pty) => self.close_master(pty),
            FileState::Slave(pty) => self.close_slave(pty),
            FileState::Socket(socket) => self.close_socket(socket),
        }
        self.leave_inode(closed.inode);
        if !matches!(closed.state, FileState::Plain) {
            self.changed();
        }
    }

    pub(crate) fn set_nonblocking(&mut self, pid: i32, fd: Fd, on: bool) -> Result<()> {
        let file = self.file(pid, fd)?;
        self.alters(Thing::File(self.files[file].serial));
        self.files[file].nonblock = on;
        Ok(())
    }

    pub(crate) fn fstat(&self, pid: i32, fd: Fd) -> Result<FileStat> {
        let file = self.file(pid, fd)?;
        Ok(self.stat_inode(self.files[file].inode))
    }

    pub(crate) fn fchown(&mut self, pid: i32, fd: Fd, uid: u32, gid: u32) -> Result<()> {
        let inode = self.files[self.file(pid, fd)?].inode;
        if self.processes[pid].uid != 0 {
            return Err(Errno::EPERM);
        }
        self.writable_place(inode)?;
        self.alters(Thing::Node(self.inodes[inode].number));
        let inode = &mut self.inodes[inode];
        (inode.uid, inode.gid) = (uid, gid);
        Ok(())
    }

    pub(crate) fn fchmod(&mut self, pid: i32, fd: Fd, mode: u32) -> Result<()> {
        let inode = self.files[self.file(pid, fd)?].inode;
        self.sees(Thing::Node(self.inodes[inode].number));
        let who = self.processes[pid].uid;
        if who != 0 && who != self.inodes[inode].uid {
            return Err(Errno::EPERM);
        }
        self.writable_place(inode)?;
        self.alters(Thing::Node(self.inodes[inode].number));
        self.inodes[inode].mode = mode & 0o7777;
        Ok(())
    }

    /// `EROFS` for what lies in a directory where nothing may be changed.
    pub(crate) fn writable_place(&self, inode: Id<Inode>) -> Result<()> {
        match self.inodes[inode].parent {
            Some(parent) if self.is_read_only(parent) || self.is_mounted_read_only(inode) => {
                Err(Errno::EROFS)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn unread(&mut self, pid: i32, fd: Fd) -> Result<usize> {
        let file = self.file(pid, fd)?;
        let OpenFile { inode, offset, state, .. } = self.files[file];
        self.sees_file(file);
        self.sees(Thing::Data(self.inodes[inode].number));
        match state {
            FileState::Fifo { .. } => {
                if !self.fifo(inode).is_empty() {
                    self.sees(Thing::Fifo(self.inodes[inode].number));
                }
                Ok(self.fifo(inode).len())
            }
            FileState::Slave(pty) if !self.ptys[pty].master_open => Err(Errno::EIO),
            FileState::Master(pty) | FileState::Slave(pty) => {
                self.sees(Thing::Terminal(self.terminal_number(pty)));
                let terminal = &self.ptys[pty];
                let is_master = matches!(state, FileState::Master(_));
                Ok(if is_master { terminal.output.len() } else { terminal.unread_input() })
            }
            FileState::Socket(socket) => {
                self.sees(Thing::Queue(self.sockets[socket].serial));
                self.unread_socket(socket)
            }
            FileState::Signals(_) | FileState::Counter(_) | FileState::ProcFile(_) => {
                Err(Errno::ENOTTY)
            }
            FileState::Plain => match &self.inodes[inode].node {
                Node::Regular(regular) => Ok(regular.content.len().saturating_sub(offset)),
                _ => Err(Errno::ENOTTY),
            },
        }
    }
}
