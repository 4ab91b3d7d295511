//! The daemon dies, the shim dies, and what is left of the containers.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::{Client, told, until};
use crate::scene::{Scene, comm};
use crate::table::{Needs, Row};

pub(crate) fn rows() -> Vec<Row> {
    let row = |name, needs, read, reading| Row { name, needs, read, reading, differs: &[] };
    vec![
        row(
            "daemon: kill -9, and started again",
            Needs::OwnDaemon,
            daemon,
            // Some daemons find the stopped one again, others remove it.
            "",
        ),
        row(
            "daemon: kill -9 of it and a client, attached again",
            Needs::OwnDaemon,
            attached,
            "RUNNING, answers, status 3",
        ),
        row(
            "shim: kill -9",
            Needs::Nothing,
            shim,
            "task none, process ended, exit 137, delete 137, runs again",
        ),
        row("shim: SIGTERM", Needs::Nothing, terminate, ""),
    ]
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// The exit code that `ctr tasks delete` tells, in either of its ways.
fn deleted(scene: &Scene, name: &str) -> String {
    let told = scene.task("delete", &[], name);
    let code = told.err.split("exit code ").nth(1).and_then(|rest| rest.split('"').next());
    code.map_or(told.status.to_string(), str::to_owned)
}

fn daemon(scene: &Scene) -> String {
    let shared = scene.shared();
    let uri = format!("file://{}", scene.path("log"));
    let flags = ["--log-uri", &uri];
    scene.detached("stays", &flags, "while :; do echo line; usleep 20000; done");
    scene.detached("ends", &[&shared], "while ! [ -e /t/go ]; do usleep 10000; done; exit 5");
    let init = scene.init("ends");
    scene.daemon.kill();
    std::fs::write(scene.path("go"), "").unwrap();
    until("the container has ended", || comm(init).is_none());
    scene.daemon.start_process();
    let (stays, ends) = (scene.state("stays"), scene.state("ends"));
    let code = deleted(scene, "ends");
    let before = scene.read("log").len();
    until("it writes on", || scene.read("log").len() > before);
    let exec = told(scene.exec("stays", "e", &[], &["sh", "-c", "exit 4"])).status;
    scene.task("kill", &["--signal", "SIGKILL"], "stays").fine();
    scene.wait_for_state("stays", "STOPPED");
    let killed = deleted(scene, "stays");
    scene.remove("stays");
    scene.remove("ends");
    format!("{stays}, {ends}, deleted {code}, writes on, exec {exec}, killed {killed}")
}

fn attached(scene: &Scene) -> String {
    let script = "while ! [ \"$x\" = end ]; do read x; echo got $x; done; exit 3";
    let first = Client::piped(scene.run("c", &["--detach"], &["sh", "-c", script]));
    scene.wait_for_state("c", "RUNNING");
    let id = scene.id("c");
    let attach = || Client::piped(scene.ctr(&["tasks", "attach", &id]));
    let answers = |client: &mut Client, word: &str| {
        until("it answers", || {
            client.write(&format!("{word}\n"));
            client.seen().contains(&format!("got {word}\n"))
        });
    };
    let mut second = attach();
    first.finish().fine();
    answers(&mut second, "before");
    // A client that learns that its daemon has gone removes the fifos.
    second.kill();
    scene.daemon.kill();
    scene.daemon.start_process();
    let state = scene.state("c");
    let mut third = attach();
    answers(&mut third, "after");
    third.write("end\n");
    let status = third.finish().status;
    scene.remove("c");
    format!("{state}, answers, status {status}")
}

fn shim(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    let init = scene.init("c");
    signal(scene.shim_of("c"), Signal::SIGKILL);
    until("the task is gone", || scene.state("c") == "none");
    until("the process has ended", || comm(init).is_none());
    let story = scene.story("c", "delete");
    let ending: Vec<_> = story.split(", ").skip_while(|event| !event.starts_with("exit")).collect();
    scene.told(&["containers", "delete", &scene.id("c")]).fine();
    let again = told(scene.run("c", &["--rm"], &["true"])).status;
    let again = if again == 0 { "runs again" } else { "does not run again" };
    format!("task none, process ended, {}, {again}", ending.join(", "))
}

/// What happens is the stock shim's business; that the name is free again is not.
fn terminate(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    signal(scene.shim_of("c"), Signal::SIGTERM);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let state = scene.state("c");
    scene.remove("c");
    let again = told(scene.run("c", &["--rm"], &["true"])).status;
    format!("{state}, then a run's status {again}")
}
