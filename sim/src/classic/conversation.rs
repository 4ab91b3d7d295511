//! One process as its daemon and its client see it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use wavetank::Error;
use wavetank::files::read_file;
use wavetank::host::{
    Errno, Exit, ExitStatus, Fd, Host, OpenFlags, Pid, PollFd, Ready, Signal, WaitFor, close_all,
};
use wavetank::manager::{ProcessSpec, StateDir};
use wavetank::oci::{Dialect, parse_pid};

use super::daemon::run_runtime;
use super::plan::{Plan, Process, Told};
use crate::caller::SimHost;

/// So many bytes the client takes at once.
const READ_MAX: usize = 16 * 1024;

/// Both ends of the talk, and what has come of it so far.
pub(super) struct Conversation {
    plan: Process,
    runtime: &'static str,
    starts_container: bool,
    state: StateDir,
    shim: Pid,
    stdin: Option<Fd>,
    unwritten: Vec<u8>,
    outputs: [Output; 2],
    /// For what is just being read.
    buffer: Vec<u8>,
    hung_up: bool,
    signalled: bool,
    told: Told,
}

/// A reader of one of the output fifos.
struct Output {
    path: PathBuf,
    fd: Option<Fd>,
    bytes: Vec<u8>,
}

impl Conversation {
    pub(super) fn begin<H: Host>(
        host: &mut H,
        plan: &Plan,
        spec: ProcessSpec,
        process: &Process,
    ) -> Result<Conversation, Error> {
        let state = StateDir::create(host, Path::new("/w/state"), &spec)?;
        let _ = host.write(state.control, process.control.as_bytes());
        if let Some(size) = process.size {
            let message = format!("1 {} {}\n", size.columns, size.rows);
            let _ = host.write(state.control, message.as_bytes());
        }
        let mut fifo = |name: &str, path: &str, flags| {
            if process.without == Some(name) {
                return Ok(None);
            }
            let failed = |call| move |errno| Error::system(call, path, errno);
            host.mkfifo(Path::new(path), 0o700).map_err(failed("mkfifo"))?;
            host.open(Path::new(path), flags | OpenFlags::NONBLOCK, 0)
                .map(Some)
                .map_err(failed("open"))
        };
        let read = OpenFlags::READ;
        let stdin = fifo("stdin", &spec.streams.stdin, read | OpenFlags::WRITE)?;
        let mut output = |name: &str, path: &str| {
            let fd = fifo(name, path, read)?;
            Ok(Output { path: path.into(), fd, bytes: Vec::new() })
        };
        let outputs =
            [output("stdout", &spec.streams.stdout)?, output("stderr", &spec.streams.stderr)?];
        let dialect = match plan.dialect {
            Dialect::Start => "start",
            Dialect::Create => "create",
            Dialect::Run => "run",
        };
        let mut env = vec!["PATH=/bin".to_owned(), format!("WAVETANK_DIALECT={dialect}")];
        env.extend(plan.env.iter().cloned());
        let env: Vec<OsString> = env.into_iter().map(OsString::from).collect();
        let shim = state.start_shim(host, &spec, &env)?;
        Ok(Conversation {
            plan: process.clone(),
            runtime: plan.runtime,
            starts_container: plan.dialect == Dialect::Create && !spec.exec,
            state,
            shim,
            stdin,
            unwritten: process.input.clone(),
            outputs,
            buffer: vec![0; READ_MAX],
            hung_up: false,
            signalled: false,
            told: Told { process: spec.process, ..Told::default() },
        })
    }

    /// Whether the shim has ended and all output is read. With a terminal nobody ever writes to
    /// stderr, and a shim that failed may not have come to the fifos.
    pub(super) fn is_over(&self) -> bool {
        let failed = self.told.shim_code.is_some_and(|code| code != 0);
        let used = if self.plan.terminal { 1 } else { 2 };
        let read = self.outputs.iter().take(used).all(|output| output.fd.is_none());
        self.told.shim_code.is_some() && (failed || (self.hung_up && read))
    }

    pub(super) fn pid<H: Host>(&self, host: &mut H) -> Option<Pid> {
        parse_pid(read_text(host, &self.state.path.join("pid"))?.as_bytes()).ok()
    }

    pub(super) fn ask(&self, questions: &mut Vec<PollFd>) {
        if !self.hung_up {
            questions.push(PollFd::new(self.state.exit, Ready::READ));
        }
        let outputs = self.outputs.iter().filter_map(|output| output.fd);
        questions.extend(outputs.map(|fd| PollFd::new(fd, Ready::READ)));
        let stdin = self.stdin.filter(|_| !self.unwritten.is_empty());
        questions.extend(stdin.map(|fd| PollFd::new(fd, Ready::WRITE)));
    }

    pub(super) fn turn(&mut self, host: &mut SimHost<'_>, answers: &[PollFd]) {
        let ready = |fd: Fd| {
            let answer = answers.iter().find(|answer| answer.fd == fd);
            answer.map_or(Ready::empty(), |answer| answer.ready)
        };
        if let Some(stdin) = self.stdin.filter(|fd| ready(*fd).contains(Ready::WRITE))
            && let Ok(count) = host.write(stdin, &self.unwritten)
        {
            self.unwritten.drain(..count);
        }
        for output in &mut self.outputs {
            if output.fd.is_some_and(|fd| !ready(fd).is_empty()) {
                output.read(host, &mut self.buffer);
            }
        }
        self.leave_and_come_back(host);
        if !self.hung_up {
            self.watch_exit(host, ready(self.state.exit));
        }
        self.reap_shim(host);
        self.start_and_signal(host);
    }

