//! The life of a container under the v2 shim, as the daemon sees it: answers, events, files.

use std::fs;

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as events;
use rstest::rstest;
use serde_json::{Value, json};
use wavetank::ttrpc::Code;

use crate::support::{
    Daemon, Place, has_ended, options_any, read_event, runc_options, wait_for_end, wait_request,
};

/// Go's zero time.
const NEVER: i64 = -62_135_596_800;

#[test]
fn from_create_to_shutdown() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let pid = shim.create("c1").unwrap();
    assert_eq!(shim.status("c1", ""), "CREATED");
    let connected = shim.connected("c1");
    assert_eq!((connected.shim_pid.cast_signed(), connected.task_pid), (shim.pid, pid));
    assert_eq!(shim.start("c1", "").unwrap(), pid);
    let state = shim.state("c1", "").unwrap();
    assert_eq!((state.id.as_str(), state.pid, state.exit_status), ("c1", pid, 0));
    assert_eq!(state.bundle, place.text("bundle"));
    assert_eq!(state.status.enum_value(), Ok(api::Status::RUNNING));
    let at = state.exited_at.unwrap();
    assert_eq!((at.seconds, at.nanos), (NEVER, 0));

    let waiting = shim.send_wait("c1", "");
    assert!(!shim.is_answered(waiting));
    shim.kill("c1", "", 15).unwrap();
    let waited: api::WaitResponse = shim.answer(waiting).unwrap();
    assert_eq!(waited.exit_status, 143);
    let state = shim.state("c1", "").unwrap();
    assert_eq!((state.status.enum_value(), state.exit_status), (Ok(api::Status::STOPPED), 143));
    let deleted = shim.delete("c1", "").unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 143));
    // Everybody is told of the same moment.
    let exit: events::TaskExit = read_event(&daemon.events.wait_for("exit c1 c1 143"));
    assert!(exit.exited_at.seconds > 1_700_000_000);
    for at in [&waited.exited_at, &state.exited_at, &deleted.exited_at] {
        assert_eq!(at, &exit.exited_at);
    }
    let unknown = (Code::NotFound, "container not created: not found".to_owned());
    assert_eq!(shim.state("c1", "").unwrap_err(), unknown);
    shim.shut_down_and_end();
    assert_eq!(daemon.told(), ["create c1", "start c1", "exit c1 c1 143", "delete c1 143"]);
    assert!(has_ended(pid.cast_signed()));
}

#[test]
fn the_services_of_both_generations() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let newer = shim.connect().service("containerd.task.v3.Task");
    let pid = shim.create("c1").unwrap();
    assert_eq!(newer.start("c1", "").unwrap(), pid);
    assert_eq!(shim.status("c1", ""), "RUNNING");
    assert_eq!(newer.status("c1", ""), "RUNNING");
    shim.finish();
}

#[test]
fn what_the_events_say() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let out = place.path("out");
    fs::write(&out, "").unwrap();
    let pid = shim.create_with("c1", |request| request.stdout = place.text("out")).unwrap();
    shim.start("c1", "").unwrap();
    shim.finish();
    let all = daemon.events.all();
    let create: events::TaskCreate = read_event(&all[0]);
    assert_eq!((create.bundle.as_str(), create.pid), (place.text("bundle").as_str(), pid));
    assert_eq!((create.io.stdout.clone(), create.io.terminal), (place.text("out"), false));
    assert!(create.rootfs.is_empty() && create.checkpoint.is_empty());
    assert_eq!(read_event::<events::TaskStart>(&all[1]).pid, pid);
    let exit: events::TaskExit = read_event(&all[2]);
    assert_eq!((exit.pid, exit.exit_status), (pid, 137));
    let delete: events::TaskDelete = read_event(&all[3]);
    assert_eq!((delete.pid, delete.exit_status, delete.id.as_str()), (pid, 137, ""));
    assert_eq!(delete.exited_at, exit.exited_at);
    assert!(all.windows(2).all(|pair| pair[0].time <= pair[1].time));
}

