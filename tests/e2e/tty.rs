//! A process on a terminal: one that the shim makes and names (`--console`), or one that the
//! runtime makes and sends (`--console-socket`).

use std::fs;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    Place, Shim, Stream, assert_same, has_ended, is_alive, kill, signal, until, wait_for_end,
};

/// A shell that does this.
fn shell(script: &str) -> Place {
    Place::with(json!({"container": {"argv": ["sh", "-c", script]}}))
}

/// Starts it, and with a daemon that has to, lets it go on.
fn start(place: &Place, dialect: &str) -> Shim {
    let shim = place.init().dialect(dialect).terminal().start();
    if dialect == "create" {
        shim.process();
        assert!(place.runtime(&["start", "c1"]).status.success());
    }
    shim
}

#[rstest]
fn output_input_and_echo(#[values("start", "create", "run")] dialect: &str) {
    let place = shell("echo ready; echo error >&2; read line; echo \"got $line\"; exit 3");
    let mut shim = start(&place, dialect);
    shim.out().read_until("error\r\n");
    shim.input().write(b"hello\n");
    assert_eq!(shim.out().text_to_end(), "hello\r\ngot hello\r\n");
    shim.finish_with("3");
}

#[rstest]
fn it_is_the_terminal_of_a_session(#[values("start", "create", "run")] dialect: &str) {
    let place = shell("test -t 0 && test -t 1 && test -t 2 && tty && echo mine > /dev/tty");
    let mut shim = start(&place, dialect);
    let text = shim.out().text_to_end();
    assert!(text.starts_with("/dev/pts/") && text.ends_with("\r\nmine\r\n"), "{text:?}");
    shim.finish_with("0");
}

#[rstest]
fn a_key_interrupts(#[values("start", "run")] dialect: &str) {
    let place = shell("trap 'echo interrupted; exit 4' INT; echo ready; read line");
    let mut shim = start(&place, dialect);
    shim.out().read_until("ready");
    shim.input().write(b"\x03");
    shim.out().read_until("interrupted");
    shim.finish_with("4");
}

#[rstest]
fn a_further_process_has_a_terminal_of_its_own(#[values("start", "create", "run")] dialect: &str) {
    let place = Place::with(json!({
        "container": {"argv": ["cat"]},
        "exec": {"argv": ["sh", "-c", "tty; stty size; exit 6"]},
    }));
    let mut init = place.init().start();
    init.process();
    let mut exec = place.exec("e1").dialect(dialect).terminal().start();
    let text = exec.out().text_to_end();
    assert!(text.starts_with("/dev/pts/"), "{text:?}");
    exec.finish_with("6");
    init.close_stdin();
    init.finish_with("0");
}

// ---- the window --------------------------------------------------------------------------------

/// Waits for the size in a loop: it may come before the process, with it, or after it.
#[rstest]
fn a_size_that_comes_first_is_not_lost(
    #[values("start", "create", "run")] dialect: &str,
    #[values("before", "midway")] moment: &str,
) {
    let script = "until test \"$(stty size)\" = '37 91'; do sleep 0.01; done; echo right; exit 2";
    let place = Place::with(json!({
        "container": {"argv": ["sh", "-c", script]},
        "on": {dialect: {moment: {"wait_for": "go"}}},
    }));
    let mut prepared = place.init().dialect(dialect).terminal().prepare();
    prepared.control("1 10 10\n1 91 37\n");
    let mut shim = prepared.start();
    place.wait_for_call(dialect);
    let control = Stream::open(&shim.dir.join("control"));
    until("the message is taken", || control.unread() == 0);
    fs::write(place.path("bundle/go"), "").unwrap();
    if dialect == "create" {
        shim.process();
        assert!(place.runtime(&["start", "c1"]).status.success());
    }
    assert_eq!(shim.out().text_to_end(), "right\r\n");
    shim.finish_with("2");
}

