//! A bundle and a state directory of a test's own, and the invocations in it.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

/// A place to work in. In the end it deletes every container that is left.
pub struct Place {
    directory: TempDir,
}

/// How an invocation ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{self:?}"))
    }

    #[track_caller]
    pub fn succeeded(self) -> String {
        assert!(self.status.success(), "{self:?}");
        self.stdout
    }

    #[track_caller]
    pub fn failed(self, code: i32, part: &str) {
        assert_eq!(self.code(), code, "{self:?}");
        assert!(self.stderr.contains(part), "{self:?}");
    }
}

impl Place {
    pub fn new() -> Place {
        let place = Place { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(place.bundle()).unwrap();
        place
    }

    pub fn with_script(script: &str) -> Place {
        let place = Place::new();
        place.script(script);
        place
    }

    pub fn script(&self, script: &str) {
        fs::write(self.bundle().join("fake-runc.json"), script).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn bundle(&self) -> PathBuf {
        self.path("bundle")
    }

    /// An invocation with `--root`, its output in files so that nobody waits for the container.
    /// `@` at the beginning of a word stands for the test's directory.
    pub fn command(&self, line: &str) -> Command {
        let here = self.directory.path().display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fake-runc"));
        command.arg("--root").arg(self.path("state")).current_dir(self.bundle());
        for word in line.split(' ') {
            command.arg(word.replacen('@', &format!("{here}/"), 1));
        }
        command.env_remove("FAKE_RUNC_CALLS").env_remove("FAKE_RUNC_SCRIPT");
        command.stdin(Stdio::null());
        command
    }

    pub fn finish(&self, mut command: Command) -> Finished {
        let stdout = self.path("invocation.stdout");
        let stderr = self.path("invocation.stderr");
        command.stdout(fs::File::create(&stdout).unwrap());
        command.stderr(fs::File::create(&stderr).unwrap());
        let status = command.status().unwrap();
        let text = |path| String::from_utf8(fs::read(path).unwrap()).unwrap();
        Finished { status, stdout: text(stdout), stderr: text(stderr) }
    }

    pub fn run(&self, line: &str) -> Finished {
        self.finish(self.command(line))
    }

    /// An invocation that gives its process pipes for stdin and stdout.
    pub fn launch(&self, line: &str) -> (ExitStatus, PipeWriter, PipeReader) {
        let (theirs_in, ours_in) = std::io::pipe().unwrap();
        let (ours_out, theirs_out) = std::io::pipe().unwrap();
        let mut command = self.command(line);
        command.stdin(theirs_in).stdout(theirs_out);
        let status = command.stderr(Stdio::inherit()).status().unwrap();
        (status, ours_in, ours_out)
    }

    pub fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.run(&format!("state {id}")).succeeded()).unwrap()
    }

    pub fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub fn wait_for_status(&self, id: &str, status: &str) {
        until(&format!("{id} is {status}"), || self.status(id) == status);
    }

    pub fn pid_file(&self) -> i32 {
        let text = fs::read_to_string(self.path("pid")).unwrap();
        text.parse().unwrap_or_else(|_| panic!("{text:?} is no pid"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Ok(states) = fs::read_dir(self.path("state")) else { return };
        for state in states.flatten() {
            let id = state.file_name().into_string().unwrap();
            let mut command = self.command(&format!("delete --force {id}"));
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !so() {
        assert!(Instant::now() < end, "in vain waited until {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Whether a process is there, and more than a zombie.
pub fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap().starts_with('Z'))
}

#[track_caller]
pub fn wait_until_gone(pid: i32) {
    until(&format!("process {pid} is gone"), || !is_alive(pid));
}

pub fn read_all(mut pipe: PipeReader) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    text
}

pub fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}
