//! Old accidents of other shims, and runtimes that do not do as they should, under the v2 shim.

use std::fs;
use std::time::Duration;

use containerd_shim_protos::api;
use rstest::rstest;
use serde_json::{Value, json};
use wavetank::ttrpc::Code;

use crate::support::{
    Daemon, Place, Stream, assert_same, kill, mkfifo, options_any, runc_options, signal,
    start_request, until, wait_request,
};

fn script(place: &Place, on: &Value) {
    place.script(json!({
        "container": {"process_args": true}, "exec": {"process_args": true}, "on": on
    }));
}

fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

// ---- many at once ------------------------------------------------------------------------------

/// Signals that come at the same time are one signal: SIGCHLD for many children, too. And nothing
/// is left of what has been: two hundred execs, and not one descriptor more than before.
#[test]
fn many_end_at_the_same_time() {
    const AT_ONCE: usize = 40;
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    mkfifo(&place.path("out"));
    let mut out = Stream::open(&place.path("out"));
    let before = descriptors(shim.pid);
    let names: Vec<String> = (0..AT_ONCE).map(|number| format!("e{number}")).collect();
    for round in 0..5 {
        let mut starting = Vec::new();
        for name in &names {
            shim.exec_with(name, "exec sleep 1000", |request| {
                request.stdout = place.text("out");
            })
            .unwrap();
            starting.push(shim.send("Start", &start_request("c1", name)));
        }
        let start = |call| shim.answer::<api::StartResponse>(call).unwrap().pid.cast_signed();
        let pids: Vec<i32> = starting.into_iter().map(start).collect();
        assert!(descriptors(shim.pid) > before);
        let waits: Vec<u32> =
            names.iter().map(|name| shim.send("Wait", &wait_request("c1", name))).collect();
        // Stopped, the shim hears of nothing until all have ended.
        signal(shim.pid, 19);
        pids.iter().for_each(|pid| signal(*pid, 9));
        pids.iter().for_each(|pid| crate::support::wait_for_end(*pid));
        signal(shim.pid, 18);
        for call in waits {
            assert_eq!(shim.answer::<api::WaitResponse>(call).unwrap().exit_status, 137);
        }
        for name in &names {
            shim.delete("c1", name).unwrap();
        }
        assert_eq!(descriptors(shim.pid), before, "after round {round}");
    }
    assert_eq!(out.unread(), 0);
    shim.finish();
    assert_eq!(out.read_to_end(), b"");
    let told = daemon.told();
    let count = |word: &str| told.iter().filter(|line| line.starts_with(word)).count();
    let expected = 5 * AT_ONCE;
    assert_eq!(count("exec-added c1 e"), expected);
    assert_eq!(count("exec-started c1 e"), expected);
    assert_eq!(count("exit c1 e"), expected);
    assert_eq!(told.last().map(String::as_str), Some("delete c1 137"));
}

/// A daemon that hangs reads no logs.
#[test]
fn a_log_that_nobody_reads() {
    let place = Place::new();
    mkfifo(&place.path("bundle/log"));
    let log = Stream::open(&place.path("bundle/log"));
    let daemon = Daemon::new(&place, "exec sleep 1000").debug();
    let shim = daemon.start();
    shim.run();
    // Each of these is told in the log.
    let fill = |times: usize| {
        for _ in 0..times {
            signal(shim.pid, 10);
            assert_eq!(shim.status("c1", ""), "RUNNING");
        }
    };
    until("the log is full", || {
        let before = log.unread();
        fill(50);
        before > 0 && log.unread() == before
    });
    fill(100);
    shim.finish();
}

// ---- the runtime -------------------------------------------------------------------------------

#[rstest]
#[case("no-runc", "exec: \"no-runc\": executable file not found in $PATH")]
#[case("/no/such/runc", "no such file or directory")]
fn a_runtime_that_is_not_there(#[case] name: &str, #[case] words: &str) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let before = descriptors(shim.pid);
    let options = options_any(&runc_options(&place, name));
    let (code, told) = shim.create_with("c1", |request| request.options = options).unwrap_err();
    assert_eq!(code, Code::Unknown);
    assert!(told.starts_with("OCI runtime create failed: ") && told.contains(words), "{told}");
    assert_eq!(shim.state("c1", "").unwrap_err().0, Code::NotFound);
    assert_eq!(descriptors(shim.pid), before);
    shim.run();
    shim.finish();
    assert_eq!(daemon.told().len(), 4, "what failed is no event");
}

