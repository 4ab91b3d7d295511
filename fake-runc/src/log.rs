//! Where messages go: the file of `--log`, and stderr.

use std::path::Path;

use serde::Serialize;
use wavetank::host::{self, Fd, Host, OpenFlags};

use crate::cli::Global;
use crate::clock;

/// A record as runc's logger writes it in its JSON form; the order of the keys is its own.
#[derive(Serialize)]
struct Record<'a> {
    level: &'a str,
    msg: &'a str,
    time: &'a str,
}

/// Tells an error as runc does: with `--log` a record in that file and the bare message on stderr,
/// without it a record on stderr. What cannot be told is lost, for there is nobody left to tell.
pub(crate) fn tell<H: Host>(host: &mut H, global: &Global, message: &str) {
    if record(host, global, message) {
        tell_stderr(host, message);
    } else {
        let line = line(host, global.log_json, message);
        let _ = host::write_all(host, Fd(2), line.as_bytes());
    }
}

/// Writes a bare message to stderr.
pub(crate) fn tell_stderr<H: Host>(host: &mut H, message: &str) {
    let _ = host::write_all(host, Fd(2), format!("{message}\n").as_bytes());
}

/// Appends a record of level error to the file of `--log`; says whether it is there.
pub(crate) fn record<H: Host>(host: &mut H, global: &Global, message: &str) -> bool {
    let Some(path) = &global.log else { return false };
    let line = line(host, global.log_json, message);
    append(host, path, line.as_bytes()).is_ok()
}

/// Appends bytes to a file in one write, and makes the file if need be.
pub(crate) fn append<H: Host>(host: &mut H, path: &Path, bytes: &[u8]) -> host::Result<()> {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::APPEND;
    let fd = host.open(path, flags, 0o644)?;
    let written = host::write_all(host, fd, bytes);
    written.and(host.close(fd))
}

fn line<H: Host>(host: &mut H, json: bool, msg: &str) -> String {
    let time = &clock::rfc3339(host.wall_clock(), false);
    let text = || format!("time=\"{time}\" level=error msg={msg:?}");
    let line = match json {
        true => {
            serde_json::to_string(&Record { level: "error", msg, time }).unwrap_or_else(|_| text())
        }
        false => text(),
    };
    line + "\n"
}
