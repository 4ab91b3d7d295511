//! What may be wrong around the shim, and how the daemon gets to know of it. That nothing is left,
//! no process, no temporary file, no state of the runtime, every place looks by itself in the end.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    Ended, Place, Prepared, is_alive, is_root, mkfifo, output, skip, wait_for_end,
};

/// The shim ended with 1, told this one error, and never began a container.
#[track_caller]
fn assert_failed(ended: &Ended, message: &str) {
    assert_eq!((ended.code, ended.status.as_deref()), (1, None), "{ended:?}");
    match ended.errors()[..] {
        [error] => assert!(error.starts_with(message), "{ended:?}"),
        _ => panic!("not one error: {ended:?}"),
    }
}

// ---- the runtime fails -------------------------------------------------------------------------

/// The runtime's failure is not the shim's: the daemon reads about it in `log.json`.
#[rstest]
fn the_runtime_fails(
    #[values("start", "create", "run")] dialect: &str,
    #[values("before", "midway", "after")] moment: &str,
    #[values(json!({"exit_code": 1}), json!({"die_by_signal": "KILL"}))] end: Value,
) {
    let mut steps = json!({"log_error": "no space for the rootfs"});
    steps.as_object_mut().unwrap().extend(end.as_object().unwrap().clone());
    let place = Place::with(json!({
        "container": {"argv": ["sleep", "1000"]}, "on": {dialect: {moment: steps}},
    }));
    let mut shim = place.init().dialect(dialect).start();
    let ended = shim.finish();
    assert_eq!((ended.code, ended.status.as_deref()), (0, None), "{ended:?}");
    assert_eq!(ended.errors(), Vec::<&str>::new());
    assert_eq!(place.words().first().unwrap(), dialect);
    assert_eq!(place.words().last().unwrap(), "delete");
    let log: Value = serde_json::from_str(shim.read("log.json").unwrap().trim()).unwrap();
    assert_eq!((&log["level"], &log["msg"]), (&"error".into(), &"no space for the rootfs".into()));
}

#[rstest]
fn the_runtime_fails_to_exec(
    #[values(json!({"exit_code": 1}), json!({"die_by_signal": "KILL"}))] end: Value,
) {
    let place = Place::with(json!({"on": {"exec": {"before": end}}}));
    let mut init = place.init().start();
    let process = init.process();
    let ended = place.exec("e1").start().finish();
    assert_eq!((ended.code, ended.status.as_deref()), (0, None), "{ended:?}");
    assert_eq!(ended.errors(), Vec::<&str>::new());
    assert!(is_alive(process));
    // The container is another shim's.
    assert_eq!(place.words(), ["start", "exec"]);
    init.close_stdin();
    init.finish_with("0");
}

#[test]
fn the_runtimes_last_words_reach_the_client() {
    let last_words = json!({"stderr_bytes": 50_000, "exit_code": 1});
    let place = Place::with(json!({"on": {"start": {"before": last_words}}}));
    let mut shim = place.init().start();
    assert_eq!(shim.err().read_to_end(), fake_runc::pattern(0, 50_000));
    assert_eq!(shim.finish().code, 0);
}

// ---- there is no runtime -----------------------------------------------------------------------

#[rstest]
#[case::name("no-such-runc", "no-such-runc not installed on system")]
#[case::path("/no/such/runc", "fork/exec /no/such/runc: no such file or directory")]
#[case::plain_file("/etc/passwd", "fork/exec /etc/passwd: permission denied")]
#[case::directory("/etc", "fork/exec /etc: permission denied")]
#[case::quotes("/no/such \"runc\"\\\n", "fork/exec /no/such \"runc\"\\\n: no such file")]
#[case::letters("/no/\u{e4}\u{1}", "fork/exec /no/\u{e4}\u{1}: no such file")]
#[case::empty("", " not installed on system")]
fn there_is_no_such_runtime(
    #[values("start", "create", "run")] dialect: &str,
    #[values(false, true)] terminal: bool,
    #[case] runtime: &str,
    #[case] message: &str,
) {
    let place = Place::new();
    let setup = place.init().dialect(dialect).runtime(runtime).set("terminal", json!(terminal));
    assert_failed(&setup.start().finish(), message);
}

