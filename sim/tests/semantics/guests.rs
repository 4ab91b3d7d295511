//! The guests, and the check for what is left.

use std::path::PathBuf;

use rstest::rstest;
use wavetank::host::{Host, Lead, OpenFlags, WindowSize, write_all};
use wavetank_sim::guests::{guest, pattern};
use wavetank_sim::{Leftover, Replay, World};

use crate::common::*;

fn machine_with_guest() -> World {
    let mut world = machine();
    world.add_program("/bin/guest", |host, argv| guest(host, argv));
    world
}

#[rstest]
#[case::print(&["print", "hello", "exit", "7"], "", "hello", 7)]
#[case::echo(&["echo", "print", "!"], "some bytes", "some bytes!", 0)]
#[case::read_all(&["read-all"], "some bytes", "10", 0)]
#[case::error(&["error", "to stderr"], "", "to stderr", 0)]
#[case::sleep(&["sleep-ms", "50", "print", "late"], "", "late", 0)]
#[case::fork(&["fork-hold-stdout-ms", "1000", "print", "early"], "", "early", 0)]
#[case::die(&["print", "x", "die", "9", "print", "y"], "", "x", 137)]
#[case::unknown(&["nonsense"], "", "", 112)]
#[case::closed(&["close-stdout", "print", "x"], "", "", 111)]
fn a_guest_does(
    #[case] words: &'static [&'static str],
    #[case] input: &'static str,
    #[case] output: &'static str,
    #[case] status: i32,
) {
    let world = in_machine(machine_with_guest(), move |host| {
        let stdin = host.pipe(OpenFlags::empty()).unwrap();
        let stdout = host.pipe(OpenFlags::empty()).unwrap();
        let argv: Vec<&str> = ["guest"].iter().chain(words).copied().collect();
        let pid = spawn(host, &argv, &[stdin.read, stdout.write, stdout.write]);
        host.close(stdin.read).unwrap();
        host.close(stdout.write).unwrap();
        write_all(host, stdin.write, input.as_bytes()).unwrap();
        host.close(stdin.write).unwrap();
        let start = host.now();
        let mut got = Vec::new();
        loop {
            match read(host, stdout.read).unwrap() {
                bytes if bytes.is_empty() => break,
                bytes => got.extend(bytes),
            }
        }
        assert_eq!(String::from_utf8_lossy(&got), output);
        let held = (host.now() - start).as_millis() >= 1000;
        assert_eq!(held, words[0].starts_with("fork"), "a child that is left holds the pipe");
        assert_eq!(reap(host, pid), status);
    });
    assert_eq!(world.leaks(&machine_with_main().paths()), []);
}

fn machine_with_main() -> World {
    let mut world = machine_with_guest();
    world.add_program("/bin/main", |_, _| 0);
    world
}

#[test]
fn many_bytes() {
    in_machine(machine_with_guest(), |host| {
        let stdout = host.pipe(OpenFlags::empty()).unwrap();
        let null = open(host, "/dev/null", BOTH).unwrap();
        let pid = spawn(host, &["guest", "bytes", "4194304"], &[null, stdout.write]);
        host.close(stdout.write).unwrap();
        let mut got = Vec::new();
        loop {
            match read(host, stdout.read).unwrap() {
                bytes if bytes.is_empty() => break,
                bytes => got.extend(bytes),
            }
        }
        assert!(got == pattern(4_194_304));
        assert_eq!(reap(host, pid), 0);
    });
}

#[test]
fn the_size_of_a_window() {
    in_machine(machine_with_guest(), |host| {
        let master = open(host, "/dev/ptmx", BOTH).unwrap();
        host.unlock_pty(master).unwrap();
        let slave = host.open_pty_peer(master).unwrap();
        let mut winsize = command(&["guest", "winsize"], &[slave, slave, slave]);
        winsize.lead = Lead::TerminalSession;
        let pid = host.spawn(&winsize).unwrap();
        host.close(slave).unwrap();
        host.poll(&mut [], Some(std::time::Duration::from_millis(1))).unwrap();
        host.set_window_size(master, WindowSize { columns: 80, rows: 25 }).unwrap();
        assert_eq!(read(host, master), Ok(b"80x25".to_vec()));
        assert_eq!(reap(host, pid), 0);
    });
}

#[test]
fn what_is_left_is_found() {
    let mut world = machine_with_guest();
    world.add_program("/bin/main", |host, _| {
        let null = open(host, "/dev/null", BOTH).unwrap();
        open(host, "/tmp/left", CREATE | WRITE).unwrap();
        spawn(host, &["guest", "exit", "3"], &[null]);
        host.poll(&mut [], None).unwrap();
        0
    });
    let expected = world.paths();
    let main = world.start("/bin/main", &["main"]).unwrap();
    world.run(&mut Replay::default());
    let left = world.leaks(&expected);
    let text: Vec<String> = left.iter().map(ToString::to_string).collect();
    let expected_text = [
        "2 main goes on",
        "2 has /dev/null open as 0",
        "2 has /tmp/left open as 1",
        "3 guest has ended and 2 has not reaped it",
        "/tmp/left is left",
    ];
    assert_eq!(text, expected_text);
    world.signal(main, wavetank::host::Signal::KILL).unwrap();
    finish(&mut world, &mut Replay::default());
    assert_eq!(world.leaks(&expected), [Leftover::File(PathBuf::from("/tmp/left"))]);
    let missing = [expected, vec![PathBuf::from("/tmp/left"), PathBuf::from("/tmp/more")]].concat();
    assert_eq!(world.leaks(&missing), [Leftover::MissingFile(PathBuf::from("/tmp/more"))]);
}
