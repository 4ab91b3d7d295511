//! What the v2 shim refuses, and in which words: clients decide by the code, and some by the text.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use containerd_shim_protos::api;
use rstest::rstest;
use wavetank::manager::tasks::{TASK_V2, TASK_V3};
use wavetank::ttrpc::{self, Code, Status};

use crate::support::{Client, Daemon, Place, Refused, any, any_json};

/// Has something done that says nothing if it succeeds.
fn act(shim: &Client<'_>, id: &str, exec_id: &str, act: &str) -> Result<(), Refused> {
    let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
    match act {
        "State" => shim.state(&id, &exec_id).map(drop),
        "Start" => shim.start(&id, &exec_id).map(drop),
        "Delete" => shim.delete(&id, &exec_id).map(drop),
        "Wait" => shim.wait(&id, &exec_id).map(drop),
        "Kill" => shim.kill(&id, &exec_id, 0),
        "CloseIO" => shim.close_io(&id, &exec_id),
        "ResizePty" => {
            let request = api::ResizePtyRequest { id, exec_id, ..Default::default() };
            shim.tell(act, &request)
        }
        "Pids" => {
            let request = api::PidsRequest { id, ..Default::default() };
            shim.ask(act, &request).map(|_: api::PidsResponse| ())
        }
        "Stats" => {
            let request = api::StatsRequest { id, ..Default::default() };
            shim.ask(act, &request).map(|_: api::StatsResponse| ())
        }
        "Pause" => shim.tell(act, &api::PauseRequest { id, ..Default::default() }),
        "Resume" => shim.tell(act, &api::ResumeRequest { id, ..Default::default() }),
        "Exec" => {
            let exec_id = "e1".to_owned();
            shim.tell(act, &api::ExecProcessRequest { id, exec_id, ..Default::default() })
        }
        "Checkpoint" => {
            let path = shim.place.text("image");
            let request = api::CheckpointTaskRequest { id, path, ..Default::default() };
            shim.tell(act, &request)
        }
        "Update" => {
            let resources = any_json("x", b"{}".to_vec());
            shim.tell(act, &api::UpdateTaskRequest { id, resources, ..Default::default() })
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_container_that_nobody_knows() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let unknown = (Code::NotFound, "container not created: not found".to_owned());
    for name in [
        "State",
        "Start",
        "Delete",
        "Wait",
        "Kill",
        "CloseIO",
        "ResizePty",
        "Pids",
        "Stats",
        "Pause",
        "Resume",
        "Exec",
        "Checkpoint",
        "Update",
    ] {
        for (id, exec_id) in [("c1", ""), ("", ""), ("c1", "e1")] {
            assert_eq!(act(&shim, id, exec_id, name), Err(unknown.clone()), "{name} {id:?}");
        }
    }
    for id in ["", "c1"] {
        let connected = shim.connected(id);
        assert_eq!((connected.shim_pid.cast_signed(), connected.task_pid), (shim.pid, 0));
        assert_eq!(connected.version, "");
    }
    shim.shut_down_and_end();
    assert!(daemon.told().is_empty());
}

#[test]
fn an_exec_that_nobody_knows() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    let unknown = (Code::NotFound, "process does not exist e9: not found".to_owned());
    for name in ["State", "Start", "Delete", "Wait", "Kill", "CloseIO", "ResizePty"] {
        assert_eq!(act(&shim, "c1", "e9", name), Err(unknown.clone()), "{name}");
    }
    shim.finish();
}

/// What an init is brought to, and what cannot be done to it then.
#[rstest]
#[case::created(&[], &[
    ("Pause", "cannot pause task in created state"),
    ("Resume", "cannot resume task in created state"),
    ("Checkpoint", "cannot checkpoint a task in created state"),
])]
#[case::running(&["Start"], &[
    ("Start", "cannot start a running process"),
    ("Resume", "cannot resume a running process"),
    ("Delete", "cannot delete a running process"),
])]
#[case::paused(&["Start", "Pause"], &[
    ("Start", "cannot start a paused process"),
    ("Pause", "cannot pause a paused container"),
    ("Delete", "cannot delete a paused process"),
    ("Exec", "cannot exec in a paused state"),
])]
#[case::stopped(&["Start", "End"], &[
    ("Start", "cannot start a stopped process"),
    ("Pause", "cannot pause a stopped container"),
    ("Resume", "cannot resume a stopped container"),
    ("Update", "cannot update a stopped container"),
    ("Checkpoint", "cannot checkpoint a stopped container"),
    ("Exec", "cannot exec in a stopped state"),
])]
fn init_is_not_where_it_could_be_done(#[case] before: &[&str], #[case] refused: &[(&str, &str)]) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.create("c1").unwrap();
    for name in before {
        if *name == "End" {
            shim.kill("c1", "", 9).unwrap();
            shim.wait("c1", "").unwrap();
        } else {
            act(&shim, "c1", "", name).unwrap();
        }
    }
    let status = shim.status("c1", "");
    for (name, message) in refused {
        let expected = (Code::Unknown, (*message).to_owned());
        assert_eq!(act(&shim, "c1", "", name), Err(expected), "{name}");
        assert_eq!(shim.status("c1", ""), status, "{name} changed something");
    }
    if before.contains(&"Pause") {
        act(&shim, "c1", "", "Resume").unwrap();
    }
    shim.finish();
}

#[test]
fn a_restorable_container() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.create_with("c1", |request| request.checkpoint = place.text("image")).unwrap();
    let refused = (Code::Unknown, "cannot exec in a created state".to_owned());
    assert_eq!(shim.exec("e1", "true"), Err(refused));
    assert_eq!(shim.delete("c1", "").unwrap().pid, 0);
    shim.shut_down_and_end();
    assert_eq!(daemon.told(), ["create c1", "delete c1 0"]);
}

