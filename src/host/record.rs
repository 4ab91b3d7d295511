//! A host that writes down what passes through it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::call::{Text, plain_calls};
use super::trace::{Header, Line, Outcome, Redaction, VERSION, mask_env_lists};
use super::{
    Call, Command, Errno, Exit, Fd, FileStat, Host, LoopFlags, Marked, MountFlags, OpenFlags, Peer,
    Pid, Pipe, Planted, PollFd, Received, Result, Signal, SpawnError, Termios, User, WaitFor,
    WindowSize, variable, write_all,
};

/// Passes every call on to the host within, and writes call and result to a trace file through
/// that same host. A trace that can no longer be written (a full disk) ends where it is; what is
/// recorded must not suffer from it.
#[derive(Debug)]
pub struct Recorder<H> {
    host: H,
    trace: Option<Fd>,
    redaction: Redaction,
    /// Which descriptors carry what containers read and write, if that is to be kept out.
    private: BTreeMap<Fd, Content>,
}

/// What is behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// A container's input or output.
    Io,
    /// A `process.json`, whose environment may be secret.
    Process,
}

/// Does as the environment asks: with `WAVETANK_RECORD=FILE` every call is recorded into that file,
/// but for what `WAVETANK_RECORD_REDACT` names (`env`, `io`). `%p` in the file's name is our pid, so
/// that several programs may share an environment. `None` if nothing is asked for.
///
/// # Errors
/// Why what is asked for cannot be done.
pub fn recording<H: Host>(
    mut host: H,
    program: &str,
    args: &[OsString],
) -> std::result::Result<Option<Recorder<H>>, String> {
    let env = host.environment();
    let value = |name| variable(&env, name).filter(|value| !value.is_empty());
    let Some(file) = value("WAVETANK_RECORD") else { return Ok(None) };
    let words = value("WAVETANK_RECORD_REDACT").unwrap_or_default();
    let redaction = Redaction::parse(&words.to_string_lossy())
        .map_err(|reason| format!("WAVETANK_RECORD_REDACT: {reason}"))?;
    let pid = host.pid().to_string();
    let file = PathBuf::from(file.to_string_lossy().replace("%p", &pid));
    Recorder::new(host, &file, program, args, redaction)
        .map(Some)
        .map_err(|errno| format!("open {}: {errno}", file.display()))
}

impl<H: Host> Recorder<H> {
    /// Starts the trace at `path`, in the place of any file there.
    ///
    /// # Errors
    /// What `open(2)` and `write(2)` of the trace give.
    pub fn new(
        mut host: H,
        path: &Path,
        program: &str,
        args: &[OsString],
        redaction: Redaction,
    ) -> Result<Recorder<H>> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::APPEND;
        let trace = host.open(path, flags, 0o600)?;
        let header = Header {
            wavetank_trace: VERSION,
            program: program.to_owned(),
            args: args.iter().map(|arg| arg.as_os_str().into()).collect(),
            redacted: redaction,
        };
        let mut line = serde_json::to_vec(&header).map_err(|_| Errno::EINVAL)?;
        line.push(b'\n');
        write_all(&mut host, trace, &line)?;
        Ok(Recorder { host, trace: Some(trace), redaction, private: BTreeMap::new() })
    }

    fn note<T: Serialize>(&mut self, call: Call, result: Result<T>) -> Result<T> {
        let outcome = match &result {
            Ok(value) => Outcome::Ok(serde_json::to_value(value).unwrap_or(Value::Null)),
            Err(errno) => Outcome::Err(*errno),
        };
        self.append(&Line { call, outcome });
        result
    }

    fn append(&mut self, line: &Line) {
        let Some(trace) = self.trace else { return };
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        if write_all(&mut self.host, trace, &text).is_err() {
            self.trace = None;
        }
    }

    /// Bytes that passed through `fd`, as they may be told.
    fn told(&self, fd: Fd, bytes: &[u8]) -> Text {
        let mut text = Text::from(bytes);
        match self.private.get(&fd) {
            Some(Content::Io) => text.0.fill(b'x'),
            Some(Content::Process) => mask_env_lists(&mut text.0),
            None => {}
        }
        text
    }

    /// Every descriptor may carry a container's bytes, but for those of the files that are the
    /// shim's own business.
    fn remember(&mut self, fd: Fd, path: Option<&Path>) {
        let name = path.and_then(Path::file_name).and_then(|name| name.to_str());
        let content = match name {
            Some("process.json" | "config.json") => Content::Process,
            Some("pid" | "control" | "exit" | "state.json" | "shim-log.json") => return,
            Some(name) if name.starts_with("exitStatus") => return,
            _ => Content::Io,
        };
        let wanted = match content {
            Content::Io => self.redaction.io,
            Content::Process => self.redaction.env,
        };
        if wanted {
            self.private.insert(fd, content);
        }
    }

    fn command(&self, command: &Command) -> Box<super::call::CommandText> {
        let mut text: Box<super::call::CommandText> = command.into();
        if let Some(env) = &mut text.env {
            env.iter_mut().for_each(|entry| *entry = self.redaction.env_entry(entry.clone()));
        }
        text
    }
}