#[test]
fn a_runtime_without_an_interpreter() {
    let place = Place::new();
    let program = place.executable("runtime", "#!/no/such/interpreter\n");
    let message = format!("fork/exec {}: no such file or directory", program.display());
    let shim = place.init().runtime(program.to_str().unwrap());
    assert_failed(&shim.start().finish(), &message);
}

#[test]
fn a_bundle_that_is_not_there() {
    let place = Place::new();
    let mut shim = place.init().bundle("/no/such/bundle").start();
    assert_failed(&shim.finish(), "chdir /no/such/bundle: no such file or directory");
}

// ---- the state directory -----------------------------------------------------------------------

fn remove(name: &'static str) -> impl Fn(&Prepared<'_>) {
    move |prepared| fs::remove_file(prepared.dir.join(name)).unwrap()
}

fn write(content: &'static [u8]) -> impl Fn(&Prepared<'_>) {
    move |prepared| fs::write(prepared.dir.join("process.json"), content).unwrap()
}

fn huge_process_file(prepared: &Prepared<'_>) {
    let file = File::create(prepared.dir.join("process.json")).unwrap();
    file.set_len(100 * 1024 * 1024).unwrap();
}

fn cut_process_file(prepared: &Prepared<'_>) {
    let path = prepared.dir.join("process.json");
    let whole = fs::read(&path).unwrap();
    fs::write(path, &whole[..whole.len() / 2]).unwrap();
}

fn directory_for_process_file(prepared: &Prepared<'_>) {
    let path = prepared.dir.join("process.json");
    fs::remove_file(&path).unwrap();
    fs::create_dir(path).unwrap();
}

fn plain_control(prepared: &Prepared<'_>) {
    fs::remove_file(prepared.dir.join("control")).unwrap();
    fs::write(prepared.dir.join("control"), "0 0 0\n").unwrap();
}

fn linked_control(prepared: &Prepared<'_>) {
    let path = prepared.dir.join("control");
    fs::rename(&path, prepared.dir.join("other")).unwrap();
    symlink("other", path).unwrap();
}

#[rstest]
#[case::no_control(remove("control"), "open control: no such file or directory")]
#[case::plain_control(plain_control, "control: is not a fifo")]
#[case::linked_control(linked_control, "open control: too many levels of symbolic links")]
#[case::no_process(remove("process.json"), "open process.json: no such file or directory")]
#[case::process_directory(directory_for_process_file, "read process.json: is a directory")]
#[case::cut_process(cut_process_file, "process.json: unexpected EOF")]
#[case::empty_process(write(b""), "process.json: unexpected EOF")]
#[case::blank_process(write(b" \n"), "process.json: unexpected EOF")]
#[case::huge_process(huge_process_file, "read process.json: file too large")]
#[case::not_utf_8(write(b"{\"containerdStdin\":\"\xff\xfe\"}"), "process.json: ")]
#[case::not_json(write(b"\x7fELF"), "process.json: ")]
#[case::list(write(b"[]"), "process.json: ")]
#[case::null(write(b"null"), "process.json: ")]
#[case::terminal(write(b"{\"terminal\":\"yes\"}"), "process.json: ")]
#[case::path(write(b"{\"containerdStdout\":[\"/dev/null\"]}"), "process.json: ")]
#[case::args(write(b"{\"runtimeArgs\":{\"a\":1}}"), "process.json: ")]
#[case::uid(write(b"{\"rootUID\":-5}"), "process.json: ")]
fn the_daemon_left_something_wrong(#[case] damage: impl Fn(&Prepared<'_>), #[case] message: &str) {
    let place = Place::new();
    let prepared = place.init().prepare();
    damage(&prepared);
    assert_failed(&prepared.start().finish(), message);
    assert!(place.calls().is_empty());
}

fn plain_exit(prepared: &Prepared<'_>) {
    fs::remove_file(prepared.dir.join("exit")).unwrap();
    fs::write(prepared.dir.join("exit"), "").unwrap();
}

fn linked_exit(prepared: &Prepared<'_>) {
    let path = prepared.dir.join("exit");
    fs::rename(&path, prepared.dir.join("other")).unwrap();
    symlink("other", path).unwrap();
}

