//! How the runtime is called: command line, directory, environment, descriptors, signals.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use fake_runc::Call;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    Ended, MARK, Place, Setup, fake_runc, is_alive, is_root, reap, skip, stat_field, wait_for_end,
    word,
};

/// The command line, with short names for what differs from run to run: `STATE` for the state
/// directory, `BUNDLE`, `ROOT` for the runtime's `--root=…`, `PTY`, `SOCKET`.
fn line(place: &Place, id: &str, call: &Call) -> String {
    let names = [
        (place.text(&format!("state/c1/{id}")), "STATE"),
        (place.text("bundle"), "BUNDLE"),
        (place.root_flag(), "ROOT"),
        (fake_runc().to_str().unwrap().to_owned(), "RUNTIME"),
    ];
    let short = |word: &String| {
        if word.is_empty() {
            return "''".to_owned();
        }
        if word.starts_with("/dev/pts/") {
            return "PTY".to_owned();
        }
        if word.starts_with(&place.text("tmp/pty")) && word.ends_with("/pty.sock") {
            return "SOCKET".to_owned();
        }
        names.iter().fold(word.clone(), |word, (long, short)| word.replace(long, short))
    };
    call.argv.iter().map(short).collect::<Vec<_>>().join(" ")
}

const HEAD: &str = "RUNTIME --log STATE/log.json --log-format json ROOT";
const TAIL: &str = "--pid-file STATE/pid c1";

/// Sees a container through its life.
fn live(place: &Place, setup: Setup<'_>, is_created: bool) -> Ended {
    let mut shim = setup.start();
    if is_created {
        shim.process();
        assert!(place.runtime(&["start", "c1"]).status.success());
    }
    let ended = shim.finish();
    assert_eq!((ended.code, ended.status.as_deref()), (0, Some("0")), "{ended:?}");
    ended
}

/// A container that ends by itself.
fn short() -> Place {
    Place::with(json!({"container": {"echo": false}, "exec": {"echo": false}}))
}

#[rstest]
#[case("start", false, false, "start --bundle BUNDLE --console '' -d")]
#[case("start", false, true, "start --bundle BUNDLE --console '' --no-pivot -d")]
#[case("start", true, false, "start --bundle BUNDLE --console PTY -d")]
#[case("create", false, false, "create --bundle BUNDLE")]
#[case("create", false, true, "create --bundle BUNDLE --no-pivot")]
#[case("create", true, false, "create --bundle BUNDLE --console-socket SOCKET")]
#[case("create", true, true, "create --bundle BUNDLE --console-socket SOCKET --no-pivot")]
#[case("run", false, false, "run --bundle BUNDLE -d")]
#[case("run", false, true, "run --bundle BUNDLE --no-pivot -d")]
#[case("run", true, false, "run --bundle BUNDLE --console-socket SOCKET -d")]
fn making_a_container(
    #[case] dialect: &str,
    #[case] terminal: bool,
    #[case] no_pivot: bool,
    #[case] expected: &str,
) {
    let place = short();
    let setup = place.init().dialect(dialect).set("noPivotRoot", json!(no_pivot));
    live(&place, setup.set("terminal", json!(terminal)), dialect == "create");
    let lines: Vec<_> = place.calls().iter().map(|call| line(&place, "init", call)).collect();
    let mut wanted = vec![format!("{HEAD} {expected} {TAIL}")];
    if dialect != "start" {
        wanted.push("RUNTIME ROOT kill --all c1 SIGKILL".to_owned());
    }
    wanted.push("RUNTIME ROOT delete c1".to_owned());
    assert_eq!(lines, wanted);
}

