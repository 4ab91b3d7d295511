//! Calling a shim's services, as the daemon does.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use containerd_shim_protos::protobuf::Message;

use crate::Error;
use crate::host::{Errno, Fd, Host, PollFd, Ready};
use crate::ttrpc::{Client, Status};

/// The service of containerd 1.6 and 1.7, and the default.
pub const TASK_V2: &str = "containerd.task.v2.Task";
/// The same service under the name that containerd 2 prefers.
pub const TASK_V3: &str = "containerd.task.v3.Task";

/// A connection with a shim's Task service. Whoever makes one closes it.
#[derive(Clone, Debug)]
pub struct TaskClient {
    fd: Fd,
    address: PathBuf,
    client: Client,
    service: String,
    timeout: Option<Duration>,
    metadata: Vec<(String, String)>,
    /// Answers that nobody has taken yet.
    answers: VecDeque<Answer>,
}

/// The end of one call: its number, and the message or the failure.
pub type Answer = (u32, Result<Vec<u8>, Status>);

/// Why a call did not give a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The shim says so, or the time is over.
    Status(Status),
    /// The connection is gone, or what came over it is no answer.
    Connection(Error),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Status(status) => status.fmt(f),
            CallError::Connection(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CallError {}

impl From<Status> for CallError {
    fn from(status: Status) -> CallError {
        CallError::Status(status)
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> CallError {
        CallError::Connection(error)
    }
}

impl CallError {
    /// What the shim said, if it was the shim.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        match self {
            CallError::Status(status) => Some(status),
            CallError::Connection(_) => None,
        }
    }
}

impl TaskClient {
    /// Connects with the shim at `address`, a path with or without `unix://`.
    ///
    /// # Errors
    /// `socket(2)` or `connect(2)` failed.
    pub fn connect<H: Host>(host: &mut H, address: &str) -> Result<TaskClient, Error> {
        let path = PathBuf::from(address.strip_prefix("unix://").unwrap_or(address));
        let failed = |call: &str, errno| Error::system(call, path.display(), errno);
        let fd = host.socket().map_err(|errno| failed("socket", errno))?;
        let connected = host
            .connect(fd, &path)
            .map_err(|errno| failed("connect", errno))
            .and_then(|()| host.set_nonblocking(fd, true).map_err(|errno| failed("fcntl", errno)));
        if let Err(error) = connected {
            let _ = host.close(fd);
            return Err(error);
        }
        Ok(TaskClient {
            fd,
            address: path,
            client: Client::new(),
            service: TASK_V2.to_owned(),
            timeout: None,
            metadata: Vec::new(),
            answers: VecDeque::new(),
        })
    }

    /// From now on calls go to this service, as [`TASK_V3`].
    #[must_use]
    pub fn service(mut self, name: &str) -> TaskClient {
        name.clone_into(&mut self.service);
        self
    }

    /// From now on this is told to the shim with every call, and [`TaskClient::call`] waits no
    /// longer. Without it, calls wait for ever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// From now on every call carries this key and value too.
    pub fn add_metadata(&mut self, key: &str, value: &str) {
        self.metadata.push((key.to_owned(), value.to_owned()));
    }

    /// Calls a method, and waits for its answer. Answers of other calls that come meanwhile are
    /// kept for [`TaskClient::receive`].
    ///
    /// # Errors
    /// The shim's; `DeadlineExceeded` when the timeout is over; or the connection is gone.
    pub fn call<H: Host, Q: Message, A: Message>(
        &mut self,
        host: &mut H,
        method: &str,
        request: &Q,
    ) -> Result<A, CallError> {
        let stream = self.send(host, method, request)?;
        let until = self.timeout.map(|timeout| host.now() + timeout);
        let payload = loop {
            if let Some(result) = self.take(stream) {
                break result?;
            }
            if !self.wait(host, until)? {
                self.client.forget(stream);
                return Err(Status::deadline_exceeded().into());
            }
        };
        A::parse_from_bytes(&payload)
            .map_err(|error| Error::invalid(format_args!("answer of {method}"), error).into())
    }

    /// Begins a call, and gives its number. What cannot be sent without waiting is sent by what
    /// comes next.
    ///
    /// # Errors
    /// The request is too long, or the connection is gone.
    pub fn send<H: Host, Q: Message>(
        &mut self,
        host: &mut H,
        method: &str,
        request: &Q,
    ) -> Result<u32, CallError> {
        let payload = request
            .write_to_bytes()
            .map_err(|error| Error::invalid(format_args!("request of {method}"), error))?;
        let metadata: Vec<_> =
            self.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let stream = self.client.call(&self.service, method, payload, self.timeout, &metadata)?;
        self.flush(host)?;
        Ok(stream)
    }

    /// Waits for an answer, of whichever call, and takes it. For ever, if none is open.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn receive<H: Host>(&mut self, host: &mut H) -> Result<Answer, Error> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Ok(answer);
            }
            self.wait(host, None)?;
        }
    }

    /// Whether the answer of a call has come.
    #[must_use]
    pub fn has_answer(&self, stream: u32) -> bool {
        self.answers.iter().any(|(answered, _)| *answered == stream)
    }

    /// Takes the answer of a call, if it has come.
    pub fn take(&mut self, stream: u32) -> Option<Result<Vec<u8>, Status>> {
        let place = self.answers.iter().position(|(answered, _)| *answered == stream)?;
        self.answers.remove(place).map(|(_, result)| result)
    }

    /// The descriptor to be polled, with [`TaskClient::question`], before a turn.
    #[must_use]
    pub fn fd(&self) -> Fd {
        self.fd
    }

    /// What it waits for.
    #[must_use]
    pub fn question(&self) -> PollFd {
        let mut interest = Ready::READ;
        interest.set(Ready::WRITE, self.client.wants_to_send());
        PollFd::new(self.fd, interest)
    }

    /// Sends and receives what can be without waiting, but reads no further once there is an
    /// answer: it may be the last one before the end of the connection.
    ///
    /// # Errors
    /// The connection is gone; answers that came before are still there to be taken.
    pub fn turn<H: Host>(&mut self, host: &mut H) -> Result<(), Error> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match host.read(self.fd, &mut buffer) {
                Ok(0) => return Err(self.failed("read", Errno::ECONNRESET)),
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    let ended = self.client.feed(bytes);
                    if !ended.is_empty() {
                        self.answers.extend(ended);
                        return Ok(());
                    }
                }
                Err(Errno::EAGAIN) => return self.flush(host),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.failed("read", errno)),
            }
        }
    }

    /// Waits until something is ready, and has a turn; no says that the time was over before.
    fn wait<H: Host>(&mut self, host: &mut H, until: Option<Duration>) -> Result<bool, Error> {
        let left = until.map(|until| until.saturating_sub(host.now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(false);
        }
        match host.poll(&mut [self.question()], left) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(self.failed("poll", errno)),
        }
        self.turn(host).map(|()| true)
    }

    fn flush<H: Host>(&mut self, host: &mut H) -> Result<(), Error> {
        while self.client.wants_to_send() {
            match host.send(self.fd, self.client.outgoing(), &[]) {
                Ok(count) => self.client.sent(count),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.failed("send", errno)),
            }
        }
        Ok(())
    }

    fn failed(&self, call: &str, errno: Errno) -> Error {
        Error::system(call, self.address.display(), errno)
    }

    /// Closes the connection. Calls that are open end without an answer.
    pub fn close<H: Host>(self, host: &mut H) {
        let _ = host.close(self.fd);
    }
}

#[cfg(test)]
mod tests;
