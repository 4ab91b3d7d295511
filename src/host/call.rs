//! A call of the host as data: what a trace is made of.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    Command, Fd, Lead, LoopFlags, MountFlags, OpenFlags, Pid, PollFd, Ready, Signal, Termios,
    WaitFor, WindowSize,
};

/// Bytes in a form that is readable, and gives every byte back: UTF-8 stays, `\` is `\\`, and what
/// is neither printable nor UTF-8 becomes `\xNN`, but for `\n`, `\r` and `\t`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Vec<u8>);

impl Text {
    /// The readable form.
    #[must_use]
    pub fn escaped(&self) -> String {
        let mut text = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for letter in chunk.valid().chars() {
                match letter {
                    '\\' => text.push_str("\\\\"),
                    '\n' => text.push_str("\\n"),
                    '\r' => text.push_str("\\r"),
                    '\t' => text.push_str("\\t"),
                    control if control.is_ascii_control() => {
                        text.push_str(&format!("\\x{:02x}", u32::from(control)));
                    }
                    other => text.push(other),
                }
            }
            for byte in chunk.invalid() {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
        text
    }

    /// The bytes that a readable form stands for; `None` if it is not one.
    #[must_use]
    pub fn unescape(text: &str) -> Option<Text> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(place) = rest.find('\\') {
            bytes.extend_from_slice(&rest.as_bytes()[..place]);
            let code = rest.get(place + 1..)?;
            let (byte, length) = match code.chars().next()? {
                '\\' => (b'\\', 1),
                'n' => (b'\n', 1),
                'r' => (b'\r', 1),
                't' => (b'\t', 1),
                'x' => (u8::from_str_radix(code.get(1..3)?, 16).ok()?, 3),
                _ => return None,
            };
            bytes.push(byte);
            rest = code.get(length..)?;
        }
        bytes.extend_from_slice(rest.as_bytes());
        Some(Text(bytes))
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Text {
        Text(bytes.to_vec())
    }
}

impl From<&Path> for Text {
    fn from(path: &Path) -> Text {
        Text(path.as_os_str().as_bytes().to_vec())
    }
}

impl From<&OsStr> for Text {
    fn from(text: &OsStr) -> Text {
        Text(text.as_bytes().to_vec())
    }
}

impl From<Text> for PathBuf {
    fn from(text: Text) -> PathBuf {
        std::ffi::OsString::from_vec(text.0).into()
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.escaped())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Text::unescape(&text).ok_or_else(|| de::Error::custom("a broken escape in a string"))
    }
}

