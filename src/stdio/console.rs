//! Terminals: made here and named to the runtime, or made by the runtime and sent here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Owner;
use crate::Error;
use crate::host::{self, Bug, Errno, Fd, Host, OpenFlags, WindowSize, variable};

/// How long to wait when there is no descriptor to accept a connection with, or no memory for what
/// came over it.
const RETRY: Duration = Duration::from_millis(100);
/// Longest path of a socket (`unix(7)`).
const SOCKET_PATH_MAX: usize = 107;

/// The master of a process's terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pty {
    /// The master.
    pub master: Fd,
    /// Our own slave. While it is open, the terminal is not hung up when the process has it closed
    /// for a moment; once it is closed, the master ends with the last process that has it open.
    pub slave: Option<Fd>,
}

impl Pty {
    /// Makes a terminal that belongs to `owner`, and gives its path with it.
    ///
    /// # Errors
    /// What the calls give; nothing stays open.
    pub fn create<H: Host>(host: &mut H, owner: Owner) -> Result<(Pty, PathBuf), Error> {
        let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::NOCTTY | OpenFlags::NONBLOCK;
        let multiplexer = Path::new("/dev/ptmx");
        let master = host
            .open(multiplexer, flags, 0)
            .map_err(|errno| Error::system("open", multiplexer.display(), errno))?;
        let mut pty = Pty { master, slave: None };
        match pty.prepare(host, owner) {
            Ok(number) => Ok((pty, PathBuf::from(format!("/dev/pts/{number}")))),
            Err(errno) => {
                pty.close(host);
                Err(Error::system("prepare", "a new terminal", errno))
            }
        }
    }

    fn prepare<H: Host>(&mut self, host: &mut H, owner: Owner) -> host::Result<u32> {
        host.unlock_pty(self.master)?;
        let number = host.pty_number(self.master)?;
        let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::NOCTTY;
        let slave = match host.open_pty_peer(self.master) {
            // Before Linux 4.13 there is only the path.
            Err(Errno::EINVAL | Errno::ENOTTY) => {
                host.open(Path::new(&format!("/dev/pts/{number}")), flags, 0)?
            }
            slave => slave?,
        };
        self.slave = Some(slave);
        owner.give(host, slave)?;
        host.fchmod(slave, 0o600)?;
        Ok(number)
    }

    /// Takes a master that a runtime sent, and gives the terminal the size that its client has
    /// wished for. What does not take it is of no use, and stays the caller's.
    pub fn adopt<H: Host>(
        host: &mut H,
        master: Fd,
        size: Option<WindowSize>,
    ) -> Result<Pty, Error> {
        let used = host
            .set_nonblocking(master, true)
            .and_then(|()| host.window_size(master))
            .and_then(|_| size.map_or(Ok(()), |size| host.set_window_size(master, size)));
        match used {
            // Where this fails, the terminal works all the same, but for moments without a slave.
            Ok(()) if host.planted(Bug::NoSlaveOfOurs) => Ok(Pty { master, slave: None }),
            Ok(()) => Ok(Pty { master, slave: host.open_pty_peer(master).ok() }),
            Err(errno) => Err(Error::system("use", "the console that the runtime sent", errno)),
        }
    }

    /// Sets the window's size.
    ///
    /// # Errors
    /// What [`Host::set_window_size`] gives.
    pub fn resize<H: Host>(&self, host: &mut H, size: WindowSize) -> host::Result<()> {
        host.set_window_size(self.master, size)
    }

    /// Closes our slave.
    pub fn let_go<H: Host>(&mut self, host: &mut H) {
        host::close_all(host, self.slave.take());
    }

    /// Closes all of it: whoever still has the terminal is hung up.
    pub fn close<H: Host>(mut self, host: &mut H) {
        self.let_go(host);
        host::close_all(host, [self.master]);
    }
}

/// The socket at which a runtime delivers a console (`--console-socket`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleSocket {
    directory: PathBuf,
    listener: Fd,
    connections: Vec<Fd>,
    /// Nothing can be taken before then: there was no descriptor for it, or no memory.
    rests_until: Option<Duration>,
    /// Why a connection broke over which the console may have been on its way.
    broken: Option<Errno>,
}

