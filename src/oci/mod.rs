//! The OCI runtime's side: how it is called, and the files that it reads and writes.

mod checkpoint;
mod command;
mod lookup;
mod pid_file;
mod runc;
mod runtime_log;
mod spec;
mod timestamp;

pub use checkpoint::Checkpoint;
pub use command::{Console, Dialect, Runtime};
pub use lookup::find_program;
pub use pid_file::parse_pid;
pub use runc::{CheckpointArgs, Create, ExecArgs, Restore, Runc};
pub use runtime_log::{Failure, failure_message, last_error, last_error_since, log_length};
pub use spec::{SPEC_MAX, Spec};
pub use timestamp::rfc3339_nano;
