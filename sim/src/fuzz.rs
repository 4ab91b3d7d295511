//! What a fuzzer's bytes mean: a run of some flow, or what comes in at a ttrpc connection.

use wavetank::ttrpc::{Client, Connection, Decoded, Decoder};

use crate::choose::Bytes;
use crate::flow::{Case, Flow};
use crate::run::Failure;
use crate::tape::Tape;

/// So many bytes say which flow is run.
const FLOW_BYTES: usize = 2;
/// Pieces of a stream are at most so long.
const PIECE_MAX: usize = 16;

/// The flows that come to their end under every schedule, however unfair: all of them.
#[must_use]
pub fn flows() -> Vec<Flow> {
    Flow::all()
}

/// Runs one of `flows`: the first two bytes say which, the others are its tape.
///
/// Gives what is not as it was promised, if anything, and the tape that gives it again.
#[must_use]
pub fn run(flows: &[Flow], bytes: &[u8]) -> Option<(Failure, Tape)> {
    let (head, tape) = bytes.split_at(FLOW_BYTES.min(bytes.len()));
    let number = head.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let flow = flows.get(number % flows.len().max(1))?;
    let (run, tape) = Tape::record(&Case::of(flow.name()), flow, Bytes::new(tape), false);
    Some((run.failure?, tape))
}

/// Takes bytes for what a peer sends: the first says in how long pieces they come. Neither end may
/// panic, the pieces must make no difference, and what the server's end answers must be frames that
/// the client's end understands.
///
/// # Errors
/// What is not so.
pub fn ttrpc(bytes: &[u8]) -> Result<(), String> {
    let Some((first, bytes)) = bytes.split_first() else { return Ok(()) };
    let piece = usize::from(*first) % PIECE_MAX + 1;
    let (whole, pieces) = (decode([bytes]), decode(bytes.chunks(piece)));
    if whole != pieces {
        return Err(format!("in pieces of {piece}: {pieces:?}, at once: {whole:?}"));
    }
    let (once, again) = (serve([bytes])?, serve(bytes.chunks(piece))?);
    if once != again {
        return Err(format!(
            "calls and answers in pieces of {piece}: {again:?}, at once: {once:?}"
        ));
    }
    let mut client = Client::new();
    let asked = client.call("a", "b", Vec::new(), None, &[]).map_err(|status| status.message)?;
    for piece in bytes.chunks(piece) {
        for (stream, _) in client.feed(piece) {
            if stream != asked || client.is_waiting(stream) {
                return Err(format!("an answer to {stream}, which nobody asked"));
            }
        }
    }
    Ok(())
}

fn decode<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Vec<Decoded> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for mut piece in pieces {
        while let Some(decoded) = decoder.take(&mut piece) {
            frames.push(decoded);
        }
    }
    frames
}

/// How many calls come of the bytes, and how many answers when each is answered at once. (What
/// errors say, and in which order answers come, may depend on which calls are still open.)
fn serve<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Result<(usize, usize), String> {
    let mut connection = Connection::new();
    let mut calls = 0;
    let mut sent = Vec::new();
    for piece in pieces {
        for call in connection.feed(piece) {
            calls += 1;
            connection.reply(call.stream, Ok(call.payload));
        }
        sent.extend_from_slice(connection.outgoing());
        connection.sent(connection.outgoing().len());
    }
    let mut rest = sent.as_slice();
    let mut decoder = Decoder::default();
    let mut answers = 0;
    while let Some(decoded) = decoder.take(&mut rest) {
        if matches!(decoded, Decoded::Oversize { .. }) {
            return Err("an answer is too long".to_owned());
        }
        answers += 1;
    }
    if decoder != Decoder::default() {
        return Err("the last answer is not whole".to_owned());
    }
    Ok((calls, answers))
}
