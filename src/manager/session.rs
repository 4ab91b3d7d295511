//! One container, from the start of its shim to its exit status.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::pump::Pump;
use super::state_dir::{self, ProcessSpec, StateDir};
use crate::Error;
use crate::files::read_file;
use crate::host::{
    Command, Errno, ExitStatus, Fd, Host, OpenFlags, Pid, PollFd, Ready, Signal, Termios, WaitFor,
    close_all,
};
use crate::oci::{find_program, parse_pid};
use crate::stdio::open_null;

/// Signals that are passed on to the container's process.
const PASSED_ON: [Signal; 6] =
    [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::USR1, Signal::USR2];
/// How often things are looked at that no descriptor tells of: whether there is a pid file, and
/// whether the shim has taken the last input.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long the runtime may take to delete what a dead shim has left.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Status of a process of which nobody knows how it ended, as containerd's.
const UNKNOWN_STATUS: i32 = 255;
const FILE_MAX: usize = 1024 * 1024;

struct Session {
    state: StateDir,
    shim: Pid,
    shim_ended: bool,
    signals: Fd,
    /// Our end of the container's stdin, until the input has ended.
    stdin: Option<Fd>,
    input: Pump,
    output: Pump,
    error: Option<Pump>,
    undelivered: Vec<Signal>,
    /// We were told to end twice while there was nobody to tell.
    gave_up: Option<Signal>,
    terminal: bool,
}

pub(super) fn run<H: Host>(
    host: &mut H,
    work: &Path,
    spec: &ProcessSpec,
    terminal: bool,
    env: &[OsString],
) -> Result<i32, Error> {
    // Should the shim die, its container becomes our child, and is not lost.
    host.become_subreaper()
        .map_err(|errno| Error::system("prctl", "PR_SET_CHILD_SUBREAPER", errno))?;
    let state = StateDir::create(host, &work.join("state"), spec)?;
    let mut open = |name: &str, flags| {
        state_dir::make_fifo(host, &work.join(name), flags | OpenFlags::NONBLOCK)
    };
    let stdin = open("stdin", OpenFlags::READ | OpenFlags::WRITE)?;
    let stdout = open("stdout", OpenFlags::READ)?;
    let stderr = open("stderr", OpenFlags::READ)?;
    let watched: Vec<Signal> = PASSED_ON.into_iter().chain([Signal::CHLD, Signal::WINCH]).collect();
    let signals = host
        .signals(&watched)
        .map_err(|errno| Error::system("signalfd", "for our signals", errno))?;
    let shim = state.start_shim(host, spec, &shim_environment(env))?;
    let mut session = Session {
        state,
        shim,
        shim_ended: false,
        signals,
        stdin: Some(stdin),
        input: Pump::new(Fd(0), stdin),
        output: Pump::new(stdout, Fd(1)),
        error: (!terminal).then(|| Pump::new(stderr, Fd(2))),
        undelivered: Vec::new(),
        gave_up: None,
        terminal,
    };
    let before = if terminal { make_raw(host) } else { None };
    let watched = session.watch(host);
    if let Some(attributes) = before {
        let _ = host.set_terminal_attributes(Fd(0), &attributes);
    }
    let status = watched.and_then(|()| session.status(host, spec, env));
    close_all(host, session.stdin.into_iter().chain([signals, stdout, stderr]));
    session.state.close(host);
    status
}

/// Our environment, in which the shim is told to speak to a runtime of today, unless it says
/// otherwise itself.
fn shim_environment(env: &[OsString]) -> Vec<OsString> {
    let name = b"WAVETANK_DIALECT=";
    let mut env = env.to_vec();
    if !env.iter().any(|entry| entry.as_bytes().starts_with(name)) {
        env.push("WAVETANK_DIALECT=run".into());
    }
    env
}

/// Lets every key pass to the container; gives what our terminal did before, if it is one.
fn make_raw<H: Host>(host: &mut H) -> Option<Termios> {
    let attributes = host.terminal_attributes(Fd(0)).ok()?;
    host.set_terminal_attributes(Fd(0), &attributes.raw()).ok()?;
    Some(attributes)
}

