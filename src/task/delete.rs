//! delete: cleans up after a shim that is gone.
//!
//! Daemons also run it after an orderly end, and more than once. So what is gone already is as it
//! should be, and a step that fails is a warning, after which the next one is done.

use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::Message;

use crate::Error;
use crate::files::read_file;
use crate::host::{Bug, Errno, Host, Mark, Pid};
use crate::oci::{Failure, Runc, failure_message, last_error_since, log_length, parse_pid};

use super::arguments::Arguments;
use super::exit_record::{DELETED, EXIT, ExitRecord};
use super::mounts;
use super::options::Options;
use super::runtime_call::call;
use super::socket;
use super::start::ADDRESS;
use super::timestamp::timestamp;

/// The daemon gives us five seconds.
const RUNTIME_LIMIT: Duration = Duration::from_secs(4);
/// A runtime that failed within this time is called again: then there still is time enough.
const SOON: Duration = Duration::from_millis(500);
/// The files of a bundle that are read here are far shorter.
const FILE_MAX: usize = 1024 * 1024;
/// The exit status of a process that was killed, which is all that one can tell of it.
const KILLED: u32 = 137;
/// The pid of a process that is unknown: as an unsigned number, what containerd's own shim says.
const UNKNOWN_PID: Pid = Pid(-1);

/// Gives what is to be answered on stdout, and warnings.
///
/// # Errors
/// Nothing can be done at all.
pub(super) fn delete<H: Host>(
    host: &mut H,
    arguments: &Arguments,
) -> Result<(Vec<u8>, Vec<String>), Error> {
    let bundle = bundle(host, arguments)?;
    let mut warnings = Vec::new();
    let mut warn = |what: &str, error: &dyn std::fmt::Display| {
        warnings.push(format!("{what}: {error}"));
    };
    let mut options = read_options(host, &bundle).unwrap_or_else(|error| {
        warn("failed to read the options", &error);
        Options::default()
    });
    match read_if_there(host, &bundle.join("runtime")) {
        Ok(Some(name)) => options.binary_name = String::from_utf8_lossy(&name).trim().to_owned(),
        Ok(None) => {}
        Err(error) => warn("failed to read the runtime's name", &error),
    }
    if let Err(reason) = delete_container(host, arguments, &bundle, &options) {
        warn("failed to remove the container", &reason);
    }
    if let Err(error) = mounts::unmount_all(host, &bundle.join("rootfs")) {
        warn("failed to clean up the root file system's mounts", &error);
    }
    if let Err(error) = remove_dead_socket(host, &bundle) {
        warn("failed to remove the socket of a shim that is gone", &error);
    }
    let record = read_record(host, &bundle).unwrap_or_else(|error| {
        warn("failed to read how the container ended", &error);
        None
    });
    let record = match record {
        Some(record) if !host.planted(Bug::InventedStatus) => record,
        _ => invent(host, &bundle, &mut warn),
    };
    let response =
        response(record).write_to_bytes().map_err(|error| Error::invalid("the answer", error))?;
    Ok((response, warnings))
}

/// How the container ended, if the shim could tell, and else what was said of it before.
fn read_record<H: Host>(host: &mut H, bundle: &Path) -> Result<Option<ExitRecord>, Error> {
    match ExitRecord::read(host, bundle, EXIT)? {
        Some(record) => Ok(Some(record)),
        None => ExitRecord::read(host, bundle, DELETED),
    }
}

/// Nobody knows how the container ended. What is said of it is written down, to be said again.
fn invent<H: Host>(
    host: &mut H,
    bundle: &Path,
    warn: &mut impl FnMut(&str, &dyn std::fmt::Display),
) -> ExitRecord {
    host.mark(Mark::EndInvented);
    let pid = read_pid(host, bundle).unwrap_or_else(|error| {
        warn("failed to read the container's pid", &error);
        UNKNOWN_PID
    });
    let record = ExitRecord { pid, exit_status: KILLED, exited_at: host.wall_clock() };
    match record.write(host, bundle, DELETED) {
        // Without a bundle there is nobody to ask again.
        Ok(()) | Err(Error::System { errno: Errno::ENOENT, .. }) => {}
        Err(error) => warn("failed to write down what was said of the end", &error),
    }
    record
}