/// One call of [`Host`](super::Host) and its arguments, but for the contents of buffers that it
/// fills. The names are those of the methods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are the arguments that the methods document")]
pub enum Call {
    Open { path: Text, flags: OpenFlags, mode: u32 },
    Close { fd: Fd },
    Read { fd: Fd, len: usize },
    Write { fd: Fd, bytes: Text },
    Splice { from: Fd, to: Fd, len: usize },
    Pipe { flags: OpenFlags },
    SetNonblocking { fd: Fd, on: bool },
    Unread { fd: Fd },
    Stat { path: Text },
    Fstat { fd: Fd },
    Fchown { fd: Fd, uid: u32, gid: u32 },
    Fchmod { fd: Fd, mode: u32 },
    Rename { from: Text, to: Text },
    Unlink { path: Text },
    Mkdir { path: Text, mode: u32 },
    Rmdir { path: Text },
    Mkfifo { path: Text, mode: u32 },
    Symlink { target: Text, path: Text },
    ReadAt { fd: Fd, offset: u64, len: usize },
    MemoryFile,
    EventCounter,
    Readlink { path: Text },
    List { path: Text },
    Mount { source: Text, target: Text, kind: String, flags: MountFlags, data: String },
    Unmount { target: Text, detach: bool },
    CloneTree { path: Text },
    MapTreeIds { tree: Fd, user_namespace: Fd, read_only: bool },
    AttachTree { tree: Fd, target: Text },
    EnterNewUserNamespace,
    FreeLoopDevice { control: Fd },
    AttachLoopDevice { device: Fd, file: Fd, flags: LoopFlags },
    UnlockPty { master: Fd },
    PtyNumber { master: Fd },
    OpenPtyPeer { master: Fd },
    WindowSize { terminal: Fd },
    SetWindowSize { terminal: Fd, size: WindowSize },
    TerminalAttributes { terminal: Fd },
    SetTerminalAttributes { terminal: Fd, attributes: Termios },
    Spawn(Box<CommandText>),
    Exec(Box<CommandText>),
    Wait { target: WaitFor, block: bool },
    Kill { pid: Pid, signal: Signal },
    Pid,
    Parent,
    User,
    ShareCore,
    BecomeSubreaper,
    Signals { signals: Vec<Signal> },
    ReadSignal { fd: Fd },
    Poll { fds: Vec<(Fd, Ready)>, timeout: Option<Duration> },
    Now,
    WallClock,
    Socket,
    Bind { socket: Fd, path: Text },
    Listen { socket: Fd, backlog: u32 },
    Accept { socket: Fd },
    Connect { socket: Fd, path: Text },
    Send { socket: Fd, bytes: Text, fds: Vec<Fd> },
    Receive { socket: Fd, len: usize },
    Peer { socket: Fd },
    SocketPath { socket: Fd },
    CurrentDir,
    ChangeDir { path: Text },
    Environment,
    Random,
}

impl Call {
    pub(super) fn poll(fds: &[PollFd], timeout: Option<Duration>) -> Call {
        let questions = fds.iter().map(|question| (question.fd, question.interest)).collect();
        Call::Poll { fds: questions, timeout }
    }
}

/// A [`Command`] in its readable form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of Command")]
pub struct CommandText {
    pub program: Text,
    pub argv: Vec<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<Text>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<Text>,
    pub fds: Vec<Fd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_death_signal: Option<Signal>,
    pub lead: Lead,
}

impl From<&Command> for Box<CommandText> {
    fn from(command: &Command) -> Box<CommandText> {
        let texts = |items: &[std::ffi::OsString]| {
            items.iter().map(|item| Text::from(item.as_os_str())).collect()
        };
        Box::new(CommandText {
            program: command.program.as_path().into(),
            argv: texts(&command.argv),
            env: command.env.as_deref().map(texts),
            cwd: command.cwd.as_deref().map(Text::from),
            fds: command.fds.clone(),
            parent_death_signal: command.parent_death_signal,
            lead: command.lead,
        })
    }
}

