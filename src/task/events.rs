//! Events on their way to the daemon.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use serde::{Deserialize, Serialize};

use super::timestamp::timestamp;
use crate::Error;
use crate::host::{Bug, Errno, Fd, Host, Mark, PollFd, Ready};
use crate::ttrpc::{Client, Status};

const SERVICE: &str = "containerd.services.events.ttrpc.v1.Events";
const METHOD: &str = "Forward";
/// The key under which a namespace travels.
const NAMESPACE: &str = "containerd-namespace-ttrpc";
/// How long the daemon has for one event, as in containerd's own shim.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses between attempts to reach the daemon: the first, and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often an event that the daemon refuses is sent again, each time a second later than the
/// time before, as in containerd's own shim.
const REFUSALS_MAX: u32 = 5;
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);
/// Most events that wait for a daemon which is not there, as in containerd's own shim.
const QUEUE_MAX: usize = 2048;
/// Most reads in one turn.
const READS_PER_TURN: usize = 16;

/// Sends events to the daemon, one at a time and in order, each until it has arrived: a daemon
/// that restarts gets them afterwards. When the answer is lost, an event may arrive twice.
///
/// It has one connection, made when there is something to send and kept from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Publisher {
    /// `None`: nobody listens, and every event is dropped.
    address: Option<PathBuf>,
    namespace: String,
    queue: VecDeque<Event>,
    link: Option<Link>,
    /// No attempt is made before this time ([`Host::now`]).
    retry_at: Option<Duration>,
    /// How long the next pause is, should the daemon not be reached.
    pause: Duration,
    /// Whether it was told already that the daemon cannot be reached.
    told: bool,
    /// How often the daemon refused the first event of the queue.
    refusals: u32,
    /// Events that had no place, and were not told of yet.
    dropped: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Event {
    topic: String,
    /// The encoded request.
    request: Vec<u8>,
}

/// A connection with the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Link {
    fd: Fd,
    client: Client,
    /// The call for the first event of the queue.
    call: Option<Call>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Call {
    stream: u32,
    deadline: Duration,
}

impl Publisher {
    /// A publisher for the daemon's event socket, as `TTRPC_ADDRESS` names it, with or without
    /// `unix://`. Nothing is connected yet.
    #[must_use]
    pub(super) fn new(address: Option<PathBuf>, namespace: String) -> Publisher {
        let path = |address: PathBuf| match address.to_str().and_then(|a| a.strip_prefix("unix://"))
        {
            Some(path) => PathBuf::from(path),
            None => address,
        };
        Publisher {
            address: address.map(path).filter(|path| !path.as_os_str().is_empty()),
            namespace,
            queue: VecDeque::new(),
            link: None,
            retry_at: None,
            pause: PAUSE_FIRST,
            told: false,
            refusals: 0,
            dropped: 0,
        }
    }

    /// Puts an event at the end of the queue, with the time of now. `message` is the encoded message
    /// that `type_url` names, as `containerd.events.TaskExit`.
    ///
    /// When [`QUEUE_MAX`] events wait, the oldest has to go; the next turn tells of it.
    pub(super) fn publish<H: Host>(
        &mut self,
        host: &mut H,
        topic: &str,
        type_url: &str,
        message: Vec<u8>,
    ) {
        if self.address.is_none() {
            return;
        }
        let event = Any { type_url: type_url.to_owned(), value: message, ..Any::default() };
        let envelope = Envelope {
            timestamp: timestamp(Some(host.wall_clock())),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: MessageField::some(event),
            ..Envelope::default()
        };
        let request =
            ForwardRequest { envelope: MessageField::some(envelope), ..ForwardRequest::default() };
        // Writing fails only for messages with required fields, and this has none.
        let request = request.write_to_bytes().unwrap_or_default();
        if self.queue.len() >= QUEUE_MAX {
            // The first one may have arrived already.
            self.queue.remove(usize::from(self.call().is_some()));
            self.dropped += 1;
        }
        self.queue.push_back(Event { topic: topic.to_owned(), request });
    }

