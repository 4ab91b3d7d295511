//! Bytes between the client's paths and a process without a terminal.

use std::fs;
use std::thread;

use rstest::rstest;
use serde_json::json;

use crate::support::{
    Input, Place, Stream, assert_same, has_ended, is_alive, kill, until, wait_for_end,
};

const MIB: usize = 1024 * 1024;

fn pattern(count: usize) -> Vec<u8> {
    fake_runc::pattern(0, count)
}

#[rstest]
fn bytes_go_both_ways(#[values("start", "create", "run")] dialect: &str) {
    let place = Place::new();
    let mut shim = place.init().dialect(dialect).start();
    if dialect == "create" {
        shim.process();
        assert!(place.runtime(&["start", "c1"]).status.success());
    }
    let mut input = shim.input();
    for word in ["one\n", "two\0\u{fffd}", "\n"] {
        input.write(word.as_bytes());
        assert_eq!(shim.out().read_exact(word.len()), word.as_bytes());
    }
    drop(input);
    shim.close_stdin();
    shim.finish_with("0");
    assert_eq!(shim.out().text_to_end(), "");
    assert_eq!(shim.err().text_to_end(), "");
}

#[test]
fn four_mebibytes_in_and_out_at_once() {
    let place = Place::new();
    let mut shim = place.init().start();
    let path = shim.stdin.clone();
    let writer = thread::spawn(move || Input::open(&path).write(&pattern(4 * MIB)));
    let out = shim.out().read_exact(4 * MIB);
    writer.join().unwrap();
    assert_same(&out, &pattern(4 * MIB));
    shim.close_stdin();
    shim.finish_with("0");
    assert_eq!(shim.out().text_to_end(), "");
}

#[test]
fn stdout_and_stderr_are_apart() {
    let guest = json!({"stdout_bytes": 4 * MIB, "stderr_bytes": 300_000, "echo": false});
    let place = Place::with(json!({"container": guest}));
    let mut shim = place.init().start();
    let [mut out, mut err] = shim.take_outputs();
    let reader = thread::spawn(move || err.read_to_end());
    assert_same(&out.read_to_end(), &pattern(4 * MIB));
    assert_same(&reader.join().unwrap(), &pattern(300_000));
    shim.finish_with("0");
}

/// One may be read only after the other: neither keeps the other waiting.
#[test]
fn an_unread_stream_does_not_stop_the_other() {
    let script = "head -c 200000 /dev/zero & head -c 200000 /dev/zero >&2; wait";
    let place = Place::with(json!({"container": {"argv": ["sh", "-c", script]}}));
    let mut shim = place.init().start();
    until("stdout's fifo is full", || shim.out().unread() == 65_536);
    assert_eq!(shim.err().read_exact(200_000), vec![0; 200_000]);
    assert_eq!(shim.out().read_to_end(), vec![0; 200_000]);
    shim.finish_with("0");
}

#[rstest]
#[case::plain("start", "old ")]
#[case::plain_run("run", "old ")]
fn output_into_a_plain_file_is_appended(#[case] dialect: &str, #[case] before: &str) {
    let place = Place::with(json!({"container": {"stdout_bytes": 100_000, "echo": false}}));
    fs::write(place.path("log"), before).unwrap();
    let setup = place.init().dialect(dialect).set("containerdStdout", json!(place.path("log")));
    let mut shim = setup.start();
    shim.finish_with("0");
    let expected = [before.as_bytes(), &pattern(100_000)].concat();
    assert_same(&fs::read(place.path("log")).unwrap(), &expected);
}

#[test]
fn input_from_a_plain_file_ends_with_it() {
    let place = Place::new();
    fs::write(place.path("input"), pattern(200_000)).unwrap();
    let mut shim = place.init().set("containerdStdin", json!(place.path("input"))).start();
    assert_same(&shim.out().read_to_end(), &pattern(200_000));
    shim.finish_with("0");
}

#[rstest]
#[case("/dev/null")]
#[case("")]
fn nothing_at_all(#[case] path: &str) {
    let place = Place::with(json!({"container": {"stdout_bytes": 100_000, "stderr_bytes": 5}}));
    let mut setup = place.init();
    for key in ["containerdStdin", "containerdStdout", "containerdStderr"] {
        setup = setup.set(key, json!(path));
    }
    setup.without_readers().start().finish_with("0");
}

