//! What a v2 shim tells, whether the daemon is there to hear it or not; and how it ends.

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::Message;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Daemon, Place, is_alive, kill, output, reap, signal, until, wait_for_end};

const LIFE: [&str; 7] = [
    "create c1",
    "start c1",
    "exec-added c1 e1",
    "exec-started c1 e1",
    "exit c1 e1 3",
    "exit c1 c1 137",
    "delete c1 137",
];

#[test]
fn a_daemon_that_is_not_there_hears_everything_later() {
    let place = Place::new();
    let mut daemon = Daemon::new(&place, "exec sleep 1000");
    daemon.events.stop();
    let shim = daemon.start();
    shim.run();
    shim.exec("e1", "exit 3").unwrap();
    shim.start("c1", "e1").unwrap();
    assert_eq!(shim.wait("c1", "e1"), Ok(3));
    shim.remove();
    assert!(daemon.told().is_empty());
    daemon.events.listen_again();
    daemon.events.wait_for("delete c1 137");
    shim.shut_down_and_end();
    assert_eq!(daemon.told(), LIFE);
    let all = daemon.events.all();
    // They bear the times at which things happened.
    assert!(all.windows(2).all(|pair| pair[0].time < pair[1].time));
}

#[test]
fn a_daemon_that_is_restarted_again_and_again() {
    let place = Place::new();
    let mut daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.create("c1").unwrap();
    daemon.events.wait_for("create c1");
    daemon.events.stop();
    shim.start("c1", "").unwrap();
    daemon.events.listen_again();
    daemon.events.wait_for("start c1");
    shim.exec("e1", "exit 3").unwrap();
    daemon.events.wait_for("exec-added c1 e1");
    daemon.events.stop();
    shim.start("c1", "e1").unwrap();
    assert_eq!(shim.wait("c1", "e1"), Ok(3));
    daemon.events.listen_again();
    daemon.events.wait_for("exit c1 e1 3");
    shim.finish();
    assert_eq!(daemon.told(), LIFE);
}

#[test]
fn without_an_address_nobody_is_told() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000").env("TTRPC_ADDRESS", "");
    let shim = daemon.start();
    let started = Instant::now();
    shim.run();
    shim.finish();
    assert!(started.elapsed().as_secs() < 4, "it waited for nobody");
    assert!(daemon.told().is_empty());
}

#[test]
fn the_exit_is_left_in_the_bundle_for_whoever_cleans_up() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exit 6");
    let shim = daemon.start();
    let pid = shim.run();
    assert_eq!(shim.wait("c1", ""), Ok(6));
    let text = fs::read_to_string(place.path("bundle/exit.json")).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&record["pid"], &record["exit_status"]), (&json!(pid), &json!(6)));
    // The shim is killed, and the daemon cleans up.
    kill(shim.pid);
    let mut delete = place.command(daemon.start_command("c1").get_program());
    delete.args(["-namespace", "ns", "-id", "c1", "-bundle", &place.text("bundle"), "delete"]);
    delete.current_dir(place.path("bundle")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = output(&mut delete);
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    let answer = DeleteResponse::parse_from_bytes(&said.stdout).unwrap();
    assert_eq!((answer.pid, answer.exit_status), (pid, 6));
    fs::remove_dir(place.path("root/ns")).unwrap();
    assert!(!shim.socket().exists(), "the socket of the killed shim is still there");
}

/// The containers live on, for the next shim or the daemon's cleaning.
#[rstest]
#[case(15)]
#[case(2)]
fn a_signal_ends_the_shim_and_nothing_else(#[case] number: i32) {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let pid = shim.run().cast_signed();
    let waiting = shim.connect();
    waiting.send_wait("c1", "");
    signal(shim.pid, number);
    wait_for_end(shim.pid);
    reap(shim.pid);
    assert!(!shim.socket().exists());
    assert!(is_alive(pid));
    assert_eq!(daemon.told(), ["create c1", "start c1"]);
    kill(pid);
    let root = place.text("root/ns");
    let mut delete = place.command(crate::support::fake_runc());
    assert!(output(delete.args(["--root", &root, "delete", "--force", "c1"])).status.success());
    fs::remove_dir(root).unwrap();
}

#[test]
fn other_signals_do_nothing() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    for number in [1, 3, 10, 12, 13, 14, 17, 28, 34, 64] {
        signal(shim.pid, number);
        assert_eq!(shim.status("c1", ""), "RUNNING", "after signal {number}");
    }
    shim.finish();
}

/// An operator asks with a signal, and reads the log.
#[test]
fn all_that_it_knows_in_the_log() {
    let place = Place::new();
    crate::support::mkfifo(&place.path("bundle/log"));
    let mut log = crate::support::Stream::open(&place.path("bundle/log"));
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    let pid = shim.run();
    signal(shim.pid, 10);
    let line = log.read_until("runtime=io.containerd.wavetank.v2\n");
    assert!(line.contains(&format!(r#"\"pid\":{pid}"#)), "{line}");
    // The daemon may go, and another one come.
    drop(log);
    signal(shim.pid, 10);
    shim.status("c1", "");
    let mut log = crate::support::Stream::open(&place.path("bundle/log"));
    until("it logs again", || {
        signal(shim.pid, 10);
        shim.status("c1", "");
        log.unread() > 0
    });
    assert!(log.read_until("runtime=io.containerd").contains("level=warning"));
    shim.finish();
}