    /// Whether every event has arrived.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn call(&self) -> Option<Call> {
        self.link.as_ref()?.call
    }

    /// Adds what it waits for. A connection is asked for also when there is nothing to send, so
    /// that its end is seen. An answer that nobody needs yet is worth no wake-up: it is read when
    /// there is another reason for one, or when it is overdue. Whoever is `leaving` needs it.
    pub(super) fn ask(&self, questions: &mut Vec<PollFd>, leaving: bool) {
        if let Some(link) = &self.link {
            let can_wait = self.queue.len() == 1 && self.refusals == 0 && !leaving;
            let mut interest = Ready::empty();
            interest.set(Ready::READ, link.call.is_none() || !can_wait);
            interest.set(Ready::WRITE, link.client.wants_to_send());
            questions.push(PollFd::new(link.fd, interest));
        }
    }

    /// When the next turn is due whatever is ready ([`Host::now`]); zero is at once.
    #[must_use]
    pub(super) fn due(&self) -> Option<Duration> {
        match self.call() {
            Some(call) => Some(call.deadline),
            None if self.queue.is_empty() => None,
            None => Some(self.retry_at.unwrap_or(Duration::ZERO)),
        }
    }

    /// Does what can be done without waiting, and gives what is worth telling: events that are
    /// lost, and, once until it can be reached again, that the daemon cannot be reached.
    pub(super) fn turn<H: Host>(
        &mut self,
        host: &mut H,
        answers: &[PollFd],
        now: Duration,
    ) -> Vec<Error> {
        let mut errors = Vec::new();
        if self.dropped > 0 {
            let reason = format!("{} lost, since {QUEUE_MAX} wait for the daemon", self.dropped);
            errors.push(Error::invalid("events", reason));
            self.dropped = 0;
        }
        if self.call().is_some() || self.is_ready(answers) {
            self.read(host, now, &mut errors);
        }
        if self.call().is_some_and(|call| call.deadline <= now) {
            self.lose(host, "ttrpc call", Errno::ETIMEDOUT, now, &mut errors);
        }
        if self.call().is_none() && self.retry_at.is_none_or(|time| time <= now) {
            self.begin(host, now, &mut errors);
        }
        self.write(host, now, &mut errors);
        errors
    }

    fn is_ready(&self, answers: &[PollFd]) -> bool {
        let beyond_writing = |ready: Ready| !ready.difference(Ready::WRITE).is_empty();
        self.link.as_ref().is_some_and(|link| {
            answers.iter().any(|answer| answer.fd == link.fd && beyond_writing(answer.ready))
        })
    }

    /// Begins the call for the first event, on a connection that is made if there is none.
    fn begin<H: Host>(&mut self, host: &mut H, now: Duration, errors: &mut Vec<Error>) {
        let (Some(address), Some(event)) = (&self.address, self.queue.front()) else { return };
        if self.link.is_none() {
            match connect(host, address) {
                Ok(fd) => self.link = Some(Link { fd, client: Client::new(), call: None }),
                Err((call, errno)) => return self.lose(host, call, errno, now, errors),
            }
        }
        let Some(link) = &mut self.link else { return };
        let payload = event.request.clone();
        let metadata = [(NAMESPACE, self.namespace.as_str())];
        match link.client.call(SERVICE, METHOD, payload, Some(CALL_TIMEOUT), &metadata) {
            Ok(stream) => {
                let is_late = host.planted(Bug::RetriesTooLate) && self.retry_at.is_some();
                let deadline = if is_late { now } else { now + CALL_TIMEOUT };
                link.call = Some(Call { stream, deadline });
            }
            Err(status) => {
                errors.push(Error::invalid(&event.topic, format_args!("event lost: {status}")));
                self.advance();
            }
        }
    }

    fn read<H: Host>(&mut self, host: &mut H, now: Duration, errors: &mut Vec<Error>) {
        let mut buffer = [0; 1024];
        for _ in 0..READS_PER_TURN {
            let Some(link) = &mut self.link else { return };
            let count = match host.read(link.fd, &mut buffer) {
                Ok(0) => return self.lose(host, "read", Errno::ECONNRESET, now, errors),
                Ok(count) => count,
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => continue,
                Err(errno) => return self.lose(host, "read", errno, now, errors),
            };
            for (stream, result) in link.client.feed(buffer.get(..count).unwrap_or_default()) {
                if link.call.is_some_and(|call| call.stream == stream) {
                    link.call = None;
                    match result {
                        Ok(_) => self.advance(),
                        Err(status) => self.refused(host, &status, now, errors),
                    }
                    break;
                }
            }
        }
    }

    /// The first event is done with.
    fn advance(&mut self) {
        self.queue.pop_front();
        (self.retry_at, self.pause) = (None, PAUSE_FIRST);
        (self.told, self.refusals) = (false, 0);
    }

    fn refused<H: Host>(
        &mut self,
        host: &H,
        status: &Status,
        now: Duration,
        errors: &mut Vec<Error>,
    ) {
        self.refusals += 1;
        host.mark(Mark::EventRefused);
        if self.refusals <= REFUSALS_MAX && !host.planted(Bug::PublishesOnce) {
            self.retry_at = Some(now + REFUSAL_PAUSE * self.refusals);
            return;
        }
        if let Some(event) = self.queue.front() {
            host.mark(Mark::EventLost);
            let reason = format!("event lost, refused {} times: {status}", self.refusals);
            errors.push(Error::invalid(&event.topic, reason));
        }
        self.advance();
    }

    fn write<H: Host>(&mut self, host: &mut H, now: Duration, errors: &mut Vec<Error>) {
        while let Some(link) = self.link.as_mut().filter(|link| link.client.wants_to_send()) {
            match host.send(link.fd, link.client.outgoing(), &[]) {
                Ok(count) => link.client.sent(count),
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                Err(errno) => return self.lose(host, "send", errno, now, errors),
            }
        }
    }

    /// The daemon cannot be reached, or is not there any more. Between events that means nothing.
    fn lose<H: Host>(
        &mut self,
        host: &mut H,
        call: &str,
        errno: Errno,
        now: Duration,
        errors: &mut Vec<Error>,
    ) {
        let idle = self.link.as_ref().is_some_and(|link| link.call.is_none());
        let was_sending = self.call().is_some();
        self.close(host);
        if idle {
            return;
        }
        if host.planted(Bug::PublishesOnce) || (was_sending && host.planted(Bug::EventTakenUnsent))
        {
            self.queue.pop_front();
        }
        host.mark(Mark::EventRetried);
        self.retry_at = Some(now + self.pause);
        self.pause = (2 * self.pause).min(PAUSE_MAX);
        if let Some(address) = self.address.as_ref().filter(|_| !self.told) {
            errors.push(Error::system(call, address.display(), errno));
        }
        self.told = true;
    }

    /// Closes the connection, if there is one. What has not arrived stays in the queue.
    pub(super) fn close<H: Host>(&mut self, host: &mut H) {
        if let Some(link) = self.link.take() {
            // What close(2) has to say is of no use; the descriptor is gone.
            let _ = host.close(link.fd);
        }
    }
}

/// A connection that does not wait; or the call that failed, and why.
fn connect<H: Host>(host: &mut H, address: &Path) -> Result<Fd, (&'static str, Errno)> {
    let fd = host.socket().map_err(|errno| ("socket", errno))?;
    let connected = host
        .set_nonblocking(fd, true)
        .map_err(|errno| ("fcntl", errno))
        .and_then(|()| host.connect(fd, address).map_err(|errno| ("connect", errno)));
    if connected.is_err() {
        let _ = host.close(fd);
    }
    connected.map(|()| fd)
}

#[cfg(test)]
mod tests;
