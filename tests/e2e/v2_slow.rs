//! A runtime that takes its time, and clients that do not.

use std::fs;
use std::time::Duration;

use containerd_shim_protos::api;
use rstest::rstest;
use serde_json::json;
use wavetank::ttrpc::Code;

use crate::support::{
    Client, Daemon, Place, Refused, any_json, delete_request, start_request, until,
};

/// A runtime of which one subcommand waits for the file `go` in the bundle.
fn slow(place: &Place, word: &str) {
    let mut on = serde_json::Map::new();
    on.insert(word.to_owned(), json!({"before": {"wait_for": "go"}}));
    place.script(json!({
        "container": {"process_args": true}, "exec": {"process_args": true}, "on": on
    }));
}

fn go(place: &Place) {
    fs::write(place.path("bundle/go"), "").unwrap();
}

fn too_late() -> Refused {
    (Code::DeadlineExceeded, "context deadline exceeded".to_owned())
}

/// How often the runtime was called for something.
fn count(place: &Place, word: &str) -> usize {
    place.words().iter().filter(|called| *called == word).count()
}

fn pids(client: &Client<'_>, id: &str) -> Result<usize, Refused> {
    let request = api::PidsRequest { id: id.to_owned(), ..Default::default() };
    client.ask("Pids", &request).map(|answer: api::PidsResponse| answer.processes.len())
}

#[test]
fn while_a_container_is_made() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    slow(&place, "create");
    let creating = shim.send("Create", &shim.create_request("c1"));
    place.wait_for_call("create");
    let unknown = (Code::NotFound, "container not created: not found".to_owned());
    assert_eq!(shim.state("c1", "").unwrap_err(), unknown);
    assert_eq!(pids(&shim, "c1"), Err(unknown.clone()));
    assert_eq!(shim.kill("c1", "", 9), Err(unknown));
    assert_eq!(shim.connected("c1").task_pid, 0);
    // Not now: something is on its way.
    shim.shut_down();
    assert!(!shim.is_answered(creating));
    go(&place);
    let pid = shim.answer::<api::CreateTaskResponse>(creating).unwrap().pid;
    assert_eq!(shim.connected("c1").task_pid, pid);
    shim.finish();
}

/// Whatever is being done, these are answered.
#[rstest]
#[case("start", "CREATED")]
#[case("exec", "RUNNING")]
#[case("pause", "PAUSING")]
#[case("update", "RUNNING")]
#[case("checkpoint", "RUNNING")]
#[case("delete", "STOPPED")]
fn while_something_is_done(#[case] word: &str, #[case] status: &str) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let pid = shim.create("c1").unwrap();
    if word != "start" {
        shim.start("c1", "").unwrap();
    }
    if word == "exec" {
        shim.exec("e1", "true").unwrap();
    }
    if word == "delete" {
        shim.kill("c1", "", 9).unwrap();
        shim.wait("c1", "").unwrap();
    }
    slow(&place, word);
    let id = "c1".to_owned();
    let doing = match word {
        "start" => shim.send("Start", &start_request("c1", "")),
        "exec" => shim.send("Start", &start_request("c1", "e1")),
        "pause" => shim.send("Pause", &api::PauseRequest { id, ..Default::default() }),
        "delete" => shim.send("Delete", &delete_request("c1", "")),
        "update" => {
            let resources = any_json("x", b"{}".to_vec());
            let request = api::UpdateTaskRequest { id, resources, ..Default::default() };
            shim.send("Update", &request)
        }
        _ => {
            let path = place.text("image");
            let request = api::CheckpointTaskRequest { id, path, ..Default::default() };
            shim.send("Checkpoint", &request)
        }
    };
    place.wait_for_call(word);
    let other = shim.connect();
    for client in [&*shim, &other] {
        assert_eq!(client.status("c1", ""), status);
        assert_eq!(client.connected("c1").task_pid, pid);
        pids(client, "c1").unwrap();
        if word == "delete" {
            assert_eq!(client.wait("c1", ""), Ok(137));
            assert_eq!(client.kill("c1", "", 0).unwrap_err().0, Code::NotFound);
        } else {
            client.kill("c1", "", 0).unwrap();
        }
    }
    assert!(!shim.is_answered(doing));
    go(&place);
    if word == "delete" {
        shim.answer::<api::DeleteResponse>(doing).unwrap();
        return shim.shut_down_and_end();
    }
    shim.answer::<api::Empty>(doing).unwrap();
    if word == "pause" {
        assert_eq!(shim.status("c1", ""), "PAUSED");
        shim.tell("Resume", &api::ResumeRequest { id: "c1".to_owned(), ..Default::default() })
            .unwrap();
    }
    shim.finish();
}

/// A container that is killed while its start hangs, is gone; and the start says so.
#[test]
fn a_kill_while_the_start_hangs() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.create("c1").unwrap();
    slow(&place, "start");
    let starting = shim.send("Start", &start_request("c1", ""));
    place.wait_for_call("start");
    shim.kill("c1", "", 9).unwrap();
    go(&place);
    let refused = shim.answer::<api::StartResponse>(starting).unwrap_err();
    assert!(refused.1.starts_with("OCI runtime start failed: "), "{refused:?}");
    assert_eq!(shim.wait("c1", ""), Ok(137));
    assert_eq!(shim.status("c1", ""), "STOPPED");
    shim.finish();
    assert_eq!(daemon.told(), ["create c1", "exit c1 c1 137", "delete c1 137"]);
}

const SOON: Option<Duration> = Some(Duration::from_millis(50));

