//! The shim's own log: the fifo `log` in the bundle, which the daemon reads.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::{Bug, Errno, Fd, Host, OpenFlags, close_all};
use crate::oci::rfc3339_nano;

/// How much a line is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// Only with `-debug`.
    Debug,
    /// What is not as it should be, and goes on.
    Warning,
    /// What has failed.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// A log that never waits: lines for which there is no room, or no reader, are dropped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Log {
    path: PathBuf,
    fd: Option<Fd>,
    debug: bool,
}

impl Log {
    /// Opens the log; where nobody reads it, later lines will try again.
    pub(super) fn open<H: Host>(host: &mut H, directory: &Path, debug: bool) -> Log {
        let mut log = Log { path: directory.join("log"), fd: None, debug };
        log.reopen(host);
        log
    }

    fn reopen<H: Host>(&mut self, host: &mut H) {
        let flags = OpenFlags::WRITE | OpenFlags::NONBLOCK | OpenFlags::NOCTTY;
        self.fd = host.open(&self.path, flags, 0).ok();
        if let Some(fd) = self.fd.filter(|_| host.planted(Bug::LogWaits)) {
            let _ = host.set_nonblocking(fd, false);
        }
    }

    /// Writes a line in the text format of logrus, as containerd's shims do.
    pub(super) fn write<H: Host>(&mut self, host: &mut H, level: Level, message: &str) {
        if level == Level::Debug && !self.debug {
            return;
        }
        let time = rfc3339_nano(host.wall_clock());
        let quoted = serde_json::Value::from(message).to_string();
        let line = format!(
            "time=\"{time}\" level={} msg={quoted} runtime=io.containerd.wavetank.v2\n",
            level.name()
        );
        if self.fd.is_none() {
            self.reopen(host);
        }
        let Some(fd) = self.fd else { return };
        let mut written = host.write(fd, line.as_bytes());
        while written == Err(Errno::EPIPE) && host.planted(Bug::LogsThatItCannotLog) {
            written = host.write(fd, line.as_bytes());
        }
        // Nobody reads any more: a daemon that comes back opens the fifo anew.
        if let Err(Errno::EPIPE | Errno::EBADF) = written {
            self.close(host);
        }
    }

    pub(super) fn close<H: Host>(&mut self, host: &mut H) {
        close_all(host, self.fd.take());
    }
}
