//! The command lines of the runtime v2 shim, one after the other, word for word.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, missing_docs)]
#![allow(dead_code, unreachable_pub, reason = "the helpers are those of all tests here")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::Command;

use common::{Place, is_alive, mkfifo, read_all, until, wait_until_gone};
use rstest::rstest;
use serde_json::{Value, json};
use wavetank::host::{Fd, Host, LinuxHost};

const GLOBAL: &str = "--log @log.json --log-format json";
const CREATE: &str = "create --bundle @bundle --pid-file @pid --no-pivot --no-new-keyring c1";

/// What a pipe holds (`pipe(7)`).
const PIPE_BYTES: usize = 65536;

/// A command line as the shim makes it.
fn line(words: &str) -> String {
    format!("{GLOBAL} {words}")
}

/// The last message of level error in the log, which is what the shim tells.
fn told(place: &Place) -> String {
    let log = fs::read_to_string(place.path("log.json")).unwrap_or_default();
    let records = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut errors = records.rev().filter(|record| record["level"] == "error");
    errors.next().map(|record| record["msg"].as_str().unwrap().to_owned()).unwrap_or_default()
}

/// With this on its standard input.
fn with_input(place: &Place, words: &str, input: &str) -> common::Finished {
    let mut command: Command = place.command(&line(words));
    let (ours, mut theirs) = std::io::pipe().unwrap();
    theirs.write_all(input.as_bytes()).unwrap();
    drop(theirs);
    command.stdin(ours);
    place.finish(command)
}

fn started(script: &str) -> (Place, std::io::PipeWriter, std::io::PipeReader) {
    let place = Place::with_script(script);
    let (status, stdin, stdout) = place.launch(&line(CREATE));
    assert!(status.success(), "{}", told(&place));
    place.run(&line("start c1")).succeeded();
    (place, stdin, stdout)
}

#[test]
fn a_life_in_the_words_of_the_shim() {
    let (place, mut stdin, stdout) = started("{}");
    let pid = place.pid_file();
    fs::write(place.path("process.json"), r#"{"args": ["x"], "cwd": "/"}"#).unwrap();
    let exec = "exec --process @process.json --detach --pid-file @e1.pid c1";
    let (status, exec_stdin, exec_stdout) = place.launch(&line(exec));
    assert!(status.success(), "{}", told(&place));
    let exec_pid: i32 = fs::read_to_string(place.path("e1.pid")).unwrap().parse().unwrap();
    let pids = place.run(&line("ps --format json c1")).succeeded();
    assert_eq!(pids, format!("[{pid},{exec_pid}]\n"));
    place.run(&line("kill c1 0")).succeeded();

    stdin.write_all(b"hello").unwrap();
    place.run(&line("pause c1")).succeeded();
    assert_eq!(place.status("c1"), "paused");
    place.run(&line("resume c1")).succeeded();
    drop((exec_stdin, stdin));
    assert_eq!(read_all(stdout), "hello");
    assert_eq!(read_all(exec_stdout), "");
    place.wait_for_status("c1", "stopped");
    place.run(&line("kill --all c1 9")).succeeded();
    place.run(&line("delete c1")).succeeded();
    place.run(&line("delete --force c1")).succeeded();
    assert_eq!(told(&place), "", "not one error");
    let features: Value = serde_json::from_str(&place.run(&line("features")).succeeded()).unwrap();
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
    assert!(features["ociVersionMin"].is_string() && features["ociVersionMax"].is_string());
}

#[rstest]
#[case("start c1", 1, "container does not exist")]
#[case("kill c1 9", 1, "container does not exist")]
#[case("kill --all c1 9", 1, "container does not exist")]
#[case("delete c1", 1, "container does not exist")]
#[case("pause c1", 1, "container does not exist")]
#[case("resume c1", 1, "container does not exist")]
#[case("state c1", 1, "container does not exist")]
#[case("ps --format json c1", 1, "container does not exist")]
#[case("update --resources=- c1", 1, "container does not exist")]
#[case("checkpoint --image-path @i --work-path @w c1", 1, "container does not exist")]
#[case(
    "exec --process @process.json --detach --pid-file @e.pid c1",
    255,
    "exec failed: container does not exist"
)]
fn one_that_is_not_there(#[case] words: &str, #[case] code: i32, #[case] message: &str) {
    let place = Place::new();
    place.run(&line(words)).failed(code, message);
    assert_eq!(told(&place), message);
}

