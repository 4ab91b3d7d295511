//! Fifos under the v2 shim: every byte, and nobody waits for a client that does not read.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    Client, Daemon, Input, Place, Stream, assert_same, mkfifo, share_pids, until,
};

const MIB: usize = 1024 * 1024;

fn pattern(count: usize) -> Vec<u8> {
    fake_runc::pattern(0, count)
}

/// A container's own process, whose output may be the client's fifo; one that may leave others
/// behind; and an exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Alone,
    Sharing,
    Exec,
}

/// A daemon for a process of this kind, which does this.
#[allow(clippy::needless_pass_by_value, reason = "callers write it down where they call")]
fn daemon(place: &Place, kind: Kind, guest: Value) -> Daemon<'_> {
    if kind == Kind::Exec {
        place.script(json!({"container": {"process_args": true}, "exec": guest}));
    } else {
        place.script(json!({"container": guest, "exec": {"process_args": true}}));
    }
    let daemon = Daemon::new(place, "exec sleep 1000").env("WAVETANK_DRAIN_TIMEOUT", "400ms");
    if kind == Kind::Sharing {
        share_pids(place, "bundle");
    }
    daemon
}

/// The process, made with these streams and not started; gives its exec id.
#[track_caller]
fn make(shim: &Client<'_>, kind: Kind, [stdin, stdout, stderr]: [&str; 3]) -> &'static str {
    let paths = [stdin, stdout, stderr].map(|name| match name {
        "" => String::new(),
        name => shim.place.text(name),
    });
    for path in paths.iter().filter(|path| !path.is_empty()) {
        if !Path::new(path).exists() {
            mkfifo(Path::new(path));
        }
    }
    let [stdin, stdout, stderr] = paths;
    if kind == Kind::Exec {
        shim.run();
        shim.exec_with("e1", "true", |request| {
            (request.stdin, request.stdout, request.stderr) = (stdin, stdout, stderr);
        })
        .unwrap();
        return "e1";
    }
    shim.create_with("c1", |request| {
        (request.stdin, request.stdout, request.stderr) = (stdin, stdout, stderr);
    })
    .unwrap();
    ""
}

fn reader(place: &Place, name: &str) -> Stream {
    mkfifo(&place.path(name));
    Stream::open(&place.path(name))
}

/// Deletes the process, and gives how long that took.
#[track_caller]
fn delete(shim: &Client<'_>, exec_id: &str) -> Duration {
    let started = Instant::now();
    shim.delete("c1", exec_id).unwrap();
    started.elapsed()
}

#[track_caller]
fn end(shim: crate::support::Server<'_>, kind: Kind) {
    if kind == Kind::Exec { shim.finish() } else { shim.shut_down_and_end() }
}

#[rstest]
fn much_of_everything(#[values(Kind::Alone, Kind::Sharing, Kind::Exec)] kind: Kind) {
    let place = Place::new();
    let guest = json!({"stdout_bytes": 3 * MIB, "stderr_bytes": MIB});
    let daemon = daemon(&place, kind, guest);
    let (mut out, mut err) = (reader(&place, "out"), reader(&place, "err"));
    let shim = daemon.start();
    let exec_id = make(&shim, kind, ["in", "out", "err"]);
    let input = place.path("in");
    std::thread::scope(|scope| {
        scope.spawn(|| assert_same(&err.read_to_end(), &pattern(MIB)));
        scope.spawn(|| Input::open(&input).write(&pattern(2 * MIB)));
        scope.spawn(|| {
            let expected = [pattern(3 * MIB), pattern(2 * MIB)].concat();
            assert_same(&out.read_to_end(), &expected);
        });
        shim.start("c1", exec_id).unwrap();
        shim.close_io("c1", exec_id).unwrap();
    });
    assert_eq!(shim.wait("c1", exec_id), Ok(0));
    delete(&shim, exec_id);
    end(shim, kind);
}

/// All that is still in the pipes at the end.
#[rstest]
fn what_was_said_last(#[values(Kind::Alone, Kind::Sharing, Kind::Exec)] kind: Kind) {
    let place = Place::new();
    let daemon = daemon(&place, kind, json!({"stdout_bytes": 50_000, "echo": false}));
    let mut out = reader(&place, "out");
    let shim = daemon.start();
    let exec_id = make(&shim, kind, ["", "out", ""]);
    shim.start("c1", exec_id).unwrap();
    // The client reads only after the end is known, and deletes only after it has read.
    assert_eq!(shim.wait("c1", exec_id), Ok(0));
    assert_same(&out.read_to_end(), &pattern(50_000));
    delete(&shim, exec_id);
    end(shim, kind);
}

#[rstest]
fn the_input_is_closed(
    #[values(Kind::Alone, Kind::Sharing, Kind::Exec)] kind: Kind,
    #[values(true, false)] before: bool,
) {
    let place = Place::new();
    let daemon = daemon(&place, kind, json!({"exit_code": 5}));
    let mut out = reader(&place, "out");
    let shim = daemon.start();
    let exec_id = make(&shim, kind, ["in", "out", ""]);
    let mut input = Input::open_alone(&place.path("in"));
    input.write(b"all of it\n");
    if before {
        shim.close_io("c1", exec_id).unwrap();
    }
    shim.start("c1", exec_id).unwrap();
    assert_eq!(out.read_exact(10), b"all of it\n");
    if !before {
        shim.close_io("c1", exec_id).unwrap();
    }
    // The client still has the fifo open, and something to say.
    input.write(b"and more\n");
    assert_eq!(out.read_exact(9), b"and more\n");
    assert_eq!(shim.status("c1", exec_id), "RUNNING");
    drop(input);
    assert_eq!(shim.wait("c1", exec_id), Ok(5));
    // Again, and too late.
    shim.close_io("c1", exec_id).unwrap();
    assert_eq!(out.read_to_end(), b"");
    delete(&shim, exec_id);
    end(shim, kind);
}

/// A client that only opened its input and went, has not closed it.
#[rstest]
fn the_input_outlives_its_clients(#[values(Kind::Alone, Kind::Exec)] kind: Kind) {
    let place = Place::new();
    let daemon = daemon(&place, kind, json!({}));
    let mut out = reader(&place, "out");
    let shim = daemon.start();
    let exec_id = make(&shim, kind, ["in", "out", ""]);
    shim.start("c1", exec_id).unwrap();
    for text in ["one", "two", "three"] {
        Input::open(&place.path("in")).write(text.as_bytes());
        out.read_until(text);
    }
    assert_eq!(shim.status("c1", exec_id), "RUNNING");
    shim.close_io("c1", exec_id).unwrap();
    assert_eq!(shim.wait("c1", exec_id), Ok(0));
    delete(&shim, exec_id);
    end(shim, kind);
}

/// It opens the fifo, and then does nothing; or it never comes at all.
#[rstest]
fn a_client_that_does_not_read(
    #[values(Kind::Alone, Kind::Sharing, Kind::Exec)] kind: Kind,
    #[values(true, false)] is_there: bool,
) {
    let place = Place::new();
    let daemon = daemon(&place, kind, json!({"stdout_bytes": 3 * MIB}));
    let out = is_there.then(|| reader(&place, "out"));
    let shim = daemon.start();
    let exec_id = make(&shim, kind, ["", "out", ""]);
    shim.start("c1", exec_id).unwrap();
    if let Some(out) = &out {
        until("the fifo is full", || out.unread() > 60_000);
    }
    let started = Instant::now();
    shim.kill("c1", exec_id, 9).unwrap();
    assert_eq!(shim.wait("c1", exec_id), Ok(137));
    let exit = if exec_id.is_empty() { "exit c1 c1 137" } else { "exit c1 e1 137" };
    daemon.events.wait_for(exit);
    assert!(started.elapsed() < Duration::from_millis(350), "the exit waits for the output");
    delete(&shim, exec_id);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    match out {
        // All that there is, is in the client's own fifo, and waits there.
        Some(mut out) if kind == Kind::Alone => {
            let bytes = out.read_to_end();
            assert_same(&bytes, &pattern(bytes.len()));
            assert!(bytes.len() > 60_000);
        }
        // Whoever deletes, and has never come to read, wants nothing of it.
        None => {}
        Some(_) => {
            let waited = took >= Duration::from_millis(400);
            assert!(waited, "it did not wait for the reader: {took:?}");
        }
    }
    end(shim, kind);
}

/// A daemon that is restarted opens the fifos anew.
#[rstest]
fn a_reader_that_goes_and_comes_back(#[values(Kind::Alone, Kind::Sharing, Kind::Exec)] kind: Kind) {
    let place = Place::new();
    let daemon = daemon(&place, kind, json!({"stdout_bytes": MIB, "echo": false}));
    let mut out = reader(&place, "out");
    let shim = daemon.start();
    let exec_id = make(&shim, kind, ["", "out", ""]);
    shim.start("c1", exec_id).unwrap();
    let mut bytes = out.read_exact(100_000);
    drop(out);
    assert_eq!(shim.status("c1", exec_id), "RUNNING");
    let mut out = Stream::open(&place.path("out"));
    bytes.extend(out.read_exact(200_000));
    drop(out);
    bytes.extend(Stream::open(&place.path("out")).read_to_end());
    assert_same(&bytes, &pattern(MIB));
    assert_eq!(shim.wait("c1", exec_id), Ok(0));
    delete(&shim, exec_id);
    end(shim, kind);
}

#[test]
fn what_an_exec_left_behind_holds_its_output() {
    let place = Place::new();
    let guest = json!({
        "stdout_bytes": 100, "echo": false, "grandchild_holds_stdout_ms": -1, "exit_code": 4
    });
    let daemon = daemon(&place, Kind::Exec, guest);
    let mut out = reader(&place, "out");
    let shim = daemon.start();
    make(&shim, Kind::Exec, ["", "out", ""]);
    shim.start("c1", "e1").unwrap();
    let started = Instant::now();
    assert_eq!(shim.wait("c1", "e1"), Ok(4));
    assert!(started.elapsed() < Duration::from_millis(350), "the exit waits for the output");
    assert_eq!(out.read_exact(100), pattern(100));
    delete(&shim, "e1");
    assert!(started.elapsed() >= Duration::from_millis(390), "{:?}", started.elapsed());
    assert_eq!(out.read_to_end(), b"");
    shim.finish();
}

#[test]
fn both_outputs_into_one_fifo() {
    let place = Place::new();
    let guest = json!({"argv": ["sh", "-c", "echo one; echo two >&2; echo three"]});
    let daemon = daemon(&place, Kind::Alone, guest);
    let mut out = reader(&place, "out");
    let shim = daemon.start();
    make(&shim, Kind::Alone, ["", "out", "out"]);
    shim.start("c1", "").unwrap();
    let text = out.text_to_end();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "three", "two"]);
    shim.wait("c1", "").unwrap();
    delete(&shim, "");
    shim.shut_down_and_end();
}

