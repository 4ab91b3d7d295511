//! Further processes of a container under the v2 shim.

use std::fs;

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as events;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::shim::oci::ProcessDetails;
use rstest::rstest;
use serde_json::{Value, json};
use wavetank::ttrpc::Code;

use crate::support::{
    Daemon, Place, Refused, Server, any_json, read_event, share_pids, signal, start_request,
    wait_for_end, wait_request,
};

const NEVER: i64 = -62_135_596_800;

/// A script in which processes do as they are told, and the runtime does something wrong.
fn script(place: &Place, on: &Value) {
    place.script(json!({
        "container": {"process_args": true}, "exec": {"process_args": true}, "on": on
    }));
}

fn not_running() -> Refused {
    let message = "container c1 init process is not running: failed precondition";
    (Code::FailedPrecondition, message.to_owned())
}

#[test]
fn a_life_and_another_of_the_same_name() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let init = shim.run();
    let mut pids = Vec::new();
    for status in [4, 0, 7] {
        shim.exec("e1", &format!("read x < {}; exit {status}", place.text("go"))).unwrap();
        assert_eq!(shim.status("c1", "e1"), "CREATED");
        let _ = fs::remove_file(place.path("go"));
        crate::support::mkfifo(&place.path("go"));
        let pid = shim.start("c1", "e1").unwrap();
        let state = shim.state("c1", "e1").unwrap();
        assert_eq!((state.id.as_str(), state.exec_id.as_str(), state.pid), ("e1", "e1", pid));
        assert_eq!(state.status.enum_value(), Ok(api::Status::RUNNING));
        fs::write(place.path("go"), "\n").unwrap();
        assert_eq!(shim.wait("c1", "e1"), Ok(status));
        assert_eq!(shim.status("c1", "e1"), "STOPPED");
        assert!(place.path("bundle/e1.pid").exists());
        let deleted = shim.delete("c1", "e1").unwrap();
        assert_eq!((deleted.pid, deleted.exit_status), (pid, status));
        assert!(!place.path("bundle/e1.pid").exists());
        assert!(!place.path("bundle/e1-process.json").exists());
        pids.push(pid);
    }
    shim.finish();
    let mut expected = vec!["create c1".to_owned(), "start c1".to_owned()];
    for status in [4, 0, 7] {
        expected.push("exec-added c1 e1".to_owned());
        expected.push("exec-started c1 e1".to_owned());
        expected.push(format!("exit c1 e1 {status}"));
    }
    expected.extend(["exit c1 c1 137".to_owned(), "delete c1 137".to_owned()]);
    assert_eq!(daemon.told(), expected);
    let all = daemon.events.all();
    assert_eq!(read_event::<events::TaskExecStarted>(&all[3]).pid, pids[0]);
    let exit: events::TaskExit = read_event(&all[4]);
    assert_eq!((exit.pid, exit.container_id.as_str(), exit.id.as_str()), (pids[0], "c1", "e1"));
    assert!(!pids.contains(&init));
}

#[test]
fn what_the_runtime_is_told() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    script(&place, &json!({"exec": {"before": {"wait_for": "go"}}}));
    let shim = daemon.start();
    shim.run();
    let spec = br#"{"args": ["true"], "cwd": "/", "terminal": true, "rlimits": [{"x": 1e3}]}"#;
    let url = "types.containerd.io/opencontainers/runtime-spec/1/Process";
    shim.exec_with("e1", "", |request| request.spec = any_json(url, spec.to_vec())).unwrap();
    let starting = shim.send("Start", &start_request("c1", "e1"));
    let call = place.wait_for_call("exec");
    let file = place.path("bundle/e1-process.json");
    let told: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    // What the daemon says of the terminal counts, and not what it put into the spec.
    let expected =
        json!({"args": ["true"], "cwd": "/", "terminal": false, "rlimits": [{"x": 1e3}]});
    assert_eq!(told, expected);
    let (file, pid_file) = (file.to_str().unwrap(), place.text("bundle/e1.pid"));
    let words = ["exec", "--process", file, "--detach", "--pid-file", &pid_file, "c1"];
    assert_eq!(call.argv[7..], words);
    fs::write(place.path("bundle/go"), "").unwrap();
    shim.answer::<api::StartResponse>(starting).unwrap();
    assert_eq!(shim.wait("c1", "e1"), Ok(0));
    shim.finish();
}

#[test]
fn an_exec_that_ends_before_its_start_returns() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    script(&place, &json!({"exec": {"midway": {"wait_for_process_exit": true}}}));
    let shim = daemon.start();
    shim.run();
    shim.exec("e1", "exit 9").unwrap();
    let waiting = shim.send_wait("c1", "e1");
    shim.start("c1", "e1").unwrap();
    assert_eq!(shim.answer::<api::WaitResponse>(waiting).unwrap().exit_status, 9);
    shim.delete("c1", "e1").unwrap();
    shim.finish();
    assert_eq!(daemon.told()[2..5], ["exec-added c1 e1", "exec-started c1 e1", "exit c1 e1 9"]);
}

