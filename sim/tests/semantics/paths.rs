//! `path_resolution(7)`, `open(2)`, `rename(2)` and their kin. Every error here was looked up on Linux.

use std::path::Path;

use rstest::rstest;
use wavetank::host::{Errno, Host, OpenFlags};
use wavetank_sim::{SimHost, World};

use crate::common::*;

const EXCLUSIVE: OpenFlags = OpenFlags::EXCLUSIVE;
const DIRECTORY: OpenFlags = OpenFlags::DIRECTORY;
const NOFOLLOW: OpenFlags = OpenFlags::NOFOLLOW;

/// A little of everything in `/tmp`, which is where the program is.
fn machine_with_files() -> World {
    let mut world = machine();
    world
        .add_file("/tmp/file", "content")
        .add_dir("/tmp/dir/sub")
        .add_fifo("/tmp/fifo")
        .add_symlink("/tmp/link", "file")
        .add_symlink("/tmp/dirlink", "dir")
        .add_symlink("/tmp/dangling", "nowhere")
        .add_symlink("/tmp/loop", "loop");
    world
}

fn in_tmp(program: impl Fn(&mut SimHost<'_>) + 'static) -> World {
    let mut world = machine_with_files();
    world.add_program("/bin/main", move |host, _| {
        program(host);
        0
    });
    let mut command = command(&["main"], &[]);
    command.cwd = Some("/tmp".into());
    world.start_command(&command).unwrap();
    finish(&mut world, &mut wavetank_sim::Replay::default());
    world
}

#[rstest]
#[case("new/", CREATE | WRITE, Some(Errno::EISDIR))]
#[case("file/", READ, Some(Errno::ENOTDIR))]
#[case("file/", CREATE | WRITE, Some(Errno::EISDIR))]
#[case("dir", WRITE, Some(Errno::EISDIR))]
#[case("dir", CREATE | READ, Some(Errno::EISDIR))]
#[case("dir", CREATE | EXCLUSIVE | READ, Some(Errno::EEXIST))]
#[case("dir/..", CREATE | WRITE, Some(Errno::EISDIR))]
#[case("dir", READ | DIRECTORY, None)]
#[case("file", READ | DIRECTORY, Some(Errno::ENOTDIR))]
#[case("new", CREATE | DIRECTORY | READ, Some(Errno::EINVAL))]
#[case("link", READ | NOFOLLOW, Some(Errno::ELOOP))]
#[case("dirlink", READ | NOFOLLOW | DIRECTORY, Some(Errno::ENOTDIR))]
#[case("dirlink/sub", READ | NOFOLLOW, None)]
#[case("dangling", READ, Some(Errno::ENOENT))]
#[case("dangling", CREATE | EXCLUSIVE | WRITE, Some(Errno::EEXIST))]
#[case("dangling", CREATE | WRITE, None)]
#[case("loop", READ, Some(Errno::ELOOP))]
#[case("file/x", READ, Some(Errno::ENOTDIR))]
#[case("none/x", CREATE | WRITE, Some(Errno::ENOENT))]
#[case("", READ, Some(Errno::ENOENT))]
#[case("dirlink/new", CREATE | WRITE, None)]
#[case("/bin/main", WRITE, Some(Errno::ETXTBSY))]
#[case("./.././/tmp/file", READ, None)]
fn open_says(#[case] path: &'static str, #[case] flags: OpenFlags, #[case] errno: Option<Errno>) {
    in_tmp(move |host| assert_eq!(open(host, path, flags).err(), errno));
}

type Act = fn(&mut SimHost<'_>, &Path) -> Result<(), Errno>;

const MKDIR: Act = |host, path| host.mkdir(path, 0o777);
const MKFIFO: Act = |host, path| host.mkfifo(path, 0o666);
const RMDIR: Act = |host, path| host.rmdir(path);
const UNLINK: Act = |host, path| host.unlink(path);
const STAT: Act = |host, path| host.stat(path).map(drop);
const READLINK: Act = |host, path| host.readlink(path).map(drop);
const LIST: Act = |host, path| host.list(path).map(drop);
const SYMLINK: Act = |host, path| host.symlink(Path::new("x"), path);
const SYMLINK_TO_NOTHING: Act = |host, path| host.symlink(Path::new(""), path);

#[rstest]
#[case(MKFIFO, "new/", Some(Errno::ENOENT))]
#[case(MKFIFO, "file", Some(Errno::EEXIST))]
#[case(MKFIFO, "file/", Some(Errno::EEXIST))]
#[case(MKDIR, "new/", None)]
#[case(MKDIR, "dir/", Some(Errno::EEXIST))]
#[case(MKDIR, ".", Some(Errno::EEXIST))]
#[case(MKDIR, "/", Some(Errno::EEXIST))]
#[case(MKDIR, "file/x", Some(Errno::ENOTDIR))]
#[case(MKDIR, "none/x", Some(Errno::ENOENT))]
#[case(MKDIR, "dangling/", Some(Errno::EEXIST))]
#[case(RMDIR, ".", Some(Errno::EINVAL))]
#[case(RMDIR, "dir/sub/..", Some(Errno::ENOTEMPTY))]
#[case(RMDIR, "/", Some(Errno::EBUSY))]
#[case(RMDIR, "file", Some(Errno::ENOTDIR))]
#[case(RMDIR, "dir", Some(Errno::ENOTEMPTY))]
#[case(RMDIR, "dirlink/", Some(Errno::ENOTDIR))]
#[case(RMDIR, "dir/sub", None)]
#[case(UNLINK, "dir", Some(Errno::EISDIR))]
#[case(UNLINK, "file/", Some(Errno::ENOTDIR))]
#[case(UNLINK, "none/", Some(Errno::ENOENT))]
#[case(UNLINK, "dirlink/", Some(Errno::ENOTDIR))]
#[case(UNLINK, "dangling", None)]
#[case(SYMLINK, "new", None)]
#[case(SYMLINK, "new/", Some(Errno::ENOENT))]
#[case(SYMLINK, "file", Some(Errno::EEXIST))]
#[case(SYMLINK_TO_NOTHING, "new", Some(Errno::ENOENT))]
#[case(READLINK, "file", Some(Errno::EINVAL))]
#[case(READLINK, "link/", Some(Errno::ENOTDIR))]
#[case(READLINK, "dirlink/", Some(Errno::EINVAL))]
#[case(READLINK, "link", None)]
#[case(STAT, "dirlink/sub", None)]
#[case(STAT, "loop/x", Some(Errno::ELOOP))]
#[case(LIST, "file", Some(Errno::ENOTDIR))]
#[case(LIST, "dirlink", None)]
fn names_say(#[case] act: Act, #[case] path: &'static str, #[case] errno: Option<Errno>) {
    in_tmp(move |host| assert_eq!(act(host, Path::new(path)).err(), errno));
}

#[rstest]
#[case("file", "dir", Some(Errno::EISDIR))]
#[case("dir", "file", Some(Errno::ENOTDIR))]
#[case("dir", "dir/sub/x", Some(Errno::EINVAL))]
#[case("dir/sub", "dir", Some(Errno::ENOTEMPTY))]
#[case("file/", "new", Some(Errno::ENOTDIR))]
#[case("file", "new/", Some(Errno::ENOTDIR))]
#[case("dir", "dirlink", Some(Errno::ENOTDIR))]
#[case("none", ".", Some(Errno::EBUSY))]
#[case("file", "/", Some(Errno::EBUSY))]
#[case("none", "nodir/x", Some(Errno::ENOENT))]
#[case("file", "file", None)]
#[case("file", "fifo", None)]
#[case("dir", "new/", None)]
#[case("link", "dir/sub/moved", None)]
fn rename_says(#[case] from: &'static str, #[case] to: &'static str, #[case] errno: Option<Errno>) {
    in_tmp(move |host| {
        assert_eq!(host.rename(Path::new(from), Path::new(to)).err(), errno);
    });
}

#[rstest]
#[case::name_of_255_bytes("x".repeat(255), Errno::ENOENT)]
#[case::name_of_256_bytes("x".repeat(256), Errno::ENAMETOOLONG)]
#[case::path_of_4095_bytes("./".repeat(2046) + "abc", Errno::ENOENT)]
#[case::path_of_4096_bytes("./".repeat(2048), Errno::ENAMETOOLONG)]
#[case::file_is_no_directory("file/".to_owned() + &"x".repeat(256), Errno::ENOTDIR)]
fn lengths(#[case] path: String, #[case] errno: Errno) {
    in_tmp(move |host| assert_eq!(host.stat(Path::new(&path)), Err(errno)));
}

#[test]
fn forty_links_are_followed_and_no_more() {
    let mut world = machine();
    world.add_file("/tmp/0", "");
    for number in 1..=41 {
        world.add_symlink(format!("/tmp/{number}"), (number - 1).to_string());
    }
    in_machine(world, |host| {
        assert!(host.stat(Path::new("/tmp/40")).is_ok());
        assert_eq!(host.stat(Path::new("/tmp/41")), Err(Errno::ELOOP));
    });
}

#[test]
fn the_working_directory_can_go_away() {
    in_tmp(|host| {
        let mut there = command(&["child"], &[]);
        there.program = "/bin/child".into();
        assert_eq!(host.current_dir(), Ok("/tmp".into()));
        assert_eq!(host.spawn(&there).unwrap_err().errno, Errno::ENOENT);
    });
    let mut world = machine();
    world.add_dir("/tmp/gone").add_program("/bin/child", |host, _| {
        host.rmdir(Path::new("/tmp/gone")).unwrap();
        assert_eq!(host.current_dir(), Err(Errno::ENOENT));
        assert_eq!(open(host, "new", CREATE | WRITE), Err(Errno::ENOENT));
        0
    });
    let mut there = command(&["child"], &[]);
    there.cwd = Some("/tmp/gone".into());
    let pid = world.start_command(&there).unwrap();
    finish(&mut world, &mut wavetank_sim::Replay::default());
    assert!(world.exit_status(pid).unwrap().success());
    assert!(!world.paths().contains(&"/tmp/gone".into()));
}

#[rstest]
#[case::owner_may(0o600, 7, None)]
#[case::owner_may_not(0o066, 7, Some(Errno::EACCES))]
#[case::others_may(0o006, 8, None)]
#[case::others_may_not(0o660, 8, Some(Errno::EACCES))]
#[case::root_may_all(0o000, 0, None)]
fn permission_bits(#[case] mode: u32, #[case] uid: u32, #[case] errno: Option<Errno>) {
    let mut world = machine();
    world.add_file("/tmp/file", "").set_mode("/tmp/file", mode, 7, 7);
    world.add_program("/bin/main", move |host, _| {
        assert_eq!(open(host, "/tmp/file", BOTH).err(), errno);
        if uid != 0 {
            assert_eq!(host.mkdir(Path::new("/tmp/new"), 0o777), Err(Errno::EACCES));
        }
        0
    });
    let pid = world.start("/bin/main", &["main"]).unwrap();
    world.set_user(pid, uid, uid);
    finish(&mut world, &mut wavetank_sim::Replay::default());
}

#[test]
fn nothing_changes_in_a_read_only_directory() {
    let mut world = machine_with_files();
    world.set_read_only("/tmp", true);
    in_machine(world, |host| {
        assert_eq!(open(host, "/tmp/new", CREATE | WRITE), Err(Errno::EROFS));
        assert_eq!(open(host, "/tmp/file", WRITE), Err(Errno::EROFS));
        assert_eq!(host.unlink(Path::new("/tmp/file")), Err(Errno::EROFS));
        assert!(open(host, "/tmp/file", READ).is_ok());
        assert!(open(host, "/tmp/fifo", BOTH).is_ok(), "a fifo is not on the disk");
    });
}
