//! `WAVETANK_RECORD`: what a real shim did, and the same done again without a kernel.

use std::ffi::OsString;
use std::fs;

use rstest::rstest;
use serde_json::{Value, json};
use wavetank::classic;
use wavetank::host::{Divergence, Replayer};

use crate::support::{Place, Setup, Shim, fake_runc, output};

const SECRET: &str = "Grd9-7hK-secret";

fn recorded<'a>(place: &Place, setup: Setup<'a>) -> Setup<'a> {
    setup.env("WAVETANK_RECORD", place.path("trace"))
}

fn trace(place: &Place) -> String {
    fs::read_to_string(place.path("trace")).unwrap()
}

/// Runs the shim on the trace, and gives its exit code and what came of the comparison.
fn replay(trace: &str) -> (i32, Result<usize, Box<Divergence>>) {
    let mut replayer = Replayer::new(trace).unwrap();
    assert_eq!(replayer.header().program, "containerd-shim");
    let mut argv: Vec<OsString> = vec!["containerd-shim".into()];
    argv.extend(replayer.args());
    let code = classic::main(&mut replayer, &argv);
    (code, replayer.finish())
}

#[track_caller]
fn assert_replays(trace: &str, expected: i32) {
    let (code, compared) = replay(trace);
    let count = compared.unwrap_or_else(|divergence| panic!("{divergence}"));
    assert_eq!((code, count), (expected, trace.lines().count() - 1));
}

fn copy_something(shim: &mut Shim) {
    shim.control("1 91 37\nnonsense\n");
    shim.input().write(b"to and fro\n");
    shim.out().read_until("to and fro");
    shim.close_stdin();
}

#[rstest]
#[case::plain("start", false)]
#[case::of_today("run", false)]
#[case::console("start", true)]
#[case::console_socket("run", true)]
fn a_life_can_be_lived_again(#[case] dialect: &str, #[case] terminal: bool) {
    let place = Place::new();
    let setup = place.init().dialect(dialect).set("terminal", json!(terminal));
    let mut shim = recorded(&place, setup).start();
    copy_something(&mut shim);
    if terminal {
        // The end of the input, typed.
        let process = shim.process();
        crate::support::signal(process, 9);
        shim.finish_with("137");
    } else {
        shim.finish_with("0");
    }
    let trace = trace(&place);
    let header: Value = serde_json::from_str(trace.lines().next().unwrap()).unwrap();
    let runtime = fake_runc();
    assert_eq!(
        header,
        json!({
            "wavetank_trace": 1, "program": "containerd-shim",
            "args": ["c1", place.path("bundle"), runtime],
        })
    );
    assert_replays(&trace, 0);
}

#[rstest]
#[case::no_runtime("no-such-runc", json!({}), 1)]
#[case::runtime_fails("", json!({"on": {"start": {"before": {"exit_code": 1}}}}), 0)]
#[case::no_pid_file("", json!({"on": {"start": {"pid_file": "none"}}}), 1)]
#[case::hangs("", json!({"on": {"start": {"before": {"hang": true}}}}), 1)]
fn a_failure_can_be_had_again(#[case] runtime: &str, #[case] script: Value, #[case] code: i32) {
    let place = Place::with(script);
    let mut setup = place.init().env("WAVETANK_RUNTIME_TIMEOUT", "500ms");
    if !runtime.is_empty() {
        setup = setup.runtime(runtime);
    }
    let mut shim = recorded(&place, setup).start();
    assert_eq!(shim.finish().code, code);
    assert_replays(&trace(&place), code);
}

#[test]
fn a_further_process_can_be_had_again() {
    let place = Place::with(json!({"exec": {"exit_code": 4}}));
    let mut init = place.init().start();
    init.process();
    let mut exec = recorded(&place, place.exec("e1")).start();
    copy_something(&mut exec);
    exec.finish_with("4");
    assert_replays(&trace(&place), 0);
    init.close_stdin();
    init.finish_with("0");
}

#[rstest]
fn secrets_can_be_kept_out(
    #[values("start", "run")] dialect: &str,
    #[values(false, true)] terminal: bool,
    #[values(false, true)] by_name: bool,
) {
    let script = "stty -echo; echo ready; read line; echo \"$line\"; echo \"$line\" >&2; exit 7";
    let place = Place::with(json!({"container": {"argv": ["sh", "-c", script]}}));
    let mut setup = place.init().dialect(dialect).set("terminal", json!(terminal));
    if by_name {
        // It is found in PATH, which is kept out, too.
        let path = fake_runc().parent().unwrap().to_str().unwrap().to_owned();
        setup = setup.runtime("fake-runc").env("PATH", format!("/nowhere:{path}:/usr/bin:/bin"));
    }
    let env = json!([format!("TOKEN={SECRET}"), "PATH=/bin:/usr/bin"]);
    let setup = setup.set("env", env).env("PASSWORD", SECRET);
    let mut shim = recorded(&place, setup).env("WAVETANK_RECORD_REDACT", "env,io").start();
    shim.out().read_until("ready");
    shim.input().write(format!("{SECRET}\n").as_bytes());
    shim.out().read_until(SECRET);
    shim.finish_with("7");
    let trace = trace(&place);
    assert!(!trace.contains(SECRET), "the secret is in the trace");
    assert!(trace.contains("PASSWORD=xxx"));
    let header: Value = serde_json::from_str(trace.lines().next().unwrap()).unwrap();
    assert_eq!(header["redacted"], json!({"env": true, "io": true}));
    assert_replays(&trace, 0);
}

