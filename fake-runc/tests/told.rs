//! What is told to whom: version, help, errors, and the record of calls.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, missing_docs)]
#![allow(dead_code, unreachable_pub, reason = "the helpers are those of all tests here")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;

use assert_cmd::Command;
use common::Place;
use fake_runc::{CALLS_VARIABLE, Call};

fn fake_runc() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fake-runc"))
}

#[test]
fn it_tells_its_version_and_its_words() {
    let version = format!("fake-runc version {}\nspec: 1.0.2\n", env!("CARGO_PKG_VERSION"));
    fake_runc().arg("--version").assert().success().stdout(version);
    let help = fake_runc().assert().success();
    assert!(String::from_utf8_lossy(&help.get_output().stdout).contains("checkpoint | create"));
}

#[test]
fn an_error_is_told_on_stderr_alone_or_also_in_the_log() {
    let place = Place::new();
    let alone = place.run("state x");
    assert!(alone.stderr.starts_with("time=\""), "{alone:?}");
    alone.failed(1, "level=error msg=\"container does not exist\"");

    let mut command = place.command("--log @log.json --log-format json state x");
    let told = place.finish(command);
    assert_eq!((told.code(), told.stderr.as_str()), (1, "container does not exist\n"));
    command = place.command("--log @log.json --log-format json fly");
    place.finish(command).failed(1, "No help topic for 'fly'");
    let log = fs::read_to_string(place.path("log.json")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert!(
        lines[0].starts_with(r#"{"level":"error","msg":"container does not exist","time":"20"#)
    );
    assert!(lines[1].contains("No help topic"));
}

#[test]
fn every_call_can_be_recorded() {
    let place = Place::new();
    for line in ["create --pid-file @pid c1", "fly", "delete --force c1"] {
        let mut command = place.command(line);
        command.env(CALLS_VARIABLE, place.path("calls")).env("WORD", "a=b");
        place.finish(command);
    }
    let calls = fs::read_to_string(place.path("calls")).unwrap();
    let calls: Vec<Call> = calls.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(calls.len(), 3, "the container's own processes are no calls");
    assert_eq!(
        calls[0].argv[3..],
        ["create", "--pid-file", &place.path("pid").display().to_string(), "c1"]
    );
    assert_eq!(calls[0].cwd, place.bundle());
    assert_eq!(calls[1].env["WORD"], "a=b");
    let fds: Vec<i32> = calls[0].fds.iter().map(|descriptor| descriptor.fd).collect();
    // What the test itself was started with may follow.
    assert_eq!(fds[..3], [0, 1, 2]);
    assert!(calls[0].fds.iter().all(|descriptor| !descriptor.to.ends_with("calls")));
    assert_eq!(calls[0].fds[0].to, "/dev/null");
}
