//! One process as a daemon of 0.2 has it: a state directory, and the ends of its fifos.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use wavetank::Error;
use wavetank::files::read_file;
use wavetank::host::{Errno, Fd, Host, OpenFlags, Pid, PollFd, Ready, close_all};
use wavetank::manager::{ProcessSpec, StateDir};
use wavetank::oci::{Dialect, parse_pid};
use wavetank::stdio::StreamPaths;

use super::super::CLASSIC_SHIM;
use super::super::daemon::LOOK_AGAIN;
use super::{LONGEST_PAUSE, bundle, state};
use crate::caller::SimHost;
use crate::task::WORK;
use crate::task::asks::argv;
use crate::task::plan::{Name, Process, container_of, exec_of};
use crate::task::streams;

/// `--start-timeout` of containerd 0.2.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(15);

/// A process whose state directory is there.
pub(super) struct Attached {
    pub(super) name: Name,
    path: PathBuf,
    exit: Option<Fd>,
    control: Option<Fd>,
    /// The shim, if it is a child of ours.
    pub(super) shim: Option<Pid>,
    /// The shim has closed the exit fifo, or is gone.
    pub(super) hung_up: bool,
}

fn directory(name: Name) -> PathBuf {
    let exec = exec_of(name);
    state(container_of(name)).join(if exec.is_empty() { "init" } else { exec })
}

/// Makes a state directory, and starts a shim in it.
pub(super) fn make(
    host: &mut SimHost<'_>,
    process: &Process,
    dialect: Dialect,
) -> Result<Attached, Error> {
    let name = process.name;
    let container = container_of(name);
    let path = |stream| streams::path(name, stream).to_string_lossy().into_owned();
    let spec = ProcessSpec {
        container: container.to_owned(),
        process: if exec_of(name).is_empty() { "init" } else { exec_of(name) }.to_owned(),
        bundle: bundle(container),
        runtime: "runc".to_owned(),
        runtime_args: vec![format!("--root={WORK}/runtime")],
        shim: Path::new("/bin").join(CLASSIC_SHIM),
        streams: StreamPaths {
            stdin: path("stdin"),
            stdout: path("stdout"),
            stderr: path("stderr"),
        },
        exec: !exec_of(name).is_empty(),
        checkpoint: String::new(),
        oci_process: json!({ "terminal": process.terminal, "cwd": "/", "args": argv(&process.words) }),
    };
    let dir = StateDir::create(host, &Path::new(WORK).join("state"), &spec)?;
    let dialect = match dialect {
        Dialect::Start => "start",
        Dialect::Create => "create",
        Dialect::Run => "run",
    };
    let env = ["PATH=/bin".into(), format!("WAVETANK_DIALECT={dialect}").into()];
    let shim = Some(dir.start_shim(host, &spec, &env)?);
    let (exit, control) = (Some(dir.exit), Some(dir.control));
    Ok(Attached { name, path: dir.path, exit, control, shim, hung_up: false })
}

/// What a daemon before us has left of a process: its end, or a shim to be reconnected with. None if
/// there never was one.
pub(super) fn load(host: &mut SimHost<'_>, name: Name) -> Option<Attached> {
    let path = directory(name);
    host.stat(&path.join("process.json")).ok()?;
    let (exit, control, shim) = (None, None, None);
    let mut attached = Attached { name, path, exit, control, shim, hung_up: true };
    if attached.status(host).is_some() {
        return Some(attached);
    }
    let open = |host: &mut SimHost<'_>, name: &str, flags| {
        host.open(&attached.path.join(name), flags | OpenFlags::NONBLOCK, 0).ok()
    };
    let exit = open(host, "exit", OpenFlags::READ);
    let control = open(host, "control", OpenFlags::READ | OpenFlags::WRITE);
    let until = host.now() + START_TIMEOUT;
    let mut pause = LOOK_AGAIN;
    while let Some(fd) = exit {
        // The fifo of a shim that is gone, or not there yet, has no writer and so is at its end.
        let is_held = host.read(fd, &mut [0]) == Err(Errno::EAGAIN);
        if is_held {
            attached.hung_up = false;
            break;
        }
        if attached.pid(host).is_some() || host.now() > until {
            break;
        }
        let _ = host.poll(&mut [], Some(pause));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    (attached.exit, attached.control) = (exit, control);
    Some(attached)
}

impl Attached {
    pub(super) fn pid(&self, host: &mut SimHost<'_>) -> Option<Pid> {
        parse_pid(&read_file(host, &self.path.join("pid"), 64).ok()?).ok()
    }

    /// What the shim says of the end; nothing if it says nothing.
    pub(super) fn status(&self, host: &mut SimHost<'_>) -> Option<u32> {
        let text = read_file(host, &self.path.join("exitStatus"), 64).ok()?;
        String::from_utf8(text).ok()?.parse().ok()
    }

    pub(super) fn ask(&self, questions: &mut Vec<PollFd>) {
        let exit = self.exit.filter(|_| !self.hung_up);
        questions.extend(exit.map(|fd| PollFd::new(fd, Ready::READ)));
    }

    pub(super) fn turn(&mut self, answers: &[PollFd]) {
        let is_ready = |fd: Fd| answers.iter().any(|it| it.fd == fd && !it.ready.is_empty());
        self.hung_up |= self.exit.is_some_and(is_ready);
    }

    pub(super) fn close_stdin(&self, host: &mut SimHost<'_>) {
        if let Some(control) = self.control {
            let _ = host.write(control, b"0 0 0\n");
        }
    }

    pub(super) fn close(self, host: &mut SimHost<'_>) {
        close_all(host, [self.exit, self.control].into_iter().flatten());
    }
}