/// There is nothing that could hang up.
#[rstest]
#[case::none(remove("exit"), "open exit: no such file or directory")]
#[case::plain(plain_exit, "exit: is not a fifo")]
#[case::link(linked_exit, "open exit: too many levels of symbolic links")]
fn there_is_no_exit_fifo(#[case] damage: impl Fn(&Prepared<'_>), #[case] message: &str) {
    let place = Place::new();
    let prepared = place.init().prepare();
    damage(&prepared);
    assert_failed(&prepared.start().wait(), message);
    assert!(place.calls().is_empty());
}

/// Nobody listens at the other side of `exit` or `control`: opening them must not wait.
#[test]
fn the_daemon_has_died_before_the_shim_began() {
    let place = Place::new();
    let prepared = place.init().prepare();
    for name in ["exit", "control"] {
        fs::remove_file(prepared.dir.join(name)).unwrap();
        mkfifo(&prepared.dir.join(name));
    }
    let mut shim = prepared.start();
    let process = shim.process();
    fs::write(shim.dir.join("control"), "0 0 0\n").unwrap();
    let ended = shim.wait();
    assert_eq!((ended.code, ended.status.as_deref()), (0, Some("0")), "{ended:?}");
    wait_for_end(process);
}

#[rstest]
fn a_stream_is_missing(
    #[values("containerdStdin", "containerdStdout", "containerdStderr")] stream: &str,
    #[values("start", "run")] dialect: &str,
    #[values("/no/such/fifo", "/proc/self/fd/no")] path: &str,
) {
    let place = Place::new();
    let setup = place.init().dialect(dialect).set(stream, json!(path));
    let ended = setup.start().finish();
    assert_failed(&ended, &format!("open {path}: no such file or directory"));
    assert!(place.calls().is_empty());
}

#[rstest]
#[case("containerdStdin", true)]
#[case("containerdStdout", true)]
#[case("containerdStderr", false)]
fn a_stream_is_missing_for_a_terminal(
    #[case] stream: &str,
    #[case] is_used: bool,
    #[values("start", "run")] dialect: &str,
) {
    let place = Place::with(json!({"container": {"echo": false}}));
    let path = "/no/such/fifo";
    let setup = place.init().dialect(dialect).terminal().set(stream, json!(path));
    let mut shim = setup.start();
    if is_used {
        assert_failed(&shim.finish(), "open /no/such/fifo: no such file or directory");
    } else {
        shim.finish_with("0");
    }
}

#[test]
fn a_stream_is_a_directory() {
    let place = Place::new();
    let path = place.text("tmp");
    let setup = place.init().set("containerdStdout", json!(path));
    assert_failed(&setup.start().finish(), &format!("open {path}: is a directory"));
}

// ---- no log, no usage --------------------------------------------------------------------------

#[test]
fn a_log_that_cannot_be_opened() {
    let place = Place::new();
    let prepared = place.init().prepare();
    fs::create_dir(prepared.dir.join("shim-log.json")).unwrap();
    assert_eq!(refused(&prepared, &[]), 2);
    assert!(place.calls().is_empty());
}

/// Root may write everywhere but on a disk that takes no writes.
#[test]
fn a_state_directory_that_is_not_ours_to_write() {
    let place = Place::new();
    let mount = |args: &[&str]| {
        let status = place.command("mount").args(args).arg(place.path("state/c1/disk")).status();
        status.is_ok_and(|status| status.success())
    };
    fs::create_dir(place.path("state/c1/disk")).unwrap();
    if is_root() && !mount(&["-t", "tmpfs", "tmpfs"]) {
        return skip("as root, it needs to mount a tmpfs");
    }
    let disk = place.path("state/c1/disk");
    let _disk = is_root().then(|| FullDisk(&disk));
    let prepared = place.init().below("disk").prepare();
    let set_mode = |mode| {
        fs::set_permissions(&prepared.dir, std::os::unix::fs::PermissionsExt::from_mode(mode))
            .unwrap();
    };
    if is_root() {
        assert!(mount(&["-o", "remount,ro"]));
    } else {
        set_mode(0o555);
    }
    let code = refused(&prepared, &[]);
    if !is_root() {
        set_mode(0o755);
    }
    assert_eq!(code, 2);
    assert!(!prepared.dir.join("shim-log.json").exists());
}

