//! `containerd-shim-wavetank-v2` as daemons call it: its flags, `start`, `delete` and `-info`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult, Extension};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::oci::Options;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use rstest::rstest;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{
    Place, fake_runc, finish, is_root, output, reap, signal, skip, stat_field, until, wait_for_end,
};

const GRPC_ADDRESS: &str = "/run/e2e/containerd.sock";
const PROGRAM: &str = env!("CARGO_BIN_EXE_containerd-shim-wavetank-v2");

fn shim(place: &Place, args: &[&str]) -> Command {
    let mut command = place.command(PROGRAM);
    command.args(args).current_dir(place.path("bundle"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command with this on its stdin.
fn with_stdin(mut command: Command, stdin: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    finish(child)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn assert_fails(output: &Output, message: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let expected = format!("io.containerd.wavetank.v2: {message}");
    assert_eq!((text(&output.stderr), text(&output.stdout)), (&*expected, ""));
}

#[track_caller]
fn assert_succeeds(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stderr), "");
}

// ---- flags -------------------------------------------------------------------------------------

#[rstest]
#[case(&["-v"])]
#[case(&["--version"])]
#[case(&["-debug", "-v=true", "start"])]
fn the_version(#[case] args: &[&str]) {
    let output = output(&mut shim(&Place::new(), args));
    assert_succeeds(&output);
    let head = concat!("containerd-shim-wavetank-v2:\n  Version:  ", env!("CARGO_PKG_VERSION"));
    assert!(text(&output.stdout).starts_with(head), "{output:?}");
}

#[rstest]
#[case(&["-h"], 0, "Usage of ")]
#[case(&["-root", "/x", "start"], 2, "flag provided but not defined: -root\nUsage of ")]
#[case(&["-namespace"], 2, "flag needs an argument: -namespace\nUsage of ")]
fn usage(#[case] args: &[&str], #[case] code: i32, #[case] stderr: &str) {
    let output = output(&mut shim(&Place::new(), args));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(code), ""));
    assert!(text(&output.stderr).starts_with(stderr), "{output:?}");
}

#[rstest]
#[case(&["-id", "c1", "start"], "shim namespace cannot be empty")]
#[case(&["-id", "c1", "delete"], "shim namespace cannot be empty")]
#[case(&[], "shim namespace cannot be empty")]
#[case(&["-namespace", "ns", "start"], "shim id: cannot be empty")]
#[case(&["-namespace", "ns", "-id", "c1", "stop"], "unknown action \"stop\"")]
fn what_is_refused(#[case] args: &[&str], #[case] message: &str) {
    assert_fails(&output(&mut shim(&Place::new(), args)), message);
}

// ---- -info -------------------------------------------------------------------------------------

fn options(options: &Options) -> Any {
    Any {
        type_url: "containerd.runc.v1.Options".to_owned(),
        value: options.write_to_bytes().unwrap(),
        ..Any::default()
    }
}

fn runtime_options(place: &Place, runtime: &Path) -> Options {
    Options {
        binary_name: runtime.to_str().unwrap().to_owned(),
        root: place.text("root"),
        ..Options::default()
    }
}

fn info(place: &Place, stdin: &[u8]) -> Output {
    let bin = place.path("bin");
    fs::create_dir_all(&bin).unwrap();
    symlink(fake_runc(), bin.join("runc")).unwrap();
    let mut command = shim(place, &["-info"]);
    command.env("PATH", bin);
    with_stdin(command, stdin)
}

#[test]
fn what_this_runtime_is() {
    let place = Place::new();
    let output = info(&place, b"");
    assert_succeeds(&output);
    let info = RuntimeInfo::parse_from_bytes(&output.stdout).unwrap();
    assert_eq!(info.name, "io.containerd.wavetank.v2");
    assert_eq!(info.version.version, env!("CARGO_PKG_VERSION"));
    assert!(info.options.is_none());
    let features: Value = serde_json::from_slice(&info.features.value).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    let name = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
    assert_eq!(info.features.type_url, name);
}

#[test]
fn a_runtime_without_features() {
    let place = Place::new();
    let runtime = place.executable("old", "#!/bin/sh\necho '{}'; exit 1\n");
    let given = options(&runtime_options(&place, &runtime));
    let output = info(&place, &given.write_to_bytes().unwrap());
    assert_succeeds(&output);
    let info = RuntimeInfo::parse_from_bytes(&output.stdout).unwrap();
    assert!(info.features.is_none());
    assert_eq!(info.options.as_ref(), Some(&given));
}