#[test]
fn what_is_in_the_bundle() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let pid = shim.run();
    let read = |name: &str| fs::read_to_string(place.path("bundle").join(name)).unwrap();
    let options: Value = serde_json::from_str(&read("options.json")).unwrap();
    let runtime = crate::support::fake_runc();
    assert_eq!(options, json!({"binary_name": runtime, "root": place.path("root")}));
    assert_eq!(read("runtime"), runtime.to_str().unwrap());
    assert_eq!(read("init.pid"), pid.to_string());
    assert_eq!(read("address"), shim.address);
    shim.finish();
    let record: Value = serde_json::from_str(&read("exit.json")).unwrap();
    assert_eq!((&record["pid"], &record["exit_status"]), (&json!(pid), &json!(137)));
}

#[test]
fn the_command_lines_of_the_runtime() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    shim.finish();
    let (root, bundle) = (place.text("root/ns"), place.text("bundle"));
    let (log, pid_file) = (format!("{bundle}/log.json"), format!("{bundle}/init.pid"));
    let global = ["--root", &root, "--log", &log, "--log-format", "json"];
    let calls: Vec<_> = place.calls().into_iter().map(|call| call.argv[1..].to_vec()).collect();
    let expected: [&[&str]; 4] = [
        &["create", "--bundle", &bundle, "--pid-file", &pid_file, "c1"],
        &["start", "c1"],
        &["kill", "c1", "9"],
        &["delete", "c1"],
    ];
    assert_eq!(calls, expected.map(|words| [&global[..], words].concat()));
    for call in place.calls() {
        assert_eq!(call.cwd, place.path("bundle"));
        assert_eq!(call.fds.iter().map(|fd| fd.fd).collect::<Vec<_>>(), [0, 1, 2], "{call:?}");
        assert!(!call.env.contains_key("NOTIFY_SOCKET"));
    }
}

#[test]
fn an_init_that_ends_before_its_start_returns() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exit 3");
    place.script(json!({
        "container": {"process_args": true}, "on": {"start": {"after": {"wait_for": "go"}}}
    }));
    let shim = daemon.start();
    let pid = shim.create("c1").unwrap();
    let waiting = shim.send_wait("c1", "");
    let starting = shim.send("Start", &crate::support::start_request("c1", ""));
    wait_for_end(pid.cast_signed());
    assert!(!shim.is_answered(waiting));
    fs::write(place.path("bundle/go"), "").unwrap();
    assert_eq!(shim.answer::<api::StartResponse>(starting).unwrap().pid, pid);
    assert_eq!(shim.answer::<api::WaitResponse>(waiting).unwrap().exit_status, 3);
    shim.delete("c1", "").unwrap();
    shim.shut_down_and_end();
    assert_eq!(daemon.told(), ["create c1", "start c1", "exit c1 c1 3", "delete c1 3"]);
}

#[test]
fn an_init_that_is_killed_before_it_is_started() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.create("c1").unwrap();
    shim.kill("c1", "", 9).unwrap();
    assert_eq!(shim.wait("c1", ""), Ok(137));
    assert_eq!(shim.status("c1", ""), "STOPPED");
    let refused = (Code::Unknown, "cannot start a stopped process".to_owned());
    assert_eq!(shim.start("c1", ""), Err(refused));
    assert_eq!(shim.delete("c1", "").unwrap().exit_status, 137);
    shim.shut_down_and_end();
    assert_eq!(daemon.told(), ["create c1", "exit c1 c1 137", "delete c1 137"]);
}

#[test]
fn a_start_that_fails() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    place.script(json!({
        "container": {"process_args": true},
        "on": {"start": {"before": {"log_error": "no program", "exit_code": 1}}}
    }));
    let shim = daemon.start();
    shim.create("c1").unwrap();
    let refused = (Code::Unknown, "OCI runtime start failed: no program".to_owned());
    assert_eq!(shim.start("c1", ""), Err(refused));
    assert_eq!(shim.status("c1", ""), "CREATED");
    shim.finish();
    assert_eq!(daemon.told(), ["create c1", "exit c1 c1 137", "delete c1 137"]);
}

