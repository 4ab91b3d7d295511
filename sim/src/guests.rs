//! Small programs that play a container's process.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wavetank::host::{
    Command, Errno, Fd, Host, OpenFlags, PollFd, Ready, Result, Signal, WindowSize, write_all,
};

const STDIN: Fd = Fd(0);
const STDOUT: Fd = Fd(1);
const STDERR: Fd = Fd(2);
const READY: Fd = Fd(5);
/// The byte at each place of what `bytes` writes; a prime, so that no buffer size divides it.
const PATTERN_PERIOD: usize = 251;

/// What a guest's words mean. Those in capitals are numbers or texts that follow.
///
/// | words | what happens |
/// | --- | --- |
/// | `print TEXT`, `error TEXT` | writes the text to stdout, to stderr |
/// | `echo` | copies stdin to stdout until its end |
/// | `read-all` | reads stdin to its end and prints how many bytes that were |
/// | `bytes N` | writes N bytes of a pattern to stdout |
/// | `sleep-ms N` | waits |
/// | `fork-hold-stdout-ms N` | leaves a child behind that keeps our descriptors open for so long |
/// | `close-stdout` | closes stdout |
/// | `reopen-terminal` | closes its descriptors, and opens the machine's first terminal as them |
/// | `winsize` | waits until the terminal at stdin has a size, and prints it |
/// | `wait-signal N` | waits for that signal and prints its number |
/// | `die N` | sends itself that signal |
/// | `exit N` | ends with that code |
///
/// Words are done one after the other; after the last the guest ends with 0. A write or read that
/// fails ends it with 111, a word that is none with 112.
pub fn guest<H: Host>(host: &mut H, argv: &[OsString]) -> i32 {
    let mut words = argv.iter().skip(1);
    while let Some(word) = words.next() {
        let mut argument = || words.next().map(OsString::as_os_str).unwrap_or_default();
        let done = match word.as_bytes() {
            b"print" => write_all(host, STDOUT, argument().as_bytes()),
            b"error" => write_all(host, STDERR, argument().as_bytes()),
            b"echo" => echo(host),
            b"read-all" => read_all(host),
            b"bytes" => write_all(host, STDOUT, &pattern(number(argument()))),
            b"sleep-ms" => sleep(host, number(argument())),
            b"fork-hold-stdout-ms" => leave_behind(host, argument()),
            b"close-stdout" => host.close(STDOUT),
            b"reopen-terminal" => reopen_terminal(host),
            b"winsize" => window_size(host),
            b"wait-signal" => wait_signal(host, argument()),
            b"die" => die(host, argument()),
            b"exit" => return i32::try_from(number(argument())).unwrap_or(0),
            _ => return 112,
        };
        if done.is_err() {
            return 111;
        }
    }
    0
}

/// A program that takes a process's output in the place of a fifo (`binary://`): from descriptor 3
/// what it says, from 4 its errors; on 5 it tells that it is ready. Its words come in pairs:
///
/// | words | what happens |
/// | --- | --- |
/// | `ready -` | says that it is ready |
/// | `silent -` | closes descriptor 5 without a word |
/// | `sleep-ms N` | waits |
/// | `copy PATH` | copies the output to `PATH-stdout` to its end, then the errors to `PATH-stderr` |
/// | `exit N` | ends with that code |
///
/// Codes are those of [`guest`].
pub fn logger<H: Host>(host: &mut H, argv: &[OsString]) -> i32 {
    for pair in argv.get(1..).unwrap_or_default().chunks(2) {
        let [word, argument] = pair else { return 112 };
        let done = match word.as_bytes() {
            b"ready" => write_all(host, READY, b"1").and_then(|()| host.close(READY)),
            b"silent" => host.close(READY),
            b"sleep-ms" => sleep(host, number(argument)),
            b"copy" => copy(host, Fd(3), argument, "-stdout")
                .and_then(|()| copy(host, Fd(4), argument, "-stderr")),
            b"exit" => return i32::try_from(number(argument)).unwrap_or(0),
            _ => return 112,
        };
        if done.is_err() {
            return 111;
        }
    }
    0
}

