//! `wavetank run`: the daemon's side and the shim together.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use nix::fcntl::OFlag;
use rstest::rstest;
use wavetank::host::{Fd, Host, LinuxHost, Termios, WindowSize};

use crate::support::{
    Place, Stream, assert_same, finish, has_ended, output, signal, until, wait_for,
};

fn run(place: &Place, args: &[&str]) -> Command {
    let mut command = place.command(env!("CARGO_BIN_EXE_wavetank"));
    command.arg("run").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn shell(place: &Place, script: &str) -> Command {
    run(place, &["--", "sh", "-c", script])
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What is said besides the process's own output.
fn note(output: &Output) -> &str {
    let (note, rest) = text(&output.stderr).split_once('\n').unwrap();
    assert!(note.starts_with("wavetank: ") && note.contains("fake-runc"), "{note}");
    rest
}

#[rstest]
#[case("echo hello; exit 7", 7, "hello\n", "")]
#[case("exit 0", 0, "", "")]
#[case("exit 255", 255, "", "")]
#[case("echo out; echo err >&2; exit 1", 1, "out\n", "err\n")]
#[case("kill -9 $$", 137, "", "")]
#[case("kill -TERM $$", 143, "", "")]
fn a_plain_command(
    #[case] script: &str,
    #[case] code: i32,
    #[case] stdout: &str,
    #[case] stderr: &str,
) {
    let place = Place::new();
    let output = output(&mut shell(&place, script));
    assert_eq!(output.status.code(), Some(code));
    assert_eq!((text(&output.stdout), note(&output)), (stdout, stderr));
}

#[test]
fn directory_and_environment_are_ours() {
    let place = Place::new();
    let mut command = shell(&place, "pwd; echo \"$WORD\"");
    let output = output(command.current_dir(place.path("bundle")).env("WORD", "a  b"));
    assert_eq!(text(&output.stdout), format!("{}\na  b\n", place.text("bundle")));
}

#[rstest]
#[case::nothing(0)]
#[case::little(5)]
#[case::much(1024 * 1024)]
fn input_from_a_pipe(#[case] count: usize) {
    let place = Place::new();
    let mut child = run(&place, &["--", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(&fake_runc::pattern(0, count)).unwrap());
    let output = finish(child);
    writer.join().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_same(&output.stdout, &fake_runc::pattern(0, count));
}

#[test]
fn input_from_a_file() {
    let place = Place::new();
    fs::write(place.path("input"), fake_runc::pattern(0, 300_000)).unwrap();
    let file = File::open(place.path("input")).unwrap();
    let output = output(run(&place, &["--", "cat"]).stdin(file));
    assert_same(&output.stdout, &fake_runc::pattern(0, 300_000));
}

#[test]
fn output_into_a_file() {
    let place = Place::new();
    let file = File::create(place.path("output")).unwrap();
    let mut command = shell(&place, "head -c 500000 /dev/zero");
    assert_eq!(output(command.stdout(file)).status.code(), Some(0));
    assert_eq!(fs::read(place.path("output")).unwrap(), vec![0; 500_000]);
}

#[test]
fn a_question_and_an_answer() {
    let place = Place::new();
    let script = "read a; echo \"first $a\"; read b; echo \"then $b\"";
    let mut child = shell(&place, script).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = stdout_of(&mut child);
    stdin.write_all(b"one\n").unwrap();
    assert_eq!(stdout.read_exact(10), b"first one\n");
    stdin.write_all(b"two\n").unwrap();
    assert_eq!(stdout.text_to_end(), "then two\n");
    assert_eq!(finish(child).status.code(), Some(0));
}

/// As in a pipeline: whoever writes on is ended by `SIGPIPE`. One that has not much to say may have
/// said it before.
#[rstest]
#[case::endless("exec yes", &[141])]
#[case::much("exec head -c 10000000 /dev/zero", &[141, 0])]
fn a_reader_that_goes_away_ends_the_process(#[case] script: &str, #[case] codes: &[i32]) {
    let place = Place::new();
    let mut child = shell(&place, script).spawn().unwrap();
    stdout_of(&mut child).read_exact(10);
    let code = finish(child).status.code().unwrap();
    assert!(codes.contains(&code), "{code}");
}

#[rstest]
#[case::hup(1, "HUP")]
#[case::int(2, "INT")]
#[case::term(15, "TERM")]
#[case::usr2(12, "USR2")]
fn signals_are_passed_on(#[case] number: i32, #[case] name: &str) {
    let place = Place::new();
    let script =
        format!("trap 'echo got; exit 9' {name}; echo ready; while :; do sleep 0.01; done");
    let mut child = shell(&place, &script).spawn().unwrap();
    let mut stdout = stdout_of(&mut child);
    stdout.read_until("ready\n");
    signal(pid(&child), number);
    assert_eq!(stdout.text_to_end(), "got\n");
    assert_eq!(finish(child).status.code(), Some(9));
}

/// Before there is a process, a signal waits for it.
#[test]
fn an_early_signal_is_not_lost() {
    let place = Place::new();
    let child = run(&place, &["--", "sleep", "1000"]).spawn().unwrap();
    // From here on it holds them back.
    wait_for("the shim is started", || shim_of(&place));
    signal(pid(&child), 15);
    assert_eq!(finish(child).status.code(), Some(143));
}

fn stdout_of(child: &mut Child) -> Stream {
    Stream::of(OwnedFd::from(child.stdout.take().unwrap()).into())
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

/// The shim that a `wavetank run` has started.
fn shim_of(place: &Place) -> Option<i32> {
    let is_shim = |pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            line.split(|byte| *byte == 0).next().unwrap().ends_with(b"containerd-shim")
        })
    };
    place.running().into_iter().find(is_shim)
}

#[test]
fn a_killed_shim_takes_its_container_with_it() {
    let place = Place::new();
    let child = run(&place, &["--", "sleep", "1000"]).spawn().unwrap();
    let sleeper = "sleep\u{0}1000\u{0}";
    until("the command runs", || {
        let line = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cmdline"));
        place.running().iter().any(|pid| line(pid).is_ok_and(|line| line == sleeper))
    });
    // The runtime dies with the shim, and with it, perhaps, what it has not yet told.
    until("the runtime has ended", || {
        place.calls().iter().all(|call| has_ended(call.pid.0)) && !place.calls().is_empty()
    });
    signal(shim_of(&place).unwrap(), 9);
    let output = finish(child);
    assert_eq!(output.status.code(), Some(255), "{}", text(&output.stderr));
}

// ---- what cannot be run ------------------------------------------------------------------------

#[rstest]
#[case::no_program(
    &["--", "no-such-program"],
    "oci runtime error: runc run failed: unable to start container process: exec: \
     \"no-such-program\""
)]
#[case::no_bundle(
    &["--bundle", "/no/such", "--runtime", "runc"],
    "open /no/such/config.json: no such file or directory"
)]
#[case::no_runtime(
    &["--bundle", "BUNDLE", "--runtime", "no-such-runc"],
    "shim error: no-such-runc not installed on system"
)]
#[case::bad_runtime(
    &["--bundle", "BUNDLE", "--runtime", "/etc/passwd"],
    "shim error: fork/exec /etc/passwd: permission denied"
)]
#[case::runtime_alone(&["--runtime", "runc", "--", "true"], "a real runtime needs a --bundle")]
#[case::tty_against_the_bundle(
    &["--tty", "--bundle", "BUNDLE", "--runtime", "runc"],
    "--tty needs process.terminal"
)]
fn a_failure_is_told(#[case] args: &[&str], #[case] message: &str) {
    let place = Place::new();
    let config = r#"{"ociVersion": "1.0.2", "process": {"args": ["true"]}}"#;
    fs::write(place.path("bundle/config.json"), config).unwrap();
    let bundle = place.text("bundle");
    let args: Vec<&str> =
        args.iter().map(|word| if *word == "BUNDLE" { bundle.as_str() } else { *word }).collect();
    let output = output(&mut run(&place, &args));
    assert_eq!(output.status.code(), Some(125));
    let stderr = text(&output.stderr);
    let last = stderr.lines().last().unwrap();
    assert!(last.starts_with("wavetank: ") && last.contains(message), "{stderr}");
    assert_eq!(text(&output.stdout), "");
}

