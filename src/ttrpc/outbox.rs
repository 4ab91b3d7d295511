//! Bytes on their way to the peer.

use serde::{Deserialize, Serialize};

use super::frame::{Kind, encode};

/// Sent bytes are given back only from here on, and only when they are half of all: so every byte
/// is moved once at most, and small sends move none.
const GIVE_BACK: usize = 64 * 1024;

/// Frames that are to be sent. Empty, it holds no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// Adds a frame; no says that its body is too long, and nothing was added.
    #[must_use]
    pub(super) fn push(&mut self, kind: Kind, stream: u32, body: &[u8]) -> bool {
        encode(kind, stream, body, &mut self.bytes)
    }

    /// What is to be sent next.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// The first `count` bytes of [`Outbox::rest`] are sent.
    pub(super) fn sent(&mut self, count: usize) {
        self.sent = self.sent.saturating_add(count).min(self.bytes.len());
        if self.is_empty() {
            *self = Outbox::default();
        } else if self.sent >= GIVE_BACK && 2 * self.sent >= self.bytes.len() {
            self.bytes.drain(..self.sent);
            self.bytes.shrink_to_fit();
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_once_and_in_order_however_few_are_sent() {
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for stream in 0..40 {
            let body = vec![u8::try_from(stream).unwrap(); 10_000];
            assert!(outbox.push(Kind::RESPONSE, stream, &body));
            assert!(encode(Kind::RESPONSE, stream, &body, &mut expected));
        }
        let mut taken = Vec::new();
        while !outbox.is_empty() {
            let here = &outbox.rest()[..outbox.rest().len().min(977)];
            taken.extend_from_slice(here);
            let count = here.len();
            outbox.sent(count);
            assert!(outbox.bytes.len() <= 2 * outbox.rest().len() + GIVE_BACK);
        }
        assert!(taken == expected);
        assert_eq!(outbox.bytes.capacity(), 0);
    }
}