    /// The exit fifo says one thing only, and by then the status has to be there.
    fn watch_exit<H: Host>(&mut self, host: &mut H, ready: Ready) {
        if ready.contains(Ready::READ) {
            self.told.astonished = Some("the exit fifo has a byte in it".to_owned());
        }
        if !ready.is_empty() {
            self.hung_up = true;
            self.told.status = read_text(host, &self.state.path.join("exitStatus"));
        }
    }

    fn reap_shim(&mut self, host: &mut SimHost<'_>) {
        if self.told.shim_code.is_some() {
            return;
        }
        if let Ok(Some(Exit { status, .. })) = host.wait(WaitFor::Pid(self.shim), false) {
            self.told.shim_code = Some(status.number());
            if let ExitStatus::Signal(signal) = status
                && !host.trouble().signalled
            {
                self.told.astonished = Some(format!("signal {signal} ended the shim"));
            }
        }
    }

    fn start_and_signal(&mut self, host: &mut SimHost<'_>) {
        if self.starts_container && self.pid(host).is_some() {
            self.starts_container = false;
            // The daemon's part since 0.2.3.
            match run_runtime(host, self.runtime, &["start", "c1"]) {
                Ok(()) => {}
                // What is not to be had with this container is tried with another one.
                Err(_) if host.trouble().is_any() => self.end_process(host),
                Err(error) => self.told.astonished = Some(error),
            }
        }
        let Some((signal, after)) = self.plan.signal else { return };
        if !self.signalled
            && self.outputs[0].bytes.len() >= after
            && let Some(pid) = self.pid(host)
        {
            let _ = host.kill(pid, signal);
            self.signalled = true;
        }
    }

    fn leave_and_come_back<H: Host>(&mut self, host: &mut H) {
        let output = &mut self.outputs[0];
        if self.plan.leaves_after.is_some_and(|count| output.bytes.len() >= count) {
            self.plan.leaves_after = None;
            close_all(host, output.fd.take());
            output.fd = host.open(&output.path, OpenFlags::READ | OpenFlags::NONBLOCK, 0).ok();
        }
    }

    /// Nobody does anything any more, though nothing is wrong with the machine.
    pub(super) fn give_up(&mut self, host: &mut SimHost<'_>) {
        if self.is_over() || self.tells_size_again(host) {
            return;
        }
        self.told.astonished = Some("nothing happens any more, and it is not over".to_owned());
        self.end_process(host);
        let _ = host.kill(self.shim, Signal::KILL);
        let ended = host.wait(WaitFor::Pid(self.shim), true);
        let code = ended.ok().flatten().map_or(-1, |exit| exit.status.number());
        (self.told.shim_code, self.hung_up) = (Some(code), true);
        self.outputs.iter_mut().for_each(|output| close_all(host, output.fd.take()));
    }

    /// A size that the terminal did not take is told again, once, if the shim has said so. Whether it
    /// was.
    fn tells_size_again(&mut self, host: &mut SimHost<'_>) -> bool {
        let log = read_text(host, &self.state.path.join("shim-log.json")).unwrap_or_default();
        let size = self.plan.size.take_if(|_| log.contains("resize"));
        let Some(size) = size.filter(|_| host.trouble().failed) else { return false };
        let message = format!("1 {} {}\n", size.columns, size.rows);
        host.write(self.state.control, message.as_bytes()).is_ok()
    }

    /// Kills the process, if it is known and has not ended. A runtime may have lied about its number.
    pub(super) fn end_process(&self, host: &mut SimHost<'_>) {
        let me = host.pid();
        let pid = self.pid(host).filter(|pid| *pid != me);
        if let Some(pid) = pid.filter(|_| self.told.status.is_none()) {
            let _ = host.kill(pid, Signal::KILL);
        }
    }

    /// Ends the input as soon as the shim has taken all of it.
    pub(super) fn end_input<H: Host>(&mut self, host: &mut H) {
        let all_done = self.unwritten.is_empty() && self.plan.leaves_after.is_none();
        let Some(stdin) = self.stdin.filter(|_| all_done) else { return };
        if host.unread(stdin).is_ok_and(|unread| unread == 0) {
            self.stdin = None;
            close_all(host, [stdin]);
            let _ = host.write(self.state.control, b"0 0 0\n");
        }
    }

    /// Whether something must be looked at again that no descriptor tells of: the pid file, how
    /// much the shim has taken, the shim's end after its fifo hung up.
    pub(super) fn must_look_again(&self) -> bool {
        let signal_due = self.plan.signal.is_some() && !self.signalled;
        let over = self.told.shim_code.is_some();
        !over && (self.starts_container || signal_due || self.stdin.is_some() || self.hung_up)
    }

    pub(super) fn finish<H: Host>(mut self, host: &mut H) -> Told {
        close_all(host, self.stdin.into_iter().chain(self.outputs.iter().filter_map(|it| it.fd)));
        self.told.pid = self.pid(host);
        self.told.shim_log =
            read_text(host, &self.state.path.join("shim-log.json")).unwrap_or_default();
        self.state.close(host);
        let [stdout, stderr] = self.outputs;
        (self.told.stdout, self.told.stderr) = (stdout.bytes, stderr.bytes);
        self.told
    }
}

impl Output {
    fn read<H: Host>(&mut self, host: &mut H, buffer: &mut [u8]) {
        let Some(fd) = self.fd else { return };
        match host.read(fd, buffer) {
            Ok(0) => {
                self.fd = None;
                close_all(host, [fd]);
            }
            Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => {
                self.fd = None;
                close_all(host, [fd]);
            }
        }
    }
}

fn read_text<H: Host>(host: &mut H, path: &Path) -> Option<String> {
    let text = read_file(host, path, 1 << 20).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
