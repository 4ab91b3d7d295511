//! A container's cgroup: its figures, its processes, and its running out of memory.

#[cfg(test)]
mod fake;
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

pub(crate) use join::join;
pub(crate) use oom::OomWatch;

use figures::{FILE_MAX, read_tree};
use find::Machine;

/// Where a process is kept and counted (`cgroups(7)`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cgroup {
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
    pub(crate) fn of_process<H: Host>(host: &mut H, pid: Pid) -> Result<Cgroup, Error> {
        find::of_process(host, pid, &Machine::OURS)
    }

    /// The figures as containerd asks for them: the type URL and the message,
    /// `io.containerd.cgroups.v2.Metrics` or `io.containerd.cgroups.v1.Metrics`. A controller that
    /// is not there has no figures.
    ///
    /// # Errors
    /// `ENOENT` of `stat` if the cgroup is gone; else the file that could not be read.
    pub(crate) fn stats<H: Host>(&self, host: &mut H) -> Result<(String, Vec<u8>), Error> {
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
    pub(crate) fn pids<H: Host>(&self, host: &mut H) -> Result<Vec<Pid>, Error> {
        let mut pids = BTreeSet::new();
        for (_, content) in read_tree(host, self.place(), "cgroup.procs")? {
            let numbers = content.lines().filter_map(|line| line.trim().parse().ok());
            // 0 stands for a process that our pid namespace does not see.
            pids.extend(numbers.filter(|number| *number > 0).map(Pid));
        }
        Ok(pids.into_iter().collect())
    }

    /// Whether the freezer holds its processes, or has been told to.
    pub(crate) fn is_frozen<H: Host>(&self, host: &mut H) -> bool {
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
    pub(crate) fn enable_controllers<H: Host>(&self, host: &mut H) -> Vec<Error> {
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

#[cfg(test)]
mod tests {
    use containerd_shim_protos::{cgroups, cgroups_v2};
    use rstest::rstest;

    use super::fake::Fake;
    use super::*;
    use crate::host::LinuxHost;

    fn v1(directories: &[(&str, PathBuf)]) -> Cgroup {
        let pair = |(name, path): &(&str, PathBuf)| ((*name).to_owned(), path.clone());
        Cgroup::V1 { directories: directories.iter().map(pair).collect() }
    }

    #[test]
    fn processes_of_cgroups_below_count_once_and_strangers_do_not() {
        let fake = Fake::new(&[
            ("web/cgroup.procs", "30\n7\n7\n0\n"),
            ("web/memory.max", "max\n"),
            ("web/inner/cgroup.procs", "101\n7\n"),
            ("web/inner/deeper/cgroup.procs", "9\n"),
            ("web/no-cgroup/other", ""),
        ]);
        let cgroup = Cgroup::V2 { path: fake.path("web") };
        let pids = cgroup.pids(&mut LinuxHost::new()).unwrap();
        assert_eq!(pids, [Pid(7), Pid(9), Pid(30), Pid(101)]);
    }

    #[test]
    fn a_cgroup_that_is_gone_is_told_and_not_as_zeros() {
        let fake = Fake::new(&[("other/memory.current", "1\n")]);
        let path = fake.path("web");
        let absent = Error::system("stat", path.display(), Errno::ENOENT);
        let (v1, v2) = (v1(&[("memory", path.clone())]), Cgroup::V2 { path });
        for cgroup in [v1, v2] {
            assert_eq!(cgroup.stats(&mut LinuxHost::new()).unwrap_err(), absent);
            let error = cgroup.pids(&mut LinuxHost::new()).unwrap_err();
            assert!(is_absent(&error), "{error}");
        }
    }

    #[test]
    fn figures_are_named_as_containerd_names_them() {
        let fake = Fake::new(&[("web/pids.current", "3\n"), ("web/pids.max", "max\n")]);
        let host = &mut LinuxHost::new();
        let (name, bytes) = v1(&[("pids", fake.path("web"))]).stats(host).unwrap();
        assert_eq!(name, "io.containerd.cgroups.v1.Metrics");
        let metrics = cgroups::metrics::Metrics::parse_from_bytes(&bytes).unwrap();
        assert_eq!((metrics.pids.current, metrics.pids.limit), (3, 0));

        let (name, bytes) = Cgroup::V2 { path: fake.path("web") }.stats(host).unwrap();
        assert_eq!(name, "io.containerd.cgroups.v2.Metrics");
        let metrics = cgroups_v2::metrics::Metrics::parse_from_bytes(&bytes).unwrap();
        assert_eq!((metrics.pids.current, metrics.pids.limit), (3, u64::MAX));
    }

    #[rstest]
    #[case::v2_stopped(("cgroup.freeze", "1\n"), true, true)]
    #[case::v2_running(("cgroup.freeze", "0\n"), true, false)]
    #[case::v2_root(("cgroup.procs", ""), true, false)]
    #[case::v1_stopped(("freezer.state", "FROZEN\n"), false, true)]
    #[case::v1_on_the_way(("freezer.state", "FREEZING\n"), false, false)]
    #[case::v1_running(("freezer.state", "THAWED\n"), false, false)]
    fn the_freezer_says_whether_it_holds(
        #[case] file: (&str, &str),
        #[case] unified: bool,
        #[case] frozen: bool,
    ) {
        let fake = Fake::new(&[file]);
        let path = fake.path("");
        let cgroup = if unified { Cgroup::V2 { path } } else { v1(&[("freezer", path)]) };
        assert_eq!(cgroup.is_frozen(&mut LinuxHost::new()), frozen);
        let no_freezer = v1(&[("memory", fake.path(""))]);
        assert!(!no_freezer.is_frozen(&mut LinuxHost::new()));
    }
}
