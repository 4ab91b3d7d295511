//! `pty(7)`, `termios(3)`, `ioctl_tty(2)`. What is asserted was looked up on Linux.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rstest::rstest;
use wavetank::host::{Errno, Fd, Host, Lead, OpenFlags, Ready, Signal, Termios, WindowSize};
use wavetank_sim::{Config, SimHost, World};

use crate::common::*;

const NOCTTY: OpenFlags = OpenFlags::NOCTTY;

fn master(host: &mut SimHost<'_>) -> Fd {
    let fd = open(host, "/dev/ptmx", BOTH | NONBLOCK | NOCTTY).unwrap();
    host.unlock_pty(fd).unwrap();
    fd
}

fn slave(host: &mut SimHost<'_>, master: Fd) -> Fd {
    let number = host.pty_number(master).unwrap();
    open(host, &format!("/dev/pts/{number}"), BOTH | NONBLOCK | NOCTTY).unwrap()
}

fn pair(host: &mut SimHost<'_>) -> (Fd, Fd) {
    let master = master(host);
    let slave = slave(host, master);
    (master, slave)
}

#[test]
fn a_slave_is_locked_at_first() {
    alone(|host| {
        let master = open(host, "/dev/ptmx", BOTH | NOCTTY).unwrap();
        assert_eq!(host.pty_number(master), Ok(0));
        assert_eq!(open(host, "/dev/pts/0", BOTH), Err(Errno::EIO));
        assert_eq!(host.open_pty_peer(master), Err(Errno::EIO));
        host.unlock_pty(master).unwrap();
        let slave = host.open_pty_peer(master).unwrap();
        assert_eq!(host.readlink(Path::new("/proc/self/fd/1")), Ok(PathBuf::from("/dev/pts/0")));
        assert_eq!(host.pty_number(slave), Err(Errno::ENOTTY));
        assert_eq!(host.unlock_pty(slave), Err(Errno::ENOTTY));
        assert_eq!(host.open_pty_peer(slave), Err(Errno::EIO));
        let other = open(host, "/dev/ptmx", BOTH | NOCTTY).unwrap();
        assert_eq!(host.pty_number(other), Ok(1));
        host.close(master).unwrap();
        host.close(slave).unwrap();
        assert_eq!(host.list(Path::new("/dev/pts")).unwrap(), ["1"]);
    });
}

#[test]
fn a_master_before_during_and_after_a_slave() {
    alone(|host| {
        let master = master(host);
        assert_eq!(ready(host, master), Ready::WRITE);
        assert_eq!(read(host, master), Err(Errno::EAGAIN));
        assert_eq!(host.write(master, b"early\n"), Ok(6));
        assert_eq!(read(host, master), Ok(b"early\r\n".to_vec()), "there is echo already");

        let first = slave(host, master);
        assert_eq!(ready(host, first), Ready::READ | Ready::WRITE);
        assert_eq!(read(host, first), Ok(b"early\n".to_vec()));
        host.write(first, b"last").unwrap();
        host.close(first).unwrap();

        assert_eq!(ready(host, master), Ready::READ | Ready::WRITE | Ready::HANGUP);
        assert_eq!(read(host, master), Ok(b"last".to_vec()));
        assert_eq!(read(host, master), Err(Errno::EIO));
        assert_eq!(ready(host, master), Ready::WRITE | Ready::HANGUP);
        assert_eq!(host.write(master, b"w"), Ok(1));

        assert_eq!(read(host, master), Ok(b"w".to_vec()));

        let second = slave(host, master);
        assert_eq!(ready(host, master), Ready::WRITE);
        assert_eq!(ready(host, second), Ready::WRITE);
        host.close(second).unwrap();
        assert_eq!(ready(host, master), Ready::WRITE | Ready::HANGUP);
    });
}

#[test]
fn a_slave_whose_master_has_gone() {
    alone(|host| {
        let (master, slave) = pair(host);
        host.write(master, b"typed\n").unwrap();
        host.close(master).unwrap();
        let all = Ready::READ | Ready::WRITE | Ready::ERROR | Ready::HANGUP;
        assert_eq!(ready(host, slave), all);
        assert_eq!(read(host, slave), Ok(vec![]));
        assert_eq!(host.write(slave, b"x"), Err(Errno::EIO));
        assert_eq!(host.window_size(slave), Err(Errno::EIO));
        assert_eq!(host.terminal_attributes(slave), Err(Errno::EIO));
        let link = host.readlink(&PathBuf::from(format!("/proc/self/fd/{slave}")));
        assert_eq!(link, Ok(PathBuf::from("/dev/pts/0 (deleted)")));
    });
}