#[test]
fn a_slow_reader_gets_everything() {
    let place = Place::with(json!({"container": {"stdout_bytes": 300_000, "echo": false}}));
    let mut shim = place.init().start();
    let mut bytes = Vec::new();
    loop {
        match shim.out().read_some(1000) {
            more if more.is_empty() => break,
            more => bytes.extend(more),
        }
        thread::yield_now();
    }
    assert_same(&bytes, &pattern(300_000));
    shim.finish_with("0");
}

#[test]
fn a_reader_may_go_and_another_come() {
    const COUNT: usize = MIB;
    let place = Place::with(json!({"container": {"stdout_bytes": COUNT, "echo": false}}));
    let mut shim = place.init().start();
    let mut bytes = shim.out().read_exact(100_000);
    let process = shim.process();
    for _ in 0..5 {
        shim.drop_out();
        shim.wait_until_at_rest();
        // Neither the container nor the shim gets a SIGPIPE; both go on until all is full.
        assert!(is_alive(process) && is_alive(shim.pid()));
        bytes.extend(Stream::open(&shim.stdout).read_exact(70_000));
    }
    bytes.extend(Stream::open(&shim.stdout).read_to_end());
    assert_same(&bytes, &pattern(COUNT));
    shim.finish_with("0");
}

#[test]
fn a_reader_may_come_late() {
    let place = Place::with(json!({"container": {"stdout_bytes": 60_000}}));
    let mut shim = place.init().without_readers().start();
    shim.process();
    let looker = Stream::open(&shim.stdout);
    until("everything is in the fifo", || looker.unread() == 60_000);
    drop(looker);
    let mut out = Stream::open(&shim.stdout);
    assert_same(&out.read_exact(60_000), &pattern(60_000));
    shim.close_stdin();
    shim.finish_with("0");
}

/// containerd #4434: who reads the runtime's stderr only after its end waits for ever.
#[rstest]
fn a_runtime_may_say_much(#[values("start", "run")] dialect: &str) {
    let moment = json!({"stdout_bytes": 70_000, "stderr_bytes": 70_000});
    let place = Place::with(json!({"on": {dialect: {"before": moment}}}));
    let mut shim = place.init().dialect(dialect).start();
    shim.close_stdin();
    let [mut out, mut err] = shim.take_outputs();
    let reader = thread::spawn(move || err.read_to_end());
    assert_same(&out.read_to_end(), &pattern(70_000));
    assert_same(&reader.join().unwrap(), &pattern(70_000));
    shim.finish_with("0");
}

// ---- who holds the output open ----------------------------------------------------------------

#[test]
fn a_grandchild_that_holds_stdout_delays_the_hangup_and_not_the_status() {
    let guest = json!({"echo": false, "exit_code": 5, "grandchild_holds_stdout_ms": -1});
    let place = Place::with(json!({"container": guest}));
    let mut shim = place.init().start();
    let process = shim.process();
    assert_eq!(shim.wait_for_status(), "5");
    wait_for_end(process);
    let holder = place.running().into_iter().find(|pid| *pid != shim.pid() && is_alive(*pid));
    assert!(!shim.has_hung_up());
    kill(holder.unwrap());
    shim.finish_with("5");
}

#[test]
fn a_grandchild_that_goes_by_itself_ends_the_wait() {
    let script = "(read line; echo late) & exit 6";
    let script = format!("exec 3<&0; {}", script.replace("read line", "read line <&3"));
    let place = Place::with(json!({"container": {"argv": ["sh", "-c", script]}}));
    let mut shim = place.init().start();
    assert_eq!(shim.wait_for_status(), "6");
    assert!(!shim.has_hung_up());
    shim.input().write(b"go\n");
    assert_eq!(shim.out().text_to_end(), "late\n");
    shim.finish_with("6");
}

#[test]
fn a_grandchild_without_stdout_delays_nothing() {
    let script = "sleep 1000 </dev/null >/dev/null 2>&1 & echo $!; exit 2";
    let place = Place::with(json!({"container": {"argv": ["sh", "-c", script]}}));
    let mut shim = place.init().start();
    let grandchild: i32 = shim.out().text_to_end().trim().parse().unwrap();
    shim.finish_with("2");
    // The runtime's `delete` ends what is left in the container.
    until("it is gone", || has_ended(grandchild));
}

