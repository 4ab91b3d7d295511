//! Many containers: in one shim, at once, and one after the other.

use std::fs;
use std::sync::Mutex;

use crate::client::{told, until};
use crate::daemon::Shim;
use crate::scene::{Scene, zombies_of};
use crate::table::{Needs, Row};

pub(crate) fn rows() -> Vec<Row> {
    let row = |name, needs, read, reading| Row { name, needs, read, reading, differs: &[] };
    let pod = "1 shim, after the first is gone: RUNNING, exec 4, 1 shim, in the end 0";
    vec![
        row("pod: two containers, one shim", Needs::Nothing, |s| pod_by(s, SANDBOX), pod),
        row("pod: by containerd's own annotation", Needs::Nothing, |s| pod_by(s, GROUP), pod),
        row(
            "100 containers at once",
            Needs::Once,
            hundred,
            "100 RUNNING, 100 STOPPED, 100 exits 137, none",
        ),
        row(
            "soak: many runs",
            Needs::Once,
            soak_runs,
            "every run fine; shims, mounts, sockets, bundles as before",
        ),
        row(
            "soak: many execs",
            Needs::Once,
            soak_execs,
            "every exec fine; fds, zombies, pid files, mounts, sockets as before",
        ),
    ]
}

const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";
const GROUP: &str = "io.containerd.runc.v2.group";

fn pod_by(scene: &Scene, annotation: &str) -> String {
    let group = format!("{annotation}={}", scene.id("pod"));
    let flags = ["--annotation", &group];
    // Whoever else has shims meanwhile is not of this pod.
    let ids = [scene.id("p1"), scene.id("p2")];
    let shims = || {
        let of_pod = |pid: &u32| {
            let arguments = crate::daemon::arguments(*pid);
            let mut pairs = arguments.windows(2);
            pairs.any(|pair| pair[0] == "-id" && ids.contains(&pair[1]))
        };
        scene.daemon.shims(scene.shim).into_iter().filter(of_pod).count()
    };
    scene.detached("p1", &flags, "sleep 1000");
    scene.detached("p2", &flags, "sleep 1000");
    let both = shims();
    scene.remove("p1");
    let state = scene.state("p2");
    let exec = told(scene.exec("p2", "e", &[], &["sh", "-c", "exit 4"])).status;
    let one = shims();
    scene.remove("p2");
    until("the shim has gone", || shims() == 0);
    format!(
        "{both} shim, after the first is gone: {state}, exec {exec}, {one} shim, in the end {}",
        shims()
    )
}

/// Does something with each of so many names, some at a time.
fn for_each(count: usize, at_once: usize, act: impl Fn(&str) + Sync) {
    let next = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let mut number = next.lock().unwrap();
                    *number += 1;
                    let name = format!("c{number}");
                    if *number > count {
                        return;
                    }
                    drop(number);
                    act(&name);
                }
            });
        }
    });
}

fn hundred(scene: &Scene) -> String {
    const COUNT: usize = 100;
    for_each(COUNT, 4, |name| {
        told(scene.run(name, &["--detach"], &["sleep", "1000"])).fine();
    });
    let prefix = format!("{}-c", scene.row);
    let list = || scene.told(&["tasks", "list"]).fine();
    let count = |state: &str| {
        list().lines().filter(|line| line.starts_with(&prefix) && line.contains(state)).count()
    };
    let running = count("RUNNING");
    for_each(COUNT, 4, |name| {
        scene.task("kill", &["--signal", "SIGKILL"], name).fine();
    });
    until("all have stopped", || count("STOPPED") == COUNT);
    let stopped = count("STOPPED");
    let names: Vec<String> = (1..=COUNT).map(|number| scene.id(&format!("c{number}"))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    scene.told(&[&["tasks", "delete"], &names[..]].concat());
    scene.told(&[&["containers", "delete"], &names[..]].concat());
    let exits = || {
        let one = |number: usize| scene.events(&format!("c{number}"));
        let is_exit = |(topic, event): &(String, serde_json::Value)| {
            topic == "exit" && event["exit_status"] == 137
        };
        (1..=COUNT).map(|number| one(number).iter().filter(|event| is_exit(event)).count()).sum()
    };
    until("all exits are told", || exits() >= COUNT);
    let (exits, left): (usize, usize) = (exits(), count(""));
    let left = if left == 0 { "none".to_owned() } else { left.to_string() };
    format!("{running} RUNNING, {stopped} STOPPED, {exits} exits 137, {left}")
}

/// How many runs; there are ten times as many execs.
fn soak() -> usize {
    std::env::var("WAVETANK_SOAK").ok().and_then(|count| count.parse().ok()).unwrap_or(10)
}

/// What there is of this row on the machine.
#[derive(PartialEq, Eq, Debug)]
struct Surroundings {
    mounts: usize,
    bundles: usize,
    runtime_states: usize,
}

fn surroundings(scene: &Scene) -> Surroundings {
    let namespace = scene.daemon.namespace(scene.shim);
    let of_row = |directory: &str| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with(&format!("{}-", scene.row))).count()
    };
    let place = scene.daemon.place.display();
    let mine = format!("/{namespace}/{}-", scene.row);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    Surroundings {
        mounts: mounts.lines().filter(|line| line.contains(&mine)).count(),
        bundles: of_row(&format!("{place}/state/io.containerd.runtime.v2.task/{namespace}")),
        runtime_states: of_row(&format!("/run/containerd/runc/{namespace}")),
    }
}