#[rstest]
#[case(
    "containerd.runc.v1.Options",
    "failed to look up the runtime: exec: \"no-runc\": executable file not found in $PATH"
)]
#[case("x.Options", "options: are of type \"x.Options\", not containerd.runc.v1.Options")]
fn info_about_nothing(#[case] type_url: &str, #[case] message: &str) {
    let place = Place::new();
    let no_runc = Options { binary_name: "no-runc".to_owned(), ..Options::default() };
    let any = Any { type_url: type_url.to_owned(), ..options(&no_runc) };
    assert_fails(&info(&place, &any.write_to_bytes().unwrap()), message);
}

// ---- start -------------------------------------------------------------------------------------

/// A bundle beside the first one.
fn bundle(place: &Place, name: &str, annotations: &Value) -> PathBuf {
    let bundle = place.path(name);
    fs::create_dir_all(&bundle).unwrap();
    fs::write(bundle.join("config.json"), json!({"annotations": annotations}).to_string()).unwrap();
    bundle
}

fn start(place: &Place, bundle: &Path, id: &str) -> Command {
    let args =
        ["-namespace", "ns", "-address", GRPC_ADDRESS, "-publish-binary", "/c", "-id", id, "start"];
    let mut command = shim(place, &args);
    command.current_dir(bundle).env("TTRPC_ADDRESS", "/run/e2e/containerd.sock.ttrpc");
    command
}

fn params(place: &Place, id: &str) -> BootstrapParams {
    BootstrapParams {
        instance_id: id.to_owned(),
        namespace: "ns".to_owned(),
        containerd_grpc_address: GRPC_ADDRESS.to_owned(),
        socket_dir: Some(place.text("s")),
        ..BootstrapParams::default()
    }
}

fn start_with(place: &Place, bundle: &Path, params: &BootstrapParams) -> Output {
    with_stdin(start(place, bundle, &params.instance_id), &params.write_to_bytes().unwrap())
}

/// The address in an answer.
#[track_caller]
fn address(output: &Output) -> String {
    assert_succeeds(output);
    let result = BootstrapResult::parse_from_bytes(&output.stdout).unwrap();
    assert_eq!((result.version, &*result.protocol), (3, "ttrpc"));
    result.address
}

fn socket_name(group: &str) -> String {
    let digest = Sha256::digest(format!("{GRPC_ADDRESS}/ns/{group}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The one server of a place.
#[track_caller]
fn server(place: &Place) -> i32 {
    let running = place.running();
    assert_eq!(running.len(), 1, "{running:?}");
    running[0]
}

/// Ends a server as a service manager does, once it has come so far as to hold signals back.
#[track_caller]
fn stop(pid: i32) {
    until("the server takes care of SIGTERM", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let held = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        u64::from_str_radix(held.trim(), 16).unwrap() & 1 << 14 != 0
    });
    signal(pid, 15);
    wait_for_end(pid);
    reap(pid);
}

#[test]
fn an_answer_in_messages() {
    let place = Place::new();
    let bundle = bundle(&place, "c1", &json!({}));
    let address = address(&start_with(&place, &bundle, &params(&place, "c1")));
    let socket = place.path("s").join(socket_name("c1"));
    assert_eq!(address, format!("unix://{}", socket.display()));
    assert_eq!(fs::read_to_string(bundle.join("address")).unwrap(), address);
    assert_eq!(fs::read_link(bundle.join("s")).unwrap(), place.path("s"));
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(place.path("s")).unwrap().permissions().mode() & 0o7777, 0o700);
    UnixStream::connect(&socket).unwrap();
    stop(server(&place));
    assert!(!socket.exists(), "the socket is left");
}

#[test]
fn the_servers_surroundings() {
    let place = Place::new();
    let bundle = bundle(&place, "c1", &json!({}));
    let mut params = params(&place, "c1");
    params.log_level = containerd_shim_protos::protobuf::EnumOrUnknown::from_i32(-4);
    let address = address(&start_with(&place, &bundle, &params));
    let pid = server(&place);
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let line = fs::read_to_string(proc.join("cmdline")).unwrap();
    let args = ["-namespace", "ns", "-id", "c1", "-address", &address, "-publish-binary", "/c"];
    let words: Vec<&str> = line.split_terminator('\0').collect();
    assert_eq!(words, [&[PROGRAM][..], &args, &["-debug"]].concat());
    assert_eq!(fs::read_to_string(proc.join("comm")).unwrap().trim(), "containerd-shim");
    assert_eq!(fs::read_link(proc.join("cwd")).unwrap(), bundle);
    assert_eq!(stat_field(pid, 5), Some(pid.to_string()), "it leads its process group");
    assert_ne!(stat_field(pid, 6), Some(pid.to_string()), "it leads no session");
    for fd in 0..2 {
        let link = fs::read_link(proc.join(format!("fd/{fd}"))).unwrap();
        assert_eq!(link, Path::new("/dev/null"), "descriptor {fd}");
    }
    let listener = fs::read_link(proc.join("fd/3")).unwrap();
    assert!(listener.to_str().unwrap().starts_with("socket:["), "{listener:?}");
    let environ = fs::read_to_string(proc.join("environ")).unwrap();
    let ttrpc = "TTRPC_ADDRESS=/run/e2e/containerd.sock.ttrpc";
    assert!(environ.split('\0').any(|entry| entry == ttrpc), "{environ}");
    let score = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        text.trim().parse::<i32>().unwrap()
    };
    let ours = score(std::process::id());
    assert_eq!(score(pid.cast_unsigned()), (ours + 1).min(1000));
    stop(pid);
}

