//! The daemon's side of the classic door, for one container at a time: what `wavetank run` does.
//!
//! It makes a state directory as containerd 0.2 would, starts the real shim in it, carries bytes
//! between its own streams and the container's, passes on window sizes and signals, and ends with
//! the container's status.

pub mod events;
mod pump;
mod session;
mod state_dir;
pub mod tasks;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde_json::json;

pub use state_dir::{ProcessSpec, StateDir};

use crate::Error;
use crate::files::{read_file, remove_all};
use crate::host::{self, Fd, Host, variable, write_all};
use crate::stdio::StreamPaths;

/// Exit code when the container could not be run at all, as docker's.
pub const FAILED: i32 = 125;

/// What is said on stderr when no runtime was given.
pub const FAKE_RUNC_NOTE: &str = "wavetank: no --runtime given; the bundled fake-runc runs the \
                                  command as a plain process, not in a container\n";

/// What to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Give the process a terminal. With a bundle its `config.json` decides, and this only has to
    /// agree.
    pub tty: bool,
    /// The runtime's name or path; `None` is the fake-runc beside this program.
    pub runtime: Option<String>,
    /// The bundle of a container.
    pub bundle: Option<PathBuf>,
    /// Without a bundle: the command to run as a plain process, which only fake-runc can.
    pub command: Vec<String>,
}

/// Runs a container and gives its exit status, or [`FAILED`] after telling why on stderr.
pub fn run<H: Host>(host: &mut H, options: &RunOptions) -> i32 {
    match try_run(host, options) {
        Ok(code) => code,
        Err(error) => {
            // Whoever closed stderr does not want to know.
            let _ = write_all(host, Fd(2), format!("wavetank: {error}\n").as_bytes());
            FAILED
        }
    }
}

fn try_run<H: Host>(host: &mut H, options: &RunOptions) -> Result<i32, Error> {
    let env = host.environment();
    let parent = parent_directory(&env);
    let work = host::make_directory_of_ours(host, &parent, "wavetank-")
        .map_err(|errno| Error::system("mkdir", parent.join("wavetank-*").display(), errno))?;
    let outcome = prepare(host, options, &work)
        .and_then(|(spec, terminal)| session::run(host, &work, &spec, terminal, &env));
    let removed = remove_all(host, &work);
    outcome.and_then(|code| removed.map(|()| code))
}

/// Where a directory may be that lives as long as the container.
fn parent_directory(env: &[OsString]) -> PathBuf {
    let value = variable(env, "TMPDIR").and_then(OsStr::to_str).filter(|value| !value.is_empty());
    PathBuf::from(value.unwrap_or("/tmp"))
}

/// What the shim is to do, and whether the process has a terminal.
fn prepare<H: Host>(
    host: &mut H,
    options: &RunOptions,
    work: &Path,
) -> Result<(ProcessSpec, bool), Error> {
    let beside = program_directory(host)?;
    let runtime = match &options.runtime {
        Some(runtime) => runtime.clone(),
        None => beside.join("fake-runc").to_string_lossy().into_owned(),
    };
    let (bundle, process) = match &options.bundle {
        Some(bundle) => (absolute(host, bundle)?, read_process(host, bundle)?),
        None => plain_bundle(host, options, work)?,
    };
    let terminal = process.get("terminal").and_then(serde_json::Value::as_bool).unwrap_or(false);
    if options.tty && !terminal {
        let file = bundle.join("config.json");
        return Err(Error::invalid(file.display(), "--tty needs process.terminal to be true"));
    }
    if options.runtime.is_none() {
        let _ = write_all(host, Fd(2), FAKE_RUNC_NOTE.as_bytes());
    }
    let stream = |name: &str| work.join(name).to_string_lossy().into_owned();
    let spec = ProcessSpec {
        container: format!("wavetank-{}", host.pid()),
        process: "init".to_owned(),
        bundle,
        runtime,
        runtime_args: vec![format!("--root={}", work.join("runtime").display())],
        shim: beside.join("containerd-shim"),
        streams: StreamPaths {
            stdin: stream("stdin"),
            stdout: stream("stdout"),
            stderr: stream("stderr"),
        },
        exec: false,
        checkpoint: String::new(),
        oci_process: process,
    };
    Ok((spec, terminal))
}

/// The directory of this very program, where its siblings are.
fn program_directory<H: Host>(host: &mut H) -> Result<PathBuf, Error> {
    let link = Path::new("/proc/self/exe");
    let file =
        host.readlink(link).map_err(|errno| Error::system("readlink", link.display(), errno))?;
    Ok(file.parent().unwrap_or(Path::new("/")).to_owned())
}

fn absolute<H: Host>(host: &mut H, path: &Path) -> Result<PathBuf, Error> {
    let cwd = host.current_dir().map_err(|errno| Error::system("getcwd", ".", errno))?;
    Ok(cwd.join(path))
}

fn read_process<H: Host>(host: &mut H, bundle: &Path) -> Result<serde_json::Value, Error> {
    const CONFIG_MAX: usize = 8 * 1024 * 1024;
    let file = bundle.join("config.json");
    let text = read_file(host, &file, CONFIG_MAX)?;
    let mut config: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| Error::invalid(file.display(), error))?;
    match config.get_mut("process").map(serde_json::Value::take) {
        Some(process) if process.is_object() => Ok(process),
        _ => Err(Error::invalid(file.display(), "has no process")),
    }
}

/// A bundle without a root filesystem, which has fake-runc run the command as it is.
fn plain_bundle<H: Host>(
    host: &mut H,
    options: &RunOptions,
    work: &Path,
) -> Result<(PathBuf, serde_json::Value), Error> {
    if options.runtime.is_some() {
        return Err(Error::invalid("--runtime", "a real runtime needs a --bundle"));
    }
    let bundle = work.join("bundle");
    host.mkdir(&bundle, 0o700).map_err(|errno| Error::system("mkdir", bundle.display(), errno))?;
    let cwd = host.current_dir().map_err(|errno| Error::system("getcwd", ".", errno))?;
    let env = host.environment();
    let process = json!({
        "terminal": options.tty,
        "args": options.command,
        "env": env.iter().map(|entry| entry.to_string_lossy()).collect::<Vec<_>>(),
        "cwd": cwd,
    });
    let config = json!({ "ociVersion": "1.0.2", "process": process });
    let script = json!({ "container": { "argv": options.command, "cwd": cwd } });
    for (name, content) in [("config.json", config), ("fake-runc.json", script)] {
        state_dir::write_file(host, &bundle.join(name), content.to_string().as_bytes())?;
    }
    Ok((bundle, process))
}
