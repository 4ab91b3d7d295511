//! Terminals.

use crate::client::Client;
use crate::scene::Scene;
use crate::table::{Needs, Row};

pub(crate) fn rows() -> Vec<Row> {
    let row =
        |name, read, reading| Row { name, needs: Needs::Nothing, read, reading, differs: &[] };
    vec![
        row("tty: run", run, "a terminal, echoed, both streams, status 6"),
        row("tty: size at the start, and resized", resize, "30 100, then 40 120"),
        row("tty: much output", much, "20000 lines, status 4"),
        row("tty: exec, and resized", exec, "a terminal, 25 90, then 33 111, status 8"),
        row("tty: attach", attach, "again on the terminal, status 3"),
        row("tty: the end of input by its letter", letter, "status 5"),
    ]
}

fn told(text: &str, words: &[(&str, &str)]) -> String {
    let found = words.iter().filter(|(sign, _)| text.contains(sign)).map(|(_, word)| *word);
    found.collect::<Vec<_>>().join(", ")
}

/// The container stays until its last line was shown: `ctr` closes its fifos as soon as it hears of an
/// init's end, and so now and then swallows what came just before, with either shim.
fn run(scene: &Scene) -> String {
    let script = "tty; echo err >&2; echo ready; read x; echo \"got $x\"; read x; exit 6";
    let command = scene.run("c", &["--rm", "--tty"], &["sh", "-c", script]);
    let mut client = Client::on_terminal(command, 24, 80);
    client.wait_for("ready");
    client.write("line\n");
    client.wait_for("got line\n");
    client.write("\n");
    let told_all = client.finish();
    let words =
        [("/dev/pts/0\n", "a terminal"), ("line\ngot line", "echoed"), ("err\n", "both streams")];
    format!("{}, status {}", told(&told_all.out, &words), told_all.status)
}

/// Asks for the size until it is this one.
fn wait_for_size(client: &mut Client, size: &str) {
    for _ in 0..400 {
        client.write("\n");
        std::thread::sleep(std::time::Duration::from_millis(20));
        if client.seen().contains(size) {
            return;
        }
    }
    panic!("{size} was not shown: {:?}", client.seen());
}

fn resize(scene: &Scene) -> String {
    let script = "while read x && [ -z \"$x\" ]; do stty size; done";
    let command = scene.run("c", &["--rm", "--tty"], &["sh", "-c", script]);
    let mut client = Client::on_terminal(command, 30, 100);
    wait_for_size(&mut client, "30 100\n");
    client.resize(40, 120);
    wait_for_size(&mut client, "40 120\n");
    client.write("end\n");
    client.finish();
    "30 100, then 40 120".to_owned()
}

fn much(scene: &Scene) -> String {
    let script = "seq 20000; read x; exit 4";
    let command = scene.run("c", &["--rm", "--tty"], &["sh", "-c", script]);
    let mut client = Client::on_terminal(command, 24, 80);
    client.wait_for("\n20000\n");
    client.write("\n");
    let told = client.finish();
    let lines: Vec<&str> = told.out.lines().take_while(|line| !line.is_empty()).collect();
    let in_order = lines.iter().enumerate().all(|(at, line)| *line == (at + 1).to_string());
    assert!(in_order, "the lines are not in order: {:?}", lines.last());
    format!("{} lines, status {}", lines.len(), told.status)
}

fn exec(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    let script = "tty; while read x && [ -z \"$x\" ]; do stty size; done; exit 8";
    let command = scene.exec("c", "e", &["--tty"], &["sh", "-c", script]);
    let mut client = Client::on_terminal(command, 25, 90);
    wait_for_size(&mut client, "25 90\n");
    client.resize(33, 111);
    wait_for_size(&mut client, "33 111\n");
    client.write("end\n");
    let all = client.finish();
    scene.remove("c");
    let word = told(&all.out, &[("/dev/pts/", "a terminal")]);
    format!("{word}, 25 90, then 33 111, status {}", all.status)
}

fn attach(scene: &Scene) -> String {
    let script = "while ! [ \"$x\" = end ]; do read x; echo \"got $x\"; done; exit 3";
    let command = scene.run("c", &["--detach", "--tty"], &["sh", "-c", script]);
    let first = Client::on_terminal(command, 24, 80);
    scene.wait_for_state("c", "RUNNING");
    first.finish();
    let id = scene.id("c");
    let mut second = Client::on_terminal(scene.ctr(&["tasks", "attach", &id]), 24, 80);
    for _ in 0..400 {
        second.write("more\n");
        std::thread::sleep(std::time::Duration::from_millis(20));
        if second.seen().contains("got more\n") {
            break;
        }
    }
    second.write("end\n");
    let all = second.finish();
    scene.remove("c");
    let word = told(&all.out, &[("got more\n", "again on the terminal")]);
    format!("{word}, status {}", all.status)
}

fn letter(scene: &Scene) -> String {
    let script = "echo ready; cat; exit 5";
    let command = scene.run("c", &["--rm", "--tty"], &["sh", "-c", script]);
    let mut client = Client::on_terminal(command, 24, 80);
    client.wait_for("ready");
    client.write("\u{4}");
    format!("status {}", client.finish().status)
}
