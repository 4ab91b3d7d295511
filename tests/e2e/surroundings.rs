//! What a shim is born into: dispositions, descriptors, strangers, and the wrong options.

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;

use rstest::rstest;
use serde_json::json;

use crate::support::{Place, fake_runc, has_ended, until};

/// Whoever starts the shim may ignore `SIGCHLD`; inherited, that would have the kernel reap every
/// child and tell nobody.
#[rstest]
fn an_ignored_sigchld_hides_no_exit(#[values("start", "run")] dialect: &str) {
    let place = Place::with(json!({"container": {"echo": false, "exit_code": 7}}));
    let setup = place.init().dialect(dialect).through("trap '' CHLD TERM PIPE");
    setup.start().finish_with("7");
}

/// A pipe that the daemon forgot to close-on-exec does not stay open as long as the container.
#[test]
fn inherited_descriptors_are_not_held() {
    let place = Place::new();
    let prepared = place.init().dialect("run").prepare();
    let mut command = prepared.command();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let number = writer.as_raw_fd();
    // SAFETY: between fork and exec only fcntl is called, on a descriptor that is open.
    #[allow(unsafe_code, reason = "only this hands a descriptor on as a careless daemon would")]
    unsafe {
        command.pre_exec(move || {
            nix::libc::fcntl(number, nix::libc::F_SETFD, 0);
            Ok(())
        });
    }
    let mut shim = prepared.start_as(command);
    shim.process();
    drop(writer);
    let mut rest = Vec::new();
    assert_eq!(reader.read_to_end(&mut rest).unwrap(), 0);
    shim.close_stdin();
    shim.finish_with("0");
}

/// A runtime that refuses a second container of that name, and leaves a helper behind: the helper
/// is killed, the first container is somebody else's.
#[rstest]
fn a_failed_start_leaves_others_alone(#[values("start", "create", "run")] dialect: &str) {
    let place = Place::with(json!({}));
    let mut first = place.init().dialect("run").start();
    let process = first.process();
    let note = place.text("helper");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--pid-file*) sleep 1000 & echo $! > {note}.new; \
         mv {note}.new {note};; esac\nexec {} \"$@\"\n",
        fake_runc().display()
    );
    let wrapper = place.executable("wrapper", &script);
    let setup = place.init().below("second").dialect(dialect);
    fs::create_dir_all(place.path("state/c1/second")).unwrap();
    let ended = setup.runtime(wrapper.to_str().unwrap()).start().finish();
    assert_eq!((ended.code, ended.status), (0, None));
    let helper: i32 = fs::read_to_string(&note).unwrap().trim().parse().unwrap();
    until("the helper has ended", || has_ended(helper));
    assert!(!has_ended(process), "somebody else's container was killed");
    assert!(place.runtime(&["state", "c1"]).status.success());
    first.close_stdin();
    first.finish_with("0");
}

/// The runtime sends something that is no terminal, and works on: it does not get to the end of it.
#[rstest]
fn a_runtime_with_a_false_console_is_stopped(#[values("create", "run")] dialect: &str) {
    let place = Place::with(json!({"container": {"argv": ["sleep", "1000"]}}));
    let sender = "import array, os, socket, sys, time\n\
        socket_path = sys.argv[sys.argv.index('--console-socket') + 1]\n\
        s = socket.socket(socket.AF_UNIX); s.connect(socket_path)\n\
        fds = array.array('i', [os.pipe()[0]])\n\
        s.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])\n\
        time.sleep(1000)\n";
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        crate::support::skip("needs python3");
        return;
    }
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--console-socket*) exec python3 -c \"{sender}\" \"$@\";; esac\n\
         exec {} \"$@\"\n",
        fake_runc().display()
    );
    let wrapper = place.executable("wrapper", &script);
    let setup = place.init().terminal().dialect(dialect).runtime(wrapper.to_str().unwrap());
    let ended = setup.start().finish();
    assert_eq!((ended.code, ended.status.as_deref()), (1, None), "{ended:?}");
    assert!(ended.errors()[0].contains("console"), "{ended:?}");
}

#[rstest]
#[case("WAVETANK_DRAIN_TIMEOUT", "18446744073709551615s")]
#[case("WAVETANK_RUNTIME_TIMEOUT", "18446744073709551615ms")]
#[case("WAVETANK_DRAIN_TIMEOUT", "soon")]
#[case("WAVETANK_DIALECT", "sing")]
fn an_option_that_means_nothing_is_an_error(#[case] name: &str, #[case] value: &str) {
    let place = Place::new();
    let ended = place.init().env(name, value).start().finish();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.errors()[0].contains(name), "{ended:?}");
    assert!(place.calls().is_empty());
}

/// Shims that share an environment have a trace each.
#[test]
fn the_trace_of_each_shim_has_its_pid() {
    let place = Place::with(json!({"container": {"echo": false}}));
    let mut shim = place.init().env("WAVETANK_RECORD", place.path("trace-%p")).start();
    let pid = shim.pid();
    shim.finish_with("0");
    assert!(place.path(&format!("trace-{pid}")).exists());
}
