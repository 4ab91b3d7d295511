//! The calls of the host as data, and their results as text and as a number.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wavetank::host::{
    Errno, Exit, ExitStatus, Fd, FileStat, Peer, Pid, Pipe, Received, Signal, SpawnError, Termios,
    WindowSize,
};

macro_rules! calls {
    ($($variant:ident $name:literal,)*) => {
        /// The methods of `Host`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Call {
            $(#[doc = $name] #[serde(rename = $name)] $variant,)*
        }

        impl Call {
            /// All of them, in the order of the trait.
            pub const ALL: &[Call] = &[$(Call::$variant),*];

            /// The name of the method.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Call::$variant => $name,)*
                }
            }
        }
    };
}

calls! {
    Open "open",
    Close "close",
    Read "read",
    Write "write",
    Splice "splice",
    Pipe "pipe",
    SetNonblocking "set_nonblocking",
    Unread "unread",
    Stat "stat",
    Fstat "fstat",
    Fchown "fchown",
    Fchmod "fchmod",
    Rename "rename",
    Unlink "unlink",
    Mkdir "mkdir",
    Rmdir "rmdir",
    Mkfifo "mkfifo",
    Symlink "symlink",
    ReadAt "read_at",
    MemoryFile "memory_file",
    EventCounter "event_counter",
    Readlink "readlink",
    List "list",
    Mount "mount",
    Unmount "unmount",
    CloneTree "clone_tree",
    MapTreeIds "map_tree_ids",
    AttachTree "attach_tree",
    EnterNewUserNamespace "enter_new_user_namespace",
    FreeLoopDevice "free_loop_device",
    AttachLoopDevice "attach_loop_device",
    UnlockPty "unlock_pty",
    PtyNumber "pty_number",
    OpenPtyPeer "open_pty_peer",
    WindowSize "window_size",
    SetWindowSize "set_window_size",
    TerminalAttributes "terminal_attributes",
    SetTerminalAttributes "set_terminal_attributes",
    Spawn "spawn",
    Exec "exec",
    Wait "wait",
    Kill "kill",
    Pid "pid",
    Parent "parent",
    User "user",
    ShareCore "share_core",
    BecomeSubreaper "become_subreaper",
    Signals "signals",
    ReadSignal "read_signal",
    Poll "poll",
    Now "now",
    WallClock "wall_clock",
    Socket "socket",
    Bind "bind",
    Listen "listen",
    Accept "accept",
    Connect "connect",
    Send "send",
    Receive "receive",
    Peer "peer",
    SocketPath "socket_path",
    CurrentDir "current_dir",
    ChangeDir "change_dir",
    Environment "environment",
    Random "random",
}

/// A result that a trace can show and a hash can take in.
pub(crate) trait Shown {
    /// For people.
    fn text(&self) -> String;

    /// Different for different results as far as one number can be.
    fn number(&self) -> u64;

    /// The error, if it is one.
    fn errno(&self) -> Option<Errno> {
        None
    }
}

/// The number of an error, far away from those of values.
fn error_number(errno: Errno) -> u64 {
    0xffff_ffff_0000_0000 | u64::from(errno.0.unsigned_abs())
}

/// Mixes a list of numbers into one.
fn mixed(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(17, crate::trace::mix)
}

impl<T: Shown> Shown for Result<T, Errno> {
    fn text(&self) -> String {
        match self {
            Ok(value) => value.text(),
            Err(errno) => format!("{errno:?}"),
        }
    }

    fn number(&self) -> u64 {
        match self {
            Ok(value) => value.number(),
            Err(errno) => error_number(*errno),
        }
    }

    fn errno(&self) -> Option<Errno> {
        self.as_ref().map_or_else(|errno| Some(*errno), Shown::errno)
    }
}

impl<T: Shown> Shown for Result<T, SpawnError> {
    fn text(&self) -> String {
        match self {
            Ok(value) => value.text(),
            Err(error) => format!("{:?} {:?}", error.step, error.errno),
        }
    }

    fn number(&self) -> u64 {
        match self {
            Ok(value) => value.number(),
            Err(error) => mixed([error.step as u64, error_number(error.errno)]),
        }
    }

    fn errno(&self) -> Option<Errno> {
        self.as_ref().map_or_else(|error| Some(error.errno), Shown::errno)
    }
}

impl<T: Shown> Shown for Option<T> {
    fn text(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), Shown::text)
    }

    fn number(&self) -> u64 {
        self.as_ref().map_or(0xffff_fffe, Shown::number)
    }
}

impl Shown for () {
    fn text(&self) -> String {
        "ok".to_owned()
    }

    fn number(&self) -> u64 {
        0
    }
}

macro_rules! shown_as_number {
    ($($type:ty, $value:ident => $number:expr;)*) => {
        $(impl Shown for $type {
            fn text(&self) -> String {
                self.to_string()
            }

            fn number(&self) -> u64 {
                let $value = self;
                $number
            }
        })*
    };
}

shown_as_number! {
    usize, value => *value as u64;
    u32, value => u64::from(*value);
    Fd, fd => u64::from(fd.0.unsigned_abs());
    Pid, pid => u64::from(pid.0.unsigned_abs());
    Signal, signal => u64::from(signal.0.unsigned_abs());
    ExitStatus, status => match status {
        ExitStatus::Code(code) => u64::from(code.unsigned_abs()),
        ExitStatus::Signal(signal) => 0x1_0000 | signal.number(),
    };
}

macro_rules! shown_as_debug {
    ($($type:ty, $value:ident => $number:expr;)*) => {
        $(impl Shown for $type {
            fn text(&self) -> String {
                format!("{self:?}")
            }

            fn number(&self) -> u64 {
                let $value = self;
                $number
            }
        })*
    };
}

shown_as_debug! {
    PathBuf, path => path.as_os_str().len() as u64;
    Vec<OsString>, names => mixed(names.iter().map(|name| name.len() as u64));
    Termios, it => mixed([it.input, it.output, it.control, it.local].map(u64::from));
}

impl Shown for Exit {
    fn text(&self) -> String {
        format!("{}: {}", self.pid, self.status)
    }

    fn number(&self) -> u64 {
        mixed([self.pid.number(), Shown::number(&self.status)])
    }
}

impl Shown for Peer {
    fn text(&self) -> String {
        format!("{}, user {}:{}", self.pid, self.user.uid, self.user.gid)
    }

    fn number(&self) -> u64 {
        mixed([self.pid.number(), u64::from(self.user.uid), u64::from(self.user.gid)])
    }
}

impl Shown for Pipe {
    fn text(&self) -> String {
        format!("{} <- {}", self.read, self.write)
    }

    fn number(&self) -> u64 {
        mixed([self.read.number(), self.write.number()])
    }
}

impl Shown for FileStat {
    fn text(&self) -> String {
        format!("{:?} {:o} {} bytes, inode {}", self.kind, self.mode, self.size, self.inode)
    }

    fn number(&self) -> u64 {
        mixed([u64::from(self.mode), self.size, self.inode])
    }
}

impl Shown for WindowSize {
    fn text(&self) -> String {
        format!("{}x{}", self.columns, self.rows)
    }

    fn number(&self) -> u64 {
        u64::from(self.columns) << 16 | u64::from(self.rows)
    }
}

impl Shown for Received {
    fn text(&self) -> String {
        format!("{} bytes, descriptors {:?}", self.len, self.fds)
    }

    fn number(&self) -> u64 {
        mixed([self.len as u64, mixed(self.fds.iter().map(Shown::number))])
    }
}
