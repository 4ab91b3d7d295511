//! What is remembered of a container between two invocations: a directory `ROOT/ID`.
//!
//! | name | meaning |
//! | --- | --- |
//! | `state.json` | [`State`], written once, when the first process was started |
//! | `exec.fifo` | the gate: as long as it is there, the first process waits for `start` |
//! | `paused` | there while the container is paused |
//! | `exec.PID`, `bystander.PID` | one [`Mark`] for each other process that was started |
//! | `resources.json` | what `update` was given last |
//!
//! What can change has a file of its own, so that invocations at the same time need no lock.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wavetank::host::{self, Errno, Host, OpenFlags, Signal};

use crate::error::{Error, Result, doing};
use crate::file::read_file;
use crate::live::{self, Mark};
use crate::spec;

/// Name of the gate.
pub(crate) const GATE: &str = "exec.fifo";
/// Name of the sign that the container is paused.
pub(crate) const PAUSED: &str = "paused";
/// Name of the file with the limits that were set last.
pub(crate) const RESOURCES: &str = "resources.json";

/// What does not change in a container's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The container's name.
    pub(crate) id: String,
    /// Its bundle, absolute.
    pub(crate) bundle: PathBuf,
    /// Its root file system, absolute.
    pub(crate) rootfs: PathBuf,
    /// When it was made, as RFC 3339 has it.
    pub(crate) created: String,
    /// Annotations of its `config.json`.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Its first process.
    pub(crate) init: Mark,
}

/// What a container is doing; the words are those of `runc state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// Its first process waits for `start`.
    Created,
    /// Its first process runs.
    Running,
    /// Its processes were stopped by `pause`.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl Status {
    /// The word that `runc state` has for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// A container's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    /// `ROOT/ID`.
    pub(crate) path: PathBuf,
}

impl Home {
    /// Where a container's state is, whether it exists or not.
    pub(crate) fn of(root: &Path, id: &str) -> Home {
        Home { path: root.join(id) }
    }

    /// Makes the directory, and those above it. Fails if it exists.
    pub(crate) fn make<H: Host>(&self, host: &mut H) -> Result<()> {
        if let Some(root) = self.path.parent() {
            make_directories(host, root)?;
        }
        match host.mkdir(&self.path, 0o711) {
            Ok(()) => Ok(()),
            Err(Errno::EEXIST) => Err(Error::new("container with given ID already exists")),
            Err(errno) => Err(doing("mkdir", &self.path)(errno)),
        }
    }

    /// Writes `state.json`.
    pub(crate) fn save<H: Host>(&self, host: &mut H, state: &State) -> Result<()> {
        self.write_json(host, "state.json", state)
    }

    /// Reads `state.json`.
    pub(crate) fn load<H: Host>(&self, host: &mut H) -> Result<State> {
        let path = self.path.join("state.json");
        match read_file(host, &path, spec::LIMIT) {
            Ok(json) => serde_json::from_slice(&json)
                .map_err(|error| Error::new(format!("parse {}: {error}", path.display()))),
            Err(Errno::ENOENT) => Err(unknown()),
            Err(errno) => Err(doing("open", &path)(errno)),
        }
    }

    /// What the container is doing just now.
    pub(crate) fn status<H: Host>(&self, host: &mut H, state: &State) -> Status {
        if !live::is_alive(host, state.init) {
            Status::Stopped
        } else if self.has(host, PAUSED) {
            Status::Paused
        } else if self.has(host, GATE) {
            Status::Created
        } else {
            Status::Running
        }
    }

    /// Whether a file of this name is in the directory.
    pub(crate) fn has<H: Host>(&self, host: &mut H, name: &str) -> bool {
        host.stat(&self.path.join(name)).is_ok()
    }

    /// Makes an empty file.
    pub(crate) fn put<H: Host>(&self, host: &mut H, name: &str) -> Result<()> {
        write_atomically(host, &self.path.join(name), b"")
    }

