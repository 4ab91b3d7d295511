//! `mount(2)`, `umount2(2)` and what `proc_pid_mountinfo(5)` says. Every error here was looked up on
//! Linux, in a mount namespace of its own.

use std::path::{Path, PathBuf};

use rstest::rstest;
use wavetank::files::read_file;
use wavetank::host::{Errno, Host, MountFlags, OpenFlags, Result};
use wavetank_sim::{Leftover, MountView, Replay, SimHost, World};

use crate::common::*;

const BIND: MountFlags = MountFlags::BIND;
const RDONLY: MountFlags = MountFlags::RDONLY;

/// A bundle with a root file system, and something to bind.
fn machine_to_mount_in() -> World {
    let mut world = machine();
    world
        .add_dir("/b/rootfs/sub")
        .add_dir("/layer/one")
        .add_file("/b/file", "")
        .add_symlink("/b/link", "rootfs");
    world
}

fn mount(host: &mut SimHost<'_>, source: &str, target: &str, kind: &str) -> Result<()> {
    host.mount(Path::new(source), Path::new(target), kind, MountFlags::empty(), "")
}

fn bind(host: &mut SimHost<'_>, source: &str, target: &str) -> Result<()> {
    host.mount(Path::new(source), Path::new(target), "", BIND, "")
}

fn unmount(host: &mut SimHost<'_>, target: &str) -> Result<()> {
    host.unmount(Path::new(target), false)
}

fn mount_info(host: &mut SimHost<'_>) -> String {
    let text = read_file(host, Path::new("/proc/self/mountinfo"), 1 << 16).unwrap();
    String::from_utf8(text).unwrap()
}

#[rstest]
#[case("none", "/b/rootfs", "tmpfs", MountFlags::empty(), None)]
#[case("", "/b/link", "tmpfs", MountFlags::empty(), None)]
#[case("none", "/b/none", "tmpfs", MountFlags::empty(), Some(Errno::ENOENT))]
#[case("none", "/b/file", "tmpfs", MountFlags::empty(), Some(Errno::ENOTDIR))]
#[case("none", "/b/rootfs", "", MountFlags::empty(), Some(Errno::EINVAL))]
#[case("none", "/b/rootfs", "nofs", MountFlags::empty(), Some(Errno::ENODEV))]
#[case("/layer", "/b/rootfs", "", BIND, None)]
#[case("/b/file", "/b/file", "", BIND, None)]
#[case("/layer", "/b/file", "", BIND, Some(Errno::ENOTDIR))]
#[case("/none", "/b/rootfs", "", BIND, Some(Errno::ENOENT))]
#[case("", "/b/rootfs", "", BIND, Some(Errno::EINVAL))]
#[case("", "/b/rootfs", "", MountFlags::REMOUNT, Some(Errno::EINVAL))]
#[case("", "/b/rootfs", "", MountFlags::PRIVATE, Some(Errno::EINVAL))]
#[case("/layer", "/b/rootfs", "", MountFlags::MOVE, Some(Errno::EINVAL))]
fn mount_says(
    #[case] source: &'static str,
    #[case] target: &'static str,
    #[case] kind: &'static str,
    #[case] flags: MountFlags,
    #[case] errno: Option<Errno>,
) {
    let world = in_machine(machine_to_mount_in(), move |host| {
        let done = host.mount(Path::new(source), Path::new(target), kind, flags, "");
        assert_eq!(done.err(), errno);
    });
    assert_eq!(world.mounts().len(), usize::from(errno.is_none()));
}

