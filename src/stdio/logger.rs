//! The program that reads a process's output in the place of a fifo: how it is started, and how it
//! says that it is ready.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::host::{Bug, Command, Errno, Fd, Host, OpenFlags, PollFd, Ready, close_all};

/// A logger (`binary://`), from before it is started until it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Logger {
    program: PathBuf,
    /// What it is started with, until that was asked for.
    start: Option<Start>,
    /// Our copies of descriptors that only the logger needs.
    lent: Vec<Fd>,
    /// Our end of the pipe on which it says that it is ready; closed when it has.
    ready: Option<Fd>,
    must_say_ready: bool,
    failed: bool,
}

/// What a logger is started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Start {
    argv: Vec<OsString>,
    env: Vec<OsString>,
    fds: Vec<Fd>,
}

/// What the client said of a logger.
pub(super) struct Asked {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) must_say_ready: bool,
    /// The whole of its environment.
    pub(super) env: Vec<OsString>,
}

impl Logger {
    /// A logger that has the first descriptor for its streams, reads the process's stdout from the
    /// second and its stderr from the third, as its descriptors 3 and 4; on 5 it says that it is
    /// ready. They stay the caller's.
    ///
    /// # Errors
    /// What `pipe2(2)` gives.
    pub(super) fn new<H: Host>(
        host: &mut H,
        asked: Asked,
        [null, stdout, stderr]: [Fd; 3],
    ) -> Result<Logger, Error> {
        let Asked { program, arguments, must_say_ready, env } = asked;
        let failed = |errno| Error::system("pipe", program.display(), errno);
        let ready = host.pipe(OpenFlags::empty()).map_err(failed)?;
        if let Err(errno) = host.set_nonblocking(ready.read, true) {
            close_all(host, [ready.read, ready.write]);
            return Err(failed(errno));
        }
        let argv = [program.clone().into_os_string()].into_iter().chain(arguments).collect();
        let fds = vec![null, null, null, stdout, stderr, ready.write];
        Ok(Logger {
            program,
            start: Some(Start { argv, env, fds }),
            lent: vec![ready.write],
            ready: Some(ready.read),
            must_say_ready,
            failed: false,
        })
    }

    /// Hands over a descriptor that only the logger needs: it is closed once it has it.
    pub(super) fn lend(&mut self, fd: Fd) {
        self.lent.push(fd);
    }

    /// What to start; given once.
    pub(super) fn command(&mut self) -> Option<Command> {
        let Start { argv, env, fds } = self.start.take()?;
        let program = self.program.clone();
        Some(Command { program, argv, env: Some(env), fds, ..Command::default() })
    }

    /// The logger has its descriptors.
    pub(super) fn started<H: Host>(&mut self, host: &mut H) {
        close_all(host, std::mem::take(&mut self.lent));
    }

    /// Whether it has said that it is ready, or will not say anything any more.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.is_none()
    }

    /// Why it will never be ready.
    pub(super) fn failure(&self) -> Option<Error> {
        let reason =
            "logging binary did not call ready (it may have crashed or exited prematurely)";
        self.failed.then(|| Error::invalid(self.program.display(), reason))
    }

    pub(super) fn question(&self) -> Option<PollFd> {
        self.ready.map(|ready| PollFd::new(ready, Ready::READ))
    }

    /// Looks whether it has said so. The end without a word is one, too, unless it must say it.
    pub(super) fn listen<H: Host>(&mut self, host: &mut H) {
        let Some(ready) = self.ready else { return };
        let mut word = [0; 1];
        match host.read(ready, &mut word) {
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            Ok(0) | Err(_) => {
                self.failed = self.must_say_ready && !host.planted(Bug::ReadyByEnd);
            }
            Ok(_) => {}
        }
        close_all(host, self.ready.take());
    }

    pub(super) fn close<H: Host>(mut self, host: &mut H) {
        self.started(host);
        close_all(host, self.ready.take());
    }
}
