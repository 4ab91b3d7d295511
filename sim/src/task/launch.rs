//! The shim's short programs as the daemon runs them: `start` and `delete`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult, Extension};
use containerd_shim_protos::protobuf::{Message, MessageField};
use wavetank::host::{
    Command, Errno, Fd, Host, OpenFlags, Pid, PollFd, Ready, Signal, WaitFor, close_all, write_all,
};

use super::asks::{exit, options};
use super::plan::{Exit, Name, Step};
use super::{NAMESPACE, SHIM, WORK};

/// How a daemon of some generation speaks with `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Containerd 2.3: messages, and a place for the sockets.
    Messages,
    /// Before: options or nothing on stdin, and an address.
    Plain,
}

/// Whether a short program may have something to say besides its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Complains {
    Never,
    Perhaps,
}

/// A short program on its way.
pub(crate) struct Launch {
    pub(crate) name: Name,
    action: &'static str,
    manner: Manner,
    pid: Pid,
    output: Fd,
    text: Vec<u8>,
    /// When it was begun.
    pub(super) begun: Duration,
}

/// What a short program has said.
pub(crate) enum Said {
    /// Where the shim is.
    Address(String),
    /// How the container ended.
    Deleted(Option<Exit>),
}

/// Where the daemon takes events.
pub(crate) fn event_socket() -> PathBuf {
    Path::new(WORK).join("events.sock")
}

/// Where the daemon of 2.3 wants sockets to be.
pub(crate) fn socket_dir() -> PathBuf {
    Path::new(WORK).join("s")
}

impl Launch {
    pub(crate) fn begin<H: Host>(
        host: &mut H,
        name: Name,
        action: &'static str,
        manner: Manner,
        complains: Complains,
    ) -> Result<Launch, String> {
        let failed = |errno: Errno| format!("{action}: {errno}");
        let bundle = Path::new(WORK).join("bundles").join(name);
        let stdin = host.pipe(OpenFlags::empty()).map_err(failed)?;
        let stdout = host.pipe(OpenFlags::empty()).map_err(failed)?;
        let null = match complains {
            Complains::Never => None,
            Complains::Perhaps => {
                Some(host.open(Path::new("/dev/null"), OpenFlags::WRITE, 0).map_err(failed)?)
            }
        };
        let bundle_text = bundle.to_string_lossy().into_owned();
        let mut words = vec![SHIM, "-namespace", NAMESPACE, "-address", "/w/c.sock"];
        words.extend(["-publish-binary", "/bin/actor", "-id", name]);
        if action == "delete" {
            words.extend(["-bundle", &bundle_text]);
        }
        words.push(action);
        let command = Command {
            program: Path::new("/bin").join(SHIM),
            argv: words.iter().map(OsString::from).collect(),
            env: Some(vec![
                "PATH=/bin".into(),
                "TMPDIR=/tmp".into(),
                format!("TTRPC_ADDRESS={}", event_socket().display()).into(),
            ]),
            cwd: Some(bundle),
            // Where nothing goes wrong, what it says on stderr would spoil its answer.
            fds: vec![stdin.read, stdout.write, null.unwrap_or(stdout.write)],
            ..Command::default()
        };
        let spawned = host.spawn(&command);
        close_all(host, [stdin.read, stdout.write].into_iter().chain(null));
        let given = if action == "start" { given(name, manner) } else { Vec::new() };
        let _ = write_all(host, stdin.write, &given);
        close_all(host, [stdin.write]);
        let pid = match spawned {
            Ok(pid) => pid,
            Err(error) => {
                close_all(host, [stdout.read]);
                return Err(failed(error.errno));
            }
        };
        let begun = host.now();
        Ok(Launch { name, action, manner, pid, output: stdout.read, text: Vec::new(), begun })
    }

    /// The step that this is.
    pub(crate) fn step(&self) -> Step {
        if self.action == "start" { Step::Launch(self.name) } else { Step::CleanUp(self.name) }
    }

    pub(crate) fn question(&self) -> PollFd {
        PollFd::new(self.output, Ready::READ)
    }

    /// Ends one that takes too long.
    pub(crate) fn kill<H: Host>(&self, host: &mut H) {
        let _ = host.kill(self.pid, Signal::KILL);
    }

    /// Reads on; its answer once it has ended.
    pub(crate) fn turn<H: Host>(
        &mut self,
        host: &mut H,
        answers: &[PollFd],
    ) -> Option<Result<Said, String>> {
        let is_ready = |it: &PollFd| it.fd == self.output && !it.ready.is_empty();
        if !answers.iter().any(is_ready) {
            return None;
        }
        let mut buffer = [0; 4096];
        match host.read(self.output, &mut buffer) {
            Ok(0) => {}
            Ok(count) => {
                self.text.extend_from_slice(&buffer[..count]);
                return None;
            }
            Err(Errno::EINTR) => return None,
            Err(errno) => return Some(Err(format!("read from {}: {errno}", self.action))),
        }
        close_all(host, [self.output]);
        let ended = host.wait(WaitFor::Pid(self.pid), true);
        Some(match ended {
            Ok(Some(exit)) if exit.status.success() => self.understand(),
            other => {
                let text = String::from_utf8_lossy(&self.text);
                Err(format!("{} of {} ended with {other:?}: {text}", self.action, self.name))
            }
        })
    }

    fn understand(&self) -> Result<Said, String> {
        let wrong = |error: &dyn std::fmt::Display| {
            format!("{} says {:?}: {error}", self.action, String::from_utf8_lossy(&self.text))
        };
        if self.action == "delete" {
            let response =
                DeleteResponse::parse_from_bytes(&self.text).map_err(|error| wrong(&error))?;
            return Ok(Said::Deleted(exit(response.exit_status, response.exited_at.as_ref())));
        }
        if self.manner == Manner::Messages {
            let result =
                BootstrapResult::parse_from_bytes(&self.text).map_err(|error| wrong(&error))?;
            if (result.version, result.protocol.as_str()) != (3, "ttrpc") {
                return Err(wrong(&"not version 3 of ttrpc"));
            }
            return Ok(Said::Address(result.address));
        }
        let text = String::from_utf8(self.text.clone()).map_err(|error| wrong(&error))?;
        if text.starts_with("unix:///") {
            Ok(Said::Address(text))
        } else {
            Err(wrong(&"no address"))
        }
    }
}

/// What `start` gets on stdin.
fn given(name: Name, manner: Manner) -> Vec<u8> {
    if manner == Manner::Plain {
        return options().write_to_bytes().unwrap_or_default();
    }
    let options = MessageField::some(options());
    let params = BootstrapParams {
        instance_id: name.to_owned(),
        namespace: NAMESPACE.to_owned(),
        containerd_ttrpc_address: event_socket().to_string_lossy().into_owned(),
        containerd_grpc_address: "/w/c.sock".to_owned(),
        containerd_binary: "/bin/actor".to_owned(),
        extensions: vec![Extension { value: options, ..Extension::default() }],
        socket_dir: Some(socket_dir().to_string_lossy().into_owned()),
        ..BootstrapParams::default()
    };
    params.write_to_bytes().unwrap_or_default()
}
