//! What is promised to be compared: every outcome that the pages of `Host` name, but for what stands
//! in the one table of what is not.

use std::collections::BTreeSet;

use serde::Serialize;
use wavetank::host::Errno;
use wavetank_sim::Call;

/// The pages.
const PAGES: &str = include_str!("../../../../src/host/mod.rs");

/// Where Linux may differ from run to run, and what the comparison does about it.
pub(crate) const VARIES: [(&str, &str); 9] = [
    (
        "terminals",
        "When bytes come to the other side: a work queue brings them. The comparison waits until \
         every terminal says what is expected (`Machine::settled`), and a sequence must differ \
         three times.",
    ),
    (
        "processes",
        "Whether parent or child goes first. After each call the comparison waits until the child \
         has become what it must (`Parent::until`), and a sequence must differ three times.",
    ),
    ("processes", "Whether one that is about to wait is R, S or D: all are `runs`."),
    (
        "processes",
        "When an orphan that is not ours is reaped: once it has ended, nothing is asked about it \
         or its group.",
    ),
    (
        "processes",
        "Which of several ended children a wait finds: no page promises it. In fact it is the one \
         that became a child first, and that is compared.",
    ),
    (
        "sockets",
        "When a socket is collected whose last descriptor is on its way to itself: no sockets are \
         sent, only pipes and fifos.",
    ),
    (
        "fifos",
        "Whether a counter takes more than one number: until Linux 6.8. It is given no more.",
    ),
    ("all", "Numbers of descriptors, processes and inodes."),
    ("all", "Sizes of what is not a regular file."),
];

/// Outcomes of a call that nothing here compares.
#[derive(Serialize)]
pub(crate) struct Unverified {
    pub(crate) call: Call,
    /// Whether not even its success is.
    pub(crate) success: bool,
    /// None: no error of it is.
    pub(crate) errnos: &'static [Errno],
    pub(crate) why: &'static str,
}

/// Every outcome that the pages name and this table does not: none is success.
pub(crate) fn promised() -> BTreeSet<(Call, Option<Errno>)> {
    let mut promised = documented();
    for row in UNVERIFIED {
        if row.success {
            promised.remove(&(row.call, None));
        }
        match row.errnos {
            [] => promised.retain(|(call, _)| *call != row.call),
            errnos => errnos.iter().for_each(|it| {
                promised.remove(&(row.call, Some(*it)));
            }),
        }
    }
    promised
}

/// Every outcome that the pages name.
fn documented() -> BTreeSet<(Call, Option<Errno>)> {
    let mut named: BTreeSet<Errno> = BTreeSet::new();
    let mut found = BTreeSet::new();
    let (_, pages) = PAGES.split_once("pub trait Host").unwrap_or_default();
    for line in pages.lines().map(str::trim_start) {
        if let Some(page) = line.strip_prefix("///") {
            // What stands between two backticks.
            let words = page.split('`').skip(1).step_by(2);
            let known = |word: &str| Errno::ALL.iter().find(|errno| errno.name() == word).copied();
            named.extend(words.filter_map(known));
        } else if let Some(declared) = line.strip_prefix("fn ") {
            let name = declared.split('(').next().unwrap_or_default();
            let errnos = std::mem::take(&mut named);
            if let Some(&call) = Call::ALL.iter().find(|call| call.name() == name) {
                found.insert((call, None));
                found.extend(errnos.into_iter().map(|errno| (call, Some(errno))));
            }
        }
    }
    found
}

/// Rows that are wrong: about what no page names, or about what is compared after all.
pub(crate) fn stale(seen: &BTreeSet<(Call, Option<Errno>)>) -> Vec<String> {
    let documented = documented();
    let mut wrong = Vec::new();
    for row in UNVERIFIED {
        let name = row.call.name();
        if row.success && seen.contains(&(row.call, None)) {
            wrong.push(format!("{name} is compared"));
        }
        for errno in row.errnos {
            let pair = (row.call, Some(*errno));
            if seen.contains(&pair) {
                wrong.push(format!("{name} {errno:?} is compared"));
            }
            if !documented.contains(&pair) {
                wrong.push(format!("no page names {name} {errno:?}"));
            }
        }
    }
    wrong
}

const fn row(call: Call, errnos: &'static [Errno], why: &'static str) -> Unverified {
    Unverified { call, success: errnos.is_empty(), errnos, why }
}

const fn row_of_all_but_misuse(
    call: Call,
    errnos: &'static [Errno],
    why: &'static str,
) -> Unverified {
    Unverified { call, success: true, errnos, why }
}

const HANDLERS: &str = "needs a signal handler, and nobody here installs one";
const LIMITS: &str =
    "needs a limit to be reached that `Host` cannot set, or a table that all share";
