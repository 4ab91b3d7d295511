//! The client's ends of a process's fifos.

use std::path::{Path, PathBuf};

use wavetank::host::{Errno, Fd, Host, OpenFlags, PollFd, Ready, close_all};

use super::WORK;
use super::plan::Process;

/// The fifos of one process as its client has them.
pub(crate) struct Streams {
    stdin: PathBuf,
    input: Option<Fd>,
    given: Vec<u8>,
    unwritten: Vec<u8>,
    ends_input: bool,
    pub(crate) outputs: [Output; 2],
    leaves_after: Option<usize>,
    returns_at: Option<&'static str>,
    never_comes: bool,
    file: Option<&'static str>,
    pub(crate) may_read: bool,
}

/// A reader of one of the output fifos.
pub(crate) struct Output {
    path: PathBuf,
    fd: Option<Fd>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) ended: bool,
}

/// Where a fifo of a process is.
pub(crate) fn path(process: &str, stream: &str) -> PathBuf {
    Path::new(WORK).join("io").join(format!("{}-{stream}", process.replace('/', "-")))
}

impl Streams {
    pub(crate) fn make<H: Host>(host: &mut H, process: &Process) -> Result<Streams, Errno> {
        for stream in ["stdin", "stdout", "stderr"] {
            host.mkfifo(&path(process.name, stream), 0o700)?;
        }
        let output = |stream| Output {
            path: path(process.name, stream),
            fd: None,
            bytes: Vec::new(),
            ended: false,
        };
        Ok(Streams {
            stdin: path(process.name, "stdin"),
            input: None,
            given: process.input.clone(),
            unwritten: process.input.clone(),
            ends_input: false,
            outputs: [output("stdout"), output("stderr")],
            leaves_after: process.leaves_after,
            returns_at: process.returns_at,
            never_comes: process.client_never_comes,
            file: process.file,
            may_read: process.reads_from.is_none(),
        })
    }

    /// What a client does before it asks for the process.
    pub(crate) fn open<H: Host>(&mut self, host: &mut H, terminal: bool) {
        if self.never_comes {
            return;
        }
        let used = match (self.file, terminal) {
            (Some(_), _) => 0,
            (None, true) => 1,
            (None, false) => 2,
        };
        for output in self.outputs.iter_mut().take(used).filter(|output| !output.ended) {
            if output.fd.is_none() {
                output.open(host);
            }
        }
        // A client that waits in open(2) for a reader is a writer already, and this one never waits.
        if self.input.is_none() && !(self.ends_input && self.unwritten.is_empty()) {
            let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::NONBLOCK;
            self.input = host.open(&self.stdin, flags, 0).ok();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.outputs.iter().all(|output| output.fd.is_none())
    }

    /// The process was not made; another attempt begins anew.
    pub(crate) fn give_up<H: Host>(&mut self, host: &mut H) {
        self.close(host);
        // What nobody has read went with the fifo's last holder.
        self.unwritten.clone_from(&self.given);
        for output in &mut self.outputs {
            // What was said in an attempt that failed is not of the next.
            output.bytes.clear();
            output.ended = false;
        }
    }

    /// It is about to be asked for, so it cannot have ended: an output that hung up before it brought
    /// anything was that of an attempt whose answer was lost.
    pub(crate) fn come_anew(&mut self) {
        for output in self.outputs.iter_mut().filter(|output| output.bytes.is_empty()) {
            output.ended = false;
        }
    }

    /// The process is no more, and wants no input.
    pub(crate) fn process_ended(&mut self) {
        self.unwritten.clear();
        self.ends_input = true;
    }

    pub(crate) fn end_input(&mut self) {
        self.ends_input = true;
    }

    pub(crate) fn ask(&self, questions: &mut Vec<PollFd>) {
        if self.may_read {
            let outputs = self.outputs.iter().filter_map(|output| output.fd);
            questions.extend(outputs.map(|fd| PollFd::new(fd, Ready::READ)));
        }
        if let Some(fd) = self.input
            && !self.unwritten.is_empty()
        {
            questions.push(PollFd::new(fd, Ready::WRITE));
        }
    }

    /// Whether something must be looked at again that no descriptor tells of.
    pub(crate) fn must_look_again(&self) -> bool {
        self.input.is_some() && self.ends_input && self.unwritten.is_empty()
    }

    pub(crate) fn turn<H: Host>(&mut self, host: &mut H, answers: &[PollFd]) {
        let is_ready =
            |fd: Fd| answers.iter().any(|answer| answer.fd == fd && !answer.ready.is_empty());
        if let Some(fd) = self.input {
            if !self.unwritten.is_empty() && is_ready(fd) {
                match host.write(fd, &self.unwritten) {
                    Ok(count) => drop(self.unwritten.drain(..count)),
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    // Whoever reads no more wants no more.
                    Err(_) => self.unwritten.clear(),
                }
            }
            if self.ends_input && self.unwritten.is_empty() {
                close_all(host, [fd]);
                self.input = None;
            }
        }
        if !self.may_read {
            return;
        }
        for output in &mut self.outputs {
            if output.fd.is_some_and(is_ready) {
                output.read(host);
            }
        }
        let output = &mut self.outputs[0];
        if self.leaves_after.is_some_and(|count| output.bytes.len() >= count) {
            self.leaves_after = None;
            if let Some(fd) = output.fd.take() {
                close_all(host, [fd]);
                if self.returns_at.is_none() {
                    output.open(host);
                }
            }
        }
    }

    /// Somebody has set a mark: the client may begin to read, or come back.
    pub(super) fn marked<H: Host>(&mut self, host: &mut H, reads_from: bool, mark: &str) {
        self.may_read |= reads_from;
        if self.returns_at.is_some_and(|returns_at| returns_at == mark) {
            self.outputs[0].open(host);
        }
    }

    /// What is in the file that the output goes to.
    pub(super) fn read_file<H: Host>(&mut self, host: &mut H) {
        if let Some(file) = self.file {
            let text = wavetank::files::read_file(host, Path::new(file), 1 << 20);
            self.outputs[0].bytes = text.unwrap_or_default();
        }
    }

    /// The client goes, for a while or for good.
    pub(crate) fn close<H: Host>(&mut self, host: &mut H) {
        close_all(host, self.input.take());
        for output in &mut self.outputs {
            close_all(host, output.fd.take());
        }
    }
}

impl Output {
    fn open<H: Host>(&mut self, host: &mut H) {
        self.fd = host.open(&self.path, OpenFlags::READ | OpenFlags::NONBLOCK, 0).ok();
    }

    fn read<H: Host>(&mut self, host: &mut H) {
        let Some(fd) = self.fd else { return };
        let mut buffer = [0; 16 * 1024];
        match host.read(fd, &mut buffer) {
            Ok(0) => {
                self.fd = None;
                self.ended = true;
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