/// The container's bundle: the one that is named, or its neighbour of the working directory.
fn bundle<H: Host>(host: &mut H, arguments: &Arguments) -> Result<PathBuf, Error> {
    if !arguments.bundle.is_empty() {
        return Ok(arguments.bundle.clone().into());
    }
    if arguments.id.is_empty() || arguments.id.contains('/') {
        return Err(Error::invalid(format!("shim id {:?}", arguments.id), "names no bundle"));
    }
    let cwd = host.current_dir().map_err(|errno| Error::system("getcwd", "the bundle", errno))?;
    Ok(cwd.parent().unwrap_or(&cwd).join(&arguments.id))
}

fn read_if_there<H: Host>(host: &mut H, path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match read_file(host, path, FILE_MAX) {
        Ok(content) => Ok(Some(content)),
        Err(Error::System { errno: Errno::ENOENT, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_options<H: Host>(host: &mut H, bundle: &Path) -> Result<Options, Error> {
    let path = bundle.join("options.json");
    match read_if_there(host, &path)? {
        // A shim that was killed when it was about to write it has made nothing yet.
        Some(text) if text.is_empty() => Ok(Options::default()),
        Some(text) => Options::from_json(&text).map_err(|e| Error::invalid(path.display(), e)),
        None => Ok(Options::default()),
    }
}

/// A shim that was killed has left its socket. Where somebody listens, other containers may be.
fn remove_dead_socket<H: Host>(host: &mut H, bundle: &Path) -> Result<(), Error> {
    let Some(address) = read_if_there(host, &bundle.join(ADDRESS))? else { return Ok(()) };
    let address = String::from_utf8_lossy(&address);
    let path = address.trim().strip_prefix("unix://").unwrap_or_default();
    socket::remove_dead(host, Path::new(path))
}

/// The pid that the runtime has left, if it has.
fn read_pid<H: Host>(host: &mut H, bundle: &Path) -> Result<Pid, Error> {
    let path = bundle.join("init.pid");
    let Some(text) = read_if_there(host, &path)? else { return Ok(UNKNOWN_PID) };
    parse_pid(&text).map_err(|reason| Error::invalid(path.display(), reason))
}

/// Has the runtime delete the container, if it knows of one.
fn delete_container<H: Host>(
    host: &mut H,
    arguments: &Arguments,
    bundle: &Path,
    options: &Options,
) -> Result<(), String> {
    let root = options.runtime_root(&arguments.namespace);
    if host.stat(&root.join(&arguments.id)) == Err(Errno::ENOENT) {
        return Ok(());
    }
    let log = bundle.join("log.json");
    let runc = Runc {
        program: options.runtime_name().to_owned(),
        root,
        log: log.clone(),
        systemd_cgroup: false,
        criu: String::new(),
    };
    let length = log_length(host, &log);
    let force = !host.planted(Bug::CleansUpOnlyTheDead);
    let begun = host.now();
    let mut called = call(host, runc.delete(&arguments.id, force), RUNTIME_LIMIT);
    // It could not be started, say for want of a descriptor. Nobody else will do it.
    if called.is_err() && host.now().saturating_sub(begun) < SOON {
        called = call(host, runc.delete(&arguments.id, force), RUNTIME_LIMIT);
    }
    let called = called.map_err(|error| error.to_string())?;
    if called.status.success() {
        return Ok(());
    }
    let last_error = last_error_since(host, &log, length);
    let failure = Failure::Ended(called.status);
    Err(failure_message("delete", &last_error, failure, &runc.program, &called.stderr))
}

fn response(record: ExitRecord) -> DeleteResponse {
    let pid = record.pid.0.cast_unsigned();
    let ExitRecord { exit_status, exited_at, .. } = record;
    let exited_at = timestamp(Some(exited_at));
    DeleteResponse { pid, exit_status, exited_at, ..DeleteResponse::default() }
}
