//! How a process's end comes to the daemon: `exitStatus`, then the hangup of `exit`.

use std::fs;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    Place, assert_same, has_ended, is_alive, kill, signal, stat_field, until, wait_for_end,
};

/// A container that waits for the end of its input.
fn waiting() -> Place {
    Place::new()
}

#[rstest]
#[case::success(json!({"exit_code": 0}), "0")]
#[case::seven(json!({"exit_code": 7}), "7")]
#[case::highest(json!({"exit_code": 255}), "255")]
#[case::killed(json!({"die_by_signal": "KILL"}), "137")]
#[case::terminated(json!({"die_by_signal": "TERM"}), "143")]
#[case::real_time(json!({"die_by_signal": 34}), "162")]
fn the_status_is_a_bare_number(
    #[values("start", "create", "run")] dialect: &str,
    #[case] end: Value,
    #[case] status: &str,
) {
    let mut container = json!({"echo": false});
    container.as_object_mut().unwrap().extend(end.as_object().unwrap().clone());
    let place = Place::with(json!({"container": container}));
    let mut shim = place.init().dialect(dialect).start();
    if dialect == "create" {
        shim.process();
        // As in the daemon, only once the pid is known; the runtime may be about to end.
        assert!(place.runtime(&["start", "c1"]).status.success());
    }
    shim.finish_with(status);
}

#[test]
fn the_status_appears_whole() {
    for code in 100..110 {
        let place = Place::with(json!({"container": {"exit_code": code}}));
        let mut shim = place.init().start();
        let pid = shim.process();
        let file = shim.dir.join("exitStatus");
        shim.close_stdin();
        // As fast as this thread can look: an empty or a half-written file would be seen.
        let seen = crate::support::wait_for("the status", || fs::read_to_string(&file).ok());
        assert_eq!(seen, code.to_string());
        shim.finish_with(&code.to_string());
        wait_for_end(pid);
    }
}

#[test]
fn the_status_is_never_written_in_place() {
    let place = waiting();
    let mut shim = place.init().start();
    shim.process();
    // Were the file opened to be written, this name would get the content, too.
    fs::write(place.path("old"), "old").unwrap();
    fs::hard_link(place.path("old"), shim.dir.join("exitStatus")).unwrap();
    shim.close_stdin();
    shim.finish_with("0");
    assert_eq!(fs::read_to_string(place.path("old")).unwrap(), "old");
}

#[test]
fn the_hangup_comes_after_the_status_and_the_last_byte() {
    const COUNT: usize = 200_000;
    let place = Place::with(json!({"container": {"stdout_bytes": COUNT, "echo": false}}));
    let mut shim = place.init().start();
    // The fifo and the pipe are full, so the container cannot end.
    until("the fifo is full", || shim.out().unread() == 65_536);
    assert!(!shim.has_hung_up());
    assert_eq!(shim.read("exitStatus"), None);
    let most = shim.out().read_exact(COUNT - 10_000);
    assert_eq!(shim.wait_for_status(), "0");
    // All of it is in the fifo or on its way there, and will be there at the latest now.
    shim.wait_for_hangup();
    assert_eq!(shim.out().unread(), 10_000);
    let rest = shim.out().read_to_end();
    assert_same(&[most, rest].concat(), &fake_runc::pattern(0, COUNT));
    shim.finish_with("0");
}

#[test]
fn there_is_no_hangup_while_the_container_runs() {
    let place = waiting();
    let mut shim = place.init().start();
    let mut input = shim.input();
    input.write(b"alive");
    assert_eq!(shim.out().read_exact(5), b"alive");
    assert!(!shim.has_hung_up());
    assert_eq!(shim.read("exitStatus"), None);
    shim.close_stdin();
    drop(input);
    shim.finish_with("0");
}

#[rstest]
fn a_container_may_end_before_its_pid_is_known(
    #[values("start", "run")] dialect: &str,
    #[values(json!({"exit_code": 3}), json!({"die_by_signal": "TERM"}))] end: Value,
) {
    let mut container = json!({"echo": false, "stdout_bytes": 1000});
    container.as_object_mut().unwrap().extend(end.as_object().unwrap().clone());
    let steps = json!({"midway": {"wait_for_process_exit": true}});
    let place = Place::with(json!({"container": container, "on": {dialect: steps}}));
    let mut shim = place.init().dialect(dialect).start();
    let status = if end["exit_code"] == 3 { "3" } else { "143" };
    shim.finish_with(status);
    assert_same(&shim.out().read_to_end(), &fake_runc::pattern(0, 1000));
}