const MEMORY: &str = "needs a machine without memory, or one full of processes";
const DISKS: &str = "needs a full disk, or quotas";
const MOUNTS: &str = "needs mounts: root, and a machine to spoil";
const USERS: &str = "needs a second user, and files of his";
const DEVICES: &str = "needs a device that is broken or gone";
const CGROUPS: &str = "needs files of a kind that no directory for tests has, as those of cgroups";
const LOOPS: &str = "needs root and a free loop device; the wrong kind of file is compared";
const NOT_THERE: &str = "the simulated kernel has none of it and says ENOSYS or EINVAL";
const CORES: &str = "differs with the processor";
const EXEC: &str = "a sequence would end with it; failing starts are compared for spawn";
const OWN: &str = "a number or text of one's own, with nothing to hold it against";
const OLDER: &str = "needs an older Linux";
const RUNNING: &str = "needs a program that is being written to, or a running one that is";
const NOT_UNIX: &str =
    "the pages of Linux name it, and its unix stream sockets were never seen to say it";

/// What nothing here compares, so that only the tests of `semantics` speak for it.
pub(crate) const UNVERIFIED: &[Unverified] = &[
    row(Call::Open, &[Errno::EINTR], HANDLERS),
    row(Call::Open, &[Errno::ENOMEM], MEMORY),
    row(Call::Open, &[Errno::EACCES], USERS),
    row(Call::Open, &[Errno::ENODEV], DEVICES),
    row(Call::Open, &[Errno::ENFILE, Errno::EMFILE], LIMITS),
    row(Call::Open, &[Errno::ETXTBSY], RUNNING),
    row(Call::Open, &[Errno::ENOSPC, Errno::EDQUOT], DISKS),
    row(Call::Open, &[Errno::EROFS], MOUNTS),
    row(Call::Close, &[Errno::EINTR], HANDLERS),
    row(Call::Close, &[Errno::EIO], DEVICES),
    row(Call::Close, &[Errno::ENOSPC, Errno::EDQUOT], DISKS),
    row(Call::Read, &[Errno::EINTR], HANDLERS),
    row(Call::Write, &[Errno::EPERM], USERS),
    row(Call::Write, &[Errno::EINTR], HANDLERS),
    row(Call::Write, &[Errno::EFBIG, Errno::ENOSPC, Errno::EDQUOT], DISKS),
    row(Call::Splice, &[Errno::EINTR], HANDLERS),
    row(Call::Splice, &[Errno::ENOMEM], MEMORY),
    row(Call::Pipe, &[Errno::ENFILE, Errno::EMFILE], LIMITS),
    row(Call::Stat, &[Errno::EACCES], USERS),
    row(Call::Fchown, &[Errno::EPERM, Errno::EINVAL], USERS),
    row(Call::Fchown, &[Errno::EIO], DEVICES),
    row(Call::Fchown, &[Errno::EROFS], MOUNTS),
    row(Call::Fchmod, &[Errno::EPERM], USERS),
    row(Call::Fchmod, &[Errno::EIO], DEVICES),
    row(Call::Fchmod, &[Errno::EROFS], MOUNTS),
    row(Call::Rename, &[Errno::EPERM, Errno::EACCES], USERS),
    row(Call::Rename, &[Errno::EXDEV, Errno::EROFS], MOUNTS),
    row(Call::Rename, &[Errno::ENOSPC, Errno::EDQUOT], DISKS),
    row(Call::Unlink, &[Errno::EPERM, Errno::EACCES], USERS),
    row(Call::Unlink, &[Errno::EBUSY, Errno::EROFS], MOUNTS),
    row(Call::Mkdir, &[Errno::EACCES], USERS),
    row(Call::Mkdir, &[Errno::ENOSPC, Errno::EDQUOT], DISKS),
    row(Call::Mkdir, &[Errno::EROFS], MOUNTS),
    row(Call::Rmdir, &[Errno::EPERM, Errno::EACCES], USERS),
    row(Call::Rmdir, &[Errno::EBUSY, Errno::EROFS], MOUNTS),
    row(Call::Mkfifo, &[Errno::EACCES], USERS),
    row(Call::Mkfifo, &[Errno::ENOSPC, Errno::EDQUOT], DISKS),
    row(Call::Mkfifo, &[Errno::EROFS], MOUNTS),
    row(Call::Symlink, &[Errno::EACCES], USERS),
    row(Call::Symlink, &[Errno::ENOSPC, Errno::EDQUOT], DISKS),
    row(Call::Symlink, &[Errno::EROFS], MOUNTS),
    row(Call::ReadAt, &[Errno::EINTR], HANDLERS),
    row(Call::ReadAt, &[Errno::EIO], DEVICES),
    row(Call::ReadAt, &[Errno::ENODEV, Errno::EOPNOTSUPP], CGROUPS),
    row(Call::MemoryFile, &[Errno::ENOMEM], MEMORY),
    row(Call::MemoryFile, &[Errno::ENFILE, Errno::EMFILE], LIMITS),
    row(Call::MemoryFile, &[Errno::ENOSYS], OLDER),
    row(Call::EventCounter, &[Errno::ENOMEM], MEMORY),
    row(Call::EventCounter, &[Errno::ENODEV], DEVICES),
    row(Call::EventCounter, &[Errno::ENFILE, Errno::EMFILE], LIMITS),
    row(Call::Readlink, &[Errno::EACCES], USERS),
    row(Call::List, &[Errno::EACCES], USERS),
    row(Call::List, &[Errno::EMFILE], LIMITS),
    row(Call::Mount, &[], MOUNTS),
    row(Call::Unmount, &[], MOUNTS),
    row(Call::CloneTree, &[], NOT_THERE),
    row(Call::MapTreeIds, &[], NOT_THERE),
    row(Call::AttachTree, &[], NOT_THERE),
    row(Call::EnterNewUserNamespace, &[], NOT_THERE),
    row_of_all_but_misuse(
        Call::FreeLoopDevice,
        &[Errno::EINTR, Errno::ENOMEM, Errno::ENOSPC],
        LOOPS,
    ),
    row_of_all_but_misuse(
        Call::AttachLoopDevice,
        &[Errno::EINTR, Errno::EBUSY, Errno::EINVAL],
        LOOPS,
    ),
    row(Call::OpenPtyPeer, &[Errno::EINVAL], OLDER),
    row(Call::OpenPtyPeer, &[Errno::ENFILE, Errno::EMFILE], LIMITS),
    row(Call::SetTerminalAttributes, &[Errno::EINTR], HANDLERS),
    row(Call::SetTerminalAttributes, &[Errno::EIO], DEVICES),
    row(Call::Spawn, &[Errno::EPERM], USERS),
    row(Call::Spawn, &[Errno::E2BIG], LIMITS),
    row(Call::Spawn, &[Errno::EAGAIN, Errno::ENOMEM], MEMORY),
    row(Call::Spawn, &[Errno::ETXTBSY], RUNNING),
    row(Call::Exec, &[], EXEC),
    row(Call::Wait, &[Errno::EINTR], HANDLERS),
    row(Call::Kill, &[Errno::EPERM], USERS),
    row(Call::Pid, &[], OWN),
    row(Call::Parent, &[], OWN),
    row(Call::User, &[], OWN),
    row(Call::ShareCore, &[], CORES),
    row(Call::BecomeSubreaper, &[Errno::EINVAL], OLDER),
    row(Call::Signals, &[Errno::ENOMEM], MEMORY),
    row(Call::Signals, &[Errno::ENODEV], DEVICES),
    row(Call::Signals, &[Errno::ENFILE, Errno::EMFILE], LIMITS),
    row(Call::ReadSignal, &[Errno::EINTR], HANDLERS),
    row(Call::Poll, &[Errno::EINTR], HANDLERS),
    row(Call::Poll, &[Errno::ENOMEM], MEMORY),
    row(Call::Poll, &[Errno::EINVAL], LIMITS),
    row(Call::Now, &[], OWN),
    row(Call::WallClock, &[], OWN),
    row(Call::Socket, &[Errno::ENOMEM, Errno::ENOBUFS], MEMORY),
    row(Call::Socket, &[Errno::ENFILE, Errno::EMFILE], LIMITS),
    row(Call::Bind, &[Errno::EACCES], USERS),
    row(Call::Bind, &[Errno::EROFS], MOUNTS),
    row(Call::Listen, &[Errno::EOPNOTSUPP, Errno::EADDRINUSE], NOT_UNIX),
    row(Call::Accept, &[Errno::EINTR], HANDLERS),
    row(Call::Accept, &[Errno::ENOMEM], MEMORY),
    row(Call::Accept, &[Errno::ENFILE, Errno::EMFILE], LIMITS),
    row(Call::Accept, &[Errno::ECONNABORTED], NOT_UNIX),
    row(Call::Connect, &[Errno::EINTR], HANDLERS),
    row(Call::Connect, &[Errno::EACCES], USERS),
    row(Call::Send, &[Errno::EINTR], HANDLERS),
    row(Call::Send, &[Errno::EMSGSIZE, Errno::ETOOMANYREFS], LIMITS),
    row(Call::Send, &[Errno::ECONNRESET], NOT_UNIX),
    row(Call::Send, &[Errno::ENOBUFS], MEMORY),
    row(Call::Receive, &[Errno::EINTR], HANDLERS),
    row(Call::Receive, &[Errno::ENOTCONN], NOT_UNIX),
    row(Call::CurrentDir, &[Errno::EACCES], USERS),
    row(Call::ChangeDir, &[Errno::EACCES], USERS),
    row(Call::Environment, &[], OWN),
    row(Call::Random, &[], OWN),
];

/// What no single outcome stands for, and is not compared either.
pub(crate) const BESIDES: [&str; 6] = [
    "Two processes at one file at the same time, and calls that wait for another process, but for \
     `wait`.",
    "Mode bits of files that are made (they depend on the umask), links of /proc, and devices.",
    "Terminals: how much fits; tabs that are erased; the keys kill, word erase, reprint, literal \
     next, stop and start; VMIN and VTIME but 1 and 0; controlling terminals, foreground groups.",
    "Sockets: descriptors that are sent being used afterwards; listening queues but of one.",
    "Processes: /proc/PID/stat but for state, parent and group; cgroup, mountinfo, oom_score_adj; \
     environments and descriptors of children; signals beyond the usual.",
    "All of /sys/fs/cgroup.",
];