#[test]
fn an_exec_that_cannot_be_started() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    script(&place, &json!({"exec": {"before": {"log_error": "no program", "exit_code": 255}}}));
    let shim = daemon.start();
    shim.run();
    shim.exec("e1", "exit 9").unwrap();
    let waiting = shim.send_wait("c1", "e1");
    assert!(!shim.is_answered(waiting));
    let refused = (Code::Unknown, "OCI runtime exec failed: no program".to_owned());
    assert_eq!(shim.start("c1", "e1"), Err(refused));
    for answer in [shim.answer(waiting), shim.ask("Wait", &wait_request("c1", "e1"))] {
        let answer: api::WaitResponse = answer.unwrap();
        assert_eq!((answer.exit_status, answer.exited_at.seconds), (0, NEVER));
    }
    assert_eq!(shim.status("c1", "e1"), "CREATED");
    let deleted = shim.delete("c1", "e1").unwrap();
    assert_eq!((deleted.pid, deleted.exit_status, deleted.exited_at.seconds), (0, 0, NEVER));
    shim.finish();
    let told = daemon.told();
    assert_eq!(told[2..], ["exec-added c1 e1", "exit c1 c1 137", "delete c1 137"]);
}

#[test]
fn a_start_that_failed_can_be_tried_again() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    script(&place, &json!({"exec": {"before": {"exit_code": 255}}}));
    let shim = daemon.start();
    shim.run();
    shim.exec("e1", "exec sleep 1000").unwrap();
    shim.start("c1", "e1").unwrap_err();
    script(&place, &json!({}));
    shim.start("c1", "e1").unwrap();
    let waiting = shim.send_wait("c1", "e1");
    assert!(!shim.is_answered(waiting), "it runs, and is said to have ended");
    shim.kill("c1", "e1", 9).unwrap();
    assert_eq!(shim.answer::<api::WaitResponse>(waiting).unwrap().exit_status, 137);
    shim.finish();
}

#[test]
fn an_exec_that_is_never_started() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    shim.exec("e1", "true").unwrap();
    let waiting = shim.send_wait("c1", "e1");
    let early = (Code::FailedPrecondition, "process not created: failed precondition".to_owned());
    assert_eq!(shim.kill("c1", "e1", 9), Err(early));
    assert_eq!(shim.delete("c1", "e1").unwrap().exit_status, 0);
    assert_eq!(shim.answer::<api::WaitResponse>(waiting).unwrap().exit_status, 0);
    let gone = (Code::NotFound, "process does not exist e1: not found".to_owned());
    assert_eq!(shim.state("c1", "e1").unwrap_err(), gone);
    // Another one is forgotten with its container.
    shim.exec("e2", "true").unwrap();
    shim.finish();
}

#[test]
fn an_exec_is_killed_by_the_shim_itself() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    shim.exec("e1", "exec sleep 1000").unwrap();
    shim.start("c1", "e1").unwrap();
    shim.kill("c1", "e1", 0).unwrap();
    shim.kill("c1", "e1", 15).unwrap();
    assert_eq!(shim.wait("c1", "e1"), Ok(143));
    let gone = (Code::NotFound, "process already finished: not found".to_owned());
    assert_eq!(shim.kill("c1", "e1", 15), Err(gone));
    assert!(!place.words().contains(&"kill".to_owned()));
    shim.finish();
}

#[test]
fn after_the_end_of_init() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    shim.exec("e1", "true").unwrap();
    shim.kill("c1", "", 9).unwrap();
    shim.wait("c1", "").unwrap();
    assert_eq!(shim.start("c1", "e1"), Err(not_running()));
    assert_eq!(shim.status("c1", "e1"), "CREATED");
    let refused = (Code::Unknown, "cannot exec in a stopped state".to_owned());
    assert_eq!(shim.exec("e2", "true"), Err(refused));
    shim.finish();
    let told = daemon.told();
    assert_eq!(told[2..], ["exec-added c1 e1", "exit c1 c1 137", "delete c1 137"]);
}

fn some_execs(shim: &Server<'_>) -> [u32; 3] {
    ["e1", "e2", "e3"].map(|name| {
        shim.exec(name, "exec sleep 1000").unwrap();
        shim.start("c1", name).unwrap()
    })
}

