//! Stream sockets of the unix family (`unix(7)`).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use wavetank::host::{Errno, Fd, OpenFlags, Peer, Pid, Ready, Received, Result, User};

use crate::file::{FileState, OpenFile};
use crate::fs::{Inode, LastLink, Node, UMASK, WRITE};
use crate::kernel::Kernel;
use crate::pipe::{PAGE, move_out};
use crate::signals::PIPE;
use crate::slab::Id;
use crate::touch::Thing;
use crate::wait::{Tried, Wait};

/// The longest path of a socket.
const PATH_BYTES: usize = 107;
/// The longest queue of connections that nobody has accepted (`net.core.somaxconn`).
const BACKLOG: usize = 4096;

/// A socket.
#[derive(Default)]
pub(crate) struct Socket {
    /// Its own number, where those count.
    pub(crate) serial: u64,
    role: Role,
    /// Its file.
    bound: Option<Id<Inode>>,
    /// Its address, as it was told: its own, or that of the listening socket which accepted it.
    address: Option<PathBuf>,
    /// Who is at the other end; for one that listens, who made it listen.
    peer: Option<Peer>,
    incoming: VecDeque<Message>,
    /// Memory that `incoming` takes, as the sender's limit counts it.
    memory: usize,
    /// What the next read fails with.
    error: Option<Errno>,
}

/// What a socket is for.
#[derive(Default)]
enum Role {
    #[default]
    Fresh,
    /// Sockets in `queue` are connected and have not been accepted. One more than `backlog` fit.
    Listening { backlog: usize, queue: VecDeque<Id<Socket>> },
    /// Without a peer: that one has closed.
    Connected { peer: Option<Id<Socket>> },
}

/// The most bytes of a message that stand beside its header; the rest takes whole pages.
const HEADER_BYTES: usize = 3776;
/// The longest message; more bytes become several.
const MESSAGE_BYTES: usize = HEADER_BYTES + 8 * PAGE;

/// Memory that a message takes of its sender's limit. No page tells this; it was measured on
/// Linux 6.18, for messages of 1 to 200,000 bytes.
fn message_memory(len: usize) -> usize {
    let paged = len.saturating_sub(HEADER_BYTES).next_multiple_of(PAGE).min(len);
    let header = (len - paged + 320).next_power_of_two().max(512) + 256;
    header + paged.next_multiple_of(PAGE)
}

/// Bytes that were sent, and the open files that came with the first of them.
struct Message {
    bytes: VecDeque<u8>,
    files: Vec<Id<OpenFile>>,
    memory: usize,
}

impl Kernel {
    fn socket_of(&self, pid: i32, fd: Fd) -> Result<(Id<OpenFile>, Id<Socket>)> {
        let file = self.file(pid, fd)?;
        match self.files[file].state {
            FileState::Socket(socket) => {
                self.sees(Thing::File(self.files[file].serial));
                self.sees(Thing::Link(self.sockets[socket].serial));
                Ok((file, socket))
            }
            _ => Err(Errno::ENOTSOCK),
        }
    }

    fn install_socket(&mut self, pid: i32, socket: Id<Socket>) -> Result<Fd> {
        let (uid, gid) = (self.processes[pid].uid, self.processes[pid].gid);
        let inode = self.new_inode(Node::Socket(None), 0o777, uid, gid);
        let flags = OpenFlags::READ | OpenFlags::WRITE;
        let file = self.add_file(OpenFile::new(inode, flags, FileState::Socket(socket)));
        self.install(pid, file)
    }

    pub(crate) fn socket(&mut self, pid: i32) -> Result<Fd> {
        self.free_descriptor(pid)?;
        let serial = self.next_serial();
        let socket = self.sockets.insert(Socket { serial, ..Socket::default() });
        self.install_socket(pid, socket)
    }

    fn check_path(path: &Path) -> Result<()> {
        match path.as_os_str().len() {
            0 => Err(Errno::EINVAL),
            1..=PATH_BYTES => Ok(()),
            _ => Err(Errno::ENAMETOOLONG),
        }
    }

    pub(crate) fn bind(&mut self, pid: i32, fd: Fd, path: &Path) -> Result<()> {
        Kernel::check_path(path)?;
        let (file, socket) = self.socket_of(pid, fd)?;
        let mode = self.inodes[self.files[file].inode].mode;
        let place = self.walk(pid, path, LastLink::Name)?;
        let (parent, name) = (place.parent, place.name.clone());
        let node = Node::Socket(Some(socket));
        let inode = self
            .create(self.walker(pid), place, node, mode & !UMASK)
            .map_err(|errno| if errno == Errno::EEXIST { Errno::EADDRINUSE } else { errno })?;
        // Linux makes the file first and looks at the socket then.
        if self.sockets[socket].address.is_some() {
            self.unlink_entry(parent, &name);
            return Err(Errno::EINVAL);
        }
        self.use_inode(inode);
        self.alters(Thing::Link(self.sockets[socket].serial));
        let it = &mut self.sockets[socket];
        (it.bound, it.address) = (Some(inode), Some(path.to_owned()));
        Ok(())
    }