fn soak_runs(scene: &Scene) -> String {
    let before = surroundings(scene);
    let script = "echo out; exit 3";
    let fine = (0..soak()).all(|_| {
        let told = told(scene.run("c", &["--rm"], &["sh", "-c", script]));
        told.status == 3 && told.out == "out\n"
    });
    assert!(fine, "a run failed");
    let id = scene.id("c");
    let shims = || {
        let shims = scene.daemon.shims(scene.shim);
        let has_id = |pid: &u32| crate::daemon::arguments(*pid).contains(&id);
        shims.into_iter().filter(has_id).count()
    };
    until("the shims have gone", || shims() == 0);
    until("all is as before", || surroundings(scene) == before);
    // A socket's name tells nothing of its owner; but one that is not listened to is left over.
    until("no socket is left over", || left_over_sockets() == 0);
    "every run fine; shims, mounts, sockets, bundles as before".to_owned()
}

/// Socket files of shims that nobody listens to.
fn left_over_sockets() -> usize {
    let listened = fs::read_to_string("/proc/net/unix").unwrap();
    let entries = fs::read_dir("/run/containerd/s").into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path().display().to_string());
    paths.filter(|path| !listened.contains(&**path)).count()
}

/// Of a shim, in the order of a complaint.
#[derive(Debug)]
struct Figures {
    fds: usize,
    threads: usize,
    /// In kB. Not `Private_Dirty`: a program that was just built is dirty in the page cache, too.
    anonymous: usize,
    zombies: usize,
    files: usize,
}

fn figures(scene: &Scene, shim: u32) -> Figures {
    let number = |file: &str, key: &str| {
        let text = fs::read_to_string(format!("/proc/{shim}/{file}")).unwrap();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let place = scene.daemon.place.join("state/io.containerd.runtime.v2.task");
    let bundle = place.join(scene.daemon.namespace(scene.shim)).join(scene.id("c"));
    Figures {
        fds: fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count(),
        threads: number("status", "Threads:"),
        anonymous: number("smaps_rollup", "Anonymous:"),
        zombies: zombies_of(shim),
        files: fs::read_dir(bundle).unwrap().count(),
    }
}

fn soak_execs(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    let shim = scene.shim_of("c");
    let exec = |number: usize| {
        let script = ["sh", "-c", "echo out; exit 3"];
        let told = told(scene.exec("c", &format!("e{number}"), &[], &script));
        assert!(told.status == 3 && told.out == "out\n", "e{number}: {}", told.line());
    };
    // What is made for the first ones may be kept.
    (0..10).for_each(exec);
    let (before, around) = (figures(scene, shim), surroundings(scene));
    (10..10 + soak() * 10).for_each(exec);
    until("all is as before", || {
        let after = figures(scene, shim);
        let same = after.fds == before.fds && after.zombies == 0 && after.files == before.files;
        same && surroundings(scene) == around
    });
    // Go's grow with time: what they may be is not ours to say.
    if scene.shim == Shim::Ours {
        let after = figures(scene, shim);
        let grown = after.anonymous.saturating_sub(before.anonymous);
        assert!(after.threads == before.threads && grown <= 64, "{before:?}, then {after:?}");
    }
    scene.remove("c");
    "every exec fine; fds, zombies, pid files, mounts, sockets as before".to_owned()
}
