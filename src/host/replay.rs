//! A trace as a host: every call must be the one that was recorded, and gets the recorded answer.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::call::{Text, plain_calls};
use super::trace::{self, Header, Line, Outcome, TraceError};
use super::{
    Call, Command, Errno, Exit, Fd, FileStat, Host, LoopFlags, Marked, MountFlags, OpenFlags, Peer,
    Pid, Pipe, Planted, PollFd, Ready, Received, Result, Signal, SpawnError, SpawnStep, Termios,
    User, WaitFor, WindowSize,
};

/// Answers every call from a trace. After the first call that is not the recorded one, every
/// further call fails with `EIO`, so that the program under it comes to its end.
#[derive(Debug)]
pub struct Replayer {
    header: Header,
    lines: VecDeque<Line>,
    position: usize,
    divergence: Option<Divergence>,
}

/// The first place where a run went another way than its trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// Line of the trace, counted from 1, the header included.
    pub line: usize,
    /// What the trace has there; `None` where it ends.
    pub recorded: Option<Line>,
    /// What the program did; `None` if it ended.
    pub made: Option<Call>,
    /// What makes the recorded answer unusable, where the calls are the same.
    pub answer: Option<String>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = |value: &dyn Fn() -> serde_json::Result<String>| {
            value().unwrap_or_else(|error| error.to_string())
        };
        writeln!(f, "trace line {}:", self.line)?;
        match &self.recorded {
            Some(line) => writeln!(f, "  recorded: {}", json(&|| serde_json::to_string(line)))?,
            None => writeln!(f, "  recorded: the end")?,
        }
        match &self.made {
            Some(call) => write!(f, "  made:     {}", json(&|| serde_json::to_string(call)))?,
            None => write!(f, "  made:     the end")?,
        }
        match &self.answer {
            Some(reason) => write!(f, "\n  the recorded answer does not fit: {reason}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Divergence {}

impl Replayer {
    /// Reads a trace.
    ///
    /// # Errors
    /// The first line that cannot be understood.
    pub fn new(text: &str) -> std::result::Result<Replayer, TraceError> {
        let (header, lines) = trace::parse(text)?;
        Ok(Replayer { header, lines: lines.into(), position: 1, divergence: None })
    }

    /// What the trace says of the program that was recorded.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The recorded program's arguments, without its name.
    #[must_use]
    pub fn args(&self) -> Vec<OsString> {
        self.header.args.iter().map(|arg| OsString::from_vec(arg.0.clone())).collect()
    }

    /// Ends the replay, and gives the number of calls that were equal.
    ///
    /// # Errors
    /// The first difference; that the program ended before its trace is one.
    pub fn finish(mut self) -> std::result::Result<usize, Box<Divergence>> {
        if self.divergence.is_none() && !self.lines.is_empty() {
            let recorded = self.lines.pop_front();
            let line = self.position + 1;
            self.divergence = Some(Divergence { line, recorded, made: None, answer: None });
        }
        self.divergence.map_or(Ok(self.position - 1), |divergence| Err(Box::new(divergence)))
    }

    /// The answer recorded for `call`, if that is what the trace has next.
    fn next(&mut self, mut call: Call) -> Option<Outcome> {
        if self.divergence.is_some() {
            return None;
        }
        self.position += 1;
        self.redact(&mut call);
        match self.lines.pop_front() {
            Some(line) if line.call == call => Some(line.outcome),
            recorded => {
                let made = Some(call);
                let line = self.position;
                self.divergence = Some(Divergence { line, recorded, made, answer: None });
                None
            }
        }
    }

    /// Replays on a redacted trace handle redacted data, which redacting again does not change;
    /// only what the program invents itself could still be told apart.
    fn redact(&self, call: &mut Call) {
        if let Call::Spawn(command) | Call::Exec(command) = call {
            let env = command.env.iter_mut().flatten();
            env.for_each(|entry| *entry = self.header.redacted.env_entry(entry.clone()));
        }
    }

    fn answer<T: DeserializeOwned>(&mut self, call: Call) -> Result<T> {
        let made = call.clone();
        match self.next(call) {
            Some(Outcome::Ok(value)) => serde_json::from_value(value.clone()).map_err(|reason| {
                let recorded = Some(Line { call: made.clone(), outcome: Outcome::Ok(value) });
                self.unusable(made, recorded, reason.to_string())
            }),
            Some(Outcome::Err(errno)) => Err(errno),
            Some(outcome @ Outcome::SpawnErr(_)) => {
                let recorded = Some(Line { call: made.clone(), outcome });
                Err(self.unusable(made, recorded, "only a spawn fails like this".to_owned()))
            }
            None => Err(Errno::EIO),
        }
    }

    fn unusable(&mut self, made: Call, recorded: Option<Line>, reason: String) -> Errno {
        let (line, made, answer) = (self.position, Some(made), Some(reason));
        self.divergence = Some(Divergence { line, recorded, made, answer });
        Errno::EIO
    }

    /// Puts recorded bytes into the caller's buffer.
    fn fill(&mut self, call: Call, buffer: &mut [u8], bytes: &Text) -> Result<usize> {
        match buffer.get_mut(..bytes.0.len()) {
            Some(place) => {
                place.copy_from_slice(&bytes.0);
                Ok(place.len())
            }
            None => Err(self.unusable(call, None, "more bytes than were asked for".to_owned())),
        }
    }
}

macro_rules! answered {
    ($($name:ident($($arg:ident: $type:ty),*) -> $value:ty = $call:expr;)*) => {
        $(fn $name(&mut self, $($arg: $type),*) -> Result<$value> { self.answer($call) })*
    };
}

impl Planted for Replayer {}

impl Marked for Replayer {}

impl Host for Replayer {
    plain_calls!(answered);
    answered! {
        open(path: &Path, flags: OpenFlags, mode: u32) -> Fd = Call::Open { path: path.into(), flags, mode };
        close(fd: Fd) -> () = Call::Close { fd };
        write(fd: Fd, bytes: &[u8]) -> usize = Call::Write { fd, bytes: bytes.into() };
        pipe(flags: OpenFlags) -> Pipe = Call::Pipe { flags };
        memory_file() -> Fd = Call::MemoryFile;
        open_pty_peer(master: Fd) -> Fd = Call::OpenPtyPeer { master };
        send(socket: Fd, bytes: &[u8], fds: &[Fd]) -> usize = Call::Send { socket, bytes: bytes.into(), fds: fds.to_vec() };
    }

    fn read(&mut self, fd: Fd, buffer: &mut [u8]) -> Result<usize> {
        let call = Call::Read { fd, len: buffer.len() };
        let bytes: Text = self.answer(call.clone())?;
        self.fill(call, buffer, &bytes)
    }

    fn read_at(&mut self, fd: Fd, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let call = Call::ReadAt { fd, offset, len: buffer.len() };
        let bytes: Text = self.answer(call.clone())?;
        self.fill(call, buffer, &bytes)
    }

    fn receive(&mut self, socket: Fd, buffer: &mut [u8]) -> Result<Received> {
        let call = Call::Receive { socket, len: buffer.len() };
        let (bytes, fds): (Text, Vec<Fd>) = self.answer(call.clone())?;
        let len = self.fill(call, buffer, &bytes)?;
        Ok(Received { len, fds })
    }

    fn readlink(&mut self, path: &Path) -> Result<PathBuf> {
        self.answer::<Text>(Call::Readlink { path: path.into() }).map(PathBuf::from)
    }

    fn list(&mut self, path: &Path) -> Result<Vec<OsString>> {
        self.answer(Call::List { path: path.into() }).map(os_strings)
    }

    fn spawn(&mut self, command: &Command) -> std::result::Result<Pid, SpawnError> {
        let call = Call::Spawn(command.into());
        let made = call.clone();
        let errno = match self.next(call) {
            Some(Outcome::SpawnErr(error)) => return Err(error),
            Some(Outcome::Ok(value)) => match serde_json::from_value(value) {
                Ok(pid) => return Ok(pid),
                Err(reason) => self.unusable(made, None, reason.to_string()),
            },
            Some(Outcome::Err(errno)) => errno,
            None => Errno::EIO,
        };
        Err(SpawnError { step: SpawnStep::Fork, errno })
    }

    fn exec(&mut self, command: &Command) -> SpawnError {
        match self.next(Call::Exec(command.into())) {
            Some(Outcome::SpawnErr(error)) => error,
            _ => SpawnError { step: SpawnStep::Exec, errno: Errno::EIO },
        }
    }

    fn pid(&mut self) -> Pid {
        self.answer(Call::Pid).unwrap_or(Pid(0))
    }

    fn parent(&mut self) -> Pid {
        self.answer(Call::Parent).unwrap_or(Pid(0))
    }

    fn user(&mut self) -> User {
        self.answer(Call::User).unwrap_or_default()
    }

    fn socket_path(&mut self, socket: Fd) -> Result<PathBuf> {
        self.answer::<Text>(Call::SocketPath { socket }).map(PathBuf::from)
    }

    fn poll(&mut self, fds: &mut [PollFd], timeout: Option<Duration>) -> Result<usize> {
        let found: Vec<(Fd, Ready)> = self.answer(Call::poll(fds, timeout))?;
        let unasked = Ready::HANGUP | Ready::ERROR | Ready::INVALID;
        let mut answers = found.iter().peekable();
        for question in fds.iter_mut() {
            let possible = question.interest | unasked;
            let answer =
                answers.next_if(|(fd, ready)| *fd == question.fd && possible.contains(*ready));
            question.ready = answer.map_or(Ready::empty(), |(_, ready)| *ready);
        }
        Ok(found.len())
    }

    fn now(&mut self) -> Duration {
        self.answer(Call::Now).unwrap_or_default()
    }

    fn wall_clock(&mut self) -> Duration {
        self.answer(Call::WallClock).unwrap_or_default()
    }

    fn current_dir(&mut self) -> Result<PathBuf> {
        self.answer::<Text>(Call::CurrentDir).map(PathBuf::from)
    }

    fn environment(&mut self) -> Vec<OsString> {
        self.answer(Call::Environment).map(os_strings).unwrap_or_default()
    }

    fn random(&mut self) -> u64 {
        self.answer(Call::Random).unwrap_or_default()
    }
}

fn os_strings(texts: Vec<Text>) -> Vec<OsString> {
    texts.into_iter().map(|text| OsString::from_vec(text.0)).collect()
}
