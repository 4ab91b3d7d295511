//! Noticing that the kernel has killed in a cgroup because its memory was used up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::host::{Bug, Errno, Fd, Host, OpenFlags, PollFd, Ready, close_all, read_range};

use super::figures::{Table, read_tree};
use super::join::write;
use super::{Cgroup, is_absent};

/// The kernel of version 1 tells that memory is used up before it has chosen whom to kill, so there
/// may be nothing to see at first. Then we look again, after pauses from the one to the other,
/// each twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_millis(1600);

/// `memory.events` has some six short lines.
const EVENTS_MAX: usize = 4096;

/// Watches a cgroup for kills by the kernel for want of memory.
///
/// What counts is the kernel's number of kills, not that it was woken: `memory.events` changes for
/// other reasons too, and version 1 also wakes when the cgroup is removed, and when only a cgroup
/// above it has used up its memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OomWatch {
    source: Source,
    again: Option<Again>,
    /// Why it watches no more though the cgroup may still be there; told once.
    failed: Option<Error>,
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
    /// Nothing that can be read.
    Unreadable(Errno),
}

impl OomWatch {
    /// Begins to watch. Kills that were there before are told too: a container may run out of
    /// memory before anybody watches, and a new cgroup has none.
    ///
    /// # Errors
    /// The cgroup is gone, or has no memory controller, or there are no descriptors left. Nothing is
    /// left open.
    pub(crate) fn start<H: Host>(host: &mut H, cgroup: &Cgroup) -> Result<OomWatch, Error> {
        let source = match cgroup {
            Cgroup::V2 { path } => {
                let file = open(host, &path.join("memory.events"))?;
                let mut told = 0;
                if host.planted(Bug::OomBeforeWatchUntold) {
                    look_at_events(host, file, &mut told);
                }
                Source::Events { file, told }
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
        Ok(OomWatch { source, again, failed: None })
    }

    /// Adds what must be ready before the next turn; nothing once the cgroup is gone.
    pub(crate) fn ask(&self, questions: &mut Vec<PollFd>) {
        match self.source {
            Source::Events { file, .. } => questions.push(PollFd::new(file, Ready::PRIORITY)),
            Source::Notices { counter, .. } => questions.push(PollFd::new(counter, Ready::READ)),
            Source::Nothing => {}
        }
    }

    /// When the next turn is due even if nothing is ready ([`Host::now`]).
    #[must_use]
    pub(crate) fn due(&self) -> Option<Duration> {
        self.again.map(|again| again.at)
    }

    /// Takes the answers to [`OomWatch::ask`]: the number of kills since it was last asked for.
    pub(crate) fn turn<H: Host>(&mut self, host: &mut H, answers: &[PollFd]) -> u32 {
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

    /// Why there will be no more to tell, once.
    pub(crate) fn failed(&mut self) -> Option<Error> {
        self.failed.take()
    }

    /// A last look before the container's end is told: the number of kills since the last one.
    pub(crate) fn check<H: Host>(&mut self, host: &mut H) -> u32 {
        self.look(host)
    }

    /// Stops watching. A second time does nothing.
    pub(crate) fn close<H: Host>(&mut self, host: &mut H) {
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
            Seen::Unreadable(errno) => {
                self.failed = Some(Error::system("read", "memory.events", errno));
                self.close(host);
                0
            }
        }
    }
}

/// Reads `memory.events`, whereupon it is not ready until it has changed again. If it cannot be
/// read it would be ready for ever, so it is no use then.
fn look_at_events<H: Host>(host: &mut H, file: Fd, told: &mut u64) -> Seen {
    let text = match read_range(host, file, 0, EVENTS_MAX) {
        Ok(text) => text,
        Err(_) if host.planted(Bug::OomWatchSpins) => {
            return Seen::Kills { new: 0, noticed: false };
        }
        Err(Errno::ENODEV) => return Seen::Gone,
        Err(errno) => return Seen::Unreadable(errno),
    };
    let text = String::from_utf8_lossy(&text);
    let counter = if host.planted(Bug::OomMistaken) { "oom" } else { "oom_kill" };
    let kills = Table::parse(&text).get(counter);
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::fake::Fake;
    use super::super::find::Machine;
    use super::*;
    use crate::host::{Command, ExitStatus, LinuxHost, MockHost, Pid, Signal, WaitFor};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn v1(directory: &Path) -> Cgroup {
        Cgroup::V1 { directories: [("memory".to_owned(), directory.to_owned())].into() }
    }

    /// Answers that say that everything a watch asks for is ready.
    fn all_ready(watch: &OomWatch) -> Vec<PollFd> {
        let mut answers = Vec::new();
        watch.ask(&mut answers);
        answers.iter_mut().for_each(|answer| answer.ready = answer.interest);
        answers
    }

    /// Waits as the shim's loop does, until there is something to tell or the time is over.
    fn wait(host: &mut LinuxHost, watch: &mut OomWatch) -> u32 {
        let end = host.now() + PATIENCE;
        while host.now() < end {
            let mut fds = Vec::new();
            watch.ask(&mut fds);
            if fds.is_empty() {
                return 0;
            }
            let due = watch.due().unwrap_or(end).min(end);
            let timeout = due.saturating_sub(host.now());
            host.poll(&mut fds, Some(timeout)).unwrap();
            let told = watch.turn(host, &fds);
            if told > 0 {
                return told;
            }
        }
        panic!("nothing came of {watch:?}");
    }

    /// A cgroup of our own in a hierarchy of this machine, if we may make one.
    struct Real(PathBuf);

    impl Real {
        fn new(host: &mut LinuxHost, mount: &str) -> Option<Real> {
            let directory = Path::new(Machine::OURS.cgroups).join(mount);
            let directory = directory.join(format!("wavetank-{}-{}", host.pid(), host.random()));
            host.mkdir(&directory, 0o755).ok()?;
            Some(Real(directory))
        }

        /// Starts a program that is in the cgroup from its first instruction on.
        fn run(&self, host: &mut LinuxHost, script: &str) -> Pid {
            let procs = self.0.join("cgroup.procs");
            let script = format!("echo 0 > {}; {script}", procs.display());
            let argv = ["sh", "-c", &script].map(Into::into).to_vec();
            host.spawn(&Command { program: "/bin/sh".into(), argv, ..Command::default() }).unwrap()
        }
    }

    impl Drop for Real {
        fn drop(&mut self) {
            let _ = LinuxHost::new().rmdir(&self.0);
        }
    }

    #[test]
    fn linux_tells_of_its_kills_in_version_1_and_not_of_the_removal() {
        let host = &mut LinuxHost::new();
        // Elsewhere there is nothing to see: it takes root and a machine with version 1.
        let Some(real) = Real::new(host, "memory") else { return };
        if write(host, &real.0.join("memory.limit_in_bytes"), "8388608").is_err() {
            return;
        }
        // Where swap is counted it must not be a way out.
        let _ = write(host, &real.0.join("memory.memsw.limit_in_bytes"), "8388608");
        let mut watch = OomWatch::start(host, &v1(&real.0)).unwrap();
        assert_eq!(watch.turn(host, &[]), 0);

        let pid = real.run(host, "exec tail /dev/zero");
        assert_eq!(wait(host, &mut watch), 1);
        let exit = host.wait(WaitFor::Pid(pid), true).unwrap().unwrap();
        assert_eq!(exit.status, ExitStatus::Signal(Signal::KILL));
        assert_eq!(watch.check(host), 0, "told twice");

        let again = &mut OomWatch::start(host, &v1(&real.0)).unwrap();
        assert_eq!(again.check(host), 1, "what was before the watch is told");
        again.close(host);

        host.rmdir(&real.0).unwrap();
        assert_eq!(wait(host, &mut watch), 0);
        assert_eq!((watch.source, watch.again), (Source::Nothing, None));
    }

    /// What the watch of version 2 stands on, seen on a file that every cgroup has: ready when it
    /// has changed, not ready once it was read, and ready for good when the cgroup is gone.
    #[test]
    fn linux_tells_of_changes_of_a_cgroups_file() {
        let host = &mut LinuxHost::new();
        let unified = Machine::OURS.is_unified(host);
        let Some(real) = Real::new(host, if unified { "" } else { "unified" }) else { return };
        let file = open(host, &real.0.join("cgroup.events")).unwrap();
        let mut watch =
            OomWatch { source: Source::Events { file, told: 0 }, again: None, failed: None };
        let ready = |host: &mut LinuxHost, watch: &OomWatch, patience| {
            let mut fds = Vec::new();
            watch.ask(&mut fds);
            host.poll(&mut fds, Some(patience)).unwrap();
            fds.iter().any(|fd| !fd.ready.is_empty())
        };
        watch.check(host);
        assert!(!ready(host, &watch, Duration::ZERO));

        let pid = real.run(host, "exec cat /dev/null");
        host.wait(WaitFor::Pid(pid), true).unwrap();
        assert!(ready(host, &watch, PATIENCE));
        watch.check(host);
        host.rmdir(&real.0).unwrap();
        assert!(ready(host, &watch, PATIENCE));
        assert_eq!(watch.check(host), 0);
        assert_eq!(watch.source, Source::Nothing);
    }

    #[test]
    fn in_version_2_only_kills_count() {
        let host = &mut LinuxHost::new();
        let fake = Fake::new(&[("web/memory.events", "high 0\noom 3\noom_kill 0\n")]);
        let mut watch = OomWatch::start(host, &Cgroup::V2 { path: fake.path("web") }).unwrap();
        let events = |host: &mut LinuxHost, content: &str| {
            let file = host.open(&fake.path("web/memory.events"), OpenFlags::WRITE, 0).unwrap();
            crate::host::write_all(host, file, content.as_bytes()).unwrap();
            close_all(host, [file]);
        };
        let ready = all_ready(&watch);
        assert_eq!(watch.turn(host, &ready), 0);
        events(host, "high 9\noom 9\noom_kill 0\n");
        assert_eq!(watch.turn(host, &ready), 0);
        events(host, "high 9\noom 9\noom_kill 3\n");
        assert_eq!(watch.turn(host, &[]), 0, "nobody said that it is ready");
        assert_eq!(watch.turn(host, &ready), 3);
        assert_eq!(watch.turn(host, &ready), 0);
        events(host, "high 9\noom 9\noom_kill 4\n");
        assert_eq!(watch.check(host), 1);
        watch.close(host);
        assert_eq!((watch.check(host), all_ready(&watch)), (0, Vec::new()));
    }

    #[test]
    fn a_kill_from_before_the_watch_is_told_by_the_first_turn() {
        let host = &mut LinuxHost::new();
        let fake = Fake::new(&[("web/memory.events", "oom 1\noom_kill 1\n")]);
        let mut watch = OomWatch::start(host, &Cgroup::V2 { path: fake.path("web") }).unwrap();
        assert!(watch.due().is_some_and(|due| due <= host.now()));
        assert_eq!(watch.turn(host, &[]), 1);
        assert_eq!((watch.turn(host, &[]), watch.due()), (0, None));
        watch.close(host);
    }

    #[rstest]
    #[case::gone(Errno::ENODEV)]
    #[case::broken(Errno::EIO)]
    fn events_that_cannot_be_read_are_not_asked_for_again(#[case] errno: Errno) {
        let mut host = MockHost::new();
        host.expect_open().returning(|_, _, _| Ok(Fd(5)));
        host.expect_now().returning(|| Duration::ZERO);
        let mut answers = vec![Err(errno), Err(Errno::EINTR)];
        host.expect_read_at().times(2).returning(move |_, _, _| answers.pop().unwrap());
        host.expect_close().withf(|fd| *fd == Fd(5)).once().returning(|_| Ok(()));
        let cgroup = Cgroup::V2 { path: "/sys/fs/cgroup/web".into() };
        let mut watch = OomWatch::start(&mut host, &cgroup).unwrap();
        let ready = all_ready(&watch);
        assert_eq!(watch.turn(&mut host, &ready), 0);
        assert_eq!((all_ready(&watch), watch.due()), (Vec::new(), None));
        assert_eq!(watch.failed().is_some(), errno == Errno::EIO);
    }

    /// A watch of version 1 over files, whose counter can be made to count by hand.
    fn notices_of(host: &mut LinuxHost, fake: &Fake) -> (OomWatch, Fd) {
        fake.write("web/cgroup.event_control", "");
        let watch = OomWatch::start(host, &v1(&fake.path("web"))).unwrap();
        let Source::Notices { counter, .. } = watch.source else { panic!("{watch:?}") };
        (watch, counter)
    }

    #[test]
    fn a_notice_that_comes_before_the_kill_is_looked_into_again_for_a_while() {
        let host = &mut LinuxHost::new();
        let fake = Fake::new(&[("web/memory.oom_control", "under_oom 0\noom_kill 0\n")]);
        let (mut watch, counter) = notices_of(host, &fake);
        assert_eq!((watch.turn(host, &[]), watch.due()), (0, None));

        host.write(counter, &1_u64.to_ne_bytes()).unwrap();
        let ready = all_ready(&watch);
        assert_eq!(watch.turn(host, &ready), 0);
        assert!(watch.due().is_some_and(|due| due > host.now()));
        fake.write("web/memory.oom_control", "under_oom 0\noom_kill 2\n");
        assert_eq!(watch.turn(host, &[]), 0, "not due yet");
        watch.again = Some(Again { at: host.now(), pause: FIRST_PAUSE });
        assert_eq!((watch.turn(host, &[]), watch.due()), (2, None));

        // A cgroup above has run out of memory, and nobody here was killed.
        host.write(counter, &1_u64.to_ne_bytes()).unwrap();
        assert_eq!(watch.turn(host, &ready), 0);
        let mut looks = 0;
        while let Some(again) = watch.again {
            watch.again = Some(Again { at: host.now(), ..again });
            assert_eq!(watch.turn(host, &[]), 0);
            looks += 1;
        }
        assert_eq!(looks, 5);
        watch.close(host);
    }

    #[test]
    fn kills_below_count_also_when_a_cgroup_below_is_made_anew() {
        let host = &mut LinuxHost::new();
        let fake = Fake::new(&[
            ("web/memory.oom_control", "oom_kill 1\n"),
            ("web/inner/memory.oom_control", "oom_kill 3\n"),
        ]);
        let (mut watch, _) = notices_of(host, &fake);
        assert_eq!(watch.check(host), 4);
        fake.write("web/inner/memory.oom_control", "oom_kill 2\n");
        assert_eq!((watch.check(host), watch.check(host)), (2, 0));
        watch.close(host);
    }

    #[rstest]
    #[case::counted_by_notices("oom_kill_disable 0\nunder_oom 0\n", 1)]
    #[case::counted_by_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", 0)]
    fn without_a_number_of_kills_the_notice_must_do(#[case] control: &str, #[case] told: u32) {
        let host = &mut LinuxHost::new();
        let fake = Fake::new(&[("web/memory.oom_control", control)]);
        let (mut watch, counter) = notices_of(host, &fake);
        assert_eq!(watch.check(host), 0);
        host.write(counter, &1_u64.to_ne_bytes()).unwrap();
        assert_eq!((watch.check(host), watch.check(host)), (told, 0));
        watch.close(host);
    }

    #[rstest]
    #[case::no_control(&[], "memory.oom_control")]
    #[case::no_registration(&[("web/memory.oom_control", "oom_kill 0\n")], "cgroup.event_control")]
    fn a_watch_that_cannot_begin_leaves_nothing_open(
        #[case] files: &[(&str, &str)],
        #[case] missing: &str,
    ) {
        let host = &mut LinuxHost::new();
        let fake = Fake::new(files);
        let error = OomWatch::start(host, &v1(&fake.path("web"))).unwrap_err();
        let subject = fake.path("web").join(missing);
        assert_eq!(error, Error::system("open", subject.display(), Errno::ENOENT));
        let fds = host.list(Path::new("/proc/self/fd")).unwrap();
        let ours = fds.iter().map(|fd| host.readlink(&Path::new("/proc/self/fd").join(fd)));
        let ours = ours.flatten().filter(|path| path.starts_with(fake.path("")));
        assert_eq!(ours.count(), 0);
    }
}
