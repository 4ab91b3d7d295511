//! `shim-log.json`: what the daemon reads when the shim has failed.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::host::{Fd, Host, OpenFlags, write_all};

/// The open log. Records are JSON objects one after the other, nothing between them, each in one
/// write; the keys' order and the spaces are those of containerd 0.2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Log(Fd);

/// The daemon looks at errors only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Warn,
}

impl Log {
    pub(super) fn open<H: Host>(host: &mut H, path: &Path) -> Result<Log, Error> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::APPEND | OpenFlags::SYNC;
        host.open(path, flags, 0o666)
            .map(Log)
            .map_err(|errno| Error::system("open", path.display(), errno))
    }

    /// Writes a record, and says whether it is there: where a log cannot be written (a full disk) there is
    /// nowhere to say so.
    pub(super) fn write<H: Host>(&self, host: &mut H, level: Level, message: &str) -> bool {
        write_all(host, self.0, record(level, message).as_bytes()).is_ok()
    }

    pub(super) fn close<H: Host>(&self, host: &mut H) {
        let _ = host.close(self.0);
    }
}

fn record(level: Level, message: &str) -> String {
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warn",
    };
    format!("{{\"level\": \"{level}\",\"msg\": {}}}", serde_json::Value::from(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_old_form_and_is_valid_json() {
        assert_eq!(
            record(Level::Error, "open exit: no such file"),
            r#"{"level": "error","msg": "open exit: no such file"}"#
        );
        let quoted = record(Level::Warn, "fork/exec /no/q\"x\": \n\u{1}");
        let value: serde_json::Value = serde_json::from_str(&quoted).unwrap();
        assert_eq!(value["msg"], "fork/exec /no/q\"x\": \n\u{1}");
    }
}