#[rstest]
#[case::says_why(
    json!({"log_error": "no space for the rootfs", "exit_code": 1}),
    "OCI runtime create failed: no space for the rootfs"
)]
#[case::says_nothing(json!({"exit_code": 3}), "did not terminate successfully: exit status 3")]
#[case::is_killed(json!({"die_by_signal": "KILL"}), "did not terminate successfully: exit status 137")]
#[case::garbage(
    json!({"log_raw": "panic: {\n\x00", "exit_code": 2}),
    "did not terminate successfully: exit status 2"
)]
fn a_create_that_fails(#[case] before: Value, #[case] words: &str) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let descriptors_before = descriptors(shim.pid);
    for name in ["in", "out", "err"] {
        mkfifo(&place.path(name));
    }
    let mut out = Stream::open(&place.path("out"));
    script(&place, &json!({"create": {"before": before}}));
    let create = || {
        shim.create_with("c1", |request| {
            request.stdin = place.text("in");
            (request.stdout, request.stderr) = (place.text("out"), place.text("err"));
        })
    };
    for _ in 0..2 {
        let (code, told) = create().unwrap_err();
        assert_eq!(code, Code::Unknown);
        assert!(told.starts_with("OCI runtime create failed: ") && told.contains(words), "{told}");
        assert_eq!(shim.state("c1", "").unwrap_err().0, Code::NotFound);
        assert_eq!(descriptors(shim.pid), descriptors_before, "something is left open");
    }
    // The runtime's log of before does not count for the next one.
    script(&place, &json!({}));
    create().unwrap();
    shim.finish();
    assert_eq!(out.read_to_end(), b"");
    assert_eq!(daemon.told(), ["create c1", "exit c1 c1 137", "delete c1 137"]);
}

/// More than a pipe holds.
#[rstest]
#[case("create")]
#[case("start")]
#[case("pause")]
#[case("kill")]
#[case("update")]
#[case("delete")]
fn a_runtime_that_talks_much_and_fails(#[case] word: &str) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let failing = json!({"before": {
        "stdout_bytes": 70_000, "stderr_bytes": 70_000, "exit_code": 1
    }});
    let mut on = serde_json::Map::new();
    on.insert(word.to_owned(), failing);
    let prepare = |words: &[&str]| {
        if words.contains(&word) {
            script(&place, &Value::Object(on.clone()));
        }
    };
    prepare(&["create"]);
    if word == "create" {
        assert_eq!(shim.create("c1").unwrap_err().0, Code::Unknown);
        return shim.shut_down_and_end();
    }
    shim.create("c1").unwrap();
    prepare(&["start"]);
    if word != "start" {
        shim.start("c1", "").unwrap();
    }
    if word == "delete" {
        shim.kill("c1", "", 9).unwrap();
        shim.wait("c1", "").unwrap();
    }
    prepare(&["pause", "kill", "update", "delete"]);
    let id = "c1".to_owned();
    let (code, words) = match word {
        "start" => shim.start("c1", "").map(drop),
        "pause" => shim.tell("Pause", &api::PauseRequest { id, ..Default::default() }),
        "kill" => shim.kill("c1", "", 9),
        "delete" => shim.delete("c1", "").map(drop),
        _ => shim.tell("Update", &api::UpdateTaskRequest { id, ..Default::default() }),
    }
    .unwrap_err();
    assert_eq!(code, Code::Unknown, "{words}");
    assert!(words.len() < 1024 * 1024);
    script(&place, &json!({}));
    shim.finish();
}

/// The container was made, and nobody can know who it is: it is not left to itself.
#[rstest]
#[case::none(json!("none"), "no such file or directory (ENOENT)")]
#[case::empty(json!("empty"), "init.pid: ")]
#[case::garbage(json!({"text": "garbage"}), "init.pid: ")]
#[case::negative(json!("negative"), "init.pid: ")]
#[case::huge(json!("huge"), "init.pid: ")]
#[case::a_stranger(json!({"text": "1"}), "wait for pid 1 of ")]
fn a_pid_file_that_helps_nobody(#[case] pid_file: Value, #[case] words: &str) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let before = descriptors(shim.pid);
    script(&place, &json!({"create": {"pid_file": pid_file}}));
    let (code, told) = shim.create("c1").unwrap_err();
    assert_eq!(code, Code::Unknown);
    assert!(told.contains(words), "{told}");
    assert_eq!(shim.state("c1", "").unwrap_err().0, Code::NotFound);
    assert_eq!(place.words().last().map(String::as_str), Some("delete"));
    until("only the shim is left", || place.running() == [shim.pid]);
    assert_eq!(descriptors(shim.pid), before);
    script(&place, &json!({}));
    shim.run();
    shim.finish();
    assert_eq!(daemon.told().len(), 4);
}