#[rstest]
#[case(&[])]
#[case(&["--no-such-flag"])]
#[case(&["--bundle", "/b", "--", "true"])]
fn usage(#[case] args: &[&str]) {
    let place = Place::new();
    assert_eq!(output(&mut run(&place, args)).status.code(), Some(2));
}

// ---- a terminal --------------------------------------------------------------------------------

/// A terminal with `wavetank run --tty` on it, in a session of its own.
struct Seat {
    keys: File,
    screen: Stream,
    slave: File,
    /// What the terminal did before.
    before: Termios,
    child: Child,
}

impl Seat {
    fn new(place: &Place, script: &str) -> Seat {
        let open = |path: &str| {
            let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(flags.bits()).open(path).unwrap()
        };
        let master = open("/dev/ptmx");
        let fd = Fd(master.as_raw_fd());
        LinuxHost::new().unlock_pty(fd).unwrap();
        let name = format!("/dev/pts/{}", LinuxHost::new().pty_number(fd).unwrap());
        LinuxHost::new().set_window_size(fd, WindowSize { columns: 91, rows: 37 }).unwrap();
        let slave = open(&name);
        // Its own opening of the terminal is a blocking one, as a shell has it.
        let theirs = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(OFlag::O_NOCTTY.bits())
                .open(&name)
                .unwrap()
        };
        let before = attributes(&slave);
        let mut command = place.command("setsid");
        command.arg("--ctty").arg(env!("CARGO_BIN_EXE_wavetank")).args(["run", "--tty", "--"]);
        command.args(["sh", "-c", script]);
        let child = command.stdin(theirs()).stdout(theirs()).stderr(theirs()).spawn().unwrap();
        let keys = master.try_clone().unwrap();
        Seat { keys, screen: Stream::of(master), slave, before, child }
    }

    fn resize(&self, columns: u16, rows: u16) {
        let size = WindowSize { columns, rows };
        LinuxHost::new().set_window_size(Fd(self.keys.as_raw_fd()), size).unwrap();
    }

    #[track_caller]
    fn finish(mut self, code: i32) {
        let status = wait_for("it has ended", || self.child.try_wait().unwrap());
        assert_eq!(status.into_raw(), code << 8);
    }
}

