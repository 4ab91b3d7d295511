//! The real operating system. The only room of this crate that touches it, and the only one with
//! `unsafe` in it.
#![allow(
    unsafe_code,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the other side of the door"
)]

mod files;
mod mount;
mod signal_set;
mod socket;
mod spawn;
mod terminal;

use std::ffi::OsString;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc;

use self::signal_set::SignalSet;
use super::{
    Command, Errno, Exit, ExitStatus, Fd, FileStat, Host, LoopFlags, Marked, MountFlags, OpenFlags,
    Peer, Pid, Pipe, Planted, PollFd, Ready, Received, Result, Signal, SpawnError, Termios, User,
    WaitFor, WindowSize,
};

/// The machine this program runs on.
#[derive(Debug, Default)]
pub struct LinuxHost {
    /// Kept between calls of `poll`, so that waiting allocates nothing.
    poll_buffer: Vec<libc::pollfd>,
    /// What `/proc/self/exe` does.
    own_program: Option<spawn::OwnProgram>,
}

impl LinuxHost {
    /// The machine this program runs on. It has no state of its own that matters.
    #[must_use]
    pub fn new() -> LinuxHost {
        LinuxHost::default()
    }

    /// The same for a program that has one thread and consists of `program`, which takes the
    /// arguments and gives the exit code. A child that is to execute `/proc/self/exe`, with
    /// the environment and the directory that we have, is then made by `fork(2)` alone.
    #[must_use]
    pub fn of_program(program: fn(&[OsString]) -> i32) -> LinuxHost {
        LinuxHost { own_program: Some(program), ..LinuxHost::default() }
    }

    /// Closes every descriptor from `first` on: whoever started us may have left some open, and
    /// others may wait for their end. To be called before anything was opened.
    pub fn close_inherited(first: u32) {
        // SAFETY: nobody in this program has any of these descriptors yet. Before Linux 5.9 there
        // is no such call, and they stay.
        unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_int::MAX, 0) };
    }
}

fn errno(error: nix::Error) -> Errno {
    Errno(error as i32)
}

fn last_errno() -> Errno {
    errno(nix::Error::last())
}

/// The answer of a libc call, whose -1 means that `errno` tells more.
fn checked(answer: libc::c_int) -> Result<libc::c_int> {
    if answer == -1 { Err(last_errno()) } else { Ok(answer) }
}

fn checked_size(answer: libc::ssize_t) -> Result<usize> {
    usize::try_from(answer).map_err(|_| last_errno())
}

fn borrow(fd: &Fd) -> BorrowedFd<'_> {
    // SAFETY: only -1 would be invalid, and it is replaced. That the descriptor is open is the
    // caller's claim, as for every system call; a wrong claim is answered by EBADF.
    unsafe { BorrowedFd::borrow_raw(if fd.0 < 0 { i32::MAX } else { fd.0 }) }
}

fn owned(fd: impl IntoRawFd) -> Fd {
    Fd(fd.into_raw_fd())
}

impl Planted for LinuxHost {}

impl Marked for LinuxHost {}

impl Host for LinuxHost {
    fn open(&mut self, path: &Path, flags: OpenFlags, mode: u32) -> Result<Fd> {
        files::open(path, flags, mode)
    }

    fn close(&mut self, fd: Fd) -> Result<()> {
        nix::unistd::close(fd.0).map_err(errno)
    }

    fn read(&mut self, fd: Fd, buffer: &mut [u8]) -> Result<usize> {
        nix::unistd::read(borrow(&fd), buffer).map_err(errno)
    }

    fn write(&mut self, fd: Fd, bytes: &[u8]) -> Result<usize> {
        nix::unistd::write(borrow(&fd), bytes).map_err(errno)
    }

    fn splice(&mut self, from: Fd, to: Fd, len: usize) -> Result<usize> {
        files::splice(from, to, len)
    }

    fn pipe(&mut self, flags: OpenFlags) -> Result<Pipe> {
        let (read, write) = nix::unistd::pipe2(files::status_flags(flags)).map_err(errno)?;
        Ok(Pipe { read: owned(read), write: owned(write) })
    }

