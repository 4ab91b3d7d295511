//! The same with a real runtime. It needs root, `runc`, and a static `busybox`; where one of them
//! is missing, each test says that it was skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    MARK, Place, Setup, finish, is_alive, is_root, output, signal, skip, until, wait_for_end,
};

/// What is needed, or why it cannot be had.
fn needs() -> Result<(), String> {
    if !is_root() {
        return Err("it needs root".to_owned());
    }
    let runs = |program: &str, arg: &str| {
        let mut command = Command::new(program);
        let status = command.arg(arg).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    for program in ["runc", "mount"] {
        if !runs(program, "--version") {
            return Err(format!("there is no {program}"));
        }
    }
    if !runs("/bin/busybox", "true") {
        return Err("there is no /bin/busybox".to_owned());
    }
    let interpreter =
        fs::read("/bin/busybox").unwrap().windows(8).take(8192).any(|w| w == b"/ld-linu");
    if interpreter { Err("busybox is not static".to_owned()) } else { Ok(()) }
}

/// A place whose bundle a real runtime can run.
struct Real {
    place: Place,
}

/// Where it cannot be had, each test tells why.
fn real(process: Value) -> Option<Real> {
    let place = Place::new();
    make_bundle(&place, process).then_some(Real { place })
}

/// A bundle whose container runs a shell command; `None`, told on stderr, where that cannot be had.
pub(crate) fn busybox_bundle(place: &Place, command: &str) -> Option<PathBuf> {
    make_bundle(place, shell(command)).then(|| place.path("bundle"))
}

/// Makes the bundle; whether it can be made.
#[allow(clippy::needless_pass_by_value, reason = "callers write it down where they call")]
fn make_bundle(place: &Place, process: Value) -> bool {
    if let Err(why) = needs() {
        skip(&why);
        return false;
    }
    let bin = place.path("bundle/rootfs/bin");
    fs::create_dir_all(&bin).unwrap();
    copy(Path::new("/bin/busybox"), &bin.join("busybox"));
    for name in ["sh", "cat", "stty", "sleep", "head", "tty", "kill"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
    }
    let spec = place.command("runc").arg("spec").current_dir(place.path("bundle")).status();
    assert!(spec.unwrap().success());
    let file = place.path("bundle/config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config["linux"]["cgroupsPath"] = json!(format!("/{}", cgroup(place)));
    config["process"]["terminal"] = json!(false);
    config["process"]["env"] = environment(place);
    let given = process.as_object().unwrap().clone();
    config["process"].as_object_mut().unwrap().extend(given);
    fs::write(file, config.to_string()).unwrap();
    true
}

/// Tests run at the same time, and a container's name is the same in all of them.
fn cgroup(place: &Place) -> String {
    format!("e2e-{}", place.path("").file_name().unwrap().to_str().unwrap()).replace('.', "")
}

/// By another process, so that no thread here forks while the copy is open for writing.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").args([from, to]).status().unwrap().success());
}

fn environment(place: &Place) -> Value {
    json!(["PATH=/bin", "TERM=xterm", format!("{MARK}={}", place.text(""))])
}

impl Real {
    fn run(&self) -> Command {
        let mut command = self.place.command(env!("CARGO_BIN_EXE_wavetank"));
        command.args(["run", "--runtime", "runc", "--bundle"]).arg(self.place.path("bundle"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn init(&self) -> Setup<'_> {
        self.place.init().runtime("runc")
    }

    /// A further process, as today's runtimes want it described.
    fn exec(&self, id: &str, script: &str) -> Setup<'_> {
        let setup = self.place.exec(id).of_0_2_9().runtime("runc");
        setup.set("args", json!(["sh", "-c", script])).set("env", environment(&self.place))
    }

    fn runc(&self, args: &[&str]) -> Output {
        let mut command = self.place.command("runc");
        output(command.arg(self.place.root_flag()).args(args).stdout(Stdio::piped()))
    }

    /// Nothing of the container is left in the kernel; the rest every place looks for itself.
    #[track_caller]
    fn assert_no_cgroup(&self) {
        let find = |directory: &Path| {
            let mut command = Command::new("find");
            command.arg(directory).args(["-maxdepth", "6", "-name", &cgroup(&self.place)]);
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        assert_eq!(find(&PathBuf::from("/sys/fs/cgroup")), "");
    }
}

fn shell(script: &str) -> Value {
    json!({"args": ["sh", "-c", script]})
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

// ---- wavetank run ------------------------------------------------------------------------------

#[rstest]
#[case("echo hello; echo error >&2; exit 7", 7, "hello\n", "error\n")]
#[case("exit 0", 0, "", "")]
#[case("kill -KILL $$; exit 3", 3, "", "")]
#[case("sh -c 'kill -TERM $$'; exit $?", 143, "", "Terminated\n")]
#[case("echo $PATH $$", 0, "/bin 1\n", "")]
fn run(#[case] script: &str, #[case] code: i32, #[case] stdout: &str, #[case] stderr: &str) {
    let Some(real) = real(shell(script)) else { return };
    let output = output(&mut real.run());
    let told = (output.status.code(), text(&output.stdout), text(&output.stderr));
    // To the first process of a pid namespace, not even its own SIGKILL is anything.
    assert_eq!(told, (Some(code), stdout, stderr));
    real.assert_no_cgroup();
}

#[test]
fn run_with_input() {
    let Some(real) = real(shell("cat; exit 2")) else { return };
    fs::write(real.place.path("input"), fake_runc::pattern(0, 1_000_000)).unwrap();
    let input = fs::File::open(real.place.path("input")).unwrap();
    let output = output(real.run().stdin(input));
    assert_eq!(output.status.code(), Some(2));
    crate::support::assert_same(&output.stdout, &fake_runc::pattern(0, 1_000_000));
    real.assert_no_cgroup();
}

#[test]
fn run_on_a_terminal() {
    let process = json!({"terminal": true, "args": ["sh", "-c", "tty; echo last; exit 6"]});
    let Some(real) = real(process) else { return };
    let output = output(real.run().arg("--tty"));
    assert_eq!(output.status.code(), Some(6), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    assert!(stdout.starts_with("/dev/") && stdout.ends_with("\r\nlast\r\n"), "{stdout:?}");
    real.assert_no_cgroup();
}

#[test]
fn run_of_a_program_that_is_not_there() {
    let process = json!({"args": ["no-such-program"]});
    let Some(real) = real(process) else { return };
    let output = output(&mut real.run());
    assert_eq!(output.status.code(), Some(125));
    // The runtime has said it, too, as long as its stderr was the container's.
    let last = text(&output.stderr).lines().last().unwrap();
    assert!(last.starts_with("wavetank: oci runtime error: ") && last.contains("no-such-program"));
    real.assert_no_cgroup();
}

#[test]
fn run_and_terminate() {
    let script = "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.01; done";
    let Some(real) = real(shell(script)) else { return };
    let mut child = real.run().spawn().unwrap();
    let stdout = std::os::fd::OwnedFd::from(child.stdout.take().unwrap());
    let mut stdout = crate::support::Stream::of(stdout.into());
    stdout.read_until("ready\n");
    signal(i32::try_from(child.id()).unwrap(), 15);
    assert_eq!(stdout.text_to_end(), "bye\n");
    assert_eq!(finish(child).status.code(), Some(9));
    real.assert_no_cgroup();
}

// ---- the shim alone ----------------------------------------------------------------------------

#[rstest]
fn a_life_in_the_dialect_of_today(#[values(false, true)] terminal: bool) {
    let mut process = shell("echo ready; read line; echo \"got $line\"; exit 7");
    process["terminal"] = json!(terminal);
    let Some(real) = real(process) else { return };
    let setup = real.init().dialect("run").set("terminal", json!(terminal));
    let mut shim = setup.start();
    shim.out().read_until("ready");
    shim.input().write(b"something\n");
    shim.out().read_until("got something");
    shim.finish_with("7");
    real.assert_no_cgroup();
}

/// The daemon of containerd 0.2.9 starts what the shim has created.
#[rstest]
fn a_life_with_a_daemon_that_starts(#[values(false, true)] terminal: bool) {
    let mut process = shell("echo ready; read line; echo \"got $line\"; exit 7");
    process["terminal"] = json!(terminal);
    let Some(real) = real(process) else { return };
    let mut setup = real.init().of_0_2_9();
    if terminal {
        setup = setup.terminal();
    }
    let mut shim = setup.start();
    let pid = shim.process();
    // The pid file is there before the runtime has ended, and a start must wait for that.
    until("it is created", || {
        let state = real.runc(&["state", "c1"]);
        text(&state.stdout).contains("\"status\": \"created\"")
    });
    assert!(is_alive(pid));
    assert!(real.runc(&["start", "c1"]).status.success());
    shim.out().read_until("ready");
    shim.input().write(b"something\n");
    shim.out().read_until("got something");
    shim.finish_with("7");
    real.assert_no_cgroup();
}

#[rstest]
fn further_processes(#[values("run", "create")] dialect: &str) {
    let Some(real) = real(shell("cat")) else { return };
    let mut init = real.init().dialect("run").start();
    init.process();
    until("it runs", || text(&real.runc(&["state", "c1"]).stdout).contains("\"running\""));
    let mut exec = real.exec("e1", "echo out; echo err >&2; cat; exit 5").dialect(dialect).start();
    exec.input().write(b"in\n");
    exec.close_stdin();
    assert_eq!(exec.out().text_to_end(), "out\nin\n");
    assert_eq!(exec.err().text_to_end(), "err\n");
    exec.finish_with("5");
    let script = "stty -echo; tty; read line; echo \"got $line\"; exit 6";
    let mut exec = real.exec("e2", script).dialect(dialect).terminal().start();
    exec.out().read_until("/dev/");
    exec.input().write(b"key\n");
    exec.out().read_until("got key\r\n");
    exec.finish_with("6");
    init.close_stdin();
    init.finish_with("0");
    real.assert_no_cgroup();
}

#[test]
fn a_killed_container_takes_its_further_processes_along() {
    let Some(real) = real(shell("cat")) else {
        return;
    };
    let mut init = real.init().dialect("run").start();
    let pid = init.process();
    until("it runs", || text(&real.runc(&["state", "c1"]).stdout).contains("\"running\""));
    let mut exec = real.exec("e1", "echo here; sleep 1000").dialect("run").start();
    exec.out().read_until("here");
    signal(pid, 9);
    exec.finish_with("137");
    init.finish_with("137");
    wait_for_end(pid);
    real.assert_no_cgroup();
}

#[test]
fn a_container_that_cannot_be_made() {
    let process = json!({"args": ["no-such-program"]});
    let Some(real) = real(process) else { return };
    let mut shim = real.init().dialect("run").start();
    let ended = shim.finish();
    assert_eq!((ended.code, ended.status.as_deref()), (0, None), "{ended:?}");
    assert!(ended.errors().is_empty(), "{ended:?}");
    assert!(shim.read("log.json").unwrap().contains("no-such-program"));
    real.assert_no_cgroup();
}