/// Methods whose arguments and results are told as they are.
macro_rules! noted {
    ($($name:ident($($arg:ident: $type:ty),*) -> $value:ty = $call:expr;)*) => {
        $(fn $name(&mut self, $($arg: $type),*) -> Result<$value> {
            let result = self.host.$name($($arg),*);
            self.note($call, result)
        })*
    };
}

impl<H> Planted for Recorder<H> {}

impl<H> Marked for Recorder<H> {}

impl<H: Host> Host for Recorder<H> {
    plain_calls!(noted);

    fn open(&mut self, path: &Path, flags: OpenFlags, mode: u32) -> Result<Fd> {
        let result = self.host.open(path, flags, mode);
        if let Ok(fd) = result {
            self.remember(fd, Some(path));
        }
        self.note(Call::Open { path: path.into(), flags, mode }, result)
    }

    fn close(&mut self, fd: Fd) -> Result<()> {
        self.private.remove(&fd);
        let result = self.host.close(fd);
        self.note(Call::Close { fd }, result)
    }

    fn read(&mut self, fd: Fd, buffer: &mut [u8]) -> Result<usize> {
        let result = self.host.read(fd, buffer);
        let told = result.map(|count| self.told(fd, &buffer[..count]));
        let call = Call::Read { fd, len: buffer.len() };
        self.note(call, told).and(result)
    }

    fn write(&mut self, fd: Fd, bytes: &[u8]) -> Result<usize> {
        let result = self.host.write(fd, bytes);
        let call = Call::Write { fd, bytes: self.told(fd, bytes) };
        self.note(call, result)
    }

    fn read_at(&mut self, fd: Fd, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let result = self.host.read_at(fd, offset, buffer);
        let told = result.map(|count| self.told(fd, &buffer[..count]));
        let call = Call::ReadAt { fd, offset, len: buffer.len() };
        self.note(call, told).and(result)
    }

    fn memory_file(&mut self) -> Result<Fd> {
        let result = self.host.memory_file();
        if let Ok(fd) = result {
            self.remember(fd, None);
        }
        self.note(Call::MemoryFile, result)
    }

    fn pipe(&mut self, flags: OpenFlags) -> Result<Pipe> {
        let result = self.host.pipe(flags);
        if let Ok(pipe) = result {
            self.remember(pipe.read, None);
            self.remember(pipe.write, None);
        }
        self.note(Call::Pipe { flags }, result)
    }

    fn readlink(&mut self, path: &Path) -> Result<PathBuf> {
        let result = self.host.readlink(path);
        let told = result.as_deref().map(Text::from).map_err(|errno| *errno);
        self.note(Call::Readlink { path: path.into() }, told).and(result)
    }

    fn list(&mut self, path: &Path) -> Result<Vec<OsString>> {
        let result = self.host.list(path);
        let told = result.as_deref().map(texts).map_err(|errno| *errno);
        self.note(Call::List { path: path.into() }, told).and(result)
    }

