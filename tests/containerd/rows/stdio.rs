//! The streams: what goes in, what comes out, by whatever scheme.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::client::{Client, told, until};
use crate::scene::Scene;
use crate::table::{Differs, Needs, Row};

pub(crate) fn rows() -> Vec<Row> {
    let row =
        |name, read, reading| Row { name, needs: Needs::Nothing, read, reading, differs: &[] };
    vec![
        row("fifo: stdin, closed by the user", stdin, r#"status 0, out "ready|typed", err """#),
        row("fifo: stdin of an exec", exec_stdin, r#"status 0, out "ready|typed", err """#),
        row("fifo: stdin of many bytes", much_stdin, "3000000 bytes"),
        row("fifo: much output, in order", much_output, "200000 lines, in order"),
        row("fifo: output of one who has ended", last_words, "100000 bytes, 20 times"),
        row(
            "fifo: an exec that leaves a child behind",
            left_child,
            r#"status 0, out "out", err """#,
        ),
        row("attach", attach, "answers, status 3"),
        Row { differs: SHORT, ..row("file", file, "err|out") },
        row("file: appended to, in a new directory", file_again, "one|two"),
        row("file: of an exec", exec_file, "from the exec"),
        row(
            "binary",
            binary,
            "args key value, id r-c, namespace ns, out: out, err: err, logger ended, status 4",
        ),
        row("binary: one that fails", binary_fails, "task none"),
        row("null", null, "/dev/null /dev/null /dev/null"),
        row("an unknown scheme", unknown, "refused: unknown STDIO scheme bogus"),
    ]
}

const SHORT: &[Differs] = &[Differs {
    on: "",
    stock: "*",
    why: "once in a while one of two short streams is not in the file, although the task is deleted",
}];

/// Types once the other end is there to read, which is to repeat it.
fn typed(mut client: Client, text: &str) -> String {
    client.wait_for("ready");
    client.write(text);
    client.wait_for(text);
    client.close_input();
    client.finish().line()
}

fn stdin(scene: &Scene) -> String {
    let command = scene.run("c", &["--rm"], &["sh", "-c", "echo ready; cat"]);
    typed(Client::piped(command), "typed\n")
}

fn exec_stdin(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    let command = scene.exec("c", "e", &[], &["sh", "-c", "echo ready; cat"]);
    let line = typed(Client::piped(command), "typed\n");
    scene.remove("c");
    line
}

/// All that a container says; it stays until the last of it was shown. `ctr` closes its fifos as soon as
/// it hears of an init's end, and so now and then swallows what came just before, with either shim.
fn shown(scene: &Scene, script: &str, input: &str, last: &str) -> String {
    let script = format!("{script}; until [ -e /t/shown ]; do sleep 0.02; done");
    let command = scene.run("c", &["--rm", &scene.shared()], &["sh", "-c", &script]);
    let mut client = Client::piped(command);
    client.write(input);
    client.close_input();
    client.wait_for(last);
    fs::write(scene.path("shown"), "").unwrap();
    client.finish().fine()
}

fn much_stdin(scene: &Scene) -> String {
    let input = "0123456789".repeat(300_000);
    format!("{} bytes", shown(scene, "wc -c", &input, "\n").trim_end())
}

fn much_output(scene: &Scene) -> String {
    let out = shown(scene, "seq 200000", "", "\n200000\n");
    let in_order = out.lines().enumerate().all(|(at, line)| line == (at + 1).to_string());
    let order = if in_order { "in order" } else { "out of order" };
    format!("{} lines, {order}", out.lines().count())
}

fn last_words(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    let args = ["dd", "if=/dev/zero", "bs=100000", "count=1"];
    let one = |number: i32| {
        told(scene.exec("c", &format!("e{number}"), &[], &args)).out.len().to_string()
    };
    let mut lengths: Vec<String> = (0..20).map(one).collect();
    lengths.dedup();
    scene.remove("c");
    format!("{} bytes, 20 times", lengths.join(" "))
}

/// The child holds the streams, and nobody waits for it for ever.
fn left_child(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    let args = ["sh", "-c", "sleep 4 & echo out"];
    let line = told(scene.exec("c", "e", &[], &args)).line();
    scene.remove("c");
    line
}

fn attach(scene: &Scene) -> String {
    // The input of the first client stays open: its end would be passed on.
    let script = "while ! [ \"$x\" = end ]; do read x; echo got $x; done; exit 3";
    let first = Client::piped(scene.run("c", &["--detach"], &["sh", "-c", script]));
    scene.wait_for_state("c", "RUNNING");
    let id = scene.id("c");
    let mut second = Client::piped(scene.ctr(&["tasks", "attach", &id]));
    first.finish().fine();
    // What comes before it is there is not for it.
    until("it answers", || {
        second.write("more\n");
        second.seen().contains("got more\n")
    });
    second.write("end\n");
    let status = second.finish().status;
    scene.remove("c");
    format!("answers, status {status}")
}

/// Runs a container to its end with its output going to an address; its exit status.
fn logged(scene: &Scene, uri: &str, script: &str) -> String {
    scene.detached("c", &["--log-uri", uri], script);
    let exit = |(topic, event): (String, serde_json::Value)| {
        (topic == "exit").then(|| event["exit_status"].to_string())
    };
    scene.wait_for_state("c", "STOPPED");
    until("the exit is told", || scene.events("c").into_iter().find_map(exit).is_some());
    let status = scene.events("c").into_iter().find_map(exit).unwrap();
    scene.remove("c");
    status
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("|")
}

fn file(scene: &Scene) -> String {
    let uri = format!("file://{}", scene.path("log"));
    logged(scene, &uri, "echo out; echo err >&2");
    sorted(&scene.read("log"))
}

fn file_again(scene: &Scene) -> String {
    let uri = format!("file://{}", scene.path("new/directory/log"));
    logged(scene, &uri, "echo one");
    logged(scene, &uri, "echo two");
    sorted(&scene.read("new/directory/log"))
}

fn exec_file(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    let uri = format!("file://{}", scene.path("log"));
    let flags = ["--detach", "--log-uri", &uri];
    told(scene.exec("c", "e", &flags, &["echo", "from the exec"])).fine();
    until("there is a line", || scene.read("log").ends_with('\n'));
    scene.remove("c");
    sorted(&scene.read("log"))
}

fn logger(scene: &Scene, script: &str) -> String {
    let path = scene.path("logger");
    fs::write(scene.path("logger.new"), script).unwrap();
    fs::set_permissions(scene.path("logger.new"), fs::Permissions::from_mode(0o755)).unwrap();
    // By another process, so that no thread here forks while it is open for writing.
    let copied = std::process::Command::new("cp").args([&scene.path("logger.new"), &path]).status();
    assert!(copied.unwrap().success());
    path
}

fn binary(scene: &Scene) -> String {
    let directory = scene.path("");
    let script = format!(
        "#!/bin/sh\ntrap '' TERM\nPATH=/bin:/usr/bin\nexec 0<&3\n\
         echo \"args $*\" >{directory}/told\n\
         echo \"id $CONTAINER_ID, namespace $CONTAINER_NAMESPACE\" >>{directory}/told\n\
         exec 5>&-\ncat <&4 >{directory}/err &\ncat >{directory}/out\nwait\n\
         echo ended >{directory}/end\n"
    );
    let uri = format!("binary://{}?key=value", logger(scene, &script));
    let status = logged(scene, &uri, "echo out; echo err >&2; exit 4");
    until("the logger has ended", || scene.read("end") == "ended\n");
    let namespace = scene.daemon.namespace(scene.shim);
    let told = sorted(&scene.read("told")).replace('|', ", ");
    let told = told.replace(&scene.id("c"), "r-c").replace(&namespace, "ns");
    let (out, err) = (sorted(&scene.read("out")), sorted(&scene.read("err")));
    format!("{told}, out: {out}, err: {err}, logger ended, status {status}")
}

fn binary_fails(scene: &Scene) -> String {
    let uri = format!("binary://{}", scene.path("no-such-logger"));
    let flags = ["--detach", "--log-uri", &uri];
    let told = told(scene.run("c", &flags, &["true"]));
    assert!(told.status != 0 && told.err.contains("no-such-logger"), "{}", told.line());
    let state = scene.state("c");
    scene.remove("c");
    format!("task {state}")
}

fn null(scene: &Scene) -> String {
    // Of the shell, which has nothing redirected while it asks.
    let script = "all=$(for n in 0 1 2; do readlink /proc/1/fd/$n; done); \
                  echo \"$all\" >/t/new; mv /t/new /t/streams; sleep 1000";
    scene.detached("c", &["--null-io", &scene.shared()], script);
    until("the streams are told", || scene.read("streams").ends_with('\n'));
    scene.remove("c");
    scene.read("streams").lines().collect::<Vec<_>>().join(" ")
}

fn unknown(scene: &Scene) -> String {
    let flags = ["--detach", "--log-uri", "bogus:///x"];
    let complaint = told(scene.run("c", &flags, &["true"])).complaint("unknown STDIO scheme bogus");
    scene.remove("c");
    complaint
}
