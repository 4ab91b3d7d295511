//! The socket of a shim: where it is, and who listens on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::Error;
use crate::files::{identity, make_directories};
use crate::host::{Bug, Errno, Fd, FileKind, Host, Mark, close_all};

/// Where the sockets of all shims are, unless the daemon has another place for them.
const SOCKET_DIR: &str = "/run/containerd/s";
/// No path of a socket may be longer (`unix(7)`), the final zero byte counted.
const PATH_MAX: usize = 107;
const BACKLOG: u32 = 4096;
/// How often others may come and go at a socket's place before we give up listening there.
const ATTEMPTS: u32 = 10;
/// How often, and how long after each other, a socket that refuses is asked once more: whoever made
/// it may just be about to listen.
const REFUSALS: u32 = 3;
const REFUSAL_PAUSE: Duration = Duration::from_millis(10);

/// Where the shim of a group of containers listens. The daemon's tests compute it too.
///
/// # Errors
/// The directory is not absolute, or so long that no socket can be there.
pub(super) fn socket_path(
    directory: &str,
    grpc_address: &str,
    namespace: &str,
    group: &str,
) -> Result<PathBuf, Error> {
    let directory = if directory.is_empty() { SOCKET_DIR } else { directory };
    let name = hexadecimal(&Sha256::digest(join([grpc_address, namespace, group])));
    let path = Path::new(directory).join(name);
    if !path.is_absolute() {
        return Err(Error::invalid(format!("socket directory {directory}"), "is not absolute"));
    }
    if path.as_os_str().len() >= PATH_MAX {
        let reason = format!("is longer than the {} bytes of a socket's path", PATH_MAX - 1);
        return Err(Error::invalid(path.display(), reason));
    }
    Ok(path)
}

/// Go's `filepath.Join`.
fn join<const N: usize>(parts: [&str; N]) -> String {
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { String::new() } else { clean(&parts.join("/")) }
}

/// Go's `filepath.Clean`.
fn clean(path: &str) -> String {
    let root = if path.starts_with('/') { "/" } else { "" };
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => drop(kept.pop()),
            ".." if !root.is_empty() => {}
            part => kept.push(part),
        }
    }
    let cleaned = format!("{root}{}", kept.join("/"));
    if cleaned.is_empty() { ".".to_owned() } else { cleaned }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Who listens on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    /// Nobody did; now it is this descriptor.
    Ours(Fd),
    /// A shim that is there already.
    Theirs,
}

/// Listens on a socket, unless somebody does. A socket that a dead shim has left is replaced. Only that
/// one: while we look at it, its shim may remove it, and another `start` put its own there.
///
/// # Errors
/// The call that failed; no socket is left behind.
pub(super) fn listen<H: Host>(host: &mut H, path: &Path) -> Result<Listener, Error> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    make_directories(host, directory, 0o700)?;
    for _ in 0..ATTEMPTS {
        match bind(host, path) {
            Err(Error::System { errno: Errno::EADDRINUSE, .. }) => {}
            bound => return bound.map(Listener::Ours),
        }
        let found = identity(host, path);
        if is_served(host, path)? {
            host.mark(Mark::SocketOfAnother);
            return Ok(Listener::Theirs);
        }
        if host.planted(Bug::BindInUse) {
            break;
        }
        let is_another = found.is_none() || identity(host, path) != found;
        if is_another && !host.planted(Bug::UnlinksUnseen) {
            host.mark(Mark::SocketGoneMeanwhile);
        } else {
            host.mark(Mark::SocketOfTheDead);
            remove(host, path)?;
        }
    }
    Err(Error::system("bind", path.display(), Errno::EADDRINUSE))
}

/// Removes a socket at which nobody listens any more; there may be none.
///
/// # Errors
/// The call that failed.
pub(super) fn remove_dead<H: Host>(host: &mut H, path: &Path) -> Result<(), Error> {
    let socket = |host: &mut H| host.stat(path).ok().filter(|it| it.kind == FileKind::Socket);
    let Some(found) = socket(host) else { return Ok(()) };
    let found = Some((found.device, found.inode));
    // A shim that is just being started may have put its own in the place of the dead one's.
    if is_served(host, path)? || identity(host, path) != found {
        return Ok(());
    }
    remove(host, path)
}

