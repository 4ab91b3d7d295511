//! Terminals: the path of 2016, and the socket of today.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, missing_docs)]
#![allow(dead_code, unreachable_pub, reason = "the helpers are those of all tests here")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;
use std::path::Path;

use common::{Place, wait_until_gone};
use rstest::rstest;
use wavetank::host::{self, Errno, Fd, Host, LinuxHost, OpenFlags, Received};

const SHELL: &str = r#""argv": ["sh", "-c", "tty; read word; echo got $word"]"#;

/// Reads a master until it has given `end`, and gives all.
fn read_until(host: &mut LinuxHost, master: Fd, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let mut buffer = [0; 256];
        let count = host.read(master, &mut buffer).unwrap();
        assert_ne!(count, 0);
        text += std::str::from_utf8(&buffer[..count]).unwrap();
    }
    text
}

/// Reads a master until the last slave is closed.
fn read_to_hangup(host: &mut LinuxHost, master: Fd) {
    let mut buffer = [0; 256];
    loop {
        match host.read(master, &mut buffer) {
            Ok(count) => assert_ne!(count, 0),
            Err(errno) => return assert_eq!(errno, Errno::EIO),
        }
    }
}

fn listen(host: &mut LinuxHost, path: &Path) -> Fd {
    let socket = host.socket().unwrap();
    host.bind(socket, path).unwrap();
    host.listen(socket, 1).unwrap();
    socket
}

fn receive(host: &mut LinuxHost, listener: Fd) -> (Vec<u8>, Received) {
    let connection = host.accept(listener).unwrap();
    let mut buffer = vec![0; 100];
    let received = host.receive(connection, &mut buffer).unwrap();
    host.close(connection).unwrap();
    buffer.truncate(received.len);
    (buffer, received)
}

#[rstest]
#[case("start --console CONSOLE -d --pid-file @pid c1")]
#[case("create --console CONSOLE --pid-file @pid c1")]
fn a_terminal_can_be_given_by_its_path(#[case] line: &str) {
    let place = Place::with_script(&format!(r#"{{"container": {{{SHELL}}}}}"#));
    let host = &mut LinuxHost::new();
    let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::NOCTTY;
    let master = host.open(Path::new("/dev/ptmx"), flags, 0).unwrap();
    host.unlock_pty(master).unwrap();
    let console = format!("/dev/pts/{}", host.pty_number(master).unwrap());
    place.run(&line.replace("CONSOLE", &console)).succeeded();
    if line.starts_with("create") {
        place.run("start c1").succeeded();
    }
    assert!(read_until(host, master, "\n").contains(&console));
    host::write_all(host, master, b"x\n").unwrap();
    read_until(host, master, "got x");
    read_to_hangup(host, master);
    host.close(master).unwrap();
    wait_until_gone(place.pid_file());
}

#[rstest]
#[case("run -d --console-socket @sock --pid-file @pid c1")]
#[case("create --console-socket @sock --pid-file @pid c1")]
fn a_terminal_is_made_and_its_master_sent(#[case] line: &str) {
    let place = Place::with_script(&format!(r#"{{"container": {{{SHELL}}}}}"#));
    let config = r#"{"process": {"terminal": true, "args": ["x"]}}"#;
    fs::write(place.bundle().join("config.json"), config).unwrap();
    let host = &mut LinuxHost::new();
    let listener = listen(host, &place.path("sock"));
    place.run(line).succeeded();
    let (name, received) = receive(host, listener);
    host.close(listener).unwrap();
    if line.starts_with("create") {
        place.run("start c1").succeeded();
    }
    let [master] = received.fds[..] else { panic!("{received:?}") };
    let name = String::from_utf8(name).unwrap();
    assert!(read_until(host, master, "\n").contains(&name));
    host::write_all(host, master, b"x\n").unwrap();
    read_until(host, master, "got x");
    read_to_hangup(host, master);
    host.close(master).unwrap();
    wait_until_gone(place.pid_file());
}

#[test]
fn an_exec_can_have_a_terminal_too() {
    let place = Place::with_script(&format!(r#"{{"exec": {{{SHELL}}}}}"#));
    let (_, _stdin, _stdout) = place.launch("run -d c1");
    fs::write(place.path("j"), r#"{"terminal": true, "args": ["x"]}"#).unwrap();
    place.run("exec -d --process @j c1").failed(255, "cannot allocate tty");
    place.run("exec -d -t c1 x").failed(255, "cannot allocate tty");
    let host = &mut LinuxHost::new();
    let listener = listen(host, &place.path("sock"));
    place.run("exec -d --process @j --console-socket @sock --pid-file @pid c1").succeeded();
    let (_, received) = receive(host, listener);
    host.close(listener).unwrap();
    let [master] = received.fds[..] else { panic!("{received:?}") };
    host::write_all(host, master, b"x\n").unwrap();
    read_until(host, master, "got x");
    host.close(master).unwrap();
    wait_until_gone(place.pid_file());
}

#[test]
fn a_console_socket_that_is_not_there_is_an_error() {
    let place = Place::new();
    place.run("create --console-socket @sock c1").failed(1, "connect to");
    place.run("state c1").failed(1, "does not exist");
}

#[test]
fn the_sending_can_go_wrong() {
    let place = Place::new();
    let host = &mut LinuxHost::new();
    let listener = listen(host, &place.path("sock"));

    place.script(r#"{"on": {"create": {"console": "only_connected"}}}"#);
    place.run("create --console-socket @sock c1").succeeded();
    let (bytes, received) = receive(host, listener);
    assert_eq!((bytes.len(), received.fds.len()), (0, 0));

    place.script(r#"{"on": {"create": {"console": "without_descriptor"}}}"#);
    place.run("create --console-socket @sock c2").succeeded();
    let (bytes, received) = receive(host, listener);
    assert_eq!((bytes.as_slice(), received.fds.len()), (b"/dev/pts/0".as_slice(), 0));

    place.script(r#"{"on": {"create": {"console": "skipped"}}}"#);
    place.run("create --console-socket @sock c3").succeeded();

    place.script(r#"{"on": {"create": {"console": "without_slave"}}}"#);
    place.run("create --console-socket @sock c4").succeeded();
    let (_, received) = receive(host, listener);
    let [master] = received.fds[..] else { panic!("{received:?}") };
    // Nobody ever opened the slave, so there is nothing to read and no end.
    host.set_nonblocking(master, true).unwrap();
    assert_eq!(host.read(master, &mut [0]), Err(Errno::EAGAIN));
    place.run("start c4").succeeded();
    place.wait_for_status("c4", "stopped");
    assert_eq!(host.read(master, &mut [0]), Err(Errno::EAGAIN));
    host.close(master).unwrap();
    host.close(listener).unwrap();
}
