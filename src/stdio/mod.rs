//! What carries bytes between a container and the world: fifos, pipes, terminals, and the relays
//! between them.

mod console;
mod endpoint;
mod relay;
mod streams;

pub use console::{ConsoleSocket, Pty};
pub use endpoint::{Input, Output, open_null};
pub use relay::{Relay, Trouble};
pub use streams::{Owner, Stdio, StreamPaths};
