//! Mounts.

use std::ffi::{CString, OsStr};
use std::path::Path;
use std::ptr;

use nix::libc;

use super::checked;
use super::files::c_string;
use crate::host::{MountFlags, Result};

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
