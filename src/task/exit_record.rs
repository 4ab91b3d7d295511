//! `exit.json` in a bundle: how the container's first process ended. The shim leaves it there, so
//! that delete can tell even after the shim is gone.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::files::{read_file, write_atomically};
use crate::host::{Errno, Host, Pid};

const NAME: &str = "exit.json";
/// Three fields are never longer.
const RECORD_MAX: usize = 4096;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ExitRecord {
    /// Which process.
    pub(super) pid: Pid,
    /// Its exit code, or 128 plus the signal that ended it.
    pub(super) exit_status: u32,
    /// When, since the start of 1970.
    #[serde(with = "as_text")]
    pub(super) exited_at: Duration,
}

mod as_text {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::oci::{parse_rfc3339, rfc3339_nano};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&rfc3339_nano(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        parse_rfc3339(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no time")))
    }
}

impl ExitRecord {
    /// Leaves the record in a bundle.
    ///
    /// # Errors
    /// Which call failed on it; nothing is left behind.
    pub(super) fn write<H: Host>(&self, host: &mut H, bundle: &Path) -> Result<(), Error> {
        let path = bundle.join(NAME);
        let text = serde_json::to_vec(self).map_err(|e| Error::invalid(path.display(), e))?;
        write_atomically(host, &path, &text)
    }

    /// The record of a bundle; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub(super) fn read<H: Host>(host: &mut H, bundle: &Path) -> Result<Option<ExitRecord>, Error> {
        let path = bundle.join(NAME);
        let text = match read_file(host, &path, RECORD_MAX) {
            Ok(text) => text,
            Err(Error::System { errno: Errno::ENOENT, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let record = serde_json::from_slice(&text);
        record.map(Some).map_err(|error| Error::invalid(path.display(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::LinuxHost;

    const RECORD: ExitRecord =
        ExitRecord { pid: Pid(77), exit_status: 137, exited_at: Duration::new(1_795_434_620, 5) };

    #[test]
    fn written_and_read() {
        let directory = tempfile::tempdir().unwrap();
        let mut host = LinuxHost::new();
        assert_eq!(ExitRecord::read(&mut host, directory.path()), Ok(None));
        RECORD.write(&mut host, directory.path()).unwrap();
        assert_eq!(ExitRecord::read(&mut host, directory.path()), Ok(Some(RECORD)));
        let text = read_file(&mut host, &directory.path().join("exit.json"), 4096).unwrap();
        let expected =
            r#"{"pid":77,"exit_status":137,"exited_at":"2026-11-23T11:50:20.000000005Z"}"#;
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn damaged_ones() {
        let directory = tempfile::tempdir().unwrap();
        let mut host = LinuxHost::new();
        for text in ["", "{\"pid\":77,\"exit_status\":1,\"exited_at\":\"noon\"}"] {
            let path = directory.path().join("exit.json");
            write_atomically(&mut host, &path, text.as_bytes()).unwrap();
            let error = ExitRecord::read(&mut host, directory.path()).unwrap_err();
            assert!(error.to_string().contains("exit.json: "), "{error}");
        }
    }
}
