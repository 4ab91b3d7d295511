//! What must hold of every run, whatever the flow and the order of events.

use std::path::{Path, PathBuf};

use super::flows::{Expected, Flow};
use super::plan::Told;
use crate::run::{Failure, SETTLES};
use crate::{Outcome, World};

/// Something that must hold.
struct Oracle {
    name: &'static str,
    promise: &'static str,
    /// What speaks against it, if anything.
    objection: fn(&Expected, &Told) -> Option<String>,
}

const ORACLES: [Oracle; 5] = [
    Oracle {
        name: "protocol",
        promise: "the daemon sees nothing that the protocol does not allow",
        objection: |_, told| told.astonished.clone(),
    },
    Oracle {
        name: "shim's end",
        promise: "the shim itself ends well, or as a failed start has to",
        objection: |expected, told| {
            let differs = told.shim_code != Some(expected.shim_code);
            differs.then(|| format!("its shim ended with {:?}", told.shim_code))
        },
    },
    Oracle {
        name: "status",
        promise: "the exit status is there when the exit fifo hangs up, and is the process's own",
        objection: |expected, told| {
            let differs = told.status != expected.status;
            differs.then(|| format!("its status is {:?}, not {:?}", told.status, expected.status))
        },
    },
    Oracle {
        name: "output",
        promise: "the client reads what the process wrote, whole and in order",
        objection: output,
    },
    Oracle {
        name: "log",
        promise: "the shim's log says what went wrong, and nothing if nothing did",
        objection: |expected, told| {
            let fits = match expected.log {
                "" => told.shim_log.is_empty(),
                text => told.shim_log.contains(text),
            };
            (!fits).then(|| format!("the log does not say {:?}", expected.log))
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
        let (oracle, objection) = ORACLES
            .iter()
            .find_map(|oracle| Some((oracle, (oracle.objection)(expected, told)?)))?;
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
        let left = world.leaks(&lasting()).first()?.to_string();
        Some(Failure {
            oracle: "nothing left",
            promise: "no process, zombie, descriptor, fifo, socket or file is left",
            objection: left,
            log: log(),
        })
    })
}

/// The files that are there before and after.
fn lasting() -> Vec<PathBuf> {
    let programs = ["actor", "containerd-shim", "fake-runc", "guest", "wavetank"];
    let programs = programs.iter().map(|name| Path::new("/bin").join(name));
    programs.chain(["/bin".into(), "/tmp".into()]).collect()
}

fn output(expected: &Expected, told: &Told) -> Option<String> {
    let streams =
        [("stdout", &told.stdout, &expected.stdout), ("stderr", &told.stderr, &expected.stderr)];
    streams.into_iter().find(|(_, seen, wanted)| seen != wanted).map(|(name, seen, wanted)| {
        let same = seen.iter().zip(wanted).take_while(|(one, other)| one == other).count();
        format!("{name}: {} bytes of {}, the first {same} right", seen.len(), wanted.len())
    })
}