#[test]
fn a_mount_point_is_in_the_way_of_those_who_remove_and_rename() {
    let world = in_machine(machine_to_mount_in(), |host| {
        mount(host, "none", "/b/rootfs", "tmpfs").unwrap();
        bind(host, "/b/file", "/b/file").unwrap();
        let busy = Err(Errno::EBUSY);
        assert_eq!(host.rmdir(Path::new("/b/rootfs")), busy);
        assert_eq!(host.unlink(Path::new("/b/file")), busy);
        assert_eq!(host.rename(Path::new("/b/rootfs"), Path::new("/b/other")), busy);
        assert_eq!(host.rename(Path::new("/layer"), Path::new("/b/rootfs")), busy);
        assert_eq!(host.rename(Path::new("/layer"), Path::new("/b/file")), Err(Errno::ENOTDIR));
        let out = host.rename(Path::new("/b/rootfs/sub"), Path::new("/b/sub"));
        assert_eq!(out, Err(Errno::EXDEV));
        host.rename(Path::new("/b"), Path::new("/c")).unwrap();
        unmount(host, "/c/file").unwrap();
        unmount(host, "/c/rootfs").unwrap();
        host.unlink(Path::new("/c/file")).unwrap();
        host.rename(Path::new("/c/rootfs"), Path::new("/c/other")).unwrap();
    });
    assert_eq!(world.mounts(), []);
}

#[test]
fn a_mount_in_use_goes_only_when_it_is_detached() {
    let world = in_machine(machine_to_mount_in(), |host| {
        assert_eq!(unmount(host, "/b/rootfs"), Err(Errno::EINVAL), "nothing is mounted there");
        assert_eq!(unmount(host, "/b/none"), Err(Errno::ENOENT));
        bind(host, "/layer", "/b/rootfs").unwrap();
        assert_eq!(unmount(host, "/b/link"), Err(Errno::EINVAL), "a link is not followed");
        assert_eq!(unmount(host, "/b/rootfs/sub"), Err(Errno::EINVAL));

        let file = open(host, "/b/rootfs/file", CREATE | WRITE).unwrap();
        assert_eq!(unmount(host, "/b/rootfs"), Err(Errno::EBUSY));
        host.unlink(Path::new("/b/rootfs/file")).unwrap();
        assert_eq!(unmount(host, "/b/rootfs"), Err(Errno::EBUSY), "also without a name");
        host.close(file).unwrap();
        host.change_dir(Path::new("/b/rootfs/sub")).unwrap();
        assert_eq!(unmount(host, "/b/rootfs"), Err(Errno::EBUSY));
        host.unmount(Path::new("/b/rootfs"), true).unwrap();
        assert_eq!(unmount(host, "/b/rootfs"), Err(Errno::EINVAL));
    });
    assert_eq!(world.mounts(), []);
}

#[test]
fn mounts_lie_over_and_below_one_another() {
    in_machine(machine_to_mount_in(), |host| {
        mount(host, "one", "/b/rootfs", "tmpfs").unwrap();
        mount(host, "two", "/b/rootfs", "tmpfs").unwrap();
        mount(host, "three", "/b/rootfs/sub", "tmpfs").unwrap();
        let parents: Vec<String> = mount_info(host)
            .lines()
            .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" < "))
            .collect();
        assert_eq!(parents, ["1 < 1", "2 < 1", "3 < 2", "4 < 3"]);
        assert_eq!(unmount(host, "/b/rootfs"), Err(Errno::EBUSY), "there is one below");
        host.unmount(Path::new("/b/rootfs"), true).unwrap();
        assert!(!mount_info(host).contains("two") && !mount_info(host).contains("three"));
        unmount(host, "/b/rootfs").unwrap();
        assert_eq!(mount_info(host).lines().count(), 1);
    });
}

#[test]
fn the_table_tells_what_was_asked_for() {
    let world = in_machine(machine_to_mount_in(), |host| {
        host.mkdir(Path::new("/b/a b"), 0o755).unwrap();
        let flags = RDONLY | MountFlags::NOSUID | MountFlags::NOATIME;
        let target = Path::new("/b/a b");
        host.mount(Path::new("ov"), target, "overlay", flags, "lowerdir=/l").unwrap();
        bind(host, "/layer/one", "/b/rootfs").unwrap();
        bind(host, "/b/rootfs/../a b", "/b/rootfs/sub").unwrap();
        let flags = BIND | MountFlags::REMOUNT | MountFlags::NODEV;
        host.mount(Path::new(""), Path::new("/b/rootfs/sub"), "", flags, "").unwrap();
        assert_eq!(
            mount_info(host),
            "1 1 0:1 / / rw,relatime - rootfs rootfs rw\n\
             2 1 0:2 / /b/a\\040b ro,nosuid,noatime - overlay ov ro,lowerdir=/l\n\
             3 1 0:3 /layer/one /b/rootfs rw,relatime - rootfs rootfs rw\n\
             4 3 0:4 / /b/rootfs/sub rw,nodev,relatime - overlay ov ro,lowerdir=/l\n"
        );
        let long = "x".repeat(5000);
        host.mount(Path::new("t"), Path::new("/b/rootfs"), "tmpfs", BIND ^ BIND, &long).unwrap();
    });
    let mounts = world.mounts();
    let overlay = MountView {
        target: PathBuf::from("/b/a b"),
        source: PathBuf::from("ov"),
        kind: "overlay".to_owned(),
        flags: RDONLY | MountFlags::NOSUID | MountFlags::NOATIME,
        data: "lowerdir=/l".to_owned(),
    };
    assert_eq!(mounts[0], overlay);
    assert_eq!(mounts[3].data.len(), 4095, "one page, and its last byte is zero");
}