impl ConsoleSocket {
    /// Listens in a new directory of ours below `$TMPDIR`, or below `/tmp` where that is not set or
    /// too long.
    ///
    /// # Errors
    /// What the calls give; nothing is left behind.
    pub fn listen<H: Host>(host: &mut H, env: &[OsString]) -> Result<ConsoleSocket, Error> {
        let parent = directory_from(env, "TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
        ConsoleSocket::listen_below(host, &parent, None)
    }

    /// As [`ConsoleSocket::listen`], but below `$XDG_RUNTIME_DIR` where that is set, and not too
    /// long; there the socket is sticky, so that it is not cleaned away (XDG Base Directory
    /// Specification).
    ///
    /// # Errors
    /// What the calls give; nothing is left behind.
    pub fn listen_at_runtime_dir<H: Host>(
        host: &mut H,
        env: &[OsString],
    ) -> Result<ConsoleSocket, Error> {
        match directory_from(env, "XDG_RUNTIME_DIR") {
            Some(parent) => ConsoleSocket::listen_below(host, &parent, Some(0o1755)),
            None => ConsoleSocket::listen(host, env),
        }
    }

    fn listen_below<H: Host>(
        host: &mut H,
        parent: &Path,
        mode: Option<u32>,
    ) -> Result<ConsoleSocket, Error> {
        let directory = host::make_directory_of_ours(host, parent, "pty")
            .map_err(|errno| Error::system("mkdir", parent.join("pty*").display(), errno))?;
        let path = directory.join("pty.sock");
        let listener = match host.socket() {
            Ok(listener) => listener,
            Err(errno) => {
                let _ = host.rmdir(&directory);
                return Err(Error::system("socket", path.display(), errno));
            }
        };
        let (connections, rests_until, broken) = (Vec::new(), None, None);
        let socket = ConsoleSocket { directory, listener, connections, rests_until, broken };
        if let Some(mode) = mode {
            // The file gets the mode that the socket has when it is bound. It is for tidiness only.
            let _ = host.fchmod(listener, mode);
        }
        let listening = host
            .bind(listener, &path)
            .and_then(|()| host.listen(listener, 1))
            .and_then(|()| host.set_nonblocking(listener, true));
        match listening {
            Ok(()) => Ok(socket),
            Err(errno) => {
                let _ = socket.close(host);
                Err(Error::system("bind", path.display(), errno))
            }
        }
    }

    /// Where the runtime has to connect to.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.join("pty.sock")
    }

    /// The descriptors whose readiness calls for [`ConsoleSocket::receive`].
    pub fn descriptors(&self) -> impl Iterator<Item = Fd> {
        let all = std::iter::once(self.listener).chain(self.connections.iter().copied());
        all.filter(|_| self.rests_until.is_none())
    }

    /// When [`ConsoleSocket::receive`] is called for though no descriptor is ready
    /// ([`Host::now`]).
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.rests_until
    }

    /// Takes the console, if it has come. Whoever connects and closes again changes nothing.
    pub fn receive<H: Host>(&mut self, host: &mut H) -> Option<Fd> {
        self.rests_until = None;
        loop {
            match host.accept(self.listener) {
                Ok(connection) => match host.set_nonblocking(connection, true) {
                    Ok(()) => self.connections.push(connection),
                    Err(_) => host::close_all(host, [connection]),
                },
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                // The connection stays where it is, and the listener ready: looking again at once
                // would be all there is to do.
                Err(_) => {
                    self.rests_until = Some(host.now() + RETRY);
                    break;
                }
            }
        }
        for connection in std::mem::take(&mut self.connections) {
            let mut name = [0; 256];
            let received = loop {
                match host.receive(connection, &mut name) {
                    Err(Errno::EINTR) => {}
                    other => break other,
                }
            };
            match received {
                Ok(message) if message.fds.is_empty() && message.len > 0 => {
                    self.connections.push(connection);
                }
                Err(Errno::EAGAIN) => self.connections.push(connection),
                // What has come stays where it is.
                Err(Errno::ENOMEM) => {
                    self.rests_until = Some(host.now() + RETRY);
                    self.connections.push(connection);
                }
                Ok(message) if !message.fds.is_empty() => {
                    let surplus = message.fds[1..].iter().copied();
                    host::close_all(host, surplus.chain([connection]));
                    return Some(message.fds[0]);
                }
                Ok(_) => host::close_all(host, [connection]),
                Err(errno) => {
                    self.broken = Some(errno);
                    host::close_all(host, [connection]);
                }
            }
        }
        None
    }

    /// Whether a connection broke over which the console may have been on its way.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Why no console has come, as far as that is known.
    #[must_use]
    pub fn failure(&self) -> Error {
        match self.broken {
            Some(errno) => Error::system("receive", "the console", errno),
            None => Error::invalid("console socket", "the runtime has sent no console"),
        }
    }

    /// Closes the socket and removes it with its directory.
    ///
    /// # Errors
    /// What is left though that was tried twice: nobody will remove it later.
    pub fn close<H: Host>(self, host: &mut H) -> Result<(), Error> {
        host::close_all(host, self.connections.iter().copied().chain([self.listener]));
        let removed = self.remove(host).or_else(|_| self.remove(host));
        removed.map_err(|errno| Error::system("remove", self.directory.display(), errno))
    }

    fn remove<H: Host>(&self, host: &mut H) -> host::Result<()> {
        match host.unlink(&self.path()) {
            Ok(()) | Err(Errno::ENOENT) => host.rmdir(&self.directory),
            Err(errno) => Err(errno),
        }
    }
}

/// The directory that a variable names, unless a socket below it would have too long a path.
fn directory_from(env: &[OsString], name: &str) -> Option<PathBuf> {
    // "/pty", twenty digits, "/pty.sock"
    let room = SOCKET_PATH_MAX - 4 - 20 - 9;
    variable(env, name).filter(|value| !value.is_empty() && value.len() <= room).map(PathBuf::from)
}
