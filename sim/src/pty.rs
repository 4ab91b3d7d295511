//! Pseudo terminals (`pty(7)`, `ioctl_tty(2)`): opening, closing, reading, writing, readiness.
//!
//! What the terminal does to the bytes in between is the [line discipline](crate::line).

use std::collections::VecDeque;

use wavetank::host::{Errno, Fd, OpenFlags, Ready, Result, Signal, Termios, WindowSize};

use crate::file::{FileState, OpenFile};
use crate::fs::{Device, Inode, Node};
use crate::kernel::Kernel;
use crate::line::{Input, default_termios};
use crate::pipe::move_out;
use crate::slab::Id;
use crate::touch::Thing;
use crate::wait::{Tried, Wait};

/// A pair of a master and a slave.
pub(crate) struct Pty {
    /// The slave is `/dev/pts/` and this.
    pub(crate) number: u32,
    /// The slave's file.
    node: Id<Inode>,
    pub(crate) master_open: bool,
    locked: bool,
    slaves: u32,
    /// The slave had been opened, and nobody has it open any more.
    slaves_gone: bool,
    pub(crate) termios: Termios,
    size: WindowSize,
    /// What was typed at the master and waits for a reader of the slave.
    pub(crate) input: VecDeque<Input>,
    /// What waits for a reader of the master.
    pub(crate) output: VecDeque<u8>,
    /// The session whose terminal it is.
    pub(crate) session: Option<i32>,
    /// The process group that gets the signals of the keyboard.
    pub(crate) foreground: Option<i32>,
    /// How many bytes each direction holds.
    pub(crate) capacity: usize,
}

/// What a poll tells of a terminal's master and of its slave.
type TerminalState = (Ready, Ready);

impl Kernel {
    /// A new pair, whose slave is locked yet (`ptmx(4)`).
    pub(crate) fn new_pty(&mut self, pid: i32) -> Result<Id<Pty>> {
        self.alters(Thing::Terminals);
        let taken = |number: u32| self.ptys.iter().any(|(_, pty)| pty.number == number);
        let number = (0..).find(|number| !taken(*number)).ok_or(Errno::ENOSPC)?;
        let uid = self.processes[pid].uid;
        let node = self.new_inode(Node::Device(Device::Null), 0o620, uid, 5);
        let pty = self.ptys.insert(Pty {
            number,
            node,
            master_open: true,
            locked: true,
            slaves: 0,
            slaves_gone: false,
            termios: default_termios(),
            size: WindowSize::default(),
            input: VecDeque::new(),
            output: VecDeque::new(),
            session: None,
            foreground: None,
            capacity: self.config.terminal_bytes,
        });
        self.inodes[node].node = Node::Device(Device::Slave(pty));
        let directory = self.pts;
        self.link(directory, number.to_string().into(), node);
        Ok(pty)
    }

    pub(crate) fn open_slave(&mut self, pid: i32, pty: Id<Pty>, flags: OpenFlags) -> Result<()> {
        let before = self.terminal_state(pty);
        let process = &self.processes[pid];
        let becomes_ours = process.session == pid
            && process.terminal.is_none()
            && !flags.contains(OpenFlags::NOCTTY)
            && flags.contains(OpenFlags::READ);
        let group = process.group;
        let it = &mut self.ptys[pty];
        if it.locked || !it.master_open {
            return Err(Errno::EIO);
        }
        it.slaves += 1;
        it.slaves_gone = false;
        if becomes_ours && it.session.is_none() {
            it.session = Some(pid);
            it.foreground = Some(group);
            self.process(pid).terminal = Some(pty);
        }
        self.note_terminal(pty, before);
        self.changed();
        Ok(())
    }

    /// What tells a terminal from all others.
    pub(crate) fn terminal_number(&self, pty: Id<Pty>) -> u64 {
        self.inodes[self.ptys[pty].node].number
    }

    /// All that a poll tells of it.
    fn terminal_state(&self, pty: Id<Pty>) -> TerminalState {
        (self.poll_master(pty), self.poll_slave(pty))
    }

    /// A terminal has changed that was like this before.
    fn note_terminal(&self, pty: Id<Pty>, before: TerminalState) {
        let number = self.terminal_number(pty);
        self.alters(Thing::Terminal(number));
        if self.terminal_state(pty) != before {
            self.alters(Thing::TerminalState(number));
        }
    }

