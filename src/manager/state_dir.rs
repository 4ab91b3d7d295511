//! A state directory as containerd 0.2 makes it, and the shim started in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

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
        write_file(host, &container.join("state.json"), &line(&StateFile::of(spec))?)?;
        write_file(host, &path.join("process.json"), &line(&process_file(spec))?)?;
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

/// What containerd remembers of a container, in the order of the names.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StateFile<'s> {
    bundle: &'s Path,
    labels: Option<()>,
    no_pivot_root: bool,
    runtime: &'s str,
    runtime_args: &'s [String],
    stderr: &'s str,
    stdin: &'s str,
    stdout: &'s str,
}

impl StateFile<'_> {
    fn of(spec: &ProcessSpec) -> StateFile<'_> {
        StateFile {
            bundle: &spec.bundle,
            labels: None,
            no_pivot_root: false,
            runtime: &spec.runtime,
            runtime_args: &spec.runtime_args,
            stderr: &spec.streams.stderr,
            stdin: &spec.streams.stdin,
            stdout: &spec.streams.stdout,
        }
    }
}

fn process_file(spec: &ProcessSpec) -> Value {
    let mut process = spec.oci_process.clone();
    let ours = [
        ("exec", spec.exec.into()),
        ("containerdStdin", spec.streams.stdin.as_str().into()),
        ("containerdStdout", spec.streams.stdout.as_str().into()),
        ("containerdStderr", spec.streams.stderr.as_str().into()),
        ("runtimeArgs", spec.runtime_args.clone().into()),
        ("noPivotRoot", false.into()),
        ("checkpoint", spec.checkpoint.as_str().into()),
        ("rootUID", 0.into()),
        ("rootGID", 0.into()),
    ];
    if let Value::Object(process) = &mut process {
        process.extend(ours.map(|(name, value): (&str, Value)| (name.to_owned(), value)));
    }
    process
}

/// JSON on a line of its own.
fn line(content: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut line =
        serde_json::to_vec(content).map_err(|error| Error::invalid("the process", error))?;
    line.push(b'\n');
    Ok(line)
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
