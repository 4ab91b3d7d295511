//! Unix sockets, and descriptors that travel over them.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr,
};

use super::{borrow, errno, owned, raw};
use crate::host::{Errno, Fd, Peer, Pid, Received, Result, User};

/// No message here carries more; the kernel's own limit is 253 (`SCM_MAX_FD`).
const FDS_PER_MESSAGE: usize = 16;

pub(super) fn new() -> Result<Fd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .map(owned)
        .map_err(errno)
}

fn address(path: &Path) -> Result<UnixAddr> {
    UnixAddr::new(path).map_err(errno)
}

pub(super) fn bind(fd: Fd, path: &Path) -> Result<()> {
    nix::sys::socket::bind(raw(fd), &address(path)?).map_err(errno)
}

pub(super) fn connect(fd: Fd, path: &Path) -> Result<()> {
    nix::sys::socket::connect(raw(fd), &address(path)?).map_err(errno)
}

pub(super) fn listen(fd: Fd, backlog: u32) -> Result<()> {
    let backlog = i32::try_from(backlog).ok().and_then(|count| Backlog::new(count).ok());
    nix::sys::socket::listen(&borrow(&fd), backlog.unwrap_or(Backlog::MAXCONN)).map_err(errno)
}

pub(super) fn accept(fd: Fd) -> Result<Fd> {
    nix::sys::socket::accept4(raw(fd), SockFlag::SOCK_CLOEXEC).map(Fd).map_err(errno)
}

pub(super) fn send(fd: Fd, bytes: &[u8], fds: &[Fd]) -> Result<usize> {
    let numbers: Vec<RawFd> = fds.iter().map(|fd| fd.0).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let messages: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL;
    nix::sys::socket::sendmsg::<()>(raw(fd), &[IoSlice::new(bytes)], messages, flags, None)
        .map_err(errno)
}

pub(super) fn receive(fd: Fd, buffer: &mut [u8]) -> Result<Received> {
    let mut space = nix::cmsg_space!([RawFd; FDS_PER_MESSAGE]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = nix::sys::socket::recvmsg::<()>(raw(fd), &mut parts, Some(&mut space), flags)
        .map_err(errno)?;
    let mut fds = Vec::new();
    for control in message.cmsgs().map_err(|_| Errno::EMSGSIZE)? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            fds.extend(numbers.into_iter().map(Fd));
        }
    }
    Ok(Received { len: message.bytes, fds })
}

pub(super) fn peer(fd: Fd) -> Result<Peer> {
    let peer = nix::sys::socket::getsockopt(&borrow(&fd), PeerCredentials).map_err(errno)?;
    Ok(Peer { pid: Pid(peer.pid()), user: User { uid: peer.uid(), gid: peer.gid() } })
}

pub(super) fn path(fd: Fd) -> Result<PathBuf> {
    let address: UnixAddr = nix::sys::socket::getsockname(raw(fd)).map_err(errno)?;
    Ok(address.path().map(Path::to_owned).unwrap_or_default())
}
