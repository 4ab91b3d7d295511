//! Paths inside a directory that somebody else filled.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::Error;
use crate::host::{Errno, Host};

/// As containerd's `fs.RootPath`.
const LINKS_MAX: usize = 255;

/// Where `path` leads if `root` is what `/` is: `root` itself, or something in it. Symbolic links
/// are followed on the way and at the end, and those to absolute paths begin at `root`. What does
/// not exist is no link.
///
/// # Errors
/// `readlink(2)`: `EACCES`; `ELOOP` after 255 links; `ENAMETOOLONG`.
pub(super) fn resolve<H: Host>(host: &mut H, root: &Path, path: &Path) -> Result<PathBuf, Error> {
    let mut inside = PathBuf::new();
    let mut ahead = steps(path).collect::<VecDeque<_>>();
    let mut links = 0;
    while let Some(step) = ahead.pop_front() {
        let name = match step {
            Step::Root => {
                inside.clear();
                continue;
            }
            Step::Up => {
                inside.pop();
                continue;
            }
            Step::Into(name) => name,
        };
        inside.push(name);
        let candidate = root.join(&inside);
        let failed = |errno| Error::system("readlink", candidate.display(), errno);
        match host.readlink(&candidate) {
            Ok(_) if links == LINKS_MAX => return Err(failed(Errno::ELOOP)),
            Ok(destination) => {
                links += 1;
                inside.pop();
                for step in steps(&destination).rev() {
                    ahead.push_front(step);
                }
            }
            Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    // Joined with nothing, the root would end in a slash.
    Ok(if inside.as_os_str().is_empty() { root.to_owned() } else { root.join(inside) })
}

enum Step {
    Root,
    Up,
    Into(OsString),
}

fn steps(path: &Path) -> impl DoubleEndedIterator<Item = Step> + '_ {
    path.components().filter_map(|component| match component {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Into(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::host::{LinuxHost, MockHost};

    #[rstest]
    #[case("", "")]
    #[case("/", "")]
    #[case("etc", "etc")]
    #[case("/etc/./x//y/", "etc/x/y")]
    #[case("missing/deep", "missing/deep")]
    #[case("..", "")]
    #[case("../../etc/passwd", "etc/passwd")]
    #[case("etc/../../..", "")]
    #[case("absolute", "etc")]
    #[case("absolute/x", "etc/x")]
    #[case("relative/x", "etc/x")]
    #[case("up/x", "etc/x")]
    #[case("chain/x", "etc/x")]
    #[case("absolute/../x", "x")]
    #[case("dangling/x", "nowhere/x")]
    #[case("file/x", "file/x")]
    fn nothing_leads_out(#[case] path: &str, #[case] inside: &str) {
        let place = tempfile::tempdir().unwrap();
        let mut host = LinuxHost::new();
        let root = place.path().join("root");
        host.mkdir(&root, 0o755).unwrap();
        host.mkdir(&root.join("etc"), 0o755).unwrap();
        crate::files::write_atomically(&mut host, &root.join("file"), b"").unwrap();
        let links = [
            ("/etc", "absolute"),
            ("./etc", "relative"),
            ("../../../../etc", "up"),
            ("/../absolute", "chain"),
            ("/nowhere", "dangling"),
        ];
        for (target, name) in links {
            host.symlink(Path::new(target), &root.join(name)).unwrap();
        }
        let found = resolve(&mut host, &root, Path::new(path)).unwrap();
        let expected = if inside.is_empty() { root.clone() } else { root.join(inside) };
        assert_eq!(found.as_os_str(), expected.as_os_str());
    }

    #[test]
    fn links_in_a_circle_end() {
        let mut host = MockHost::new();
        host.expect_readlink().times(256).returning(|_| Ok(PathBuf::from("/a/b")));
        let error = resolve(&mut host, Path::new("/root"), Path::new("a")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "readlink /root/a: too many levels of symbolic links (ELOOP)"
        );
    }

    #[test]
    fn what_may_not_be_looked_at_is_told() {
        let mut host = MockHost::new();
        host.expect_readlink().returning(|_| Err(Errno::EACCES));
        let error = resolve(&mut host, Path::new("/root"), Path::new("a")).unwrap_err();
        assert_eq!(error.to_string(), "readlink /root/a: permission denied (EACCES)");
    }
}
