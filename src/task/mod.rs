//! The second front door: the runtime v2 shim of containerd 1.6 to 2.x, Docker and Kubernetes.
//!
//! One program in several parts: `start` and `delete` are short, `mount` is a child of the server,
//! and without an action it is the server itself.

mod arguments;
mod bootstrap;
mod cgroup;
mod daemon;
mod delete;
mod events;
mod exit_record;
mod generic_options;
mod info;
mod mounts;
mod options;
mod runtime_call;
mod shim;
mod socket;
mod start;
mod stdin;
mod timestamp;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use arguments::{Arguments, Usage};

use crate::Error;
use crate::host::{Fd, Host, Signal, write_all};

/// The name that containerd knows us by.
const RUNTIME: &str = "io.containerd.wavetank.v2";

/// The program: `argv` with its own name first; gives the exit code.
///
/// 0: all went well. 1: it did not, and stderr says why. 2: the command line is wrong.
pub fn main<H: Host>(host: &mut H, argv: &[OsString]) -> i32 {
    let arguments = match Arguments::parse(argv) {
        Ok(arguments) => arguments,
        Err(Usage { text, code }) => {
            tell(host, &text);
            return code;
        }
    };
    if arguments.action.as_deref() == Some("mount") {
        return mounts::child(host);
    }
    let program = argv.first().map_or(OsStr::new(RUNTIME), OsString::as_os_str);
    match run(host, program, &arguments) {
        Ok(()) => 0,
        Err(reason) => refuse(host, &reason),
    }
}

fn run<H: Host>(host: &mut H, program: &OsStr, arguments: &Arguments) -> Result<(), String> {
    if arguments.version {
        let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy();
        return print(host, info::version(&name).as_bytes());
    }
    if arguments.info {
        let info = info::info(host).map_err(|error| error.to_string())?;
        return print(host, &info);
    }
    if arguments.namespace.is_empty() {
        return Err("shim namespace cannot be empty".to_owned());
    }
    match arguments.action.as_deref() {
        Some("start") => {
            hold_back(host).map_err(|error| error.to_string())?;
            let started = start::start(host, program, arguments).map_err(|e| e.to_string())?;
            print(host, &started.answer).inspect_err(|_| start::take_back(host, &started))
        }
        Some("delete") => {
            hold_back(host).map_err(|error| error.to_string())?;
            let (answer, warnings) =
                delete::delete(host, arguments).map_err(|error| error.to_string())?;
            for warning in warnings {
                tell(host, &format!("{RUNTIME}: {warning}\n"));
            }
            print(host, &answer)
        }
        Some(action) => Err(format!("unknown action {action:?}")),
        None => shim::serve(host, arguments).map_err(|error| error.to_string()),
    }
}

/// What has begun is ended: a daemon that wants us to stop before kills us, and one that is gone is
/// told by the call that would write to it.
fn hold_back<H: Host>(host: &mut H) -> Result<(), Error> {
    // The descriptor stays open as long as this program runs, which is not long.
    let signals = host.signals(&[Signal::TERM, Signal::INT, Signal::PIPE]);
    signals
        .map(drop)
        .map_err(|errno| Error::system("signalfd", "for signals that are held back", errno))
}

fn print<H: Host>(host: &mut H, bytes: &[u8]) -> Result<(), String> {
    write_all(host, Fd(1), bytes).map_err(|errno| format!("write stdout: {errno}"))
}

/// Says why the program cannot even begin, and gives the exit code for that.
pub fn refuse<H: Host>(host: &mut H, reason: &str) -> i32 {
    tell(host, &format!("{RUNTIME}: {reason}"));
    1
}

fn tell<H: Host>(host: &mut H, text: &str) {
    // Whoever closed stderr does not want to know.
    let _ = write_all(host, Fd(2), text.as_bytes());
}
