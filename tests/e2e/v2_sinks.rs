//! Output under the v2 shim that goes to a file, a logger, a terminal, or nowhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use containerd_shim_protos::api;
use rstest::rstest;
use serde_json::json;
use wavetank::ttrpc::Code;

use crate::support::{Client, Daemon, Input, Place, Stream, assert_same, mkfifo, until, wait_for};

/// Says something, and ends.
const TALK: &str = "echo to stdout; echo to stderr >&2; exit 3";

#[track_caller]
fn talk(shim: &Client<'_>, stdout: &str, stderr: &str) {
    shim.create_with("c1", |request| {
        (request.stdout, request.stderr) = (stdout.to_owned(), stderr.to_owned());
    })
    .unwrap();
    shim.start("c1", "").unwrap();
    assert_eq!(shim.wait("c1", ""), Ok(3));
    shim.delete("c1", "").unwrap();
}

// ---- nowhere, files ----------------------------------------------------------------------------

#[test]
fn nowhere() {
    let place = Place::new();
    let daemon = Daemon::new(&place, TALK);
    let shim = daemon.start();
    talk(&shim, "", "");
    shim.shut_down_and_end();
    let create = &place.calls()[0];
    assert!(create.fds.iter().all(|fd| fd.to == "/dev/null"), "{create:?}");
}

#[rstest]
#[case::scheme("file://")]
#[case::plain("")]
fn a_file(#[case] scheme: &str) {
    let place = Place::new();
    let daemon = Daemon::new(&place, TALK);
    let shim = daemon.start();
    let (path, mut expected) = (place.path("logs/c1.log"), "to stdout\nto stderr\n".to_owned());
    if scheme.is_empty() {
        fs::create_dir(place.path("logs")).unwrap();
        fs::write(&path, "before\n").unwrap();
        expected.insert_str(0, "before\n");
    }
    let uri = format!("{scheme}{}", path.display());
    talk(&shim, &uri, if scheme.is_empty() { &uri } else { "/not/used" });
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    if !scheme.is_empty() {
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(place.path("logs")), mode(path)), (0o755, 0o644));
    }
    shim.shut_down_and_end();
}

// ---- loggers -----------------------------------------------------------------------------------

/// A logger that writes down all there is, whoever asks it to end meanwhile.
fn logger(place: &Place, ready: &str) -> String {
    let directory = place.text("");
    let script = format!(
        "#!/bin/sh\ntrap '' TERM\ncd {directory}\nexport -p > env\necho \"$@\" > arguments\n{ready}\n\
         cat <&3 > out\ncat <&4 > err\necho > done\n"
    );
    place.executable("logger", &script).to_str().unwrap().to_owned()
}

const READY: &str = "printf r >&5; exec 5>&-";

#[rstest]
#[case::says_so("binary", READY)]
#[case::closes("binary", "exec 5>&-")]
#[case::strict("binary-v2", READY)]
fn a_logger(#[case] scheme: &str, #[case] ready: &str) {
    let place = Place::new();
    let daemon = Daemon::new(&place, TALK);
    let shim = daemon.start();
    let uri = format!("{scheme}://{}?key=a%20b&other=c", logger(&place, ready));
    talk(&shim, &uri, &uri);
    until("the logger is done", || place.path("done").exists());
    let read = |name: &str| fs::read_to_string(place.path(name)).unwrap();
    assert_eq!((read("out"), read("err")), ("to stdout\n".to_owned(), "to stderr\n".to_owned()));
    assert_eq!(read("arguments"), "key a b other c\n");
    let env = read("env");
    assert!(env.contains("CONTAINER_ID='c1'") && env.contains("CONTAINER_NAMESPACE='ns'"), "{env}");
    assert!(!env.contains("TTRPC_ADDRESS"), "{env}");
    shim.shut_down_and_end();
}

#[test]
fn a_loggers_exec() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.run();
    let uri = format!("binary://{}", logger(&place, READY));
    shim.exec_with("e1", TALK, |request| request.stdout = uri).unwrap();
    shim.start("c1", "e1").unwrap();
    assert_eq!(shim.wait("c1", "e1"), Ok(3));
    shim.delete("c1", "e1").unwrap();
    until("the logger is done", || place.path("done").exists());
    let env = fs::read_to_string(place.path("env")).unwrap();
    assert!(env.contains("CONTAINER_ID='e1'"), "{env}");
    assert_eq!(fs::read_to_string(place.path("out")).unwrap(), "to stdout\n");
    shim.finish();
}

/// Nobody speaks before somebody listens; and meanwhile the shim does other things.
#[test]
fn a_logger_that_is_long_in_coming() {
    let place = Place::new();
    let daemon = Daemon::new(&place, TALK);
    let shim = daemon.start();
    mkfifo(&place.path("go"));
    let uri = format!("binary://{}", logger(&place, &format!("read x < go; {READY}")));
    let mut request = shim.create_request("c1");
    request.stdout = uri;
    let creating = shim.send("Create", &request);
    until("the logger has been started", || place.path("arguments").exists());
    assert_eq!(shim.connected("c1").task_pid, 0);
    assert!(place.calls().is_empty() && !shim.is_answered(creating));
    fs::write(place.path("go"), "\n").unwrap();
    shim.answer::<api::CreateTaskResponse>(creating).unwrap();
    shim.start("c1", "").unwrap();
    assert_eq!(shim.wait("c1", ""), Ok(3));
    shim.delete("c1", "").unwrap();
    until("the logger is done", || place.path("done").exists());
    shim.shut_down_and_end();
}

