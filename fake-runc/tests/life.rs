//! A container's life, told by the good runtime.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, missing_docs)]
#![allow(dead_code, unreachable_pub, reason = "the helpers are those of all tests here")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;
use std::io::Write;

use common::{Place, is_alive, read_all, until, wait_until_gone};
use rstest::rstest;

#[test]
fn a_container_of_today_is_created_started_and_deleted() {
    let place = Place::new();
    let (status, mut stdin, stdout) = place.launch("create --bundle @bundle --pid-file @pid c1");
    assert!(status.success());
    let pid = place.pid_file();
    let state = place.state("c1");
    assert_eq!((&state["status"], &state["pid"]), (&"created".into(), &pid.into()));
    assert_eq!(state["bundle"], place.bundle().to_str().unwrap());
    assert_eq!(state["ociVersion"], "1.0.2");
    assert!(is_alive(pid));

    place.run("start c1").succeeded();
    assert_eq!(place.status("c1"), "running");
    place.run("start c1").failed(1, "cannot start an already running container");
    place.run("delete c1").failed(1, "cannot delete container c1 that is not stopped: running");

    stdin.write_all(b"from in to out").unwrap();
    drop(stdin);
    assert_eq!(read_all(stdout), "from in to out");
    place.wait_for_status("c1", "stopped");
    assert_eq!(place.state("c1")["pid"], 0);
    place.run("start c1").failed(1, "cannot start a container that has stopped");
    place.run("kill c1 9").failed(1, "container not running");
    place.run("kill --all c1 9").succeeded();
    place.run("delete c1").succeeded();
    place.run("state c1").failed(1, "container does not exist");
    assert!(fs::read_dir(place.path("state")).unwrap().next().is_none());
}

#[test]
fn the_start_of_2016_creates_and_starts_at_once() {
    let place = Place::new();
    let (status, stdin, stdout) =
        place.launch("start --bundle @bundle --console= --no-pivot -d --pid-file @pid c1");
    assert!(status.success());
    assert_eq!(place.status("c1"), "running");
    drop(stdin);
    assert_eq!(read_all(stdout), "");
    wait_until_gone(place.pid_file());
    place.run("delete c1").succeeded();
}

