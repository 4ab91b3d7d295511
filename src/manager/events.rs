//! The daemon's end of a shim's events.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::shim::events::ForwardRequest;

use crate::Error;
use crate::host::{Errno, Fd, Host, PollFd, Ready, close_all};
use crate::ttrpc::{Connection, Incoming, Status};

/// The service that shims send their events to.
pub const EVENTS: &str = "containerd.services.events.ttrpc.v1.Events";
const BACKLOG: u32 = 128;

/// A server for the Events service, on a socket as containerd has one for its shims. Whoever makes
/// one closes it.
#[derive(Clone, Debug)]
pub struct EventReceiver {
    path: PathBuf,
    listener: Fd,
    connections: BTreeMap<Fd, Connection>,
    /// What the next events are answered with instead of being taken.
    refusal: Option<Status>,
}

/// An event that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedEvent {
    /// When it happened, since the start of 1970.
    pub time: Duration,
    /// The namespace of containerd.
    pub namespace: String,
    /// As `/tasks/exit`.
    pub topic: String,
    /// What message it is, as `containerd.events.TaskExit`.
    pub type_url: String,
    /// The encoded message.
    pub message: Vec<u8>,
}

impl EventReceiver {
    /// Listens at `path`, which has to be free.
    ///
    /// # Errors
    /// `socket(2)`, `bind(2)` or `listen(2)` failed.
    pub fn listen<H: Host>(host: &mut H, path: &Path) -> Result<EventReceiver, Error> {
        let failed = |call: &str, errno| Error::system(call, path.display(), errno);
        let listener = host.socket().map_err(|errno| failed("socket", errno))?;
        let listening = host
            .bind(listener, path)
            .map_err(|errno| failed("bind", errno))
            .and_then(|()| host.listen(listener, BACKLOG).map_err(|errno| failed("listen", errno)))
            .and_then(|()| {
                host.set_nonblocking(listener, true).map_err(|errno| failed("fcntl", errno))
            });
        if let Err(error) = listening {
            let _ = host.close(listener);
            return Err(error);
        }
        let path = path.to_owned();
        Ok(EventReceiver { path, listener, connections: BTreeMap::new(), refusal: None })
    }

    /// From now on events are refused with this status; `None` takes them again.
    pub fn refuse(&mut self, status: Option<Status>) {
        self.refusal = status;
    }

    /// How many shims are connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Adds what it waits for.
    pub fn ask(&self, questions: &mut Vec<PollFd>) {
        questions.push(PollFd::new(self.listener, Ready::READ));
        for (fd, connection) in &self.connections {
            let mut interest = Ready::empty();
            interest.set(Ready::READ, connection.wants_to_receive());
            interest.set(Ready::WRITE, connection.wants_to_send());
            questions.push(PollFd::new(*fd, interest));
        }
    }

    /// Does what can be done without waiting, and gives the events that came.
    pub fn turn<H: Host>(&mut self, host: &mut H, answers: &[PollFd]) -> Vec<ReceivedEvent> {
        let mut events = Vec::new();
        self.turn_noting(host, answers, &mut |event| events.push(event));
        events
    }

    /// The same for those who may die at any moment: an event is noted before it is answered, and so
    /// before its sender forgets it.
    pub fn turn_noting<H: Host>(
        &mut self,
        host: &mut H,
        answers: &[PollFd],
        note: &mut dyn FnMut(ReceivedEvent),
    ) {
        for answer in answers.iter().filter(|answer| !answer.ready.is_empty()) {
            if answer.fd == self.listener {
                self.accept(host);
            } else if self.connections.contains_key(&answer.fd) {
                self.serve(host, answer.fd, note);
            }
        }
    }

    fn accept<H: Host>(&mut self, host: &mut H) {
        // Whoever could not be accepted is asked about again by the next poll, or is gone.
        while let Ok(fd) = host.accept(self.listener) {
            if host.set_nonblocking(fd, true).is_ok() {
                self.connections.insert(fd, Connection::new());
            } else {
                let _ = host.close(fd);
            }
        }
    }

    fn serve<H: Host>(&mut self, host: &mut H, fd: Fd, note: &mut dyn FnMut(ReceivedEvent)) {
        let Some(connection) = self.connections.get_mut(&fd) else { return };
        let there = receive(host, fd, connection, self.refusal.as_ref(), note)
            && send(host, fd, connection);
        if !there {
            self.connections.remove(&fd);
            let _ = host.close(fd);
        }
    }

    /// Closes all connections, but goes on listening.
    pub fn hang_up<H: Host>(&mut self, host: &mut H) {
        close_all(host, std::mem::take(&mut self.connections).into_keys());
    }

