//! Recordings of the real shim at work, and the shim run against them.
//!
//! Every scenario is recorded anew and must replay; with `WAVETANK_RECORD_FIXTURES` set its
//! recording becomes the fixture. The fixtures that are committed must replay at any time.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use rstest::rstest;
use serde_json::json;
use wavetank::host::Replayer;
use wavetank::{classic, task};

use crate::runc::busybox_bundle;
use crate::support::{
    Daemon, Ended, Place, Prepared, Refused, Server, Setup, Shim, Stream, fake_runc, kill, mkfifo,
    options_any, runc_options,
};

const TRACES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/traces");
const NAMES: [&str; 12] = [
    "echo",
    "exec",
    "killed",
    "missing-fifo",
    "output-4mib",
    "restore",
    "runc-busybox",
    "runtime-failure",
    "tty-console-path",
    "tty-resize",
    "v2-exec",
    "v2-failed-create",
];

/// Runs the shim against a trace, and gives the number of calls, all of them equal.
#[track_caller]
fn replay(name: &str, trace: &str) -> usize {
    let mut replayer = Replayer::new(trace).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut argv = vec![OsString::from(&replayer.header().program)];
    argv.extend(replayer.args());
    match replayer.header().program.as_str() {
        "containerd-shim" => classic::main(&mut replayer, &argv),
        "containerd-shim-wavetank-v2" => task::main(&mut replayer, &argv),
        other => panic!("{name}: of {other}"),
    };
    replayer.finish().unwrap_or_else(|divergence| panic!("{name}: {divergence}"))
}

#[test]
fn every_committed_trace_replays() {
    let mut names: Vec<String> = fs::read_dir(TRACES)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, NAMES.map(|name| format!("{name}.jsonl")));
    for name in names {
        let trace = fs::read_to_string(Path::new(TRACES).join(&name)).unwrap();
        assert!(replay(&name, &trace) > 20, "{name} is hardly a trace");
    }
}

