//! Signals, the freezer, and being removed.

use std::time::{Duration, Instant};

use crate::client::{Client, told, until};
use crate::scene::Scene;
use crate::table::{Needs, Row};

pub(crate) fn rows() -> Vec<Row> {
    let row =
        |name, read, reading| Row { name, needs: Needs::Nothing, read, reading, differs: &[] };
    vec![
        row("kill: a signal that is caught", caught, r#"status 9, out "ready|caught", err """#),
        row("kill: SIGKILL", killed, "status 137"),
        row("kill: an exec", kill_exec, "exec 137, RUNNING"),
        row("kill: all processes", kill_all, "status 143"),
        row("kill: one that has stopped", kill_stopped, "refused: not found"),
        row("kill: an exec goes with its container", exec_goes, "exec 137, exit e 137, exit 137"),
        row("pause and resume", pause, "PAUSED, silent, exec refused, RUNNING, goes on"),
        row("pause: killed while paused", paused_kill, ""),
        row("pause: what is paused, again", paused_twice, "refused: paused"),
        row("delete: one that runs", delete_running, "refused: task must be stopped, RUNNING"),
        row("delete: by force", delete_forced, "none"),
    ]
}

fn caught(scene: &Scene) -> String {
    let script = "trap 'echo caught; exit 9' USR1; echo ready; while :; do usleep 10000; done";
    let client = scene.shows(scene.run("c", &["--rm"], &["sh", "-c", script]), "ready");
    scene.task("kill", &["--signal", "SIGUSR1"], "c").fine();
    client.finish().line()
}

fn killed(scene: &Scene) -> String {
    let script = "echo ready; sleep 1000";
    let client = scene.shows(scene.run("c", &["--rm"], &["sh", "-c", script]), "ready");
    scene.task("kill", &["--signal", "SIGKILL"], "c").fine();
    format!("status {}", client.finish().status)
}

/// An exec that has said that it is there.
fn exec(scene: &Scene) -> Client {
    scene.shows(scene.exec("c", "e", &[], &["sh", "-c", "echo ready; exec sleep 1000"]), "ready")
}

fn kill_exec(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    let client = exec(scene);
    scene.task("kill", &["--signal", "SIGKILL", "--exec-id", "e"], "c").fine();
    let reading = format!("exec {}, {}", client.finish().status, scene.state("c"));
    scene.remove("c");
    reading
}

fn kill_all(scene: &Scene) -> String {
    let script = "trap 'exit 143' TERM; echo ready; sleep 1000 & wait; wait";
    let client = scene.shows(scene.run("c", &["--rm"], &["sh", "-c", script]), "ready");
    scene.task("kill", &["--all", "--signal", "SIGTERM"], "c").fine();
    format!("status {}", client.finish().status)
}

fn kill_stopped(scene: &Scene) -> String {
    scene.detached("c", &[], "exit 0");
    scene.wait_for_state("c", "STOPPED");
    let complaint = scene.task("kill", &[], "c").complaint("not found");
    scene.remove("c");
    complaint
}

fn exec_goes(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    let client = exec(scene);
    scene.task("kill", &["--signal", "SIGKILL"], "c").fine();
    let status = client.finish().status;
    scene.remove("c");
    let exits = || {
        let story = scene.story("c", "exit");
        let exits = story.split(", ").filter(|event| event.starts_with("exit"));
        exits.map(str::to_owned).collect::<Vec<_>>()
    };
    until("both exits are told", || exits().len() > 1);
    format!("exec {status}, {}", exits().join(", "))
}

fn pause(scene: &Scene) -> String {
    let script = "while :; do echo . >>/t/ticks; usleep 10000; done";
    scene.detached("c", &[&scene.shared()], script);
    let ticks = || scene.read("ticks").len();
    until("it ticks", || ticks() > 2);
    scene.task("pause", &[], "c").fine();
    let (paused, before) = (scene.state("c"), ticks());
    let refused = told(scene.exec("c", "e", &[], &["true"])).status != 0;
    std::thread::sleep(Duration::from_millis(100));
    let silent = if ticks() == before { "silent" } else { "not silent" };
    let refused = if refused { "exec refused" } else { "exec not refused" };
    scene.task("resume", &[], "c").fine();
    let resumed = scene.state("c");
    until("it goes on", || ticks() > before);
    scene.remove("c");
    format!("{paused}, {silent}, {refused}, {resumed}, goes on")
}

fn paused_kill(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    scene.task("pause", &[], "c").fine();
    scene.task("kill", &["--signal", "SIGKILL"], "c").fine();
    // Not every runtime thaws what it kills, and then it is the user who has to.
    let end = Instant::now() + Duration::from_secs(2);
    while scene.state("c") != "STOPPED" && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    let state = scene.state("c");
    if state != "STOPPED" {
        scene.task("resume", &[], "c");
    }
    scene.remove("c");
    let story = scene.story("c", "exit");
    let exit = story.split(", ").find(|event| event.starts_with("exit")).unwrap().to_owned();
    format!("{state}, {exit}")
}

fn paused_twice(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    scene.task("pause", &[], "c").fine();
    let complaint = scene.task("pause", &[], "c").complaint("paused");
    scene.task("resume", &[], "c").fine();
    scene.remove("c");
    complaint
}

fn delete_running(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    let complaint = scene.task("delete", &[], "c").complaint("task must be stopped");
    let reading = format!("{complaint}, {}", scene.state("c"));
    scene.remove("c");
    reading
}

fn delete_forced(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    scene.task("delete", &["--force"], "c");
    let state = scene.state("c");
    scene.remove("c");
    state
}