    pub(crate) fn close_slave(&mut self, pty: Id<Pty>) {
        self.alters(Thing::Terminal(self.terminal_number(pty)));
        self.alters(Thing::TerminalState(self.terminal_number(pty)));
        self.alters(Thing::Terminals);
        let it = &mut self.ptys[pty];
        it.slaves -= 1;
        it.slaves_gone = it.slaves == 0;
        if it.slaves_gone && !it.master_open {
            self.ptys.remove(pty);
        }
    }

    /// Without its master a terminal hangs up: its session loses it, and the leader is told.
    pub(crate) fn close_master(&mut self, pty: Id<Pty>) {
        self.alters(Thing::Everything);
        let it = &mut self.ptys[pty];
        it.master_open = false;
        it.input.clear();
        it.foreground = None;
        let (number, slaves) = (it.number, it.slaves);
        let leader = it.session.take();
        let directory = self.pts;
        self.unlink_entry(directory, number.to_string().as_ref());
        if slaves == 0 {
            self.ptys.remove(pty);
        }
        for process in self.processes.values_mut().filter(|it| it.terminal == Some(pty)) {
            process.terminal = None;
        }
        if let Some(leader) = leader {
            self.signal(leader, Signal::HUP);
            self.signal(leader, Signal::CONT);
        }
    }

    // ---- bytes -------------------------------------------------------------------------------

    pub(crate) fn read_master(
        &mut self,
        file: Id<OpenFile>,
        pty: Id<Pty>,
        buffer: &mut [u8],
    ) -> Result<Tried<usize>> {
        let nonblock = self.files[file].nonblock;
        let before = self.terminal_state(pty);
        let it = &mut self.ptys[pty];
        match () {
            () if !it.output.is_empty() || buffer.is_empty() => {}
            () if it.slaves_gone => return Err(Errno::EIO),
            () if nonblock => return Err(Errno::EAGAIN),
            () => return Ok(Tried::Wait(Wait::Readable(file))),
        }
        let count = move_out(&mut it.output, buffer);
        self.note_terminal(pty, before);
        self.changed();
        Ok(Tried::Done(count))
    }

    pub(crate) fn read_slave(
        &mut self,
        file: Id<OpenFile>,
        pty: Id<Pty>,
        buffer: &mut [u8],
    ) -> Result<Tried<usize>> {
        let nonblock = self.files[file].nonblock;
        let before = self.terminal_state(pty);
        let it = &mut self.ptys[pty];
        if !it.master_open || buffer.is_empty() {
            return Ok(Tried::Done(0));
        }
        let at_once = !it.is_canonical() && it.termios.characters[Termios::VMIN] == 0;
        if !it.has_input() && !at_once {
            return if nonblock {
                Err(Errno::EAGAIN)
            } else {
                Ok(Tried::Wait(Wait::Readable(file)))
            };
        }
        let count = it.take_input(buffer);
        self.note_terminal(pty, before);
        self.changed();
        Ok(Tried::Done(count))
    }

    pub(crate) fn write_master(
        &mut self,
        file: Id<OpenFile>,
        pty: Id<Pty>,
        bytes: &[u8],
        done: &mut usize,
    ) -> Result<Tried<usize>> {
        let (before, state_before) = (*done, self.terminal_state(pty));
        let shown_before = self.ptys[pty].output.len();
        while let Some(&byte) = bytes.get(*done)
            && self.ptys[pty].has_input_room()
        {
            *done += 1;
            let it = &mut self.ptys[pty];
            if it.keyboard_signal(byte).is_some() {
                // What these bytes have echoed is thrown away with the line itself.
                it.output.truncate(shown_before);
            }
            let signal = it.type_in(byte);
            if let (Some(signal), Some(group)) = (signal, it.foreground) {
                self.signal_group(group, signal);
            }
        }
        self.note_terminal(pty, state_before);
        self.wrote(file, bytes, before, *done)
    }

    pub(crate) fn write_slave(
        &mut self,
        file: Id<OpenFile>,
        pty: Id<Pty>,
        bytes: &[u8],
        done: &mut usize,
    ) -> Result<Tried<usize>> {
        let (before, state_before) = (*done, self.terminal_state(pty));
        let it = &mut self.ptys[pty];
        if !it.master_open {
            return Err(Errno::EIO);
        }
        while let Some(&byte) = bytes.get(*done)
            && it.print(byte)
        {
            *done += 1;
        }
        self.note_terminal(pty, state_before);
        self.wrote(file, bytes, before, *done)
    }

