//! Pausing, limits, checkpoints: what the v2 shim has its runtime do, and what is told of it.

use std::fs;
use std::os::unix::fs::symlink;

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as events;
use containerd_shim_protos::shim::oci::CheckpointOptions;
use rstest::rstest;
use serde_json::{Value, json};
use wavetank::ttrpc::Code;

use crate::support::{
    Client, Daemon, Place, Refused, Stream, any, any_json, fake_runc, mkfifo, read_event, signal,
    stat_field, until,
};

fn script(place: &Place, on: &Value) {
    place.script(json!({
        "container": {"process_args": true}, "exec": {"process_args": true}, "on": on
    }));
}

fn pause(shim: &Client<'_>) -> Result<(), Refused> {
    shim.tell("Pause", &api::PauseRequest { id: "c1".to_owned(), ..Default::default() })
}

fn resume(shim: &Client<'_>) -> Result<(), Refused> {
    shim.tell("Resume", &api::ResumeRequest { id: "c1".to_owned(), ..Default::default() })
}

#[test]
fn a_pause() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let pid = shim.run().cast_signed();
    shim.exec("e1", "exec sleep 1000").unwrap();
    shim.start("c1", "e1").unwrap();
    pause(&shim).unwrap();
    assert_eq!(
        (shim.status("c1", ""), shim.status("c1", "e1")),
        ("PAUSED".into(), "PAUSED".into())
    );
    until("it is frozen", || stat_field(pid, 3).as_deref() == Some("T"));
    resume(&shim).unwrap();
    assert_eq!(shim.status("c1", "e1"), "RUNNING");
    until("it goes on", || stat_field(pid, 3).as_deref() == Some("S"));
    shim.kill("c1", "e1", 9).unwrap();
    shim.wait("c1", "e1").unwrap();
    shim.finish();
    let told = daemon.told();
    assert_eq!(told[4..6], ["paused c1", "resumed c1"]);
}

#[rstest]
#[case("pause", "RUNNING", "OCI runtime pause failed: frozen water")]
#[case("resume", "PAUSED", "OCI runtime resume failed: frozen water")]
fn a_pause_that_fails(#[case] word: &str, #[case] status: &str, #[case] message: &str) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    let failing = json!({"before": {"log_error": "frozen water", "exit_code": 1}});
    if word == "resume" {
        pause(&shim).unwrap();
        script(&place, &json!({"resume": failing}));
        assert_eq!(resume(&shim), Err((Code::Unknown, message.to_owned())));
    } else {
        script(&place, &json!({"pause": failing}));
        assert_eq!(pause(&shim), Err((Code::Unknown, message.to_owned())));
    }
    assert_eq!(shim.status("c1", ""), status);
    script(&place, &json!({}));
    if word == "resume" {
        resume(&shim).unwrap();
    }
    shim.finish();
    // Only what has happened is told.
    let told = daemon.told();
    let expected: &[&str] = if word == "resume" { &["paused c1", "resumed c1"] } else { &[] };
    assert_eq!(told[2..told.len() - 2], *expected);
}

/// Its death is told after it was thawed.
#[test]
fn a_frozen_container_dies() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let pid = shim.run();
    pause(&shim).unwrap();
    signal(pid.cast_signed(), 9);
    assert_eq!(shim.wait("c1", ""), Ok(137));
    assert_eq!(shim.status("c1", ""), "STOPPED");
    assert_eq!(place.words().last().map(String::as_str), Some("resume"));
    shim.delete("c1", "").unwrap();
    shim.shut_down_and_end();
    let told = daemon.told();
    let expected = ["create c1", "start c1", "paused c1", "exit c1 c1 137", "delete c1 137"];
    assert_eq!(told, expected);
}

// ---- limits ------------------------------------------------------------------------------------

fn update(shim: &Client<'_>, resources: &[u8]) -> Result<(), Refused> {
    let url = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    let resources = any_json(url, resources.to_vec());
    let id = "c1".to_owned();
    shim.tell("Update", &api::UpdateTaskRequest { id, resources, ..Default::default() })
}

#[test]
fn limits() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.create("c1").unwrap();
    let limits = json!({"memory": {"limit": 1_u64 << 40}, "cpu": {"cpus": "0-1"}});
    for _ in 0..2 {
        update(&shim, limits.to_string().as_bytes()).unwrap();
        let stored = fs::read(place.path("root/ns/c1/resources.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&stored).unwrap(), limits);
        if shim.status("c1", "") == "CREATED" {
            shim.start("c1", "").unwrap();
        }
    }
    let call = place.wait_for_call("update");
    assert_eq!(call.argv[7..], ["update", "--resources=-", "c1"]);
    shim.finish();
    assert_eq!(daemon.told().len(), 4, "limits are no event");
}

#[test]
fn limits_that_are_none() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    let (code, words) = update(&shim, b"[]").unwrap_err();
    assert_eq!(code, Code::Unknown);
    assert!(words.contains("array"), "the runtime's own words: {words}");
    script(&place, &json!({"update": {"before": {"exit_code": 3}}}));
    let (_, words) = update(&shim, b"{}").unwrap_err();
    assert!(words.contains("did not terminate successfully: exit status 3"), "{words}");
    shim.finish();
}

// ---- checkpoints -------------------------------------------------------------------------------

fn checkpoint(shim: &Client<'_>, options: &CheckpointOptions) -> Result<(), Refused> {
    let request = api::CheckpointTaskRequest {
        id: "c1".to_owned(),
        path: shim.place.text("image"),
        options: any("containerd.runc.v1.CheckpointOptions", options),
        ..Default::default()
    };
    shim.tell("Checkpoint", &request)
}