#[test]
fn many_wait_for_the_same() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    let others: Vec<_> = (0..5).map(|_| shim.connect()).collect();
    let mut waits = Vec::new();
    for client in &others {
        waits.extend((0..20).map(|_| (client, client.send("Wait", &wait_request("c1", "")))));
    }
    // Some of them do not live to see it.
    drop((shim.connect(), shim.send_wait("c1", "")));
    shim.kill("c1", "", 12).unwrap();
    for (client, stream) in waits {
        assert_eq!(client.answer::<api::WaitResponse>(stream).unwrap().exit_status, 140);
    }
    assert_eq!(shim.wait("c1", ""), Ok(140));
    shim.delete("c1", "").unwrap();
    assert_eq!(shim.wait("c1", "").unwrap_err().0, Code::NotFound);
    shim.shut_down_and_end();
}

/// The deleting answers who still waits.
#[test]
fn a_created_container_is_deleted() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    place.script(json!({
        "container": {"process_args": true},
        "on": {"delete": {"before": {"log_error": "container is not stopped", "exit_code": 1}}}
    }));
    let shim = daemon.start();
    shim.create("c1").unwrap();
    let refused = "failed to delete task: container is not stopped".to_owned();
    assert_eq!(shim.delete("c1", "").unwrap_err(), (Code::Unknown, refused));
    assert_eq!(shim.status("c1", ""), "CREATED");
    place.script(json!({}));
    shim.finish();
}

/// The shim signals init itself under a runtime that it knows to do just that, and leaves it to
/// any other.
#[rstest]
#[case::known("runc")]
#[case::unknown("")]
fn signals(#[case] runtime: &str) {
    let place = Place::new();
    let command = "trap 'exit 5' USR1; while :; do sleep 0.01; done";
    let daemon = Daemon::new(&place, command);
    let shim = daemon.start();
    shim.create_with("c1", |request| {
        if !runtime.is_empty() {
            request.options = options_any(&runc_options(&place, runtime));
        }
    })
    .unwrap();
    let pid = shim.start("c1", "").unwrap();
    shim.kill("c1", "", 0).unwrap();
    let stopped = || crate::support::stat_field(pid.cast_signed(), 3).as_deref() == Some("T");
    shim.kill("c1", "", 19).unwrap();
    crate::support::until("it is stopped", stopped);
    shim.kill("c1", "", 18).unwrap();
    crate::support::until("it goes on", || !stopped());
    crate::support::until("it has its trap", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & 1 << 9 != 0
    });
    shim.kill("c1", "", 10).unwrap();
    assert_eq!(shim.wait("c1", ""), Ok(5));
    let gone = (Code::NotFound, "process already finished: not found".to_owned());
    for signal in [0, 9, 15] {
        assert_eq!(shim.kill("c1", "", signal), Err(gone.clone()), "signal {signal}");
    }
    let by_runtime = place.words().iter().filter(|word| *word == "kill").count();
    assert_eq!(by_runtime > 0, runtime.is_empty());
    shim.delete("c1", "").unwrap();
    shim.shut_down_and_end();
}

#[rstest]
#[case("os: process already finished", Code::NotFound, "process already finished: not found")]
#[case("container not running", Code::NotFound, "process already finished: not found")]
#[case("No such process", Code::NotFound, "process already finished: not found")]
#[case("container does not exist", Code::NotFound, "no such container: not found")]
#[case("no luck", Code::Unknown, "unknown error after kill: no luck")]
fn a_kill_that_fails(#[case] said: &str, #[case] code: Code, #[case] message: &str) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    let script = |on: Value| {
        place.script(json!({
            "container": {"process_args": true}, "on": on
        }));
    };
    script(json!({"kill": {"before": {"log_error": said, "exit_code": 1}}}));
    assert_eq!(shim.kill("c1", "", 9), Err((code, message.to_owned())));
    script(json!({}));
    shim.finish();
}

#[test]
fn a_container_that_the_runtime_has_forgotten() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let pid = shim.run();
    fs::remove_dir_all(place.path("root/ns/c1")).unwrap();
    let refused = (Code::NotFound, "no such container: not found".to_owned());
    assert_eq!(shim.kill("c1", "", 9), Err(refused));
    crate::support::signal(pid.cast_signed(), 9);
    assert_eq!(shim.wait("c1", ""), Ok(137));
    shim.delete("c1", "").unwrap();
    shim.shut_down_and_end();
}
