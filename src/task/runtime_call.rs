//! One call of the runtime that a short-lived program waits for, but not for ever.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::Error;
use crate::host::{
    Command, Errno, ExitStatus, Fd, Host, Pid, PollFd, Ready, Signal, SpawnError, WaitFor,
    close_all, read_from_start,
};
use crate::oci::{Failure, find_program};
use crate::stdio::open_null;

/// No runtime prints so much.
const OUTPUT_MAX: usize = 4 * 1024 * 1024;
/// How long a runtime that was killed is waited for.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// A call that came to its end.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) status: ExitStatus,
    /// What it wrote on stdout.
    pub(super) stdout: Vec<u8>,
    /// What it wrote on stderr.
    pub(super) stderr: Vec<u8>,
}

/// Runs the runtime and waits for its end, at most so long; then it is killed.
///
/// # Errors
/// It could not be started, or took too long.
pub(super) fn call<H: Host>(
    host: &mut H,
    argv: Vec<OsString>,
    limit: Duration,
) -> Result<Called, Error> {
    let null = open_null(host)?;
    let mut fds = vec![null];
    let called = with_files(host, &mut fds, argv, limit);
    close_all(host, fds);
    called
}

/// What is opened here goes to `fds`, which the caller closes.
fn with_files<H: Host>(
    host: &mut H,
    fds: &mut Vec<Fd>,
    argv: Vec<OsString>,
    limit: Duration,
) -> Result<Called, Error> {
    for name in ["stdout", "stderr"] {
        let file = host.memory_file();
        fds.push(file.map_err(|errno| Error::system("memfd_create", name, errno))?);
    }
    let (child_fds, stdout, stderr) = (fds.clone(), fds[1], fds[2]);
    let signals = host.signals(&[Signal::CHLD]);
    let signals = signals.map_err(|errno| Error::system("signalfd", "for children", errno))?;
    fds.push(signals);
    let pid = spawn(host, argv, child_fds)?;
    let status = wait(host, pid, signals, limit)?;
    let mut written = |fd| {
        read_from_start(host, fd, OUTPUT_MAX)
            .map_err(|errno| Error::system("read", "the runtime's output", errno))
    };
    Ok(Called { status, stdout: written(stdout)?, stderr: written(stderr)? })
}

fn spawn<H: Host>(host: &mut H, argv: Vec<OsString>, fds: Vec<Fd>) -> Result<Pid, Error> {
    let name = argv.first().cloned().unwrap_or_default();
    let told = name.to_string_lossy().into_owned();
    let failed = |failure: Failure| Error::invalid("runtime", failure.describe(&told));
    let env = host.environment();
    let program = find_program(host, Path::new(&name), &env);
    let command = Command {
        program: program.ok_or_else(|| failed(Failure::NotFound))?,
        argv,
        fds,
        parent_death_signal: Some(Signal::KILL),
        ..Command::default()
    };
    host.spawn(&command).map_err(|SpawnError { errno, .. }| failed(Failure::NotStarted(errno)))
}

fn wait<H: Host>(
    host: &mut H,
    pid: Pid,
    signals: Fd,
    limit: Duration,
) -> Result<ExitStatus, Error> {
    let deadline = host.now() + limit;
    if let Some(status) = wait_until(host, pid, signals, deadline)? {
        return Ok(status);
    }
    // It may have ended a moment ago; then it is not reaped yet, and the signal does nothing.
    let _ = host.kill(pid, Signal::KILL);
    let deadline = host.now() + LAST_WAIT;
    let _ = wait_until(host, pid, signals, deadline);
    Err(Error::invalid("runtime", format_args!("did not end within {limit:?}")))
}

/// How the child has ended; `None` if it still runs at that time.
fn wait_until<H: Host>(
    host: &mut H,
    pid: Pid,
    signals: Fd,
    deadline: Duration,
) -> Result<Option<ExitStatus>, Error> {
    loop {
        match host.wait(WaitFor::Pid(pid), false) {
            Ok(Some(exit)) => return Ok(Some(exit.status)),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::system("wait", pid, errno)),
        }
        let left = deadline.saturating_sub(host.now());
        if left.is_zero() {
            return Ok(None);
        }
        match host.poll(&mut [PollFd::new(signals, Ready::READ)], Some(left)) {
            // The signal has told what it had to tell; the child is asked for next.
            Ok(_) => drop(host.read_signal(signals)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::system("poll", "for the runtime's end", errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Exit, FileStat, MockHost};

    /// A host on which everything can be opened, and the runtime is at `/bin/runc`.
    fn host() -> MockHost {
        let mut host = MockHost::new();
        let mut next = 3;
        let open = move || {
            next += 1;
            Ok(Fd(next - 1))
        };
        host.expect_open().once().returning(|_, _, _| Ok(Fd(9)));
        host.expect_memory_file().returning(open);
        host.expect_signals().returning(|_| Ok(Fd(7)));
        host.expect_environment().returning(|| vec!["PATH=/bin".into()]);
        host.expect_stat().returning(|path| match path.to_str() {
            Some("/bin/runc") => Ok(FileStat {
                kind: crate::host::FileKind::Regular,
                mode: 0o755,
                uid: 0,
                gid: 0,
                size: 0,
                device: 0,
                inode: 0,
            }),
            _ => Err(Errno::ENOENT),
        });
        host
    }

    #[test]
    fn a_runtime_that_hangs_is_killed_and_reaped() {
        let mut host = host();
        host.expect_spawn().once().returning(|_| Ok(Pid(50)));
        let mut time = Duration::ZERO;
        host.expect_now().returning(move || {
            time += Duration::from_secs(1);
            time
        });
        host.expect_poll().returning(|_, _| Ok(0));
        host.expect_read_signal().returning(|_| Err(Errno::EAGAIN));
        let mut order = mockall::Sequence::new();
        host.expect_wait().times(3).in_sequence(&mut order).returning(|_, _| Ok(None));
        host.expect_kill()
            .withf(|pid, signal| (*pid, *signal) == (Pid(50), Signal::KILL))
            .once()
            .in_sequence(&mut order)
            .returning(|_, _| Ok(()));
        let exit = Exit { pid: Pid(50), status: ExitStatus::Signal(Signal::KILL) };
        host.expect_wait().once().in_sequence(&mut order).returning(move |_, _| Ok(Some(exit)));
        host.expect_close().times(4).returning(|_| Ok(()));
        let limit = Duration::from_secs(3);
        let error = call(&mut host, vec!["runc".into()], limit).unwrap_err();
        assert_eq!(error.to_string(), "runtime: did not end within 3s");
    }

    #[test]
    fn a_runtime_that_is_not_there() {
        let mut host = host();
        host.expect_close().times(4).returning(|_| Ok(()));
        let error = call(&mut host, vec!["no-runc".into()], Duration::ZERO).unwrap_err();
        let expected = "runtime: exec: \"no-runc\": executable file not found in $PATH";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn what_it_prints_and_how_it_ends() {
        let script = "echo out; echo err >&2; exit 3";
        let argv = ["/bin/sh", "-c", script].map(OsString::from).to_vec();
        let limit = Duration::from_secs(20);
        let called = call(&mut crate::host::LinuxHost::new(), argv, limit).unwrap();
        assert_eq!(called.status, ExitStatus::Code(3));
        assert_eq!((&*called.stdout, &*called.stderr), (&b"out\n"[..], &b"err\n"[..]));
    }
}