#[rstest]
#[case("start c1", 1, "cannot start a container that has stopped")]
#[case("kill c1 9", 1, "container not running")]
#[case("pause c1", 1, "container not running")]
#[case("resume c1", 1, "container not paused")]
#[case("update --memory 7 c1", 1, "container not running")]
#[case(
    "checkpoint --image-path @i --work-path @w c1",
    1,
    "Container cannot be checkpointed in stopped state"
)]
#[case(
    "exec --process @process.json --detach --pid-file @e.pid c1",
    255,
    "exec failed: cannot exec in a stopped container"
)]
#[case(CREATE, 1, "runc create failed: container with given ID already exists")]
fn one_that_has_ended(#[case] words: &str, #[case] code: i32, #[case] message: &str) {
    let (place, stdin, stdout) = started("{}");
    drop(stdin);
    read_all(stdout);
    place.wait_for_status("c1", "stopped");
    place.run(&line(words)).failed(code, message);
    assert_eq!(told(&place), message);
}

#[rstest]
#[case("start c1", 1, "cannot start an already running container")]
#[case("resume c1", 1, "container not paused")]
#[case("kill c1 99", 1, "unable to signal init: invalid argument (EINVAL)")]
#[case("kill c1 FOO", 1, "unknown signal \"FOO\"")]
#[case("delete c1", 1, "cannot delete container c1 that is not stopped: running\n")]
#[case("update --resources=- c1", 1, "EOF")]
#[case(
    "restore --image-path @none --work-path @w --detach --pid-file @p -no-subreaper --bundle @bundle c2",
    1,
    "ENOENT"
)]
fn one_that_runs(#[case] words: &str, #[case] code: i32, #[case] message: &str) {
    let (place, _stdin, _stdout) = started("{}");
    assert_eq!(place.run(&line(words)).code(), code);
    assert!(told(&place).contains(message), "{}", told(&place));
    assert_eq!(place.status("c1"), "running");
}

