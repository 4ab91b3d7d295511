//! `signal(7)`, `signalfd(2)`, `kill(2)`.

use std::time::Duration;

use rstest::rstest;
use wavetank::host::{
    Errno, ExitStatus, Fd, Host, Lead, OpenFlags, Pid, PollFd, Ready, Signal, WaitFor,
};
use wavetank_sim::{SimHost, World};

use crate::common::*;

fn with_hanging_child(program: impl Fn(&mut SimHost<'_>) + 'static) -> World {
    let mut world = machine();
    world.add_program("/bin/hang", |host, _| {
        host.poll(&mut [], None).unwrap();
        0
    });
    in_machine(world, program)
}

fn pause(host: &mut SimHost<'_>) {
    host.poll(&mut [], Some(Duration::from_millis(1))).unwrap();
}

#[rstest]
#[case(Signal::HUP, true)]
#[case(Signal::INT, true)]
#[case(Signal::KILL, true)]
#[case(Signal::TERM, true)]
#[case(Signal::USR1, true)]
#[case(Signal(64), true)]
#[case(Signal::CHLD, false)]
#[case(Signal::CONT, false)]
#[case(Signal::WINCH, false)]
#[case(Signal(0), false)]
fn what_a_signal_does_by_default(#[case] signal: Signal, #[case] ends: bool) {
    with_hanging_child(move |host| {
        let child = spawn(host, &["hang"], &[]);
        pause(host);
        assert_eq!(host.kill(child, signal), Ok(()));
        pause(host);
        let exit = host.wait(WaitFor::Any, false).unwrap();
        assert_eq!(exit.map(|exit| exit.status), ends.then_some(ExitStatus::Signal(signal)));
        if !ends {
            host.kill(child, Signal::KILL).unwrap();
        }
    });
}

#[test]
fn whom_kill_finds() {
    with_hanging_child(|host| {
        let child = spawn(host, &["hang"], &[]);
        assert_eq!(host.kill(Pid(99), Signal::TERM), Err(Errno::ESRCH));
        assert_eq!(host.kill(Pid(-99), Signal::TERM), Err(Errno::ESRCH));
        assert_eq!(host.kill(child, Signal(65)), Err(Errno::EINVAL));
        assert_eq!(host.kill(child, Signal(-1)), Err(Errno::EINVAL));
        host.kill(child, Signal::KILL).unwrap();
        pause(host);
        assert_eq!(host.kill(child, Signal::KILL), Ok(()), "a zombie is there");
        assert_eq!(reap(host, child), 137);
        assert_eq!(host.kill(child, Signal(0)), Err(Errno::ESRCH));
        assert_eq!(host.kill(Pid(1), Signal::KILL), Ok(()), "init takes no notice");
    });
}

#[test]
fn a_group_is_signalled_as_one() {
    with_hanging_child(|host| {
        let mut first = command(&["hang"], &[]);
        first.lead = Lead::Group;
        let leader = host.spawn(&first).unwrap();
        let ours = spawn(host, &["hang"], &[]);
        host.kill(Pid(-leader.0), Signal::TERM).unwrap();
        assert_eq!(reap(host, leader), 143);
        assert_eq!(host.kill(ours, Signal(0)), Ok(()));
        let signals = host.signals(&[Signal::INT]).unwrap();
        host.kill(Pid(0), Signal::INT).unwrap();
        assert_eq!(host.read_signal(signals), Ok(Signal::INT));
        assert_eq!(reap(host, ours), 130);
    });
}

#[test]
fn signals_of_one_kind_are_one_and_the_lowest_comes_first() {
    with_hanging_child(|host| {
        let fd = host.signals(&[Signal::TERM, Signal::HUP, Signal::KILL]).unwrap();
        assert_eq!(host.read_signal(fd), Err(Errno::EAGAIN));
        assert_eq!(ready(host, fd), Ready::empty());
        let me = host.pid();
        for signal in [Signal::TERM, Signal::HUP, Signal::TERM] {
            host.kill(me, signal).unwrap();
        }
        assert_eq!(ready(host, fd), Ready::READ);
        assert_eq!(host.read_signal(fd), Ok(Signal::HUP));
        assert_eq!(host.read_signal(fd), Ok(Signal::TERM));
        assert_eq!(host.read_signal(fd), Err(Errno::EAGAIN));
        assert_eq!(host.read_signal(Fd(9)), Err(Errno::EBADF));
    });
}

#[test]
fn children_start_with_nothing_held_back() {
    with_hanging_child(|host| {
        host.signals(&[Signal::TERM]).unwrap();
        let child = spawn(host, &["hang"], &[]);
        host.kill(child, Signal::TERM).unwrap();
        assert_eq!(reap(host, child), 143);
    });
}

#[test]
fn a_stopped_process_waits_for_cont() {
    let mut world = machine();
    world.add_program("/bin/writer", |host, _| {
        host.write(Fd(0), b"x").unwrap();
        0
    });
    in_machine(world, |host| {
        let signals = host.signals(&[Signal::CHLD]).unwrap();
        let pipe = host.pipe(OpenFlags::NONBLOCK).unwrap();
        let child = spawn(host, &["writer"], &[pipe.write]);
        host.kill(child, Signal::STOP).unwrap();
        assert_eq!(host.read_signal(signals), Ok(Signal::CHLD), "the parent hears of the stop");
        pause(host);
        assert_eq!(read(host, pipe.read), Err(Errno::EAGAIN));
        host.kill(child, Signal::TERM).unwrap();
        pause(host);
        assert_eq!(host.wait(WaitFor::Any, false), Ok(None), "it is too stopped to die");
        host.kill(child, Signal::CONT).unwrap();
        assert_eq!(reap(host, child), 143);

        let child = spawn(host, &["writer"], &[pipe.write]);
        host.kill(child, Signal::STOP).unwrap();
        host.kill(child, Signal::KILL).unwrap();
        assert_eq!(reap(host, child), 137);
    });
}

#[test]
fn the_end_of_a_child_wakes_a_poll() {
    with_hanging_child(|host| {
        let signals = host.signals(&[Signal::CHLD]).unwrap();
        let child = spawn(host, &["hang"], &[]);
        let mut fds = [PollFd::new(signals, Ready::READ)];
        let limit = Some(Duration::from_millis(5));
        let before = host.now();
        assert_eq!(host.poll(&mut fds, limit), Ok(0));
        assert!(host.now() - before >= Duration::from_millis(5));
        host.kill(child, Signal::KILL).unwrap();
        assert_eq!(host.poll(&mut fds, None), Ok(1));
        assert_eq!(fds[0].ready, Ready::READ);
        assert_eq!(host.read_signal(signals), Ok(Signal::CHLD));
        assert_eq!(host.wait(WaitFor::Any, false).unwrap().unwrap().pid, child);
    });
}

#[test]
fn others_processes_may_not_be_signalled() {
    let mut world = machine();
    world.add_program("/bin/main", |host, _| {
        let me = host.pid();
        assert_eq!(host.kill(Pid(1), Signal::TERM), Err(Errno::EPERM));
        assert_eq!(host.kill(me, Signal(0)), Ok(()));
        0
    });
    let pid = world.start("/bin/main", &["main"]).unwrap();
    world.set_user(pid, 1000, 1000);
    finish(&mut world, &mut wavetank_sim::Replay::default());
}