    fn set_nonblocking(&mut self, fd: Fd, on: bool) -> Result<()> {
        files::set_nonblocking(fd, on)
    }

    fn unread(&mut self, fd: Fd) -> Result<usize> {
        files::unread(fd)
    }

    fn stat(&mut self, path: &Path) -> Result<FileStat> {
        nix::sys::stat::stat(path).map(|stat| files::file_stat(&stat)).map_err(errno)
    }

    fn fstat(&mut self, fd: Fd) -> Result<FileStat> {
        nix::sys::stat::fstat(borrow(&fd)).map(|stat| files::file_stat(&stat)).map_err(errno)
    }

    fn fchown(&mut self, fd: Fd, uid: u32, gid: u32) -> Result<()> {
        nix::unistd::fchown(borrow(&fd), Some(uid.into()), Some(gid.into())).map_err(errno)
    }

    fn fchmod(&mut self, fd: Fd, mode: u32) -> Result<()> {
        nix::sys::stat::fchmod(borrow(&fd), files::mode(mode)).map_err(errno)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        nix::fcntl::renameat(nix::fcntl::AT_FDCWD, from, nix::fcntl::AT_FDCWD, to).map_err(errno)
    }

    fn unlink(&mut self, path: &Path) -> Result<()> {
        nix::unistd::unlink(path).map_err(errno)
    }

    fn mkdir(&mut self, path: &Path, mode: u32) -> Result<()> {
        nix::unistd::mkdir(path, files::mode(mode)).map_err(errno)
    }

    fn rmdir(&mut self, path: &Path) -> Result<()> {
        files::rmdir(path)
    }

    fn mkfifo(&mut self, path: &Path, mode: u32) -> Result<()> {
        nix::unistd::mkfifo(path, files::mode(mode)).map_err(errno)
    }

    fn symlink(&mut self, target: &Path, path: &Path) -> Result<()> {
        nix::unistd::symlinkat(target, nix::fcntl::AT_FDCWD, path).map_err(errno)
    }

    fn readlink(&mut self, path: &Path) -> Result<PathBuf> {
        nix::fcntl::readlink(path).map(PathBuf::from).map_err(errno)
    }

    fn list(&mut self, path: &Path) -> Result<Vec<OsString>> {
        files::list(path)
    }

    fn read_at(&mut self, fd: Fd, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        files::read_at(fd, offset, buffer)
    }

    fn memory_file(&mut self) -> Result<Fd> {
        let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
        nix::sys::memfd::memfd_create(c"wavetank", flags).map(owned).map_err(errno)
    }

    fn event_counter(&mut self) -> Result<Fd> {
        // SAFETY: takes and gives plain numbers.
        checked(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(Fd)
    }

    fn mount(
        &mut self,
        source: &Path,
        target: &Path,
        kind: &str,
        flags: MountFlags,
        data: &str,
    ) -> Result<()> {
        mount::mount(source, target, kind, flags, data)
    }

    fn unmount(&mut self, target: &Path, detach: bool) -> Result<()> {
        mount::unmount(target, detach)
    }

    fn clone_tree(&mut self, path: &Path) -> Result<Fd> {
        mount::clone_tree(path)
    }

    fn map_tree_ids(&mut self, tree: Fd, user_namespace: Fd, read_only: bool) -> Result<()> {
        mount::map_tree_ids(tree, user_namespace, read_only)
    }

    fn attach_tree(&mut self, tree: Fd, target: &Path) -> Result<()> {
        mount::attach_tree(tree, target)
    }

    fn enter_new_user_namespace(&mut self) -> Result<()> {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).map_err(errno)
    }

    fn free_loop_device(&mut self, control: Fd) -> Result<u32> {
        mount::free_loop_device(control)
    }

    fn attach_loop_device(&mut self, device: Fd, file: Fd, flags: LoopFlags) -> Result<()> {
        mount::attach_loop_device(device, file, flags)
    }

    fn unlock_pty(&mut self, master: Fd) -> Result<()> {
        terminal::unlock(master)
    }

    fn pty_number(&mut self, master: Fd) -> Result<u32> {
        terminal::number(master)
    }

    fn open_pty_peer(&mut self, master: Fd) -> Result<Fd> {
        terminal::open_peer(master)
    }

