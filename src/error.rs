//! What can go wrong, as values.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::host::Errno;

/// What a shim tells when something failed: what was being done, to what, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    System {
        /// What was being done: the call's name.
        call: String,
        /// The path, or the pid, that it was done to.
        subject: String,
        /// Why it failed.
        errno: Errno,
    },
    /// Something that came from outside is not what it has to be.
    Invalid {
        /// What it is: a file, a socket, an option.
        subject: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The runtime is a bare name, and no directory in `PATH` has it.
    NotInstalled {
        /// The name.
        runtime: String,
    },
}

impl Error {
    /// A failed system call.
    pub fn system(call: &str, subject: impl fmt::Display, errno: Errno) -> Error {
        Error::System { call: call.to_owned(), subject: subject.to_string(), errno }
    }

    /// Bad data from outside.
    pub fn invalid(subject: impl fmt::Display, reason: impl fmt::Display) -> Error {
        Error::Invalid { subject: subject.to_string(), reason: reason.to_string() }
    }
}

/// The words of containerd 0.2's shim, where it had words, followed by the errno's name.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::System { call, subject, errno } => write!(f, "{call} {subject}: {errno}"),
            Error::Invalid { subject, reason } => write!(f, "{subject}: {reason}"),
            Error::NotInstalled { runtime } => write!(f, "{runtime} not installed on system"),
        }
    }
}

impl std::error::Error for Error {}
