//! The streams of a task against a client, a runtime and a process that the test itself plays.

mod ending;
mod flow;
mod logger;
mod opening;
mod terminal;

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::{TaskStdio, Wanted};
use crate::Error;
use crate::host::{Errno, Fd, Host, LinuxHost, OpenFlags, close_all};

/// How long output is waited for.
const DRAIN: Duration = Duration::from_secs(10);

/// The streams under test, with everything around them.
struct Bench {
    host: LinuxHost,
    dir: TempDir,
    stdio: TaskStdio,
    troubles: Vec<Error>,
    /// How far the clock of the streams is ahead.
    ahead: Duration,
}

/// What a read of all that is there came to.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    bytes: Vec<u8>,
    ended: bool,
}

fn found(bytes: &[u8], ended: bool) -> Found {
    Found { bytes: bytes.to_vec(), ended }
}

impl Bench {
    fn new() -> Bench {
        Bench {
            host: LinuxHost::new(),
            dir: tempfile::tempdir().unwrap(),
            stdio: TaskStdio::default(),
            troubles: Vec::new(),
            ahead: Duration::ZERO,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn fifo(&mut self, name: &str) -> String {
        let path = self.path(name);
        self.host.mkfifo(&path, 0o600).unwrap();
        self.text(name)
    }

    /// Streams with a fifo for each name that is not empty.
    fn with_fifos(direct: bool, names: [&str; 3]) -> Bench {
        let mut bench = Bench::new();
        let mut fifo = |name: &str| match name {
            "" => String::new(),
            name => bench.fifo(name),
        };
        let [stdin, stdout, stderr] = names.map(&mut fifo);
        bench.open(&Wanted { stdin, stdout, stderr, direct, ..Wanted::default() });
        bench
    }

    fn open(&mut self, wanted: &Wanted) {
        let env = [format!("TMPDIR={}", self.dir.path().display()).into()];
        self.stdio = TaskStdio::open(&mut self.host, wanted, &env).unwrap();
    }

    /// Opens a file as a client does, without waiting for the other side.
    fn client(&mut self, name: &str, flags: OpenFlags) -> Fd {
        let path = self.path(name);
        self.host.open(&path, flags | OpenFlags::NONBLOCK, 0).unwrap()
    }

    fn reader(&mut self, name: &str) -> Fd {
        self.client(name, OpenFlags::READ)
    }

    fn writer(&mut self, name: &str) -> Fd {
        self.client(name, OpenFlags::WRITE)
    }

    /// The process's own copy of one of its ends, which does not wait.
    fn process_end(&mut self, number: usize) -> Fd {
        self.copy(self.stdio.child_ends()[number], number == 0)
    }

    fn copy(&mut self, fd: Fd, to_read: bool) -> Fd {
        let flags = if to_read { OpenFlags::READ } else { OpenFlags::WRITE };
        let path = PathBuf::from(format!("/proc/self/fd/{fd}"));
        self.host.open(&path, flags | OpenFlags::NONBLOCK, 0).unwrap()
    }

    fn write(&mut self, fd: Fd, bytes: &[u8]) {
        assert_eq!(self.host.write(fd, bytes), Ok(bytes.len()));
    }

    fn close(&mut self, fd: Fd) {
        close_all(&mut self.host, [fd]);
    }

    fn found(&mut self, fd: Fd) -> Found {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.host.read(fd, &mut buffer) {
                Ok(0) => return Found { bytes, ended: true },
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(Errno::EAGAIN) => return Found { bytes, ended: false },
                Err(errno) => panic!("read: {errno}"),
            }
        }
    }

    /// Gives turns until nothing is ready and nothing is due.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut questions = Vec::new();
            self.stdio.ask(&mut questions);
            let ready = self.host.poll(&mut questions, Some(Duration::ZERO)).unwrap();
            let now = self.now();
            if ready == 0 && self.stdio.due().is_none_or(|due| due > now) {
                return;
            }
            self.troubles.extend(self.stdio.turn(&mut self.host, &questions, now));
        }
        panic!("the streams never come to rest: {:?}", self.stdio);
    }

    /// The time that the streams are told.
    fn now(&mut self) -> Duration {
        self.host.now() + self.ahead
    }

    fn wait(&mut self, time: Duration) {
        self.ahead += time;
        self.settle();
    }

    fn runtime_done(&mut self) {
        self.stdio.runtime_done(&mut self.host);
        self.settle();
    }

    fn process_ended(&mut self) {
        let now = self.now();
        self.stdio.process_ended(&mut self.host, now, DRAIN);
        self.settle();
    }

    /// Whether there is nothing left to wait for, now that the process is to be removed.
    fn is_removed(&mut self) -> bool {
        let now = self.now();
        self.stdio.hurry(&mut self.host, now, DRAIN);
        self.settle();
        self.stdio.is_drained()
    }

    /// Closes the streams, and says what they lost.
    fn lost(&mut self) -> Vec<(&'static str, u64)> {
        self.stdio.close(&mut self.host)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stdio.close(&mut self.host);
    }
}