#[test]
fn a_program_that_is_not_there_is_told_at_once() {
    let place = Place::with_script(r#"{"container": {"process_args": true}}"#);
    let config = json!({"process": {"args": ["no-such-program"], "env": ["PATH=/bin"]}});
    fs::write(place.bundle().join("config.json"), config.to_string()).unwrap();
    let message = "runc create failed: unable to start container process: exec: \
                   \"no-such-program\": executable file not found in $PATH";
    place.run(&line(CREATE)).failed(1, message);
    assert_eq!(told(&place), message);
    place.run("state c1").failed(1, "container does not exist");
}

#[test]
fn limits_come_by_standard_input_and_stay_if_the_next_are_none() {
    let (place, _stdin, _stdout) = started("{}");
    let limits = r#"{"memory":{"limit":5}}"#;
    with_input(&place, "update --resources=- c1", limits).succeeded();
    let message = "invalid character 'x' looking for beginning of value";
    with_input(&place, "update --resources=- c1", "xml").failed(1, message);
    assert_eq!(told(&place), message);
    assert_eq!(fs::read_to_string(place.path("state/c1/resources.json")).unwrap(), limits);
}

#[test]
fn a_paused_container_writes_nothing_and_can_be_killed() {
    let script = r#"{"container": {"argv": ["sh", "-c", "while echo x; do :; done"]}}"#;
    let (place, _stdin, mut stdout) = started(script);
    place.run(&line("pause c1")).succeeded();
    let stat = fs::read_to_string(format!("/proc/{}/stat", place.pid_file())).unwrap();
    assert!(stat.contains(") T "), "it stands still when pause is over: {stat}");
    // No more comes than what was in the pipe.
    let mut total = 0;
    while LinuxHost::new().unread(Fd(stdout.as_raw_fd())).unwrap() > 0 {
        total += stdout.read(&mut [0; 4096]).unwrap();
    }
    assert!(total <= PIPE_BYTES, "{total} bytes came out of the pipe");
    place.run(&line("start c1")).failed(1, "cannot start a container in the paused state");
    place.run(&line("pause c1")).failed(1, "container not running");
    place.run(&line("kill c1 9")).succeeded();
    wait_until_gone(place.pid_file());
    assert_eq!(place.status("c1"), "stopped");
    place.run(&line("delete c1")).succeeded();
}

#[test]
fn a_created_container_can_be_paused_and_still_be_started() {
    let place = Place::new();
    let (_, stdin, stdout) = place.launch(&line(CREATE));
    place.run(&line("pause c1")).succeeded();
    assert_eq!(place.status("c1"), "paused");
    place.run(&line("resume c1")).succeeded();
    assert_eq!(place.status("c1"), "created");
    place.run(&line("start c1")).succeeded();
    drop(stdin);
    assert_eq!(read_all(stdout), "");
}

#[test]
fn a_checkpoint_knows_the_process_that_is_restored() {
    let place = Place::with_script(r#"{"container": {"process_args": true}}"#);
    let config = json!({"process": {"args": ["sh", "-c", "echo one; cat"]}});
    fs::write(place.bundle().join("config.json"), config.to_string()).unwrap();
    let (_, _stdin, stdout) = place.launch(&line(CREATE));
    place.run(&line("start c1")).succeeded();
    let pid = place.pid_file();
    let flags = "--tcp-established --ext-unix-sk --shell-job --file-locks --empty-ns network";
    let checkpoint = format!("checkpoint --image-path @i --work-path @w {flags}");
    place.run(&line(&format!("{checkpoint} --leave-running c1"))).succeeded();
    assert_eq!(place.status("c1"), "running");
    assert!(is_alive(pid));
    place.run(&line(&format!("{checkpoint} c1"))).succeeded();
    assert!(!is_alive(pid));
    assert_eq!(read_all(stdout), "one\n");
    place.run(&line("delete c1")).failed(1, "container does not exist");
    let log = |name| fs::read_to_string(place.path("w").join(name)).unwrap();
    assert!(log("dump.log").ends_with("finished successfully\n"));

    // The bundle's own process is another one by now.
    let config = json!({"process": {"args": ["sh", "-c", "echo two; cat"]}});
    fs::write(place.bundle().join("config.json"), config.to_string()).unwrap();
    let restore = "restore --image-path @i --work-path @w --parent-path @p --detach \
                   --pid-file @pid --no-pivot -no-subreaper --bundle @bundle c1";
    let (status, stdin, stdout) = place.launch(&line(&restore.replace("                   ", "")));
    assert!(status.success(), "{}", told(&place));
    assert_eq!(place.status("c1"), "running");
    assert!(log("restore.log").ends_with("finished successfully\n"));
    assert_ne!(place.pid_file(), pid);
    drop(stdin);
    assert_eq!(read_all(stdout), "one\n");
}

#[test]
fn a_checkpoint_that_fails_leaves_its_log_and_the_container() {
    let script =
        r#"{"on": {"checkpoint": {"midway": {"log_error": "criu failed", "exit_code": 1}}}}"#;
    let (place, _stdin, _stdout) = started(script);
    let failed = place.run(&line("checkpoint --image-path @i --work-path @w c1"));
    assert_eq!((failed.code(), told(&place).as_str()), (1, "criu failed"));
    assert_eq!(fs::read_to_string(place.path("w/dump.log")).unwrap(), "Dumping begins\n");
    assert!(!place.path("i/inventory.img").exists());
    assert_eq!(place.status("c1"), "running");
}

#[rstest]
#[case("create", CREATE)]
#[case("start", "start c1")]
#[case("exec", "exec --process @process.json --detach --pid-file @e.pid c1")]
#[case("kill", "kill c1 15")]
#[case("delete", "delete c1")]
#[case("pause", "pause c1")]
#[case("resume", "resume c1")]
#[case("update", "update --resources=- c1")]
#[case("ps", "ps --format json c1")]
#[case("state", "state c1")]
#[case("features", "features")]
#[case("checkpoint", "checkpoint --image-path @i --work-path @w c1")]
#[case(
    "restore",
    "restore --image-path @i --work-path @w --detach --pid-file @p -no-subreaper --bundle @bundle c1"
)]
fn every_command_waits_and_fails_as_it_is_told(#[case] word: &str, #[case] words: &str) {
    let place = Place::new();
    mkfifo(&place.path("go"));
    let before = json!({"wait_for": place.path("go"), "delay_ms": 1, "log_error": "no luck",
        "exit_code": 7});
    let script = place.path("script.json");
    fs::write(&script, json!({"on": {word: {"before": before}}}).to_string()).unwrap();
    let mut command = place.command(&line(words));
    let mut child = command.env("FAKE_RUNC_SCRIPT", &script).spawn().unwrap();
    until("it has told its error", || told_by(&place) == "no luck");
    assert!(child.try_wait().unwrap().is_none(), "it waits for the fifo");
    fs::OpenOptions::new().write(true).open(place.path("go")).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert!(!place.path("state").exists(), "nothing was done");
}

/// As [`told`], when the last line may not be whole yet.
fn told_by(place: &Place) -> String {
    let log = fs::read_to_string(place.path("log.json")).unwrap_or_default();
    if log.ends_with('\n') { told(place) } else { String::new() }
}
