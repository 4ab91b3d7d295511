//! Whole files, with errors that name them.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::host::{self, Errno, Host, OpenFlags, close_all, write_all};

/// Reads a whole file of at most `limit` bytes, without waiting for anybody.
///
/// # Errors
/// Which call failed on it.
pub fn read_file<H: Host>(host: &mut H, path: &Path, limit: usize) -> Result<Vec<u8>, Error> {
    let failed = |call| move |errno| Error::system(call, path.display(), errno);
    let fd = host.open(path, OpenFlags::READ | OpenFlags::NONBLOCK, 0).map_err(failed("open"))?;
    let content = host::read_to_end(host, fd, limit).map_err(failed("read"));
    close_all(host, [fd]);
    content
}

/// Puts a file in its place whole or not at all: nobody ever sees a part of it.
///
/// # Errors
/// Which call failed on it; nothing is left behind.
pub fn write_atomically<H: Host>(host: &mut H, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |call| move |errno| Error::system(call, path.display(), errno);
    let temporary = temporary_name(path);
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::NOFOLLOW;
    let fd = host.open(&temporary, flags, 0o666).map_err(failed("create"))?;
    let written = write_all(host, fd, bytes).map_err(failed("write"));
    let closed = host.close(fd).map_err(failed("write"));
    let placed =
        written.and(closed).and_then(|()| host.rename(&temporary, path).map_err(failed("rename")));
    if placed.is_err() {
        let _ = host.unlink(&temporary);
    }
    placed
}

/// Which file it is, by its device and inode, if there is one.
pub fn identity<H: Host>(host: &mut H, path: &Path) -> Option<(u64, u64)> {
    host.stat(path).ok().map(|stat| (stat.device, stat.inode))
}

/// Makes a directory, and those above it that are not there, each with this mode.
///
/// # Errors
/// The first one that could not be made.
pub fn make_directories<H: Host>(host: &mut H, path: &Path, mode: u32) -> Result<(), Error> {
    let mut missing = Vec::new();
    for directory in path.ancestors().filter(|directory| !directory.as_os_str().is_empty()) {
        if host.stat(directory).is_ok() {
            break;
        }
        missing.push(directory);
    }
    for directory in missing.into_iter().rev() {
        match host.mkdir(directory, mode) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(Error::system("mkdir", directory.display(), errno)),
        }
    }
    Ok(())
}

/// Removes a directory and all that is in it, or a file. What is not there is as it should be.
///
/// # Errors
/// The first thing that could not be removed.
pub fn remove_all<H: Host>(host: &mut H, path: &Path) -> Result<(), Error> {
    let failed = |call| move |errno| Error::system(call, path.display(), errno);
    match host.unlink(path) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => return Err(failed("unlink")(errno)),
    }
    for name in host.list(path).map_err(failed("list"))? {
        remove_all(host, &path.join(name))?;
    }
    host.rmdir(path).map_err(failed("rmdir"))
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    use mockall::Sequence;

    use super::*;
    use crate::host::{Fd, LinuxHost, MockHost};

    #[test]
    fn a_disk_that_is_full_leaves_nothing_behind() {
        let mut host = MockHost::new();
        let mut order = Sequence::new();
        host.expect_open().once().in_sequence(&mut order).returning(|_, _, _| Ok(Fd(3)));
        host.expect_write().once().in_sequence(&mut order).returning(|_, _| Err(Errno::ENOSPC));
        host.expect_close().once().in_sequence(&mut order).returning(|_| Ok(()));
        host.expect_unlink()
            .withf(|path| path == Path::new("exitStatus.new"))
            .once()
            .in_sequence(&mut order)
            .returning(|_| Ok(()));
        let error = write_atomically(&mut host, Path::new("exitStatus"), b"7").unwrap_err();
        assert_eq!(error.to_string(), "write exitStatus: no space left on device (ENOSPC)");
    }

    #[test]
    fn directories_that_are_missing_are_made() {
        let directory = tempfile::tempdir().unwrap();
        let mut host = LinuxHost::new();
        let deepest = directory.path().join("a/b/c");
        for _ in 0..2 {
            make_directories(&mut host, &deepest, 0o700).unwrap();
            assert_eq!(host.stat(&deepest).unwrap().mode, 0o700);
        }
        write_atomically(&mut host, &deepest.join("f"), b"").unwrap();
        let error = make_directories(&mut host, &deepest.join("f/g"), 0o700).unwrap_err();
        assert!(error.to_string().ends_with("c/f/g: not a directory (ENOTDIR)"), "{error}");
    }

    #[test]
    fn interrupted_and_short_writes_lose_nothing() {
        let mut host = MockHost::new();
        let mut answers = vec![Ok(1), Err(Errno::EINTR), Ok(2)];
        let mut written = Vec::new();
        host.expect_open().returning(|_, _, _| Ok(Fd(3)));
        host.expect_write().times(3).returning(move |_, bytes| {
            written.push(bytes.to_vec());
            if written.len() == 3 {
                assert_eq!(written, [b"137".to_vec(), b"7".to_vec(), b"7".to_vec()]);
            }
            answers.pop().unwrap()
        });
        host.expect_close().returning(|_| Ok(()));
        host.expect_rename().once().returning(|_, _| Ok(()));
        write_atomically(&mut host, Path::new("exitStatus"), b"137").unwrap();
    }
}
