//! The client's side of one connection.

use std::collections::BTreeSet;
use std::time::Duration;

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc as wire;
use serde::{Deserialize, Serialize};

use super::frame::{Decoded, Decoder, Frame, Kind};
use super::outbox::Outbox;
use super::status::{Code, Status};

/// One connection with a server: which calls wait for an answer, and what is to be sent. Idle, it
/// holds no memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    decoder: Decoder,
    outbox: Outbox,
    waiting: BTreeSet<u32>,
    next_stream: u32,
}

impl Default for Client {
    fn default() -> Client {
        Client {
            decoder: Decoder::default(),
            outbox: Outbox::default(),
            waiting: BTreeSet::new(),
            next_stream: 1,
        }
    }
}

impl Client {
    /// A connection on which nothing has happened.
    #[must_use]
    pub fn new() -> Client {
        Client::default()
    }

    /// Begins a call, and gives its number. The timeout is told to the server; nothing here has a
    /// clock.
    ///
    /// # Errors
    /// `ResourceExhausted`: the request is too long, or there were two thousand million calls.
    /// Nothing is sent then.
    pub fn call(
        &mut self,
        service: &str,
        method: &str,
        payload: Vec<u8>,
        timeout: Option<Duration>,
        metadata: &[(&str, &str)],
    ) -> Result<u32, Status> {
        let stream = self.next_stream;
        let after = stream.checked_add(2).ok_or_else(|| {
            Status::new(Code::ResourceExhausted, "this connection has no more numbers for calls")
        })?;
        let pair = |(key, value): &(&str, &str)| wire::proto::KeyValue {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            ..wire::proto::KeyValue::default()
        };
        let nanos = timeout.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
        let request = wire::Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload,
            timeout_nano: nanos,
            metadata: metadata.iter().map(pair).collect(),
            ..wire::Request::default()
        };
        let body = request.write_to_bytes().map_err(Status::internal)?;
        if !self.outbox.push(Kind::REQUEST, stream, &body) {
            return Err(Status::oversize(body.len()));
        }
        self.next_stream = after;
        self.waiting.insert(stream);
        Ok(stream)
    }

    /// Takes bytes from the server, and gives the calls that they end. Frames for calls that do not
    /// wait are passed over.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Vec<(u32, Result<Vec<u8>, Status>)> {
        let mut ended = Vec::new();
        while let Some(decoded) = self.decoder.take(&mut bytes) {
            let (stream, result) = match decoded {
                Decoded::Frame(Frame { kind: Kind::RESPONSE, stream, body }) => {
                    (stream, result(&body))
                }
                Decoded::Frame(_) => continue,
                Decoded::Oversize { stream, len } => (stream, Err(Status::oversize(len))),
            };
            if self.waiting.remove(&stream) {
                ended.push((stream, result));
            }
        }
        ended
    }

    /// Whether a call waits for its answer.
    #[must_use]
    pub fn is_waiting(&self, stream: u32) -> bool {
        self.waiting.contains(&stream)
    }

    /// Gives up waiting for a call; an answer that still comes is passed over.
    pub fn forget(&mut self, stream: u32) {
        self.waiting.remove(&stream);
    }

    /// What is to be sent to the server next.
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        self.outbox.rest()
    }

    /// The first `count` bytes of [`Client::outgoing`] are sent.
    pub fn sent(&mut self, count: usize) {
        self.outbox.sent(count);
    }

    /// Whether there is something to send.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        !self.outbox.is_empty()
    }
}

fn result(body: &[u8]) -> Result<Vec<u8>, Status> {
    let mut response = wire::Response::parse_from_bytes(body).map_err(|error| {
        Status::internal(format_args!("ttrpc: error unmarshalling response: {error}"))
    })?;
    match response.status.take().and_then(Status::from_wire) {
        Some(status) => Err(status),
        None => Ok(response.payload),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::{BODY_MAX, Connection, Incoming};
    use super::*;

    fn send(client: &mut Client, server: &mut Connection) -> Vec<Incoming> {
        let bytes = client.outgoing().to_vec();
        client.sent(bytes.len());
        server.feed(&bytes)
    }

    fn receive(
        server: &mut Connection,
        client: &mut Client,
    ) -> Vec<(u32, Result<Vec<u8>, Status>)> {
        let bytes = server.outgoing().to_vec();
        server.sent(bytes.len());
        client.feed(&bytes)
    }

    #[test]
    fn a_call_arrives_as_it_was_made_and_so_does_its_answer() {
        let (mut client, mut server) = (Client::new(), Connection::new());
        let timeout = Some(Duration::from_secs(5));
        let pairs = [("containerd-namespace-ttrpc", "moby"), ("traceparent", "00-1")];
        let stream = client.call("a.Task", "State", b"id".to_vec(), timeout, &pairs).unwrap();
        let calls = send(&mut client, &mut server);
        let [call] = &calls[..] else { panic!("{calls:?}") };
        assert_eq!(
            (call.stream, call.service.as_str(), call.method.as_str()),
            (1, "a.Task", "State")
        );
        assert_eq!((&call.payload[..], call.timeout), (&b"id"[..], timeout));
        let told = call.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        assert!(told.eq(pairs));
        server.reply(stream, Ok(b"running".to_vec()));
        assert_eq!(receive(&mut server, &mut client), [(stream, Ok(b"running".to_vec()))]);
        assert!(!client.is_waiting(stream));
    }

    #[test]
    fn answers_in_any_order_find_their_calls() {
        let (mut client, mut server) = (Client::new(), Connection::new());
        let mut call = || client.call("s", "m", Vec::new(), None, &[]).unwrap();
        let (wait, kill, gone) = (call(), call(), call());
        assert_eq!((wait, kill, gone), (1, 3, 5));
        client.forget(gone);
        assert_eq!(send(&mut client, &mut server).len(), 3);
        server.reply(kill, Err(Status::not_found("process already finished")));
        server.reply(gone, Ok(Vec::new()));
        server.reply(wait, Ok(Vec::new()));
        let ended = receive(&mut server, &mut client);
        let not_found = Status::not_found("process already finished");
        assert_eq!(ended, [(kill, Err(not_found)), (wait, Ok(Vec::new()))]);
    }

    #[test]
    fn a_request_that_is_too_long_is_not_sent() {
        let mut client = Client::new();
        let payload = vec![0; BODY_MAX];
        let status = client.call("s", "m", payload, None, &[]).unwrap_err();
        let expected = "message length 4194315 exceed maximum message size of 4194304";
        assert_eq!(status.message, expected);
        assert!(!client.wants_to_send());
        assert_eq!(client.call("s", "m", Vec::new(), None, &[]), Ok(1));
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_client_panic(bytes in vec(any::<u8>(), 0..400)) {
            let mut client = Client::new();
            let stream = client.call("s", "m", Vec::new(), None, &[]).unwrap();
            client.feed(&bytes);
            let mut framed = Vec::new();
            let mut client = Client::new();
            client.call("s", "m", Vec::new(), None, &[]).unwrap();
            prop_assert!(super::super::frame::encode(Kind::RESPONSE, stream, &bytes, &mut framed));
            let ended = client.feed(&framed);
            prop_assert_eq!(ended.len(), 1);
        }
    }
}
