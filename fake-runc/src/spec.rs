//! The parts of `config.json` and of `--process` files that matter here. Everything else in them
//! is ignored, whatever its shape: it changed over the years.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wavetank::host::{Errno, Host};

use crate::error::{Error, Result, doing};
use crate::file::read_file;

/// No file that is read here is larger, by far.
pub(crate) const LIMIT: usize = 16 << 20;

/// A bundle's `config.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    /// The first process.
    pub(crate) process: Option<Process>,
    /// Where the root file system is.
    pub(crate) root: Option<Root>,
    /// What `state` repeats.
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

/// A process to be started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Process {
    /// Whether it wants a terminal.
    pub(crate) terminal: Option<bool>,
    /// Program and arguments.
    pub(crate) args: Option<Vec<String>>,
    /// Environment as `NAME=value`.
    pub(crate) env: Option<Vec<String>>,
}

/// The root file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Root {
    /// From the bundle, unless absolute.
    pub(crate) path: PathBuf,
}

impl Root {
    /// The usual name if there is none.
    pub(crate) fn path_or_default(self) -> PathBuf {
        if self.path.as_os_str().is_empty() { "rootfs".into() } else { self.path }
    }
}

/// Reads a bundle's `config.json`. Unlike a real runtime, this one can do without.
pub(crate) fn read_config<H: Host>(host: &mut H, bundle: &Path) -> Result<Config> {
    let path = bundle.join("config.json");
    match read_file(host, &path, LIMIT) {
        Ok(json) => parse(&json, &path),
        Err(Errno::ENOENT) => Ok(Config::default()),
        Err(errno) => Err(doing("open", &path)(errno)),
    }
}

/// Reads the file of `exec --process`.
pub(crate) fn read_process<H: Host>(host: &mut H, path: &Path) -> Result<Process> {
    let json = read_file(host, path, LIMIT).map_err(doing("open", path))?;
    parse(&json, path)
}

/// Reads a file's content, and tells of mistakes by its path.
pub(crate) fn parse<T: for<'a> Deserialize<'a>>(json: &[u8], path: &Path) -> Result<T> {
    serde_json::from_slice(json)
        .map_err(|error| Error::new(format!("parse {}: {error}", path.display())))
}

/// What `fake-runc spec` writes.
pub(crate) const EXAMPLE: &str = r#"{
	"ociVersion": "1.0.2",
	"process": {
		"terminal": true,
		"user": {"uid": 0, "gid": 0},
		"args": ["sh"],
		"env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
		"cwd": "/"
	},
	"root": {"path": "rootfs", "readonly": true},
	"hostname": "fake-runc",
	"linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]}
}
"#;
