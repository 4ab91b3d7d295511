//! ttrpc, the protocol between containerd and its shims, as data: bytes in, calls out, and back.
//!
//! Nothing here reads or writes; whoever has a connection feeds its bytes. Calls are unary: one
//! request, one response.

mod client;
mod connection;
mod frame;
mod outbox;
mod status;

pub use client::Client;
pub use connection::{Connection, Incoming};
pub use frame::{BODY_MAX, Decoded, Decoder, Frame, HEADER_LEN, Kind};
pub use status::{Code, Status};