#[rstest]
#[case::a_line(&["abc", "d\ne"], &["abcd\n"], "abcd\r\ne")]
#[case::two_lines(&["a\nb\n"], &["a\n", "b\n"], "a\r\nb\r\n")]
#[case::carriage_return(&["a\r"], &["a\n"], "a\r\n")]
#[case::end_in_a_line(&["f\x04"], &["f"], "f")]
#[case::end_at_a_start(&["\x04"], &[""], "")]
#[case::erase(&["ab\x7f\x7f\x7fc\n"], &["c\n"], "ab\x08 \x08\x08 \x08c\r\n")]
#[case::control_characters(&["\x01\n"], &["\x01\n"], "^A\r\n")]
#[case::interrupt(&["q\x03x\n"], &["x\n"], "^Cx\r\n")]
fn what_is_typed(
    #[case] typed: &'static [&'static str],
    #[case] lines: &'static [&'static str],
    #[case] echo: &'static str,
) {
    alone(move |host| {
        let (master, slave) = pair(host);
        for text in typed {
            host.write(master, text.as_bytes()).unwrap();
        }
        for line in lines {
            assert_eq!(read(host, slave), Ok(line.as_bytes().to_vec()));
        }
        assert_eq!(read(host, slave), Err(Errno::EAGAIN));
        assert_eq!(read(host, master).unwrap_or_default(), echo.as_bytes());
    });
}

#[test]
fn a_raw_terminal_changes_nothing() {
    alone(|host| {
        let (master, slave) = pair(host);
        let cooked = host.terminal_attributes(master).unwrap();
        assert_eq!((cooked.input, cooked.output), (0x500, 5));
        assert_eq!((cooked.control, cooked.local), (0xbf, 0x8a3b));
        host.set_terminal_attributes(master, &cooked.raw()).unwrap();
        assert_eq!(host.terminal_attributes(slave), Ok(cooked.raw()));
        let all: Vec<u8> = (0..=255).collect();
        host.write(master, &all).unwrap();
        assert_eq!(read(host, slave), Ok(all.clone()));
        host.write(slave, &all).unwrap();
        assert_eq!(read(host, master), Ok(all));
    });
}

#[test]
fn only_the_newline_translation_can_be_turned_off() {
    alone(|host| {
        let (master, slave) = pair(host);
        let mut attributes = host.terminal_attributes(slave).unwrap();
        attributes.output &= !Termios::ONLCR;
        host.set_terminal_attributes(slave, &attributes).unwrap();
        host.write(slave, b"a\nb").unwrap();
        assert_eq!(host.unread(master), Ok(3));
        assert_eq!(read(host, master), Ok(b"a\nb".to_vec()));
    });
}

#[test]
fn unread_counts_whole_lines() {
    alone(|host| {
        let (master, slave) = pair(host);
        host.write(master, b"abc").unwrap();
        assert_eq!(host.unread(slave), Ok(0));
        host.write(master, b"d\ne").unwrap();
        assert_eq!(host.unread(slave), Ok(5));
        host.write(slave, b"xyz").unwrap();
        assert_eq!(host.unread(master), Ok(7 + 3));
    });
}

#[test]
fn a_terminal_fills_up() {
    alone(|host| {
        let (master, slave) = pair(host);
        assert_eq!(host.write(slave, &[b'x'; 5000]), Ok(4096));
        assert_eq!(host.write(slave, b"x"), Err(Errno::EAGAIN));
        assert_eq!(ready(host, slave), Ready::empty());
        assert_eq!(read(host, master).unwrap().len(), 4096);
        assert_eq!(ready(host, slave), Ready::WRITE);
        host.write(master, &[b'y'; 5000]).unwrap();
        host.write(master, b"\n").unwrap();
        assert_eq!(read(host, slave).unwrap().len(), 4096, "the end of a long line is lost");
    });
}

