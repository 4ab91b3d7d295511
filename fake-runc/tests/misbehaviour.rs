//! What the script can make this runtime do wrong.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, missing_docs)]
#![allow(dead_code, unreachable_pub, reason = "the helpers are those of all tests here")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use common::{Place, is_alive, mkfifo, read_all, until, wait_until_gone};
use rstest::rstest;

#[rstest]
#[case::unknown_name(r#"{"containr": {}}"#, "containr")]
#[case::no_json("{", "EOF")]
fn a_wrong_script_is_an_error(#[case] script: &str, #[case] part: &str) {
    let place = Place::with_script(script);
    place.run("create c1").failed(1, part);
    assert!(!place.path("state").exists());
}

#[test]
fn the_script_of_the_environment_wins_and_must_exist() {
    let place = Place::with_script(r#"{"any": {"before": {"exit_code": 3}}}"#);
    fs::write(place.path("other.json"), r#"{"any": {"before": {"exit_code": 4}}}"#).unwrap();
    assert_eq!(place.run("create c1").code(), 3);
    let mut command = place.command("create c1");
    command.env("FAKE_RUNC_SCRIPT", place.path("other.json"));
    assert_eq!(place.finish(command).code(), 4);
    let mut command = place.command("create c1");
    command.env("FAKE_RUNC_SCRIPT", place.path("nothing.json"));
    place.finish(command).failed(1, "nothing.json: no such file");
}

#[test]
fn an_exit_before_does_nothing_and_one_after_has_done_all() {
    let place = Place::with_script(r#"{"on": {"create": {"before": {"exit_code": 3}}}}"#);
    assert_eq!(place.run("create c1").code(), 3);
    place.run("state c1").failed(1, "does not exist");
    place.script(
        r#"{"on": {"create": {"after": {"exit_code": 3}}, "kill": {"before": {"exit_code": 9}}}}"#,
    );
    assert_eq!(place.run("create c1").code(), 3);
    assert_eq!(place.status("c1"), "created");
    assert_eq!(place.run("kill c1").code(), 9);
    assert_eq!(place.status("c1"), "created");
}

#[test]
fn it_dies_half_way_and_leaves_the_process_but_no_pid_file() {
    let place = Place::with_script(r#"{"on": {"run": {"midway": {"die_by_signal": "KILL"}}}}"#);
    let (status, stdin, stdout) = place.launch("run -d --pid-file @pid c1");
    assert_eq!(status.signal(), Some(9));
    assert!(!place.path("pid").exists());
    assert_eq!(place.status("c1"), "running");
    drop(stdin);
    assert_eq!(read_all(stdout), "");
    place.wait_for_status("c1", "stopped");
}

#[rstest]
#[case("\"none\"", None)]
#[case("\"empty\"", Some(""))]
#[case("\"newline\"", Some("PID\n"))]
#[case("\"negative\"", Some("-PID"))]
#[case("\"huge\"", Some("999999999999999999999999999999"))]
#[case(r#"{"text": "1 x"}"#, Some("1 x"))]
#[case(r#"{"in_place": {"pause_ms": 1}}"#, Some("PID"))]
#[case("\"normal\"", Some("PID"))]
fn the_pid_file_can_be_wrong(#[case] manner: &str, #[case] content: Option<&str>) {
    let script = format!(r#"{{"on": {{"create": {{"pid_file": {manner}}}}}}}"#);
    let place = Place::with_script(&script);
    place.run("create --pid-file @pid c1").succeeded();
    let pid = place.state("c1")["pid"].to_string();
    let found = fs::read_to_string(place.path("pid")).ok();
    assert_eq!(found, content.map(|content| content.replace("PID", &pid)));
    let names = fs::read_dir(place.path("")).unwrap().flatten();
    assert!(
        names.map(|entry| entry.file_name()).all(|name| !name.to_string_lossy().starts_with('.'))
    );
}

#[test]
fn the_pid_file_can_be_cut_short_or_name_another() {
    let place = Place::with_script(r#"{"any": {"pid_file": "partial"}}"#);
    place.run("create --pid-file @pid c1").succeeded();
    let pid = place.state("c1")["pid"].to_string();
    assert_eq!(fs::read_to_string(place.path("pid")).unwrap(), pid[..pid.len() / 2]);

    place.script(r#"{"any": {"pid_file": "other"}}"#);
    place.run("create --pid-file @pid c2").succeeded();
    let other = place.pid_file();
    assert_ne!(place.state("c2")["pid"], other);
    assert!(is_alive(other));
    place.run("delete c2").succeeded();
    wait_until_gone(other);
}

#[test]
fn the_pid_file_can_come_when_the_test_wants() {
    let place = Place::with_script(r#"{"on": {"create": {"midway": {"wait_for": "go"}}}}"#);
    let go = place.bundle().join("go");
    mkfifo(&go);
    let mut command = place.command("create --pid-file @pid c1");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("it is midway", || place.path("state/c1/state.json").exists());
    assert_eq!(place.status("c1"), "created");
    assert!(!place.path("pid").exists());
    // Opening waits for the other side.
    drop(fs::OpenOptions::new().write(true).open(go).unwrap());
    assert!(child.wait().unwrap().success());
    assert!(is_alive(place.pid_file()));
}

#[test]
fn it_waits_until_a_file_exists() {
    let place = Place::with_script(r#"{"any": {"before": {"wait_for": "go"}}}"#);
    let mut child = place.command("create c1").stdout(Stdio::null()).spawn().unwrap();
    assert!(child.try_wait().unwrap().is_none());
    fs::write(place.bundle().join("go"), "").unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn it_hangs_until_it_is_killed() {
    let place = Place::with_script(
        r#"{"any": {"before": {"stdout_bytes": 3, "delay_ms": 1, "hang": true}}}"#,
    );
    let mut command = place.command("create c1");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut three = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut three).unwrap();
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn the_container_can_have_ended_before_the_pid_file_is_there() {
    let place = Place::with_script(
        r#"{"container": {"echo": false, "exit_code": 3},
            "on": {"run": {"midway": {"wait_for_process_exit": true}}}}"#,
    );
    let (status, _stdin, stdout) = place.launch("run -d --pid-file @pid c1");
    assert!(status.success());
    assert_eq!(read_all(stdout), "");
    wait_until_gone(place.pid_file());
}

#[test]
fn much_can_be_written_before_anything_happens() {
    let place = Place::with_script(
        r#"{"any": {"before": {"stderr_bytes": 70000, "log_error": "what \"now\"", "log_raw": "{half",
            "exit_code": 1}}}"#,
    );
    let ended = place.run("--log @log.json --log-format json create c1");
    assert_eq!(ended.code(), 1);
    assert_eq!(ended.stderr.as_bytes(), fake_runc::pattern(0, 70000));
    let log = fs::read_to_string(place.path("log.json")).unwrap();
    assert!(log.starts_with(r#"{"level":"error","msg":"what \"now\"","time":""#), "{log}");
    assert!(log.ends_with("Z\"}\n{half"), "{log}");
}

#[test]
fn the_built_in_program_writes_echoes_and_ends_as_told() {
    let place = Place::with_script(
        r#"{"container": {"stdout_bytes": 50000, "stderr_bytes": 10, "die_by_signal": 12}}"#,
    );
    let (ours, mut theirs) = std::io::pipe().unwrap();
    theirs.write_all(b"!").unwrap();
    drop(theirs);
    let mut command = place.command("run c1");
    command.stdin(ours);
    let ended = place.finish(command);
    assert_eq!(ended.code(), 140);
    assert_eq!(ended.stdout.as_bytes(), [fake_runc::pattern(0, 50000), b"!".into()].concat());
    assert_eq!(ended.stderr.as_bytes(), fake_runc::pattern(0, 10));
}

#[test]
fn a_program_can_ignore_signals() {
    let place = Place::with_script(r#"{"container": {"ignores": ["TERM"], "stdout_bytes": 1}}"#);
    let (_, mut stdin, mut stdout) = place.launch("run -d c1");
    // After its first byte it ignores them.
    std::io::Read::read_exact(&mut stdout, &mut [0]).unwrap();
    place.run("kill c1 TERM").succeeded();
    stdin.write_all(b"still here").unwrap();
    drop(stdin);
    assert_eq!(read_all(stdout), "still here");
}

#[test]
fn a_grandchild_can_hold_stdout_for_a_while() {
    let place = Place::with_script(
        r#"{"container": {}, "exec": {"echo": false, "grandchild_holds_stdout_ms": 30}}"#,
    );
    let (_, _stdin, _stdout) = place.launch("run -d c1");
    let (status, _, stdout) = place.launch("exec -d --pid-file @pid c1 x");
    assert!(status.success());
    assert_eq!(read_all(stdout), "");
    wait_until_gone(place.pid_file());
}

#[test]
fn a_program_that_cannot_be_started_leaves_nothing() {
    let place = Place::with_script(r#"{"container": {"argv": ["no-such-program"]}}"#);
    let message = r#"exec: "no-such-program": executable file not found in $PATH"#;
    place.run("--log @log create c1").failed(1, message);
    place.script(r#"{"container": {"argv": ["/etc/passwd"]}}"#);
    place.run("create c1").failed(1, "permission denied");
    place.script(r#"{"container": {"cwd": "nowhere"}}"#);
    place.run("run -d c1").failed(1, "nowhere: no such file");
    place.script("{}");
    place.run("create --pid-file @nowhere/pid c1").failed(1, "nowhere");
    place.run("state c1").failed(1, "does not exist");
}