/// What daemons until 2.2 say and want to hear.
#[rstest]
#[case::nothing(None)]
#[case::options(Some(Options { systemd_cgroup: true, ..Options::default() }))]
fn an_answer_in_plain_text(#[case] given: Option<Options>) {
    if !is_root() {
        return skip("only root may listen in /run/containerd/s");
    }
    let place = Place::new();
    // Nobody else's socket has this name.
    let id = place.path("").file_name().unwrap().to_str().unwrap().to_owned();
    let bundle = bundle(&place, "c1", &json!({}));
    let stdin = given.map_or(Vec::new(), |given| options(&given).write_to_bytes().unwrap());
    let output = with_stdin(start(&place, &bundle, &id), &stdin);
    assert_succeeds(&output);
    let expected = format!("unix:///run/containerd/s/{}", socket_name(&id));
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(fs::read_to_string(bundle.join("address")).unwrap(), expected);
    assert!(!bundle.join("s").exists());
    stop(server(&place));
    assert!(!Path::new(&expected["unix://".len()..]).exists(), "the socket is left");
}

#[rstest]
#[case(json!({"io.kubernetes.cri.sandbox-id": "s1"}), "s1")]
#[case(json!({"io.kubernetes.cri.sandbox-id": "s1", "io.containerd.runc.v2.group": "g"}), "g")]
fn containers_of_a_group_have_one_shim(#[case] annotations: Value, #[case] group: &str) {
    let place = Place::new();
    let (first, second) = (bundle(&place, "c1", &annotations), bundle(&place, "c2", &annotations));
    let address_of_first = address(&start_with(&place, &first, &params(&place, "c1")));
    assert!(address_of_first.ends_with(&socket_name(group)), "{address_of_first}");
    let pid = server(&place);
    let address_of_second = address(&start_with(&place, &second, &params(&place, "c2")));
    assert_eq!(address_of_second, address_of_first);
    assert_eq!(fs::read_to_string(second.join("address")).unwrap(), address_of_first);
    assert_eq!(server(&place), pid);
    stop(pid);
}

#[test]
fn the_socket_of_a_dead_shim_is_replaced() {
    let place = Place::new();
    let bundle = bundle(&place, "c1", &json!({}));
    fs::create_dir(place.path("s")).unwrap();
    let socket = place.path("s").join(socket_name("c1"));
    drop(UnixListener::bind(&socket).unwrap());
    symlink("/elsewhere", bundle.join("s")).unwrap();
    address(&start_with(&place, &bundle, &params(&place, "c1")));
    UnixStream::connect(&socket).unwrap();
    assert_eq!(fs::read_link(bundle.join("s")).unwrap(), place.path("s"));
    stop(server(&place));
}

#[test]
fn there_is_no_config() {
    let place = Place::new();
    let output = start_with(&place, &place.path("bundle"), &params(&place, "c1"));
    assert_fails(&output, "open config.json: no such file or directory (ENOENT)");
    assert!(!place.path("s").exists());
}

#[test]
fn a_failure_leaves_nothing() {
    let place = Place::new();
    let bundle = bundle(&place, "c1", &json!({}));
    let cgroup = Options { shim_cgroup: "../outside".to_owned(), ..Options::default() };
    let extension =
        Extension { value: MessageField::some(options(&cgroup)), ..Extension::default() };
    let params = BootstrapParams { extensions: vec![extension], ..params(&place, "c1") };
    let output = start_with(&place, &bundle, &params);
    assert_fails(&output, "cgroup \"../outside\": not a path from the root down");
    assert!(place.running().is_empty());
    assert!(!bundle.join("address").exists());
    assert_eq!(fs::read_dir(place.path("s")).unwrap().count(), 0);
}