fn copy<H: Host>(host: &mut H, from: Fd, path: &OsStr, stream: &str) -> Result<()> {
    let mut path = path.to_owned();
    path.push(stream);
    let to = host.open(path.as_ref(), OpenFlags::WRITE, 0)?;
    let mut buffer = [0; 4096];
    loop {
        match host.read(from, &mut buffer) {
            Ok(0) => return host.close(to),
            Ok(count) => write_all(host, to, &buffer[..count])?,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The bytes that the word `bytes` writes.
#[must_use]
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % PATTERN_PERIOD).unwrap_or(0)).collect()
}

fn number(text: &OsStr) -> usize {
    text.to_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn signal(text: &OsStr) -> Signal {
    Signal(i32::try_from(number(text)).unwrap_or(0))
}

fn read_some<H: Host>(host: &mut H, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match host.read(STDIN, buffer) {
            Err(Errno::EINTR) => {}
            // A terminal that hung up.
            Err(Errno::EIO) => return Ok(0),
            result => return result,
        }
    }
}

fn echo<H: Host>(host: &mut H) -> Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match read_some(host, &mut buffer)? {
            0 => return Ok(()),
            count => write_all(host, STDOUT, &buffer[..count])?,
        }
    }
}

fn read_all<H: Host>(host: &mut H) -> Result<()> {
    let mut buffer = [0; 4096];
    let mut total = 0;
    loop {
        match read_some(host, &mut buffer)? {
            0 => return write_all(host, STDOUT, total.to_string().as_bytes()),
            count => total += count,
        }
    }
}

fn sleep<H: Host>(host: &mut H, milliseconds: usize) -> Result<()> {
    host.poll(&mut [], Some(Duration::from_millis(milliseconds as u64))).map(drop)
}

fn leave_behind<H: Host>(host: &mut H, milliseconds: &OsStr) -> Result<()> {
    let command = Command {
        program: PathBuf::from("/proc/self/exe"),
        argv: ["guest", "sleep-ms"]
            .map(OsString::from)
            .into_iter()
            .chain([milliseconds.to_owned()])
            .collect(),
        fds: vec![STDIN, STDOUT, STDERR],
        ..Command::default()
    };
    host.spawn(&command).map(drop).map_err(|error| error.errno)
}

fn reopen_terminal<H: Host>(host: &mut H) -> Result<()> {
    for fd in [STDIN, STDOUT, STDERR] {
        host.close(fd)?;
    }
    let flags = OpenFlags::READ | OpenFlags::WRITE;
    for _ in 0..3 {
        host.open(Path::new("/dev/pts/0"), flags, 0)?;
    }
    Ok(())
}

fn window_size<H: Host>(host: &mut H) -> Result<()> {
    let changes = host.signals(&[Signal::WINCH])?;
    let size = loop {
        match host.window_size(STDIN)? {
            WindowSize { columns: 0, rows: 0 } => {
                host.poll(&mut [PollFd::new(changes, Ready::READ)], None)?;
                host.read_signal(changes)?;
            }
            size => break size,
        }
    };
    host.close(changes)?;
    write_all(host, STDOUT, format!("{}x{}", size.columns, size.rows).as_bytes())
}

fn wait_signal<H: Host>(host: &mut H, text: &OsStr) -> Result<()> {
    let signal = await_signal(host, signal(text))?;
    write_all(host, STDOUT, signal.to_string().as_bytes())
}

fn await_signal<H: Host>(host: &mut H, signal: Signal) -> Result<Signal> {
    let fd = host.signals(&[signal])?;
    host.poll(&mut [PollFd::new(fd, Ready::READ)], None)?;
    let signal = host.read_signal(fd)?;
    host.close(fd)?;
    Ok(signal)
}

fn die<H: Host>(host: &mut H, text: &OsStr) -> Result<()> {
    let me = host.pid();
    host.kill(me, signal(text))
}
