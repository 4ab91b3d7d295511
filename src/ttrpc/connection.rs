//! The server's side of one connection.

use std::collections::BTreeSet;
use std::time::Duration;

use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::ttrpc as wire;
use serde::{Deserialize, Serialize};

use super::frame::{Decoded, Decoder, Frame, Kind};
use super::outbox::Outbox;
use super::status::{Code, Status};

/// While so many bytes wait to be sent, no more should be received: answers make more.
const PAUSE_AT: usize = 1024 * 1024;
/// Once so many bytes wait to be sent, the peer is taken for one that does not read.
const BREAK_AT: usize = 16 * 1024 * 1024;
/// Most calls that may be open at once. A `Wait` may stay open for the life of a container.
const OPEN_MAX: usize = 16 * 1024;

/// One connection with a client: which calls are open, and what is to be sent.
///
/// What a peer can make it hold is bounded: the frame that is coming in, and [`BREAK_AT`] bytes and
/// one answer that are going out. Idle, it holds no memory but the numbers of open calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    decoder: Decoder,
    outbox: Outbox,
    open: BTreeSet<u32>,
    last_stream: u32,
    broken: bool,
}

/// A call. It is open until [`Connection::reply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incoming {
    /// Its number, to be given with the reply.
    pub stream: u32,
    /// The full name of the service, as `containerd.task.v2.Task`.
    pub service: String,
    /// The name of the method alone.
    pub method: String,
    /// The request, a protobuf message.
    pub payload: Vec<u8>,
    /// How long the caller will wait, from when it called; `None` is for ever.
    pub timeout: Option<Duration>,
    /// Keys and values that came with it, in their order.
    pub metadata: Vec<(String, String)>,
}

impl Connection {
    /// A connection on which nothing has happened.
    #[must_use]
    pub fn new() -> Connection {
        Connection::default()
    }

    /// Takes bytes from the peer, and gives the calls that they complete. A frame that breaks the
    /// rules is answered here; the connection goes on.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Vec<Incoming> {
        let mut calls = Vec::new();
        while !self.broken
            && let Some(decoded) = self.decoder.take(&mut bytes)
        {
            match self.accept(decoded) {
                Ok(call) => calls.extend(call),
                Err((stream, status)) => self.answer(stream, Err(status)),
            }
        }
        calls
    }

    /// `Ok(None)` is a frame of a kind that some later ttrpc may have.
    fn accept(&mut self, decoded: Decoded) -> Result<Option<Incoming>, (u32, Status)> {
        let Frame { kind, stream, body } = match decoded {
            Decoded::Frame(frame) => frame,
            Decoded::Oversize { stream, len } => return Err((stream, Status::oversize(len))),
        };
        let refuse = |text: &str| Err((stream, Status::new(Code::InvalidArgument, text)));
        match kind {
            _ if stream % 2 == 0 => refuse("StreamID must be odd for client initiated streams"),
            // Only calls that stream have data, and there are none.
            Kind::DATA => refuse("StreamID is no longer active"),
            Kind::REQUEST if stream <= self.last_stream => {
                refuse("StreamID cannot be re-used and must increment")
            }
            Kind::REQUEST => self.open(stream, &body).map(Some).map_err(|status| (stream, status)),
            _ => Ok(None),
        }
    }

    fn open(&mut self, stream: u32, body: &[u8]) -> Result<Incoming, Status> {
        self.last_stream = stream;
        let request = wire::Request::parse_from_bytes(body).map_err(|error| {
            Status::new(Code::InvalidArgument, format_args!("unmarshal request error: {error}"))
        })?;
        if self.open.len() >= OPEN_MAX {
            let message = format_args!("{OPEN_MAX} calls are open on this connection");
            return Err(Status::new(Code::ResourceExhausted, message));
        }
        self.open.insert(stream);
        let timeout = u64::try_from(request.timeout_nano).ok().filter(|nanos| *nanos > 0);
        Ok(Incoming {
            stream,
            service: request.service,
            method: request.method,
            payload: request.payload,
            timeout: timeout.map(Duration::from_nanos),
            metadata: request.metadata.into_iter().map(|pair| (pair.key, pair.value)).collect(),
        })
    }

    /// Answers a call, and closes it. A result that is too long becomes an error of this call.
    /// A call that is not open, or was answered before, gets nothing.
    pub fn reply(&mut self, stream: u32, result: Result<Vec<u8>, Status>) {
        if self.open.remove(&stream) {
            self.answer(stream, result);
        }
    }

    fn answer(&mut self, stream: u32, result: Result<Vec<u8>, Status>) {
        if self.broken {
            return;
        }
        let body = response(result);
        if !self.outbox.push(Kind::RESPONSE, stream, &body) {
            // So is a status whose message is too long.
            let body = response(Err(Status::oversize(body.len())));
            self.broken |= !self.outbox.push(Kind::RESPONSE, stream, &body);
        }
        if self.outbox.rest().len() > BREAK_AT {
            self.broken = true;
            self.outbox = Outbox::default();
        }
    }

    /// Whether a call is open.
    #[must_use]
    pub fn is_open(&self, stream: u32) -> bool {
        self.open.contains(&stream)
    }

    /// What is to be sent to the peer next.
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        self.outbox.rest()
    }

    /// The first `count` bytes of [`Connection::outgoing`] are sent.
    pub fn sent(&mut self, count: usize) {
        self.outbox.sent(count);
    }

    /// Whether there is something to send.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Whether more bytes of the peer should be read: not while it has so many answers to take that
    /// it could make us hold ever more by asking on.
    #[must_use]
    pub fn wants_to_receive(&self) -> bool {
        !self.broken && self.outbox.rest().len() < PAUSE_AT
    }

    /// Whether the connection can only be closed: the peer asks and does not take the answers.
    /// Nothing that breaks the rules of frames leads here.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }
}

fn response(result: Result<Vec<u8>, Status>) -> Vec<u8> {
    let response = match result {
        Ok(payload) => wire::Response { payload, ..wire::Response::default() },
        Err(status) => wire::Response {
            status: MessageField::some(status.on_wire()),
            ..wire::Response::default()
        },
    };
    // Writing fails only for messages with required fields, and this has none.
    response.write_to_bytes().unwrap_or_default()
}

#[cfg(test)]
mod tests;