#[test]
fn no_socket_can_be_there() {
    let place = Place::new();
    let bundle = bundle(&place, "c1", &json!({}));
    fs::write(place.path("file"), "").unwrap();
    let socket_dir = Some(place.text("file"));
    let output =
        start_with(&place, &bundle, &BootstrapParams { socket_dir, ..params(&place, "c1") });
    assert_eq!(output.status.code(), Some(1));
    let expected = "io.containerd.wavetank.v2: create new shim socket: ";
    assert!(text(&output.stderr).starts_with(expected), "{output:?}");
}

// ---- delete ------------------------------------------------------------------------------------

fn delete(place: &Place) -> Output {
    let bundle = place.text("bundle");
    let args = ["-namespace", "ns", "-address", GRPC_ADDRESS, "-publish-binary", "/c"];
    output(&mut shim(place, &[&args[..], &["-id", "c1", "-bundle", &bundle, "delete"]].concat()))
}

fn deleted(output: &Output) -> (u32, u32, i64) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let response = DeleteResponse::parse_from_bytes(&output.stdout).unwrap();
    (response.pid, response.exit_status, response.exited_at.seconds)
}

/// Files that a shim leaves in its bundle.
fn leave_options(place: &Place, runtime: &Path) {
    fs::write(place.path("bundle/runtime"), runtime.to_str().unwrap()).unwrap();
    let options = json!({"root": place.path("root"), "binary_name": "not-this-one"});
    fs::write(place.path("bundle/options.json"), options.to_string()).unwrap();
}

#[test]
fn a_container_whose_shim_is_gone() {
    let place = Place::new();
    leave_options(&place, &fake_runc());
    let (root, bundle) = (place.text("root/ns"), place.text("bundle"));
    let pid_file = place.text("bundle/init.pid");
    let mut create = place.command(fake_runc());
    let args = ["--root", &root, "create", "--bundle", &bundle, "--pid-file", &pid_file, "c1"];
    assert!(output(create.args(args)).status.success());
    let pid: i32 = fs::read_to_string(pid_file).unwrap().parse().unwrap();
    let first = delete(&place);
    assert_succeeds(&first);
    let (told_pid, status, at) = deleted(&first);
    assert_eq!((told_pid, status), (pid.cast_unsigned(), 137));
    assert!(at > 1_700_000_000, "{at}");
    wait_for_end(pid);
    reap(pid);
    let call = place.calls().pop().unwrap();
    let log = place.text("bundle/log.json");
    let line = ["--root", &root, "--log", &log, "--log-format", "json", "delete", "--force", "c1"];
    assert_eq!(call.argv[1..], line);
    // Daemons do it again; the runtime, which has nothing more to do, is not even called.
    let again = delete(&place);
    assert_succeeds(&again);
    assert_eq!(again.stdout, first.stdout, "the same end, at the same time");
    assert_eq!(place.words(), ["create", "delete"]);
    assert!(place.path("bundle").exists());
    fs::remove_dir(place.path("root/ns")).unwrap();
}

#[test]
fn there_never_was_a_container() {
    let place = Place::new();
    let output = delete(&place);
    assert_succeeds(&output);
    let (pid, status, _) = deleted(&output);
    assert_eq!((pid, status), (u32::MAX, 137));
}

#[test]
fn a_shim_that_could_tell_the_end() {
    let place = Place::new();
    let record = json!({"pid": 77, "exit_status": 3, "exited_at": "2026-11-23T11:50:20.5Z"});
    fs::write(place.path("bundle/exit.json"), record.to_string()).unwrap();
    fs::write(place.path("bundle/init.pid"), "78").unwrap();
    let output = delete(&place);
    assert_succeeds(&output);
    assert_eq!(deleted(&output), (77, 3, 1_795_434_620));
}

#[rstest]
#[case("echo no >&2; exit 3", "did not terminate successfully: exit status 3: no\n")]
#[case("exec sleep 1000", "runtime: did not end within 4s\n")]
fn a_runtime_that_does_not_delete(#[case] script: &str, #[case] warning: &str) {
    let place = Place::new();
    let runtime = place.executable("runtime", &format!("#!/bin/sh\n{script}\n"));
    leave_options(&place, &runtime);
    fs::create_dir_all(place.path("root/ns/c1")).unwrap();
    fs::write(place.path("bundle/log.json"), "").unwrap();
    place.state_may_stay();
    let output = delete(&place);
    assert_eq!(deleted(&output).1, 137);
    let stderr = text(&output.stderr);
    assert!(stderr.contains("failed to remove the container: "), "{stderr}");
    assert!(stderr.ends_with(warning), "{stderr}");
}
