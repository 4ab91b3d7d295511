//! Mounting in a process of its own: it can take long, and must not keep the shim from answering.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Mount, mount_all, unmount_all};
use crate::Error;
use crate::host::{Command, Errno, Fd, Host, Signal, write_all};

/// Where the child reads what it has to do, and where it says what went wrong.
const JOB: Fd = Fd(0);
const ERROR: Fd = Fd(1);

/// What a child is started for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
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
}

/// The program of the child: reads a [`Job`] as JSON from descriptor 0, a memory file, whose
/// position does not matter; does it; writes what went wrong to descriptor 1. The exit code is 0,
/// or 1 if something went wrong.
pub fn child<H: Host>(host: &mut H) -> i32 {
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
pub fn command(job_file: Fd, error_file: Fd) -> Command {
    Command {
        program: PathBuf::from("/proc/self/exe"),
        argv: vec!["containerd-shim-wavetank-v2".into(), "mount".into()],
        fds: vec![job_file, error_file, error_file],
        parent_death_signal: Some(Signal::KILL),
        ..Command::default()
    }
}

fn run<H: Host>(host: &mut H, job: &Job) -> Result<(), Error> {
    match job {
        Job::Mount { rootfs, mounts } => mount_all(host, rootfs, mounts),
        Job::Unmount { rootfs } => unmount_all(host, rootfs),
    }
}

fn read_job<H: Host>(host: &mut H) -> Result<Job, Error> {
    let text = read_from_start(host, JOB).map_err(|errno| Error::system("read", "job", errno))?;
    serde_json::from_slice(&text).map_err(|error| Error::invalid("job", error))
}

fn read_from_start<H: Host>(host: &mut H, fd: Fd) -> Result<Vec<u8>, Errno> {
    let size = host.fstat(fd)?.size;
    let mut content = vec![0; usize::try_from(size).map_err(|_| Errno::EFBIG)?];
    let mut filled = 0;
    while let Some(room) = content.get_mut(filled..).filter(|room| !room.is_empty()) {
        match host.read_at(fd, filled as u64, room) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    content.truncate(filled);
    Ok(content)
}