#[rstest]
fn a_size_that_changes_is_told(#[values("start", "create", "run")] dialect: &str) {
    let place = shell("trap 'stty size' WINCH; echo ready; while :; do sleep 0.01; done");
    let mut shim = start(&place, dialect);
    shim.out().read_until("ready");
    for (message, size) in [("1 91 37\n", "37 91"), ("1 132 50\n0 0 0\n", "50 132")] {
        shim.control(message);
        shim.out().read_until(size);
    }
    signal(shim.process(), 9);
    shim.finish_with("137");
}

#[test]
fn a_size_for_a_terminal_that_is_gone_hurts_nobody() {
    let place = shell("exit 5");
    let mut shim = start(&place, "start");
    for size in 1..500 {
        shim.control(&format!("1 {size} {size}\n"));
    }
    shim.finish_with("5");
}

// ---- the end -----------------------------------------------------------------------------------

/// `\n` becomes `\r\n` on the way through a terminal.
fn pattern(count: usize) -> Vec<u8> {
    let text = String::from_utf8(fake_runc::pattern(0, count)).unwrap();
    text.replace('\n', "\r\n").into_bytes()
}

#[rstest]
fn the_last_bytes_before_the_end_arrive(#[values("start", "create", "run")] dialect: &str) {
    let place = Place::with(json!({
        "container": {"stdout_bytes": 100_000, "stderr_bytes": 1000, "echo": false, "exit_code": 9},
    }));
    let mut shim = start(&place, dialect);
    let expected = [pattern(100_000), pattern(1000)].concat();
    assert_same(&shim.out().read_to_end(), &expected);
    shim.finish_with("9");
}

/// The terminal has hung up long before its last bytes are read.
#[rstest]
fn a_reader_that_comes_after_the_end_gets_all(#[values("start", "run")] dialect: &str) {
    let place = Place::with(json!({"container": {"stdout_bytes": 25_000, "echo": false}}));
    let mut shim = start(&place, dialect);
    let process = shim.process();
    assert_eq!(shim.wait_for_status(), "0");
    wait_for_end(process);
    assert_same(&shim.out().read_to_end(), &pattern(25_000));
    shim.finish_with("0");
}

#[rstest]
fn a_reader_may_go_and_another_come(#[values("start", "run")] dialect: &str) {
    let place = Place::with(json!({"container": {"stdout_bytes": 300_000, "echo": false}}));
    let mut shim = start(&place, dialect);
    let mut bytes = shim.out().read_exact(50_000);
    shim.drop_out();
    shim.wait_until_at_rest();
    bytes.extend(Stream::open(&shim.stdout).read_to_end());
    assert_same(&bytes, &pattern(300_000));
    shim.finish_with("0");
}

/// The master of a terminal whose slave nobody has ever opened does not end by itself.
#[rstest]
fn a_terminal_that_nobody_stands_on(#[values("start", "create", "run")] dialect: &str) {
    let place = Place::with(json!({
        "container": {"exit_code": 8}, "on": {dialect: {"console": "without_slave"}},
    }));
    let mut shim = start(&place, dialect);
    shim.finish_with("8");
    assert_eq!(shim.out().text_to_end(), "");
}

/// A terminal with a child on it that does not mind the hangup, and the child's pid.
fn start_with_child(place: &Place, dialect: &str) -> (Shim, i32) {
    let mut shim = start(place, dialect);
    let text = shim.out().read_until("ready\r\n");
    let child = text.lines().next().unwrap().parse().unwrap();
    shim.input().write(b"\n");
    assert_eq!(shim.wait_for_status(), "5");
    (shim, child)
}

const WITH_CHILD: &str = "sh -c 'trap \"\" HUP; echo $$; echo ready; exec sleep 1000' & \
                          stty -echo; read line; exit 5";

#[test]
fn a_child_that_stays_on_the_terminal_is_killed() {
    let place = shell(WITH_CHILD);
    let (mut shim, child) = start_with_child(&place, "run");
    shim.finish_with("5");
    until("the runtime has ended it", || has_ended(child));
}

/// In 2016 nobody killed it: as with a pipe, the end is told when the last one has let go.
#[test]
fn a_child_that_stays_on_the_terminal_is_waited_for() {
    let place = shell(WITH_CHILD);
    let (mut shim, child) = start_with_child(&place, "start");
    assert!(!shim.has_hung_up());
    kill(child);
    shim.finish_with("5");
}

