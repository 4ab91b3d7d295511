//! The streams of one process: what the client gave, what the process got, and the relays between.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConsoleSocket, Input, Output, Pty, Relay, open_null};
use crate::Error;
use crate::host::{self, Bug, Fd, Host, OpenFlags, PollFd, WindowSize};

/// Where the client wants a process's streams to go. An empty path is `/dev/null`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPaths {
    /// What is given to the process.
    pub stdin: String,
    /// What the process says.
    pub stdout: String,
    /// What it says beside that; not used with a terminal.
    pub stderr: String,
}

/// Who owns the inner ends of the streams: on the host, the container's root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Owner {
    /// Makes the open file the owner's. Where root owns it there is no user namespace to serve,
    /// and what we made is as it has to be.
    pub(super) fn give<H: Host>(self, host: &mut H, fd: Fd) -> host::Result<()> {
        match self {
            Owner { uid: 0, gid: 0 } => Ok(()),
            Owner { uid, gid } => host.fchown(fd, uid, gid),
        }
    }
}

/// The streams of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stdio {
    input: Option<Input>,
    stdout: Option<Output>,
    stderr: Option<Output>,
    /// The inner ends that the runtime is started with: descriptors 0, 1 and 2.
    child_ends: Vec<Fd>,
    /// Our inner ends, without a terminal.
    pipes: Pipes,
    pty: Option<Pty>,
    console_socket: Option<ConsoleSocket>,
    stdin_relay: Option<Relay>,
    stdout_relay: Option<Relay>,
    stderr_relay: Option<Relay>,
    /// The last size that the client wished for, kept until there is a terminal.
    size: Option<WindowSize>,
    /// What went wrong and nobody was told of yet.
    untold: Option<Error>,
}

/// Our inner ends of the three pipes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pipes {
    stdin: Option<Fd>,
    /// The process's end of stdin, held so that input for a process that does not read is no
    /// broken pipe.
    stdin_reader: Option<Fd>,
    stdout: Option<Fd>,
    stderr: Option<Fd>,
}

impl Stdio {
    /// Opens the client's paths, and makes a pipe for each.
    ///
    /// # Errors
    /// What could not be opened or made; nothing stays open.
    pub fn with_pipes<H: Host>(
        host: &mut H,
        paths: &StreamPaths,
        owner: Owner,
    ) -> Result<Stdio, Error> {
        Stdio::build(host, |stdio, host| {
            stdio.open_ends(host, paths, true)?;
            stdio
                .make_pipes(host, owner)
                .map_err(|errno| Error::system("pipe", "for the process's streams", errno))?;
            stdio.start_pipe_relays(host);
            Ok(())
        })
    }

    /// Opens the client's paths, and makes a terminal; gives the path of its slave.
    ///
    /// # Errors
    /// What could not be opened or made; nothing stays open.
    pub fn with_pty<H: Host>(
        host: &mut H,
        paths: &StreamPaths,
        owner: Owner,
    ) -> Result<(Stdio, PathBuf), Error> {
        let mut slave = PathBuf::new();
        let stdio = Stdio::build(host, |stdio, host| {
            stdio.open_for_console(host, paths)?;
            let (pty, path) = Pty::create(host, owner)?;
            slave = path;
            stdio.attach(host, pty);
            Ok(())
        })?;
        Ok((stdio, slave))
    }

    /// Opens the client's paths, and a socket for a terminal that the runtime makes; gives its path.
    ///
    /// # Errors
    /// What could not be opened or made; nothing stays open.
    pub fn with_console_socket<H: Host>(
        host: &mut H,
        paths: &StreamPaths,
        env: &[OsString],
    ) -> Result<(Stdio, PathBuf), Error> {
        let mut path = PathBuf::new();
        let stdio = Stdio::build(host, |stdio, host| {
            stdio.open_for_console(host, paths)?;
            let socket = ConsoleSocket::listen(host, env)?;
            path = socket.path();
            stdio.console_socket = Some(socket);
            Ok(())
        })?;
        Ok((stdio, path))
    }

    fn open_for_console<H: Host>(
        &mut self,
        host: &mut H,
        paths: &StreamPaths,
    ) -> Result<(), Error> {
        self.open_ends(host, paths, false)?;
        self.child_ends = vec![open_null(host)?; 3];
        Ok(())
    }

    fn build<H: Host>(
        host: &mut H,
        steps: impl FnOnce(&mut Stdio, &mut H) -> Result<(), Error>,
    ) -> Result<Stdio, Error> {
        let mut stdio = Stdio::default();
        match steps(&mut stdio, host) {
            Ok(()) => Ok(stdio),
            Err(error) => {
                stdio.close(host);
                Err(error)
            }
        }
    }

