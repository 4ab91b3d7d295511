//! The plain values that pass through the door: numbers, flags, and what a child is started with.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

use super::Errno;

/// A file descriptor of this process. Plain data, so that state which holds one can be written
/// down and read back; whoever opened it closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fd(pub i32);

/// A process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pid(pub i32);

impl fmt::Display for Fd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A signal number (`signal(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(pub i32);

#[allow(missing_docs)]
impl Signal {
    pub const HUP: Signal = Signal(1);
    pub const INT: Signal = Signal(2);
    pub const QUIT: Signal = Signal(3);
    pub const KILL: Signal = Signal(9);
    pub const USR1: Signal = Signal(10);
    pub const USR2: Signal = Signal(12);
    pub const PIPE: Signal = Signal(13);
    pub const ALRM: Signal = Signal(14);
    pub const TERM: Signal = Signal(15);
    pub const CHLD: Signal = Signal(17);
    pub const CONT: Signal = Signal(18);
    pub const STOP: Signal = Signal(19);
    pub const WINCH: Signal = Signal(28);
}

impl Signal {
    /// Every signal that can be held back (`signal(7)`); 32 and 33 are the C library's own.
    #[must_use]
    pub fn catchable() -> Vec<Signal> {
        let special = [Signal::KILL, Signal::STOP, Signal(32), Signal(33)];
        (1..=64).map(Signal).filter(|signal| !special.contains(signal)).collect()
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

bitflags! {
    /// Flags of `open(2)` and `pipe2(2)`. Every descriptor is close-on-exec; there is no flag for it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct OpenFlags: u32 {
        /// May be read from.
        const READ = 1;
        /// May be written to.
        const WRITE = 1 << 1;
        /// `O_NONBLOCK`: neither the opening nor reads and writes wait.
        const NONBLOCK = 1 << 2;
        /// `O_CREAT`.
        const CREATE = 1 << 3;
        /// `O_EXCL`: with `CREATE`, fail if the name is taken.
        const EXCLUSIVE = 1 << 4;
        /// `O_TRUNC`.
        const TRUNCATE = 1 << 5;
        /// `O_APPEND`.
        const APPEND = 1 << 6;
        /// `O_SYNC`.
        const SYNC = 1 << 7;
        /// `O_NOFOLLOW`: a symbolic link at the end of the path is `ELOOP`.
        const NOFOLLOW = 1 << 8;
        /// `O_NOCTTY`: a terminal does not become ours.
        const NOCTTY = 1 << 9;
        /// `O_DIRECTORY`: anything but a directory is `ENOTDIR`.
        const DIRECTORY = 1 << 10;
    }
}

bitflags! {
    /// What a descriptor is asked, or found, to be ready for (`poll(2)`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Ready: u16 {
        /// `POLLIN`: a read would not wait.
        const READ = 1;
        /// `POLLOUT`: a write would not wait.
        const WRITE = 1 << 1;
        /// `POLLHUP`: the other side is gone. Reported without being asked for.
        const HANGUP = 1 << 2;
        /// `POLLERR`: an error, or the read end of this pipe is gone. Reported unasked.
        const ERROR = 1 << 3;
        /// `POLLNVAL`: the descriptor is not open. Reported unasked.
        const INVALID = 1 << 4;
        /// `POLLPRI`: on a file of a cgroup, its content has changed since it was last read
        /// (`cgroups(7)`).
        const PRIORITY = 1 << 5;
    }
}

bitflags! {
    /// Flags of `mount(2)`, with the kernel's own numbers.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct MountFlags: u64 {
        /// `MS_RDONLY`.
        const RDONLY = 1;
        /// `MS_NOSUID`.
        const NOSUID = 1 << 1;
        /// `MS_NODEV`.
        const NODEV = 1 << 2;
        /// `MS_NOEXEC`.
        const NOEXEC = 1 << 3;
        /// `MS_SYNCHRONOUS`.
        const SYNCHRONOUS = 1 << 4;
        /// `MS_REMOUNT`.
        const REMOUNT = 1 << 5;
        /// `MS_MANDLOCK`.
        const MANDLOCK = 1 << 6;
        /// `MS_DIRSYNC`.
        const DIRSYNC = 1 << 7;
        /// `MS_NOSYMFOLLOW`.
        const NOSYMFOLLOW = 1 << 8;
        /// `MS_NOATIME`.
        const NOATIME = 1 << 10;
        /// `MS_NODIRATIME`.
        const NODIRATIME = 1 << 11;
        /// `MS_BIND`.
        const BIND = 1 << 12;
        /// `MS_MOVE`.
        const MOVE = 1 << 13;
        /// `MS_REC`.
        const REC = 1 << 14;
        /// `MS_UNBINDABLE`.
        const UNBINDABLE = 1 << 17;
        /// `MS_PRIVATE`.
        const PRIVATE = 1 << 18;
        /// `MS_SLAVE`.
        const SLAVE = 1 << 19;
        /// `MS_SHARED`.
        const SHARED = 1 << 20;
        /// `MS_RELATIME`.
        const RELATIME = 1 << 21;
        /// `MS_STRICTATIME`.
        const STRICTATIME = 1 << 24;
        /// `MS_LAZYTIME`.
        const LAZYTIME = 1 << 25;
    }
}

bitflags! {
    /// Flags of a loop device (`loop(4)`), with the kernel's own numbers.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct LoopFlags: u32 {
        /// `LO_FLAGS_READ_ONLY`.
        const READ_ONLY = 1;
        /// `LO_FLAGS_AUTOCLEAR`: it lets go of the file when its last user is gone.
        const AUTOCLEAR = 1 << 2;
        /// `LO_FLAGS_DIRECT_IO`: past the page cache of the file.
        const DIRECT_IO = 1 << 4;
    }
}

/// One descriptor handed to [`Host::poll`](super::Host::poll).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollFd {
    /// Which descriptor.
    pub fd: Fd,
    /// What it is asked to be ready for.
    pub interest: Ready,
    /// What it was found ready for; the call's answer.
    pub ready: Ready,
}

impl PollFd {
    /// A question about `fd`, not answered yet.
    #[must_use]
    pub fn new(fd: Fd, interest: Ready) -> PollFd {
        PollFd { fd, interest, ready: Ready::empty() }
    }
}

/// The two ends of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipe {
    /// The end that is read.
    pub read: Fd,
    /// The end that is written.
    pub write: Fd,
}

/// What kind of file an inode is (`inode(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A fifo or a pipe.
    Fifo,
    /// A character device: terminals, `/dev/null`.
    Character,
    /// A block device.
    Block,
    /// A socket.
    Socket,
    /// A symbolic link.
    Symlink,
}

/// The part of `struct stat` (`stat(2)`) that somebody here needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// Kind of file.
    pub kind: FileKind,
    /// Permission bits, the low twelve of `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes; 0 for what has none.
    pub size: u64,
    /// Device and inode number: the identity of the file.
    pub device: u64,
    /// See `device`.
    pub inode: u64,
}

