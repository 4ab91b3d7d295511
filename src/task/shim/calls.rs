//! Who is connected, and which of their calls are not answered yet.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::host::{Errno, Fd, Host, Mark, PollFd, Ready, User, close_all};
use crate::ttrpc::{Connection, Incoming, Status};

/// Most bytes read by one call.
const CHUNK: usize = 4096;
/// Most calls of `read(2)` for one connection in one turn, so that none keeps others waiting.
const READS_PER_TURN: usize = 16;
/// How long to wait for a descriptor when there is none to accept a connection with.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A call that somebody made, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct CallId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
struct PeerId(u64);

/// The socket, its connections, and their calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Server {
    listener: Fd,
    /// Only who is the same user may connect.
    user: User,
    peers: BTreeMap<PeerId, Peer>,
    calls: BTreeMap<CallId, Call>,
    next: u64,
    /// No connection can be taken before then: there was no descriptor for it.
    rests_until: Option<Duration>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Peer {
    fd: Fd,
    connection: Connection,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Call {
    peer: PeerId,
    stream: u32,
    deadline: Option<Duration>,
}

impl Server {
    /// Serves at a socket that listens already.
    pub(super) fn new(listener: Fd, user: User) -> Server {
        let (peers, calls) = (BTreeMap::new(), BTreeMap::new());
        Server { listener, user, peers, calls, next: 1, rests_until: None }
    }

    /// Whether anybody is connected.
    pub(super) fn has_peers(&self) -> bool {
        !self.peers.is_empty()
    }

    /// Adds what must be waited for.
    pub(super) fn ask(&self, questions: &mut Vec<PollFd>) {
        if self.rests_until.is_none() {
            questions.push(PollFd::new(self.listener, Ready::READ));
        }
        for peer in self.peers.values() {
            let mut interest = Ready::empty();
            interest.set(Ready::READ, peer.connection.wants_to_receive());
            interest.set(Ready::WRITE, peer.connection.wants_to_send());
            questions.push(PollFd::new(peer.fd, interest));
        }
    }

    /// When a call's deadline comes, or a connection can be taken again.
    pub(super) fn due(&self) -> Option<Duration> {
        let deadlines = self.calls.values().filter_map(|call| call.deadline);
        deadlines.chain(self.rests_until).min()
    }

    /// Takes connections, reads and writes what is ready; gives the calls that have come.
    pub(super) fn turn<H: Host>(
        &mut self,
        host: &mut H,
        answers: &[PollFd],
        now: Duration,
        troubles: &mut Vec<Error>,
    ) -> Vec<(CallId, Incoming)> {
        self.expire(now);
        let mut came = Vec::new();
        let ready: Vec<PeerId> = self
            .peers
            .iter()
            .filter_map(|(id, peer)| {
                let answer = answers.iter().find(|answer| answer.fd == peer.fd)?;
                (!answer.ready.is_empty()).then_some(*id)
            })
            .collect();
        for id in ready {
            for incoming in self.read(host, id) {
                let call = self.note(id, &incoming, now);
                came.push((call, incoming));
            }
            self.flush(host, id);
        }
        let knocked =
            answers.iter().any(|answer| answer.fd == self.listener && !answer.ready.is_empty());
        if knocked || self.rests_until.is_some_and(|until| until <= now) {
            self.accept(host, now, troubles);
        }
        came
    }

    fn expire(&mut self, now: Duration) {
        let is_over = |call: &Call| call.deadline.is_some_and(|deadline| deadline <= now);
        let over: Vec<CallId> =
            self.calls.iter().filter(|(_, call)| is_over(call)).map(|(id, _)| *id).collect();
        for call in over {
            self.answer(call, Err(Status::deadline_exceeded()));
        }
    }

    fn accept<H: Host>(&mut self, host: &mut H, now: Duration, troubles: &mut Vec<Error>) {
        self.rests_until = None;
        loop {
            match host.accept(self.listener) {
                Ok(fd) => self.admit(host, fd, troubles),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                Err(errno) => {
                    troubles.push(Error::system("accept", "a connection", errno));
                    host.mark(Mark::AcceptRests);
                    self.rests_until = Some(now + ACCEPT_RETRY);
                    break;
                }
            }
        }
    }

    fn admit<H: Host>(&mut self, host: &mut H, fd: Fd, troubles: &mut Vec<Error>) {
        let admitted = match host.peer(fd) {
            Ok(peer) if peer.user == self.user => host.set_nonblocking(fd, true),
            Ok(_) => Err(Errno::EPERM),
            Err(errno) => Err(errno),
        };
        match admitted {
            Ok(()) => {
                let id = PeerId(self.take_number());
                self.peers.insert(id, Peer { fd, connection: Connection::new() });
            }
            Err(errno) => {
                troubles.push(Error::system("admit", "a connection", errno));
                close_all(host, [fd]);
            }
        }
    }

    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn read<H: Host>(&mut self, host: &mut H, id: PeerId) -> Vec<Incoming> {
        let mut came = Vec::new();
        let mut buffer = [0; CHUNK];
        for _ in 0..READS_PER_TURN {
            let Some(peer) = self.peers.get_mut(&id) else { break };
            if !peer.connection.wants_to_receive() {
                break;
            }
            match host.read(peer.fd, &mut buffer) {
                Ok(0) => self.hang_up(host, id),
                Ok(count) => {
                    came.extend(peer.connection.feed(&buffer[..count]));
                    if count < CHUNK {
                        break;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => self.hang_up(host, id),
            }
        }
        came
    }

    fn note(&mut self, peer: PeerId, incoming: &Incoming, now: Duration) -> CallId {
        let id = CallId(self.take_number());
        let deadline = incoming.timeout.map(|timeout| now.saturating_add(timeout));
        if self.peers.contains_key(&peer) {
            self.calls.insert(id, Call { peer, stream: incoming.stream, deadline });
        }
        id
    }

    /// Answers a call; whose caller is gone needs no answer.
    pub(super) fn answer(&mut self, call: CallId, result: Result<Vec<u8>, Status>) {
        let Some(call) = self.calls.remove(&call) else { return };
        if let Some(peer) = self.peers.get_mut(&call.peer) {
            peer.connection.reply(call.stream, result);
        }
    }

    /// Whether somebody still waits for the answer to this call.
    pub(super) fn is_waited_for(&self, call: CallId) -> bool {
        self.calls.contains_key(&call)
    }

    /// Writes as much of the answers as the connections take.
    pub(super) fn flush_all<H: Host>(&mut self, host: &mut H) {
        let waiting: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.connection.wants_to_send() || peer.connection.is_broken())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.flush(host, id);
        }
    }

    fn flush<H: Host>(&mut self, host: &mut H, id: PeerId) {
        while let Some(peer) = self.peers.get_mut(&id) {
            if peer.connection.is_broken() {
                return self.hang_up(host, id);
            }
            if !peer.connection.wants_to_send() {
                break;
            }
            match host.send(peer.fd, peer.connection.outgoing(), &[]) {
                Ok(count) => peer.connection.sent(count),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    host.mark(Mark::AnswerBlocked);
                    break;
                }
                Err(_) => self.hang_up(host, id),
            }
        }
    }

    fn hang_up<H: Host>(&mut self, host: &mut H, id: PeerId) {
        if let Some(peer) = self.peers.remove(&id) {
            close_all(host, [peer.fd]);
        }
        self.calls.retain(|_, call| call.peer != id);
    }

    /// Whether every answer has left.
    pub(super) fn is_flushed(&self) -> bool {
        self.peers.values().all(|peer| !peer.connection.wants_to_send())
    }

    /// Closes every connection, and the socket.
    pub(super) fn close<H: Host>(&mut self, host: &mut H) {
        let peers = std::mem::take(&mut self.peers);
        close_all(host, peers.into_values().map(|peer| peer.fd).chain([self.listener]));
    }
}