    pub(crate) fn listen(&mut self, pid: i32, fd: Fd, backlog: u32) -> Result<()> {
        let (_, socket) = self.socket_of(pid, fd)?;
        let wanted = usize::try_from(backlog).unwrap_or(BACKLOG).min(BACKLOG);
        let who = self.credentials(pid);
        self.alters(Thing::Link(self.sockets[socket].serial));
        let it = &mut self.sockets[socket];
        if it.address.is_none() {
            return Err(Errno::EINVAL);
        }
        match &mut it.role {
            Role::Connected { .. } => return Err(Errno::EINVAL),
            Role::Listening { backlog, .. } => *backlog = wanted,
            Role::Fresh => it.role = Role::Listening { backlog: wanted, queue: VecDeque::new() },
        }
        it.peer = Some(who);
        self.changed();
        Ok(())
    }

    /// Who a process is, as its peers see it.
    fn credentials(&self, pid: i32) -> Peer {
        let process = &self.processes[pid];
        Peer { pid: Pid(pid), user: User { uid: process.uid, gid: process.gid } }
    }

    /// Of a socket that was never connected nobody is the peer: pid 0 and user -1.
    pub(crate) fn peer(&self, pid: i32, fd: Fd) -> Result<Peer> {
        let nobody = Peer { pid: Pid(0), user: User { uid: u32::MAX, gid: u32::MAX } };
        let (_, socket) = self.socket_of(pid, fd)?;
        Ok(self.sockets[socket].peer.unwrap_or(nobody))
    }

    pub(crate) fn socket_path(&self, pid: i32, fd: Fd) -> Result<PathBuf> {
        let (_, socket) = self.socket_of(pid, fd)?;
        Ok(self.sockets[socket].address.clone().unwrap_or_default())
    }

    pub(crate) fn connect(&mut self, pid: i32, fd: Fd, path: &Path) -> Result<Tried<()>> {
        Kernel::check_path(path)?;
        let (file, socket) = self.socket_of(pid, fd)?;
        let inode = self.walk(pid, path, LastLink::Follow)?.existing()?;
        self.allow(self.walker(pid), inode, WRITE)?;
        self.sees(Thing::Node(self.inodes[inode].number));
        let Node::Socket(Some(listener)) = self.inodes[inode].node else {
            return Err(Errno::ECONNREFUSED);
        };
        self.alters(Thing::Link(self.sockets[socket].serial));
        self.sees(Thing::Link(self.sockets[listener].serial));
        self.alters_queue(listener);
        let Role::Listening { backlog, queue } = &self.sockets[listener].role else {
            return Err(Errno::ECONNREFUSED);
        };
        let full = queue.len() > *backlog;
        match self.sockets[socket].role {
            _ if full && self.files[file].nonblock => return Err(Errno::EAGAIN),
            _ if full => return Ok(Tried::Wait(Wait::Backlog(listener))),
            Role::Connected { .. } => return Err(Errno::EISCONN),
            Role::Listening { .. } => return Err(Errno::EINVAL),
            Role::Fresh => {}
        }
        let role = Role::Connected { peer: Some(socket) };
        let address = self.sockets[listener].address.clone();
        let who = Some(self.credentials(pid));
        let serial = self.next_serial();
        let accepted = Socket { serial, role, address, peer: who, ..Socket::default() };
        let other = self.sockets.insert(accepted);
        let listening = self.sockets[listener].peer;
        let it = &mut self.sockets[socket];
        (it.role, it.peer) = (Role::Connected { peer: Some(other) }, listening);
        if let Role::Listening { queue, .. } = &mut self.sockets[listener].role {
            queue.push_back(other);
        }
        self.changed();
        Ok(Tried::Done(()))
    }

    pub(crate) fn has_backlog_room(&self, listener: Id<Socket>) -> bool {
        match self.sockets.get(listener).map(|it| &it.role) {
            Some(Role::Listening { backlog, queue }) => queue.len() <= *backlog,
            _ => true,
        }
    }

    pub(crate) fn accept(&mut self, pid: i32, fd: Fd) -> Result<Tried<Fd>> {
        let (file, listener) = self.socket_of(pid, fd)?;
        self.free_descriptor(pid)?;
        self.alters_queue(listener);
        let Role::Listening { queue, .. } = &mut self.sockets[listener].role else {
            return Err(Errno::EINVAL);
        };
        match queue.pop_front() {
            Some(socket) => {
                self.changed();
                self.install_socket(pid, socket).map(Tried::Done)
            }
            None if self.files[file].nonblock => Err(Errno::EAGAIN),
            None => Ok(Tried::Wait(Wait::Readable(file))),
        }
    }

