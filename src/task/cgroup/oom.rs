//! Noticing that the kernel has killed in a cgroup because its memory was used up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::host::{Errno, Fd, Host, OpenFlags, PollFd, Ready, close_all};

use super::figures::{Table, read_tree};
use super::join::write;
use super::{Cgroup, is_absent};

/// The kernel of version 1 tells that memory is used up before it has chosen whom to kill, so there
/// may be nothing to see at first. Then we look again, after pauses from the one to the other,
/// each twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_millis(1600);

/// Watches a cgroup for kills by the kernel for want of memory.
///
/// What counts is the kernel's number of kills, not that it was woken: `memory.events` changes for
/// other reasons too, and version 1 also wakes when the cgroup is removed, and when only a cgroup
/// above it has used up its memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomWatch {
    source: Source,
    again: Option<Again>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    /// `memory.events` of version 2. The number in it includes the cgroups below.
    Events { file: Fd, told: u64 },
    /// An event counter that version 1 was given, and what has been told of the cgroup and of each
    /// one below it.
    Notices { counter: Fd, directory: PathBuf, told: BTreeMap<PathBuf, u64> },
    /// The cgroup is gone, or the watch is closed.
    Nothing,
}

/// A look that is not caused by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Again {
    at: Duration,
    pause: Duration,
}

/// What a look has shown.
enum Seen {
    /// So many kills that were not told yet, and whether the kernel had given notice.
    Kills { new: u64, noticed: bool },
    /// Nothing any more.
    Gone,
}

impl OomWatch {
    /// Begins to watch. Kills that were there before are told too: a container may run out of
    /// memory before anybody watches, and a new cgroup has none.
    ///
    /// # Errors
    /// The cgroup is gone, or has no memory controller, or there are no descriptors left. Nothing is
    /// left open.
    pub fn start<H: Host>(host: &mut H, cgroup: &Cgroup) -> Result<OomWatch, Error> {
        let source = match cgroup {
            Cgroup::V2 { path } => {
                let file = open(host, &path.join("memory.events"))?;
                Source::Events { file, told: 0 }
            }
            Cgroup::V1 { directories } => {
                let directory = directories.get("memory").ok_or_else(|| {
                    Error::invalid("cgroup", "no memory controller that tells of kills")
                })?;
                let counter = notices(host, directory)?;
                Source::Notices { counter, directory: directory.clone(), told: BTreeMap::new() }
            }
        };
        let again = Some(Again { at: host.now(), pause: LAST_PAUSE });
        Ok(OomWatch { source, again })
    }

    /// Adds what must be ready before the next turn; nothing once the cgroup is gone.
    pub fn ask(&self, questions: &mut Vec<PollFd>) {
        match self.source {
            Source::Events { file, .. } => questions.push(PollFd::new(file, Ready::PRIORITY)),
            Source::Notices { counter, .. } => questions.push(PollFd::new(counter, Ready::READ)),
            Source::Nothing => {}
        }
    }

