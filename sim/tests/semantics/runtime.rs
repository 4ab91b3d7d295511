//! The pretend runtime as a program of the simulated machine: what the runtime v2 shim asks of it.

use std::path::Path;

use wavetank::files::read_file;
use wavetank::host::{Fd, Host, OpenFlags, Pid, Signal, WaitFor, close_all, write_all};
use wavetank_sim::{Random, SimHost, World};

use crate::common::*;

/// A machine with a runtime, and a bundle whose process is `cat` unless the script says otherwise.
fn machine_with_runtime(script: &str) -> World {
    let mut world = machine();
    world
        .add_program("/bin/runc", |host, argv| fake_runc::main(host, argv))
        .add_program("/bin/guest", |host, argv| wavetank_sim::guests::guest(host, argv))
        .add_file("/b/fake-runc.json", script)
        .add_dir("/r");
    world
}

/// Runs the runtime to its end on these three descriptors and gives its exit code.
fn runc_on(host: &mut SimHost<'_>, words: &str, fds: &[Fd]) -> i32 {
    let global = ["runc", "--root", "/r/ns", "--log", "/b/log.json", "--log-format", "json"];
    let argv: Vec<&str> = global.into_iter().chain(words.split(' ')).collect();
    let pid = host.spawn(&command(&argv, fds)).unwrap();
    reap(host, pid)
}

fn runc(host: &mut SimHost<'_>, words: &str) -> i32 {
    let null = open(host, "/dev/null", BOTH).unwrap();
    let code = runc_on(host, words, &[null; 3]);
    host.close(null).unwrap();
    code
}

/// What a command prints.
fn printed(host: &mut SimHost<'_>, words: &str) -> String {
    let null = open(host, "/dev/null", BOTH).unwrap();
    let pipe = host.pipe(OpenFlags::empty()).unwrap();
    assert_eq!(runc_on(host, words, &[null, pipe.write, null]), 0, "{words}");
    host.close(pipe.write).unwrap();
    let text = read_to_end(host, pipe.read);
    close_all(host, [pipe.read, null]);
    String::from_utf8(text).unwrap()
}

fn read_to_end(host: &mut SimHost<'_>, fd: Fd) -> Vec<u8> {
    wavetank::host::read_to_end(host, fd, 1 << 20).unwrap()
}