    /// Closes a socket. One that goes with unread bytes resets the connection.
    pub(crate) fn close_socket(&mut self, socket: Id<Socket>) {
        let Some(closed) = self.sockets.remove(socket) else { return };
        self.changed();
        self.alters(Thing::Link(closed.serial));
        self.alters(Thing::Queue(closed.serial));
        self.alters(Thing::News(closed.serial));
        if let Some(inode) = closed.bound {
            self.alters(Thing::Node(self.inodes[inode].number));
            self.inodes[inode].node = Node::Socket(None);
            self.leave_inode(inode);
        }
        match closed.role {
            Role::Fresh => {}
            Role::Listening { queue, .. } => {
                for socket in queue {
                    self.disconnect(socket, true);
                    self.close_socket(socket);
                }
            }
            Role::Connected { peer: None } => {}
            Role::Connected { peer: Some(peer) } => {
                self.part(peer, !closed.incoming.is_empty());
            }
        }
        for file in closed.incoming.into_iter().flat_map(|message| message.files) {
            self.leave_file(file);
        }
    }

    /// Tells the peer of a socket that this is the end.
    fn disconnect(&mut self, socket: Id<Socket>, reset: bool) {
        if let Role::Connected { peer } = &mut self.sockets[socket].role
            && let Some(peer) = peer.take()
        {
            self.part(peer, reset);
        }
    }

    fn part(&mut self, from: Id<Socket>, reset: bool) {
        self.alters(Thing::Link(self.sockets[from].serial));
        self.alters_queue(from);
        let it = &mut self.sockets[from];
        it.role = Role::Connected { peer: None };
        if reset {
            it.error = Some(Errno::ECONNRESET);
        }
    }

    // ---- bytes -------------------------------------------------------------------------------

    pub(crate) fn send(
        &mut self,
        pid: i32,
        fd: Fd,
        bytes: &[u8],
        fds: &[Fd],
        done: &mut usize,
    ) -> Result<Tried<usize>> {
        let (file, socket) = self.socket_of(pid, fd)?;
        let files: Vec<_> = fds.iter().map(|fd| self.file(pid, *fd)).collect::<Result<_>>()?;
        self.transmit(pid, file, socket, bytes, &files, done)
    }

    pub(crate) fn write_socket(
        &mut self,
        pid: i32,
        file: Id<OpenFile>,
        socket: Id<Socket>,
        bytes: &[u8],
        done: &mut usize,
    ) -> Result<Tried<usize>> {
        self.transmit(pid, file, socket, bytes, &[], done)
    }

    fn transmit(
        &mut self,
        pid: i32,
        file: Id<OpenFile>,
        socket: Id<Socket>,
        bytes: &[u8],
        files: &[Id<OpenFile>],
        done: &mut usize,
    ) -> Result<Tried<usize>> {
        self.sees(Thing::Link(self.sockets[socket].serial));
        self.sees(Thing::File(self.files[file].serial));
        let Role::Connected { peer } = self.sockets[socket].role else {
            return Err(Errno::ENOTCONN);
        };
        let Some(peer) = peer else {
            self.signal(pid, PIPE);
            return if *done > 0 { Ok(Tried::Done(*done)) } else { Err(Errno::EPIPE) };
        };
        let serial = self.sockets[peer].serial;
        self.alters(Thing::Queue(serial));
        if self.sockets[peer].incoming.is_empty() {
            self.alters(Thing::News(serial));
        }
        let before = *done;
        while *done < bytes.len() && self.sockets[peer].memory < self.config.socket_bytes {
            let len = MESSAGE_BYTES.min(bytes.len() - *done);
            let files = if *done == 0 { files } else { &[] };
            for file in files {
                self.share_file(*file);
            }
            let memory = message_memory(len);
            let it = &mut self.sockets[peer];
            it.memory += memory;
            let part = bytes[*done..*done + len].to_vec();
            it.incoming.push_back(Message { bytes: part.into(), files: files.to_vec(), memory });
            *done += len;
        }
        if *done > before {
            self.changed();
        }
        match () {
            () if *done == bytes.len() => Ok(Tried::Done(*done)),
            () if !self.files[file].nonblock => Ok(Tried::Wait(Wait::Writable(file))),
            () if *done > 0 => Ok(Tried::Done(*done)),
            () => Err(Errno::EAGAIN),
        }
    }

