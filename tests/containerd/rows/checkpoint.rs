//! Checkpoints that criu makes. Where `criu check` finds it of no use, these rows are skipped.

use crate::client::{Client, Told, told, until};
use crate::scene::Scene;
use crate::table::{Needs, Row};

pub(crate) fn rows() -> Vec<Row> {
    // A runtime without criu refuses, and then that is what has to be seen.
    let row = |name, read| Row { name, needs: Needs::Criu, read, reading: "", differs: &[] };
    vec![
        row("checkpoint: what runs goes on", goes_on),
        row("checkpoint: with its output in a file", to_file),
        row("checkpoint: with a terminal", with_terminal),
        row("checkpoint and restore", restore),
    ]
}

/// Tells that it has begun, and then counts.
const COUNTING: &str = "echo begun >>/t/begun; echo begun; i=0; \
    while :; do i=$((i+1)); echo $i >/t/new; mv /t/new /t/count; usleep 10000; done";

fn count(scene: &Scene) -> u64 {
    scene.read("count").trim().parse().unwrap_or(0)
}

fn wait_for_more(scene: &Scene) {
    let before = count(scene);
    until("it counts", || count(scene) > before);
}

fn checkpoint(scene: &Scene) -> Told {
    scene.told(&["containers", "checkpoint", "--task", &scene.id("c"), &reference(scene)])
}

/// The name of the checkpoint, as an image.
fn reference(scene: &Scene) -> String {
    format!("test/{}:latest", scene.row)
}

/// How it went. A runtime without criu refuses; nobody has another reason to.
#[track_caller]
fn outcome(told: &Told) -> &'static str {
    if told.status == 0 {
        return "done";
    }
    assert!(told.err.contains("unknown command checkpoint"), "{}", told.line());
    "refused"
}

fn made_of(scene: &Scene, flags: &[&str]) -> String {
    let shared = scene.shared();
    let flags = [&["--detach", &*shared], flags].concat();
    // Who asks for a terminal has to have one.
    Client::on_terminal(scene.run("c", &flags, &["sh", "-c", COUNTING]), 24, 80).finish().fine();
    wait_for_more(scene);
    let made = outcome(&checkpoint(scene));
    wait_for_more(scene);
    let state = scene.state("c");
    scene.remove("c");
    format!("{made}, {state}, counts on")
}

fn goes_on(scene: &Scene) -> String {
    made_of(scene, &[])
}

fn to_file(scene: &Scene) -> String {
    let uri = format!("file://{}", scene.path("log"));
    format!("{}, {}", made_of(scene, &["--log-uri", &uri]), scene.read("log").trim_end())
}

fn with_terminal(scene: &Scene) -> String {
    made_of(scene, &["--tty"])
}

fn restore(scene: &Scene) -> String {
    scene.detached("c", &[&scene.shared()], COUNTING);
    wait_for_more(scene);
    let made = checkpoint(scene);
    scene.remove("c");
    if outcome(&made) == "refused" {
        return "refused".to_owned();
    }
    let (reference, id) = (reference(scene), scene.id("r"));
    scene.told(&["containers", "restore", "--live", &id, &reference]).fine();
    wait_for_more(scene);
    let state = scene.state("r");
    let begun = scene.read("begun").lines().count();
    let exec = told(scene.exec("r", "e", &[], &["sh", "-c", "exit 4"])).status;
    scene.task("kill", &["--signal", "SIGKILL"], "r").fine();
    scene.wait_for_state("r", "STOPPED");
    let story = scene.story("r", "exit");
    scene.remove("r");
    format!("{state}, counts on, begun {begun} time, exec {exec}, {story}")
}
