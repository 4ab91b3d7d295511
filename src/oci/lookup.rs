//! Finding a program as the shell does.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::host::{FileKind, Host, variable};

/// The file that `name` stands for: itself if it has a slash in it, otherwise the first executable
/// file of that name in the directories of `PATH` (an empty one is the working directory). `None`
/// if there is none.
pub fn find_program<H: Host>(host: &mut H, name: &Path, env: &[OsString]) -> Option<PathBuf> {
    if name.as_os_str().as_bytes().contains(&b'/') {
        return Some(name.to_owned());
    }
    let path = variable(env, "PATH")?.as_bytes();
    path.split(|byte| *byte == b':')
        .map(|directory| Path::new(std::ffi::OsStr::from_bytes(directory)))
        .map(|directory| if directory == "" { Path::new(".") } else { directory }.join(name))
        .find(|file| is_executable(host, file))
}

fn is_executable<H: Host>(host: &mut H, file: &Path) -> bool {
    host.stat(file).is_ok_and(|stat| stat.kind == FileKind::Regular && stat.mode & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::host::{Errno, FileStat, MockHost};

    #[rstest]
    #[case("/x/runc", Some("/x/runc"))]
    #[case("./runc", Some("./runc"))]
    #[case("runc", Some("/sbin/runc"))]
    #[case("dir", None)]
    #[case("plain", None)]
    #[case("here", Some("./here"))]
    #[case("missing", None)]
    fn names_and_paths(#[case] name: &str, #[case] found: Option<&str>) {
        let mut host = MockHost::new();
        host.expect_stat().returning(|path| {
            let (kind, mode) = match path.to_str() {
                Some("/sbin/runc" | "./here") => (FileKind::Regular, 0o755),
                Some("/bin/dir") => (FileKind::Directory, 0o755),
                Some("/bin/plain") => (FileKind::Regular, 0o644),
                _ => return Err(Errno::ENOENT),
            };
            Ok(FileStat { kind, mode, uid: 0, gid: 0, size: 0, device: 0, inode: 0 })
        });
        let env = ["HOME=/".into(), "PATH=/bin:/sbin::/usr/bin".into()];
        assert_eq!(find_program(&mut host, Path::new(name), &env), found.map(PathBuf::from));
    }

    #[test]
    fn without_a_path_nothing_is_found() {
        assert_eq!(find_program(&mut MockHost::new(), Path::new("runc"), &[]), None);
    }
}