#[test]
fn a_run_in_the_foreground_ends_as_its_container_and_leaves_nothing() {
    let place = Place::with_script(r#"{"container": {"exit_code": 7}}"#);
    assert_eq!(place.run("run c1").code(), 7);
    place.run("state c1").failed(1, "does not exist");
    assert_eq!(place.run("run --keep c1").code(), 7);
    assert_eq!(place.status("c1"), "stopped");
    place.run("run c1").failed(1, "container with given ID already exists");
    place.script(r#"{"container": {"die_by_signal": "KILL"}}"#);
    assert_eq!(place.run("run c2").code(), 137);
}

#[rstest]
#[case("kill c1 SIGTERM")]
#[case("kill --all c1 9")]
#[case("delete c1")]
#[case("delete --force c1")]
fn a_created_container_can_be_ended_before_it_starts(#[case] line: &str) {
    let place = Place::new();
    place.run("create --pid-file @pid c1").succeeded();
    place.run("create c1").failed(1, "container with given ID already exists");
    place.run(line).succeeded();
    wait_until_gone(place.pid_file());
    if line.starts_with("kill") {
        place.run("start c1").failed(1, "cannot start a container that has stopped");
        place.run("delete c1").succeeded();
    }
    place.run("state c1").failed(1, "container does not exist");
}

#[test]
fn what_does_not_exist_cannot_be_used() {
    let place = Place::new();
    for line in ["start x", "kill x", "delete x", "pause x", "resume x", "ps x", "update x"] {
        place.run(line).failed(1, "container does not exist");
    }
    place.run("exec x true").failed(255, "exec failed: container does not exist");
    place.run("delete --force x").succeeded();
    place.run("create --bundle @nowhere x").failed(1, "ENOENT");
    place.run("restore --image-path @nowhere x").failed(1, "nowhere: no such file or directory");
    assert!(
        !place.path("state").exists() || fs::read_dir(place.path("state")).unwrap().count() == 0
    );
}

#[test]
fn an_exec_has_its_own_pid_and_end() {
    let place = Place::with_script(r#"{"exec": {"process_args": true}}"#);
    let (_, stdin, stdout) = place.launch("run -d --pid-file @pid c1");
    let process = r#"{"args": ["sh", "-c", "echo $WORD; exit 5"], "env": ["WORD=hi"], "cwd": "/"}"#;
    fs::write(place.path("process.json"), process).unwrap();

    let ended = place.run("exec --process @process.json c1");
    assert_eq!((ended.code(), ended.stdout.as_str()), (5, "hi\n"));
    let ended = place.run("exec --env WORD=ho --cwd / c1 /bin/sh -c pwd;echo\t$WORD");
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "/\nho\n"));
    place.run("exec c1 no-such-program").failed(255, "executable file not found in $PATH");
    place.run("exec --process @nothing c1").failed(255, "ENOENT");

    place.script("{}");
    let (status, exec_stdin, exec_stdout) =
        place.launch("exec -d --process @process.json --pid-file @exec.pid c1");
    assert!(status.success());
    let exec_pid: i32 = fs::read_to_string(place.path("exec.pid")).unwrap().parse().unwrap();
    let pids = place.run("ps --format json c1").succeeded();
    assert_eq!(pids, format!("[{},{exec_pid}]\n", place.pid_file()));
    drop((exec_stdin, stdin));
    assert_eq!(read_all(exec_stdout) + &read_all(stdout), "");
    place.wait_for_status("c1", "stopped");
    place.run("exec c1 true").failed(255, "cannot exec in a stopped container");
}

#[test]
fn a_whole_container_is_killed_with_what_it_left_behind() {
    let place =
        Place::with_script(r#"{"container": {"echo": false, "grandchild_holds_stdout_ms": -1}}"#);
    let (_, stdin, stdout) = place.launch("run -d --pid-file @pid c1");
    let (_, other_stdin, other_stdout) = place.launch("run -d c2");
    drop((stdin, other_stdin));
    wait_until_gone(place.pid_file());
    place.wait_for_status("c2", "stopped");
    // Only now do the grandchildren let go of the pipes.
    place.run("kill --all c1 KILL").succeeded();
    assert_eq!(read_all(stdout), "");
    place.run("delete c2").succeeded();
    assert_eq!(read_all(other_stdout), "");
}

#[test]
fn a_paused_container_stands_still() {
    let place = Place::new();
    let (_, mut stdin, stdout) = place.launch("run -d c1");
    place.run("resume c1").failed(1, "container not paused");
    place.run("pause c1").succeeded();
    assert_eq!(place.status("c1"), "paused");
    let pid = place.state("c1")["pid"].as_i64().unwrap();
    let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    until("it stands still", || stat().contains(") T "));
    place.run("exec c1 true").failed(255, "cannot exec in a paused container");
    stdin.write_all(b"later").unwrap();
    drop(stdin);
    place.run("resume c1").succeeded();
    assert_eq!(read_all(stdout), "later");
}

#[test]
fn a_checkpoint_is_made_and_restored() {
    let place = Place::new();
    let (_, _stdin, stdout) = place.launch("run -d c1");
    place.run("checkpoint --image-path @i/c --work-path @w --leave-running c1").succeeded();
    assert_eq!(place.status("c1"), "running");
    assert!(place.path("i/c/inventory.img").exists() && place.path("w/dump.log").exists());
    place.run("checkpoint --image-path @i/c c1").succeeded();
    assert_eq!(read_all(stdout), "");
    place.run("delete c1").failed(1, "container does not exist");
    let (status, _stdin, _stdout) = place.launch(
        "restore --image-path @i/c --shell-job --tcp-established --no-pivot -d --pid-file @pid c1",
    );
    assert!(status.success());
    assert_eq!(place.state("c1")["pid"], place.pid_file());
    place.run("kill c1 KILL").succeeded();
    place.wait_for_status("c1", "stopped");
    place.run("checkpoint c1").failed(1, "cannot be checkpointed in stopped state");
}

#[test]
fn limits_are_remembered() {
    let place = Place::new();
    place.run("create c1").succeeded();
    let stored = || fs::read_to_string(place.path("state/c1/resources.json")).unwrap();
    let mut command = place.command("update --resources=- c1");
    let (ours, mut theirs) = std::io::pipe().unwrap();
    theirs.write_all(br#"{"memory": {"limit": 5}}"#).unwrap();
    drop(theirs);
    command.stdin(ours);
    place.finish(command).succeeded();
    assert_eq!(stored(), r#"{"memory":{"limit":5}}"#);
    place.run("update --memory 7 c1").succeeded();
    assert_eq!(stored(), r#"{"memory":"7"}"#);
    place.run("update -r @nothing c1").failed(1, "nothing: no such file");
}

#[test]
fn a_container_is_what_its_config_says() {
    let place = Place::with_script(r#"{"container": {"process_args": true}}"#);
    place.run("spec").succeeded();
    place.run("spec").failed(1, "File config.json exists");
    place.run("create c1").failed(1, "cannot allocate tty");
    let config = r#"{"process": {"args": ["sh", "-c", "echo $A; pwd"], "env": ["A=1"],
        "capabilities": ["whatever", "shape"]}, "root": {"path": "files"},
        "annotations": {"a": "b"}}"#;
    fs::write(place.bundle().join("config.json"), config).unwrap();
    let (_, _stdin, stdout) = place.launch("run -d c1");
    assert_eq!(read_all(stdout), format!("1\n{}\n", place.bundle().display()));
    let state = place.state("c1");
    assert_eq!(state["rootfs"], place.bundle().join("files").to_str().unwrap());
    assert_eq!(state["annotations"]["a"], "b");
    fs::write(place.bundle().join("config.json"), "{").unwrap();
    place.run("create c2").failed(1, "config.json: EOF");
}

#[test]
fn containers_are_listed() {
    let place = Place::new();
    assert_eq!(place.run("list -q").succeeded(), "");
    place.run("create c1").succeeded();
    place.run("create c2").succeeded();
    assert_eq!(place.run("list -q").succeeded(), "c1\nc2\n");
    let json: serde_json::Value =
        serde_json::from_str(&place.run("list --format json").succeeded()).unwrap();
    assert_eq!(json[1]["id"], "c2");
    assert!(place.run("list").succeeded().contains("created"));
    assert!(place.run("events --stats c1").succeeded().contains(r#""type":"stats""#));
    assert!(place.run("features").succeeded().contains("ociVersionMax"));
}

#[test]
fn descriptors_are_preserved_only_if_wanted() {
    let place = Place::with_script(r#"{"container": {"argv": ["sh", "-c", "cat <&3"]}}"#);
    fs::write(place.path("three"), "kept").unwrap();
    // A shell opens descriptor 3 and becomes the runtime.
    let with_three = |line: &str| {
        let runtime = place.command(line);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", r#"exec "$@" 3<"$FILE""#, "sh"]).arg(runtime.get_program());
        shell.args(runtime.get_args()).env("FILE", place.path("three"));
        shell.current_dir(place.bundle());
        place.finish(shell)
    };
    let kept = with_three("run --preserve-fds 1 c1");
    assert_eq!((kept.code(), kept.stdout.as_str()), (0, "kept"));
    assert_ne!(with_three("run c2").code(), 0);
    place.run("run --preserve-fds 7 c3").failed(1, "EBADF");
}
