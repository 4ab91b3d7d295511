//! Running, executing, ending, and what is told of it.

use crate::client::told;
use crate::scene::Scene;
use crate::table::{Needs, Row};

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
             exec-added e2, exec-started e2, paused, resumed, exit e2 137, exit 137, delete 137",
        ),
        row(
            "events: of those that end at once",
            quick,
            "create, start, exit 3, delete 3 (5 times)",
        ),
        row("events: a failed exec is not told as an exit", failed_exec, "exec-added e1"),
        row(
            "events: the same time everywhere",
            times,
            "exit and delete tell the same pid and time",
        ),
    ]
}

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
    scene.story("c", "delete")
}

fn quick(scene: &Scene) -> String {
    let names = ["c1", "c2", "c3", "c4", "c5"];
    let story = |name: &str| {
        told(scene.run(name, &["--rm"], &["sh", "-c", "exit 3"]));
        scene.story(name, "delete")
    };
    let mut stories: Vec<String> = names.map(story).to_vec();
    stories.dedup();
    format!("{} (5 times)", stories.join(" | "))
}

fn failed_exec(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    told(scene.exec("c", "e1", &[], &["no-such-program"]));
    scene.remove("c");
    let story = scene.story("c", "delete");
    let of_exec = story.split(", ").filter(|event| event.contains(" e1"));
    of_exec.collect::<Vec<_>>().join(", ")
}

fn times(scene: &Scene) -> String {
    told(scene.run("c", &["--rm"], &["true"])).fine();
    scene.story("c", "delete");
    let events = scene.events("c");
    let of = |wanted: &str| &events.iter().find(|(topic, _)| topic == wanted).unwrap().1;
    let (exit, delete) = (of("exit"), of("delete"));
    let fields = ["pid", "exit_status", "exited_at"];
    let same = fields.iter().all(|field| exit[*field] == delete[*field]);
    let same = if same { "the same" } else { "not the same" };
    format!("exit and delete tell {same} pid and time")
}