/// Size of a terminal's window in characters (`ioctl_tty(2)`); the pixel sizes are always 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Width.
    pub columns: u16,
    /// Height.
    pub rows: u16,
}

/// What a terminal does with the bytes that pass it (`termios(3)`), as the kernel's flag words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Termios {
    /// `c_iflag`.
    pub input: u32,
    /// `c_oflag`.
    pub output: u32,
    /// `c_cflag`, the speed included.
    pub control: u32,
    /// `c_lflag`.
    pub local: u32,
    /// `c_line`.
    pub discipline: u8,
    /// `c_cc`.
    pub characters: [u8; 19],
}

#[allow(missing_docs)]
impl Termios {
    pub const ISIG: u32 = 0o1;
    pub const ICANON: u32 = 0o2;
    pub const ECHO: u32 = 0o10;
    pub const ECHONL: u32 = 0o100;
    pub const IEXTEN: u32 = 0o10_0000;
    pub const ICRNL: u32 = 0o400;
    pub const IXON: u32 = 0o2000;
    pub const OPOST: u32 = 0o1;
    pub const ONLCR: u32 = 0o4;
    pub const VEOF: usize = 4;
    pub const VTIME: usize = 5;
    pub const VMIN: usize = 6;
}

impl Termios {
    /// `IGNBRK|BRKINT|PARMRK|ISTRIP|INLCR|IGNCR|ICRNL|IXON`.
    const COOKED_INPUT: u32 = 0o1 | 0o2 | 0o10 | 0o40 | 0o100 | 0o200 | Self::ICRNL | Self::IXON;
    const COOKED_LOCAL: u32 = Self::ECHO | Self::ECHONL | Self::ICANON | Self::ISIG | Self::IEXTEN;
    const CSIZE_AND_PARENB: u32 = 0o60 | 0o400;
    const CS8: u32 = 0o60;

