//! A container's cgroup: its figures, its processes, and its running out of memory.

mod figures;
mod find;
mod join;
mod oom;
mod v1;
mod v2;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use containerd_shim_protos::protobuf::Message;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::files::read_file;
use crate::host::{Errno, Host, Pid};

pub use join::join;
pub use oom::OomWatch;

use figures::{FILE_MAX, read_tree};
use find::Machine;

/// Where a process is kept and counted (`cgroups(7)`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cgroup {
    /// The machine has the unified hierarchy alone.
    V2 {
        /// The cgroup's directory.
        path: PathBuf,
    },
    /// The machine has a hierarchy for each controller, or for some of them together; it may have
    /// the unified one besides.
    V1 {
        /// The directory of each controller, and of each named hierarchy as `name=` and its name.
        directories: BTreeMap<String, PathBuf>,
    },
}

impl Cgroup {
    /// The cgroup that a process is in (`/proc/PID/cgroup`).
    ///
    /// # Errors
    /// The process is gone, or its cgroup is not mounted where we can see it.
    pub fn of_process<H: Host>(host: &mut H, pid: Pid) -> Result<Cgroup, Error> {
        find::of_process(host, pid, &Machine::OURS)
    }

    /// The figures as containerd asks for them: the type URL and the message,
    /// `io.containerd.cgroups.v2.Metrics` or `io.containerd.cgroups.v1.Metrics`. A controller that
    /// is not there has no figures.
    ///
    /// # Errors
    /// `ENOENT` of `stat` if the cgroup is gone; else the file that could not be read.
    pub fn stats<H: Host>(&self, host: &mut H) -> Result<(String, Vec<u8>), Error> {
        let (name, bytes) = match self {
            Cgroup::V2 { path } => {
                let metrics = v2::metrics(host, path, &Machine::OURS)?;
                ("io.containerd.cgroups.v2.Metrics", metrics.write_to_bytes())
            }
            Cgroup::V1 { directories } => {
                let metrics = v1::metrics(host, directories, &Machine::OURS)?;
                ("io.containerd.cgroups.v1.Metrics", metrics.write_to_bytes())
            }
        };
        // After the reading, so that figures that went missing half-way are not told as zeros.
        let place = self.place();
        host.stat(place).map_err(|errno| Error::system("stat", place.display(), errno))?;
        let bytes = bytes.map_err(|error| Error::invalid(name, error))?;
        Ok((name.to_owned(), bytes))
    }

    /// The processes in the cgroup and in those below it, sorted, each once.
    ///
    /// # Errors
    /// The file that could not be read; `ENOENT` if the cgroup is gone.
    pub fn pids<H: Host>(&self, host: &mut H) -> Result<Vec<Pid>, Error> {
        let mut pids = BTreeSet::new();
        for (_, content) in read_tree(host, self.place(), "cgroup.procs")? {
            let numbers = content.lines().filter_map(|line| line.trim().parse().ok());
            // 0 stands for a process that our pid namespace does not see.
            pids.extend(numbers.filter(|number| *number > 0).map(Pid));
        }
        Ok(pids.into_iter().collect())
    }

    /// Whether its processes are stopped by the freezer, or are about to be.
    pub fn is_frozen<H: Host>(&self, host: &mut H) -> bool {
        let (file, frozen) = match self {
            Cgroup::V2 { path } => (path.join("cgroup.freeze"), "1"),
            Cgroup::V1 { directories } => match directories.get("freezer") {
                Some(directory) => (directory.join("freezer.state"), "FROZEN"),
                None => return false,
            },
        };
        read_file(host, &file, FILE_MAX)
            .is_ok_and(|content| content.trim_ascii() == frozen.as_bytes())
    }

    /// Turns on, from the root down to the parent of the cgroup, every controller there is, so that
    /// it has figures of all of them. There is nothing to do if there is no unified hierarchy.
    ///
    /// The errors are of use to a log only: a user who is not root may not write everywhere, and
    /// runtimes have turned on those they need.
    pub fn enable_controllers<H: Host>(&self, host: &mut H) -> Vec<Error> {
        match self {
            Cgroup::V2 { path } => join::enable_controllers(host, path),
            Cgroup::V1 { .. } => Vec::new(),
        }
    }

    /// The directory that stands for the cgroup when one is enough. Runtimes put a container into
    /// all hierarchies, but not every machine has each of them.
    fn place(&self) -> &Path {
        match self {
            Cgroup::V2 { path } => path,
            Cgroup::V1 { directories } => ["devices", "memory", "pids", "freezer", "cpu"]
                .iter()
                .find_map(|controller| directories.get(*controller))
                .or_else(|| directories.values().next())
                .map_or(Path::new(""), PathBuf::as_path),
        }
    }
}

/// Whether an error says that a file, or the cgroup that it was of, is not there.
fn is_absent(error: &Error) -> bool {
    matches!(error, Error::System { errno: Errno::ENOENT | Errno::ENODEV, .. })
}