#[rstest]
#[case::running(false, &[
    ("Start", "cannot start a running process"),
    ("Delete", "cannot delete a running process"),
])]
#[case::stopped(true, &[
    ("Start", "cannot start a stopped process"),
    ("ResizePty", "cannot resize a stopped container"),
])]
fn an_exec_is_not_where_it_could_be_done(#[case] ended: bool, #[case] refused: &[(&str, &str)]) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    shim.exec("e1", "exec sleep 1000").unwrap();
    shim.start("c1", "e1").unwrap();
    if ended {
        shim.kill("c1", "e1", 9).unwrap();
        shim.wait("c1", "e1").unwrap();
    }
    for (name, message) in refused {
        let expected = (Code::Unknown, (*message).to_owned());
        assert_eq!(act(&shim, "c1", "e1", name), Err(expected), "{name}");
    }
    let _ = shim.kill("c1", "e1", 9);
    shim.finish();
}

#[test]
fn names_that_are_taken() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    let taken = (Code::AlreadyExists, "container c1: already exists".to_owned());
    assert_eq!(shim.create("c1"), Err(taken));
    shim.exec("e1", "true").unwrap();
    let taken = (Code::AlreadyExists, "id e1: already exists".to_owned());
    assert_eq!(shim.exec("e1", "true"), Err(taken));
    assert_eq!(shim.status("c1", ""), "RUNNING");
    shim.finish();
    let told = daemon.told();
    assert_eq!(told.iter().filter(|line| line.starts_with("exec-added")).count(), 1);
    assert_eq!(told.iter().filter(|line| line.starts_with("create")).count(), 1);
}

#[test]
fn options_of_another_runtime() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let value = api::StateRequest { id: "x".to_owned(), ..Default::default() };
    let other = any("runhcs.Options", &value);
    let refused = shim.create_with("c1", |request| request.options = other).unwrap_err();
    assert!(refused.1.contains("\"runhcs.Options\""), "{refused:?}");
    assert_eq!(shim.state("c1", "").unwrap_err().0, Code::NotFound);
    shim.shut_down_and_end();
}

/// A call in bytes, and what comes back.
fn raw_call(address: &str, service: &str, method: &str, payload: &[u8]) -> Result<Vec<u8>, Status> {
    let mut stream = UnixStream::connect(address.strip_prefix("unix://").unwrap()).unwrap();
    stream.set_read_timeout(Some(crate::support::LIMIT)).unwrap();
    let mut client = ttrpc::Client::new();
    client.call(service, method, payload.to_vec(), None, &[]).unwrap();
    stream.write_all(client.outgoing()).unwrap();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "hung up");
        if let Some((_, result)) = client.feed(&buffer[..count]).pop() {
            return result;
        }
    }
}

const METHODS: [&str; 17] = [
    "State",
    "Create",
    "Start",
    "Delete",
    "Pids",
    "Pause",
    "Resume",
    "Checkpoint",
    "Kill",
    "Exec",
    "ResizePty",
    "CloseIO",
    "Update",
    "Wait",
    "Stats",
    "Connect",
    "Shutdown",
];

#[test]
fn messages_that_are_none() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    for service in [TASK_V2, TASK_V3] {
        // Shutdown, whose message says nothing of interest, comes last.
        for method in &METHODS[..16] {
            let status = raw_call(&shim.address, service, method, b"\x0a\xff").unwrap_err();
            assert_eq!(status.code, Code::Internal, "{method}: {status:?}");
        }
    }
    assert_eq!(shim.connected("").shim_pid.cast_signed(), shim.pid);
    shim.shut_down_and_end();
}

#[test]
fn services_and_methods_that_are_none() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    for (service, method, message) in [
        ("containerd.task.v4.Task", "State", "service containerd.task.v4.Task"),
        (
            "containerd.runtime.sandbox.v1.Sandbox",
            "CreateSandbox",
            "service containerd.runtime.sandbox.v1.Sandbox",
        ),
        ("", "State", "service "),
        (TASK_V3, "Dance", "method Dance"),
        (TASK_V2, "", "method "),
    ] {
        let status = raw_call(&shim.address, service, method, b"").unwrap_err();
        assert_eq!(status, Status::new(Code::Unimplemented, message));
    }
    shim.shut_down_and_end();
}

#[test]
fn who_speaks_another_language_is_of_no_harm_to_others() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    let mut streams = Vec::new();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0; 5]] {
        let mut stream = UnixStream::connect(shim.socket()).unwrap();
        stream.write_all(bytes).unwrap();
        streams.push(stream);
    }
    assert_eq!(shim.status("c1", ""), "RUNNING");
    drop(streams);
    assert_eq!(shim.connect().status("c1", ""), "RUNNING");
    shim.finish();
}

#[test]
fn what_cannot_be_understood_of_a_process() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    let cases: [(&[u8], &str); 3] = [
        (b"", "the process of e1: EOF while parsing a value at line 1 column 0"),
        (b"[1]", "the process of e1: invalid type: sequence, expected a map"),
        (b"{\"args\"", "the process of e1: EOF while parsing an object at line 1 column 7"),
    ];
    for (spec, message) in cases {
        shim.exec_with("e1", "", |request| request.spec = any_json("x", spec.to_vec())).unwrap();
        let (code, words) = shim.start("c1", "e1").unwrap_err();
        assert_eq!(code, Code::InvalidArgument);
        assert!(words.starts_with(message), "{words}");
        shim.delete("c1", "e1").unwrap();
    }
    shim.finish();
}