fn attributes(terminal: &File) -> Termios {
    LinuxHost::new().terminal_attributes(Fd(terminal.as_raw_fd())).unwrap()
}

#[test]
fn a_terminal_is_passed_through() {
    let place = Place::new();
    let script = "until test \"$(stty size)\" = '37 91'; do sleep 0.01; done; \
                  echo ready; read line; echo \"got $line\"; exit 3";
    let mut seat = Seat::new(&place, script);
    let text = seat.screen.read_until("ready\r\n");
    assert!(!text.contains("\r\r"), "{text:?}");
    assert_ne!(attributes(&seat.slave), seat.before, "keys are not to be looked at twice");
    seat.keys.write_all(b"hello\r").unwrap();
    let text = seat.screen.read_until("got hello\r\n");
    assert_eq!(text, "hello\r\ngot hello\r\n");
    until("the terminal is as it was", || attributes(&seat.slave) == seat.before);
    seat.finish(3);
}

#[test]
fn a_size_is_passed_on() {
    let place = Place::new();
    let script =
        "trap 'stty size' WINCH; echo ready; until test -e stop; do sleep 0.01; done; exit 5";
    let script = format!("cd {}; {script}", place.text("bundle"));
    let mut seat = Seat::new(&place, &script);
    seat.screen.read_until("ready");
    seat.resize(132, 50);
    seat.screen.read_until("50 132");
    seat.resize(20, 10);
    seat.screen.read_until("10 20");
    fs::write(place.path("bundle/stop"), "").unwrap();
    seat.finish(5);
}

#[test]
fn an_interrupt_is_the_containers() {
    let place = Place::new();
    let mut seat = Seat::new(&place, "trap 'echo stopped; exit 6' INT; echo ready; read line");
    seat.screen.read_until("ready");
    seat.keys.write_all(b"\x03").unwrap();
    seat.screen.read_until("stopped");
    seat.finish(6);
}

#[test]
fn a_terminal_for_a_process_while_ours_are_pipes() {
    let place = Place::new();
    let output = output(&mut run(&place, &["--tty", "--", "sh", "-c", "tty; exit 4"]));
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stdout).starts_with("/dev/pts/"));
}
