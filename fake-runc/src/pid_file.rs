//! Writes the pid file, well or badly.

use std::path::Path;
use std::time::Duration;

use wavetank::host::{self, Command, Fd, Host, Lead, OpenFlags, Pid};

use crate::error::{Result, doing, starting};
use crate::guest;
use crate::live::{self, Mark};
use crate::script::PidFile;
use crate::state::{Home, write_atomically};

/// Writes the pid of a started process to `path`, in the manner that the script wants.
pub(crate) fn write<H: Host>(
    host: &mut H,
    home: &Home,
    path: &Path,
    pid: Pid,
    manner: &PidFile,
) -> Result<()> {
    let digits = pid.to_string();
    let content = match manner {
        PidFile::Normal => digits,
        PidFile::None => return Ok(()),
        PidFile::Empty => String::new(),
        PidFile::Partial => digits[..digits.len() / 2].to_owned(),
        PidFile::Newline => digits + "\n",
        PidFile::Negative => format!("-{digits}"),
        PidFile::Huge => "9".repeat(30),
        PidFile::Other => bystander(host, home)?.to_string(),
        PidFile::Text(text) => text.clone(),
        PidFile::InPlace { pause_ms } => {
            return in_place(host, path, &digits, Duration::from_millis(*pause_ms));
        }
    };
    write_atomically(host, path, content.as_bytes())
}

fn in_place<H: Host>(host: &mut H, path: &Path, digits: &str, pause: Duration) -> Result<()> {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let fd = host.open(path, flags, 0o644).map_err(doing("create", path))?;
    for digit in digits.as_bytes() {
        live::sleep(host, pause);
        host::write_all(host, fd, &[*digit]).map_err(doing("write", path))?;
    }
    host.close(fd).map_err(doing("close", path))
}

/// Starts a process that does nothing, and that `delete` will end.
fn bystander<H: Host>(host: &mut H, home: &Home) -> Result<Pid> {
    let null = open_null(host)?;
    let plan = Command { lead: Lead::Session, ..guest::holder(host, -1, &[null; 3])? };
    let started = host.spawn(&plan).map_err(starting(&plan));
    let _ = host.close(null);
    let pid = started?;
    let mark = Mark::of(host, pid);
    home.note(host, "bystander", mark)?;
    Ok(pid)
}

/// Opens `/dev/null` for both directions.
pub(crate) fn open_null<H: Host>(host: &mut H) -> Result<Fd> {
    let path = Path::new("/dev/null");
    host.open(path, OpenFlags::READ | OpenFlags::WRITE, 0).map_err(doing("open", path))
}
