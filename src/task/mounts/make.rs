//! One mount.

use std::path::{Path, PathBuf};

use super::options::{Options, flag};
use super::{Mount, mountinfo, overlay, undo};
use crate::Error;
use crate::files::read_file;
use crate::host::{Host, MountFlags};

/// A mount that was made, so that it can be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) target: PathBuf,
    /// What is mounted below the source came along.
    pub(super) recursive: bool,
}

/// Mounts something at `target`. `None`: an earlier mount was only changed.
///
/// # Errors
/// What was wrong. Nothing is left behind.
pub(super) fn make<H: Host>(
    host: &mut H,
    mount: &Mount,
    target: PathBuf,
) -> Result<Option<Made>, Error> {
    let invalid = |reason| Error::invalid(mount.at(&target), reason);
    let mut options = Options::parse(&mount.options).map_err(invalid)?;
    if options.is_loop {
        return Err(Error::invalid(mount.at(&target), "loop devices are not supported"));
    }
    if options.uid_map.is_some() && options.gid_map.is_some() {
        return Err(Error::invalid(mount.at(&target), "id-mapped mounts are not supported"));
    }
    let page = page_size(host);
    let directory = match mount.kind.as_str() {
        "overlay" if overlay::is_long(&mount.options, page) => overlay::shorten(&mut options.data),
        _ => None,
    };
    let data = options.data.join(",");
    // The kernel takes a page, its last byte a zero, and cuts off the rest without a word.
    if data.len() >= page {
        return Err(Error::invalid(mount.at(&target), "mount options is too long"));
    }
    let call = Call { mount, target: &target, flags: options.flags, data: &data };
    match directory {
        Some(directory) => call.make_in(host, &directory)?,
        None => call.make(host)?,
    }
    if options.flags.contains(MountFlags::REMOUNT) {
        return Ok(None);
    }
    let recursive = options.flags.contains(MountFlags::REC);
    let read_only = call.make_read_only(host);
    let made = Made { target, recursive };
    if read_only.is_err() {
        undo::undo(host, &made);
    }
    read_only.map(|()| Some(made))
}

/// The arguments of one `mount(2)`.
struct Call<'a> {
    mount: &'a Mount,
    target: &'a Path,
    flags: MountFlags,
    data: &'a str,
}

impl Call<'_> {
    fn make<H: Host>(&self, host: &mut H) -> Result<(), Error> {
        let Call { mount, target, flags, data } = *self;
        host.mount(Path::new(&mount.source), target, &mount.kind, flags, data)
            .map_err(|errno| Error::system("mount", mount.at(target), errno))
    }

    /// From a directory that relative paths in the data begin at.
    fn make_in<H: Host>(&self, host: &mut H, directory: &Path) -> Result<(), Error> {
        // A directory that was removed cannot be gone back to.
        let home = host.current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        host.change_dir(directory)
            .map_err(|errno| Error::system("chdir", directory.display(), errno))?;
        let made = self.make(host);
        let back = host.change_dir(&home);
        made.and(back.map_err(|errno| Error::system("chdir", home.display(), errno)))
    }

    /// A new bind mount has its source's flags, whatever was asked for (`mount(2)`); only a second
    /// call can change them.
    fn make_read_only<H: Host>(&self, host: &mut H) -> Result<(), Error> {
        if !self.flags.contains(MountFlags::BIND | MountFlags::RDONLY) {
            return Ok(());
        }
        let flags = self.flags | locked_flags(host, self.target)? | MountFlags::REMOUNT;
        host.mount(Path::new(""), self.target, "", flags, "")
            .map_err(|errno| Error::system("remount", self.mount.at(self.target), errno))
    }
}

/// The flags of a mount that may not be dropped: in a user namespace all that it has
/// (`mount_namespaces(7)`), otherwise none.
fn locked_flags<H: Host>(host: &mut H, target: &Path) -> Result<MountFlags, Error> {
    if !in_user_namespace(host) {
        return Ok(MountFlags::empty());
    }
    let entries = mountinfo::read(host)?;
    // Of several on top of each other the last is the one that is seen.
    let entry = entries.iter().rfind(|entry| entry.target == target);
    let options = entry.map_or("", |entry| &entry.options).split(',');
    Ok(options.filter_map(flag).filter(|(on, _)| *on).map(|(_, flags)| flags).collect())
}

fn in_user_namespace<H: Host>(host: &mut H) -> bool {
    let Ok(map) = read_file(host, Path::new("/proc/self/uid_map"), 64 * 1024) else {
        return false;
    };
    let map = String::from_utf8_lossy(&map);
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The size of a page in bytes, which the kernel tells every program it starts (`getauxval(3)`).
fn page_size<H: Host>(host: &mut H) -> usize {
    const AT_PAGESZ: usize = 6;
    const WORD: usize = size_of::<usize>();
    let vector = read_file(host, Path::new("/proc/self/auxv"), 64 * 1024).unwrap_or_default();
    let words: Vec<usize> = vector
        .chunks_exact(WORD)
        .filter_map(|word| word.try_into().ok().map(usize::from_ne_bytes))
        .collect();
    let size = words.chunks_exact(2).find(|pair| pair.first() == Some(&AT_PAGESZ));
    size.and_then(|pair| pair.get(1)).copied().unwrap_or(4096)
}
