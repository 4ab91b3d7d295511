//! Everything that the tests have in common: a place of their own, the daemon's side of a state
//! directory, the client's side of the streams.

mod events;
mod processes;
mod shim;
mod stream;
mod task;

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fake_runc::Call;
use fake_runc::script::Script;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) use events::read as read_event;
pub(crate) use processes::{
    become_subreaper, groups_gone, has_ended, is_alive, kill, reap, signal, stat_field,
    wait_for_end,
};
pub(crate) use shim::{Ended, Prepared, Setup, Shim, mkfifo};
pub(crate) use stream::{Input, Stream, assert_same};
pub(crate) use task::{
    Client, Daemon, Refused, Server, any, any_json, delete_request, options_any, runc_options,
    share_pids, start_request, terminal_in_config, wait_request,
};

/// Longer than anything here takes on a busy machine: who waits so long, hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

/// Every process that a test starts has this variable, with the test's directory as its value, and
/// so have their children. By it they are found again.
pub(crate) const MARK: &str = "E2E_PLACE";

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !so() {
        assert!(Instant::now() < end, "in vain waited until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until there is something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    until(what, || {
        found = find();
        found.is_some()
    });
    found.unwrap()
}

/// Says that this test cannot run here; past the harness, which would hide it.
pub(crate) fn skip(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = std::io::stderr().write_all(format!("SKIPPED {test}: {why}\n").as_bytes());
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A program of this workspace, beside those under test.
pub(crate) fn fake_runc() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_containerd-shim")).with_file_name("fake-runc");
    assert!(path.exists(), "{} is missing: run `cargo test --workspace`", path.display());
    path
}

/// A directory of the test's own, with a bundle, a place for the runtime's state, and all the state
/// directories. In the end it looks whether anything is left of what was done here.
pub(crate) struct Place {
    directory: Option<TempDir>,
    path: PathBuf,
    state_may_stay: Cell<bool>,
}

impl Place {
    pub(crate) fn new() -> Place {
        become_subreaper();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        for name in ["bundle", "tmp", "state/c1"] {
            fs::create_dir_all(path.join(name)).unwrap();
        }
        let place = Place { directory: Some(directory), path, state_may_stay: Cell::new(false) };
        place.write_state_file(json!({}));
        place
    }

    /// A place with a script for `fake-runc`.
    pub(crate) fn with(script: Value) -> Place {
        let place = Place::new();
        place.script(script);
        place
    }

    /// Changes the script.
    #[allow(clippy::needless_pass_by_value, reason = "callers write it down where they call")]
    pub(crate) fn script(&self, script: Value) {
        let text = script.to_string();
        Script::parse(text.as_bytes()).unwrap();
        let new = self.path("bundle/fake-runc.json.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path("bundle/fake-runc.json")).unwrap();
    }

    /// Writes the daemon's file about the container, as the seed does, and what is given.
    pub(crate) fn write_state_file(&self, more: Value) {
        let mut state = json!({
            "bundle": self.path("bundle"), "labels": null, "stdin": "", "stdout": "", "stderr": "",
            "runtime": "runc", "runtimeArgs": [self.root_flag()], "noPivotRoot": false,
        });
        if let (Value::Object(state), Value::Object(more)) = (&mut state, more) {
            state.extend(more);
        }
        fs::write(self.path("state/c1/state.json"), format!("{state}\n")).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.path.clone() } else { self.path.join(name) }
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn root_flag(&self) -> String {
        format!("--root={}", self.text("root"))
    }

    /// The container's first process.
    pub(crate) fn init(&self) -> Setup<'_> {
        Setup::new(self, "init")
    }

