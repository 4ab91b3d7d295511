//! Shutdown, and containers that share a v2 shim.

use std::fs;

use containerd_shim_protos::api;
use serde_json::json;

use crate::support::{Client, Daemon, Place, is_alive, reap, wait_for_end};

#[test]
fn a_shim_that_has_something_to_look_after_stays() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.create("c1").unwrap();
    for now in [false, true] {
        let id = "c1".to_owned();
        let request = api::ShutdownRequest { id, now, ..Default::default() };
        shim.tell("Shutdown", &request).unwrap();
        assert_eq!(shim.status("c1", ""), "CREATED");
    }
    shim.start("c1", "").unwrap();
    shim.shut_down();
    shim.kill("c1", "", 9).unwrap();
    shim.wait("c1", "").unwrap();
    shim.shut_down();
    assert_eq!(shim.status("c1", ""), "STOPPED", "it is not deleted yet");
    shim.finish();
}

/// Daemons that find a shim without a container want it gone.
#[test]
fn a_shim_whose_container_never_came() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    assert_eq!(shim.connected("c1").task_pid, 0);
    shim.delete("c1", "").unwrap_err();
    shim.shut_down_and_end();
    assert!(daemon.told().is_empty());
}

#[test]
fn everybody_who_waits_for_a_shim_that_ends_is_let_go() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let other = shim.connect();
    let (first, second) = (
        shim.send("Shutdown", &api::ShutdownRequest::new()),
        shim.send("Shutdown", &api::ShutdownRequest::new()),
    );
    shim.answer::<api::Empty>(first).unwrap();
    shim.answer::<api::Empty>(second).unwrap();
    wait_for_end(shim.pid);
    reap(shim.pid);
    drop(other);
    assert!(!shim.socket().exists());
}

#[test]
fn a_group_has_one_shim() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let annotations = json!({"io.kubernetes.cri.sandbox-id": "c1"});
    daemon.add_bundle("c2", "exec sleep 1000", annotations);
    let shim = daemon.start();
    shim.run();
    assert_eq!(daemon.start_shim("c2"), shim.address);
    assert_eq!(fs::read_to_string(place.path("c2/address")).unwrap(), shim.address);
    let second = Client::connect(&place, &shim.address);
    assert_eq!(second.connected("c2").shim_pid.cast_signed(), shim.pid);
    let pid = second.create("c2").unwrap();
    second.start("c2", "").unwrap();
    assert_eq!(second.state("c2", "").unwrap().bundle, place.text("c2"));
    assert_eq!(fs::read_to_string(place.path("c2/init.pid")).unwrap(), pid.to_string());

    // The first one of a pod goes before the others.
    shim.remove();
    shim.shut_down();
    let _ = fs::remove_dir_all(place.path("bundle"));
    assert_eq!(second.status("c2", ""), "RUNNING");
    assert_eq!(daemon.start_shim("c2"), shim.address);
    assert!(is_alive(shim.pid));
    second.kill("c2", "", 15).unwrap();
    assert_eq!(second.wait("c2", ""), Ok(143));
    second.delete("c2", "").unwrap();
    shim.shut_down_and_end();
    assert_eq!(
        daemon.told(),
        [
            "create c1",
            "start c1",
            "create c2",
            "start c2",
            "exit c1 c1 137",
            "delete c1 137",
            "exit c2 c2 143",
            "delete c2 143",
        ]
    );
}

/// From containerd 2.1 on, nobody calls `start` for the others of a pod.
#[test]
fn a_container_for_which_no_start_was_called() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    daemon.add_bundle("c2", "exit 3", json!({}));
    let shim = daemon.start();
    shim.create("c2").unwrap();
    shim.start("c2", "").unwrap();
    assert_eq!(shim.wait("c2", ""), Ok(3));
    shim.delete("c2", "").unwrap();
    shim.shut_down_and_end();
    assert!(!place.path("c2/address").exists());
}

#[test]
fn many_containers_at_once() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let names: Vec<String> = (0..12).map(|number| format!("n{number}")).collect();
    let shim = daemon.start();
    let mut creating = Vec::new();
    for (number, name) in names.iter().enumerate() {
        daemon.add_bundle(name, &format!("exit {number}"), json!({}));
        creating.push(shim.send("Create", &shim.create_request(name)));
    }
    for call in creating {
        shim.answer::<api::CreateTaskResponse>(call).unwrap();
    }
    for (number, name) in names.iter().enumerate() {
        shim.start(name, "").unwrap();
        assert_eq!(shim.wait(name, ""), Ok(u32::try_from(number).unwrap()));
        shim.delete(name, "").unwrap();
    }
    shim.shut_down_and_end();
    for (number, name) in names.iter().enumerate() {
        let told = daemon.told().into_iter().filter(|line| line.contains(&format!(" {name}")));
        let told: Vec<_> = told.filter(|line| line.split(' ').nth(1) == Some(name)).collect();
        let exit = format!("exit {name} {name} {number}");
        let expected = [
            format!("create {name}"),
            format!("start {name}"),
            exit,
            format!("delete {name} {number}"),
        ];
        assert_eq!(told, expected);
    }
}
