//! Running, executing, ending, and what is told of it.

use std::time::{Duration, Instant};

use crate::client::told;
use crate::scene::Scene;
use crate::table::{Differs, Needs, Row};

pub(crate) fn rows() -> Vec<Row> {
    let row =
        |name, read, reading| Row { name, needs: Needs::Nothing, read, reading, differs: &[] };
    vec![
        row("run", run, r#"status 7, out "out", err "err""#),
        row("run: killed by a signal", run_killed, r#"status 143, out "", err """#),
        row("run: no such program", run_nothing, "refused: no-such-program, task none"),
        row("run: a life in the background", background, "RUNNING, STOPPED 9, deleted 9, none"),
        row("run: the name again, once it is free", again, "1, 2, 3"),
        row("exec", exec, r#"status 5, out "out", err "err""#),
        row(
            "exec: with the working directory and user",
            exec_user,
            r#"status 0, out "/tmp 7", err """#,
        ),
        row("exec: no such program", exec_nothing, "refused: no-such-program, RUNNING"),
        row("exec: a name that is taken", exec_taken, "refused: already exists"),
        row("exec: a stopped container", exec_stopped, "refused: stopped"),
        row("exec: no such container", exec_nowhere, "refused: not found"),
        row(
            "events: in order",
            events,
            "create, start, exec-added e1, exec-started e1, exit e1 5, \
             exec-added e2, exec-started e2, paused, resumed, exit e2 137, exit 137",
        ),
        row("events: of those that end at once", quick, "create, start, exit 3 (5 times)"),
        Row { differs: LAST, ..row("events: the last one, too", last, "10 deleted of 10") },
        row("events: a failed exec is not told as an exit", failed_exec, "exec-added e1"),
        row("events: the end as the client is told it", times, "the same pid and status"),
    ]
}

const LAST: &[Differs] = &[Differs {
    on: "2.",
    stock: "*",
    why: "it may end before it has forwarded its last event, and nobody tells that event then",
}];

fn run(scene: &Scene) -> String {
    told(scene.run("c", &["--rm"], &["sh", "-c", "echo out; echo err >&2; exit 7"])).line()
}

fn run_killed(scene: &Scene) -> String {
    // The first process of a pid namespace has to let itself be killed.
    let script = "sh -c 'kill -TERM $$' 2>/dev/null; exit $?";
    told(scene.run("c", &["--rm"], &["sh", "-c", script])).line()
}

fn run_nothing(scene: &Scene) -> String {
    let complaint = told(scene.run("c", &["--rm"], &["no-such-program"]));
    format!("{}, task {}", complaint.complaint("no-such-program"), scene.state("c"))
}

fn background(scene: &Scene) -> String {
    let script = "while ! [ -e /t/go ]; do usleep 10000; done; exit 9";
    scene.detached("c", &[&scene.shared()], script);
    let before = scene.state("c");
    std::fs::write(scene.path("go"), "").unwrap();
    scene.wait_for_state("c", "STOPPED");
    let exits: Vec<_> =
        scene.events("c").into_iter().filter(|(topic, _)| topic == "exit").collect();
    let status = exits[0].1["exit_status"].clone();
    let deleted = scene.task("delete", &[], "c");
    let code = deleted.err.split("exit code ").nth(1).and_then(|rest| rest.split('"').next());
    let code = code.map_or(deleted.status.to_string(), str::to_owned);
    let after = scene.state("c");
    scene.remove("c");
    format!("{before}, STOPPED {status}, deleted {code}, {after}")
}

fn again(scene: &Scene) -> String {
    let run = |code: &str| told(scene.run("c", &["--rm"], &["sh", "-c", &format!("exit {code}")]));
    ["1", "2", "3"].map(|code| run(code).status.to_string()).join(", ")
}

/// A container that does nothing, while something is read.
fn beside(scene: &Scene, read: impl FnOnce() -> String) -> String {
    scene.detached("c", &[], "sleep 1000");
    let reading = read();
    scene.remove("c");
    reading
}

fn exec(scene: &Scene) -> String {
    let args = ["sh", "-c", "echo out; echo err >&2; exit 5"];
    beside(scene, || told(scene.exec("c", "e", &[], &args)).line())
}

fn exec_user(scene: &Scene) -> String {
    let flags = ["--cwd", "/tmp", "--user", "7"];
    let args = ["sh", "-c", "echo $(pwd) $(id -u)"];
    beside(scene, || told(scene.exec("c", "e", &flags, &args)).line())
}

fn exec_nothing(scene: &Scene) -> String {
    beside(scene, || {
        let complaint = told(scene.exec("c", "e", &[], &["no-such-program"]));
        format!("{}, {}", complaint.complaint("no-such-program"), scene.state("c"))
    })
}

fn exec_taken(scene: &Scene) -> String {
    beside(scene, || {
        told(scene.exec("c", "e", &["--detach"], &["sleep", "1000"])).fine();
        told(scene.exec("c", "e", &[], &["true"])).complaint("already exists")
    })
}

fn exec_stopped(scene: &Scene) -> String {
    scene.detached("c", &[], "exit 0");
    scene.wait_for_state("c", "STOPPED");
    let complaint = told(scene.exec("c", "e", &[], &["true"])).complaint("stopped");
    scene.remove("c");
    complaint
}

fn exec_nowhere(scene: &Scene) -> String {
    told(scene.exec("nobody", "e", &[], &["true"])).complaint("not found")
}

fn events(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    told(scene.exec("c", "e1", &[], &["sh", "-c", "exit 5"]));
    told(scene.exec("c", "e2", &["--detach"], &["sleep", "1000"])).fine();
    scene.task("pause", &[], "c").fine();
    scene.task("resume", &[], "c").fine();
    scene.remove("c");
    up_to_exit(scene, "c")
}

/// What is told of a container, without the last event, which has a row of its own.
fn up_to_exit(scene: &Scene, name: &str) -> String {
    let exit = |scene: &Scene| {
        let id = scene.id(name);
        scene.events(name).iter().any(|(topic, event)| topic == "exit" && event["id"] == *id)
    };
    crate::client::until("the exit is told", || exit(scene));
    let story = scene.story(name, "exit");
    let events = story.split(", ").filter(|event| !event.starts_with("delete"));
    events.collect::<Vec<_>>().join(", ")
}

fn quick(scene: &Scene) -> String {
    let names = ["c1", "c2", "c3", "c4", "c5"];
    let story = |name: &str| {
        told(scene.run(name, &["--rm"], &["sh", "-c", "exit 3"]));
        up_to_exit(scene, name)
    };
    let mut stories: Vec<String> = names.map(story).to_vec();
    stories.dedup();
    format!("{} (5 times)", stories.join(" | "))
}

fn last(scene: &Scene) -> String {
    let names: Vec<String> = (0..10).map(|number| format!("c{number}")).collect();
    for name in &names {
        told(scene.run(name, &["--rm"], &["true"])).fine();
    }
    let is_told = |name: &&String| scene.events(name).iter().any(|(topic, _)| topic == "delete");
    let end = Instant::now() + Duration::from_secs(5);
    while !names.iter().all(|name| is_told(&name)) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    format!("{} deleted of {}", names.iter().filter(is_told).count(), names.len())
}

fn failed_exec(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    told(scene.exec("c", "e1", &[], &["no-such-program"]));
    scene.remove("c");
    let story = scene.story("c", "exit");
    let of_exec = story.split(", ").filter(|event| event.contains(" e1"));
    of_exec.collect::<Vec<_>>().join(", ")
}

fn times(scene: &Scene) -> String {
    scene.detached("c", &[], "exit 6");
    let pid = scene.events("c").iter().find_map(|(_, event)| event["pid"].as_u64());
    up_to_exit(scene, "c");
    let (listed, _) = scene.listed("c").unwrap();
    let exit = scene.events("c").into_iter().find(|(topic, _)| topic == "exit").unwrap().1;
    let time = exit["exited_at"].as_str().unwrap().to_owned();
    scene.remove("c");
    let same = exit["pid"].as_u64() == Some(u64::from(listed)) && pid == exit["pid"].as_u64();
    assert!(time.starts_with("20"), "it has ended at {time}");
    let same = if same && exit["exit_status"] == 6 { "the same" } else { "not the same" };
    format!("{same} pid and status")
}