#[rstest]
#[case("/no/such/fifo", "open /no/such/fifo: no such file or directory (ENOENT)")]
#[case("ftp://x", "unknown STDIO scheme ftp")]
#[case("ttrpc+unix:///x?stream_id=1", "unknown STDIO scheme ttrpc+unix")]
fn an_output_that_cannot_be(#[case] stdout: &str, #[case] message: &str) {
    let place = Place::new();
    let daemon = daemon(&place, Kind::Exec, json!({}));
    mkfifo(&place.path("in"));
    let shim = daemon.start();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", shim.pid)).unwrap().count();
    let before = descriptors();
    let refused = shim
        .create_with("c1", |request| {
            request.stdin = place.text("in");
            request.stdout = stdout.to_owned();
        })
        .unwrap_err();
    assert!(refused.1.contains(message), "{refused:?}");
    assert_eq!(descriptors(), before, "something is left open");
    // The name is free.
    shim.run();
    shim.exec_with("e1", "true", |request| request.stdout = stdout.to_owned()).unwrap();
    let refused = shim.start("c1", "e1").unwrap_err();
    assert!(refused.1.contains(message), "{refused:?}");
    assert_eq!(shim.status("c1", "e1"), "CREATED");
    assert!(!place.path("bundle/e1-process.json").exists());
    shim.finish();
}
