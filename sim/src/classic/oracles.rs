//! What must hold of every run, whatever the flow and the order of events.

use std::path::{Path, PathBuf};

use super::flows::{Expected, Flow};
use super::lean;
use super::plan::Told;
use crate::run::{Failure, SETTLES};
use crate::{Leftover, Outcome, Trouble, World};

/// Something that must hold.
struct Oracle {
    name: &'static str,
    promise: &'static str,
    /// What speaks against it, if anything.
    objection: fn(&Seen<'_>) -> Option<String>,
}

/// What is known of a process when all is over.
struct Seen<'r> {
    expected: &'r Expected,
    told: &'r Told,
    trouble: Trouble,
    /// What the kernel says of its end, as `exitStatus` does.
    ended: Option<String>,
}

impl Seen<'_> {
    /// In trouble a process may have failed, if that was told: by the shim's exit code, in its log, or
    /// by there being no pid, as when its runtime could not make it.
    fn may_have_failed(&self) -> bool {
        let Told { shim_code, shim_log, pid, .. } = self.told;
        let is_told = *shim_code != Some(0) || !shim_log.is_empty() || pid.is_none();
        self.trouble.is_any() && is_told
    }
}

const ORACLES: [Oracle; 5] = [
    Oracle {
        name: "protocol",
        promise: "the daemon sees nothing that the protocol does not allow, whatever happened",
        objection: |seen| seen.told.astonished.clone(),
    },
    Oracle {
        name: "shim's end",
        promise: "the shim itself ends well, or as a failed start has to; in trouble, it ends",
        objection: |seen| {
            let code = seen.told.shim_code;
            let is_right = code == Some(seen.expected.shim_code);
            let fits = is_right || (seen.trouble.is_any() && code.is_some());
            (!fits).then(|| format!("its shim ended with {code:?}"))
        },
    },
    Oracle {
        name: "status",
        promise: "the exit status is there when the exit fifo hangs up, and is the process's own; \
                  in trouble there may be none, if that is told, but never another one",
        objection: status,
    },
    Oracle {
        name: "output",
        promise: "the client reads what the process wrote, whole and in order; in trouble it may \
                  be cut off, if that is told, but is right up to there; of a process that was \
                  never made the runtime says on stderr why",
        objection: output,
    },
    Oracle {
        name: "log",
        promise: "the shim's log says what went wrong, and nothing if nothing did",
        objection: |seen| {
            let log = &seen.told.shim_log;
            let fits = match seen.expected.log {
                _ if seen.trouble.is_any() => true,
                "" => log.is_empty(),
                text => log.contains(text),
            };
            (!fits).then(|| format!("the log does not say {:?}", seen.expected.log))
        },
    },
];

/// The first thing that is not as it was promised.
pub(super) fn verdict(
    world: &World,
    flow: &Flow,
    outcome: &Outcome,
    told: &[Told],
) -> Option<Failure> {
    let log = || told.iter().map(|told| told.shim_log.as_str()).collect();
    if *outcome != Outcome::Done || told.len() != flow.expected.len() {
        return Some(Failure { objection: outcome.to_string(), log: log(), ..SETTLES });
    }
    let differing = flow.expected.iter().zip(told).find_map(|(expected, told)| {
        let ended = told.pid.and_then(|pid| world.exit_status(pid));
        let ended = ended.map(|status| status.number().to_string());
        let seen = Seen { expected, told, trouble: world.trouble(), ended };
        let (oracle, objection) =
            ORACLES.iter().find_map(|oracle| Some((oracle, (oracle.objection)(&seen)?)))?;
        Some(Failure {
            oracle: oracle.name,
            promise: oracle.promise,
            objection: format!("{}: {objection}", told.process),
            log: told.shim_log.clone(),
        })
    });
    let zombie = world.zombie_of("containerd-shim").filter(|_| !flow.config.timers_race);
    let zombie = zombie.map(|objection| Failure {
        oracle: "zombies",
        promise: "a shim reaps whoever ends, within a second",
        objection,
        log: log(),
    });
    differing.or(zombie).or_else(|| {
        let said: String = log();
        let leaks = world.leaks(&lasting());
        let mut untold = leaks.iter().filter(|left| !is_told(world, &said, left));
        let left = untold.next()?.to_string();
        Some(Failure {
            oracle: "nothing left",
            promise: "no process, zombie, descriptor, fifo, socket or file is left; in trouble, \
                      once the daemon has cleaned up on a machine that is well again",
            objection: left,
            log: log(),
        })
    })
}

/// Where a console was awaited may be left, if it is told that it could not be removed.
fn is_told(world: &World, log: &str, left: &Leftover) -> bool {
    let Leftover::File(path) = left else { return false };
    let is_named = |path: &Path| log.contains(&format!("remove {}: ", path.display()));
    world.trouble().failed && (is_named(path) || path.parent().is_some_and(is_named))
}

/// The files that are there before and after.
fn lasting() -> Vec<PathBuf> {
    let programs = ["actor", "containerd-shim", "fake-runc", lean::NAME, "guest", "wavetank"];
    let programs = programs.iter().map(|name| Path::new("/bin").join(name));
    programs.chain(["/bin".into(), "/tmp".into()]).collect()
}

fn status(seen: &Seen<'_>) -> Option<String> {
    let (expected, told) = (&seen.expected.status, &seen.told.status);
    let is_given_up = told.is_none() && seen.may_have_failed();
    // What the daemon killed because it was not to be had did not end as it would have.
    let is_true = seen.trouble.is_any() && told.is_some() && *told == seen.ended;
    let fits = told == expected || is_given_up || is_true;
    (!fits).then(|| format!("its status is {told:?}, not {expected:?}"))
}

fn output(seen: &Seen<'_>) -> Option<String> {
    let Seen { told, expected, .. } = seen;
    let streams =
        [("stdout", &told.stdout, &expected.stdout), ("stderr", &told.stderr, &expected.stderr)];
    // Where there is no pid, nobody but the runtime has spoken.
    let is_made = told.pid.is_some() || !seen.trouble.is_any();
    let mut streams = streams.into_iter().filter(|it| is_made || it.0 == "stdout");
    streams.find_map(|(name, seen_bytes, wanted)| {
        let same = seen_bytes.iter().zip(wanted).take_while(|(one, other)| one == other).count();
        let is_cut = same == seen_bytes.len() && seen.may_have_failed();
        let (have, want) = (seen_bytes.len(), wanted.len());
        (seen_bytes != wanted && !is_cut)
            .then(|| format!("{name}: {have} bytes of {want}, the first {same} right"))
    })
}
