//! Inodes, directories, and how a path leads to one (`path_resolution(7)`).

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use wavetank::host::{Errno, FileKind, FileStat, Result};

use crate::directory::Directory;
use crate::kernel::Kernel;
use crate::pipe::PipeBuffer;
use crate::proc::ProcFile;
use crate::proc::ProcLink;
use crate::pty::Pty;
use crate::slab::Id;
use crate::socket::Socket;
use crate::touch::{Thing, entry};

/// The longest path, its final zero byte not counted (`PATH_MAX`).
pub(crate) const PATH_BYTES: usize = 4095;
/// The longest name in a directory (`NAME_MAX`).
pub(crate) const NAME_BYTES: usize = 255;
/// How many symbolic links a path may lead through.
const LINKS: u32 = 40;

/// Leave to search a directory or to execute a file.
pub(crate) const EXECUTE: u32 = 1;
/// Leave to change a file, or the names in a directory.
pub(crate) const WRITE: u32 = 2;
/// Leave to read.
pub(crate) const READ: u32 = 4;

/// A file of any kind.
pub(crate) struct Inode {
    /// Its identity for `stat(2)`; never given to another file.
    pub(crate) number: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The directory that names it. Pipes, sockets and removed files have none.
    pub(crate) parent: Option<Id<Inode>>,
    /// Where it was before it was removed.
    pub(crate) former_path: Option<PathBuf>,
    /// Open file descriptions and working directories that keep it alive without a name.
    pub(crate) users: u32,
    /// Nothing in this directory may be changed: `EROFS`.
    pub(crate) read_only: bool,
    pub(crate) node: Node,
}

/// What a file is.
pub(crate) enum Node {
    Regular(Regular),
    Directory(Directory<Id<Inode>>),
    Symlink(OsString),
    Fifo(PipeBuffer),
    Device(Device),
    /// A socket's file, or a socket without one; the socket while that exists.
    Socket(Option<Id<Socket>>),
    /// A signal descriptor.
    Signals,
    /// An event counter.
    Counter,
    /// What `/proc` says of a process.
    ProcFile(ProcFile, i32),
}

/// A regular file.
#[derive(Default)]
pub(crate) struct Regular {
    pub(crate) content: Vec<u8>,
    /// The program that runs when it is executed; an index of the kernel's list.
    pub(crate) program: Option<usize>,
    /// It has never had a name and takes no room on the disk.
    pub(crate) in_memory: bool,
    /// How often it has been changed.
    pub(crate) version: u64,
    /// Somebody may be waiting for its change.
    pub(crate) watched: bool,
}

impl Regular {
    /// How many bytes of the disk it takes.
    pub(crate) fn disk_bytes(&self) -> u64 {
        if self.in_memory { 0 } else { self.content.len() as u64 }
    }
}

/// A character device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    Null,
    Zero,
    Full,
    Ptmx,
    Slave(Id<Pty>),
}

/// What happens to a symbolic link at the very end of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastLink {
    /// It is followed.
    Follow,
    /// It is what is meant, unless a slash comes behind it.
    Keep,
    /// It is what is meant, for those who make, remove or rename names.
    Name,
    /// It is followed, by somebody who would make a file there; so no slash may come behind.
    Create,
    /// It is what is meant, for somebody who would make a file there.
    CreateHere,
}

impl LastLink {
    fn creates(self) -> bool {
        matches!(self, LastLink::Create | LastLink::CreateHere)
    }
}

/// Where a path leads: an entry of a directory, which may still be free.
pub(crate) struct Place<'p> {
    pub(crate) parent: Id<Inode>,
    /// Its name, for those who make, remove or rename names; mostly the last one of the path.
    pub(crate) name: Cow<'p, OsStr>,
    pub(crate) inode: Option<Id<Inode>>,
    /// The path ended in a slash, so only a directory will do.
    pub(crate) slash: bool,
}

impl Place<'_> {
    /// The inode, which must be there.
    pub(crate) fn existing(&self) -> Result<Id<Inode>> {
        self.inode.ok_or(Errno::ENOENT)
    }

    pub(crate) fn is_dots(&self) -> bool {
        *self.name == *"." || *self.name == *".."
    }

    fn into_owned(self) -> Place<'static> {
        Place { name: Cow::Owned(self.name.into_owned()), ..self }
    }
}