#[test]
fn a_writer_that_waits_for_a_small_terminal_goes_on() {
    let mut world = machine_with(Config { terminal_bytes: 5, ..Config::default() });
    world.add_program("/bin/writer", |host, _| {
        assert_eq!(host.write(Fd(0), b"one\ntwo\n\n\n"), Ok(10));
        0
    });
    in_machine(world, |host| {
        let (master, _) = pair(host);
        let slave = host.open_pty_peer(master).unwrap();
        let pid = spawn(host, &["writer"], &[slave]);
        host.set_nonblocking(master, false).unwrap();
        let mut got = Vec::new();
        while got.len() < 14 {
            let mut one = [0];
            host.read(master, &mut one).unwrap();
            got.extend(one);
        }
        assert_eq!(got, b"one\r\ntwo\r\n\r\n\r\n");
        assert_eq!(reap(host, pid), 0);
    });
}

/// A child that leads a session on a terminal and waits for a signal; its end tells which.
fn with_session(program: impl Fn(&mut SimHost<'_>, Fd, wavetank::host::Pid) + 'static) -> World {
    let mut world = machine();
    world.add_program("/bin/session", |host, _| {
        let signals = host.signals(&[Signal::INT, Signal::WINCH, Signal::HUP]).unwrap();
        let mut fds = [wavetank::host::PollFd::new(signals, Ready::READ)];
        host.poll(&mut fds, None).unwrap();
        host.read_signal(signals).unwrap().0
    });
    in_machine(world, move |host| {
        let (master, slave) = pair(host);
        let mut leader = command(&["session"], &[slave]);
        leader.lead = Lead::TerminalSession;
        let pid = host.spawn(&leader).unwrap();
        let error = host.spawn(&leader).unwrap_err();
        assert_eq!(error.errno, Errno::EPERM, "the terminal has its session");
        host.close(slave).unwrap();
        host.poll(&mut [], Some(Duration::from_millis(1))).unwrap();
        program(host, master, pid);
    })
}

#[test]
fn the_keyboard_interrupts_the_foreground() {
    with_session(|host, master, pid| {
        host.write(master, b"\x03").unwrap();
        assert_eq!(reap(host, pid), Signal::INT.0);
    });
}

#[test]
fn a_new_window_size_is_told_to_the_foreground() {
    with_session(|host, master, pid| {
        assert_eq!(host.window_size(master), Ok(WindowSize::default()));
        host.set_window_size(master, WindowSize::default()).unwrap();
        host.poll(&mut [], Some(Duration::from_millis(1))).unwrap();
        assert_eq!(host.wait(wavetank::host::WaitFor::Any, false), Ok(None), "it is the same");
        let size = WindowSize { columns: 91, rows: 37 };
        host.set_window_size(master, size).unwrap();
        assert_eq!(host.window_size(master), Ok(size));
        assert_eq!(reap(host, pid), Signal::WINCH.0);
        assert_eq!(ready(host, master), Ready::WRITE | Ready::HANGUP);
    });
}

#[test]
fn the_session_is_told_when_the_master_closes() {
    with_session(|host, master, pid| {
        host.close(master).unwrap();
        assert_eq!(reap(host, pid), Signal::HUP.0);
    });
}

#[test]
fn a_leader_that_ends_hangs_up_its_foreground() {
    let mut world = machine();
    world.add_program("/bin/hang", |host, _| {
        host.poll(&mut [], None).unwrap();
        0
    });
    world.add_program("/bin/leader", |host, _| {
        // Opening a terminal makes it the one of a leader that has none.
        let tty = open(host, "/dev/pts/0", BOTH).unwrap();
        spawn(host, &["hang"], &[tty]);
        let mut other = command(&["hang"], &[tty]);
        other.lead = Lead::Group;
        host.spawn(&other).unwrap();
        0
    });
    in_machine(world, |host| {
        host.become_subreaper().unwrap();
        let master = master(host);
        let mut leader = command(&["leader"], &[]);
        leader.lead = Lead::Session;
        let leader = host.spawn(&leader).unwrap();
        assert_eq!(reap(host, leader), 0);
        let exit = host.wait(wavetank::host::WaitFor::Any, true).unwrap().unwrap();
        assert_eq!(exit.status.number(), 129);
        host.poll(&mut [], Some(Duration::from_millis(1))).unwrap();
        assert_eq!(host.wait(wavetank::host::WaitFor::Any, false), Ok(None), "not its own group");
        assert_eq!(ready(host, master), Ready::WRITE, "and that one has it open still");
        host.kill(wavetank::host::Pid(-1), Signal::KILL).unwrap();
    });
}