#[rstest]
#[case("env", true)]
#[case("io", false)]
fn one_kind_alone_can_be_kept_out(#[case] redact: &str, #[case] env_is_secret: bool) {
    let place = Place::new();
    fs::write(place.path("input"), format!("io-{SECRET}")).unwrap();
    let setup = place.init().set("containerdStdin", json!(place.path("input")));
    let setup = setup.env("PASSWORD", format!("env-{SECRET}"));
    let mut shim = recorded(&place, setup).env("WAVETANK_RECORD_REDACT", redact).start();
    assert_eq!(shim.out().text_to_end(), format!("io-{SECRET}"));
    shim.finish_with("0");
    let trace = trace(&place);
    assert_eq!(trace.contains(&format!("env-{SECRET}")), !env_is_secret);
    assert_eq!(trace.contains(&format!("io-{SECRET}")), env_is_secret);
    assert_replays(&trace, 0);
}

// ---- differences -------------------------------------------------------------------------------

/// A short trace, and the number of a line of it in which something can be changed.
fn short_trace() -> String {
    let place = Place::with(json!({"container": {"echo": false, "exit_code": 42}}));
    let mut shim = recorded(&place, place.init()).start();
    shim.finish_with("42");
    trace(&place)
}

fn line_with(trace: &str, part: &str) -> usize {
    trace.lines().position(|line| line.contains(part)).unwrap() + 1
}

#[test]
fn the_first_difference_is_told_with_both_sides() {
    let trace = short_trace();
    let tampered = trace.replacen("\"bytes\":\"42\"", "\"bytes\":\"43\"", 1);
    assert_ne!(trace, tampered);
    let (_, compared) = replay(&tampered);
    let divergence = compared.unwrap_err();
    assert_eq!(divergence.line, line_with(&trace, "\"bytes\":\"42\""));
    let told = divergence.to_string();
    let at = |text: &str| told.find(text).unwrap_or_else(|| panic!("{text} is not in {told}"));
    assert!(
        at("recorded:") < at("\"43\"") && at("\"43\"") < at("made:") && at("made:") < at("\"42\"")
    );
    assert!(told.starts_with(&format!("trace line {}:", divergence.line)));
}

#[test]
fn another_answer_leads_another_way() {
    let trace = short_trace();
    // The container has ended with 41, says the trace now, and yet "42" was written.
    let tampered = trace.replacen("{\"code\":42}", "{\"code\":41}", 1);
    assert_ne!(trace, tampered);
    let divergence = replay(&tampered).1.unwrap_err();
    assert_eq!(divergence.line, line_with(&trace, "\"bytes\":\"42\""));
}

#[test]
fn a_trace_that_ends_early() {
    let trace = short_trace();
    for count in [2, 10, trace.lines().count() - 1] {
        let lines: Vec<&str> = trace.lines().take(count).collect();
        let divergence = replay(&lines.join("\n")).1.unwrap_err();
        assert_eq!((divergence.line, &divergence.recorded), (count + 1, &None));
        assert!(divergence.made.is_some());
    }
}

#[test]
fn a_trace_that_goes_on() {
    let trace = short_trace();
    let last = trace.lines().last().unwrap();
    let divergence = replay(&format!("{trace}{last}\n")).1.unwrap_err();
    assert_eq!(divergence.line, trace.lines().count() + 1);
    assert_eq!(divergence.made, None);
    assert!(divergence.recorded.is_some());
}

// ---- what is asked for and cannot be done ------------------------------------------------------

#[rstest]
#[case("WAVETANK_RECORD", "/no/such/directory/trace", "open /no/such/directory/trace")]
#[case("WAVETANK_RECORD_REDACT", "env,everything", "everything is neither env nor io")]
fn a_recording_that_cannot_be_made(#[case] name: &str, #[case] value: &str, #[case] told: &str) {
    let place = Place::new();
    let prepared = recorded(&place, place.init()).env(name, value).prepare();
    let output = output(prepared.command().stderr(std::process::Stdio::piped()));
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(told), "{stderr}");
    assert!(place.calls().is_empty());
}

#[test]
fn a_trace_is_for_its_owner_alone() {
    let place = Place::with(json!({"container": {"echo": false}}));
    recorded(&place, place.init()).start().finish_with("0");
    let mode = fs::metadata(place.path("trace")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
}