    /// Closes everything, and removes the socket.
    pub fn close<H: Host>(mut self, host: &mut H) {
        self.hang_up(host);
        let _ = host.close(self.listener);
        let _ = host.unlink(&self.path);
    }
}

/// Reads what is there; no says that the connection is over.
fn receive<H: Host>(
    host: &mut H,
    fd: Fd,
    connection: &mut Connection,
    refusal: Option<&Status>,
    note: &mut dyn FnMut(ReceivedEvent),
) -> bool {
    let mut buffer = [0; 16 * 1024];
    while connection.wants_to_receive() {
        let count = match host.read(fd, &mut buffer) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(Errno::EAGAIN) => break,
            Err(Errno::EINTR) => continue,
            Err(_) => return false,
        };
        for call in connection.feed(buffer.get(..count).unwrap_or_default()) {
            let result = match refusal {
                Some(status) => Err(status.clone()),
                None => event(&call),
            };
            // The answer is an Empty, which has no bytes.
            connection.reply(
                call.stream,
                result.map(|event| {
                    note(event);
                    Vec::new()
                }),
            );
        }
    }
    !connection.is_broken()
}

fn send<H: Host>(host: &mut H, fd: Fd, connection: &mut Connection) -> bool {
    while connection.wants_to_send() {
        match host.send(fd, connection.outgoing(), &[]) {
            Ok(count) => connection.sent(count),
            Err(Errno::EAGAIN) => break,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
    true
}

fn event(call: &Incoming) -> Result<ReceivedEvent, Status> {
    if call.service != EVENTS {
        return Err(Status::no_service(&call.service));
    }
    if call.method != "Forward" {
        return Err(Status::no_method(&call.method));
    }
    let request = ForwardRequest::parse_from_bytes(&call.payload).map_err(Status::bad_payload)?;
    let envelope = request.envelope.unwrap_or_default();
    let time = envelope.timestamp.unwrap_or_default();
    let event = envelope.event.unwrap_or_default();
    Ok(ReceivedEvent {
        time: Duration::new(
            u64::try_from(time.seconds).unwrap_or_default(),
            u32::try_from(time.nanos).unwrap_or_default(),
        ),
        namespace: envelope.namespace,
        topic: envelope.topic,
        type_url: event.type_url,
        message: event.value,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::host::LinuxHost;
    use crate::ttrpc::Client;

    /// What a receiver answers to one call, and what it took.
    fn ask(service: &str, method: &str, payload: &[u8]) -> (Result<Vec<u8>, Status>, usize) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let mut host = LinuxHost::new();
        let mut receiver = EventReceiver::listen(&mut host, &path).unwrap();
        let (mut client, shim) = (Client::new(), host.socket().unwrap());
        host.connect(shim, &path).unwrap();
        client.call(service, method, payload.to_vec(), None, &[]).unwrap();
        host.send(shim, client.outgoing(), &[]).unwrap();
        let mut taken = 0;
        for _ in 0..2 {
            let mut questions = Vec::new();
            receiver.ask(&mut questions);
            host.poll(&mut questions, Some(Duration::ZERO)).unwrap();
            taken += receiver.turn(&mut host, &questions).len();
        }
        let mut buffer = [0; 4096];
        let count = host.read(shim, &mut buffer).unwrap();
        let (_, result) = client.feed(&buffer[..count]).remove(0);
        assert_eq!(receiver.connections(), 1);
        host.close(shim).unwrap();
        receiver.close(&mut host);
        assert_eq!(host.stat(&path), Err(Errno::ENOENT));
        (result, taken)
    }

    #[rstest]
    #[case(EVENTS, "Forward", b"", Ok(Vec::new()))]
    #[case(EVENTS, "Publish", b"", Err(Status::no_method("Publish")))]
    #[case("other", "Forward", b"", Err(Status::no_service("other")))]
    #[case(EVENTS, "Forward", b"\xff", Err(Status::bad_payload("Unexpected EOF")))]
    fn only_an_event_is_taken(
        #[case] service: &str,
        #[case] method: &str,
        #[case] payload: &[u8],
        #[case] expected: Result<Vec<u8>, Status>,
    ) {
        let (result, taken) = ask(service, method, payload);
        let fine = expected.is_ok();
        assert_eq!(result, expected);
        assert_eq!(taken, usize::from(fine));
    }

    #[test]
    fn a_path_that_is_taken_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = EventReceiver::listen(&mut LinuxHost::new(), directory.path()).unwrap_err();
        let path = directory.path().display().to_string();
        assert_eq!(error, Error::system("bind", path, Errno::EADDRINUSE));
    }
}
