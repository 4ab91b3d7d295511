//! A record of how this runtime was called, for tests that look at command lines.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wavetank::host::{Host, Pid};

use crate::environment;
use crate::log;

/// Environment variable that names the file to which every invocation appends one [`Call`].
pub const CALLS_VARIABLE: &str = "FAKE_RUNC_CALLS";

/// One invocation, taken before it did or opened anything. A line of JSON in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Process id of the invocation.
    pub pid: Pid,
    /// Command line, the program's name included.
    pub argv: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Open descriptors. Rust opens `/dev/null` on 0, 1 and 2 if they are closed, before anybody
    /// can look.
    pub fds: Vec<Descriptor>,
}

/// An open descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Its number.
    pub fd: i32,
    /// What the link in `/proc/self/fd` says, as `pipe:[4711]` or `/dev/null`.
    pub to: String,
}

/// Writes the record, if one is wanted. That it cannot be written is told on stderr, and changes
/// nothing else.
pub(crate) fn record<H: Host>(host: &mut H, argv: &[OsString]) {
    let Some(path) = environment::variable(host, CALLS_VARIABLE) else { return };
    let call = Call {
        pid: host.pid(),
        argv: argv.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        cwd: host.current_dir().unwrap_or_default(),
        env: host.environment().iter().filter_map(name_and_value).collect(),
        fds: descriptors(host),
    };
    let told = serde_json::to_string(&call).map_err(|error| error.to_string()).and_then(|line| {
        log::append(host, Path::new(&path), format!("{line}\n").as_bytes())
            .map_err(|errno| errno.to_string())
    });
    if let Err(what) = told {
        log::tell_stderr(host, &format!("record of the call in {}: {what}", path.display()));
    }
}

fn name_and_value(variable: &OsString) -> Option<(String, String)> {
    let bytes = variable.as_bytes();
    let equals = bytes.iter().position(|byte| *byte == b'=')?;
    let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
    Some((text(&bytes[..equals]), text(&bytes[equals + 1..])))
}

/// The descriptors in `/proc/self/fd`. The one with which the directory itself was read is gone
/// when its link is read.
fn descriptors<H: Host>(host: &mut H) -> Vec<Descriptor> {
    let directory = Path::new("/proc/self/fd");
    let names = host.list(directory).unwrap_or_default();
    let mut found: Vec<Descriptor> = names
        .iter()
        .filter_map(|name| {
            let fd = name.to_str()?.parse().ok()?;
            let to = host.readlink(&directory.join(name)).ok()?;
            Some(Descriptor { fd, to: to.to_string_lossy().into_owned() })
        })
        .collect();
    found.sort_by_key(|descriptor| descriptor.fd);
    found
}
