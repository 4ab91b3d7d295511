//! The floor of an exec: a bare loop that is asked as often, at the same distances and with as many
//! bytes, opens as many fifos and pipes, starts one program and reaps two processes; but understands,
//! checks and keeps nothing. No shim can need less for the same questions.

use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// The argument that makes the benchmark's own program the bare loop.
const ROLE: &str = "bare-exec";
const ROUNDS: usize = 40;
const FIFOS: [&str; 3] = ["bare-stdin", "bare-stdout", "bare-stderr"];

/// One question of the daemon.
struct Ask {
    what: u8,
    bytes: usize,
    answer: usize,
    /// How long after the answer the next one comes, in µs.
    pause: u64,
}

const STATE: u8 = 0;
const EXEC: u8 = 1;
const START: u8 = 2;

const fn ask(what: u8, bytes: usize, answer: usize, pause: u64) -> Ask {
    Ask { what, bytes, answer, pause }
}

/// What `ctr task exec` makes containerd 1.6 ask, as a trace of it shows.
const QUESTIONS: [Ask; 10] = [
    ask(STATE, 54, 220, 800),
    ask(EXEC, 1095, 10, 15_000),
    ask(STATE, 52, 217, 100),
    ask(START, 103, 16, 1_000),
    ask(STATE, 52, 222, 500),
    ask(STATE, 52, 222, 3_500),
    ask(STATE, 52, 222, 500),
    ask(STATE, 58, 222, 800),
    ask(STATE, 52, 222, 300),
    ask(STATE, 53, 30, 10_000),
];
const EVENT: usize = 200;
const EVENT_ANSWER: usize = 10;

/// The stand-in for a runtime: takes about as long, and leaves a process behind that soon ends.
const RUNTIME: &str = "sleep 0.06; sleep 0.012 & sleep 0.01";

/// Whether this process is the bare loop, which is then over.
pub(crate) fn was_it() -> bool {
    let is_it = std::env::args().nth(1).is_some_and(|role| role == ROLE);
    if is_it {
        serve();
    }
    is_it
}

/// The CPU time of one exec, in ms.
pub(crate) fn measure(directory: &Path) -> f64 {
    let _ends = FIFOS.map(|name| {
        nix::unistd::mkfifo(&directory.join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
        File::options().read(true).write(true).open(directory.join(name)).unwrap()
    });
    let (mut daemon, requests) = UnixStream::pair().unwrap();
    let (mut taker, events) = UnixStream::pair().unwrap();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .arg(ROLE)
        .current_dir(directory)
        .stdin(OwnedFd::from(requests))
        .stdout(OwnedFd::from(events))
        .spawn()
        .unwrap();
    let taker = thread::spawn(move || {
        let mut event = [0; EVENT];
        while taker.read_exact(&mut event).is_ok() && taker.write_all(&[0; EVENT_ANSWER]).is_ok() {}
    });
    let before = used_by(server.id());
    let mut buffer = [0; 2048];
    for ask in QUESTIONS.iter().cycle().take(ROUNDS * QUESTIONS.len()) {
        buffer[0] = ask.what;
        buffer[1] = u8::try_from(ask.answer).unwrap();
        daemon.write_all(&buffer[..ask.bytes]).unwrap();
        daemon.read_exact(&mut buffer[..ask.answer]).unwrap();
        thread::sleep(Duration::from_micros(ask.pause));
    }
    let used = used_by(server.id()) - before;
    drop(daemon);
    assert!(server.wait().unwrap().success());
    taker.join().unwrap();
    used / ROUNDS as f64
}

/// What a process has used, in ms, without its children.
fn used_by(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

/// Answers until nobody asks any more.
fn serve() {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let children = SigSet::from(Signal::SIGCHLD);
    children.thread_block().unwrap();
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    let signals = SignalFd::with_flags(&children, flags).unwrap();
    let mut requests = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut events = UnixStream::from(io::stdout().as_fd().try_clone_to_owned().unwrap());
    let mut buffer = [0; 4096];
    let mut streams = Vec::new();
    let mut runtime: Option<Child> = None;
    loop {
        let watched = [signals.as_fd(), requests.as_fd(), events.as_fd()];
        let mut watched = watched.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        poll(&mut watched, PollTimeout::NONE).unwrap();
        let [signalled, asked, answered] = watched.map(|fd| fd.any().unwrap());
        if answered {
            let _ = events.read(&mut [0; EVENT_ANSWER]).unwrap();
        }
        if asked {
            if requests.read(&mut buffer).unwrap() == 0 {
                return;
            }
            if buffer[0] == START {
                streams = FIFOS.map(Stream::open).into();
                fs::write("bare-process.json", &buffer[..870]).unwrap();
                runtime = Some(start(&streams));
                continue;
            }
            if buffer[0] == EXEC {
                events.write_all(&[0; EVENT]).unwrap();
            }
            let answer = usize::from(buffer[1]);
            requests.write_all(&buffer[..answer]).unwrap();
        }
        if signalled {
            while signals.read_signal().unwrap().is_some() {}
            while let Some(pid) = reap() {
                if runtime.take_if(|runtime| runtime.id() == pid.unsigned_abs()).is_some() {
                    fs::read("bare-process.json").unwrap();
                    fs::remove_file("bare-process.json").unwrap();
                    let answer = usize::from(buffer[1]);
                    requests.write_all(&buffer[..answer]).unwrap();
                } else {
                    streams.clear();
                }
                events.write_all(&[0; EVENT]).unwrap();
            }
        }
    }
}

/// A fifo from both sides, and the pipe of which the process has one end.
struct Stream {
    _fifo: [File; 2],
    pipe: (PipeReader, PipeWriter),
}

impl Stream {
    fn open(fifo: &str) -> Stream {
        let open = |options: &mut OpenOptions| {
            options.custom_flags(nix::libc::O_NONBLOCK).open(fifo).unwrap()
        };
        let read = open(OpenOptions::new().read(true));
        let write = open(OpenOptions::new().write(true));
        Stream { _fifo: [read, write], pipe: io::pipe().unwrap() }
    }
}

fn start(streams: &[Stream]) -> Child {
    let [stdin, stdout, stderr] = streams else { panic!("three streams") };
    Command::new("/bin/sh")
        .args(["-c", RUNTIME])
        .stdin(stdin.pipe.0.try_clone().unwrap())
        .stdout(stdout.pipe.1.try_clone().unwrap())
        .stderr(stderr.pipe.1.try_clone().unwrap())
        .spawn()
        .unwrap()
}

fn reap() -> Option<i32> {
    match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(pid, _)) => Some(pid.as_raw()),
        Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => None,
        other => panic!("{other:?}"),
    }
}
