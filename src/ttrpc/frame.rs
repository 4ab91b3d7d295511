//! Frames: a header of ten bytes, and a body.

use serde::{Deserialize, Serialize};

/// Bytes of a header: length of the body, stream, both big-endian, then kind and flags.
pub const HEADER_LEN: usize = 10;
/// Most bytes of a body, as containerd's ttrpc has it.
pub const BODY_MAX: usize = 4 * 1024 * 1024;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kind(pub u8);

impl Kind {
    /// A call.
    pub const REQUEST: Kind = Kind(1);
    /// Its answer.
    pub const RESPONSE: Kind = Kind(2);
    /// A part of a longer exchange, which no service here has.
    pub const DATA: Kind = Kind(3);
}

/// One frame. Unary calls have no flags, so none are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// The call that it belongs to.
    pub stream: u32,
    /// A protobuf message.
    pub body: Vec<u8>,
}

/// What the bytes of a connection come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A frame.
    Frame(Frame),
    /// A frame that is too long. Its body is gone.
    Oversize {
        /// The call that it belongs to.
        stream: u32,
        /// Bytes of its body.
        len: u32,
    },
}

/// Makes frames of bytes that come in any pieces. Between frames it holds no memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoder {
    part: Part,
}

/// The part of a frame that is being read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    Header { seen: Vec<u8> },
    Body { header: Header, seen: Vec<u8> },
    Discarded { header: Header, left: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    len: u32,
    stream: u32,
    kind: Kind,
    flags: u8,
}

impl Header {
    fn decode(bytes: [u8; HEADER_LEN]) -> Header {
        let [l0, l1, l2, l3, s0, s1, s2, s3, kind, flags] = bytes;
        Header {
            len: u32::from_be_bytes([l0, l1, l2, l3]),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            kind: Kind(kind),
            flags,
        }
    }

    fn body_len(self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }

    fn is_oversize(self) -> bool {
        self.body_len() > BODY_MAX
    }
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { part: Part::Header { seen: Vec::new() } }
    }
}

impl Decoder {
    /// Takes bytes off the front of `bytes` up to the end of a frame, which it gives; `None` when
    /// all were taken and the frame has not ended.
    ///
    /// Memory grows with the bytes that came, not with those that a header promises.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Option<Decoded> {
        loop {
            match &mut self.part {
                Part::Header { seen } => {
                    fill(seen, HEADER_LEN, bytes);
                    let header = Header::decode(seen.as_slice().try_into().ok()?);
                    self.part = if header.is_oversize() {
                        Part::Discarded { header, left: header.len }
                    } else {
                        Part::Body { header, seen: Vec::new() }
                    };
                }
                Part::Body { header, seen } => {
                    fill(seen, header.body_len(), bytes);
                    if seen.len() < header.body_len() {
                        return None;
                    }
                    let (kind, stream) = (header.kind, header.stream);
                    let body = std::mem::take(seen);
                    *self = Decoder::default();
                    return Some(Decoded::Frame(Frame { kind, stream, body }));
                }
                Part::Discarded { header, left } => {
                    let here = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(*left);
                    *bytes = bytes.get(here as usize..).unwrap_or_default();
                    *left -= here;
                    if *left > 0 {
                        return None;
                    }
                    let (stream, len) = (header.stream, header.len);
                    *self = Decoder::default();
                    return Some(Decoded::Oversize { stream, len });
                }
            }
        }
    }
}

/// Moves bytes from the front of `bytes` to the end of `seen`, until that one has `len`.
fn fill(seen: &mut Vec<u8>, len: usize, bytes: &mut &[u8]) {
    let missing = len.saturating_sub(seen.len()).min(bytes.len());
    let (here, rest) = bytes.split_at(missing);
    seen.extend_from_slice(here);
    *bytes = rest;
}