#[rstest]
#[case("start", false, "exec --process STATE/process.json --console '' -d")]
#[case("start", true, "exec --process STATE/process.json --console PTY -d")]
#[case("create", false, "exec -d --process STATE/process.json")]
#[case("create", true, "exec -d --process STATE/process.json --console-socket SOCKET")]
#[case("run", false, "exec -d --process STATE/process.json")]
#[case("run", true, "exec -d --process STATE/process.json --console-socket SOCKET")]
fn making_a_further_process(#[case] dialect: &str, #[case] terminal: bool, #[case] expected: &str) {
    let place = Place::with(json!({"exec": {"echo": false}}));
    let mut init = place.init().start();
    init.process();
    // What is for a container alone has no meaning here.
    let setup = place.exec("e1").dialect(dialect).set("terminal", json!(terminal));
    live(&place, setup.set("noPivotRoot", json!(true)), false);
    let calls = place.calls();
    assert_eq!(line(&place, "e1", &calls[1]), format!("{HEAD} {expected} {TAIL}"));
    assert_eq!(calls.len(), 2, "a process that is not the first is neither killed nor deleted");
    init.close_stdin();
    init.finish_with("0");
}

#[rstest]
#[case::of_2016(
    "start",
    "c9",
    "restore --image-path BUNDLE/checkpoints/c9 --shell-job --tcp-established --ext-unix-sk \
     --no-pivot -d"
)]
#[case::of_2017(
    "create",
    "PLACE/image",
    "restore -d --image-path PLACE/image --work-path PLACE/image/criu.work/restore-TIME \
     --shell-job --tcp-established --ext-unix-sk --no-pivot --empty-ns network --empty-ns ipc"
)]
#[case::of_today(
    "run",
    "c9",
    "restore --image-path BUNDLE/checkpoints/c9 --shell-job --tcp-established --ext-unix-sk \
     --no-pivot -d --empty-ns network --empty-ns ipc"
)]
fn restoring_with_everything(
    #[case] dialect: &str,
    #[case] checkpoint: &str,
    #[case] expected: &str,
) {
    let place = short();
    write_checkpoints(&place, json!({"tcp": true, "unixSockets": true, "shell": true}));
    let checkpoint = checkpoint.replace("PLACE", &place.text(""));
    let setup = place.init().dialect(dialect).set("checkpoint", json!(checkpoint));
    live(&place, setup.set("noPivotRoot", json!(true)), false);
    let line = line(&place, "init", &place.calls()[0]);
    let line: Vec<_> = line.split(' ').map(without_time).collect();
    let expected = expected.replace("PLACE", &place.text(""));
    assert_eq!(line.join(" "), format!("{HEAD} {expected} {TAIL}"));
}

#[rstest]
#[case("start", "c9", "restore --image-path BUNDLE/checkpoints/c9 -d")]
#[case(
    "run",
    "c9",
    "restore --image-path BUNDLE/checkpoints/c9 -d --empty-ns network --empty-ns ipc"
)]
fn restoring_with_little(#[case] dialect: &str, #[case] checkpoint: &str, #[case] expected: &str) {
    let place = short();
    write_checkpoints(&place, json!({"tcp": false, "name": "c9", "exit": true}));
    let setup = place.init().dialect(dialect).set("checkpoint", json!(checkpoint));
    live(&place, setup, false);
    let line = line(&place, "init", &place.calls()[0]);
    assert_eq!(line, format!("{HEAD} {expected} {TAIL}"));
}

fn write_checkpoints(place: &Place, mut config: Value) {
    config["created"] = json!("2016-11-23T11:50:20.862661654Z");
    config["emptyNS"] = json!(["network", "ipc"]);
    for directory in ["bundle/checkpoints/c9", "image"] {
        fs::create_dir_all(place.path(directory)).unwrap();
        fs::write(place.path(directory).join("config.json"), config.to_string()).unwrap();
    }
}

/// `…/restore-2026-11-23T11:50:20.862661654Z` names a moment of Go's `RFC3339Nano`.
fn without_time(word: &str) -> String {
    let Some((before, time)) = word.split_once("/criu.work/restore-") else {
        return word.to_owned();
    };
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let (second, fraction) = shape.split_once('.').unwrap_or((shape.trim_end_matches('Z'), "Z"));
    assert_eq!(second, "0000-00-00T00:00:00", "{time}");
    assert!(fraction.ends_with('Z') && fraction.len() <= 10, "{time}");
    format!("{before}/criu.work/restore-TIME")
}

