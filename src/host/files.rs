//! The few compositions of calls that everyone needs.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Errno, Fd, Host, Result};

/// Reads an open file from where it is to its end.
///
/// # Errors
/// What `read(2)` gives; `EFBIG` if there are more than `limit` bytes.
pub fn read_to_end<H: Host>(host: &mut H, fd: Fd, limit: usize) -> Result<Vec<u8>> {
    let size = host.fstat(fd)?.size;
    if size > limit as u64 {
        return Err(Errno::EFBIG);
    }
    // One byte more than the file has, so that its end is seen without another round.
    let mut content = vec![0; usize::try_from(size).unwrap_or(limit).max(511) + 1];
    let mut filled = 0;
    loop {
        if filled > limit {
            return Err(Errno::EFBIG);
        }
        if filled == content.len() {
            content.resize(2 * filled, 0);
        }
        match host.read(fd, &mut content[filled..]) {
            Ok(0) => {
                content.truncate(filled);
                return Ok(content);
            }
            Ok(count) => filled += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Reads up to `len` bytes from an offset, fewer only where the file ends, wherever it stands.
///
/// # Errors
/// What `pread(2)` gives, but for `EINTR`.
pub fn read_range<H: Host>(host: &mut H, fd: Fd, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut content = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match host.read_at(fd, offset + filled as u64, &mut content[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    content.truncate(filled);
    Ok(content)
}

/// What an open file holds, wherever it stands: whoever wrote it through the same open file has left
/// it at its end. What is beyond `limit` bytes is left out.
///
/// # Errors
/// What `fstat(2)` and `pread(2)` give.
pub fn read_from_start<H: Host>(host: &mut H, fd: Fd, limit: usize) -> Result<Vec<u8>> {
    let size = host.fstat(fd)?.size;
    let len = usize::try_from(size).unwrap_or(limit).min(limit);
    read_range(host, fd, 0, len)
}

/// Writes all bytes to a descriptor that waits for room, or to a file.
///
/// # Errors
/// What `write(2)` gives. How many bytes were written before is not told.
pub fn write_all<H: Host>(host: &mut H, fd: Fd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match host.write(fd, bytes) {
            Ok(0) => return Err(Errno::EIO),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The value of a variable in an environment of `NAME=value` entries, as [`Host::environment`] gives
/// it; of several of that name the first (`getenv(3)`).
#[must_use]
pub fn variable<'a>(env: &'a [OsString], name: &str) -> Option<&'a OsStr> {
    let value = |entry: &'a OsString| {
        entry.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=").map(OsStr::from_bytes)
    };
    env.iter().find_map(value)
}

/// Closes descriptors that are done with. What `close(2)` still has to say then is of no use to
/// anybody; they are gone in any case.
pub fn close_all<H: Host>(host: &mut H, fds: impl IntoIterator<Item = Fd>) {
    for fd in fds {
        let _ = host.close(fd);
    }
}

/// Makes a directory that only we may enter, named `prefix` and a random number, in `parent`.
///
/// # Errors
/// What `mkdir(2)` gives, but `EEXIST` only after ten names that were all taken.
pub fn make_directory_of_ours<H: Host>(
    host: &mut H,
    parent: &Path,
    prefix: &str,
) -> Result<PathBuf> {
    let mut tries_left = 10;
    loop {
        let path = parent.join(format!("{prefix}{}", host.random()));
        tries_left -= 1;
        match host.mkdir(&path, 0o700) {
            Ok(()) => return Ok(path),
            Err(Errno::EEXIST) if tries_left > 0 => {}
            Err(errno) => return Err(errno),
        }
    }
}