/// A shim whose environment says nothing of this machine, and which is recorded.
fn recorded(setup: Setup<'_>) -> Prepared<'_> {
    let place = setup.place;
    let runtime = place.path("bin/fake-runc");
    if !runtime.exists() {
        fs::create_dir_all(place.path("bin")).unwrap();
        // A copy made by a child: no thread that forks just now can keep it open for writing.
        let copied = Command::new("cp").arg(fake_runc()).arg(&runtime).status().unwrap();
        assert!(copied.success());
    }
    setup.runtime("fake-runc").prepare()
}

fn start(prepared: Prepared<'_>) -> Shim {
    let place = prepared.setup.place;
    let mut command = prepared.command();
    let kept: Vec<(OsString, OsString)> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .filter(|(name, _)| name != "FAKE_RUNC_CALLS")
        .collect();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", place.text("bin"));
    command.env_clear().envs(kept).env("PATH", path);
    command.env("WAVETANK_RECORD", place.path("trace.jsonl"));
    prepared.start_as(command)
}

/// Replays what was recorded, and keeps it if that was asked for, with the test's directory under
/// another name of the same length.
#[track_caller]
fn keep(name: &str, place: &Place) {
    let trace = fs::read_to_string(place.path("trace.jsonl")).unwrap();
    let calls = replay(name, &trace);
    assert!(calls > 20, "{name}: only {calls} calls");
    if std::env::var_os("WAVETANK_RECORD_FIXTURES").is_some() {
        let directory = place.text("");
        let name_of_place = format!("/run/{:-<1$}", "recorded", directory.len() - "/run/".len());
        let trace = trace.replace(&directory, &name_of_place);
        replay(name, &trace);
        fs::write(Path::new(TRACES).join(format!("{name}.jsonl")), trace).unwrap();
    }
}

fn shell(command: &str) -> serde_json::Value {
    json!({"container": {"argv": ["sh", "-c", command]}})
}

#[test]
fn echo() {
    let place = Place::with(json!({"container": {"exit_code": 7}}));
    let mut shim = start(recorded(place.init().dialect("run")));
    let mut input = shim.input();
    input.write(b"hello\n");
    assert_eq!(shim.out().read_exact(6), b"hello\n");
    drop(input);
    shim.close_stdin();
    shim.finish_with("7");
    keep("echo", &place);
}

#[rstest]
#[case("tty-resize", "run")]
#[case("tty-console-path", "start")]
fn tty_with_resize(#[case] name: &str, #[case] dialect: &str) {
    // Nothing orders the first size and the process's first look at it.
    let script = "until test \"$(stty size)\" = '37 91'; do sleep 0.01; done; stty size; \
                  read x; until test \"$(stty size)\" = '25 80'; do sleep 0.01; done; \
                  stty size; exit 3";
    let place = Place::with(shell(script));
    let mut prepared = recorded(place.init().terminal().dialect(dialect));
    prepared.control("1 91 37\n");
    let mut shim = start(prepared);
    shim.out().read_until("37 91");
    shim.control("1 80 25\n");
    let mut input = shim.input();
    input.write(b"go\n");
    shim.out().read_until("25 80");
    shim.finish_with("3");
    keep(name, &place);
}

#[test]
fn exec() {
    let place = Place::with(json!({"exec": {"argv": ["sh", "-c", "echo second; exit 9"]}}));
    let mut init = place.init().dialect("run").start();
    init.process();
    let mut shim = start(recorded(place.exec("e1").dialect("run")));
    assert_eq!(shim.out().text_to_end(), "second\n");
    shim.finish_with("9");
    init.close_stdin();
    init.finish_with("0");
    keep("exec", &place);
}

#[test]
fn restore() {
    let place = Place::with(shell("echo again; exit 4"));
    fs::create_dir_all(place.path("bundle/checkpoints/c9")).unwrap();
    let config = json!({"created": "2016-11-23T11:50:20.8Z", "name": "c9", "tcp": true,
        "unixSockets": true, "shell": true, "exit": true});
    fs::write(place.path("bundle/checkpoints/c9/config.json"), config.to_string()).unwrap();
    let setup = place.init().dialect("start").set("checkpoint", json!("c9"));
    let mut shim = start(recorded(setup));
    assert_eq!(shim.out().text_to_end(), "again\n");
    shim.finish_with("4");
    keep("restore", &place);
}

#[test]
fn runtime_failure() {
    let script = json!({"on": {"create": {"before": {"log_error": "no", "exit_code": 1}}}});
    let place = Place::with(script);
    let mut shim = start(recorded(place.init().dialect("create")));
    let Ended { code, log, status } = shim.finish();
    assert_eq!((code, log.len(), status), (0, 0, None));
    keep("runtime-failure", &place);
}

#[test]
fn missing_fifo() {
    let place = Place::new();
    let missing = json!("/no/such/fifo");
    let setup = place.init().set("containerdStdout", missing).without_readers();
    let mut shim = start(recorded(setup));
    let ended = shim.finish();
    assert_eq!(ended.errors(), ["open /no/such/fifo: no such file or directory (ENOENT)"]);
    keep("missing-fifo", &place);
}

#[test]
fn output_of_4_mib() {
    const SIZE: usize = 4 * 1024 * 1024;
    let place = Place::with(json!({"container": {"stdout_bytes": SIZE, "echo": false}}));
    let mut shim = start(recorded(place.init().dialect("run")));
    assert_eq!(shim.out().read_to_end().len(), SIZE);
    shim.finish_with("0");
    keep("output-4mib", &place);
}

#[test]
fn killed() {
    let place = Place::with(json!({}));
    let mut shim = start(recorded(place.init().dialect("run")));
    let process = shim.process();
    kill(process);
    shim.finish_with("137");
    keep("killed", &place);
}

#[test]
fn busybox_under_runc() {
    let place = Place::new();
    let Some(bundle) = busybox_bundle(&place, "echo hello; exit 7") else { return };
    let setup = place.init().runtime("runc").bundle(bundle).dialect("run");
    let mut shim = start(setup.prepare());
    assert_eq!(shim.out().text_to_end(), "hello\n");
    shim.finish_with("7");
    keep("runc-busybox", &place);
}

// ---- the shim of runtime v2 --------------------------------------------------------------------

/// A daemon whose shims are recorded, and whose environment says nothing of this machine.
fn recorded_v2(place: &Place) -> Daemon<'_> {
    let trace = place.text("trace-%p.jsonl");
    Daemon::new(place, "exec sleep 1000").clean().env("WAVETANK_RECORD", &trace)
}

/// Creates a container with the runtime in the place's own `PATH`.
fn create_v2(shim: &Server<'_>) -> Result<u32, Refused> {
    let options = options_any(&runc_options(shim.place, "runc"));
    shim.create_with("c1", |request| request.options = options)
}

/// Ends the shim, and keeps what it did.
#[track_caller]
fn keep_v2(name: &str, shim: Server<'_>) {
    let (place, pid) = (shim.place, shim.pid);
    shim.shut_down_and_end();
    fs::rename(place.path(&format!("trace-{pid}.jsonl")), place.path("trace.jsonl")).unwrap();
    keep(name, place);
}

#[test]
fn exec_under_v2() {
    let place = Place::new();
    let daemon = recorded_v2(&place);
    mkfifo(&place.path("out"));
    let mut out = Stream::open(&place.path("out"));
    let shim = daemon.start();
    create_v2(&shim).unwrap();
    shim.start("c1", "").unwrap();
    shim.exec_with("e1", "echo second; exit 9", |request| request.stdout = place.text("out"))
        .unwrap();
    shim.start("c1", "e1").unwrap();
    assert_eq!(out.text_to_end(), "second\n");
    assert_eq!(shim.wait("c1", "e1"), Ok(9));
    shim.delete("c1", "e1").unwrap();
    assert_eq!(shim.remove(), 137);
    keep_v2("v2-exec", shim);
}

#[test]
fn failed_create_under_v2() {
    let place = Place::new();
    let daemon = recorded_v2(&place);
    place.script(json!({"on": {"create": {"before": {"log_error": "no", "exit_code": 1}}}}));
    let shim = daemon.start();
    let refused = create_v2(&shim).unwrap_err();
    assert_eq!(refused.1, "OCI runtime create failed: no");
    keep_v2("v2-failed-create", shim);
}