#[rstest]
#[case::none(json!("none"))]
#[case::garbage(json!({"text": "garbage"}))]
fn an_execs_pid_file_that_helps_nobody(#[case] pid_file: Value) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    script(&place, &json!({"exec": {"pid_file": pid_file}}));
    for _ in 0..2 {
        shim.exec("e1", "exit 3").unwrap();
        assert_eq!(shim.start("c1", "e1").unwrap_err().0, Code::Unknown);
        assert_eq!(shim.wait("c1", "e1"), Ok(0));
        shim.delete("c1", "e1").unwrap();
    }
    // The pid of the one before is no answer for the next.
    script(&place, &json!({}));
    shim.exec("e1", "exit 3").unwrap();
    shim.start("c1", "e1").unwrap();
    assert_eq!(shim.wait("c1", "e1"), Ok(3));
    shim.exec("e2", "exit 4").unwrap();
    script(&place, &json!({"exec": {"pid_file": "none"}}));
    fs::write(place.path("bundle/e2.pid"), shim.connected("c1").task_pid.to_string()).unwrap();
    shim.start("c1", "e2").unwrap_err();
    assert_eq!(shim.status("c1", ""), "RUNNING");
    script(&place, &json!({}));
    shim.finish();
}

/// A pid file of an earlier container is not that of this one.
#[test]
fn a_pid_file_that_was_there_before() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    script(&place, &json!({"create": {"pid_file": "none"}}));
    // A child of the shim, even, but for another purpose.
    daemon.add_bundle("c2", "exec sleep 1000", json!({}));
    fs::write(place.path("c2/fake-runc.json"), r#"{"container": {"process_args": true}}"#).unwrap();
    let other = shim.create("c2").unwrap();
    fs::write(place.path("bundle/init.pid"), other.to_string()).unwrap();
    let (_, told) = shim.create("c1").unwrap_err();
    assert!(told.contains("init.pid"), "{told}");
    shim.start("c2", "").unwrap();
    assert_eq!(shim.status("c2", ""), "RUNNING");
    shim.kill("c2", "", 9).unwrap();
    assert_eq!(shim.wait("c2", ""), Ok(137));
    shim.delete("c2", "").unwrap();
    shim.shut_down_and_end();
}

/// It has made a process, sent no console, and ended.
#[rstest]
#[case("skipped")]
#[case("only_connected")]
#[case("without_descriptor")]
fn a_console_that_never_comes(#[case] console: &str) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    crate::support::terminal_in_config(&place, "bundle");
    mkfifo(&place.path("out"));
    let shim = daemon.start();
    script(&place, &json!({"create": {"console": console}}));
    shim.set_timeout(Some(Duration::from_millis(300)));
    let mut request = shim.create_request("c1");
    (request.stdout, request.terminal) = (place.text("out"), true);
    let creating = shim.send("Create", &request);
    let late = (Code::DeadlineExceeded, "context deadline exceeded".to_owned());
    assert_eq!(shim.answer::<api::CreateTaskResponse>(creating), Err(late));
    shim.set_timeout(None);
    assert_eq!(shim.connected("c1").task_pid, 0);
    // The daemon loses patience.
    kill(shim.pid);
    let pid = fs::read_to_string(place.path("bundle/init.pid")).unwrap().parse().unwrap();
    kill(pid);
    for entry in fs::read_dir(place.path("tmp")).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    place.state_may_stay();
}

/// What the client says of its own process is the client's business.
#[test]
fn a_container_that_talks_to_the_fifo_of_another() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "echo from init; exec sleep 1000");
    mkfifo(&place.path("out"));
    let mut out = Stream::open(&place.path("out"));
    let shim = daemon.start();
    shim.create_with("c1", |request| request.stdout = place.text("out")).unwrap();
    shim.start("c1", "").unwrap();
    assert_eq!(out.read_until("\n"), "from init\n");
    shim.exec_with("e1", "echo from exec", |request| request.stdout = place.text("out")).unwrap();
    shim.start("c1", "e1").unwrap();
    assert_eq!(out.read_until("\n"), "from exec\n");
    shim.wait("c1", "e1").unwrap();
    shim.delete("c1", "e1").unwrap();
    shim.finish();
    assert_same(&out.read_to_end(), b"");
}
