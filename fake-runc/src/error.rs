//! Why an invocation ends early.

use std::path::Path;

use wavetank::host::{Command, Errno, SpawnError, SpawnStep};

/// Why an invocation ends before its work is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// It could not be done. The message goes where runc's messages go.
    Failed {
        /// Exit code: 1, or 255 for `exec`.
        code: i32,
        /// What was being done, to what, and what was wrong.
        message: String,
    },
    /// The script says to end here, silently, and to leave everything as it is.
    Scripted {
        /// Exit code.
        code: i32,
    },
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure with runc's usual exit code.
    pub(crate) fn new(message: impl Into<String>) -> Error {
        Error::Failed { code: 1, message: message.into() }
    }

    /// The same failure as `runc create` and `runc run` tell it.
    pub(crate) fn of_launch(self, word: &str) -> Error {
        match self {
            Error::Failed { code, message } => {
                Error::Failed { code, message: format!("runc {word} failed: {message}") }
            }
            scripted @ Error::Scripted { .. } => scripted,
        }
    }

    /// The same failure as `runc exec` tells it: prefixed, with exit code 255.
    pub(crate) fn of_exec(self) -> Error {
        match self {
            Error::Failed { message, .. } => {
                Error::Failed { code: 255, message: format!("exec failed: {message}") }
            }
            scripted @ Error::Scripted { .. } => scripted,
        }
    }
}

/// `open /run/x: no such file or directory (ENOENT)`; made for `map_err`.
pub(crate) fn doing<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(Errno) -> Error + 'a {
    move |errno| Error::new(format!("{what} {}: {errno}", path.display()))
}

/// The same for work on something that has no path.
pub(crate) fn at(what: &str) -> impl FnOnce(Errno) -> Error + '_ {
    move |errno| Error::new(format!("{what}: {errno}"))
}

/// A child that could not be started: at which step, with what, and why.
pub(crate) fn starting(command: &Command) -> impl FnOnce(SpawnError) -> Error + '_ {
    move |SpawnError { step, errno }| {
        let (what, path) = match step {
            SpawnStep::Fork => ("fork for", command.program.as_path()),
            SpawnStep::Prepare => ("prepare descriptors and session for", &*command.program),
            SpawnStep::Chdir => ("chdir", command.cwd.as_deref().unwrap_or("".as_ref())),
            SpawnStep::Exec => ("exec", &*command.program),
        };
        let path = path.display();
        Error::new(format!("unable to start container process: {what} {path}: {errno}"))
    }
}
