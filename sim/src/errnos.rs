//! The catalogue: with which errors each call may fail at a place where its arguments are right.
//!
//! What a manual page names is taken if the state of the machine can bring it about: no descriptors,
//! no memory, no space, a signal, a device that fails, a security module that refuses. Left out is what
//! only a bug of the caller itself brings about (`EBADF`, `EFAULT`, `ENOTSOCK`, most of `EINVAL`), what
//! depends on names that are always the same (`ENAMETOOLONG`, `ELOOP`, `ENOTDIR`), and what would be a
//! lie about the simulated state that nobody can work with (`ECHILD` for a child that is there, `ESRCH`
//! for a process that runs): these come by themselves where the state is so. `EDQUOT` is dealt with as
//! `ENOSPC` is.

use wavetank::host::Errno;

use crate::call::Call;

/// What may become of a call besides what it is for.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Which.
    pub call: Call,
    /// Where it is documented.
    pub page: &'static str,
    /// Errors that may come once, and may go on coming.
    pub lasting: &'static [Errno],
    /// Errors that come now and then, and for ever would be a lie: what was interrupted goes on, and
    /// what was said to be ready is.
    pub passing: &'static [Errno],
    /// For a call that cannot fail: why not.
    pub never: &'static str,
}

impl Entry {
    /// Its errors, and for each whether it goes on for ever: first all that come once.
    pub fn errors(&self) -> impl Iterator<Item = (Errno, bool)> {
        let once = self.lasting.iter().chain(self.passing).map(|errno| (*errno, false));
        once.chain(self.lasting.iter().map(|errno| (*errno, true)))
    }
}

const fn fails(
    call: Call,
    page: &'static str,
    lasting: &'static [Errno],
    passing: &'static [Errno],
) -> Entry {
    Entry { call, page, lasting, passing, never: "" }
}

const fn never(call: Call, page: &'static str, never: &'static str) -> Entry {
    Entry { call, page, lasting: &[], passing: &[], never }
}

/// What the catalogue says of a call.
#[must_use]
pub fn entry(call: Call) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.call == call)
}

/// An error that a call has elsewhere, and not at the places of one file.
#[derive(Clone, Copy, Debug)]
pub struct Exception {
    /// The file, from the top of the workspace.
    pub file: &'static str,
    /// Which call.
    pub call: Call,
    /// Which error.
    pub errno: Errno,
    /// Why not.
    pub reason: &'static str,
}

const NEVER_BLOCKS: &str = "it never blocks, and only a wait that blocks is interrupted";

/// Every such error.
pub const EXCEPTIONS: [Exception; 5] = [
    Exception {
        file: "src/classic/shim.rs",
        call: Call::Read,
        errno: Errno::EIO,
        reason: "it reads the control fifo, and behind a fifo is no device",
    },
    Exception {
        file: "src/stdio/relay.rs",
        call: Call::Read,
        errno: Errno::EIO,
        reason: "behind fifos and pipes is no device; from a terminal it is the hanging up, and \
                 comes by itself",
    },
    Exception {
        file: "src/supervisor/mod.rs",
        call: Call::Wait,
        errno: Errno::EINTR,
        reason: NEVER_BLOCKS,
    },
    Exception {
        file: "src/task/runtime_call.rs",
        call: Call::Wait,
        errno: Errno::EINTR,
        reason: NEVER_BLOCKS,
    },
    Exception {
        file: "src/task/delete.rs",
        call: Call::Stat,
        errno: Errno::ENOENT,
        reason: "it asks whether the runtime has the container, and then it comes by itself",
    },
];

/// Whether a call cannot fail so where it is made in this file.
pub(crate) fn is_excepted(call: Call, file: &str, errno: Errno) -> bool {
    EXCEPTIONS.iter().any(|it| it.file == file && it.call == call && it.errno == errno)
}

/// The errors of a call where it is made in this file, and for each whether it goes on for ever.
pub fn errors_at(call: Call, file: &str) -> impl Iterator<Item = (Errno, bool)> {
    let errors = entry(call).into_iter().flat_map(Entry::errors);
    errors.filter(move |(errno, _)| !is_excepted(call, file, *errno))
}

/// Not known to the simulated kernel, which refuses it always.
const ALWAYS_REFUSED: &str = "the simulated kernel always refuses it, as one that does not know it";
const OWN_STATE: &str = "it only looks at the process itself";
const CLOCK: &str = "a clock that is there can be read";

