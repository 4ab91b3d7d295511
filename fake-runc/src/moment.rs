//! Plays a [`Moment`] of the script.

use std::path::Path;
use std::time::Duration;

use wavetank::host::{self, Errno, Fd, FileKind, Host, OpenFlags, Pid};

use crate::cli::Global;
use crate::error::{Error, Result, at, doing};
use crate::live;
use crate::log;
use crate::pattern;
use crate::script::Moment;
use crate::signal::NamedSignal;

/// Does what the script has for one moment. `exit_watch` is the read end of a pipe whose other end
/// the started process holds.
pub(crate) fn play<H: Host>(
    host: &mut H,
    global: &Global,
    moment: &Moment,
    exit_watch: Option<Fd>,
) -> Result<()> {
    pattern::write(host, Fd(1), moment.stdout_bytes).map_err(at("write to stdout"))?;
    pattern::write(host, Fd(2), moment.stderr_bytes).map_err(at("write to stderr"))?;
    if let Some(message) = &moment.log_error {
        log::record(host, global, message);
    }
    if let (Some(text), Some(path)) = (&moment.log_raw, &global.log) {
        log::append(host, path, text.as_bytes()).map_err(doing("append to", path))?;
    }
    if let (true, Some(watch)) = (moment.wait_for_process_exit, exit_watch) {
        wait_for_end_of(host, watch).map_err(at("wait for the process"))?;
    }
    if let Some(path) = &moment.wait_for {
        wait_for(host, path)?;
    }
    live::sleep(host, Duration::from_millis(moment.delay_ms));
    if moment.hang {
        live::hang(host);
    }
    if let Some(signal) = moment.die_by_signal {
        return Err(Error::Scripted { code: die(host, signal) });
    }
    match moment.exit_code {
        Some(code) => Err(Error::Scripted { code: code.into() }),
        None => Ok(()),
    }
}

/// Ends this process by a signal. If it survives, there is still the exit code.
pub(crate) fn die<H: Host>(host: &mut H, NamedSignal(signal): NamedSignal) -> i32 {
    let Pid(own) = host.pid();
    let _ = host.kill(Pid(own), signal);
    128 + signal.0
}

/// Waits until a pipe has no writers any more.
fn wait_for_end_of<H: Host>(host: &mut H, pipe: Fd) -> host::Result<()> {
    let mut buffer = [0; 64];
    loop {
        match host.read(pipe, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Waits until somebody opens a fifo for writing, or until a path exists.
fn wait_for<H: Host>(host: &mut H, path: &Path) -> Result<()> {
    loop {
        match host.stat(path) {
            Ok(stat) if stat.kind == FileKind::Fifo => break,
            Ok(_) => return Ok(()),
            Err(Errno::ENOENT) => live::nap(host),
            Err(errno) => return Err(doing("stat", path)(errno)),
        }
    }
    loop {
        match host.open(path, OpenFlags::READ, 0) {
            Ok(fifo) => return host.close(fifo).map_err(doing("close", path)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(doing("open", path)(errno)),
        }
    }
}
