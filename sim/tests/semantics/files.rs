//! Regular files, devices, descriptors, and what `/proc/self` tells of them.

use std::path::{Path, PathBuf};

use rstest::rstest;
use wavetank::files::read_file;
use wavetank::host::{Errno, Fd, FileKind, Host, OpenFlags, Ready, write_all};
use wavetank_sim::Config;

use crate::common::*;

#[test]
fn a_file_keeps_what_was_written() {
    let world = alone(|host| {
        let fd = open(host, "/tmp/file", CREATE | BOTH).unwrap();
        assert_eq!(host.write(fd, b"hello world"), Ok(11));
        assert_eq!(read(host, fd), Ok(vec![]), "the offset is behind what was written");
        let again = open(host, "/tmp/file", READ).unwrap();
        assert_eq!(read(host, again), Ok(b"hello world".to_vec()));
        assert_eq!(host.write(again, b"x"), Err(Errno::EBADF));

        let append = open(host, "/tmp/file", WRITE | OpenFlags::APPEND).unwrap();
        host.write(append, b"!").unwrap();
        assert_eq!(host.read(append, &mut [0]), Err(Errno::EBADF));
        assert_eq!(read_file(host, Path::new("/tmp/file"), 100), Ok(b"hello world!".to_vec()));

        open(host, "/tmp/file", WRITE | OpenFlags::TRUNCATE).unwrap();
        host.write(fd, b"abc").unwrap();
    });
    let mut expected = vec![0; 11];
    expected.extend(b"abc");
    assert_eq!(world.file("/tmp/file"), Some(expected), "a hole is full of zeros");
}

#[test]
fn a_removed_file_lives_while_it_is_open() {
    let world = alone(|host| {
        let fd = open(host, "/tmp/file", CREATE | BOTH).unwrap();
        host.unlink(Path::new("/tmp/file")).unwrap();
        write_all(host, fd, b"still here").unwrap();
        assert_eq!(host.fstat(fd).unwrap().size, 10);
        let link = host.readlink(&PathBuf::from(format!("/proc/self/fd/{fd}"))).unwrap();
        assert_eq!(link, Path::new("/tmp/file (deleted)"));
        let other = open(host, "/tmp/file", CREATE | BOTH).unwrap();
        let [one, two] = [fd, other].map(|fd| host.fstat(fd).unwrap());
        assert_eq!(one.device, two.device);
        assert_ne!(one.inode, two.inode);
        host.unlink(Path::new("/tmp/file")).unwrap();
    });
    assert_eq!(world.inodes(), machine().inodes() + 1, "only the program itself is more");
}

#[test]
fn renaming_replaces() {
    let mut world = machine();
    world.add_file("/tmp/new", "new").add_file("/tmp/old", "old");
    let world = in_machine(world, |host| {
        let old = open(host, "/tmp/old", READ).unwrap();
        host.rename(Path::new("/tmp/new"), Path::new("/tmp/old")).unwrap();
        assert_eq!(read(host, old), Ok(b"old".to_vec()));
        assert_eq!(host.stat(Path::new("/tmp/new")), Err(Errno::ENOENT));
    });
    assert_eq!(world.text("/tmp/old").as_deref(), Some("new"));
}

#[test]
fn a_full_disk_takes_what_fits() {
    let config = Config { disk_bytes: Some(10), ..Config::default() };
    let world = in_machine(machine_with(config), |host| {
        let fd = open(host, "/tmp/file", CREATE | WRITE).unwrap();
        assert_eq!(host.write(fd, b"12345678"), Ok(8));
        assert_eq!(host.write(fd, b"12345678"), Ok(2));
        assert_eq!(host.write(fd, b"x"), Err(Errno::ENOSPC));
        host.unlink(Path::new("/tmp/file")).unwrap();
        host.close(fd).unwrap();
        let fd = open(host, "/tmp/again", CREATE | WRITE).unwrap();
        assert_eq!(host.write(fd, b"0123456789"), Ok(10));
    });
    assert_eq!(world.text("/tmp/again").as_deref(), Some("0123456789"));
}

