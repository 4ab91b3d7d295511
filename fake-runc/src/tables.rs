//! The flags of every subcommand: those of runc 1.1, and those of 2016 that are gone since.

use crate::flags::{Flag, Order, switch, value};
use crate::script::Subcommand;

pub(crate) const GLOBAL: &[Flag] = &[
    switch(&["debug"]),
    switch(&["help", "h"]),
    switch(&["systemd-cgroup"]),
    switch(&["version", "v"]),
    value(&["criu"]),
    value(&["log"]),
    value(&["log-format"]),
    value(&["root"]),
    value(&["rootless"]),
];

const CREATE: &[Flag] = &[
    switch(&["help", "h"]),
    switch(&["no-new-keyring"]),
    switch(&["no-pivot"]),
    value(&["bundle", "b"]),
    value(&["console"]),
    value(&["console-socket"]),
    value(&["pid-file"]),
    value(&["pidfd-socket"]),
    value(&["preserve-fds"]),
];

/// `run` and the `start` of 2016.
const RUN: &[Flag] = &[
    switch(&["detach", "d"]),
    switch(&["help", "h"]),
    switch(&["keep"]),
    switch(&["no-new-keyring"]),
    switch(&["no-pivot"]),
    switch(&["no-subreaper"]),
    value(&["bundle", "b"]),
    value(&["console"]),
    value(&["console-socket"]),
    value(&["pid-file"]),
    value(&["pidfd-socket"]),
    value(&["preserve-fds"]),
];

const EXEC: &[Flag] = &[
    switch(&["detach", "d"]),
    switch(&["help", "h"]),
    switch(&["ignore-paused"]),
    switch(&["no-new-privs"]),
    switch(&["no-subreaper"]),
    switch(&["tty", "t"]),
    value(&["additional-gids", "g"]),
    value(&["apparmor"]),
    value(&["cap", "c"]),
    value(&["cgroup"]),
    value(&["console"]),
    value(&["console-socket"]),
    value(&["cwd"]),
    value(&["env", "e"]),
    value(&["pid-file"]),
    value(&["pidfd-socket"]),
    value(&["preserve-fds"]),
    value(&["process", "p"]),
    value(&["process-label"]),
    value(&["user", "u"]),
];

const RESTORE: &[Flag] = &[
    switch(&["auto-dedup"]),
    switch(&["detach", "d"]),
    switch(&["ext-unix-sk"]),
    switch(&["file-locks"]),
    switch(&["help", "h"]),
    switch(&["keep"]),
    switch(&["lazy-pages"]),
    switch(&["no-pivot"]),
    switch(&["no-subreaper"]),
    switch(&["shell-job"]),
    switch(&["tcp-established"]),
    value(&["bundle", "b"]),
    value(&["console"]),
    value(&["console-socket"]),
    value(&["empty-ns"]),
    value(&["image-path"]),
    value(&["lsm-mount-context"]),
    value(&["lsm-profile"]),
    value(&["manage-cgroups-mode"]),
    value(&["parent-path"]),
    value(&["pid-file"]),
    value(&["preserve-fds"]),
    value(&["work-path"]),
];

const CHECKPOINT: &[Flag] = &[
    switch(&["auto-dedup"]),
    switch(&["ext-unix-sk"]),
    switch(&["file-locks"]),
    switch(&["help", "h"]),
    switch(&["lazy-pages"]),
    switch(&["leave-running"]),
    switch(&["link-remap"]),
    switch(&["pre-dump"]),
    switch(&["shell-job"]),
    switch(&["tcp-established"]),
    switch(&["tcp-skip-in-flight"]),
    value(&["empty-ns"]),
    value(&["image-path"]),
    value(&["manage-cgroups-mode"]),
    value(&["page-server"]),
    value(&["parent-path"]),
    value(&["status-fd"]),
    value(&["work-path"]),
];

const UPDATE: &[Flag] = &[
    switch(&["help", "h"]),
    value(&["blkio-weight"]),
    value(&["cpu-burst"]),
    value(&["cpu-idle"]),
    value(&["cpu-period"]),
    value(&["cpu-quota"]),
    value(&["cpu-rt-period"]),
    value(&["cpu-rt-runtime"]),
    value(&["cpu-share"]),
    value(&["cpuset-cpus"]),
    value(&["cpuset-mems"]),
    value(&["kernel-memory"]),
    value(&["kernel-memory-tcp"]),
    value(&["l3-cache-schema"]),
    value(&["mem-bw-schema"]),
    value(&["memory"]),
    value(&["memory-reservation"]),
    value(&["memory-swap"]),
    value(&["pids-limit"]),
    value(&["resources", "r"]),
];

const DELETE: &[Flag] = &[switch(&["force", "f"]), switch(&["help", "h"])];
const EVENTS: &[Flag] = &[switch(&["help", "h"]), switch(&["stats"]), value(&["interval"])];
const KILL: &[Flag] = &[switch(&["all", "a"]), switch(&["help", "h"])];
const LIST: &[Flag] = &[switch(&["help", "h"]), switch(&["quiet", "q"]), value(&["format", "f"])];
const PS: &[Flag] = &[switch(&["help", "h"]), value(&["format", "f"])];
const SPEC: &[Flag] = &[switch(&["help", "h"]), switch(&["rootless"]), value(&["bundle", "b"])];
const NONE: &[Flag] = &[switch(&["help", "h"])];

/// The flags that a subcommand knows, and where they may stand.
pub(crate) fn of(word: Subcommand) -> (&'static [Flag], Order) {
    match word {
        Subcommand::Create => (CREATE, Order::Anywhere),
        Subcommand::Run | Subcommand::Start => (RUN, Order::Anywhere),
        Subcommand::Exec => (EXEC, Order::FlagsFirst),
        Subcommand::Restore => (RESTORE, Order::Anywhere),
        Subcommand::Checkpoint => (CHECKPOINT, Order::Anywhere),
        Subcommand::Delete => (DELETE, Order::Anywhere),
        Subcommand::Events => (EVENTS, Order::Anywhere),
        Subcommand::Kill => (KILL, Order::Anywhere),
        Subcommand::List => (LIST, Order::Anywhere),
        Subcommand::Ps => (PS, Order::FlagsFirst),
        Subcommand::Spec => (SPEC, Order::Anywhere),
        Subcommand::Update => (UPDATE, Order::Anywhere),
        Subcommand::Pause | Subcommand::Resume | Subcommand::State | Subcommand::Features => {
            (NONE, Order::Anywhere)
        }
    }
}