#[rstest]
#[case(&["-h"])]
#[case(&["--help"])]
#[case(&["-debug", "c1"])]
#[case(&["--root=/x", "c1", "/b", "runc"])]
fn a_flag_is_refused(#[case] args: &[&str]) {
    let place = Place::new();
    let prepared = place.init().prepare();
    assert_eq!(refused(&prepared, args), 2);
    assert!(!prepared.dir.join("shim-log.json").exists());
}

/// Starts the shim with these words alone, or with its usual ones if there are none, and gives its
/// exit code. It must have said something on stderr.
#[track_caller]
fn refused(prepared: &Prepared<'_>, args: &[&str]) -> i32 {
    let mut command = prepared.command();
    if !args.is_empty() {
        command = prepared.setup.place.command(env!("CARGO_BIN_EXE_containerd-shim"));
        command.current_dir(&prepared.dir).args(args);
    }
    let output = output(command.stderr(std::process::Stdio::piped()));
    assert!(!output.stderr.is_empty());
    output.status.code().unwrap()
}

#[rstest]
#[case(&[])]
#[case(&["c1"])]
#[case(&["c1", "BUNDLE"])]
fn words_are_missing(#[case] args: &[&str]) {
    let place = Place::new();
    let prepared = place.init().prepare();
    let mut command = place.command(env!("CARGO_BIN_EXE_containerd-shim"));
    command.current_dir(&prepared.dir);
    command.args(args.iter().map(|word| word.replace("BUNDLE", &place.text("bundle"))));
    assert_failed(&prepared.start_as(command).finish(), " not installed on system");
}

#[rstest]
#[case("WAVETANK_DIALECT", "sing")]
#[case("WAVETANK_DRAIN_TIMEOUT", "soon")]
#[case("WAVETANK_RUNTIME_TIMEOUT", "-1s")]
fn an_option_means_nothing(#[case] name: &str, #[case] value: &str) {
    let place = Place::new();
    assert_failed(&place.init().env(name, value).start().finish(), name);
    assert!(place.calls().is_empty());
}

// ---- the pid file ------------------------------------------------------------------------------

#[rstest]
#[case::none(json!("none"), "open pid: no such file or directory")]
#[case::empty(json!("empty"), "pid: the file is empty")]
#[case::negative(json!("negative"), "pid: \"-")]
#[case::huge(json!("huge"), "pid: \"9999")]
#[case::text(json!({"text": "a \"pid\"\n"}), "pid: \"a \\\"pid\\\"")]
#[case::zero(json!({"text": "0"}), "pid: \"0\"")]
#[case::first(json!({"text": "1"}), "wait4 1")]
fn a_pid_file_that_names_nobody(
    #[values("start", "create", "run")] dialect: &str,
    #[case] pid_file: Value,
    #[case] message: &str,
) {
    let place = Place::with(json!({
        "container": {"argv": ["sleep", "1000"]}, "on": {dialect: {"pid_file": pid_file}},
    }));
    let mut shim = place.init().dialect(dialect).start();
    assert_failed(&shim.finish(), message);
    assert!(place.words().contains(&"delete".to_owned()));
}