#[rstest]
#[case(json!("skipped"))]
#[case(json!("only_connected"))]
#[case(json!("without_descriptor"))]
fn a_runtime_that_sends_no_console(
    #[values("create", "run")] dialect: &str,
    #[case] console: Value,
) {
    let place = Place::with(json!({
        "container": {"argv": ["sleep", "1000"]}, "on": {dialect: {"console": console}},
    }));
    let ended = place.init().dialect(dialect).terminal().start().finish();
    assert_eq!((ended.code, ended.status.as_deref()), (1, None), "{ended:?}");
    assert!(matches!(ended.errors()[..], [error] if error.contains("console")), "{ended:?}");
    assert!(place.words().contains(&"delete".to_owned()));
}

#[rstest]
fn a_runtime_that_fails_after_it_has_sent_the_console(#[values("create", "run")] dialect: &str) {
    let place = Place::with(json!({
        "container": {"argv": ["sleep", "1000"]}, "on": {dialect: {"midway": {"exit_code": 1}}},
    }));
    let ended = place.init().dialect(dialect).terminal().start().finish();
    assert_eq!((ended.code, ended.status.as_deref()), (0, None), "{ended:?}");
    assert!(ended.errors().is_empty(), "{ended:?}");
}

#[rstest]
fn a_container_may_end_before_its_pid_is_known(#[values("start", "run")] dialect: &str) {
    let place = Place::with(json!({
        "container": {"stdout_bytes": 500, "echo": false, "exit_code": 3},
        "on": {dialect: {"midway": {"wait_for_process_exit": true}}},
    }));
    let mut shim = start(&place, dialect);
    assert_same(&shim.out().read_to_end(), &pattern(500));
    shim.finish_with("3");
}

/// A directory for temporary files whose name leaves no room for a socket's (`unix(7)`: 107 bytes).
#[test]
fn a_long_tmpdir_is_passed_over() {
    let place = shell("echo here");
    let long = place.path(&format!("tmp-{}", "x".repeat(100)));
    fs::create_dir(&long).unwrap();
    let mut shim = place.init().dialect("run").terminal().env("TMPDIR", &long).start();
    assert_eq!(shim.out().text_to_end(), "here\r\n");
    shim.finish_with("0");
    assert_eq!(fs::read_dir(long).unwrap().count(), 0);
}

// ---- the end of the input ----------------------------------------------------------------------

#[rstest]
fn closing_the_input_closes_the_fifo_alone(#[values("start", "create", "run")] dialect: &str) {
    let place = shell("stty -echo; echo ready; read line; echo \"got $line\"; cat; echo eof");
    let mut shim = start(&place, dialect);
    shim.out().read_until("ready\r\n");
    let mut input = shim.input();
    shim.close_stdin();
    // Who has it open already may still write.
    input.write(b"after\n");
    shim.out().read_until("got after\r\n");
    let fifo = shim.stdin.clone();
    let has_it_open = |shim: &Shim| {
        let links = fs::read_dir(format!("/proc/{}/fd", shim.pid())).unwrap();
        links.flatten().any(|link| fs::read_link(link.path()).is_ok_and(|to| to == fifo))
    };
    assert!(has_it_open(&shim));
    drop(input);
    until("the shim has closed the fifo", || !has_it_open(&shim));
    let process = shim.process();
    assert!(is_alive(process), "a terminal has no end of its input");
    signal(process, 9);
    assert_eq!(shim.out().text_to_end(), "");
    shim.finish_with("137");
}

#[rstest]
fn a_client_that_goes_away_ends_nothing(#[values("start", "run")] dialect: &str) {
    let place = shell("stty -echo; echo ready; read a; read b; echo \"$a-$b\"");
    let mut shim = start(&place, dialect);
    shim.out().read_until("ready\r\n");
    shim.input().write(b"one\n");
    shim.input().write(b"two\n");
    assert_eq!(shim.out().text_to_end(), "one-two\r\n");
    shim.finish_with("0");
}