    /// Removes a file, if it is there.
    pub(crate) fn take<H: Host>(&self, host: &mut H, name: &str) -> Result<()> {
        let path = self.path.join(name);
        match host.unlink(&path) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(doing("unlink", &path)(errno)),
        }
    }

    /// Remembers one more process.
    pub(crate) fn note<H: Host>(&self, host: &mut H, what: &str, mark: Mark) -> Result<()> {
        self.write_json(host, &format!("{what}.{}", mark.pid), &mark)
    }

    /// The processes of one kind that were started besides the first, dead ones included.
    pub(crate) fn noted<H: Host>(&self, host: &mut H, what: &str) -> Vec<Mark> {
        let prefix = format!("{what}.");
        let names = host.list(&self.path).unwrap_or_default();
        let is_one = |name: &OsString| {
            let number = name.to_str().and_then(|name| name.strip_prefix(&prefix));
            number.is_some_and(|number| number.parse::<i32>().is_ok())
        };
        names
            .into_iter()
            .filter(is_one)
            .filter_map(|name| read_file(host, &self.path.join(name), spec::LIMIT).ok())
            .filter_map(|json| serde_json::from_slice(&json).ok())
            .collect()
    }

    /// Sends a signal to every process of the container, and to those that they left behind.
    pub(crate) fn signal_all<H: Host>(&self, host: &mut H, state: &State, signal: Signal) {
        for mark in self.noted(host, "exec") {
            live::signal_group(host, mark, signal);
        }
        live::signal_group(host, state.init, signal);
    }

    /// Writes a file of JSON.
    pub(crate) fn write_json<H: Host>(
        &self,
        host: &mut H,
        name: &str,
        value: &impl Serialize,
    ) -> Result<()> {
        let path = self.path.join(name);
        let json = serde_json::to_vec(value)
            .map_err(|error| Error::new(format!("write {}: {error}", path.display())))?;
        write_atomically(host, &path, &json)
    }

    /// Removes the directory with everything in it.
    pub(crate) fn remove<H: Host>(&self, host: &mut H) -> Result<()> {
        let names = match host.list(&self.path) {
            Ok(names) => names,
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(doing("read directory", &self.path)(errno)),
        };
        for name in names {
            let path = self.path.join(name);
            match host.unlink(&path) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(doing("unlink", &path)(errno)),
            }
        }
        match host.rmdir(&self.path) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(doing("rmdir", &self.path)(errno)),
        }
    }
}

/// Makes a directory and those above it, as far as they are missing.
pub(crate) fn make_directories<H: Host>(host: &mut H, path: &Path) -> Result<()> {
    match host.mkdir(path, 0o711) {
        Ok(()) => Ok(()),
        Err(Errno::ENOENT) => {
            let parent = path.parent().ok_or_else(|| doing("mkdir", path)(Errno::ENOENT))?;
            make_directories(host, parent)?;
            match host.mkdir(path, 0o711) {
                Ok(()) | Err(Errno::EEXIST) => Ok(()),
                Err(errno) => Err(doing("mkdir", path)(errno)),
            }
        }
        // Some file systems say EROFS or EACCES of a directory that is there.
        Err(_) if host.stat(path).is_ok() => Ok(()),
        Err(errno) => Err(doing("mkdir", path)(errno)),
    }
}

/// Writes a file that appears whole: under another name first, as runc writes its pid file.
pub(crate) fn write_atomically<H: Host>(host: &mut H, path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().ok_or_else(|| doing("create", path)(Errno::EISDIR))?;
    let temporary = path.with_file_name(format!(".{}-{}", name.display(), host.random()));
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::SYNC;
    let fd = host.open(&temporary, flags, 0o644).map_err(doing("create", &temporary))?;
    let written = host::write_all(host, fd, bytes);
    let done = written.and(host.close(fd)).and_then(|()| host.rename(&temporary, path));
    done.map_err(|errno| {
        let _ = host.unlink(&temporary);
        doing("write", path)(errno)
    })
}

/// Nothing is known of a container of that name.
pub(crate) fn unknown() -> Error {
    Error::new("container does not exist")
}
