//! One `ctr` at work, as a user has it before them: what is typed, what is shown, how it ended.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine: who waits so long, hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

/// Waits until there is something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < end, "in vain waited until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    wait_for(what, || so().then_some(()));
}

/// What a command has told in the end.
pub(crate) struct Told {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Told {
    /// Its output, once it has ended well.
    #[track_caller]
    pub(crate) fn fine(self) -> String {
        assert!(self.status == 0, "status {}: {}{}", self.status, self.out, self.err);
        self.out
    }

    /// All of it in one line.
    pub(crate) fn line(&self) -> String {
        let one = |text: &str| text.trim_end().replace('\n', "|");
        format!("status {}, out {:?}, err {:?}", self.status, one(&self.out), one(&self.err))
    }

    /// The end and whether the complaint has these words.
    pub(crate) fn complaint(&self, words: &str) -> String {
        let ending = if self.status == 0 { "done" } else { "refused" };
        if self.err.contains(words) {
            format!("{ending}: {words}")
        } else {
            format!("{ending} without {words:?}: {}", self.err.trim_end())
        }
    }
}

/// What comes out of a stream, as it comes.
struct Reader {
    seen: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn of(mut stream: impl Read + Send + 'static) -> Reader {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            // A terminal's end is an error (EIO), and nothing else is expected to fail.
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Reader { seen, thread }
    }

    /// Without the terminals' carriage returns: each of those on the way adds one.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).replace('\r', "")
    }
}

pub(crate) struct Client {
    child: Child,
    input: Option<File>,
    out: Reader,
    err: Option<Reader>,
    /// The terminal's name, if it has one.
    terminal: Option<String>,
}

impl Client {
    /// With three pipes.
    pub(crate) fn piped(mut command: Command) -> Client {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        let out = Reader::of(child.stdout.take().unwrap());
        let err = Some(Reader::of(child.stderr.take().unwrap()));
        Client { child, input, out, err, terminal: None }
    }

    /// On a terminal of this size.
    pub(crate) fn on_terminal(mut command: Command, rows: u16, columns: u16) -> Client {
        let size = nix::pty::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = nix::pty::openpty(&size, None).unwrap();
        let name = nix::unistd::ttyname(pty.slave.as_fd()).unwrap().to_str().unwrap().to_owned();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        drop(command);
        let out = Reader::of(File::from(pty.master.try_clone().unwrap()));
        let input = Some(File::from(pty.master));
        Client { child, input, out, err: None, terminal: Some(name) }
    }

    /// Gives the terminal another size, and tells the program, as the kernel tells those that the
    /// terminal controls.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let name = self.terminal.as_ref().unwrap();
        let mut stty = Command::new("stty");
        stty.args(["-F", name, "rows", &rows.to_string(), "cols", &columns.to_string()]);
        assert!(stty.status().unwrap().success());
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGWINCH).unwrap();
    }

    pub(crate) fn write(&mut self, text: &str) {
        if let Err(error) = self.input.as_mut().unwrap().write_all(text.as_bytes()) {
            let err = self.err.as_ref().map(Reader::text).unwrap_or_default();
            panic!("nobody reads: {error}, after {:?}, {err:?}", self.seen());
        }
    }

    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    pub(crate) fn seen(&self) -> String {
        self.out.text()
    }

    /// Waits until this was shown.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        let end = Instant::now() + LIMIT;
        while !self.seen().contains(text) {
            let err = self.err.as_ref().map(Reader::text).unwrap_or_default();
            assert!(Instant::now() < end, "{text:?} was not shown: {:?}, {err:?}", self.seen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it as `kill -9` does, so that it can clear up nothing.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end. Whoever does not end is killed, and that is a failure.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Told {
        let end = Instant::now() + LIMIT;
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > end {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                panic!("it hangs, after {:?}", self.seen());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        drop(self.input.take());
        let text = |reader: Reader| {
            while !reader.thread.is_finished() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
            assert!(reader.thread.is_finished(), "its output does not end: {:?}", reader.text());
            reader.text()
        };
        let (out, err) = (text(self.out), self.err.map(text).unwrap_or_default());
        Told { status: status.code().unwrap_or(-1), out, err }
    }
}

/// Runs a command without input to its end.
#[track_caller]
pub(crate) fn told(mut command: Command) -> Told {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let out = Reader::of(child.stdout.take().unwrap());
    let err = Some(Reader::of(child.stderr.take().unwrap()));
    Client { child, input: None, out, err, terminal: None }.finish()
}