fn remove<H: Host>(host: &mut H, path: &Path) -> Result<(), Error> {
    match host.unlink(path) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(Error::system("unlink", path.display(), errno)),
    }
}

/// A listening socket that only we may connect to.
fn bind<H: Host>(host: &mut H, path: &Path) -> Result<Fd, Error> {
    let failed = |call| move |errno| Error::system(call, path.display(), errno);
    let socket = host.socket().map_err(failed("socket"))?;
    // The file gets the socket's mode as it is now; there is no moment in which it has more.
    let bound = host
        .fchmod(socket, 0o600)
        .map_err(failed("fchmod"))
        .and_then(|()| host.bind(socket, path).map_err(failed("bind")))
        .and_then(|()| {
            let listening = host.listen(socket, BACKLOG).map_err(failed("listen"));
            if listening.is_err() {
                let _ = host.unlink(path);
            }
            listening
        });
    if bound.is_err() {
        close_all(host, [socket]);
    }
    bound.map(|()| socket)
}

/// Whether somebody listens there, without waiting for him.
fn is_served<H: Host>(host: &mut H, path: &Path) -> Result<bool, Error> {
    let failed = |call| move |errno| Error::system(call, path.display(), errno);
    for _ in 0..REFUSALS {
        let socket = host.socket().map_err(failed("socket"))?;
        let connected =
            host.set_nonblocking(socket, true).and_then(|()| host.connect(socket, path));
        close_all(host, [socket]);
        match connected {
            // He has more callers waiting than he can take.
            Ok(()) | Err(Errno::EAGAIN) => return Ok(true),
            Err(Errno::ENOENT) => return Ok(false),
            Err(Errno::ECONNREFUSED | Errno::EINTR) => {}
            Err(errno) => return Err(failed("connect")(errno)),
        }
        // Interrupted, it is only a shorter pause.
        let _ = host.poll(&mut [], Some(REFUSAL_PAUSE));
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::host::{LinuxHost, MockHost};

    #[rstest]
    #[case("/run/c.sock", "ns", "c1", "/run/c.sock/ns/c1")]
    #[case("//run///c.sock/", "ns", "c1", "/run/c.sock/ns/c1")]
    #[case("/run/./x/../c.sock", "ns", "c1", "/run/c.sock/ns/c1")]
    #[case("unix:///run/c.sock", "ns", "c1", "unix:/run/c.sock/ns/c1")]
    #[case("/..", "ns", "..", "/")]
    #[case("..", "..", "a", "../../a")]
    #[case("", "ns", "c1", "ns/c1")]
    #[case("", "", "", "")]
    #[case("a", "..", "", ".")]
    fn joining(#[case] a: &str, #[case] b: &str, #[case] c: &str, #[case] joined: &str) {
        assert_eq!(join([a, b, c]), joined);
    }

    /// The digest is what `sha256sum` says of `/run/containerd/containerd.sock/default/c1`.
    #[test]
    fn the_path() {
        let path = socket_path("", "/run/containerd/containerd.sock", "default", "c1").unwrap();
        let digest = "d25aa4ef11a84e954e74a5bcff06557d0b6ea8d0c00243896f29826694bbd888";
        assert_eq!(path, Path::new("/run/containerd/s").join(digest));
    }

    #[rstest]
    #[case("run/s", "is not absolute")]
    #[case("/0123456789012345678901234567890123456789012", "is longer than the 106 bytes")]
    fn places_for_no_socket(#[case] directory: &str, #[case] reason: &str) {
        let error = socket_path(directory, "/a", "ns", "c1").unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn the_longest_path_can_be_bound() {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let fill = 106 - 65 - 1 - directory.path().as_os_str().len();
        let inner = directory.path().join("x".repeat(fill));
        let path = socket_path(inner.to_str().unwrap(), "/a", "ns", "c1").unwrap();
        assert_eq!(path.as_os_str().len(), 106);
        assert!(matches!(listen(&mut LinuxHost::new(), &path), Ok(Listener::Ours(_))));
    }

    #[test]
    fn ours_theirs_and_nobodys() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/s");
        let mut host = LinuxHost::new();
        let Ok(Listener::Ours(fd)) = listen(&mut host, &path) else { panic!("not ours") };
        let stat = host.stat(&path).unwrap();
        assert_eq!((stat.kind, stat.mode), (FileKind::Socket, 0o600));
        assert_eq!(host.stat(path.parent().unwrap()).unwrap().mode, 0o700);
        assert_eq!(listen(&mut host, &path), Ok(Listener::Theirs));
        host.close(fd).unwrap();
        let Ok(Listener::Ours(fd)) = listen(&mut host, &path) else { panic!("not ours") };
        assert_eq!(listen(&mut host, &path), Ok(Listener::Theirs));
        host.close(fd).unwrap();
    }

    #[test]
    fn only_a_socket_at_which_nobody_listens_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("s"), directory.path().join("file"));
        let mut host = LinuxHost::new();
        let Ok(Listener::Ours(fd)) = listen(&mut host, &path) else { panic!("not ours") };
        remove_dead(&mut host, &path).unwrap();
        assert!(host.stat(&path).is_ok());
        host.close(fd).unwrap();
        remove_dead(&mut host, &path).unwrap();
        assert_eq!(host.stat(&path), Err(Errno::ENOENT));
        remove_dead(&mut host, &path).unwrap();
        crate::files::write_atomically(&mut host, &other, b"").unwrap();
        remove_dead(&mut host, &other).unwrap();
        assert!(host.stat(&other).is_ok());
    }

    #[test]
    fn what_is_no_socket_is_replaced_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let mut host = LinuxHost::new();
        crate::files::write_atomically(&mut host, &path, b"").unwrap();
        assert!(matches!(listen(&mut host, &path), Ok(Listener::Ours(_))));
    }

    #[test]
    fn one_that_cannot_listen_leaves_nothing() {
        let mut host = MockHost::new();
        host.expect_stat().returning(|_| {
            let kind = FileKind::Directory;
            Ok(crate::host::FileStat {
                kind,
                mode: 0,
                uid: 0,
                gid: 0,
                size: 0,
                device: 0,
                inode: 0,
            })
        });
        host.expect_socket().once().returning(|| Ok(Fd(5)));
        host.expect_fchmod().returning(|_, _| Ok(()));
        host.expect_bind().returning(|_, _| Ok(()));
        host.expect_listen().returning(|_, _| Err(Errno::ENOMEM));
        host.expect_unlink().withf(|path| path == Path::new("/d/s")).once().returning(|_| Ok(()));
        host.expect_close().withf(|fd| *fd == Fd(5)).once().returning(|_| Ok(()));
        let error = listen(&mut host, Path::new("/d/s")).unwrap_err();
        assert!(error.to_string().starts_with("listen /d/s: "), "{error}");
    }

    #[test]
    fn who_is_too_busy_to_answer_is_there() {
        let mut host = MockHost::new();
        host.expect_stat().returning(|_| Err(Errno::EACCES));
        host.expect_mkdir().returning(|_, _| Err(Errno::EEXIST));
        host.expect_socket().times(2).returning(|| Ok(Fd(5)));
        host.expect_fchmod().returning(|_, _| Ok(()));
        host.expect_bind().once().returning(|_, _| Err(Errno::EADDRINUSE));
        host.expect_set_nonblocking().returning(|_, _| Ok(()));
        host.expect_connect().once().returning(|_, _| Err(Errno::EAGAIN));
        host.expect_close().times(2).returning(|_| Ok(()));
        assert_eq!(listen(&mut host, Path::new("/d/s")), Ok(Listener::Theirs));
    }
}