/// From where and for whom a path is walked.
#[derive(Clone, Copy)]
pub(crate) struct Walker {
    pub(crate) pid: i32,
    pub(crate) cwd: Id<Inode>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Kernel {
    pub(crate) fn new_inode(&mut self, node: Node, mode: u32, uid: u32, gid: u32) -> Id<Inode> {
        let number = self.next_number();
        let (parent, former_path, users, read_only) = (None, None, 0, false);
        self.inodes.insert(Inode {
            number,
            mode,
            uid,
            gid,
            parent,
            former_path,
            users,
            read_only,
            node,
        })
    }

    /// Walks a path on behalf of a process.
    pub(crate) fn walk<'p>(&self, pid: i32, path: &'p Path, last: LastLink) -> Result<Place<'p>> {
        self.walk_as(self.walker(pid), path, last)
    }

    pub(crate) fn walker(&self, pid: i32) -> Walker {
        let process = &self.processes[pid];
        Walker { pid, cwd: process.cwd, uid: process.uid, gid: process.gid }
    }

    pub(crate) fn walk_as<'p>(
        &self,
        walker: Walker,
        path: &'p Path,
        last: LastLink,
    ) -> Result<Place<'p>> {
        let path = path.as_os_str().as_bytes();
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if path.len() > PATH_BYTES {
            return Err(Errno::ENAMETOOLONG);
        }
        if matches!(last, LastLink::Follow | LastLink::Create)
            && let Some(link) = ProcLink::parse(path)
        {
            let inode = self.proc_inode(walker.pid, link)?;
            let (parent, name) = (self.root, Cow::default());
            return Ok(Place { parent, name, inode: Some(inode), slash: false });
        }
        self.walk_from(walker, path, last, &mut 0)
    }

    fn walk_from<'p>(
        &self,
        walker: Walker,
        path: &'p [u8],
        last: LastLink,
        links: &mut u32,
    ) -> Result<Place<'p>> {
        let mut at = if path[0] == b'/' { self.root } else { walker.cwd };
        let mut rest = path.trim_ascii_start_of(b'/');
        if rest.is_empty() {
            let name = Cow::Borrowed(OsStr::new("/"));
            return Ok(Place { parent: at, name, inode: Some(at), slash: true });
        }
        loop {
            let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let slash = !after.is_empty();
            rest = after.trim_ascii_start_of(b'/');
            let found = self.entry(walker, at, name)?;
            let link = found.and_then(|inode| self.link_target(inode));
            if !rest.is_empty() {
                at = match link {
                    Some(target) => {
                        self.walk_link(walker, at, target, LastLink::Follow, links)?.existing()?
                    }
                    None => found.ok_or(Errno::ENOENT)?,
                };
                continue;
            }
            if slash && last.creates() && name != b"." && name != b".." {
                return Err(Errno::EISDIR);
            }
            let mut place = match link {
                Some(target) if matches!(last, LastLink::Follow | LastLink::Create) => {
                    self.walk_link(walker, at, target, last, links)?
                }
                Some(target) if slash && last == LastLink::Keep => {
                    self.walk_link(walker, at, target, LastLink::Follow, links)?
                }
                _ => {
                    let name = Cow::Borrowed(OsStr::from_bytes(name));
                    Place { parent: at, name, inode: found, slash }
                }
            };
            place.slash |= slash;
            if slash
                && last != LastLink::Name
                && place.inode.is_some_and(|inode| !self.is_directory(inode))
            {
                return Err(Errno::ENOTDIR);
            }
            return Ok(place);
        }
    }

    fn walk_link(
        &self,
        walker: Walker,
        at: Id<Inode>,
        target: &OsStr,
        last: LastLink,
        links: &mut u32,
    ) -> Result<Place<'static>> {
        *links += 1;
        if *links > LINKS {
            return Err(Errno::ELOOP);
        }
        let place = self.walk_from(Walker { cwd: at, ..walker }, target.as_bytes(), last, links)?;
        Ok(place.into_owned())
    }

    fn entry(&self, walker: Walker, at: Id<Inode>, name: &[u8]) -> Result<Option<Id<Inode>>> {
        let Node::Directory(entries) = &self.inodes[at].node else {
            return Err(Errno::ENOTDIR);
        };
        self.allow(walker, at, EXECUTE)?;
        if self.touches.are_wanted() {
            self.sees(match name {
                b"." | b".." => Thing::Node(self.inodes[at].number),
                _ => entry(self.inodes[at].number, name),
            });
        }
        match name {
            _ if name.len() > NAME_BYTES => Err(Errno::ENAMETOOLONG),
            b"." => Ok(Some(at)),
            b".." => Ok(Some(self.inodes[at].parent.unwrap_or(self.root))),
            _ => Ok(entries.get(OsStr::from_bytes(name))),
        }
    }

    pub(crate) fn link_target(&self, inode: Id<Inode>) -> Option<&OsStr> {
        match &self.inodes[inode].node {
            Node::Symlink(target) => Some(target),
            _ => None,
        }
    }

    pub(crate) fn is_directory(&self, inode: Id<Inode>) -> bool {
        matches!(self.inodes[inode].node, Node::Directory(_))
    }

    /// The directory to which a path leads.
    pub(crate) fn directory(&self, walker: Walker, path: &Path) -> Result<Id<Inode>> {
        let inode = self.walk_as(walker, path, LastLink::Follow)?.existing()?;
        if self.is_directory(inode) { Ok(inode) } else { Err(Errno::ENOTDIR) }
    }

    /// Whether the permission bits let somebody do it. Root may everything here; that a file
    /// without any x bit cannot be executed is asked elsewhere.
    pub(crate) fn allow(&self, walker: Walker, inode: Id<Inode>, wanted: u32) -> Result<()> {
        if walker.uid == 0 {
            return Ok(());
        }
        let inode = &self.inodes[inode];
        self.sees(Thing::Node(inode.number));
        let bits = match () {
            () if inode.uid == walker.uid => inode.mode >> 6,
            () if inode.gid == walker.gid => inode.mode >> 3,
            () => inode.mode,
        };
        if bits & wanted == wanted { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// Whether somebody may add names to a directory or take names away.
    pub(crate) fn allow_change(&self, walker: Walker, directory: Id<Inode>) -> Result<()> {
        if self.is_read_only(directory) {
            return Err(Errno::EROFS);
        }
        self.allow(walker, directory, WRITE | EXECUTE)
    }

    /// Whether the machine or a mount lets nothing change in a directory.
    pub(crate) fn is_read_only(&self, directory: Id<Inode>) -> bool {
        self.inodes[directory].read_only || self.is_mounted_read_only(directory)
    }

    pub(crate) fn entries(&mut self, directory: Id<Inode>) -> &mut Directory<Id<Inode>> {
        match &mut self.inodes[directory].node {
            Node::Directory(entries) => entries,
            _ => panic!("a name was looked for in what is no directory"),
        }
    }

    pub(crate) fn alters_name(&self, directory: Id<Inode>, name: &OsStr) {
        if self.touches.are_wanted() {
            let number = self.inodes[directory].number;
            self.alters(entry(number, name.as_bytes()));
            self.alters(Thing::Names(number));
        }
    }

    /// Gives a nameless inode its name.
    pub(crate) fn link(&mut self, directory: Id<Inode>, name: OsString, inode: Id<Inode>) {
        self.alters_name(directory, &name);
        self.alters(Thing::Node(self.inodes[inode].number));
        self.inodes[inode].parent = Some(directory);
        self.entries(directory).insert(name, inode);
    }

    /// Makes a file at a free place. The mode is narrowed by the usual umask.
    pub(crate) fn create(
        &mut self,
        walker: Walker,
        place: Place<'_>,
        node: Node,
        mode: u32,
    ) -> Result<Id<Inode>> {
        if place.inode.is_some() {
            return Err(Errno::EEXIST);
        }
        if place.slash && !matches!(node, Node::Directory(_)) {
            return Err(Errno::ENOENT);
        }
        self.sees(Thing::Node(self.inodes[place.parent].number));
        if self.inodes[place.parent].parent.is_none() {
            return Err(Errno::ENOENT);
        }
        self.allow_change(walker, place.parent)?;
        let inode = self.new_inode(node, mode & 0o7777, walker.uid, walker.gid);
        self.link(place.parent, place.name.into_owned(), inode);
        Ok(inode)
    }

    /// Takes a name out of its directory; the inode lives on while somebody uses it.
    pub(crate) fn unlink_entry(&mut self, directory: Id<Inode>, name: &OsStr) {
        let Some(inode) = self.entries(directory).remove(name) else { return };
        self.alters_name(directory, name);
        self.alters(Thing::Node(self.inodes[inode].number));
        if self.inodes[inode].users > 0 {
            let mut path = self.path_of(directory);
            path.push(name);
            self.inodes[inode].former_path = Some(path);
        }
        self.inodes[inode].parent = None;
        self.drop_if_unused(inode);
    }

    pub(crate) fn use_inode(&mut self, inode: Id<Inode>) {
        self.inodes[inode].users += 1;
    }

    pub(crate) fn leave_inode(&mut self, inode: Id<Inode>) {
        self.inodes[inode].users -= 1;
        self.drop_if_unused(inode);
    }

    fn drop_if_unused(&mut self, inode: Id<Inode>) {
        let it = &self.inodes[inode];
        if it.users > 0 || it.parent.is_some() {
            return;
        }
        if let Node::Regular(regular) = &it.node {
            self.disk_used -= regular.disk_bytes();
        }
        self.inodes.drop_row(inode);
    }

    /// The path of an inode from the root; what it was for one that was removed.
    pub(crate) fn path_of(&self, inode: Id<Inode>) -> PathBuf {
        let mut names = Vec::new();
        let mut at = inode;
        while at != self.root {
            self.sees(Thing::Node(self.inodes[at].number));
            let Some(parent) = self.inodes[at].parent else {
                return self.inodes[at].former_path.clone().unwrap_or_default();
            };
            if let Node::Directory(entries) = &self.inodes[parent].node {
                names.extend(entries.iter().find(|(_, child)| *child == at).map(|(name, _)| name));
            }
            at = parent;
        }
        let mut path = PathBuf::from("/");
        path.extend(names.iter().rev());
        path
    }

    pub(crate) fn stat_inode(&self, inode: Id<Inode>) -> FileStat {
        let it = &self.inodes[inode];
        self.sees(Thing::Node(it.number));
        if let Node::Regular(_) = it.node {
            self.sees(Thing::Data(it.number));
        }
        let (kind, device, size) = match &it.node {
            Node::Regular(regular) => (FileKind::Regular, 1, regular.content.len()),
            Node::Directory(_) => (FileKind::Directory, 1, 4096),
            Node::Symlink(target) => (FileKind::Symlink, 1, target.len()),
            Node::Fifo(_) if it.parent.is_none() && it.former_path.is_none() => {
                (FileKind::Fifo, 2, 0)
            }
            Node::Fifo(_) => (FileKind::Fifo, 1, 0),
            Node::Device(Device::Slave(_)) => (FileKind::Character, 3, 0),
            Node::Device(_) => (FileKind::Character, 4, 0),
            Node::Socket(_) => (FileKind::Socket, 1, 0),
            Node::Signals | Node::Counter => (FileKind::Regular, 5, 0),
            Node::ProcFile(..) => (FileKind::Regular, 6, 0),
        };
        let Inode { mode, uid, gid, number, .. } = *it;
        FileStat { kind, mode, uid, gid, size: size as u64, device, inode: number }
    }
}

/// The permission bits that new files do not get. All simulated processes have this umask.
pub(crate) const UMASK: u32 = 0o022;

trait TrimStart {
    fn trim_ascii_start_of(&self, byte: u8) -> &[u8];
}

impl TrimStart for [u8] {
    fn trim_ascii_start_of(&self, byte: u8) -> &[u8] {
        let start = self.iter().position(|&it| it != byte).unwrap_or(self.len());
        &self[start..]
    }
}
