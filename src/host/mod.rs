//! The door to the operating system: the trait [`Host`], its plain types, and who stands behind it.
//!
//! Nothing in this crate but `host::linux` touches the operating system in any other way. So
//! whatever is written against [`Host`] runs unchanged on Linux ([`LinuxHost`]), in the simulated
//! kernel of the crate `wavetank-sim`, under a [`Recorder`], and against a recorded trace
//! ([`Replayer`]).

mod bug;
mod call;
mod errno;
mod files;
mod linux;
mod mark;
mod named;
mod record;
mod replay;
mod trace;
mod types;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use bug::{Bug, Planted};
pub use call::{Call, CommandText, Text};
pub use errno::Errno;
pub use files::{
    close_all, make_directory_of_ours, read_from_start, read_range, read_to_end, variable,
    write_all,
};
pub use linux::LinuxHost;
pub use mark::{Mark, Marked};
pub use record::{Recorder, recording};
pub use replay::{Divergence, Replayer};
pub use trace::{Header, Line, Outcome, Redaction, TraceError};
pub use types::{
    Command, Exit, ExitStatus, Fd, FileKind, FileStat, Lead, LoopFlags, MountFlags, OpenFlags,
    Peer, Pid, Pipe, PollFd, Ready, Received, Signal, SpawnError, SpawnStep, Termios, User,
    WaitFor, WindowSize,
};

/// What a call of the host gives: its value, or the error number that Linux would set.
pub type Result<T> = std::result::Result<T, Errno>;

/// The operating system as one process sees it, one method per system call.
///
/// A call may wait only where its page says so: a program that must not wait opens its descriptors
/// with [`OpenFlags::NONBLOCK`] and waits in [`Host::poll`] alone. Every descriptor is
/// close-on-exec. `EINTR` is possible wherever Linux allows it, and is left to the caller.
#[cfg_attr(test, mockall::automock)]
pub trait Host: Planted + Marked {
    // ---- files -------------------------------------------------------------------------------

    /// `open(2)`. Without `NONBLOCK`, opening a fifo waits for the other side. With it, `WRITE`
    /// alone on a fifo that nobody reads is `ENXIO`. `READ | WRITE` on a fifo never waits
    /// (`fifo(7)`). The bits of `mode` are those of a file that is made.
    ///
    /// `EACCES` `EDQUOT` `EEXIST` `EINTR` `EISDIR` `ELOOP` `EMFILE` `ENAMETOOLONG` `ENFILE` `ENODEV`
    /// `ENOENT` `ENOMEM` `ENOSPC` `ENOTDIR` `ENXIO` `EROFS` `ETXTBSY`
    fn open(&mut self, path: &Path, flags: OpenFlags, mode: u32) -> Result<Fd>;

    /// `close(2)`. The descriptor is gone whatever the answer.
    ///
    /// `EBADF` `EINTR` `EIO` `ENOSPC` `EDQUOT`
    fn close(&mut self, fd: Fd) -> Result<()>;

    /// `read(2)`: up to `buffer.len()` bytes; 0 is the end. Waits for bytes unless `NONBLOCK`.
    ///
    /// `EAGAIN` `EBADF` `EINTR` `EINVAL` `EIO` (a terminal whose other side is gone) `EISDIR`
    fn read(&mut self, fd: Fd, buffer: &mut [u8]) -> Result<usize>;

    /// `write(2)`: the number of bytes taken, which may be fewer than offered. Waits for room
    /// unless `NONBLOCK`. On a fifo or pipe, up to 4096 bytes (`PIPE_BUF`) are taken whole or not
    /// at all (`pipe(7)`).
    ///
    /// `EAGAIN` `EBADF` `EDQUOT` `EFBIG` `EINTR` `EINVAL` `EIO` `ENOSPC` `EPERM` `EPIPE` (and
    /// `SIGPIPE`, unless it is held back)
    fn write(&mut self, fd: Fd, bytes: &[u8]) -> Result<usize>;

    /// `splice(2)` with `SPLICE_F_NONBLOCK`: moves up to `len` bytes of a pipe or fifo to another,
    /// inside the kernel, never waiting; 0 is the end of the first. `EAGAIN` says that the one
    /// has nothing or the other no room, and not which.
    ///
    /// `EAGAIN` `EBADF` `EINTR` `EINVAL` (neither is a pipe, or they are the same one) `ENOMEM`
    /// `EPIPE`
    fn splice(&mut self, from: Fd, to: Fd, len: usize) -> Result<usize>;

