//! The first front door: the shim of containerd 0.2.
//!
//! `containerd-shim ID BUNDLE RUNTIME`, started in a process's state directory. `process.json` says
//! what to do; fifos and files in that directory are the whole conversation.

mod control;
mod log;
mod options;
mod process_file;
mod shim;
mod start;

use std::ffi::OsString;

pub use control::{Control, Message};
pub use options::Options;
pub use process_file::{ProcessFile, detect_dialect};
pub use shim::{Order, Role, Shim};

use crate::host::{Fd, Host, write_all};

/// Exit code when the command line cannot be understood, or the log cannot be opened.
const USAGE: i32 = 2;

/// The program: `argv` with its own name first; gives the exit code.
///
/// 0: the process ran, or the runtime could not start it and has said why in `log.json`. 1: another
/// failure, told in `shim-log.json`. 2: not even that file could be written, or the command line is
/// wrong; told on stderr.
pub fn main<H: Host>(host: &mut H, argv: &[OsString]) -> i32 {
    match start::arguments(argv) {
        Ok(arguments) => match start::start(host, arguments) {
            Ok((mut shim, make)) => shim.run(host, make),
            Err(start::Failure::Logged) => 1,
            Err(start::Failure::Unlogged(error)) => refuse(host, &error.to_string()),
        },
        Err(usage) => {
            tell(host, &usage);
            USAGE
        }
    }
}

/// Says why the program cannot even begin, and gives the exit code for that.
pub fn refuse<H: Host>(host: &mut H, reason: &str) -> i32 {
    tell(host, &format!("containerd-shim: {reason}\n"));
    USAGE
}

fn tell<H: Host>(host: &mut H, text: &str) {
    // Whoever closed stderr does not want to know.
    let _ = write_all(host, Fd(2), text.as_bytes());
}
