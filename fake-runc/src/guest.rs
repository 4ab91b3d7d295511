//! The processes that this program starts as copies of itself, each with a subcommand of its own:
//!
//! - `init GATE PLAN` waits at the gate and then becomes the container's program;
//! - `guest PLAN` is the container's program when nobody names another: see [`Guest`];
//! - `hold MS` keeps its descriptors open that long, and does nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wavetank::host::{self, Command, Errno, Fd, Host, Lead, OpenFlags, Signal};

use crate::error::{Error, Result, at, doing, starting};
use crate::live;
use crate::moment;
use crate::pattern;
use crate::script::Guest;

/// What a started process becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    /// The file.
    pub(crate) file: OsString,
    /// Arguments, the program's name included.
    pub(crate) argv: Vec<OsString>,
    /// Environment; `None` is ours.
    pub(crate) env: Option<Vec<OsString>>,
    /// Working directory.
    pub(crate) cwd: OsString,
    /// How many descriptors it has.
    pub(crate) descriptors: i32,
}

impl Program {
    /// The command that becomes it, standing on these descriptors.
    pub(crate) fn command(self, fds: Vec<Fd>, lead: Lead) -> Command {
        Command {
            program: self.file.into(),
            argv: self.argv,
            env: self.env,
            cwd: Some(self.cwd.into()),
            fds,
            parent_death_signal: None,
            lead,
        }
    }
}

/// Where this program is.
pub(crate) fn own_file<H: Host>(host: &mut H) -> Result<PathBuf> {
    let link = Path::new("/proc/self/exe");
    host.readlink(link).map_err(doing("read link", link))
}

/// The command of a `guest`.
pub(crate) fn built_in<H: Host>(host: &mut H, guest: &Guest) -> Result<(PathBuf, Vec<OsString>)> {
    Ok((own_file(host)?, words(&["guest", &to_json(guest)?])))
}

/// The program that waits at the gate, and then becomes `program`.
pub(crate) fn gated<H: Host>(host: &mut H, gate: &Path, program: Program) -> Result<Program> {
    let mut argv = words(&["init"]);
    argv.push(gate.into());
    argv.push(to_json(&program)?.into());
    Ok(Program { file: own_file(host)?.into(), argv, ..program })
}

/// The command of a `hold`; -1 is for ever.
pub(crate) fn holder<H: Host>(host: &mut H, ms: i64, fds: &[Fd]) -> Result<Command> {
    Ok(Command {
        program: own_file(host)?,
        argv: words(&["hold", &ms.to_string()]),
        fds: fds.to_vec(),
        ..Command::default()
    })
}

fn words(words: &[&str]) -> Vec<OsString> {
    [crate::NAME].iter().chain(words).map(OsString::from).collect()
}

fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::new(format!("write a plan: {error}")))
}

fn from_json<T: for<'a> Deserialize<'a>>(json: &OsString) -> Result<T> {
    serde_json::from_str(&json.to_string_lossy())
        .map_err(|error| Error::new(format!("read the plan: {error}")))
}

/// Runs one of the subcommands of this page; `None` if it is none.
pub(crate) fn main<H: Host>(host: &mut H, argv: &[OsString]) -> Option<Result<i32>> {
    let (word, rest) = argv.get(1..)?.split_first()?;
    match (word.to_str()?, rest) {
        ("init", [gate, plan]) => Some(from_json(plan).and_then(|p| init(host, gate.as_ref(), p))),
        ("guest", [plan]) => Some(from_json(plan).and_then(|plan| guest(host, &plan))),
        ("hold", [ms]) => Some(hold(host, &ms.to_string_lossy())),
        _ => None,
    }
}

/// A first process of which its runtime has not taken note dies with the runtime, as runc's does.
///
/// Opening the gate for writing waits until `start` has opened it for reading; the byte tells that
/// we passed.
fn init<H: Host>(host: &mut H, gate: &Path, program: Program) -> Result<i32> {
    let word = Fd(program.descriptors);
    loop {
        match host.read(word, &mut [0]) {
            Ok(0) => return Err(Error::new("the runtime has died")),
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(at("wait for the runtime's word")(errno)),
        }
    }
    host.close(word).map_err(at("close the runtime's pipe"))?;
    let fifo = loop {
        match host.open(gate, OpenFlags::WRITE, 0) {
            Ok(fifo) => break fifo,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(doing("open", gate)(errno)),
        }
    };
    host::write_all(host, fifo, b"0").map_err(doing("write", gate))?;
    host.close(fifo).map_err(doing("close", gate))?;
    let fds = (0..program.descriptors).map(Fd).collect();
    let command = program.command(fds, Lead::Nothing);
    Err(starting(&command)(host.exec(&command)))
}

fn guest<H: Host>(host: &mut H, plan: &Guest) -> Result<i32> {
    if !plan.ignores.is_empty() {
        // Held back and never read, they do nothing.
        let signals: Vec<Signal> = plan.ignores.iter().map(|signal| signal.0).collect();
        host.signals(&signals).map_err(at("hold signals back"))?;
    }
    if let Some(ms) = plan.grandchild_holds_stdout_ms {
        let null = crate::pid_file::open_null(host)?;
        let command = holder(host, ms, &[null, Fd(1), Fd(2)])?;
        host.spawn(&command).map_err(starting(&command))?;
        host.close(null).map_err(at("close /dev/null"))?;
    }
    pattern::write(host, Fd(1), plan.stdout_bytes).map_err(at("write to stdout"))?;
    pattern::write(host, Fd(2), plan.stderr_bytes).map_err(at("write to stderr"))?;
    if plan.echo {
        echo(host)?;
    }
    Ok(match plan.die_by_signal {
        Some(signal) => moment::die(host, signal),
        None => plan.exit_code.into(),
    })
}

/// Copies input to output until its end; that of a terminal whose other side is gone is `EIO`.
fn echo<H: Host>(host: &mut H) -> Result<()> {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match host.read(Fd(0), &mut buffer) {
            Ok(0) | Err(Errno::EIO) => return Ok(()),
            Ok(count) => {
                let bytes = &buffer[..count];
                host::write_all(host, Fd(1), bytes).map_err(at("write to stdout"))?;
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(at("read from stdin")(errno)),
        }
    }
}

fn hold<H: Host>(host: &mut H, ms: &str) -> Result<i32> {
    let ms: i64 = ms.parse().map_err(|_| Error::new(format!("hold: {ms} is no number")))?;
    match u64::try_from(ms) {
        Ok(ms) => live::sleep(host, Duration::from_millis(ms)),
        Err(_) => live::hang(host),
    }
    Ok(0)
}