    /// `pipe2(2)`; of the flags only `NONBLOCK` counts, for both ends.
    ///
    /// `EMFILE` `ENFILE`
    fn pipe(&mut self, flags: OpenFlags) -> Result<Pipe>;

    /// `F_SETFL` of `fcntl(2)`: turns `O_NONBLOCK` on or off, for everyone who shares the open
    /// file.
    ///
    /// `EBADF`
    fn set_nonblocking(&mut self, fd: Fd, on: bool) -> Result<()>;

    /// `FIONREAD` of `ioctl(2)`: bytes that wait to be read in a pipe, fifo or terminal, or from here to
    /// the end of a file.
    ///
    /// `EBADF` `ENOTTY`
    fn unread(&mut self, fd: Fd) -> Result<usize>;

    /// `stat(2)`: of what the path leads to, links followed.
    ///
    /// `EACCES` `ELOOP` `ENAMETOOLONG` `ENOENT` `ENOTDIR`
    fn stat(&mut self, path: &Path) -> Result<FileStat>;

    /// `fstat(2)`.
    ///
    /// `EBADF`
    fn fstat(&mut self, fd: Fd) -> Result<FileStat>;

    /// `fchown(2)`: owner and group of an open file.
    ///
    /// `EBADF` `EIO` `EPERM` `EROFS` `EINVAL` (an id with no mapping in our user namespace)
    fn fchown(&mut self, fd: Fd, uid: u32, gid: u32) -> Result<()>;

    /// `fchmod(2)`: permission bits of an open file.
    ///
    /// `EBADF` `EIO` `EPERM` `EROFS`
    fn fchmod(&mut self, fd: Fd, mode: u32) -> Result<()>;

    /// `rename(2)`: atomically, in the place of what bears the new name.
    ///
    /// `EACCES` `EBUSY` `EDQUOT` `EISDIR` `ENOENT` `ENOSPC` `ENOTDIR` `ENOTEMPTY` `EPERM` `EROFS` `EXDEV`
    fn rename(&mut self, from: &Path, to: &Path) -> Result<()>;

    /// `unlink(2)`.
    ///
    /// `EACCES` `EBUSY` `EISDIR` `ENOENT` `ENOTDIR` `EPERM` `EROFS`
    fn unlink(&mut self, path: &Path) -> Result<()>;

    /// `mkdir(2)`; the mode is narrowed by the umask.
    ///
    /// `EACCES` `EDQUOT` `EEXIST` `ENOENT` `ENOSPC` `ENOTDIR` `EROFS`
    fn mkdir(&mut self, path: &Path, mode: u32) -> Result<()>;

    /// `rmdir(2)`.
    ///
    /// `EACCES` `EBUSY` `ENOENT` `ENOTDIR` `ENOTEMPTY` `EPERM` `EROFS`
    fn rmdir(&mut self, path: &Path) -> Result<()>;

    /// `mkfifo(3)`; the mode is narrowed by the umask.
    ///
    /// `EACCES` `EDQUOT` `EEXIST` `ENOENT` `ENOSPC` `ENOTDIR` `EROFS`
    fn mkfifo(&mut self, path: &Path, mode: u32) -> Result<()>;

    /// `symlink(2)`: makes the link `path`, which leads to `target`.
    ///
    /// `EACCES` `EDQUOT` `EEXIST` `ENOENT` `ENOSPC` `ENOTDIR` `EROFS`
    fn symlink(&mut self, target: &Path, path: &Path) -> Result<()>;