/// Every call.
pub const CATALOGUE: &[Entry] = {
    use Errno as E;
    &[
        fails(
            Call::Open,
            "open(2)",
            &[E::EMFILE, E::ENFILE, E::ENOMEM, E::ENOSPC, E::EACCES, E::ENOENT],
            &[E::EINTR],
        ),
        // The descriptor is gone all the same.
        fails(Call::Close, "close(2)", &[E::EIO], &[E::EINTR]),
        fails(Call::Read, "read(2)", &[E::EIO], &[E::EAGAIN, E::EINTR]),
        fails(Call::Write, "write(2)", &[E::EIO, E::ENOSPC, E::EPIPE], &[E::EAGAIN, E::EINTR]),
        // Not EPIPE: it would tell of a reader that is there that it has gone, and nobody would
        // wait for its return any better. It comes by itself when a reader goes.
        fails(Call::Splice, "splice(2)", &[E::ENOMEM, E::EINVAL, E::EIO], &[E::EAGAIN, E::EINTR]),
        fails(Call::Pipe, "pipe(2)", &[E::EMFILE, E::ENFILE], &[]),
        never(Call::SetNonblocking, "fcntl(2)", "F_SETFL fails for no want of anything"),
        never(Call::Unread, "ioctl_pipe(2)", "a pipe always knows how much is in it"),
        fails(Call::Stat, "stat(2)", &[E::ENOMEM, E::EACCES, E::ENOENT], &[]),
        fails(Call::Fstat, "stat(2)", &[E::ENOMEM], &[]),
        fails(Call::Fchown, "chown(2)", &[E::EPERM, E::EIO, E::EROFS], &[]),
        fails(Call::Fchmod, "chmod(2)", &[E::EPERM, E::EIO, E::EROFS], &[]),
        fails(Call::Rename, "rename(2)", &[E::ENOSPC, E::ENOMEM, E::EACCES, E::EROFS], &[]),
        fails(Call::Unlink, "unlink(2)", &[E::EIO, E::EACCES, E::EBUSY, E::EROFS], &[]),
        fails(Call::Mkdir, "mkdir(2)", &[E::ENOSPC, E::ENOMEM, E::EACCES, E::EROFS], &[]),
        fails(Call::Rmdir, "rmdir(2)", &[E::EBUSY, E::EACCES, E::EROFS], &[]),
        fails(Call::Mkfifo, "mkfifo(3)", &[E::ENOSPC, E::EACCES, E::EROFS], &[]),
        fails(Call::Symlink, "symlink(2)", &[E::ENOSPC, E::EACCES, E::EIO], &[]),
        fails(Call::ReadAt, "pread(2)", &[E::EIO], &[E::EINTR]),
        fails(Call::MemoryFile, "memfd_create(2)", &[E::EMFILE, E::ENFILE, E::ENOMEM], &[]),
        fails(Call::EventCounter, "eventfd(2)", &[E::EMFILE, E::ENFILE, E::ENOMEM], &[]),
        fails(Call::Readlink, "readlink(2)", &[E::ENOMEM, E::EACCES, E::EIO], &[]),
        fails(
            Call::List,
            "opendir(3)",
            &[E::EMFILE, E::ENFILE, E::ENOMEM, E::EACCES, E::ENOENT],
            &[],
        ),
        fails(Call::Mount, "mount(2)", &[E::EPERM, E::ENOMEM, E::ENODEV, E::EBUSY], &[]),
        fails(Call::Unmount, "umount(2)", &[E::EPERM, E::ENOMEM, E::EBUSY], &[]),
        never(Call::CloneTree, "open_tree(2)", ALWAYS_REFUSED),
        never(Call::MapTreeIds, "mount_setattr(2)", ALWAYS_REFUSED),
        never(Call::AttachTree, "move_mount(2)", ALWAYS_REFUSED),
        never(Call::EnterNewUserNamespace, "unshare(2)", ALWAYS_REFUSED),
        never(Call::FreeLoopDevice, "loop(4)", ALWAYS_REFUSED),
        never(Call::AttachLoopDevice, "loop(4)", ALWAYS_REFUSED),
        never(Call::UnlockPty, "unlockpt(3)", "of a terminal's master it only sets a bit"),
        never(Call::PtyNumber, "ptsname(3)", "of a terminal's master it only reads a number"),
        fails(Call::OpenPtyPeer, "ioctl_tty(2)", &[E::EMFILE, E::ENFILE, E::ENOMEM, E::EIO], &[]),
        fails(Call::WindowSize, "ioctl_tty(2)", &[E::EIO], &[]),
        fails(Call::SetWindowSize, "ioctl_tty(2)", &[E::EIO], &[]),
        fails(Call::TerminalAttributes, "tcgetattr(3)", &[E::EIO], &[]),
        fails(Call::SetTerminalAttributes, "tcsetattr(3)", &[E::EIO], &[E::EINTR]),
        fails(
            Call::Spawn,
            "fork(2), execve(2)",
            &[E::EAGAIN, E::ENOMEM, E::ENOENT, E::EACCES],
            &[E::ETXTBSY],
        ),
        fails(Call::Exec, "execve(2)", &[E::ENOMEM, E::ENOENT, E::EACCES], &[E::ETXTBSY]),
        fails(Call::Wait, "waitpid(2)", &[], &[E::EINTR]),
        fails(Call::Kill, "kill(2)", &[E::EPERM], &[]),
        never(Call::Pid, "getpid(2)", OWN_STATE),
        never(Call::Parent, "getppid(2)", OWN_STATE),
        never(Call::User, "getuid(2)", OWN_STATE),
        fails(Call::ShareCore, "prctl(2)", &[E::ENODEV, E::ENOMEM], &[]),
        never(Call::BecomeSubreaper, "prctl(2)", "it only sets a bit of the process itself"),
        fails(Call::Signals, "signalfd(2)", &[E::EMFILE, E::ENFILE, E::ENOMEM], &[]),
        fails(Call::ReadSignal, "read(2)", &[], &[E::EAGAIN, E::EINTR]),
        fails(Call::Poll, "poll(2)", &[E::ENOMEM], &[E::EINTR]),
        never(Call::Now, "clock_gettime(2)", CLOCK),
        never(Call::WallClock, "clock_gettime(2)", CLOCK),
        fails(Call::Socket, "socket(2)", &[E::EMFILE, E::ENFILE, E::ENOMEM], &[]),
        fails(Call::Bind, "bind(2)", &[E::EADDRINUSE, E::EACCES, E::ENOMEM, E::EROFS], &[]),
        never(Call::Listen, "listen(2)", "a bound socket of this kind can always listen"),
        fails(
            Call::Accept,
            "accept(2)",
            &[E::EMFILE, E::ENFILE, E::ENOMEM, E::EPERM],
            &[E::ECONNABORTED, E::EAGAIN, E::EINTR],
        ),
        fails(
            Call::Connect,
            "connect(2)",
            &[E::EAGAIN, E::EACCES, E::ECONNREFUSED, E::ENOENT],
            &[E::EINTR],
        ),
        fails(
            Call::Send,
            "sendmsg(2), unix(7)",
            &[E::ENOMEM, E::EPIPE, E::ECONNRESET],
            &[E::EAGAIN, E::EINTR],
        ),
        fails(
            Call::Receive,
            "recvmsg(2), unix(7)",
            &[E::ENOMEM, E::ECONNRESET],
            &[E::EAGAIN, E::EINTR],
        ),
        never(Call::Peer, "unix(7)", "a connected socket knows its peer"),
        fails(Call::SocketPath, "getsockname(2)", &[E::ENOBUFS], &[]),
        fails(Call::CurrentDir, "getcwd(3)", &[E::ENOENT, E::ENOMEM], &[]),
        fails(Call::ChangeDir, "chdir(2)", &[E::EACCES, E::EIO, E::ENOENT], &[]),
        never(Call::Environment, "environ(7)", OWN_STATE),
        never(Call::Random, "getrandom(2)", "it is read only after the kernel has enough of it"),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_one_entry_in_the_order_of_the_trait() {
        let calls: Vec<Call> = CATALOGUE.iter().map(|entry| entry.call).collect();
        assert_eq!(calls, Call::ALL);
    }

    #[test]
    fn whoever_cannot_fail_says_why_and_nobody_else() {
        for entry in CATALOGUE {
            assert_eq!(entry.errors().count() == 0, !entry.never.is_empty(), "{:?}", entry.call);
            assert!(entry.page.ends_with(')'), "{:?}", entry.call);
        }
    }

    #[test]
    fn an_exception_takes_an_error_from_one_file_and_says_why() {
        for Exception { file, call, errno, reason } in EXCEPTIONS {
            assert!(!reason.is_empty(), "{file}");
            assert!(errors_at(call, file).all(|(left, _)| left != errno), "{file}");
            assert!(errors_at(call, "src/files.rs").any(|(left, _)| left == errno), "{file}");
        }
    }

    #[test]
    fn what_lasts_also_comes_once() {
        let errors: Vec<_> = entry(Call::Pipe).unwrap().errors().collect();
        let (few, none) = (Errno::EMFILE, Errno::ENFILE);
        assert_eq!(errors, [(few, false), (none, false), (few, true), (none, true)]);
    }
}