    /// When the next turn is due even if nothing is ready ([`Host::now`]).
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.again.map(|again| again.at)
    }

    /// Takes the answers to [`OomWatch::ask`]: the number of kills since it was last asked for.
    pub fn turn<H: Host>(&mut self, host: &mut H, answers: &[PollFd]) -> u32 {
        let mut asked = Vec::new();
        self.ask(&mut asked);
        let is_ours = |answer: &&PollFd| asked.iter().any(|question| question.fd == answer.fd);
        let fired = answers.iter().filter(is_ours).any(|answer| !answer.ready.is_empty());
        if fired || self.again.is_some_and(|again| again.at <= host.now()) {
            self.look(host)
        } else {
            0
        }
    }

    /// A last look before the container's end is told: the number of kills since the last one.
    pub fn check<H: Host>(&mut self, host: &mut H) -> u32 {
        self.look(host)
    }

    /// Stops watching. A second time does nothing.
    pub fn close<H: Host>(&mut self, host: &mut H) {
        self.again = None;
        match std::mem::replace(&mut self.source, Source::Nothing) {
            Source::Events { file: fd, .. } | Source::Notices { counter: fd, .. } => {
                close_all(host, [fd]);
            }
            Source::Nothing => {}
        }
    }

    fn look<H: Host>(&mut self, host: &mut H) -> u32 {
        let seen = match &mut self.source {
            Source::Events { file, told } => look_at_events(host, *file, told),
            Source::Notices { counter, directory, told } => {
                look_at_notices(host, *counter, directory, told)
            }
            Source::Nothing => return 0,
        };
        match seen {
            Seen::Kills { new: 0, noticed } => {
                let pause = match self.again {
                    _ if noticed => FIRST_PAUSE,
                    Some(again) => 2 * again.pause,
                    None => return 0,
                };
                let again = Again { at: host.now() + pause, pause };
                self.again = (pause <= LAST_PAUSE).then_some(again);
                0
            }
            Seen::Kills { new, .. } => {
                self.again = None;
                u32::try_from(new).unwrap_or(u32::MAX)
            }
            Seen::Gone => {
                self.close(host);
                0
            }
        }
    }
}

/// Reads `memory.events`, whereupon it is not ready until it has changed again. If it cannot be
/// read it would be ready for ever, so it is no use then.
fn look_at_events<H: Host>(host: &mut H, file: Fd, told: &mut u64) -> Seen {
    let mut buffer = [0; 4096];
    let count = loop {
        match host.read_at(file, 0, &mut buffer) {
            Ok(count) => break count,
            Err(Errno::EINTR) => {}
            Err(_) => return Seen::Gone,
        }
    };
    let text = String::from_utf8_lossy(buffer.get(..count).unwrap_or_default());
    let kills = Table::parse(&text).get("oom_kill");
    let new = kills.saturating_sub(*told);
    *told = kills;
    Seen::Kills { new, noticed: false }
}

fn look_at_notices<H: Host>(
    host: &mut H,
    counter: Fd,
    directory: &Path,
    told: &mut BTreeMap<PathBuf, u64>,
) -> Seen {
    let noticed = host.read(counter, &mut [0; 8]).is_ok();
    let controls = match read_tree(host, directory, "memory.oom_control") {
        Ok(controls) => controls,
        Err(error) if is_absent(&error) => return Seen::Gone,
        // No descriptor is left, say; what was not seen now can be seen later.
        Err(_) => return Seen::Kills { new: 0, noticed },
    };
    let mut new = 0;
    let mut now = BTreeMap::new();
    for (place, control) in controls {
        let Some(kills) = Table::parse(&control).find("oom_kill") else {
            // Before Linux 4.13 there is no number; then the notice must do.
            return Seen::Kills { new: u64::from(noticed), noticed };
        };
        // A cgroup with fewer kills than before is another one of the same name.
        let before = told.get(&place).copied().filter(|before| *before <= kills).unwrap_or(0);
        new += kills - before;
        now.insert(place, kills);
    }
    *told = now;
    Seen::Kills { new, noticed }
}

/// Has the kernel count its notices of used-up memory (`memory.oom_control` of version 1).
fn notices<H: Host>(host: &mut H, directory: &Path) -> Result<Fd, Error> {
    let control = open(host, &directory.join("memory.oom_control"))?;
    let counter = host.event_counter().map_err(|errno| {
        close_all(host, [control]);
        Error::system("eventfd", directory.display(), errno)
    })?;
    let order = format!("{counter} {control}");
    let registered = write(host, &directory.join("cgroup.event_control"), &order);
    close_all(host, [control]);
    registered.inspect_err(|_| close_all(host, [counter]))?;
    Ok(counter)
}

fn open<H: Host>(host: &mut H, path: &Path) -> Result<Fd, Error> {
    host.open(path, OpenFlags::READ | OpenFlags::NONBLOCK, 0)
        .map_err(|errno| Error::system("open", path.display(), errno))
}