/// The kernel kills the others; the shim makes sure of it, without the runtime.
#[test]
fn the_end_of_init_is_the_last_one_told() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let init = shim.run();
    let execs = some_execs(&shim);
    let waiting = shim.send_wait("c1", "");
    assert!(!shim.is_answered(waiting));
    signal(execs[1].cast_signed(), 15);
    assert_eq!(shim.wait("c1", "e2"), Ok(143));
    signal(init.cast_signed(), 9);
    assert_eq!(shim.answer::<api::WaitResponse>(waiting).unwrap().exit_status, 137);
    for name in ["e1", "e3"] {
        assert_eq!(shim.status("c1", name), "STOPPED");
        assert_eq!(shim.wait("c1", name), Ok(137));
    }
    assert!(!place.words().contains(&"kill".to_owned()));
    shim.finish();
    let told = daemon.told();
    let mut exits: Vec<_> = told.iter().filter(|line| line.starts_with("exit")).collect();
    assert_eq!(exits.pop().unwrap(), "exit c1 c1 137");
    exits.sort();
    assert_eq!(exits, ["exit c1 e1 137", "exit c1 e2 143", "exit c1 e3 137"]);
}

#[rstest]
#[case::fine(json!({}))]
#[case::refused(json!({"before": {"log_error": "no", "exit_code": 1}}))]
fn without_a_pid_namespace_the_shim_kills_the_others(#[case] kill: Value) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    share_pids(&place, "bundle");
    let shim = daemon.start();
    let init = shim.run();
    some_execs(&shim);
    script(&place, &json!({"kill": kill}));
    signal(init.cast_signed(), 9);
    let call = place.wait_for_call("kill");
    assert_eq!(call.argv[7..], ["kill", "--all", "c1", "9"]);
    // Where the runtime fails, the shim kills those that it knows.
    assert_eq!(shim.wait("c1", ""), Ok(137));
    assert_eq!(["e1", "e2", "e3"].map(|name| shim.wait("c1", name).unwrap()), [137; 3]);
    script(&place, &json!({}));
    shim.finish();
    let told = daemon.told();
    let last = told.iter().rposition(|line| line.starts_with("exit")).unwrap();
    assert_eq!(told[last], "exit c1 c1 137");
    assert_eq!(told.iter().filter(|line| line.starts_with("exit")).count(), 4);
}

#[test]
fn init_dies_while_an_exec_is_made() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    script(&place, &json!({"exec": {"before": {"wait_for": "go"}}}));
    let shim = daemon.start();
    let init = shim.run();
    shim.exec("e1", "true").unwrap();
    let starting = shim.send("Start", &start_request("c1", "e1"));
    place.wait_for_call("exec");
    let waiting = shim.send_wait("c1", "");
    signal(init.cast_signed(), 9);
    wait_for_end(init.cast_signed());
    assert_eq!(shim.status("c1", ""), "RUNNING");
    assert!(!shim.is_answered(waiting));
    fs::write(place.path("bundle/go"), "").unwrap();
    let refused = shim.answer::<api::StartResponse>(starting).unwrap_err();
    let words = "OCI runtime exec failed: exec failed: cannot exec in a stopped container";
    assert_eq!(refused, (Code::Unknown, words.to_owned()));
    assert_eq!(shim.answer::<api::WaitResponse>(waiting).unwrap().exit_status, 137);
    shim.finish();
    let told = daemon.told();
    assert_eq!(told[2..], ["exec-added c1 e1", "exit c1 c1 137", "delete c1 137"]);
}

#[test]
fn pids_tell_which_exec_it_is() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let init = shim.run();
    shim.exec("e1", "exec sleep 1000").unwrap();
    let exec = shim.start("c1", "e1").unwrap();
    let request = api::PidsRequest { id: "c1".to_owned(), ..Default::default() };
    let pids: api::PidsResponse = shim.ask("Pids", &request).unwrap();
    let info = |pid| pids.processes.iter().find(|process| process.pid == pid).unwrap();
    assert!(info(init).info.is_none());
    let any = info(exec).info.as_ref().unwrap();
    assert_eq!(any.type_url, "containerd.runc.v1.ProcessDetails");
    assert_eq!(ProcessDetails::parse_from_bytes(&any.value).unwrap().exec_id, "e1");
    shim.kill("c1", "e1", 9).unwrap();
    shim.finish();
}

#[rstest]
#[case("../e1")]
#[case("..")]
#[case(".")]
#[case("a/b")]
fn names_that_would_lead_out_of_the_bundle(#[case] name: &str) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    let refused = format!("exec id {name:?} is no file name: invalid argument");
    assert_eq!(shim.exec(name, "true"), Err((Code::InvalidArgument, refused)));
    // This one leads to no harm, and is a name like others.
    shim.exec("init", "exit 3").unwrap();
    shim.start("c1", "init").unwrap();
    assert_eq!(shim.wait("c1", "init"), Ok(3));
    let pid_file = fs::read_to_string(place.path("bundle/init.pid")).unwrap();
    assert_eq!(pid_file, shim.connected("c1").task_pid.to_string());
    shim.finish();
}