fn status(host: &mut SimHost<'_>) -> String {
    let state = printed(host, "state c1");
    let (_, rest) = state.split_once("\"status\": \"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

fn pid_in(host: &mut SimHost<'_>, path: &str) -> Pid {
    let text = read_file(host, Path::new(path), 100).unwrap();
    Pid(String::from_utf8(text).unwrap().parse().unwrap())
}

/// Descriptors of a process that stands on pipes, and our ends of them.
struct Stdio {
    theirs: [Fd; 3],
    input: Fd,
    output: Fd,
}

impl Stdio {
    fn new(host: &mut SimHost<'_>) -> Stdio {
        let input = host.pipe(OpenFlags::empty()).unwrap();
        let output = host.pipe(OpenFlags::empty()).unwrap();
        let theirs = [input.read, output.write, output.write];
        Stdio { theirs, input: input.write, output: output.read }
    }

    /// Lets the process alone have its ends.
    fn given(&self, host: &mut SimHost<'_>) {
        close_all(host, [self.theirs[0], self.theirs[1]]);
    }
}

/// Creates and starts the container as a child of ours, which its end makes ours to reap.
fn started(host: &mut SimHost<'_>) -> (Stdio, Pid) {
    host.become_subreaper().unwrap();
    let stdio = Stdio::new(host);
    let create = "create --bundle /b --pid-file /b/init.pid --no-pivot --no-new-keyring c1";
    assert_eq!(runc_on(host, create, &stdio.theirs), 0);
    stdio.given(host);
    assert_eq!(status(host), "created");
    assert_eq!(runc(host, "start c1"), 0);
    (stdio, pid_in(host, "/b/init.pid"))
}

/// Runs a program under several seeds, to a machine without processes.
fn in_every_order(script: &'static str, program: fn(&mut SimHost<'_>)) {
    let build = || {
        let mut world = machine_with_runtime(script);
        world.add_program("/bin/main", move |host, _| {
            program(host);
            0
        });
        world.start("/bin/main", &["main"]).unwrap();
        world
    };
    under_seeds(20, build, |world| assert_eq!(world.processes(), []));
    // The same seeds once more, since a run must be its choices and nothing else.
    let hash = || {
        let mut world = build();
        finish(&mut world, &mut Random::new(7));
        world.hash()
    };
    assert_eq!(hash(), hash());
}

#[test]
fn a_paused_container_stands_still_and_can_be_killed() {
    in_every_order("{}", |host| {
        let (stdio, pid) = started(host);
        assert_eq!(runc(host, "pause c1"), 0);
        write_all(host, stdio.input, b"hello").unwrap();
        assert_eq!(status(host), "paused");
        assert_eq!(host.unread(stdio.output), Ok(0), "nobody read what was written");
        assert_eq!(runc(host, "resume c1"), 0);
        assert_eq!(read(host, stdio.output), Ok(b"hello".to_vec()));
        assert_eq!(runc(host, "pause c1"), 0);
        assert_eq!(runc(host, "kill c1 9"), 0);
        assert_eq!(reap(host, pid), 137);
        assert_eq!(runc(host, "kill c1 9"), 1);
        assert_eq!(runc(host, "delete c1"), 0);
        let log = read_file(host, Path::new("/b/log.json"), 4096).unwrap();
        assert!(String::from_utf8(log).unwrap().contains("container not running"));
    });
}

#[test]
fn a_container_is_checkpointed_and_restored() {
    let script = r#"{"container": {"argv": ["/bin/guest", "print", "x", "echo", "exit", "5"]}}"#;
    in_every_order(script, |host| {
        let (stdio, pid) = started(host);
        let checkpoint = "checkpoint --image-path /i --work-path /w --tcp-established";
        assert_eq!(runc(host, &format!("{checkpoint} --leave-running c1")), 0);
        assert_eq!(status(host), "running");
        assert_eq!(runc(host, &format!("{checkpoint} c1")), 0);
        assert_eq!(reap(host, pid), 137);
        assert_eq!(runc(host, "delete c1"), 1, "it does not exist any more");
        close_all(host, [stdio.input, stdio.output]);

        let stdio = Stdio::new(host);
        let restore = "restore --image-path /i --work-path /w --detach --pid-file /b/init.pid \
                       --no-pivot -no-subreaper --bundle /b c1";
        let restore: Vec<&str> = restore.split_whitespace().collect();
        assert_eq!(runc_on(host, &restore.join(" "), &stdio.theirs), 0);
        stdio.given(host);
        host.close(stdio.input).unwrap();
        assert_eq!(read_to_end(host, stdio.output), b"x");
        let pid = pid_in(host, "/b/init.pid");
        assert_eq!(reap(host, pid), 5);
        assert_eq!(runc(host, "delete --force c1"), 0);
    });
}

#[test]
fn an_exec_is_a_process_of_the_container() {
    in_every_order("{}", |host| {
        let (stdio, pid) = started(host);
        let file = open(host, "/b/process.json", CREATE | WRITE).unwrap();
        write_all(host, file, br#"{"args": ["x"]}"#).unwrap();
        host.close(file).unwrap();
        let other = Stdio::new(host);
        let exec = "exec --process /b/process.json --detach --pid-file /b/e1.pid c1";
        assert_eq!(runc_on(host, exec, &other.theirs), 0);
        other.given(host);
        let second = pid_in(host, "/b/e1.pid");
        assert_eq!(printed(host, "ps --format json c1"), format!("[{pid},{second}]\n"));
        host.kill(second, Signal::TERM).unwrap();
        assert_eq!(reap(host, second), 143);
        assert_eq!(runc(host, "kill --all c1 9"), 0);
        assert_eq!(reap(host, pid), 137);
        assert_eq!(runc(host, "delete c1"), 0);
        assert!(host.wait(WaitFor::Any, false).is_err(), "no child is left");
        close_all(host, [stdio.input, stdio.output, other.input, other.output]);
    });
}

#[test]
fn limits_are_taken_from_standard_input() {
    in_every_order("{}", |host| {
        let (stdio, pid) = started(host);
        let limits = host.pipe(OpenFlags::empty()).unwrap();
        write_all(host, limits.write, br#"{"pids":{"limit":3}}"#).unwrap();
        host.close(limits.write).unwrap();
        let null = open(host, "/dev/null", BOTH).unwrap();
        assert_eq!(runc_on(host, "update --resources=- c1", &[limits.read, null, null]), 0);
        assert_eq!(runc_on(host, "update --resources=- c1", &[null; 3]), 1, "there was nothing");
        let stored = read_file(host, Path::new("/r/ns/c1/resources.json"), 4096).unwrap();
        assert_eq!(stored, br#"{"pids":{"limit":3}}"#);
        assert_eq!(runc(host, "delete --force c1"), 0);
        assert_eq!(reap(host, pid), 137);
        close_all(host, [stdio.input, stdio.output, limits.read, null]);
    });
}

#[test]
fn features_are_printed() {
    in_every_order("{}", |host| {
        assert!(printed(host, "features").contains("\"ociVersionMax\""));
    });
}
