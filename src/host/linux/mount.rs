//! Mounts, and devices that are made of files to be mounted.

use std::ffi::{CString, OsStr};
use std::path::Path;
use std::ptr;

use nix::libc;

use super::files::c_string;
use super::{checked, last_errno, raw};
use crate::host::{Errno, Fd, LoopFlags, MountFlags, Result};

pub(super) fn mount(
    source: &Path,
    target: &Path,
    kind: &str,
    flags: MountFlags,
    data: &str,
) -> Result<()> {
    let (source, kind) = (optional(source.as_os_str())?, optional(OsStr::new(kind))?);
    let (target, data) = (c_string(target.as_os_str())?, optional(OsStr::new(data))?);
    let start = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    // SAFETY: every pointer is null or to a string that ends in a zero byte and outlives the call.
    checked(unsafe {
        libc::mount(
            start(&source),
            target.as_ptr(),
            start(&kind),
            flags.bits(),
            start(&data).cast(),
        )
    })
    .map(drop)
}

fn optional(text: &OsStr) -> Result<Option<CString>> {
    if text.is_empty() { Ok(None) } else { c_string(text).map(Some) }
}

pub(super) fn unmount(target: &Path, detach: bool) -> Result<()> {
    let target = c_string(target.as_os_str())?;
    let detach = if detach { libc::MNT_DETACH } else { 0 };
    // SAFETY: the path is a string that ends in a zero byte.
    checked(unsafe { libc::umount2(target.as_ptr(), libc::UMOUNT_NOFOLLOW | detach) }).map(drop)
}

/// The answer of a call that libc has no function for.
fn answered(answer: libc::c_long) -> Result<libc::c_int> {
    if answer == -1 { Err(last_errno()) } else { libc::c_int::try_from(answer).or(Err(Errno::EIO)) }
}

pub(super) fn clone_tree(path: &Path) -> Result<Fd> {
    const OPEN_TREE_CLONE: libc::c_int = 1;
    let path = c_string(path.as_os_str())?;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC;
    // SAFETY: the path is a string that ends in a zero byte.
    answered(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
        .map(Fd)
}

/// `struct mount_attr` (`mount_setattr(2)`).
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

pub(super) fn map_tree_ids(tree: Fd, user_namespace: Fd, read_only: bool) -> Result<()> {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let attributes = MountAttributes {
        set: MOUNT_ATTR_IDMAP | if read_only { MOUNT_ATTR_RDONLY } else { 0 },
        clear: 0,
        propagation: MountFlags::PRIVATE.bits(),
        user_namespace: u64::from(raw(user_namespace).unsigned_abs()),
    };
    // SAFETY: the path is empty, and the attributes are as long as is said.
    answered(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            raw(tree),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    })
    .map(drop)
}

pub(super) fn attach_tree(tree: Fd, target: &Path) -> Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_int = 4;
    let target = c_string(target.as_os_str())?;
    // SAFETY: both paths are strings that end in a zero byte.
    answered(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            raw(tree),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(drop)
}

pub(super) fn free_loop_device(control: Fd) -> Result<u32> {
    const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
    // SAFETY: takes and gives plain numbers.
    checked(unsafe { libc::ioctl(raw(control), LOOP_CTL_GET_FREE as _) })
        .map(libc::c_int::unsigned_abs)
}

/// `struct loop_config` with its `struct loop_info64` (`linux/loop.h`), whose other fields stay 0.
#[repr(C)]
struct LoopConfig {
    file: u32,
    block_size: u32,
    unused: [u8; 52],
    flags: u32,
    names: [u8; 176],
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopConfig>() == 304);

pub(super) fn attach_loop_device(device: Fd, file: Fd, flags: LoopFlags) -> Result<()> {
    const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
    let config = LoopConfig {
        file: raw(file).unsigned_abs(),
        block_size: 0,
        unused: [0; 52],
        flags: flags.bits(),
        names: [0; 176],
        reserved: [0; 8],
    };
    // SAFETY: the config is laid out as the kernel reads it.
    checked(unsafe { libc::ioctl(raw(device), LOOP_CONFIGURE as _, &raw const config) }).map(drop)
}
