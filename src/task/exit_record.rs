//! Two files in a bundle that say how the container's first process ended. The shim leaves
//! `exit.json` there, so that delete can tell even after the shim is gone. What delete had to invent it
//! leaves in `deleted.json`: a daemon that was killed before it removed the bundle asks again, and must
//! not be told something else.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::files::{read_file, write_atomically};
use crate::host::{Errno, Host, Pid};

/// What the shim knows.
pub(super) const EXIT: &str = "exit.json";
/// What delete has said without knowing.
pub(super) const DELETED: &str = "deleted.json";
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
    /// Leaves the record in a bundle, in the file of this name.
    ///
    /// # Errors
    /// Which call failed on it; nothing is left behind.
    pub(super) fn write<H: Host>(
        &self,
        host: &mut H,
        bundle: &Path,
        name: &str,
    ) -> Result<(), Error> {
        let path = bundle.join(name);
        let text = serde_json::to_vec(self).map_err(|e| Error::invalid(path.display(), e))?;
        write_atomically(host, &path, &text)
    }

    /// A bundle's record in the file of this name; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub(super) fn read<H: Host>(
        host: &mut H,
        bundle: &Path,
        name: &str,
    ) -> Result<Option<ExitRecord>, Error> {
        let path = bundle.join(name);
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
        assert_eq!(ExitRecord::read(&mut host, directory.path(), EXIT), Ok(None));
        RECORD.write(&mut host, directory.path(), EXIT).unwrap();
        assert_eq!(ExitRecord::read(&mut host, directory.path(), EXIT), Ok(Some(RECORD)));
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
            let error = ExitRecord::read(&mut host, directory.path(), EXIT).unwrap_err();
            assert!(error.to_string().contains("exit.json: "), "{error}");
        }
    }
}