#[test]
fn a_create_whose_client_comes_back() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    slow(&place, "create");
    shim.set_timeout(SOON);
    for _ in 0..2 {
        assert_eq!(shim.create("c1"), Err(too_late()));
    }
    shim.set_timeout(None);
    let request = shim.create_request("c1");
    let (first, second) = (shim.send("Create", &request), shim.send("Create", &request));
    go(&place);
    let pid = shim.answer::<api::CreateTaskResponse>(first).unwrap().pid;
    assert_eq!(shim.answer::<api::CreateTaskResponse>(second).unwrap().pid, pid);
    assert_eq!(count(&place, "create"), 1);
    shim.finish();
    assert_eq!(daemon.told(), ["create c1", "exit c1 c1 137", "delete c1 137"]);
}

#[rstest]
#[case::init("")]
#[case::exec("e1")]
fn a_start_whose_client_comes_back(#[case] exec_id: &str) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let word = if exec_id.is_empty() { "start" } else { "exec" };
    shim.create("c1").unwrap();
    if !exec_id.is_empty() {
        shim.start("c1", "").unwrap();
        shim.exec(exec_id, "exec sleep 1000").unwrap();
    }
    slow(&place, word);
    shim.set_timeout(SOON);
    assert_eq!(shim.start("c1", exec_id), Err(too_late()));
    shim.set_timeout(None);
    let starting = shim.send("Start", &start_request("c1", exec_id));
    assert_eq!(shim.status("c1", exec_id), "CREATED");
    go(&place);
    let pid = shim.answer::<api::StartResponse>(starting).unwrap().pid;
    assert_eq!(shim.state("c1", exec_id).unwrap().pid, pid);
    let refused = (Code::Unknown, "cannot start a running process".to_owned());
    assert_eq!(shim.start("c1", exec_id), Err(refused));
    assert_eq!(count(&place, word), 1);
    let _ = shim.kill("c1", exec_id, 9);
    shim.finish();
}

#[test]
fn a_delete_whose_client_comes_back() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    shim.kill("c1", "", 9).unwrap();
    shim.wait("c1", "").unwrap();
    slow(&place, "delete");
    shim.set_timeout(SOON);
    assert_eq!(shim.delete("c1", "").unwrap_err(), too_late());
    shim.set_timeout(None);
    let deleting = shim.send("Delete", &delete_request("c1", ""));
    assert_eq!(shim.status("c1", ""), "STOPPED");
    go(&place);
    assert_eq!(shim.answer::<api::DeleteResponse>(deleting).unwrap().exit_status, 137);
    assert_eq!(shim.delete("c1", "").unwrap_err().0, Code::NotFound);
    assert_eq!(count(&place, "delete"), 1);
    shim.shut_down_and_end();
    assert_eq!(daemon.told(), ["create c1", "start c1", "exit c1 c1 137", "delete c1 137"]);
}

/// What was begun is ended, so that nothing is half-made.
#[test]
fn a_create_whose_client_is_gone() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    slow(&place, "create");
    let client = shim.connect();
    client.send("Create", &client.create_request("c1"));
    place.wait_for_call("create");
    drop(client);
    go(&place);
    daemon.events.wait_for("create c1");
    assert_eq!(shim.status("c1", ""), "CREATED");
    let taken = (Code::AlreadyExists, "container c1: already exists".to_owned());
    assert_eq!(shim.create("c1"), Err(taken));
    shim.start("c1", "").unwrap();
    shim.finish();
}

/// Who gave up while it was not even begun, wants it no more.
#[test]
fn what_is_in_line_is_dropped_with_its_client() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    slow(&place, "update");
    let resources = any_json("x", b"{}".to_vec());
    let id = "c1".to_owned();
    let update = api::UpdateTaskRequest { id: id.clone(), resources, ..Default::default() };
    let updating = shim.send("Update", &update);
    place.wait_for_call("update");
    let pause = api::PauseRequest { id, ..Default::default() };
    let client = shim.connect();
    client.set_timeout(SOON);
    assert_eq!(client.tell("Pause", &pause), Err(too_late()));
    let leaving = shim.connect();
    leaving.send("Pause", &pause);
    leaving.connected("c1");
    drop(leaving);
    go(&place);
    shim.answer::<api::Empty>(updating).unwrap();
    assert_eq!(shim.status("c1", ""), "RUNNING");
    assert_eq!(count(&place, "pause"), 0);
    shim.finish();
}

#[test]
fn one_container_does_not_wait_for_another() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    daemon.add_bundle("c2", "exec sleep 1000", json!({}));
    let shim = daemon.start();
    slow(&place, "create");
    let creating = shim.send("Create", &shim.create_request("c1"));
    place.wait_for_call("create");
    shim.create("c2").unwrap();
    shim.start("c2", "").unwrap();
    assert_eq!(shim.status("c2", ""), "RUNNING");
    shim.kill("c2", "", 9).unwrap();
    assert_eq!(shim.wait("c2", ""), Ok(137));
    shim.delete("c2", "").unwrap();
    assert!(!shim.is_answered(creating));
    go(&place);
    shim.answer::<api::CreateTaskResponse>(creating).unwrap();
    shim.finish();
}

#[test]
fn connections_come_and_go() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", shim.pid)).unwrap().count();
    let before = descriptors();
    let clients: Vec<_> = (0..30).map(|_| shim.connect()).collect();
    for client in &clients {
        client.send_wait("c1", "");
        assert_eq!(client.status("c1", ""), "RUNNING");
    }
    assert_eq!(descriptors(), before + 30);
    drop(clients);
    until("the connections are closed", || descriptors() == before);
    shim.finish();
}
