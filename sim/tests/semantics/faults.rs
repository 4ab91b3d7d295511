//! Planned faults.

use std::path::Path;

use wavetank::host::{Errno, ExitStatus, Host, Signal, SpawnStep};
use wavetank_sim::{Call, Fault};

use crate::common::*;

#[test]
fn the_nth_call_fails_once() {
    let mut world = machine();
    world.add_fault(Fault::fail(Errno::ENOSPC).of(Call::Mkdir).by("main").after(1));
    in_machine(world, |host| {
        let made = ["/tmp/a", "/tmp/b", "/tmp/c"].map(|path| host.mkdir(Path::new(path), 0o700));
        assert_eq!(made, [Ok(()), Err(Errno::ENOSPC), Ok(())]);
    });
}

#[test]
fn writes_to_one_file_fail_for_ever() {
    let mut world = machine();
    world.add_fault(Fault::fail(Errno::ENOSPC).of(Call::Write).on("exitStatus").for_ever());
    in_machine(world, |host| {
        let good = open(host, "/tmp/pid", CREATE | WRITE).unwrap();
        let bad = open(host, "/tmp/exitStatus", CREATE | WRITE).unwrap();
        assert_eq!(host.write(good, b"1"), Ok(1));
        assert_eq!(host.write(bad, b"1"), Err(Errno::ENOSPC));
        assert_eq!(host.write(bad, b"1"), Err(Errno::ENOSPC));
    });
}

#[test]
fn another_program_is_not_meant() {
    let mut world = machine();
    world.add_fault(Fault::fail(Errno::EIO).by("other").for_ever());
    in_machine(world, |host| host.mkdir(Path::new("/tmp/a"), 0o700).unwrap());
}

#[test]
fn a_failed_close_closes() {
    let mut world = machine();
    world.add_fault(Fault::fail(Errno::EIO).of(Call::Close));
    in_machine(world, |host| {
        let fd = open(host, "/dev/null", READ).unwrap();
        assert_eq!(host.close(fd), Err(Errno::EIO));
        assert_eq!(host.close(fd), Err(Errno::EBADF));
    });
}

#[test]
fn starting_a_program_fails_at_a_likely_step() {
    let mut world = machine();
    world.add_fault(Fault::fail(Errno::EAGAIN).of(Call::Spawn));
    world.add_fault(Fault::fail(Errno::ENOEXEC).of(Call::Spawn).after(1));
    in_machine(world, |host| {
        let child = command(&["main"], &[]);
        let steps = [(); 2].map(|()| host.spawn(&child).unwrap_err().step);
        assert_eq!(steps, [SpawnStep::Fork, SpawnStep::Exec]);
    });
}

#[test]
fn a_process_can_die_before_each_of_its_calls() {
    for after in 0..4 {
        let mut world = machine();
        world.add_fault(Fault::signal(Signal::KILL).by("main").after(after));
        let world = in_machine(world, |host| {
            for name in ["/tmp/0", "/tmp/1", "/tmp/2"] {
                host.mkdir(Path::new(name), 0o700).unwrap();
            }
        });
        let made = world.paths().iter().filter(|path| path.starts_with("/tmp")).count() - 1;
        assert_eq!(made as u64, after.min(3));
        let killed = world.exits()[0].1 == ExitStatus::Signal(Signal::KILL);
        assert_eq!(killed, after < 3);
    }
}

/// The first call fails, then the second, and so on, until there is none left to fail.
#[test]
fn a_sweep_ends_by_itself() {
    let mut after = 0;
    loop {
        let mut world = machine();
        world.add_fault(Fault::fail(Errno::EIO).by_pid(wavetank::host::Pid(2)).after(after));
        let world = in_machine(world, |host| {
            let made = ["/tmp/0", "/tmp/1"].map(|path| host.mkdir(Path::new(path), 0o700));
            assert!(made.iter().filter(|it| it.is_err()).count() <= 1);
        });
        if world.faults_struck() == 0 {
            break;
        }
        after += 1;
    }
    assert_eq!(after, 2);
}
