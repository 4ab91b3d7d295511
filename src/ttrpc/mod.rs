//! ttrpc, the protocol between containerd and its shims, as data: bytes in, calls out, and back.
//!
//! Nothing here reads or writes; whoever has a connection feeds its bytes.