    /// The answer of a write that has come so far.
    fn wrote(
        &self,
        file: Id<OpenFile>,
        bytes: &[u8],
        before: usize,
        done: usize,
    ) -> Result<Tried<usize>> {
        if done > before {
            self.changed();
        }
        match () {
            () if done == bytes.len() => Ok(Tried::Done(done)),
            () if !self.files[file].nonblock => Ok(Tried::Wait(Wait::Writable(file))),
            () if done > 0 => Ok(Tried::Done(done)),
            () => Err(Errno::EAGAIN),
        }
    }

    // ---- readiness ---------------------------------------------------------------------------

    pub(crate) fn poll_master(&self, pty: Id<Pty>) -> Ready {
        let it = &self.ptys[pty];
        let mut ready = Ready::empty();
        ready.set(Ready::READ, !it.output.is_empty());
        ready.set(Ready::WRITE, it.has_input_room());
        ready.set(Ready::HANGUP, it.slaves_gone);
        ready
    }

    pub(crate) fn poll_slave(&self, pty: Id<Pty>) -> Ready {
        let it = &self.ptys[pty];
        if !it.master_open {
            return Ready::READ | Ready::WRITE | Ready::ERROR | Ready::HANGUP;
        }
        let mut ready = Ready::empty();
        ready.set(Ready::READ, it.has_input());
        ready.set(Ready::WRITE, it.has_output_room());
        ready
    }

    // ---- the other calls ---------------------------------------------------------------------

    fn master(&self, pid: i32, fd: Fd) -> Result<Id<Pty>> {
        match self.files[self.file(pid, fd)?].state {
            FileState::Master(pty) => Ok(pty),
            FileState::Slave(pty) if !self.ptys[pty].master_open => Err(Errno::EIO),
            _ => Err(Errno::ENOTTY),
        }
    }

    /// The terminal behind a descriptor of either side; `EIO` for the slave of one that hung up.
    fn terminal(&self, pid: i32, fd: Fd) -> Result<Id<Pty>> {
        let file = self.file(pid, fd)?;
        self.sees_file(file);
        match self.files[file].state {
            FileState::Slave(pty) if !self.ptys[pty].master_open => Err(Errno::EIO),
            FileState::Master(pty) | FileState::Slave(pty) => Ok(pty),
            _ => Err(Errno::ENOTTY),
        }
    }

    pub(crate) fn unlock_pty(&mut self, pid: i32, fd: Fd) -> Result<()> {
        let pty = self.master(pid, fd)?;
        self.alters(Thing::Terminal(self.terminal_number(pty)));
        self.ptys[pty].locked = false;
        Ok(())
    }

    pub(crate) fn pty_number(&self, pid: i32, fd: Fd) -> Result<u32> {
        Ok(self.ptys[self.master(pid, fd)?].number)
    }

    pub(crate) fn open_pty_peer(&mut self, pid: i32, fd: Fd) -> Result<Fd> {
        let FileState::Master(pty) = self.files[self.file(pid, fd)?].state else {
            return self.terminal(pid, fd).and(Err(Errno::EIO));
        };
        self.free_descriptor(pid)?;
        let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::NOCTTY;
        self.open_slave(pid, pty, flags)?;
        let node = self.ptys[pty].node;
        let file = self.add_file(OpenFile::new(node, flags, FileState::Slave(pty)));
        self.install(pid, file)
    }

    pub(crate) fn window_size(&self, pid: i32, fd: Fd) -> Result<WindowSize> {
        let pty = self.terminal(pid, fd)?;
        self.sees(Thing::WindowSize(self.terminal_number(pty)));
        Ok(self.ptys[pty].size)
    }

    pub(crate) fn set_window_size(&mut self, pid: i32, fd: Fd, size: WindowSize) -> Result<()> {
        let pty = self.terminal(pid, fd)?;
        self.alters(Thing::WindowSize(self.terminal_number(pty)));
        let it = &mut self.ptys[pty];
        let changed = it.size != size;
        it.size = size;
        if let Some(group) = it.foreground.filter(|_| changed) {
            self.signal_group(group, Signal::WINCH);
        }
        Ok(())
    }

    pub(crate) fn terminal_attributes(&self, pid: i32, fd: Fd) -> Result<Termios> {
        let pty = self.terminal(pid, fd)?;
        self.sees(Thing::Terminal(self.terminal_number(pty)));
        Ok(self.ptys[pty].termios)
    }

    pub(crate) fn set_terminal_attributes(
        &mut self,
        pid: i32,
        fd: Fd,
        attributes: Termios,
    ) -> Result<()> {
        let pty = self.terminal(pid, fd)?;
        let before = self.terminal_state(pty);
        self.ptys[pty].set_termios(attributes);
        self.note_terminal(pty, before);
        self.changed();
        Ok(())
    }
}