#[rstest]
#[case(
    "start",
    "no-such",
    "open BUNDLE/checkpoints/no-such/config.json: no such file or directory"
)]
#[case("create", "/no/such", "open /no/such/config.json: no such file or directory")]
fn a_checkpoint_that_is_not_there(
    #[case] dialect: &str,
    #[case] checkpoint: &str,
    #[case] message: &str,
) {
    let place = Place::new();
    let setup = place.init().dialect(dialect).set("checkpoint", json!(checkpoint));
    let ended = setup.start().finish();
    let message = message.replace("BUNDLE", &place.text("bundle"));
    assert_eq!(ended.code, 1);
    assert!(matches!(ended.errors()[..], [error] if error.starts_with(&message)), "{ended:?}");
}

/// Which generation of daemon has made the directory, told by its files.
#[rstest]
#[case::seed(false, json!({}), None, "start")]
#[case::console_size(true, json!({}), None, "create")]
#[case::shim_in_state(false, json!({"shim": "/usr/bin/containerd-shim"}), None, "create")]
#[case::both(true, json!({"shim": "containerd-shim"}), None, "create")]
#[case::told_start(true, json!({"shim": "containerd-shim"}), Some("start"), "start")]
#[case::told_create(false, json!({}), Some("create"), "create")]
#[case::told_run(true, json!({}), Some("run"), "run")]
fn the_dialect(
    #[case] console_size: bool,
    #[case] state: Value,
    #[case] told: Option<&str>,
    #[case] expected: &str,
) {
    let place = short();
    place.write_state_file(state);
    let mut setup = place.init();
    if console_size {
        setup = setup.of_0_2_9();
    }
    if let Some(dialect) = told {
        setup = setup.dialect(dialect);
    }
    live(&place, setup, expected == "create");
    assert_eq!(place.words()[0], expected);
}

#[test]
fn without_a_state_file_it_is_the_seed() {
    let place = short();
    fs::remove_file(place.path("state/c1/state.json")).unwrap();
    live(&place, place.init(), false);
    assert_eq!(place.words(), ["start", "delete"]);
}

#[test]
fn runtime_args_stand_before_every_subcommand() {
    let place = short();
    let args = json!([place.root_flag(), "--debug", "--criu=/x y"]);
    live(&place, place.init().dialect("run").set("runtimeArgs", args), false);
    for call in place.calls() {
        let line = line(&place, "init", &call);
        assert!(line.contains(&format!("ROOT --debug --criu=/x y {}", word(&call))), "{line}");
    }
}

// ---- surroundings ------------------------------------------------------------------------------

#[rstest]
fn directory_and_environment(#[values("start", "run")] dialect: &str) {
    let place = short();
    let setup = place.init().dialect(dialect).env("WORD", "a=b \u{e4}\n").env("EMPTY", "");
    live(&place, setup, false);
    let steering = |name: &str| name.starts_with("WAVETANK_") || name.starts_with("FAKE_RUNC_");
    let mut env: BTreeMap<String, String> =
        std::env::vars().filter(|(name, _)| !steering(name)).collect();
    for (name, value) in [
        ("WORD", "a=b \u{e4}\n"),
        ("EMPTY", ""),
        ("WAVETANK_DIALECT", dialect),
        ("TMPDIR", &place.text("tmp")),
        ("FAKE_RUNC_CALLS", &place.text("calls")),
        (MARK, &place.text("")),
    ] {
        env.insert(name.to_owned(), value.to_owned());
    }
    for call in place.calls() {
        assert_eq!(call.env, env);
        let cwd = if word(&call) == dialect { "bundle" } else { "state/c1/init" };
        assert_eq!(call.cwd, place.path(cwd));
    }
}