impl Session {
    /// Carries everything both ways until the shim has ended and all output is out.
    fn watch<H: Host>(&mut self, host: &mut H) -> Result<(), Error> {
        self.pass_on_size(host);
        while !self.finished() {
            let mut questions = vec![PollFd::new(self.signals, Ready::READ)];
            questions.extend(self.input_pump().and_then(Pump::question));
            questions.extend(self.output.question());
            questions.extend(self.error.as_ref().and_then(Pump::question));
            let timeout = self.must_look_again().then_some(LOOK_AGAIN);
            match host.poll(&mut questions, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::system("poll", "our descriptors", errno)),
            }
            let ready = |pump: &Pump| {
                pump.question().is_some_and(|question| {
                    let is_it = |answer: &&PollFd| {
                        answer.fd == question.fd && answer.interest == question.interest
                    };
                    questions.iter().find(is_it).is_some_and(|answer| !answer.ready.is_empty())
                })
            };
            if self.input_pump().is_some_and(ready) {
                self.input.turn(host);
            }
            self.end_input(host);
            for pump in [Some(&mut self.output), self.error.as_mut()].into_iter().flatten() {
                // A fifo that the shim has never come to does not hang up: it only has no writer.
                if ready(pump) || (self.shim_ended && pump.is_empty()) {
                    let was_broken = pump.is_broken();
                    pump.turn(host);
                    if pump.is_broken() && !was_broken {
                        // What the process would have got had it written there itself.
                        self.undelivered.push(Signal::PIPE);
                    }
                }
            }
            if !questions[0].ready.is_empty() {
                self.read_signals(host);
            }
            self.deliver_signals(host);
        }
        Ok(())
    }

    /// The shim closes the output fifos before it ends; what is in them then still comes out, and
    /// they hang up.
    fn finished(&self) -> bool {
        self.shim_ended && self.output.ended() && self.error.as_ref().is_none_or(Pump::ended)
    }

    fn input_pump(&self) -> Option<&Pump> {
        self.stdin.is_some().then_some(&self.input)
    }

    /// Ends the container's input once ours has ended and the shim has taken all of it: until
    /// somebody else has the fifo open, our end alone keeps its bytes.
    fn end_input<H: Host>(&mut self, host: &mut H) {
        let Some(stdin) = self.stdin.filter(|_| self.input.ended()) else { return };
        if host.unread(stdin).is_ok_and(|unread| unread > 0) {
            return;
        }
        self.stdin = None;
        close_all(host, [stdin]);
        self.tell_shim(host, "0 0 0\n");
    }

    /// Whether something must be looked at again that no descriptor tells of.
    fn must_look_again(&self) -> bool {
        !self.undelivered.is_empty() || (self.stdin.is_some() && self.input.ended())
    }

    fn tell_shim<H: Host>(&self, host: &mut H, message: &str) {
        // The fifo is full only if the shim does not read it, which then has more than this amiss.
        let _ = host.write(self.state.control, message.as_bytes());
    }

    fn pass_on_size<H: Host>(&self, host: &mut H) {
        if let (true, Ok(size)) = (self.terminal, host.window_size(Fd(0))) {
            self.tell_shim(host, &format!("1 {} {}\n", size.columns, size.rows));
        }
    }

    fn read_signals<H: Host>(&mut self, host: &mut H) {
        while let Ok(signal) = host.read_signal(self.signals) {
            match signal {
                Signal::CHLD => self.reap(host),
                Signal::WINCH => self.pass_on_size(host),
                other => self.pass_on(host, other),
            }
        }
    }

    /// A signal that waits for the process, and comes once more, ends the shim: the runtime has not
    /// made a process yet, dies with the shim, and can be waited for no longer.
    fn pass_on<H: Host>(&mut self, host: &mut H, signal: Signal) {
        if self.undelivered.contains(&signal) {
            self.gave_up = Some(signal);
            // The shim is our child and not reaped, so the number is its own.
            let _ = host.kill(self.shim, Signal::KILL);
        } else {
            self.undelivered.push(signal);
        }
    }

    fn reap<H: Host>(&mut self, host: &mut H) {
        if let Ok(Some(_)) = host.wait(WaitFor::Pid(self.shim), false) {
            self.shim_ended = true;
            self.undelivered.clear();
            self.end_orphans(host);
        }
    }

    /// A shim that was killed leaves its container to us: it is killed, too, as containerd does.
    fn end_orphans<H: Host>(&self, host: &mut H) {
        let Some(pid) = self.container_pid(host) else { return };
        if let Ok(None) = host.wait(WaitFor::Pid(pid), false) {
            let _ = host.kill(pid, Signal::KILL);
            let _ = host.wait(WaitFor::Pid(pid), true);
        }
    }

    fn container_pid<H: Host>(&self, host: &mut H) -> Option<Pid> {
        let contents = read_file(host, &self.state.path.join("pid"), FILE_MAX).ok()?;
        parse_pid(&contents).ok()
    }

    fn deliver_signals<H: Host>(&mut self, host: &mut H) {
        if self.undelivered.is_empty() {
            return;
        }
        if let Some(pid) = self.container_pid(host) {
            for signal in self.undelivered.drain(..) {
                // A process that has just ended needs it no more.
                let _ = host.kill(pid, signal);
            }
        }
    }

    /// The container's exit status, or what the shim or the runtime had to say instead.
    fn status<H: Host>(
        &self,
        host: &mut H,
        spec: &ProcessSpec,
        env: &[OsString],
    ) -> Result<i32, Error> {
        let mut read = |name: &str| read_file(host, &self.state.path.join(name), FILE_MAX).ok();
        let status = read("exitStatus").and_then(|text| {
            std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse::<i32>().ok())
        });
        if let Some(status) = status {
            return Ok(status);
        }
        let runtime = read("log.json").and_then(|text| first_error(&text));
        let shim = read("shim-log.json").and_then(|text| first_error(&text));
        self.delete_container(host, spec, env);
        if let Some(signal) = self.gave_up {
            return Ok(ExitStatus::Signal(signal).number());
        }
        match (shim, runtime) {
            (Some(message), _) => Err(Error::invalid("shim error", message)),
            (None, Some(message)) => Err(Error::invalid("oci runtime error", message)),
            (None, None) => Ok(UNKNOWN_STATUS),
        }
    }

    /// What a shim that did not come to its end may have left in the runtime's care.
    fn delete_container<H: Host>(&self, host: &mut H, spec: &ProcessSpec, env: &[OsString]) {
        let Some(program) = find_program(host, Path::new(&spec.runtime), env) else { return };
        let Ok(null) = open_null(host) else { return };
        let mut argv: Vec<OsString> = vec![(&spec.runtime).into()];
        argv.extend(spec.runtime_args.iter().map(OsString::from));
        argv.extend(["delete", "--force", &spec.container].map(OsString::from));
        let command = Command { program, argv, fds: vec![null; 3], ..Command::default() };
        if let Ok(pid) = host.spawn(&command) {
            wait_or_kill(host, pid);
        }
        close_all(host, [null]);
    }
}

/// Waits for a child's end, and kills it when that takes too long.
fn wait_or_kill<H: Host>(host: &mut H, pid: Pid) {
    let deadline = host.now() + CLEANUP_TIMEOUT;
    while let Ok(None) = host.wait(WaitFor::Pid(pid), false) {
        if host.now() >= deadline {
            let _ = host.kill(pid, Signal::KILL);
            let _ = host.wait(WaitFor::Pid(pid), true);
            return;
        }
        let _ = host.poll(&mut [], Some(LOOK_AGAIN));
    }
}

/// The message of the first record of level `error` in a log of JSON objects.
fn first_error(log: &[u8]) -> Option<String> {
    let records = serde_json::Deserializer::from_slice(log).into_iter::<serde_json::Value>();
    let mut errors = records.map_while(Result::ok).filter(|record| record["level"] == "error");
    errors.find_map(|record| record["msg"].as_str().map(str::to_owned))
}