    pub(crate) fn receive(
        &mut self,
        pid: i32,
        fd: Fd,
        buffer: &mut [u8],
    ) -> Result<Tried<Received>> {
        let (file, socket) = self.socket_of(pid, fd)?;
        let mut files = Vec::new();
        let len = match self.take_bytes(file, socket, buffer, &mut files)? {
            Tried::Done(len) => len,
            Tried::Wait(wait) => return Ok(Tried::Wait(wait)),
        };
        let mut fds = Vec::new();
        for file in files {
            // Descriptors for which there is no number are lost.
            fds.extend(self.install(pid, file));
            self.leave_file(file);
        }
        Ok(Tried::Done(Received { len, fds }))
    }

    /// Descriptors that come with bytes that are only read are lost.
    pub(crate) fn read_socket(
        &mut self,
        file: Id<OpenFile>,
        socket: Id<Socket>,
        buffer: &mut [u8],
    ) -> Result<Tried<usize>> {
        let mut files = Vec::new();
        let tried = self.take_bytes(file, socket, buffer, &mut files);
        for file in files {
            self.leave_file(file);
        }
        tried
    }

    /// Takes bytes, over the borders of messages, but not past one that came with files.
    fn take_bytes(
        &mut self,
        file: Id<OpenFile>,
        socket: Id<Socket>,
        buffer: &mut [u8],
        files: &mut Vec<Id<OpenFile>>,
    ) -> Result<Tried<usize>> {
        self.sees(Thing::File(self.files[file].serial));
        self.sees(Thing::Link(self.sockets[socket].serial));
        let serial = self.sockets[socket].serial;
        self.sees(Thing::News(serial));
        let Role::Connected { peer } = self.sockets[socket].role else { return Err(Errno::EINVAL) };
        if buffer.is_empty() {
            return Ok(Tried::Done(0));
        }
        if self.sockets[socket].incoming.is_empty() {
            return match self.sockets[socket].error.take() {
                Some(errno) => {
                    self.alters_queue(socket);
                    Err(errno)
                }
                None if peer.is_none() => Ok(Tried::Done(0)),
                None if self.files[file].nonblock => Err(Errno::EAGAIN),
                None => Ok(Tried::Wait(Wait::Readable(file))),
            };
        }
        self.alters(Thing::Queue(serial));
        let it = &mut self.sockets[socket];
        let mut count = 0;
        while count < buffer.len()
            && files.is_empty()
            && let Some(message) = it.incoming.front_mut()
        {
            count += move_out(&mut message.bytes, &mut buffer[count..]);
            files.append(&mut message.files);
            if message.bytes.is_empty() {
                it.memory -= message.memory;
                it.incoming.pop_front();
            }
        }
        if it.incoming.is_empty() {
            self.alters(Thing::News(serial));
        }
        self.changed();
        Ok(Tried::Done(count))
    }

    fn alters_queue(&self, socket: Id<Socket>) {
        self.alters(Thing::Queue(self.sockets[socket].serial));
        self.alters(Thing::News(self.sockets[socket].serial));
    }

    pub(crate) fn unread_socket(&self, socket: Id<Socket>) -> Result<usize> {
        match self.sockets[socket].role {
            Role::Listening { .. } => Err(Errno::EINVAL),
            _ => Ok(self.sockets[socket].incoming.iter().map(|message| message.bytes.len()).sum()),
        }
    }

    /// Whether there is room for a message depends on what the peer has not read.
    pub(crate) fn sees_peer_queue(&self, socket: Id<Socket>) {
        if let Role::Connected { peer: Some(peer) } = self.sockets[socket].role {
            self.sees(Thing::Queue(self.sockets[peer].serial));
        }
    }

    pub(crate) fn poll_socket(&self, socket: Id<Socket>) -> Ready {
        let it = &self.sockets[socket];
        let mut ready = Ready::empty();
        ready.set(Ready::ERROR, it.error.is_some());
        match &it.role {
            Role::Fresh => ready |= Ready::WRITE | Ready::HANGUP,
            Role::Listening { queue, .. } => ready.set(Ready::READ, !queue.is_empty()),
            Role::Connected { peer: None } => {
                ready |= Ready::READ | Ready::WRITE | Ready::HANGUP;
            }
            Role::Connected { peer: Some(peer) } => {
                ready.set(Ready::READ, !it.incoming.is_empty());
                // A socket counts as writable again only when three quarters of it are free.
                let memory = self.sockets[*peer].memory;
                ready.set(Ready::WRITE, memory * 4 <= self.config.socket_bytes);
            }
        }
        ready
    }

    /// Whether a write would not wait: a little room is enough for one that waits already.
    pub(crate) fn socket_has_room(&self, socket: Id<Socket>) -> bool {
        match self.sockets[socket].role {
            Role::Connected { peer: Some(peer) } => {
                self.sockets[peer].memory < self.config.socket_bytes
            }
            _ => true,
        }
    }
}
