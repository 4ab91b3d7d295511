//! The OCI runtime's side: how it is called, and the files that it reads and writes.

mod checkpoint;
mod command;
mod lookup;
mod pid_file;
mod timestamp;

pub use checkpoint::Checkpoint;
pub use command::{Console, Dialect, Runtime};
pub use lookup::find_program;
pub use pid_file::parse_pid;
pub use timestamp::rfc3339_nano;