/// The methods whose arguments and results are told as they are, handed to another macro: what
/// [`Recorder`](super::Recorder) writes for them is what [`Replayer`](super::Replayer) expects.
macro_rules! plain_calls {
    ($with:ident) => {
        $with! {
            splice(from: Fd, to: Fd, len: usize) -> usize = Call::Splice { from, to, len };
            set_nonblocking(fd: Fd, on: bool) -> () = Call::SetNonblocking { fd, on };
            unread(fd: Fd) -> usize = Call::Unread { fd };
            stat(path: &Path) -> FileStat = Call::Stat { path: path.into() };
            fstat(fd: Fd) -> FileStat = Call::Fstat { fd };
            fchown(fd: Fd, uid: u32, gid: u32) -> () = Call::Fchown { fd, uid, gid };
            fchmod(fd: Fd, mode: u32) -> () = Call::Fchmod { fd, mode };
            rename(from: &Path, to: &Path) -> () = Call::Rename { from: from.into(), to: to.into() };
            unlink(path: &Path) -> () = Call::Unlink { path: path.into() };
            mkdir(path: &Path, mode: u32) -> () = Call::Mkdir { path: path.into(), mode };
            rmdir(path: &Path) -> () = Call::Rmdir { path: path.into() };
            mkfifo(path: &Path, mode: u32) -> () = Call::Mkfifo { path: path.into(), mode };
            symlink(target: &Path, path: &Path) -> () =
                Call::Symlink { target: target.into(), path: path.into() };
            event_counter() -> Fd = Call::EventCounter;
            mount(source: &Path, target: &Path, kind: &str, flags: MountFlags, data: &str) -> () =
                Call::Mount {
                    source: source.into(),
                    target: target.into(),
                    kind: kind.to_owned(),
                    flags,
                    data: data.to_owned(),
                };
            unmount(target: &Path, detach: bool) -> () = Call::Unmount { target: target.into(), detach };
            clone_tree(path: &Path) -> Fd = Call::CloneTree { path: path.into() };
            map_tree_ids(tree: Fd, user_namespace: Fd, read_only: bool) -> () =
                Call::MapTreeIds { tree, user_namespace, read_only };
            attach_tree(tree: Fd, target: &Path) -> () =
                Call::AttachTree { tree, target: target.into() };
            enter_new_user_namespace() -> () = Call::EnterNewUserNamespace;
            free_loop_device(control: Fd) -> u32 = Call::FreeLoopDevice { control };
            attach_loop_device(device: Fd, file: Fd, flags: LoopFlags) -> () =
                Call::AttachLoopDevice { device, file, flags };
            share_core() -> () = Call::ShareCore;
            peer(socket: Fd) -> Peer = Call::Peer { socket };
            change_dir(path: &Path) -> () = Call::ChangeDir { path: path.into() };
            unlock_pty(master: Fd) -> () = Call::UnlockPty { master };
            pty_number(master: Fd) -> u32 = Call::PtyNumber { master };
            window_size(terminal: Fd) -> WindowSize = Call::WindowSize { terminal };
            set_window_size(terminal: Fd, size: WindowSize) -> () = Call::SetWindowSize { terminal, size };
            terminal_attributes(terminal: Fd) -> Termios = Call::TerminalAttributes { terminal };
            set_terminal_attributes(terminal: Fd, attributes: &Termios) -> () =
                Call::SetTerminalAttributes { terminal, attributes: *attributes };
            wait(target: WaitFor, block: bool) -> Option<Exit> = Call::Wait { target, block };
            kill(pid: Pid, signal: Signal) -> () = Call::Kill { pid, signal };
            become_subreaper() -> () = Call::BecomeSubreaper;
            signals(signals: &[Signal]) -> Fd = Call::Signals { signals: signals.to_vec() };
            read_signal(fd: Fd) -> Signal = Call::ReadSignal { fd };
            socket() -> Fd = Call::Socket;
            bind(socket: Fd, path: &Path) -> () = Call::Bind { socket, path: path.into() };
            listen(socket: Fd, backlog: u32) -> () = Call::Listen { socket, backlog };
            connect(socket: Fd, path: &Path) -> () = Call::Connect { socket, path: path.into() };
            accept(socket: Fd) -> Fd = Call::Accept { socket };
        }
    };
}
pub(super) use plain_calls;

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(b"plain", "plain")]
    #[case(b"two\r\nlines\t", "two\\r\\nlines\\t")]
    #[case(b"back\\slash", "back\\\\slash")]
    #[case(b"\0\x1b\x7f", "\\x00\\x1b\\x7f")]
    #[case("schön".as_bytes(), "schön")]
    #[case(b"half \xc3", "half \\xc3")]
    fn bytes_survive_their_readable_form(#[case] bytes: &[u8], #[case] readable: &str) {
        let text = Text::from(bytes);
        assert_eq!(text.escaped(), readable);
        assert_eq!(Text::unescape(readable), Some(text));
    }

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(Text::unescape(&Text(all.clone()).escaped()), Some(Text(all)));
    }

    #[rstest]
    #[case("\\")]
    #[case("\\q")]
    #[case("\\x1")]
    #[case("\\xzz")]
    #[case("\\x1ü")]
    fn a_broken_escape_is_told(#[case] text: &str) {
        assert_eq!(Text::unescape(text), None);
    }
}
