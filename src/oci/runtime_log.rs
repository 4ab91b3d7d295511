//! What a runtime has to say when it fails, and how that is told.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::host::{Errno, ExitStatus, Fd, Host, OpenFlags, close_all, read_range};

/// So much of a log's end is read; what a runtime says before it fails is at its end.
const LOG_MAX: u64 = 1024 * 1024;

/// How a call of a runtime failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No directory in `PATH` has the program.
    NotFound,
    /// It could not be executed.
    NotStarted(Errno),
    /// It has ended like this.
    Ended(ExitStatus),
}

impl Failure {
    /// What Go's `os/exec` and containerd's `go-runc` say. The program bears the name by which it
    /// was called; a signal is told as the exit status that a shell gives it.
    #[must_use]
    pub fn describe(self, program: &str) -> String {
        match self {
            Failure::NotFound => format!("exec: {program:?}: executable file not found in $PATH"),
            Failure::NotStarted(errno) => format!("fork/exec {program}: {errno}"),
            Failure::Ended(status) => {
                let number = status.number();
                format!("{program} did not terminate successfully: exit status {number}")
            }
        }
    }
}

/// The message of a failed call, in containerd's words: `prefix`, such as `OCI runtime create
/// failed`, and the last error of the runtime's log. Without such an error, it is how the call
/// ended, and what it printed; a log that could not be read is told as well.
#[must_use]
pub fn failure_message(
    prefix: &str,
    last_error: &Result<Option<String>, String>,
    failure: Failure,
    program: &str,
    output: &[u8],
) -> String {
    let described = || {
        let output = String::from_utf8_lossy(output);
        let printed = output.trim();
        let separator = if printed.is_empty() { "" } else { ": " };
        format!("{}{separator}{printed}", failure.describe(program))
    };
    match last_error {
        Ok(Some(error)) => format!("{prefix}: {error}"),
        Ok(None) => format!("{prefix}: {}", described()),
        Err(reason) => {
            format!("{prefix}: unable to retrieve OCI runtime error ({reason}): {}", described())
        }
    }
}

/// How long a log is now; what a call adds to it stands behind. A log that is not there is empty.
pub fn log_length<H: Host>(host: &mut H, log: &Path) -> u64 {
    host.stat(log).map_or(0, |stat| stat.size)
}

/// The last error in a log behind its first `offset` bytes, if there is one there.
///
/// # Errors
/// Why the log could not be read.
pub fn last_error_since<H: Host>(
    host: &mut H,
    log: &Path,
    offset: u64,
) -> Result<Option<String>, String> {
    let failed = |errno: Errno| format!("open {}: {errno}", log.display());
    let fd = host.open(log, OpenFlags::READ | OpenFlags::NONBLOCK, 0).map_err(failed)?;
    let text = read_since(host, fd, offset).map_err(|errno| format!("{}: {errno}", log.display()));
    close_all(host, [fd]);
    Ok(last_error(&text?))
}

fn read_since<H: Host>(host: &mut H, fd: Fd, offset: u64) -> Result<Vec<u8>, Errno> {
    let size = host.fstat(fd)?.size;
    // Somebody has put a new log in the place of the old one.
    let start = if offset > size { 0 } else { offset };
    let start = start.max(size.saturating_sub(LOG_MAX));
    read_range(host, fd, start, usize::try_from(size - start).unwrap_or_default())
}