    fn window_size(&mut self, fd: Fd) -> Result<WindowSize> {
        terminal::window_size(fd)
    }

    fn set_window_size(&mut self, fd: Fd, size: WindowSize) -> Result<()> {
        terminal::set_window_size(fd, size)
    }

    fn terminal_attributes(&mut self, fd: Fd) -> Result<Termios> {
        terminal::attributes(fd)
    }

    fn set_terminal_attributes(&mut self, fd: Fd, attributes: &Termios) -> Result<()> {
        terminal::set_attributes(fd, attributes)
    }

    fn spawn(&mut self, command: &Command) -> std::result::Result<Pid, SpawnError> {
        match self.own_program {
            Some(program) if spawn::is_own_program(command) => spawn::fork(command, program),
            _ => spawn::spawn(command),
        }
    }

    fn exec(&mut self, command: &Command) -> SpawnError {
        spawn::exec(command)
    }

    fn wait(&mut self, target: WaitFor, block: bool) -> Result<Option<Exit>> {
        let pid = match target {
            WaitFor::Any => -1,
            WaitFor::Pid(pid) => pid.0,
        };
        let options = if block { 0 } else { libc::WNOHANG };
        let mut status = 0;
        // SAFETY: status is a valid place for the answer. nix's own waitpid is not used because it
        // loses the status of a child that a real-time signal ended.
        let pid = checked(unsafe { libc::waitpid(pid, &raw mut status, options) })?;
        if pid == 0 {
            return Ok(None);
        }
        let status = if libc::WIFSIGNALED(status) {
            ExitStatus::Signal(Signal(libc::WTERMSIG(status)))
        } else {
            ExitStatus::Code(libc::WEXITSTATUS(status))
        };
        Ok(Some(Exit { pid: Pid(pid), status }))
    }

    fn kill(&mut self, pid: Pid, signal: Signal) -> Result<()> {
        // SAFETY: takes and gives plain numbers. nix's own kill knows no real-time signals.
        checked(unsafe { libc::kill(pid.0, signal.0) }).map(drop)
    }

    fn pid(&mut self) -> Pid {
        Pid(nix::unistd::getpid().as_raw())
    }

    fn parent(&mut self) -> Pid {
        Pid(nix::unistd::getppid().as_raw())
    }

    fn user(&mut self) -> User {
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        User { uid: uid.as_raw(), gid: gid.as_raw() }
    }

    fn share_core(&mut self) -> Result<()> {
        const PROCESS_GROUP: libc::c_int = 2; // PR_SCHED_CORE_SCOPE_PROCESS_GROUP
        // SAFETY: takes and gives plain numbers.
        checked(unsafe {
            libc::prctl(libc::PR_SCHED_CORE, libc::PR_SCHED_CORE_CREATE, 0, PROCESS_GROUP, 0)
        })
        .map(drop)
    }