/// Also descriptors that the daemon was careless with.
#[rstest]
fn descriptors(
    #[values("start", "run")] dialect: &str,
    #[values(false, true)] terminal: bool,
    #[values("true", "exec 3</ 5</dev/zero 9</etc/passwd")] before: &str,
) {
    let place = short();
    let setup = place.init().dialect(dialect).set("terminal", json!(terminal)).through(before);
    live(&place, setup, false);
    for call in place.calls() {
        let numbers: Vec<i32> = call.fds.iter().map(|descriptor| descriptor.fd).collect();
        assert_eq!(numbers, [0, 1, 2], "{call:?}");
        let to: Vec<&str> = call.fds.iter().map(|descriptor| descriptor.to.as_str()).collect();
        if word(&call) == dialect && !terminal {
            assert!(to.iter().all(|to| to.starts_with("pipe:[")), "{to:?}");
            assert!(to[0] != to[1] && to[1] != to[2] && to[0] != to[2], "{to:?}");
        } else {
            assert_eq!(to, ["/dev/null"; 3]);
        }
    }
}

/// The shim holds signals back, and its parent may ignore some; a program must start with neither.
#[rstest]
fn signals_are_as_a_program_expects_them(
    #[values("true", "trap '' HUP INT PIPE TERM USR1")] before: &str,
) {
    let place = short();
    // Without another process: a shell that starts one holds all signals back for a moment.
    let runtime = format!(
        "#!/bin/sh\nwhile read line; do echo $line; done </proc/$$/status >{}/status.$$\n\
         exec {} \"$@\"\n",
        place.text(""),
        fake_runc().display()
    );
    let runtime = place.executable("runtime", &runtime);
    live(&place, place.init().runtime(runtime.to_str().unwrap()).through(before), false);
    let calls = place.calls();
    assert_eq!(calls.len(), 2);
    for call in calls {
        let status = fs::read_to_string(place.path(&format!("status.{}", call.pid))).unwrap();
        assert_clean(&status);
    }
}

fn assert_clean(status: &str) {
    for name in ["SigBlk", "SigIgn"] {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let set = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        // Those two are the C library's, which lets nobody touch them.
        assert_eq!(set & !(1 << 31 | 1 << 32), 0, "{line}");
    }
}

#[test]
fn a_container_starts_with_clean_signals() {
    let place = Place::with(json!({"container": {"argv": ["cat"]}}));
    let mut shim = place.init().start();
    // Once it answers, it is the program itself.
    shim.input().write(b"x");
    shim.out().read_exact(1);
    let status = fs::read_to_string(format!("/proc/{}/status", shim.process())).unwrap();
    assert_clean(&status);
    shim.close_stdin();
    shim.finish_with("0");
}

#[rstest]
fn a_runtime_dies_with_its_shim(#[values("start", "exec", "delete", "kill")] hangs: &str) {
    let place = Place::with(json!({"on": {hangs: {"before": {"hang": true}}}}));
    place.state_may_stay();
    let dialect = if hangs == "kill" { "run" } else { "start" };
    let mut shim = place.init().dialect(dialect).start();
    let mut exec = None;
    if hangs == "exec" {
        shim.process();
        exec = Some(place.exec("e1").start());
    } else {
        shim.close_stdin();
    }
    let runtime = place.wait_for_call(hangs).pid.0;
    assert!(is_alive(runtime));
    exec.as_mut().unwrap_or(&mut shim).kill();
    wait_for_end(runtime);
    // An orphan comes to us.
    assert_eq!(stat_field(runtime, 4), Some(std::process::id().to_string()));
    reap(runtime);
    if hangs == "exec" {
        shim.close_stdin();
        shim.finish_with("0");
    }
}

#[rstest]
fn what_the_container_gets_is_its_roots(#[values(false, true)] terminal: bool) {
    if !is_root() {
        return skip("only root may give files away");
    }
    let place = Place::with(json!({"container": {"argv": ["sleep", "1000"]}}));
    let setup = place.init().set("rootUID", json!(1234)).set("rootGID", json!(5678));
    let mut shim = setup.set("terminal", json!(terminal)).start();
    let process = shim.process();
    for fd in 0..3 {
        let file = fs::metadata(format!("/proc/{process}/fd/{fd}")).unwrap();
        assert_eq!((file.uid(), file.gid()), (1234, 5678), "descriptor {fd}");
        if terminal {
            assert_eq!(file.mode() & 0o777, 0o600);
        }
    }
    crate::support::signal(process, 9);
    shim.finish_with("137");
}