/// The last error in the lines of a log, which are JSON; others are skipped.
#[must_use]
pub fn last_error(text: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let lines = text.split(|byte| *byte == b'\n').rev();
    let read = |line| serde_json::from_slice::<Line>(line).ok();
    let mut errors = lines.filter_map(read).filter(|line| line.level == "error");
    errors.find_map(|line| Some(line.msg.trim().to_owned()).filter(|msg| !msg.is_empty()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rstest::rstest;

    use super::*;
    use crate::files::write_atomically;
    use crate::host::{LinuxHost, Signal};

    #[rstest]
    #[case("", None)]
    #[case("\n\n", None)]
    #[case(r#"{"level":"warning","msg":"w","time":"t"}"#, None)]
    #[case("{\"level\":\"error\",\"msg\":\"a\"}\n{\"level\":\"error\",\"msg\":\"b\"}\n", Some("b"))]
    #[case("{\"level\":\"error\",\"msg\":\"a\"}\n{\"level\":\"info\",\"msg\":\"b\"}\n", Some("a"))]
    #[case("{\"level\":\"error\",\"msg\":\"a\"}\n{\"level\":\"error\",\"ms", Some("a"))]
    #[case(
        "tail of a line\"}\nnot json\n{\"level\":\"error\",\"msg\":\" a\\n\"}\n[1]\n",
        Some("a")
    )]
    #[case("{\"level\":\"error\",\"msg\":\"a\"}\n{\"level\":\"error\",\"msg\":\"\"}\n", Some("a"))]
    #[case(
        r#"{"msg":"exec: \"x\" not found","level":"error","time":"t"}"#,
        Some("exec: \"x\" not found")
    )]
    fn the_last_error(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(last_error(text.as_bytes()), expected.map(str::to_owned));
    }

    #[test]
    fn bytes_that_are_no_text() {
        let text = b"\xff\xfe{\n{\"level\":\"error\",\"msg\":\"a\"}\n\x00\n";
        assert_eq!(last_error(text), Some("a".to_owned()));
    }

    fn log(directory: &tempfile::TempDir, text: &[u8]) -> PathBuf {
        let path = directory.path().join("log.json");
        write_atomically(&mut LinuxHost::new(), &path, text).unwrap();
        path
    }

    #[test]
    fn only_what_a_call_added_counts() {
        let directory = tempfile::tempdir().unwrap();
        let mut host = LinuxHost::new();
        let old = b"{\"level\":\"error\",\"msg\":\"old\"}\n";
        let path = log(&directory, old);
        let length = log_length(&mut host, &path);
        assert_eq!(last_error_since(&mut host, &path, length), Ok(None));
        assert_eq!(last_error_since(&mut host, &path, 0), Ok(Some("old".to_owned())));
        let both = [&old[..], b"{\"level\":\"error\",\"msg\":\"new\"}\n"].concat();
        log(&directory, &both);
        assert_eq!(last_error_since(&mut host, &path, length), Ok(Some("new".to_owned())));
        log(&directory, b"{\"level\":\"error\",\"msg\":\"n\"}\n");
        assert_eq!(last_error_since(&mut host, &path, length), Ok(Some("n".to_owned())));
    }

    #[test]
    fn the_end_of_an_endless_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut text = vec![b'x'; 3 << 20];
        text.extend(b"\n{\"level\":\"error\",\"msg\":\"a\"}\n");
        let path = log(&directory, &text);
        assert_eq!(last_error_since(&mut LinuxHost::new(), &path, 0), Ok(Some("a".to_owned())));
    }

    #[test]
    fn a_log_that_is_not_there() {
        let mut host = LinuxHost::new();
        let path = Path::new("/no/such/log.json");
        assert_eq!(log_length(&mut host, path), 0);
        let error = last_error_since(&mut host, path, 0).unwrap_err();
        assert_eq!(error, "open /no/such/log.json: no such file or directory (ENOENT)");
    }

    #[rstest]
    #[case(Ok(Some("bad".to_owned())), Failure::Ended(ExitStatus::Code(1)), "out", "P: bad")]
    #[case(
        Ok(None),
        Failure::Ended(ExitStatus::Code(1)),
        "",
        "P: runc did not terminate successfully: exit status 1"
    )]
    #[case(
        Ok(None),
        Failure::Ended(ExitStatus::Signal(Signal::KILL)),
        "oh no\n",
        "P: runc did not terminate successfully: exit status 137: oh no"
    )]
    #[case(
        Err("open L: gone".to_owned()),
        Failure::NotFound,
        "",
        "P: unable to retrieve OCI runtime error (open L: gone): \
         exec: \"runc\": executable file not found in $PATH"
    )]
    #[case(
        Ok(None),
        Failure::NotStarted(Errno::EACCES),
        "",
        "P: fork/exec runc: permission denied (EACCES)"
    )]
    fn messages(
        #[case] last_error: Result<Option<String>, String>,
        #[case] failure: Failure,
        #[case] output: &str,
        #[case] expected: &str,
    ) {
        let message = failure_message("P", &last_error, failure, "runc", output.as_bytes());
        assert_eq!(message, expected);
    }
}