    /// The same terminal letting every byte pass untouched (`cfmakeraw(3)`).
    #[must_use]
    pub fn raw(mut self) -> Termios {
        self.input &= !Self::COOKED_INPUT;
        self.output &= !Self::OPOST;
        self.local &= !Self::COOKED_LOCAL;
        self.control = (self.control & !Self::CSIZE_AND_PARENB) | Self::CS8;
        self.characters[Self::VMIN] = 1;
        self.characters[Self::VTIME] = 0;
        self
    }
}

/// Whom a wait is for (`wait4(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    /// Any child.
    Any,
    /// This child.
    Pid(Pid),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It exited with this code, 0 to 255.
    Code(i32),
    /// This signal ended it.
    Signal(Signal),
}

impl ExitStatus {
    /// The number that shells and container managers use: the code, or 128 plus the signal.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(signal) => 128 + signal.0,
        }
    }

    /// Whether it exited with code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == ExitStatus::Code(0)
    }
}

/// `exit status 1` or `signal 9`.
impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exit status {code}"),
            ExitStatus::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// A child that was reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Which child. From here on the number may be given to a new process.
    pub pid: Pid,
    /// How it ended.
    pub status: ExitStatus,
}

/// A user and group (`credentials(7)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its pid when it connected, or listened.
    pub pid: Pid,
    /// Its user and group then.
    pub user: User,
}

/// What a child is started with. The child gets clean signal dispositions and an empty signal mask,
/// and no descriptor but those in `fds`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The file to execute. It is not looked up in `PATH`.
    pub program: PathBuf,
    /// The arguments, the program's name included.
    pub argv: Vec<OsString>,
    /// Environment as `NAME=value`; `None` hands on our own.
    pub env: Option<Vec<OsString>>,
    /// Working directory; `None` is ours.
    pub cwd: Option<PathBuf>,
    /// The child's descriptors 0, 1, 2, …, each a descriptor of ours.
    pub fds: Vec<Fd>,
    /// Signal that the child gets when its parent dies (`PR_SET_PDEATHSIG` of `prctl(2)`).
    pub parent_death_signal: Option<Signal>,
    /// What the child leads.
    pub lead: Lead,
}

/// What a new child is the leader of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lead {
    /// Nothing: it stays in our process group.
    #[default]
    Nothing,
    /// A process group of its own (`setpgid(2)`).
    Group,
    /// A session of its own (`setsid(2)`).
    Session,
    /// A session of its own, whose controlling terminal is the child's descriptor 0
    /// (`TIOCSCTTY` of `ioctl_tty(2)`).
    TerminalSession,
}

/// The step at which starting a child failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpawnStep {
    /// `clone(2)`.
    Fork,
    /// Descriptors, session, death signal.
    Prepare,
    /// `chdir(2)` to the working directory.
    Chdir,
    /// `execve(2)`.
    Exec,
}

/// Why a child could not be started. No child is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnError {
    /// How far it came.
    pub step: SpawnStep,
    /// What was wrong there.
    pub errno: Errno,
}

/// What one `recvmsg(2)` brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Number of bytes put into the buffer; 0 when the peer has closed.
    pub len: usize,
    /// Descriptors that came with them (`SCM_RIGHTS`), now ours.
    pub fds: Vec<Fd>,
}
