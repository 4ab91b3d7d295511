//! Whether a process that another invocation started is still the same, and alive.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wavetank::host::{Errno, Host, Pid, Signal};

use crate::file::read_file;

/// Asks only whether a process is there (`kill(2)`).
const NOTHING: Signal = Signal(0);

/// How long one sleeps between two looks at something.
const NAP: Duration = Duration::from_millis(10);

/// A process, and when it started: so a pid that was given to another is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Its id.
    pub(crate) pid: Pid,
    /// Field 22 of `/proc/PID/stat` (`proc_pid_stat(5)`), where that can be read.
    pub(crate) started: Option<u64>,
}

impl Mark {
    /// Of a process that was just started.
    pub(crate) fn of<H: Host>(host: &mut H, pid: Pid) -> Mark {
        Mark { pid, started: look(host, pid).map(|seen| seen.started) }
    }
}

/// What `/proc/PID/stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// State letter: `Z` is a zombie.
    state: u8,
    /// When it started, in ticks after the boot.
    started: u64,
}

fn look<H: Host>(host: &mut H, pid: Pid) -> Option<Seen> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    parse_stat(&read_file(host, &path, 1 << 16).ok()?)
}

/// The second field is a name in brackets, which may itself hold brackets and spaces.
fn parse_stat(stat: &[u8]) -> Option<Seen> {
    let bracket = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[bracket + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    Some(Seen { state, started: fields.nth(18)?.parse().ok()? })
}

/// Whether a process runs: it is there, it is the same, and it is no zombie. Where there is no
/// `/proc`, being there has to do.
pub(crate) fn is_alive<H: Host>(host: &mut H, mark: Mark) -> bool {
    if !is_there(host, mark.pid) {
        return false;
    }
    match look(host, mark.pid) {
        Some(seen) => !b"ZXx".contains(&seen.state) && is_same(seen, mark),
        // It may have gone between the two questions.
        None => is_there(host, mark.pid),
    }
}

/// Whether a process is alive and does something or waits for something: it is not stopped.
pub(crate) fn runs<H: Host>(host: &mut H, mark: Mark) -> bool {
    look(host, mark.pid).is_some_and(|seen| is_same(seen, mark) && !b"ZXxTt".contains(&seen.state))
}

fn is_same(seen: Seen, mark: Mark) -> bool {
    mark.started.is_none_or(|started| started == seen.started)
}

fn is_there<H: Host>(host: &mut H, pid: Pid) -> bool {
    pid.0 > 0 && !matches!(host.kill(pid, NOTHING), Err(Errno::ESRCH))
}

/// Sends a signal to a process and to all in its group, which it leads. The group outlives it.
pub(crate) fn signal_group<H: Host>(host: &mut H, mark: Mark, signal: Signal) {
    let another = look(host, mark.pid).is_some_and(|seen| !is_same(seen, mark));
    if mark.pid.0 <= 1 || another {
        return;
    }
    if host.kill(Pid(-mark.pid.0), signal).is_err() {
        let _ = host.kill(mark.pid, signal);
    }
}

/// Sleeps for one look's distance.
pub(crate) fn nap<H: Host>(host: &mut H) {
    sleep(host, NAP);
}

/// Sleeps that long, whatever interrupts.
pub(crate) fn sleep<H: Host>(host: &mut H, duration: Duration) {
    let until = host.now() + duration;
    loop {
        let rest = until.saturating_sub(host.now());
        if rest.is_zero() || !matches!(host.poll(&mut [], Some(rest)), Ok(_) | Err(Errno::EINTR)) {
            return;
        }
    }
}

/// Never returns to its caller while the host can wait.
pub(crate) fn hang<H: Host>(host: &mut H) {
    while matches!(host.poll(&mut [], None), Ok(_) | Err(Errno::EINTR)) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let stat = b"12 (a) Z (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 77 20\n";
        assert_eq!(parse_stat(stat), Some(Seen { state: b'S', started: 77 }));
        assert_eq!(parse_stat(b"12 (a) S 1 2"), None);
        assert_eq!(parse_stat(b""), None);
    }
}
