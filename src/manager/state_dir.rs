//! A state directory as containerd 0.2 makes it, and the shim started in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::Error;
use crate::host::{Command, Errno, Fd, Host, Lead, OpenFlags, Pid, close_all, write_all};
use crate::stdio::{StreamPaths, open_null};

/// What a shim is told.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessSpec {
    /// Id of the container.
    pub container: String,
    /// Id of the process; `init` for the container's first.
    pub process: String,
    /// The container's bundle.
    pub bundle: PathBuf,
    /// Name or path of the runtime.
    pub runtime: String,
    /// Arguments of the runtime itself.
    pub runtime_args: Vec<String>,
    /// The shim's file.
    pub shim: PathBuf,
    /// Where the process's streams go.
    pub streams: StreamPaths,
    /// The process is a further one of a container that is there already.
    pub exec: bool,
    /// Name of a checkpoint to restore; empty for none.
    pub checkpoint: String,
    /// The OCI process: `process` of `config.json`, or the one to exec.
    pub oci_process: Value,
}

/// A process's state directory, with the daemon's ends of its fifos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir {
    /// The directory.
    pub path: PathBuf,
    /// Hangs up when the process has ended.
    pub exit: Fd,
    /// Takes messages to the shim.
    pub control: Fd,
}

impl StateDir {
    /// Makes `<root>/<container>/<process>` in the order of containerd 0.2: `state.json`,
    /// `process.json`, `exit`, `control`.
    ///
    /// # Errors
    /// Which call failed on what.
    pub fn create<H: Host>(
        host: &mut H,
        root: &Path,
        spec: &ProcessSpec,
    ) -> Result<StateDir, Error> {
        let container = root.join(&spec.container);
        let path = container.join(&spec.process);
        for directory in [root, &container, &path] {
            match host.mkdir(directory, 0o755) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(Error::system("mkdir", directory.display(), errno)),
            }
        }
        let state = json!({
            "bundle": spec.bundle,
            "labels": null,
            "stdin": spec.streams.stdin,
            "stdout": spec.streams.stdout,
            "stderr": spec.streams.stderr,
            "runtime": spec.runtime,
            "runtimeArgs": spec.runtime_args,
            "noPivotRoot": false,
        });
        write_file(host, &container.join("state.json"), format!("{state}\n").as_bytes())?;
        let process = format!("{}\n", process_file(spec));
        write_file(host, &path.join("process.json"), process.as_bytes())?;
        let flags = OpenFlags::READ | OpenFlags::NONBLOCK;
        let exit = make_fifo(host, &path.join("exit"), flags)?;
        let control = match make_fifo(host, &path.join("control"), flags | OpenFlags::WRITE) {
            Ok(control) => control,
            Err(error) => {
                close_all(host, [exit]);
                return Err(error);
            }
        };
        Ok(StateDir { path, exit, control })
    }

    /// Starts the shim: in the state directory, with nothing for its streams, leading a group.
    ///
    /// # Errors
    /// Why it could not be started.
    pub fn start_shim<H: Host>(
        &self,
        host: &mut H,
        spec: &ProcessSpec,
        env: &[OsString],
    ) -> Result<Pid, Error> {
        let null = open_null(host)?;
        let command = Command {
            program: spec.shim.clone(),
            argv: vec![
                spec.shim.as_os_str().to_owned(),
                (&spec.container).into(),
                spec.bundle.as_os_str().to_owned(),
                (&spec.runtime).into(),
            ],
            env: Some(env.to_vec()),
            cwd: Some(self.path.clone()),
            fds: vec![null; 3],
            lead: Lead::Group,
            parent_death_signal: None,
        };
        let spawned = host.spawn(&command);
        close_all(host, [null]);
        spawned.map_err(|error| Error::system("fork/exec", spec.shim.display(), error.errno))
    }

    /// Closes the daemon's ends.
    pub fn close<H: Host>(self, host: &mut H) {
        close_all(host, [self.exit, self.control]);
    }
}

fn process_file(spec: &ProcessSpec) -> Value {
    let mut process = spec.oci_process.clone();
    let ours = json!({
        "exec": spec.exec,
        "containerdStdin": spec.streams.stdin,
        "containerdStdout": spec.streams.stdout,
        "containerdStderr": spec.streams.stderr,
        "runtimeArgs": spec.runtime_args,
        "noPivotRoot": false,
        "checkpoint": spec.checkpoint,
        "rootUID": 0,
        "rootGID": 0,
    });
    if let (Value::Object(process), Value::Object(ours)) = (&mut process, ours) {
        process.extend(ours);
    }
    process
}

pub(super) fn write_file<H: Host>(host: &mut H, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let failed = |call| move |errno| Error::system(call, path.display(), errno);
    let fd = host.open(path, flags, 0o644).map_err(failed("create"))?;
    let written = write_all(host, fd, bytes).map_err(failed("write"));
    let closed = host.close(fd).map_err(failed("close"));
    written.and(closed)
}

pub(super) fn make_fifo<H: Host>(host: &mut H, path: &Path, flags: OpenFlags) -> Result<Fd, Error> {
    match host.mkfifo(path, 0o700) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(Error::system("mkfifo", path.display(), errno)),
    }
    host.open(path, flags, 0).map_err(|errno| Error::system("open", path.display(), errno))
}