#[test]
fn a_checkpoint_of_what_goes_on() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    checkpoint(&shim, &CheckpointOptions { file_locks: true, ..Default::default() }).unwrap();
    assert!(place.path("image/inventory.img").exists());
    let call = place.wait_for_call("checkpoint");
    let has = |flag: &str| call.argv.iter().any(|word| word == flag);
    assert!(has("--leave-running") && has("--file-locks") && !has("--shell-job"), "{call:?}");
    assert!(!place.path("bundle/work/criu-work").exists(), "its work is left");
    assert_eq!(shim.status("c1", ""), "RUNNING");
    shim.finish();
    assert_eq!(daemon.told().len(), 4, "as with containerd's own shim, it is no event");
}

/// criu knows no file that was opened outside the container; where it is, there are pipes instead.
#[rstest]
#[case::fifo_without_criu("", false)]
#[case::fifo("", true)]
#[case::file("file://", true)]
fn a_checkpoint_of_one_with_output(#[case] scheme: &str, #[case] has_criu: bool) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "echo before; read line; echo after; exec sleep 1000");
    if has_criu {
        symlink(fake_runc(), place.path("bin/criu")).unwrap();
    }
    let [stdin, stdout] = ["in", "out"].map(|name| place.path(name));
    mkfifo(&stdin);
    let mut reader = scheme.is_empty().then(|| {
        mkfifo(&stdout);
        Stream::open(&stdout)
    });
    let mut said = |text: &str| match &mut reader {
        Some(reader) => assert_eq!(reader.read_until(text), text),
        None => until("it is in the file", || {
            fs::read_to_string(&stdout).unwrap_or_default().ends_with(text)
        }),
    };
    let shim = daemon.start();
    let uri = format!("{scheme}{}", stdout.display());
    let wanted = |request: &mut api::CreateTaskRequest| {
        request.stdin = stdin.to_str().unwrap().to_owned();
        request.stdout = uri;
    };
    let pid = shim.create_with("c1", wanted).unwrap();
    shim.start("c1", "").unwrap();
    said("before\n");
    let link = fs::read_link(format!("/proc/{pid}/fd/1")).unwrap();
    assert_eq!(link == stdout, !has_criu, "{}", link.display());
    let made = checkpoint(&shim, &CheckpointOptions::default());
    assert_eq!(made.is_ok(), has_criu, "{made:?}");
    if let Err((_, words)) = made {
        let runtime = fake_runc().display().to_string();
        let ended = format!("{runtime} did not terminate successfully: exit status 1: criu failed");
        assert!(words.starts_with(&ended), "{words}");
    }
    fs::write(&stdin, "\n").unwrap();
    said("after\n");
    shim.finish();
}

#[test]
fn a_checkpoint_and_a_restore() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    checkpoint(&shim, &CheckpointOptions { exit: true, ..Default::default() }).unwrap();
    assert_eq!(shim.wait("c1", ""), Ok(137));
    // The runtime knows it no more.
    assert_eq!(shim.delete("c1", "").unwrap().exit_status, 137);

    let image = place.text("image");
    let pid = shim.create_with("c1", |request| request.checkpoint.clone_from(&image)).unwrap();
    assert_eq!((pid, shim.status("c1", "")), (0, "CREATED".to_owned()));
    assert!(!place.words().contains(&"restore".to_owned()));
    let pid = shim.start("c1", "").unwrap();
    assert_eq!(shim.connected("c1").task_pid, pid);
    assert_eq!(shim.status("c1", ""), "RUNNING");
    let call = place.wait_for_call("restore");
    let at = call.argv.iter().position(|word| word == "--image-path").unwrap();
    assert_eq!(call.argv[at + 1], image);
    shim.finish();
    let life = ["create c1", "start c1", "exit c1 c1 137", "delete c1 137"];
    assert_eq!(daemon.told(), [life, life].concat());
    let all = daemon.events.all();
    let create: events::TaskCreate = read_event(&all[4]);
    assert_eq!((create.checkpoint, create.pid), (image, 0));
    assert_eq!(read_event::<events::TaskStart>(&all[5]).pid, pid);
}

#[test]
fn a_checkpoint_that_fails() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    let failing = json!({"midway": {"log_error": "criu failed: type NOTIFY", "exit_code": 1}});
    script(&place, &json!({"checkpoint": failing}));
    let (code, words) = checkpoint(&shim, &CheckpointOptions::default()).unwrap_err();
    assert_eq!(code, Code::Unknown);
    let kept = place.text("bundle/criu-dump.log");
    assert!(words.contains("criu failed: type NOTIFY"), "{words}");
    assert!(words.ends_with(&format!(" path= {kept}")), "{words}");
    assert_eq!(fs::read_to_string(kept).unwrap(), "Dumping begins\n");
    assert_eq!(shim.status("c1", ""), "RUNNING");
    shim.finish();
}

#[test]
fn a_restore_that_fails() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let image = place.text("no-image");
    shim.create_with("c1", |request| request.checkpoint = image).unwrap();
    let (code, words) = shim.start("c1", "").unwrap_err();
    assert_eq!(code, Code::Unknown);
    assert!(words.starts_with("OCI runtime restore failed: "), "{words}");
    assert!(words.contains("no such file or directory"), "{words}");
    assert_eq!(shim.status("c1", ""), "CREATED");
    shim.delete("c1", "").unwrap();
    shim.shut_down_and_end();
    assert_eq!(daemon.told(), ["create c1", "delete c1 0"]);
}