    /// `pread(2)`: as [`Host::read`], from the given offset, wherever the descriptor stands.
    ///
    /// `EBADF` `EINTR` `EINVAL` `EIO` `EISDIR` `ENODEV` (a file of a cgroup that was removed)
    /// `EOPNOTSUPP` `ESPIPE`
    fn read_at(&mut self, fd: Fd, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// `memfd_create(2)`: an empty file without a name, to read and write.
    ///
    /// `EMFILE` `ENFILE` `ENOMEM` `ENOSYS` (before Linux 3.17)
    fn memory_file(&mut self) -> Result<Fd>;

    /// `eventfd(2)`: a counter, `NONBLOCK`, that is readable while it is not 0; a read gives its
    /// eight bytes and sets it to 0.
    ///
    /// `EMFILE` `ENFILE` `ENODEV` `ENOMEM`
    fn event_counter(&mut self) -> Result<Fd>;

    /// `readlink(2)`.
    ///
    /// `EACCES` `EINVAL` (not a link) `ENOENT` `ENOTDIR`
    fn readlink(&mut self, path: &Path) -> Result<PathBuf>;

    /// `getdents64(2)`: the names in a directory, sorted, without `.` and `..`.
    ///
    /// `EACCES` `EMFILE` `ENOENT` `ENOTDIR`
    fn list(&mut self, path: &Path) -> Result<Vec<OsString>>;

    // ---- mounts ------------------------------------------------------------------------------

    /// `mount(2)`. An empty `source` or `kind` is none; `data` is handed to the file system.
    ///
    /// `EACCES` `EBUSY` `EINVAL` `ELOOP` `EMFILE` `ENAMETOOLONG` `ENODEV` `ENOENT` `ENOMEM` `ENOTBLK`
    /// `ENOTDIR` `ENXIO` `EPERM` `EROFS`
    fn mount(
        &mut self,
        source: &Path,
        target: &Path,
        kind: &str,
        flags: MountFlags,
        data: &str,
    ) -> Result<()>;

    /// `umount2(2)` with `UMOUNT_NOFOLLOW`; with `detach` also `MNT_DETACH`: the mount is out of
    /// sight at once, and gone with its last user.
    ///
    /// `EBUSY` (in use, and not `detach`) `EINVAL` (not a mount) `ENAMETOOLONG` `ENOENT` `ENOMEM`
    /// `ENOTDIR` `EPERM`
    fn unmount(&mut self, target: &Path, detach: bool) -> Result<()>;

    /// `open_tree(2)` with `OPEN_TREE_CLONE`: a copy of the mount that `path` is in, with `path` as
    /// its top, not attached anywhere. It goes with its descriptor.
    ///
    /// `EACCES` `EINVAL` (the mount is unbindable) `ELOOP` `EMFILE` `ENAMETOOLONG` `ENFILE` `ENOENT`
    /// `ENOMEM` `ENOSYS` (before Linux 5.2) `ENOTDIR` `EPERM`
    fn clone_tree(&mut self, path: &Path) -> Result<Fd>;

    /// `mount_setattr(2)` of a copy that is not attached yet: owners appear as the maps of a user
    /// namespace say (`MOUNT_ATTR_IDMAP`), it is private, and if so asked for, read-only.
    ///
    /// `EBADF` `EINVAL` (the file system cannot, or the mount is mapped already) `ENOSYS` (before
    /// Linux 5.12) `EPERM`
    fn map_tree_ids(&mut self, tree: Fd, user_namespace: Fd, read_only: bool) -> Result<()>;

    /// `move_mount(2)`: attaches a copy of a mount.
    ///
    /// `EACCES` `EBADF` `EINVAL` `ELOOP` `ENAMETOOLONG` `ENOENT` `ENOMEM` `ENOSYS` (before Linux 5.2)
    /// `ENOTDIR` `EPERM`
    fn attach_tree(&mut self, tree: Fd, target: &Path) -> Result<()>;

    /// `unshare(2)` with `CLONE_NEWUSER`: we are in a user namespace of our own, whose maps are
    /// empty.
    ///
    /// `EINVAL` `ENOMEM` `ENOSPC` (too many of them) `EPERM`
    fn enter_new_user_namespace(&mut self) -> Result<()>;

    /// `LOOP_CTL_GET_FREE` of `loop(4)`, asked of `/dev/loop-control`: the number of a loop device
    /// that nobody uses, which may change at any time.
    ///
    /// `EBADF` `EINTR` `ENOMEM` `ENOSPC` `ENOTTY`
    fn free_loop_device(&mut self, control: Fd) -> Result<u32>;

    /// `LOOP_CONFIGURE` of `loop(4)`: from now on a loop device has the content of a file.
    ///
    /// `EBADF` `EBUSY` (it has another one's) `EINVAL` (before Linux 5.8; no regular file) `EINTR`
    /// `ENOTTY`
    fn attach_loop_device(&mut self, device: Fd, file: Fd, flags: LoopFlags) -> Result<()>;

    // ---- terminals ---------------------------------------------------------------------------

    /// `TIOCSPTLCK` of `ioctl_tty(2)`: lets the slave of this pty master be opened. A new master
    /// comes from opening `/dev/ptmx`.
    ///
    /// `EBADF` `ENOTTY`
    fn unlock_pty(&mut self, master: Fd) -> Result<()>;

    /// `TIOCGPTN` of `ioctl_tty(2)`: the slave is `/dev/pts/` and this number.
    ///
    /// `EBADF` `ENOTTY`
    fn pty_number(&mut self, master: Fd) -> Result<u32>;

    /// `TIOCGPTPEER` of `ioctl_tty(2)`: opens the slave of a master, without its path, and without
    /// making it our terminal.
    ///
    /// `EBADF` `EIO` `EMFILE` `ENFILE` `ENOTTY` `EINVAL` (before Linux 4.13)
    fn open_pty_peer(&mut self, master: Fd) -> Result<Fd>;

    /// `TIOCGWINSZ` of `ioctl_tty(2)`.
    ///
    /// `EBADF` `ENOTTY`
    fn window_size(&mut self, terminal: Fd) -> Result<WindowSize>;

    /// `TIOCSWINSZ` of `ioctl_tty(2)`: the foreground group gets `SIGWINCH` if it changed.
    ///
    /// `EBADF` `ENOTTY`
    fn set_window_size(&mut self, terminal: Fd, size: WindowSize) -> Result<()>;

    /// `TCGETS` of `ioctl_tty(2)`; `ENOTTY` says that this is no terminal.
    ///
    /// `EBADF` `EIO` `ENOTTY`
    fn terminal_attributes(&mut self, terminal: Fd) -> Result<Termios>;

    /// `TCSETS` of `ioctl_tty(2)`.
    ///
    /// `EBADF` `EINTR` `EIO` `ENOTTY`
    fn set_terminal_attributes(&mut self, terminal: Fd, attributes: &Termios) -> Result<()>;

    // ---- processes and signals ---------------------------------------------------------------

    /// `clone(2)` and `execve(2)`: starts a child. All of it has happened, or nothing.
    ///
    /// `Fork`: `EAGAIN` `ENOMEM`. `Prepare`: `EBADF` `EPERM`. `Chdir`: `EACCES` `ENOENT` `ENOTDIR`
    /// `ENAMETOOLONG`. `Exec`: `E2BIG` `EACCES` `ELOOP` `ENOENT` `ENOEXEC` `ENOMEM` `ENOTDIR` `ETXTBSY`.
    fn spawn(&mut self, command: &Command) -> std::result::Result<Pid, SpawnError>;

    /// `execve(2)`: this process becomes another program, with the same pid and the same children.
    /// It returns only when that failed; descriptors and directory may then have changed already.
    /// [`Command::lead`] is not looked at.
    ///
    /// The same as for [`Host::spawn`], but not `Fork`.
    fn exec(&mut self, command: &Command) -> SpawnError;

    /// `wait4(2)`: a child that has ended; from then on its pid may be used again. `None`, which
    /// only a call without `block` gives, says that there are children and none has ended.
    ///
    /// `ECHILD` (no such child) `EINTR` (only with `block`)
    fn wait(&mut self, target: WaitFor, block: bool) -> Result<Option<Exit>>;

    /// `kill(2)`; signal 0 only asks whether the process is there.
    ///
    /// `EPERM` `ESRCH` `EINVAL`
    fn kill(&mut self, pid: Pid, signal: Signal) -> Result<()>;

    /// `getpid(2)`.
    fn pid(&mut self) -> Pid;

    /// `getppid(2)`: who started us, or who took us over when that one ended.
    fn parent(&mut self) -> Pid;

    /// `geteuid(2)` and `getegid(2)`.
    fn user(&mut self) -> User;

    /// `PR_SCHED_CORE_CREATE` of `prctl(2)` for our process group: from now on only processes that
    /// are started by it share a core with it.
    ///
    /// `EINVAL` `ENODEV` (no processor here needs it) `EPERM`
    fn share_core(&mut self) -> Result<()>;

    /// `PR_SET_CHILD_SUBREAPER` of `prctl(2)`: children of dead descendants become ours.
    ///
    /// `EINVAL` (before Linux 3.4)
    fn become_subreaper(&mut self) -> Result<()>;

    /// `sigaction(2)`, `sigprocmask(2)` and `signalfd(2)`: from now on these signals, also those
    /// that were ignored, do nothing but make the descriptor, which is `NONBLOCK`, readable.
    /// Children start without this mask.
    ///
    /// `EMFILE` `ENFILE` `ENOMEM` `ENODEV`
    fn signals(&mut self, signals: &[Signal]) -> Result<Fd>;

    /// `read(2)` of a descriptor made by [`Host::signals`]: one signal. Those of one kind that came
    /// together are one.
    ///
    /// `EAGAIN` `EBADF` `EINTR`
    fn read_signal(&mut self, fd: Fd) -> Result<Signal>;

    // ---- readiness and time ------------------------------------------------------------------

    /// `ppoll(2)`: waits until a descriptor is ready or the time is over, and gives how many are.
    /// `None` waits for ever.
    ///
    /// `EINTR` `ENOMEM` `EINVAL`
    fn poll(&mut self, fds: &mut [PollFd], timeout: Option<Duration>) -> Result<usize>;

    /// `CLOCK_MONOTONIC` of `clock_gettime(2)`: time since some moment, never set back.
    fn now(&mut self) -> Duration;

    /// `CLOCK_REALTIME` of `clock_gettime(2)`: time since the start of 1970, UTC.
    fn wall_clock(&mut self) -> Duration;

    // ---- unix sockets ------------------------------------------------------------------------

    /// `socket(2)`: a stream socket of the unix family.
    ///
    /// `EMFILE` `ENFILE` `ENOBUFS` `ENOMEM`
    fn socket(&mut self) -> Result<Fd>;

    /// `bind(2)`: makes the socket file `path`, of at most 107 bytes (`unix(7)`).
    ///
    /// `EACCES` `EADDRINUSE` `EINVAL` `ENAMETOOLONG` `ENOENT` `ENOTDIR` `EROFS`
    fn bind(&mut self, socket: Fd, path: &Path) -> Result<()>;

    /// `listen(2)`.
    ///
    /// `EADDRINUSE` `EBADF` `EOPNOTSUPP`
    fn listen(&mut self, socket: Fd, backlog: u32) -> Result<()>;

    /// `accept4(2)`: waits for a connection unless the socket is non-blocking; the connection is
    /// a blocking one.
    ///
    /// `EAGAIN` `EBADF` `ECONNABORTED` `EINTR` `EINVAL` `EMFILE` `ENFILE` `ENOMEM`
    fn accept(&mut self, socket: Fd) -> Result<Fd>;

    /// `connect(2)` to the socket file `path`.
    ///
    /// `EACCES` `EAGAIN` `ECONNREFUSED` `EINTR` `EINVAL` `EISCONN` `ENOENT` `ENOTDIR`
    fn connect(&mut self, socket: Fd, path: &Path) -> Result<()>;

    /// `sendmsg(2)`: bytes, and with them copies of descriptors (`SCM_RIGHTS` of `unix(7)`).
    ///
    /// `EAGAIN` `EBADF` `ECONNRESET` `EINTR` `EMSGSIZE` `ENOBUFS` `ENOTCONN` `EPIPE` `ETOOMANYREFS`
    fn send(&mut self, socket: Fd, bytes: &[u8], fds: &[Fd]) -> Result<usize>;

    /// `recvmsg(2)`: bytes, and the descriptors that came with them. Waits unless non-blocking.
    ///
    /// `EAGAIN` `EBADF` `ECONNRESET` `EINTR` `ENOTCONN`
    fn receive(&mut self, socket: Fd, buffer: &mut [u8]) -> Result<Received>;

    /// `SO_PEERCRED` of `unix(7)`: who made the connection.
    ///
    /// `EBADF` `ENOTSOCK`
    fn peer(&mut self, socket: Fd) -> Result<Peer>;

    /// `getsockname(2)`: the path that a socket was bound to; empty for one that was not.
    ///
    /// `EBADF` `ENOTSOCK`
    fn socket_path(&mut self, socket: Fd) -> Result<PathBuf>;

    // ---- surroundings ------------------------------------------------------------------------

    /// `getcwd(2)`.
    ///
    /// `EACCES` `ENOENT` (the directory was removed)
    fn current_dir(&mut self) -> Result<PathBuf>;

    /// `chdir(2)`.
    ///
    /// `EACCES` `ELOOP` `ENAMETOOLONG` `ENOENT` `ENOTDIR`
    fn change_dir(&mut self, path: &Path) -> Result<()>;

    /// `environ(7)`: our environment, as `NAME=value`.
    fn environment(&mut self) -> Vec<OsString>;

    /// `getrandom(2)`: for names that nobody else has, not for secrets.
    fn random(&mut self) -> u64;
}

#[cfg(test)]
impl Planted for MockHost {}

#[cfg(test)]
impl Marked for MockHost {}
