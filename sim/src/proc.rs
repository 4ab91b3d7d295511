//! The little of `proc(5)` that programs here use: a process's own file and descriptors.

use std::ffi::OsString;
use std::path::PathBuf;

use wavetank::host::{Errno, Fd, Result};

use crate::file::OpenFile;
use crate::fs::{Inode, Node};
use crate::kernel::Kernel;
use crate::slab::Id;

/// A link below `/proc/self`.
#[derive(Clone, Copy)]
pub(crate) enum ProcLink {
    /// `exe`
    Exe,
    /// `fd/N`
    Descriptor(Fd),
}

impl ProcLink {
    pub(crate) fn parse(path: &[u8]) -> Option<ProcLink> {
        let rest = path.strip_prefix(b"/proc/self/")?;
        if rest == b"exe" {
            return Some(ProcLink::Exe);
        }
        let number = std::str::from_utf8(rest.strip_prefix(b"fd/")?).ok()?;
        number.parse().ok().map(|number| ProcLink::Descriptor(Fd(number)))
    }
}

impl Kernel {
    /// The file to which the link leads, without a path in between.
    pub(crate) fn proc_inode(&self, pid: i32, link: ProcLink) -> Result<Id<Inode>> {
        match link {
            ProcLink::Exe => self.processes[&pid].exe.ok_or(Errno::ENOENT),
            ProcLink::Descriptor(fd) => {
                let file = self.file(pid, fd).map_err(|_| Errno::ENOENT)?;
                Ok(self.files[file].inode)
            }
        }
    }

    /// The text of the link.
    pub(crate) fn proc_target(&self, pid: i32, link: ProcLink) -> Result<PathBuf> {
        match link {
            ProcLink::Exe => self.proc_inode(pid, link).map(|inode| self.name_of(inode)),
            ProcLink::Descriptor(fd) => {
                let file = self.file(pid, fd).map_err(|_| Errno::ENOENT)?;
                Ok(self.name_of_file(file))
            }
        }
    }

    /// What `/proc/self/fd/N` says about an open file.
    pub(crate) fn name_of_file(&self, file: Id<OpenFile>) -> PathBuf {
        self.name_of(self.files[file].inode)
    }

    fn name_of(&self, inode: Id<Inode>) -> PathBuf {
        let it = &self.inodes[inode];
        if it.parent.is_some() {
            return self.path_of(inode);
        }
        match (&it.former_path, &it.node) {
            (Some(path), _) => {
                let mut name = path.clone().into_os_string();
                name.push(" (deleted)");
                PathBuf::from(name)
            }
            (None, Node::Fifo(_)) => PathBuf::from(format!("pipe:[{}]", it.number)),
            (None, Node::Socket(_)) => PathBuf::from(format!("socket:[{}]", it.number)),
            (None, Node::Signals) => PathBuf::from("anon_inode:[signalfd]"),
            (None, _) => PathBuf::new(),
        }
    }

    /// The names in `/proc/self/fd`. Reading a directory needs a descriptor, `own`, and so that is
    /// among them.
    pub(crate) fn proc_descriptors(&self, pid: i32, own: Fd) -> Vec<OsString> {
        let fds = &self.processes[&pid].fds;
        let open = |number: &usize| fds.get(*number).is_some_and(Option::is_some);
        let mut names: Vec<OsString> = (0..fds.len() + 1)
            .filter(|number| open(number) || *number == own.0 as usize)
            .map(|number| number.to_string().into())
            .collect();
        names.sort();
        names
    }
}