#[test]
fn nothing_is_written_where_it_is_mounted_read_only() {
    in_machine(machine_to_mount_in(), |host| {
        let file = open(host, "/b/rootfs/file", CREATE | WRITE).unwrap();
        host.close(file).unwrap();
        host.mount(Path::new("none"), Path::new("/b/rootfs"), "tmpfs", RDONLY, "").unwrap();
        for (path, flags) in [("/b/rootfs/new", CREATE | WRITE), ("/b/rootfs/file", WRITE)] {
            assert_eq!(open(host, path, flags), Err(Errno::EROFS), "{path}");
        }
        assert_eq!(host.mkdir(Path::new("/b/rootfs/sub/x"), 0o755), Err(Errno::EROFS));
        assert!(open(host, "/b/rootfs/file", READ).is_ok());
        let again = MountFlags::REMOUNT;
        host.mount(Path::new(""), Path::new("/b/rootfs"), "", again, "").unwrap();
        assert!(open(host, "/b/rootfs/file", WRITE | OpenFlags::APPEND).is_ok());
    });
}

#[test]
fn a_mount_is_moved() {
    let world = in_machine(machine_to_mount_in(), |host| {
        mount(host, "one", "/layer/one", "tmpfs").unwrap();
        let (from, to) = (Path::new("/layer/one"), Path::new("/b/rootfs"));
        host.mount(from, to, "", MountFlags::MOVE, "").unwrap();
        let into_itself = host.mount(to, Path::new("/b/rootfs/sub"), "", MountFlags::MOVE, "");
        assert_eq!(into_itself, Err(Errno::ELOOP));
    });
    assert_eq!(world.mounts()[0].target, Path::new("/b/rootfs"));
    assert!(world.leaks(&world.paths()).contains(&Leftover::Mount(PathBuf::from("/b/rootfs"))));
}

#[test]
fn only_root_mounts() {
    let mut world = machine_to_mount_in();
    world.add_program("/bin/main", |host, _| {
        assert_eq!(mount(host, "none", "/b/rootfs", "tmpfs"), Err(Errno::EPERM));
        assert_eq!(mount(host, "none", "/b/none", "tmpfs"), Err(Errno::ENOENT));
        assert_eq!(unmount(host, "/b/rootfs"), Err(Errno::EPERM));
        0
    });
    let pid = world.start("/bin/main", &["main"]).unwrap();
    world.set_user(pid, 1000, 1000);
    finish(&mut world, &mut Replay::default());
}

#[test]
fn what_this_kernel_has_not_is_said_as_by_one_that_has_it_not() {
    in_machine(machine_to_mount_in(), |host| {
        assert_eq!(host.clone_tree(Path::new("/b/rootfs")), Err(Errno::ENOSYS));
        assert_eq!(host.enter_new_user_namespace(), Err(Errno::EINVAL));
        assert_eq!(open(host, "/dev/loop-control", BOTH), Err(Errno::ENOENT));
        let file = open(host, "/b/file", BOTH).unwrap();
        assert_eq!(host.free_loop_device(file), Err(Errno::ENOTTY));
        host.close(file).unwrap();
        assert_eq!(host.free_loop_device(file), Err(Errno::EBADF));
    });
}