    fn open_ends<H: Host>(
        &mut self,
        host: &mut H,
        paths: &StreamPaths,
        with_stderr: bool,
    ) -> Result<(), Error> {
        fn path(text: &str) -> &Path {
            Path::new(if text.is_empty() { "/dev/null" } else { text })
        }
        self.input = Some(Input::open(host, path(&paths.stdin))?);
        self.stdout = Some(Output::open(host, path(&paths.stdout))?);
        if with_stderr {
            self.stderr = Some(Output::open(host, path(&paths.stderr))?);
        }
        Ok(())
    }

    fn make_pipes<H: Host>(&mut self, host: &mut H, owner: Owner) -> host::Result<()> {
        let none = OpenFlags::empty();
        let stdin = host.pipe(none)?;
        self.child_ends.push(stdin.read);
        self.pipes.stdin = Some(stdin.write);
        let stdout = host.pipe(none)?;
        self.child_ends.push(stdout.write);
        self.pipes.stdout = Some(stdout.read);
        let stderr = host.pipe(none)?;
        self.child_ends.push(stderr.write);
        self.pipes.stderr = Some(stderr.read);
        let ours = [stdin.write, stdout.read, stderr.read];
        for fd in self.child_ends.iter().chain(&ours) {
            owner.give(host, *fd)?;
        }
        for fd in ours {
            host.set_nonblocking(fd, true)?;
        }
        Ok(())
    }

    fn start_pipe_relays<H: Host>(&mut self, host: &mut H) {
        let between = |host: &mut H, source: Option<Fd>, sink: Option<Fd>| {
            Some(Relay::new(host, source?, sink?))
        };
        let input = self.input.as_ref().map(|input| input.source);
        let sink = |output: &Option<Output>| output.as_ref().map(|output| output.sink);
        self.stdin_relay = between(host, input, self.pipes.stdin);
        self.stdout_relay = between(host, self.pipes.stdout, sink(&self.stdout));
        self.stderr_relay = between(host, self.pipes.stderr, sink(&self.stderr));
    }

    fn attach<H: Host>(&mut self, host: &mut H, pty: Pty) {
        self.stdin_relay =
            self.input.as_ref().map(|input| Relay::new(host, input.source, pty.master));
        self.stdout_relay =
            self.stdout.as_ref().map(|output| Relay::new(host, pty.master, output.sink));
        self.pty = Some(pty);
    }

    /// What the runtime's descriptors 0, 1 and 2 have to be.
    #[must_use]
    pub fn child_ends(&self) -> &[Fd] {
        &self.child_ends
    }

    /// Closes what only the runtime and the process need, once they have it. From then on the
    /// output ends with its last writer.
    pub fn close_child_ends<H: Host>(&mut self, host: &mut H) {
        let mut ends = std::mem::take(&mut self.child_ends);
        if self.pipes.stdin.is_some() && !ends.is_empty() {
            self.pipes.stdin_reader = Some(ends.remove(0));
        }
        ends.dedup();
        host::close_all(host, ends);
    }

    /// Whether the runtime still owes us a console.
    #[must_use]
    pub fn awaits_console(&self) -> bool {
        self.console_socket.is_some()
    }

    /// Looks whether the console has come, and takes it.
    ///
    /// # Errors
    /// That what came is no terminal, or none that can be used.
    pub fn receive_console<H: Host>(&mut self, host: &mut H) -> Result<(), Error> {
        let Some(socket) = &mut self.console_socket else { return Ok(()) };
        let Some(master) = socket.receive(host) else { return Ok(()) };
        self.close_console_socket(host);
        let adopted = Pty::adopt(host, master, self.size);
        let pty = adopted.inspect_err(|_| host::close_all(host, [master]))?;
        self.attach(host, pty);
        Ok(())
    }

    fn close_console_socket<H: Host>(&mut self, host: &mut H) {
        if let Some(socket) = self.console_socket.take() {
            self.untold = socket.close(host).err().or(self.untold.take());
        }
    }

    /// What went wrong and nobody was told of; after [`Stdio::close`] there are no more turns.
    pub fn untold(&mut self) -> Option<Error> {
        self.untold.take()
    }

    /// Does as the client wishes, now or when the terminal comes; without one it is no wish. A
    /// terminal that is going away takes no size, and needs none.
    ///
    /// # Errors
    /// What [`Host::set_window_size`] gives while the process runs.
    pub fn resize<H: Host>(&mut self, host: &mut H, size: WindowSize) -> Result<(), Error> {
        self.size = Some(size).filter(|_| !host.planted(Bug::EarlyResizeLost));
        let living = self.pty.as_ref().filter(|pty| pty.slave.is_some());
        let resized = living.map_or(Ok(()), |pty| pty.resize(host, size));
        resized.map_err(|errno| Error::system("resize", "the terminal", errno))
    }