/// Appends a frame to `bytes`. Nothing is appended, and the answer is no, if the body is too long.
#[must_use]
pub(super) fn encode(kind: Kind, stream: u32, body: &[u8], bytes: &mut Vec<u8>) -> bool {
    let len = match u32::try_from(body.len()) {
        Ok(len) if body.len() <= BODY_MAX => len,
        _ => return false,
    };
    bytes.reserve(HEADER_LEN + body.len());
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(&[kind.0, 0]);
    bytes.extend_from_slice(body);
    true
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let frame = (any::<u8>(), any::<u32>(), vec(any::<u8>(), 0..60));
        let frame = frame.prop_map(|(kind, stream, body)| Frame { kind: Kind(kind), stream, body });
        vec(frame, 0..8)
    }

    fn encoded(frames: &[Frame]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            assert!(encode(frame.kind, frame.stream, &frame.body, &mut bytes));
        }
        bytes
    }

    fn decode_all(decoder: &mut Decoder, mut bytes: &[u8]) -> Vec<Decoded> {
        let decoded = std::iter::from_fn(|| decoder.take(&mut bytes)).collect();
        assert_eq!(bytes, b"", "bytes were left");
        decoded
    }

    /// Bytes that a decoder holds.
    fn held(decoder: &Decoder) -> usize {
        match &decoder.part {
            Part::Header { seen } | Part::Body { seen, .. } => seen.capacity(),
            Part::Discarded { .. } => 0,
        }
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_their_bytes_are_split(
            frames in frames(),
            pieces in vec(1_usize..20, 1..40),
        ) {
            let bytes = encoded(&frames);
            let (mut decoder, mut decoded, mut rest) = (Decoder::default(), Vec::new(), &bytes[..]);
            for piece in pieces.iter().cycle() {
                let (here, after) = rest.split_at((*piece).min(rest.len()));
                decoded.extend(decode_all(&mut decoder, here));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let frames: Vec<_> = frames.into_iter().map(Decoded::Frame).collect();
            prop_assert_eq!(decoded, frames);
            prop_assert_eq!(held(&decoder), 0);
        }

        #[test]
        fn no_bytes_make_a_decoder_hold_more_than_came(bytes in vec(any::<u8>(), 0..4000)) {
            let mut decoder = Decoder::default();
            decode_all(&mut decoder, &bytes);
            prop_assert!(held(&decoder) <= 2 * bytes.len().max(8));
        }
    }

    #[test]
    fn a_header_is_length_stream_kind_and_flags() {
        let mut bytes = Vec::new();
        assert!(encode(Kind::RESPONSE, 0x0102_0304, b"body!", &mut bytes));
        assert_eq!(bytes, *b"\0\0\0\x05\x01\x02\x03\x04\x02\0body!");
    }

    #[test]
    fn a_body_of_exactly_the_limit_passes() {
        let frame = Frame { kind: Kind::REQUEST, stream: 1, body: vec![7; BODY_MAX] };
        let bytes = encoded(std::slice::from_ref(&frame));
        let mut decoder = Decoder::default();
        assert_eq!(decode_all(&mut decoder, &bytes), [Decoded::Frame(frame)]);
        assert_eq!(held(&decoder), 0);
        let mut none = Vec::new();
        assert!(!encode(Kind::REQUEST, 1, &vec![7; BODY_MAX + 1], &mut none));
        assert!(none.is_empty());
    }

    #[test]
    fn a_longer_body_is_passed_over_and_never_held() {
        let len = u32::try_from(BODY_MAX + 1).unwrap();
        let mut bytes = [&len.to_be_bytes()[..], &[0, 0, 0, 9, 1, 0]].concat();
        let mut decoder = Decoder::default();
        assert_eq!(decode_all(&mut decoder, &bytes), []);
        bytes = vec![0xff; BODY_MAX];
        assert_eq!(decode_all(&mut decoder, &bytes), []);
        assert_eq!(held(&decoder), 0);
        let next = Frame { kind: Kind::REQUEST, stream: 11, body: b"next".to_vec() };
        bytes = [&[0xff][..], &encoded(std::slice::from_ref(&next))].concat();
        let oversize = Decoded::Oversize { stream: 9, len };
        assert_eq!(decode_all(&mut decoder, &bytes), [oversize, Decoded::Frame(next)]);
    }
}
