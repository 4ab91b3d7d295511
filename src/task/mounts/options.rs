//! Mount options as in `fstab(5)`, told apart.

use crate::host::MountFlags;

/// What the options of one mount ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// What `mount(2)` itself understands.
    pub(super) flags: MountFlags,
    /// The source is a file, to be mounted as a block device.
    pub(super) is_loop: bool,
    /// Which user ids appear as which: `INSIDE:OUTSIDE:COUNT`, separated by commas.
    pub(super) uid_map: Option<String>,
    /// The same of groups.
    pub(super) gid_map: Option<String>,
    /// All others: the file system's business. Those of propagation are here, too, as containerd
    /// knows no flags for them.
    pub(super) data: Vec<String>,
}

impl Options {
    /// # Errors
    /// An option that the daemon meant for itself.
    pub(super) fn parse(options: &[String]) -> Result<Options, String> {
        let mut parsed = Options::default();
        for option in options {
            if option.starts_with("X-containerd.") {
                return Err(format!(
                    "internal mount option {option:?} was not consumed by the mount manager"
                ));
            }
            if let Some((on, flags)) = flag(option) {
                parsed.flags.set(flags, on);
            } else if option == "loop" {
                parsed.is_loop = true;
            } else if let Some(map) = option.strip_prefix("uidmap=") {
                parsed.uid_map = Some(map.to_owned());
            } else if let Some(map) = option.strip_prefix("gidmap=") {
                parsed.gid_map = Some(map.to_owned());
            } else {
                parsed.data.push(option.clone());
            }
        }
        Ok(parsed)
    }
}

/// Which flags an option turns on or off; `None` if it is about none.
pub(super) fn flag(option: &str) -> Option<(bool, MountFlags)> {
    Some(match option {
        "async" => (false, MountFlags::SYNCHRONOUS),
        "atime" => (false, MountFlags::NOATIME),
        "bind" => (true, MountFlags::BIND),
        "defaults" => (true, MountFlags::empty()),
        "dev" => (false, MountFlags::NODEV),
        "diratime" => (false, MountFlags::NODIRATIME),
        "dirsync" => (true, MountFlags::DIRSYNC),
        "exec" => (false, MountFlags::NOEXEC),
        "mand" => (true, MountFlags::MANDLOCK),
        "noatime" => (true, MountFlags::NOATIME),
        "nodev" => (true, MountFlags::NODEV),
        "nodiratime" => (true, MountFlags::NODIRATIME),
        "noexec" => (true, MountFlags::NOEXEC),
        "nomand" => (false, MountFlags::MANDLOCK),
        "norelatime" => (false, MountFlags::RELATIME),
        "nostrictatime" => (false, MountFlags::STRICTATIME),
        "nosuid" => (true, MountFlags::NOSUID),
        "rbind" => (true, MountFlags::BIND.union(MountFlags::REC)),
        "relatime" => (true, MountFlags::RELATIME),
        "remount" => (true, MountFlags::REMOUNT),
        "ro" => (true, MountFlags::RDONLY),
        "rw" => (false, MountFlags::RDONLY),
        "strictatime" => (true, MountFlags::STRICTATIME),
        "suid" => (false, MountFlags::NOSUID),
        "sync" => (true, MountFlags::SYNCHRONOUS),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(options: &[&str]) -> Result<Options, String> {
        Options::parse(&options.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[rstest]
    #[case(&[], MountFlags::empty(), &[])]
    #[case(&["rbind", "ro"], MountFlags::BIND | MountFlags::REC | MountFlags::RDONLY, &[])]
    #[case(&["ro", "rw"], MountFlags::empty(), &[])]
    #[case(&["rw", "ro"], MountFlags::RDONLY, &[])]
    #[case(&["nosuid", "nodev", "noexec", "suid"], MountFlags::NODEV | MountFlags::NOEXEC, &[])]
    #[case(&["noatime", "nodiratime", "dirsync", "sync", "async"],
        MountFlags::NOATIME | MountFlags::NODIRATIME | MountFlags::DIRSYNC, &[])]
    #[case(&["defaults", "size=64k", "mode=755"], MountFlags::empty(), &["size=64k", "mode=755"])]
    #[case(&["bind", "rprivate", "shared"], MountFlags::BIND, &["rprivate", "shared"])]
    #[case(&["nosymfollow", "RO", ""], MountFlags::empty(), &["nosymfollow", "RO", ""])]
    fn flags_and_data(#[case] options: &[&str], #[case] flags: MountFlags, #[case] data: &[&str]) {
        let parsed = parse(options).unwrap();
        assert_eq!(parsed.flags, flags);
        assert_eq!(parsed.data, data);
        assert_eq!(Options { flags, data: parsed.data.clone(), ..Options::default() }, parsed);
    }

    #[test]
    fn what_is_neither_flag_nor_data() {
        let parsed = parse(&["loop", "uidmap=0:1000:10", "gidmap=0:2000:10", "ro"]).unwrap();
        assert!(parsed.is_loop);
        assert_eq!(parsed.uid_map.as_deref(), Some("0:1000:10"));
        assert_eq!(parsed.gid_map.as_deref(), Some("0:2000:10"));
        assert_eq!((parsed.flags, parsed.data), (MountFlags::RDONLY, vec![]));
    }

    #[test]
    fn an_option_of_the_mount_manager_is_refused() {
        let error = parse(&["ro", "X-containerd.mkfs=ext4"]).unwrap_err();
        assert_eq!(
            error,
            "internal mount option \"X-containerd.mkfs=ext4\" was not consumed by the mount manager"
        );
    }
}
