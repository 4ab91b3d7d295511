//! Mounting in a process of its own: it can take long, and must not keep the shim from answering.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Mount, ids, mount_all, unmount_all};
use crate::Error;
use crate::host::{Command, Fd, Host, Pid, Signal, close_all, read_from_start, write_all};

/// Where the child reads what it has to do, and where it says what went wrong.
const JOB: Fd = Fd(0);
const ERROR: Fd = Fd(1);

/// What a child is started for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Job {
    /// [`mount_all`].
    Mount {
        /// The directory that becomes the root file system.
        rootfs: PathBuf,
        /// What is mounted there.
        mounts: Vec<Mount>,
    },
    /// [`unmount_all`].
    Unmount {
        /// The directory that was the root file system.
        rootfs: PathBuf,
    },
    /// Be in a new user namespace, until killed.
    UserNamespace,
}

/// The program of the child: reads a [`Job`] as JSON from descriptor 0, a memory file, whose
/// position does not matter; does it; writes what went wrong to descriptor 1. The exit code is 0,
/// or 1 if something went wrong.
pub(crate) fn child<H: Host>(host: &mut H) -> i32 {
    match read_job(host).and_then(|job| run(host, &job)) {
        Ok(()) => 0,
        Err(error) => {
            // Whoever does not listen does not want to know.
            let _ = write_all(host, ERROR, error.to_string().as_bytes());
            1
        }
    }
}

/// What starts [`child`]: this very program. The descriptors are those of the job and of the error
/// text; both stay the caller's. The child ends when the shim does.
#[must_use]
pub(crate) fn command(job_file: Fd, error_file: Fd) -> Command {
    Command {
        program: PathBuf::from("/proc/self/exe"),
        argv: vec!["containerd-shim-wavetank-v2".into(), "mount".into()],
        fds: vec![job_file, error_file, error_file],
        parent_death_signal: Some(Signal::KILL),
        ..Command::default()
    }
}

/// Starts [`child`] with a job.
pub(super) fn spawn<H: Host>(host: &mut H, job: &Job, error_file: Fd) -> Result<Pid, Error> {
    let failed = |call| move |errno| Error::system(call, "job", errno);
    let text = serde_json::to_vec(job).map_err(|error| Error::invalid("job", error))?;
    let file = host.memory_file().map_err(failed("memfd_create"))?;
    let child = write_all(host, file, &text).map_err(failed("write")).and_then(|()| {
        host.spawn(&command(file, error_file)).map_err(|error| failed("start")(error.errno))
    });
    close_all(host, [file]);
    child
}

fn run<H: Host>(host: &mut H, job: &Job) -> Result<(), Error> {
    match job {
        Job::Mount { rootfs, mounts } => mount_all(host, rootfs, mounts),
        Job::Unmount { rootfs } => unmount_all(host, rootfs),
        Job::UserNamespace => ids::hold_user_namespace(host, ERROR),
    }
}

fn read_job<H: Host>(host: &mut H) -> Result<Job, Error> {
    let text = read_from_start(host, JOB, usize::MAX)
        .map_err(|errno| Error::system("read", "job", errno))?;
    serde_json::from_slice(&text).map_err(|error| Error::invalid("job", error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::LinuxHost;

    #[test]
    fn a_job_is_read_from_its_start_wherever_the_file_stands() {
        let mut host = LinuxHost::new();
        let job = Job::Unmount { rootfs: "/b/rootfs".into() };
        let file = host.memory_file().unwrap();
        write_all(&mut host, file, &serde_json::to_vec(&job).unwrap()).unwrap();
        let text = read_from_start(&mut host, file, usize::MAX).unwrap();
        assert_eq!(serde_json::from_slice::<Job>(&text).unwrap(), job);
        close_all(&mut host, [file]);
    }
}
