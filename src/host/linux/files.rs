//! Files, fifos and pipes.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::stat::Mode;

use super::{borrow, checked, checked_size, errno, owned, raw};
use crate::host::{Errno, Fd, FileKind, FileStat, OpenFlags, Result};

/// Permission bits as nix wants them; bits that `chmod(2)` does not know are dropped.
pub(super) fn mode(bits: u32) -> Mode {
    Mode::from_bits_truncate(bits)
}

pub(super) fn status_flags(flags: OpenFlags) -> OFlag {
    let table = [
        (OpenFlags::NONBLOCK, OFlag::O_NONBLOCK),
        (OpenFlags::CREATE, OFlag::O_CREAT),
        (OpenFlags::EXCLUSIVE, OFlag::O_EXCL),
        (OpenFlags::TRUNCATE, OFlag::O_TRUNC),
        (OpenFlags::APPEND, OFlag::O_APPEND),
        (OpenFlags::SYNC, OFlag::O_SYNC),
        (OpenFlags::NOFOLLOW, OFlag::O_NOFOLLOW),
        (OpenFlags::NOCTTY, OFlag::O_NOCTTY),
        (OpenFlags::DIRECTORY, OFlag::O_DIRECTORY),
    ];
    let chosen = table.into_iter().filter(|(ours, _)| flags.contains(*ours)).map(|(_, os)| os);
    chosen.fold(OFlag::O_CLOEXEC, |all, flag| all | flag)
}

pub(super) fn open(path: &Path, flags: OpenFlags, bits: u32) -> Result<Fd> {
    let access = match (flags.contains(OpenFlags::READ), flags.contains(OpenFlags::WRITE)) {
        (true, true) => OFlag::O_RDWR,
        (false, true) => OFlag::O_WRONLY,
        _ => OFlag::O_RDONLY,
    };
    nix::fcntl::open(path, access | status_flags(flags), mode(bits)).map(owned).map_err(errno)
}

pub(super) fn splice(from: Fd, to: Fd, len: usize) -> Result<usize> {
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    let none = std::ptr::null_mut();
    // SAFETY: takes plain numbers and two absent offsets.
    checked_size(unsafe { libc::splice(raw(from), none, raw(to), none, len, flags) })
}

pub(super) fn read_at(fd: Fd, offset: u64, buffer: &mut [u8]) -> Result<usize> {
    let offset = libc::off_t::try_from(offset).map_err(|_| Errno::EINVAL)?;
    let (start, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the buffer is as long as is said.
    checked_size(unsafe { libc::pread(raw(fd), start, len, offset) })
}

pub(super) fn set_nonblocking(fd: Fd, on: bool) -> Result<()> {
    let current = fcntl(borrow(&fd), FcntlArg::F_GETFL).map_err(errno)?;
    let mut flags = OFlag::from_bits_retain(current);
    flags.set(OFlag::O_NONBLOCK, on);
    fcntl(borrow(&fd), FcntlArg::F_SETFL(flags)).map(drop).map_err(errno)
}

pub(super) fn unread(fd: Fd) -> Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD stores one int.
    checked(unsafe { libc::ioctl(raw(fd), libc::FIONREAD, &raw mut count) })?;
    // It is negative where a file was cut off before the place at which it is to be read.
    Ok(usize::try_from(count).unwrap_or(0))
}

pub(super) fn file_stat(stat: &nix::sys::stat::FileStat) -> FileStat {
    let kind = match stat.st_mode & libc::S_IFMT {
        libc::S_IFDIR => FileKind::Directory,
        libc::S_IFIFO => FileKind::Fifo,
        libc::S_IFCHR => FileKind::Character,
        libc::S_IFBLK => FileKind::Block,
        libc::S_IFSOCK => FileKind::Socket,
        libc::S_IFLNK => FileKind::Symlink,
        _ => FileKind::Regular,
    };
    FileStat {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size.unsigned_abs(),
        device: stat.st_dev,
        inode: stat.st_ino,
    }
}

pub(super) fn rmdir(path: &Path) -> Result<()> {
    let path = c_string(path.as_os_str())?;
    // SAFETY: the path is a string that ends in a zero byte.
    checked(unsafe { libc::rmdir(path.as_ptr()) }).map(drop)
}

pub(super) fn list(path: &Path) -> Result<Vec<OsString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut directory = Dir::open(path, flags, Mode::empty()).map_err(errno)?;
    let mut names = Vec::new();
    for entry in directory.iter() {
        let entry = entry.map_err(errno)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// A path or argument for a C function; one with a zero byte inside is no valid path.
pub(super) fn c_string(text: &OsStr) -> Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Errno::EINVAL)
}
