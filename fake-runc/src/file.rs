//! Reading whole files.

use std::path::Path;

use wavetank::host::{self, Host, OpenFlags, close_all};

/// Reads a file of at most `limit` bytes, without waiting for anybody.
pub(crate) fn read_file<H: Host>(host: &mut H, path: &Path, limit: usize) -> host::Result<Vec<u8>> {
    let fd = host.open(path, OpenFlags::READ | OpenFlags::NONBLOCK, 0)?;
    let content = host::read_to_end(host, fd, limit);
    close_all(host, [fd]);
    content
}