    /// Ends the input, as soon as no client has the fifo open. What they wrote still arrives.
    pub fn close_stdin<H: Host>(&mut self, host: &mut H) {
        if let Some(input) = &mut self.input {
            input.close_writer(host);
        }
    }

    /// The process has ended: only what others still have open keeps the output going.
    pub fn process_ended<H: Host>(&mut self, host: &mut H) {
        if let Some(pty) = &mut self.pty {
            pty.let_go(host);
        }
    }

    /// From now on the output ends as soon as there is none to read.
    pub fn end_output_when_empty(&mut self) {
        self.outputs_mut().for_each(Relay::end_when_empty);
    }

    /// Whether all output has been carried to its end.
    #[must_use]
    pub fn output_ended(&self) -> bool {
        let mut outputs = self.stdout_relay.iter().chain(&self.stderr_relay);
        outputs.all(Relay::ended)
    }

    fn outputs_mut(&mut self) -> impl Iterator<Item = &mut Relay> {
        self.stdout_relay.iter_mut().chain(&mut self.stderr_relay)
    }

    fn relays(&self) -> impl Iterator<Item = &Relay> {
        self.stdin_relay.iter().chain(&self.stdout_relay).chain(&self.stderr_relay)
    }

    /// Adds what must be waited for.
    pub fn ask(&self, questions: &mut Vec<PollFd>) {
        questions.extend(self.relays().filter_map(Relay::question));
        if let Some(socket) = &self.console_socket {
            let readable = |fd| PollFd::new(fd, host::Ready::READ);
            questions.extend(socket.descriptors().map(readable));
        }
    }

    /// When a relay wants a turn without being ready.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let resting = self.console_socket.as_ref().and_then(ConsoleSocket::due);
        self.relays().filter_map(Relay::due).chain(resting).min()
    }

    /// Gives a turn to every relay that is ready or due, takes a console that has come, and says
    /// what went wrong with which stream.
    ///
    /// # Errors
    /// That the runtime sent something that is no console.
    pub fn turn<H: Host>(
        &mut self,
        host: &mut H,
        answers: &[PollFd],
        now: Duration,
    ) -> Result<Vec<Error>, Error> {
        let mut troubles = Vec::new();
        let relays = [
            ("stdin", &mut self.stdin_relay),
            ("stdout", &mut self.stdout_relay),
            ("stderr", &mut self.stderr_relay),
        ];
        for (name, relay) in relays {
            let Some(relay) = relay else { continue };
            if relay.is_called(answers, now)
                && let Err(trouble) = relay.turn(host)
            {
                troubles.push(Error::system("write", name, trouble.errno));
            }
        }
        self.close_ended_stdin(host);
        let is_answered =
            |fd| answers.iter().any(|answer| answer.fd == fd && !answer.ready.is_empty());
        let is_called = |socket: &ConsoleSocket| {
            socket.descriptors().any(is_answered) || socket.due().is_some_and(|due| due <= now)
        };
        if self.console_socket.as_ref().is_some_and(is_called) {
            self.receive_console(host)?;
        }
        troubles.extend(self.untold.take());
        Ok(troubles)
    }

    /// The end of the input is passed on to a pipe; a terminal has no such end.
    fn close_ended_stdin<H: Host>(&mut self, host: &mut H) {
        if !self.stdin_relay.as_ref().is_some_and(Relay::ended) {
            return;
        }
        self.stdin_relay = None;
        if let Some(input) = self.input.take() {
            input.close(host);
        }
        host::close_all(host, self.pipes.stdin.take());
    }

    /// Closes everything, and gives the bytes that were lost from each stream: those that a broken
    /// sink did not take, and those that nobody has read nor can read any more.
    pub fn close<H: Host>(&mut self, host: &mut H) -> Vec<(&'static str, u64)> {
        let mut lost_by =
            |relay: &Option<Relay>| relay.as_ref().map_or(0, |relay| relay.lost(host));
        let (stdout_lost, stderr_lost) = (lost_by(&self.stdout_relay), lost_by(&self.stderr_relay));
        self.close_console_socket(host);
        let untold = self.untold.take();
        let Stdio { input, stdout, stderr, child_ends, pipes, pty, .. } = std::mem::take(self);
        self.untold = untold;
        let outputs = [("stdout", stdout, stdout_lost), ("stderr", stderr, stderr_lost)];
        let mut lost = Vec::new();
        for (name, output, untaken) in outputs {
            let unread = output.map_or(0, |output| output.close(host) as u64);
            if untaken + unread > 0 {
                lost.push((name, untaken + unread));
            }
        }
        if let Some(input) = input {
            input.close(host);
        }
        if let Some(pty) = pty {
            pty.close(host);
        }
        let mut rest = child_ends;
        rest.dedup();
        rest.extend([pipes.stdin, pipes.stdin_reader, pipes.stdout, pipes.stderr].iter().flatten());
        host::close_all(host, rest);
        lost
    }
}