#[rstest]
#[case::missing("binary", "", "failed to start binary process")]
#[case::dies("binary-v2", "exit 1", "logging binary did not call ready")]
fn a_logger_that_never_gets_ready(
    #[case] scheme: &str,
    #[case] ready: &str,
    #[case] message: &str,
) {
    let place = Place::new();
    let daemon = Daemon::new(&place, TALK);
    let shim = daemon.start();
    let path = if ready.is_empty() { place.text("none") } else { logger(&place, ready) };
    let uri = format!("{scheme}://{path}");
    let (code, words) = shim.create_with("c1", |request| request.stdout = uri).unwrap_err();
    assert_eq!(code, Code::Unknown);
    assert!(words.contains(message), "{words}");
    assert_eq!(shim.state("c1", "").unwrap_err().0, Code::NotFound);
    assert!(place.calls().is_empty(), "the runtime was called");
    talk(&shim, "", "");
    shim.shut_down_and_end();
}

/// The process neither hangs nor dies of it.
#[test]
fn a_logger_that_dies() {
    let place = Place::new();
    let command = format!(
        "until test -e {}; do sleep 0.01; done; head -c 300000 /dev/zero; echo >&2; exit 3",
        place.text("gone")
    );
    let daemon = Daemon::new(&place, &command);
    let shim = daemon.start();
    let path = logger(&place, &format!("{READY}; echo $$ > pid; exit 1"));
    shim.create_with("c1", |request| request.stdout = format!("binary://{path}")).unwrap();
    shim.start("c1", "").unwrap();
    let pid: i32 = wait_for("the logger has told its pid", || {
        fs::read_to_string(place.path("pid")).ok()?.trim().parse().ok()
    });
    crate::support::wait_for_end(pid);
    fs::write(place.path("gone"), "").unwrap();
    assert_eq!(shim.wait("c1", ""), Ok(3));
    shim.delete("c1", "").unwrap();
    shim.shut_down_and_end();
}

// ---- terminals ---------------------------------------------------------------------------------

fn resize(shim: &Client<'_>, exec_id: &str, width: u32, height: u32) {
    let (id, exec_id) = ("c1".to_owned(), exec_id.to_owned());
    let request = api::ResizePtyRequest { id, exec_id, width, height, ..Default::default() };
    shim.tell("ResizePty", &request).unwrap();
}

const SIZES: &str = "until test \"$(stty size)\" = '37 91'; do sleep 0.01; done; stty size; read x; \
                     until test \"$(stty size)\" = '25 80'; do sleep 0.01; done; stty size; \
                     test -t 0 && test -t 1 && test -t 2 && exit 3";

#[rstest]
#[case::init("")]
#[case::exec("e1")]
fn a_terminal_and_its_size(#[case] exec_id: &str) {
    let place = Place::new();
    let is_exec = !exec_id.is_empty();
    let daemon = Daemon::new(&place, if is_exec { "exec sleep 1000" } else { SIZES });
    for name in ["in", "out"] {
        mkfifo(&place.path(name));
    }
    let mut out = Stream::open(&place.path("out"));
    let shim = daemon.start();
    let (stdin, stdout) = (place.text("in"), place.text("out"));
    if is_exec {
        shim.run();
        shim.exec_with("e1", SIZES, |request| {
            (request.stdin, request.stdout, request.terminal) = (stdin, stdout, true);
        })
        .unwrap();
    } else {
        crate::support::terminal_in_config(&place, "bundle");
        shim.create_with("c1", |request| {
            (request.stdin, request.stdout, request.terminal) = (stdin, stdout, true);
        })
        .unwrap();
    }
    assert!(shim.state("c1", exec_id).unwrap().terminal);
    resize(&shim, exec_id, 91, 37);
    shim.start("c1", exec_id).unwrap();
    out.read_until("37 91\r\n");
    resize(&shim, exec_id, 80, 25);
    Input::open(&place.path("in")).write(b"go\n");
    let rest = String::from_utf8(out.read_to_end()).unwrap();
    assert_eq!(rest, "go\r\n25 80\r\n");
    assert_eq!(shim.wait("c1", exec_id), Ok(3));
    shim.delete("c1", exec_id).unwrap();
    if is_exec { shim.finish() } else { shim.shut_down_and_end() }
}

#[test]
fn much_out_of_a_terminal() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    place.script(json!({
        "container": {"process_args": true}, "exec": {"stdout_bytes": 400_000, "echo": false}
    }));
    mkfifo(&place.path("out"));
    let mut out = Stream::open(&place.path("out"));
    let shim = daemon.start();
    shim.run();
    shim.exec_with("e1", "", |request| {
        (request.stdout, request.terminal) = (place.text("out"), true);
    })
    .unwrap();
    shim.start("c1", "e1").unwrap();
    let bytes: Vec<u8> = out.read_to_end().into_iter().filter(|byte| *byte != b'\r').collect();
    assert_same(&bytes, &fake_runc::pattern(0, 400_000));
    assert_eq!(shim.wait("c1", "e1"), Ok(0));
    shim.delete("c1", "e1").unwrap();
    shim.finish();
}

#[test]
fn a_size_for_what_has_no_terminal() {
    let place = Place::new();
    let daemon = Daemon::new(&place, "exec sleep 1000");
    let shim = daemon.start();
    shim.create("c1").unwrap();
    resize(&shim, "", 80, 25);
    shim.start("c1", "").unwrap();
    resize(&shim, "", 80, 25);
    shim.finish();
}