    fn become_subreaper(&mut self) -> Result<()> {
        // SAFETY: takes and gives plain numbers.
        checked(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
    }

    fn signals(&mut self, signals: &[Signal]) -> Result<Fd> {
        // A signal that our parent had ignored would never come, and an ignored SIGCHLD would even
        // have the kernel reap our children itself (wait4(2)).
        signals.iter().for_each(|signal| spawn::set_default(*signal));
        let set = SignalSet::of(signals);
        set.block()?;
        set.descriptor()
    }

    fn read_signal(&mut self, fd: Fd) -> Result<Signal> {
        let mut record = [0_u8; size_of::<libc::signalfd_siginfo>()];
        let count = self.read(fd, &mut record)?;
        // The first field is the number (signalfd(2)); a record is given whole or not at all.
        match record.first_chunk::<4>() {
            Some(number) if count == record.len() => Ok(Signal(i32::from_ne_bytes(*number))),
            _ => Err(Errno::EIO),
        }
    }

    fn poll(&mut self, fds: &mut [PollFd], timeout: Option<Duration>) -> Result<usize> {
        self.poll_buffer.clear();
        self.poll_buffer.extend(fds.iter().map(|question| libc::pollfd {
            fd: question.fd.0,
            events: poll_bits(question.interest),
            revents: 0,
        }));
        let timeout = timeout.map(|time| libc::timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(i32::MAX.into()),
            tv_nsec: libc::c_long::from(time.subsec_nanos().cast_signed()),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let buffer = &mut self.poll_buffer;
        // SAFETY: the buffer is as long as is said, and the timeout is null or lives until the end.
        let count = checked(unsafe {
            libc::ppoll(
                buffer.as_mut_ptr(),
                buffer.len() as libc::nfds_t,
                timeout,
                std::ptr::null(),
            )
        })?;
        for (question, answer) in fds.iter_mut().zip(buffer.iter()) {
            question.ready = ready(answer.revents);
        }
        Ok(count.unsigned_abs() as usize)
    }

    fn now(&mut self) -> Duration {
        clock(libc::CLOCK_MONOTONIC)
    }

    fn wall_clock(&mut self) -> Duration {
        clock(libc::CLOCK_REALTIME)
    }

    fn socket(&mut self) -> Result<Fd> {
        socket::new()
    }

    fn bind(&mut self, fd: Fd, path: &Path) -> Result<()> {
        socket::bind(fd, path)
    }

    fn listen(&mut self, fd: Fd, backlog: u32) -> Result<()> {
        socket::listen(fd, backlog)
    }

    fn accept(&mut self, fd: Fd) -> Result<Fd> {
        socket::accept(fd)
    }

    fn connect(&mut self, fd: Fd, path: &Path) -> Result<()> {
        socket::connect(fd, path)
    }

    fn send(&mut self, fd: Fd, bytes: &[u8], fds: &[Fd]) -> Result<usize> {
        socket::send(fd, bytes, fds)
    }

    fn receive(&mut self, fd: Fd, buffer: &mut [u8]) -> Result<Received> {
        socket::receive(fd, buffer)
    }

    fn peer(&mut self, fd: Fd) -> Result<Peer> {
        socket::peer(fd)
    }

    fn socket_path(&mut self, fd: Fd) -> Result<PathBuf> {
        socket::path(fd)
    }

    fn change_dir(&mut self, path: &Path) -> Result<()> {
        nix::unistd::chdir(path).map_err(errno)
    }

    fn current_dir(&mut self) -> Result<PathBuf> {
        nix::unistd::getcwd().map_err(errno)
    }

    fn environment(&mut self) -> Vec<OsString> {
        spawn::environment()
    }

    fn random(&mut self) -> u64 {
        let mut bytes = [0; 8];
        // Not by its name: Rust's library has a weak one of that name, and a program that is linked
        // with musl and optimised as a whole would call nothing.
        // SAFETY: the buffer is as long as is said. Before the kernel's pool is filled (early at
        // boot) nothing may be written; then the name is only less random.
        unsafe {
            let (buffer, len) = (bytes.as_mut_ptr(), bytes.len());
            libc::syscall(libc::SYS_getrandom, buffer, len, libc::GRND_NONBLOCK);
        }
        u64::from_ne_bytes(bytes)
    }
}

fn poll_bits(interest: Ready) -> libc::c_short {
    let mut bits = 0;
    if interest.contains(Ready::READ) {
        bits |= libc::POLLIN;
    }
    if interest.contains(Ready::WRITE) {
        bits |= libc::POLLOUT;
    }
    if interest.contains(Ready::PRIORITY) {
        bits |= libc::POLLPRI;
    }
    bits
}

fn ready(bits: libc::c_short) -> Ready {
    let table = [
        (libc::POLLIN, Ready::READ),
        (libc::POLLOUT, Ready::WRITE),
        (libc::POLLHUP, Ready::HANGUP),
        (libc::POLLERR, Ready::ERROR),
        (libc::POLLNVAL, Ready::INVALID),
        (libc::POLLPRI, Ready::PRIORITY),
    ];
    table.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, ready)| ready).collect()
}

fn clock(which: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: time is a valid place for the answer; these clocks exist on every Linux.
    unsafe { libc::clock_gettime(which, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The number of a borrowed descriptor, for calls that nix has not wrapped.
fn raw(fd: Fd) -> libc::c_int {
    borrow(&fd).as_raw_fd()
}