#[test]
fn waiting_for_output_can_be_bounded() {
    let guest = json!({"echo": false, "stdout_bytes": 10, "grandchild_holds_stdout_ms": -1});
    let place = Place::with(json!({"container": guest}));
    let mut shim = place.init().env("WAVETANK_DRAIN_TIMEOUT", "50ms").start();
    let ended = shim.finish();
    assert_eq!((ended.code, ended.status.as_deref()), (0, Some("0")));
    assert_eq!(ended.errors(), Vec::<&str>::new());
    assert!(ended.warnings().iter().any(|text| text.contains("WAVETANK_DRAIN_TIMEOUT")));
    assert_eq!(shim.out().read_to_end(), pattern(10));
    assert_eq!(place.words(), ["start", "delete"]);
}

#[rstest]
#[case::in_the_fifo(10_000, "10000")]
#[case::more_than_the_fifo_holds(100_000, "100000")]
fn output_that_nobody_ever_reads_is_told_of(#[case] count: usize, #[case] number: &str) {
    let place = Place::with(json!({"container": {"stdout_bytes": count, "echo": false}}));
    let setup = place.init().without_readers().env("WAVETANK_DRAIN_TIMEOUT", "50ms");
    let ended = setup.start().finish();
    assert_eq!((ended.code, ended.status.as_deref()), (0, Some("0")));
    let told = |text: &&str| text.contains("stdout") && text.contains(number);
    assert!(ended.warnings().iter().any(told), "{ended:?}");
    assert_eq!(ended.errors(), Vec::<&str>::new());
}

// ---- the end of the input ---------------------------------------------------------------------

#[test]
fn input_closed_before_the_container_exists() {
    let place = Place::with(json!({"on": {"start": {"before": {"wait_for": "go"}}}}));
    let mut prepared = place.init().prepare();
    prepared.control("0 0 0\n");
    // A client that waits for the shim, to write.
    let mut input = Input::open_alone(&prepared.stdin);
    input.write(b"in time");
    let mut shim = prepared.start();
    until("the shim has taken it", || input.unread() == 0);
    drop(input);
    fs::write(place.path("bundle/go"), "").unwrap();
    assert_eq!(shim.out().text_to_end(), "in time");
    shim.finish_with("0");
}

#[test]
fn input_closed_while_the_container_comes_to_be() {
    let place = Place::with(json!({"on": {"run": {"midway": {"wait_for": "go"}}}}));
    let mut shim = place.init().dialect("run").start();
    place.wait_for_call("run");
    shim.close_stdin();
    fs::write(place.path("bundle/go"), "").unwrap();
    assert_eq!(shim.out().text_to_end(), "");
    shim.finish_with("0");
}

#[test]
fn input_closed_twice_and_after_the_end() {
    let place = Place::with(json!({"container": {"argv": ["sh", "-c", "cat; echo end"]}}));
    let mut shim = place.init().start();
    shim.control("0 0 0\n0 0 0\n");
    shim.out().read_until("end");
    shim.close_stdin();
    shim.finish_with("0");
}

#[test]
fn input_closed_with_a_mebibyte_on_its_way() {
    let place = Place::new();
    let mut shim = place.init().start();
    let mut input = shim.input();
    shim.close_stdin();
    let writer = thread::spawn(move || input.write(&pattern(MIB)));
    assert_same(&shim.out().read_to_end(), &pattern(MIB));
    writer.join().unwrap();
    shim.finish_with("0");
}

#[test]
fn a_client_that_goes_away_ends_nothing() {
    let place = Place::new();
    let mut shim = place.init().start();
    for word in ["first", "other", "third"] {
        shim.input().write(word.as_bytes());
        assert_eq!(shim.out().read_exact(5), word.as_bytes());
        assert!(is_alive(shim.process()));
    }
    shim.close_stdin();
    shim.finish_with("0");
}

#[test]
fn a_process_that_closes_its_input_does_not_hurt_the_client() {
    let script = "exec 0</dev/null; echo closed; read line < go; exit 3";
    let place = Place::with(json!({"container": {"argv": ["sh", "-c", script]}}));
    nix::unistd::mkfifo(&place.path("bundle/go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut shim = place.init().start();
    shim.out().read_until("closed");
    // A shim without a reader of its own would get EPIPE, and take it for the end of everything.
    shim.input().write(&pattern(20_000));
    assert!(is_alive(shim.pid()));
    fs::write(place.path("bundle/go"), "\n").unwrap();
    shim.finish_with("3");
}
