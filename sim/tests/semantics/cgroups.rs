//! `cgroups(7)`: which one a process is in, and files that tell of their changes. What they tell was
//! looked up on Linux, with `cgroup.events`.

use std::path::Path;

use wavetank::files::read_file;
use wavetank::host::{Errno, Fd, Host, Pid, PollFd, Ready};
use wavetank_sim::{Outcome, Replay, SimHost, World};

use crate::common::*;

const EVENTS: &str = "/sys/fs/cgroup/a/memory.events";

fn machine_with_cgroups() -> World {
    let mut world = machine();
    world.add_file(EVENTS, "oom_kill 0\n").add_file("/sys/fs/cgroup/a/cgroup.procs", "");
    world
}

fn told(host: &mut SimHost<'_>, fd: Fd, interest: Ready) -> Ready {
    let mut question = [PollFd::new(fd, interest)];
    host.poll(&mut question, Some(std::time::Duration::ZERO)).unwrap();
    question[0].ready
}

#[test]
fn a_file_tells_of_a_change_until_it_is_read_again() {
    in_machine(machine_with_cgroups(), |host| {
        let fd = open(host, EVENTS, READ).unwrap();
        let changed = Ready::PRIORITY | Ready::ERROR;
        assert_eq!(told(host, fd, Ready::PRIORITY), changed, "it was never read");
        read(host, fd).unwrap();
        assert_eq!(told(host, fd, Ready::PRIORITY), Ready::empty());
        assert_eq!(told(host, fd, Ready::READ), Ready::READ);

        let writer = open(host, EVENTS, WRITE).unwrap();
        host.write(writer, b"oom_kill 1\n").unwrap();
        assert_eq!(told(host, fd, Ready::PRIORITY), changed);
        assert_eq!(told(host, fd, Ready::READ), Ready::READ | Ready::ERROR, "told unasked");
        let mut buffer = [0; 64];
        assert_eq!(host.read_at(fd, 0, &mut buffer), Ok(11));
        assert_eq!(&buffer[..11], b"oom_kill 1\n");
        assert_eq!(told(host, fd, Ready::PRIORITY), Ready::empty());
        assert_eq!(told(host, writer, Ready::PRIORITY), changed, "each descriptor for itself");
    });
}

#[test]
fn other_files_tell_nothing() {
    alone(|host| {
        let fd = open(host, "/tmp/file", CREATE | BOTH).unwrap();
        host.write(fd, b"x").unwrap();
        assert_eq!(told(host, fd, Ready::PRIORITY), Ready::empty());
    });
}

#[test]
fn a_change_from_outside_wakes_those_who_wait_for_it() {
    let mut world = machine_with_cgroups();
    world.add_program("/bin/main", |host, _| {
        let fd = open(host, EVENTS, READ).unwrap();
        read(host, fd).unwrap();
        host.poll(&mut [PollFd::new(fd, Ready::PRIORITY)], None).unwrap();
        let mut buffer = [0; 64];
        let count = host.read_at(fd, 0, &mut buffer).unwrap();
        i32::from(buffer[..count] != *b"oom_kill 7\n")
    });
    let pid = world.start("/bin/main", &["main"]).unwrap();
    assert!(matches!(world.run(&mut Replay::default()), Outcome::Stuck(_)));
    world.set_file(EVENTS, "oom_kill 7\n");
    finish(&mut world, &mut Replay::default());
    assert!(world.exit_status(pid).unwrap().success());
}

#[test]
fn a_removed_cgroup_tells_it_and_cannot_be_read() {
    in_machine(machine_with_cgroups(), |host| {
        let fd = open(host, EVENTS, READ).unwrap();
        read(host, fd).unwrap();
        assert_eq!(host.rmdir(Path::new("/sys/fs/cgroup")), Err(Errno::EBUSY), "one is below");
        host.rmdir(Path::new("/sys/fs/cgroup/a")).unwrap();
        assert_eq!(told(host, fd, Ready::PRIORITY), Ready::PRIORITY | Ready::ERROR);
        assert_eq!(host.read_at(fd, 0, &mut [0; 64]), Err(Errno::ENODEV));
        assert_eq!(read(host, fd), Err(Errno::ENODEV));
    });
}

fn cgroup_of(host: &mut SimHost<'_>, who: &str) -> String {
    let path = format!("/proc/{who}/cgroup");
    String::from_utf8(read_file(host, Path::new(&path), 4096).unwrap()).unwrap()
}

#[test]
fn a_process_is_moved_by_its_number_and_its_children_with_it() {
    let mut world = machine_with_cgroups();
    world.add_program("/bin/child", |host, _| i32::from(cgroup_of(host, "self") != "0::/a\n"));
    let world = in_machine(world, |host| {
        assert_eq!(cgroup_of(host, "self"), "0::/\n");
        let members = open(host, "/sys/fs/cgroup/a/cgroup.procs", WRITE).unwrap();
        assert_eq!(host.write(members, b"nobody"), Err(Errno::EINVAL));
        assert_eq!(host.write(members, b"4711"), Err(Errno::ESRCH));
        host.write(members, b"0\n").unwrap();
        let pid = host.pid();
        assert_eq!(cgroup_of(host, &pid.to_string()), "0::/a\n");
        assert_eq!(host.rmdir(Path::new("/sys/fs/cgroup/a")), Err(Errno::EBUSY));
        let child = spawn(host, &["child"], &[]);
        assert_eq!(reap(host, child), 0);
    });
    assert!(world.paths().contains(&EVENTS.into()), "what is in use stays as it is");
}

#[test]
fn the_owner_of_the_machine_moves_processes_too() {
    let mut world = machine_with_cgroups();
    world.add_program("/bin/main", |host, _| i32::from(cgroup_of(host, "self") != "0::/x/y\n"));
    let pid = world.start("/bin/main", &["main"]).unwrap();
    world.set_cgroup(pid, "/x/y");
    assert_eq!(world.processes()[0].cgroup, "/x/y");
    finish(&mut world, &mut Replay::default());
    assert!(world.exit_status(pid).unwrap().success());
    world.set_cgroup(Pid(4711), "/nobody");
}
