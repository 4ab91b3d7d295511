//! What a started process stands on: our own stdio, or a terminal.

use std::path::Path;

use wavetank::host::{self, Errno, Fd, Host, Lead, OpenFlags};

use crate::cli::ConsoleFlag;
use crate::error::{Error, Result, at, doing};
use crate::pid_file::open_null;
use crate::script::Console;

/// The first three descriptors of a process to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footing {
    /// Its descriptors 0, 1, 2.
    pub(crate) fds: [Fd; 3],
    /// A session of its own; with a terminal, of that terminal.
    pub(crate) lead: Lead,
    /// What we have opened for it, to be closed once it runs.
    pub(crate) opened: Vec<Fd>,
}

impl Footing {
    fn inherited() -> Footing {
        Footing { fds: [Fd(0), Fd(1), Fd(2)], lead: Lead::Session, opened: Vec::new() }
    }

    fn terminal(slave: Fd) -> Footing {
        Footing { fds: [slave; 3], lead: Lead::TerminalSession, opened: vec![slave] }
    }

    fn nothing<H: Host>(host: &mut H) -> Result<Footing> {
        let null = open_null(host)?;
        Ok(Footing { fds: [null; 3], lead: Lead::Session, opened: vec![null] })
    }
}

/// Prepares the footing that the flags and the process ask for, in the manner that the script
/// wants. A terminal's master is on its way to the caller when this returns.
pub(crate) fn prepare<H: Host>(
    host: &mut H,
    flag: &ConsoleFlag,
    wants_terminal: bool,
    detached: bool,
    manner: Console,
) -> Result<Footing> {
    match flag {
        ConsoleFlag::Absent if wants_terminal && detached => Err(Error::new(
            "cannot allocate tty if runc will detach without setting console socket",
        )),
        ConsoleFlag::Absent | ConsoleFlag::None => Ok(Footing::inherited()),
        ConsoleFlag::Path(_) if manner != Console::Normal => Footing::nothing(host),
        ConsoleFlag::Path(path) => {
            let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::NOCTTY;
            host.open(path, flags, 0).map(Footing::terminal).map_err(doing("open", path))
        }
        ConsoleFlag::Socket(path) => through_socket(host, path, manner),
    }
}

fn through_socket<H: Host>(host: &mut H, path: &Path, manner: Console) -> Result<Footing> {
    if manner == Console::Skipped {
        return Footing::nothing(host);
    }
    let socket = host.socket().map_err(at("make a socket"))?;
    retried(|| host.connect(socket, path)).map_err(doing("connect to", path))?;
    let footing = match manner {
        Console::Normal | Console::WithoutSlave => new_terminal(host, socket, path, manner),
        Console::WithoutDescriptor => {
            send(host, socket, path, b"/dev/pts/0", &[]).and_then(|()| Footing::nothing(host))
        }
        Console::Skipped | Console::OnlyConnected => Footing::nothing(host),
    };
    host.close(socket).map_err(doing("close", path))?;
    footing
}

/// Makes a terminal and sends its master.
fn new_terminal<H: Host>(
    host: &mut H,
    socket: Fd,
    path: &Path,
    manner: Console,
) -> Result<Footing> {
    let multiplexer = Path::new("/dev/ptmx");
    let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::NOCTTY;
    let master = host.open(multiplexer, flags, 0).map_err(doing("open", multiplexer))?;
    host.unlock_pty(master).map_err(at("unlock the terminal"))?;
    let name = format!("/dev/pts/{}", host.pty_number(master).map_err(at("number of the pty"))?);
    let footing = match manner {
        Console::WithoutSlave => Footing::nothing(host)?,
        _ => {
            Footing::terminal(host.open_pty_peer(master).map_err(doing("open", Path::new(&name)))?)
        }
    };
    send(host, socket, path, name.as_bytes(), &[master])?;
    host.close(master).map_err(doing("close", multiplexer))?;
    Ok(footing)
}

fn send<H: Host>(host: &mut H, socket: Fd, path: &Path, name: &[u8], fds: &[Fd]) -> Result<()> {
    retried(|| host.send(socket, name, fds)).map(drop).map_err(doing("send the console to", path))
}

fn retried<T>(mut call: impl FnMut() -> host::Result<T>) -> host::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            answer => return answer,
        }
    }
}
