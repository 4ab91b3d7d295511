//! What carries bytes between a container and the world: fifos, pipes, terminals, and the relays
//! between them.

mod console;
mod endpoint;
mod logger;
mod relay;
mod streams;
mod task;
mod uri;

pub use console::{ConsoleSocket, Pty};
pub use endpoint::{Input, Output, open_null};
pub use relay::{Relay, Trouble};
pub use streams::{Owner, Stdio, StreamPaths};
pub use task::{TaskStdio, Wanted};