#[test]
fn an_exec_has_its_own_end_and_leaves_the_container_alone() {
    let place = Place::with(json!({"exec": {"echo": false, "stdout_bytes": 10, "exit_code": 4}}));
    let mut init = place.init().start();
    let pid = init.process();
    for id in ["e1", "e2"] {
        let mut exec = place.exec(id).start();
        exec.finish_with("4");
        assert_eq!(exec.out().read_to_end(), fake_runc::pattern(0, 10));
    }
    assert!(is_alive(pid));
    assert!(!init.has_hung_up());
    assert_eq!(place.words(), ["start", "exec", "exec"]);
    init.close_stdin();
    init.finish_with("0");
    assert_eq!(place.words(), ["start", "exec", "exec", "delete"]);
}

#[test]
fn an_exec_may_end_before_its_pid_is_known() {
    let place = Place::with(json!({
        "exec": {"echo": false, "exit_code": 9},
        "on": {"exec": {"midway": {"wait_for_process_exit": true}}},
    }));
    let mut init = place.init().start();
    init.process();
    place.exec("e1").start().finish_with("9");
    init.close_stdin();
    init.finish_with("0");
}

#[test]
fn a_container_that_is_killed_from_outside() {
    let place = waiting();
    let mut shim = place.init().start();
    signal(shim.process(), 9);
    shim.finish_with("137");
    assert_eq!(place.words(), ["start", "delete"]);
}

/// `SIGKILL` and `SIGSTOP` cannot be swallowed, `SIGCHLD` is used, 32 and 33 are the C library's.
#[rstest]
fn no_signal_but_kill_ends_the_shim(
    #[values(
        "TERM 15", "INT 2", "HUP 1", "PIPE 13", "USR1 10", "USR2 12", "QUIT 3", "ALRM 14",
        "ABRT 6", "TSTP 20", "TTIN 21", "XCPU 24", "IO 29", "SYS 31", "CHLD 17", "RTMIN 34",
        "RTMAX 64"
    )]
    name: &str,
) {
    let number = name.split(' ').nth(1).unwrap().parse().unwrap();
    let place = waiting();
    let mut shim = place.init().start();
    let mut input = shim.input();
    // The container's first word tells that the shim is past its start.
    input.write(b"a");
    assert_eq!(shim.out().read_exact(1), b"a");
    for _ in 0..3 {
        signal(shim.pid(), number);
    }
    input.write(b"b");
    assert_eq!(shim.out().read_exact(1), b"b");
    assert_ne!(stat_field(shim.pid(), 3).unwrap(), "T", "it stands still");
    shim.close_stdin();
    drop(input);
    shim.finish_with("0");
}

#[test]
fn a_killed_shim_hangs_up_without_a_status_and_its_container_lives() {
    let place = waiting();
    place.state_may_stay();
    let mut shim = place.init().start();
    let pid = shim.process();
    // The pid file is there while the runtime still runs, and that would die with the shim.
    let runtime = place.calls()[0].pid.0;
    wait_for_end(runtime);
    shim.kill();
    shim.wait_for_hangup();
    assert_eq!(shim.read("exitStatus"), None);
    assert_eq!(stat_field(pid, 4).unwrap(), std::process::id().to_string(), "it is ours now");
    kill(pid);
}

#[test]
fn orphans_of_the_container_are_reaped() {
    let script =
        "sh -c 'sleep 0.01 & sleep 0.02 & exit 3' </dev/null >/dev/null; sh -c 'echo $PPID'";
    let place = Place::with(json!({"container": {"argv": ["sh", "-c", format!("{script}; cat")]}}));
    let mut shim = place.init().start();
    let line = shim.out().read_until("\n");
    let pid: i32 = line.trim().parse().unwrap();
    assert_eq!(pid, shim.process());
    let task = format!("/proc/{0}/task/{0}/children", shim.pid());
    // Neither a child nor a zombie but the container itself.
    until("the orphans are reaped", || {
        fs::read_to_string(&task).unwrap().split_whitespace().eq([pid.to_string()])
    });
    shim.close_stdin();
    shim.finish_with("0");
    assert!(has_ended(pid));
}

#[test]
fn the_shim_leads_no_session_and_keeps_its_group() {
    let place = waiting();
    let mut shim = place.init().start();
    shim.process();
    let ours = i32::try_from(std::process::id()).unwrap();
    assert_eq!(stat_field(shim.pid(), 5).unwrap(), shim.pid().to_string());
    assert_eq!(stat_field(shim.pid(), 6), stat_field(ours, 6));
    shim.close_stdin();
    shim.finish_with("0");
}