/// It must be left alone, whatever becomes of the container.
#[rstest]
fn a_pid_file_that_names_a_stranger(#[values("start", "create", "run")] dialect: &str) {
    let place = Place::new();
    let mut stranger = place.command("sleep").arg("1000").spawn().unwrap();
    let pid = i32::try_from(stranger.id()).unwrap();
    place.script(json!({
        "container": {"argv": ["sleep", "1000"]},
        "on": {dialect: {"pid_file": {"text": pid.to_string()}}},
    }));
    let ended = place.init().dialect(dialect).start().finish();
    assert_failed(&ended, &format!("wait4 {pid}"));
    assert!(is_alive(pid));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[rstest]
#[case::newline(json!("newline"))]
#[case::slow(json!({"in_place": {"pause_ms": 3}}))]
fn a_pid_file_in_an_unusual_form(#[values("start", "run")] dialect: &str, #[case] pid_file: Value) {
    let place = Place::with(json!({"on": {dialect: {"pid_file": pid_file}}}));
    let mut shim = place.init().dialect(dialect).start();
    shim.close_stdin();
    shim.finish_with("0");
}

// ---- a runtime that does not end ---------------------------------------------------------------

#[rstest]
fn a_runtime_that_hangs_is_killed(
    #[values("start", "create", "run")] dialect: &str,
    #[values("before", "midway", "after")] moment: &str,
) {
    let place = Place::with(json!({
        "container": {"argv": ["sleep", "1000"]}, "on": {dialect: {moment: {"hang": true}}},
    }));
    // Long enough for it to come so far on a busy machine.
    let mut shim = place.init().dialect(dialect).env("WAVETANK_RUNTIME_TIMEOUT", "1s").start();
    let ended = shim.finish();
    assert_eq!((ended.code, ended.status.as_deref()), (1, None), "{ended:?}");
    assert!(matches!(ended.errors()[..], [error] if error.contains("took too long")), "{ended:?}");
    wait_for_end(place.calls()[0].pid.0);
    assert_eq!(place.words().last().unwrap(), "delete");
}

#[rstest]
#[case::delete("start", "delete")]
#[case::delete_today("run", "delete")]
#[case::kill("run", "kill")]
fn a_runtime_that_hangs_in_the_end_is_killed(#[case] dialect: &str, #[case] word: &str) {
    let place = Place::with(json!({"on": {word: {"before": {"hang": true}}}}));
    if word == "delete" {
        place.state_may_stay();
    }
    let mut shim = place.init().dialect(dialect).env("WAVETANK_RUNTIME_TIMEOUT", "300ms").start();
    shim.close_stdin();
    // It does not keep the status back.
    assert_eq!(shim.wait_for_status(), "0");
    let ended = shim.finish();
    assert_eq!((ended.code, ended.status.as_deref()), (0, Some("0")), "{ended:?}");
    assert!(ended.errors().is_empty(), "{ended:?}");
    assert!(matches!(ended.warnings()[..], [text] if text.contains(word)), "{ended:?}");
    wait_for_end(place.wait_for_call(word).pid.0);
}

#[rstest]
fn a_runtime_that_cannot_clean_up_changes_nothing(
    #[values(json!({"exit_code": 1}), json!({"die_by_signal": "SEGV"}))] end: Value,
    #[values("start", "run")] dialect: &str,
) {
    let fails = json!({"before": end});
    let place = Place::with(json!({"on": {"delete": fails, "kill": fails}}));
    place.state_may_stay();
    let mut shim = place.init().dialect(dialect).start();
    shim.close_stdin();
    shim.finish_with("0");
}

// ---- a full disk -------------------------------------------------------------------------------

/// A file system on the state directory that has no room for another file.
struct FullDisk<'a>(&'a Path);

impl Drop for FullDisk<'_> {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(self.0).status().unwrap();
    }
}

#[rstest]
#[case::room_comes(true)]
#[case::no_room(false)]
fn a_disk_that_is_full_when_the_status_is_written(#[case] room_comes: bool) {
    let place = Place::new();
    let dir = place.path("state/c1/disk");
    fs::create_dir(&dir).unwrap();
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=1m,nr_inodes=24,mode=755", "tmpfs"]).arg(&dir);
    mount.stderr(std::process::Stdio::null());
    if !is_root() || !mount.status().is_ok_and(|status| status.success()) {
        return skip("needs to mount a tmpfs");
    }
    let disk = FullDisk(&dir);
    let mut shim = place.init().below("disk").start();
    shim.process();
    wait_for_end(place.calls()[0].pid.0);
    let filler = |number: usize| shim.dir.join(format!("filler{number}"));
    let fillers = (0..).take_while(|number| fs::write(filler(*number), "").is_ok()).count();
    assert!(fillers > 0);
    let filler = filler(0);
    shim.close_stdin();
    // By then it has tried once.
    place.wait_for_call("delete");
    assert_eq!(shim.read("exitStatus"), None);
    assert!(!shim.has_hung_up());
    if room_comes {
        fs::remove_file(filler).unwrap();
        shim.finish_with("0");
    } else {
        assert_failed(&shim.finish(), "create exitStatus: no space left on device");
    }
    drop(disk);
}