    fn open_pty_peer(&mut self, master: Fd) -> Result<Fd> {
        let result = self.host.open_pty_peer(master);
        if let Ok(fd) = result {
            self.remember(fd, None);
        }
        self.note(Call::OpenPtyPeer { master }, result)
    }

    fn spawn(&mut self, command: &Command) -> std::result::Result<Pid, SpawnError> {
        let result = self.host.spawn(command);
        let outcome = match result {
            Ok(pid) => Outcome::Ok(pid.0.into()),
            Err(error) => Outcome::SpawnErr(error),
        };
        self.append(&Line { call: Call::Spawn(self.command(command)), outcome });
        result
    }

    fn exec(&mut self, command: &Command) -> SpawnError {
        let error = self.host.exec(command);
        let call = Call::Exec(self.command(command));
        self.append(&Line { call, outcome: Outcome::SpawnErr(error) });
        error
    }

    fn pid(&mut self) -> Pid {
        let value = self.host.pid();
        self.append(&Line { call: Call::Pid, outcome: Outcome::Ok(value.0.into()) });
        value
    }

    fn parent(&mut self) -> Pid {
        let value = self.host.parent();
        self.append(&Line { call: Call::Parent, outcome: Outcome::Ok(value.0.into()) });
        value
    }

    fn user(&mut self) -> User {
        let value = self.host.user();
        let _ = self.note(Call::User, Ok(value));
        value
    }

    fn socket_path(&mut self, socket: Fd) -> Result<PathBuf> {
        let result = self.host.socket_path(socket);
        let told = result.as_deref().map(Text::from).map_err(|errno| *errno);
        self.note(Call::SocketPath { socket }, told).and(result)
    }

    fn poll(&mut self, fds: &mut [PollFd], timeout: Option<Duration>) -> Result<usize> {
        let call = Call::poll(fds, timeout);
        let result = self.host.poll(fds, timeout);
        let told = result.map(|_| {
            let ready = fds.iter().filter(|answer| !answer.ready.is_empty());
            ready.map(|answer| (answer.fd, answer.ready)).collect::<Vec<_>>()
        });
        self.note(call, told).and(result)
    }

    fn now(&mut self) -> Duration {
        let time = self.host.now();
        let _ = self.note(Call::Now, Ok(time));
        time
    }

    fn wall_clock(&mut self) -> Duration {
        let time = self.host.wall_clock();
        let _ = self.note(Call::WallClock, Ok(time));
        time
    }

    fn send(&mut self, socket: Fd, bytes: &[u8], fds: &[Fd]) -> Result<usize> {
        let result = self.host.send(socket, bytes, fds);
        self.note(Call::Send { socket, bytes: bytes.into(), fds: fds.to_vec() }, result)
    }

    fn receive(&mut self, socket: Fd, buffer: &mut [u8]) -> Result<Received> {
        let result = self.host.receive(socket, buffer);
        let told = match &result {
            Ok(received) => {
                received.fds.iter().for_each(|fd| self.remember(*fd, None));
                Ok((Text::from(&buffer[..received.len]), received.fds.clone()))
            }
            Err(errno) => Err(*errno),
        };
        self.note(Call::Receive { socket, len: buffer.len() }, told).and(result)
    }

    fn current_dir(&mut self) -> Result<PathBuf> {
        let result = self.host.current_dir();
        let told = result.as_deref().map(Text::from).map_err(|errno| *errno);
        self.note(Call::CurrentDir, told).and(result)
    }

    fn environment(&mut self) -> Vec<OsString> {
        let environment = self.host.environment();
        let entries = texts(&environment).into_iter();
        let told: Vec<_> = entries.map(|entry| self.redaction.env_entry(entry)).collect();
        let _ = self.note(Call::Environment, Ok(told));
        environment
    }

    fn random(&mut self) -> u64 {
        let value = self.host.random();
        let _ = self.note(Call::Random, Ok(value));
        value
    }
}

fn texts(items: &[OsString]) -> Vec<Text> {
    items.iter().map(|item| item.as_os_str().into()).collect()
}