    /// A further process of the container.
    pub(crate) fn exec(&self, id: &str) -> Setup<'_> {
        Setup::new(self, id).set("exec", json!(true))
    }

    /// A command with the environment that all have here: ours, without what would steer the
    /// programs under test, a directory for temporary files, and the mark.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("WAVETANK_") || name.starts_with("FAKE_RUNC_") {
                command.env_remove(&*name);
            }
        }
        command.env("TMPDIR", self.path("tmp")).env(MARK, &self.path);
        command.env("FAKE_RUNC_CALLS", self.path("calls"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The daemon's own use of the runtime.
    pub(crate) fn runtime(&self, args: &[&str]) -> Output {
        let mut command = self.command(fake_runc());
        command.env_remove("FAKE_RUNC_CALLS");
        command.arg(self.root_flag()).args(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        output(&mut command)
    }

    /// How the runtime was called, in order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        // The last line may be on its way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The subcommands of [`Place::calls`].
    pub(crate) fn words(&self) -> Vec<String> {
        self.calls().iter().map(word).collect()
    }

    /// Waits for a call with this subcommand.
    #[track_caller]
    pub(crate) fn wait_for_call(&self, wanted: &str) -> Call {
        wait_for(&format!("the runtime is called to {wanted}"), || {
            self.calls().into_iter().find(|call| word(call) == wanted)
        })
    }

    /// Makes an executable script. A child writes it: should another thread fork just now, its
    /// child would have the file open for writing, and nobody could execute it (`ETXTBSY`).
    pub(crate) fn executable(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        let status = Command::new("sh")
            .args(["-c", "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", content])
            .arg(&path)
            .status()
            .unwrap();
        assert!(status.success());
        path
    }

    /// The runtime's state of a container may stay where it is: the test has made it so.
    pub(crate) fn state_may_stay(&self) {
        self.state_may_stay.set(true);
    }

    /// Pids of all processes that were started here and still run.
    pub(crate) fn running(&self) -> Vec<i32> {
        processes::with_variable(MARK, &self.path)
    }

    /// What is left of the runtime's states and of temporary files.
    fn left_files(&self) -> Vec<PathBuf> {
        let list = |name: &str| {
            let entries = fs::read_dir(self.path(name)).into_iter().flatten();
            entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
        };
        let mut left = list("tmp");
        if !self.state_may_stay.get() {
            left.extend(list("root"));
        }
        left
    }
}

/// Runs a command to its end, and gives what it said. Unlike [`Command::output`], it does not wait
/// for ever.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> Output {
    finish(command.spawn().unwrap())
}

/// Waits for a child, and gives what it said meanwhile where that was piped.
#[track_caller]
pub(crate) fn finish(mut child: Child) -> Output {
    let stream = |fd: Option<OwnedFd>| fd.map(|fd| Stream::of(fd.into()));
    let stdout = stream(child.stdout.take().map(OwnedFd::from));
    let stderr = stream(child.stderr.take().map(OwnedFd::from));
    let read = |stream: Option<Stream>| stream.map_or(Vec::new(), |mut s| s.read_to_end());
    let reader = std::thread::spawn(move || read(stderr));
    let stdout = read(stdout);
    let stderr = reader.join().unwrap();
    let status = wait_for("the child has ended", || child.try_wait().unwrap());
    Output { status, stdout, stderr }
}

/// The subcommand of a call.
pub(crate) fn word(call: &Call) -> String {
    let mut words = call.argv[1..].iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--root" | "--log" | "--log-format" => drop(words.next()),
            other if other.starts_with('-') => {}
            other => return other.to_owned(),
        }
    }
    panic!("no subcommand in {:?}", call.argv)
}

impl Drop for Place {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        // What was killed a moment ago may still be on its way out.
        let end = Instant::now() + LIMIT / 4;
        while !failed && !self.running().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut left = Vec::new();
        // A process that is killed may just have started another.
        while let found @ [_, ..] = &self.running()[..] {
            for pid in found {
                left.push((*pid, processes::command_line(*pid)));
                kill(*pid);
            }
        }
        groups_gone(&self.path);
        let files = self.left_files();
        let _ = fs::set_permissions(&self.path, fs::Permissions::from_mode(0o700));
        let removed = self.directory.take().map(TempDir::close);
        if !failed {
            assert!(left.is_empty(), "processes are left: {left:?}");
            assert!(files.is_empty(), "files are left: {files:?}");
            assert!(matches!(removed, Some(Ok(()))), "{removed:?}");
        }
    }
}