#[rstest]
#[case("/dev/null", Ok(0), Ok(1))]
#[case("/dev/zero", Ok(3), Ok(1))]
#[case("/dev/full", Ok(3), Err(Errno::ENOSPC))]
fn devices(
    #[case] path: &'static str,
    #[case] reads: Result<usize, Errno>,
    #[case] writes: Result<usize, Errno>,
) {
    alone(move |host| {
        let fd = open(host, path, BOTH).unwrap();
        assert_eq!(host.read(fd, &mut [1; 3]), reads);
        assert_eq!(host.write(fd, b"x"), writes);
        assert_eq!(host.fstat(fd).unwrap().kind, FileKind::Character);
        assert_eq!(ready(host, fd), Ready::READ | Ready::WRITE);
        assert_eq!(host.unread(fd), Err(Errno::ENOTTY));
        assert_eq!(host.window_size(fd), Err(Errno::ENOTTY));
    });
}

#[test]
fn the_lowest_free_number_is_taken() {
    let config = Config { descriptors: 3, ..Config::default() };
    in_machine(machine_with(config), |host| {
        let fds = [0, 1, 2].map(|_| open(host, "/dev/null", READ).unwrap());
        assert_eq!(fds, [Fd(0), Fd(1), Fd(2)]);
        assert_eq!(open(host, "/dev/null", READ), Err(Errno::EMFILE));
        assert_eq!(host.list(Path::new("/tmp")), Err(Errno::EMFILE));
        host.close(Fd(1)).unwrap();
        assert_eq!(host.pipe(OpenFlags::empty()), Err(Errno::EMFILE), "two are needed");
        assert_eq!(open(host, "/dev/null", READ), Ok(Fd(1)));
        assert_eq!(host.close(Fd(7)), Err(Errno::EBADF));
        assert_eq!(host.close(Fd(-1)), Err(Errno::EBADF));
    });
}

#[test]
fn a_process_sees_its_own_descriptors() {
    alone(|host| {
        let null = open(host, "/dev/null", READ).unwrap();
        let pipe = host.pipe(OpenFlags::empty()).unwrap();
        host.close(null).unwrap();
        let names = host.list(Path::new("/proc/self/fd")).unwrap();
        assert_eq!(names, ["0", "1", "2"], "0 is the one with which the directory is read");
        let link = host.readlink(Path::new("/proc/self/fd/1")).unwrap();
        let inode = host.fstat(pipe.read).unwrap().inode;
        assert_eq!(link, PathBuf::from(format!("pipe:[{inode}]")));
        assert_eq!(host.readlink(Path::new("/proc/self/fd/9")), Err(Errno::ENOENT));
        assert_eq!(host.readlink(Path::new("/proc/self/exe")).unwrap(), Path::new("/bin/main"));
        assert_eq!(host.stat(Path::new("/proc/self/fd/2")), host.fstat(pipe.write));
    });
}

#[test]
fn mode_and_owner_show_and_the_umask_narrows() {
    alone(|host| {
        let fd = open(host, "/tmp/file", CREATE | WRITE).unwrap();
        assert_eq!(host.fstat(fd).unwrap().mode, 0o644);
        host.fchmod(fd, 0o4755).unwrap();
        host.fchown(fd, 3, 4).unwrap();
        let stat = host.stat(Path::new("/tmp/file")).unwrap();
        assert_eq!((stat.mode, stat.uid, stat.gid), (0o4755, 3, 4));
        host.mkdir(Path::new("/tmp/dir"), 0o777).unwrap();
        assert_eq!(host.stat(Path::new("/tmp/dir")).unwrap().mode, 0o755);
    });
}

#[test]
fn a_directory_is_listed_in_order() {
    let mut world = machine();
    world.add_file("/tmp/b", "").add_dir("/tmp/c").add_fifo("/tmp/a");
    in_machine(world, |host| {
        assert_eq!(host.list(Path::new("/tmp")).unwrap(), ["a", "b", "c"]);
        let dir = open(host, "/tmp", READ).unwrap();
        assert_eq!(read(host, dir), Err(Errno::EISDIR));
    });
}
