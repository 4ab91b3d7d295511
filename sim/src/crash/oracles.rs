//! What must hold whoever was killed, and when.

use std::path::PathBuf;

use wavetank::host::Pid;

use super::Flow;
use super::told::{Life, Told};
use crate::run::{Failure, SETTLES};
use crate::task::lasting;
use crate::task::plan::{Name, Process, container_of, exec_of};
use crate::{Leftover, Outcome, World};

/// Something that must hold.
struct Oracle {
    name: &'static str,
    promise: &'static str,
    /// What speaks against it, if anything.
    objection: fn(&Seen<'_>) -> Option<String>,
}

/// All that is known of a run.
struct Seen<'r> {
    world: &'r World,
    flow: &'r Flow,
    told: &'r Told,
    before: &'r [PathBuf],
}

const ORACLES: [Oracle; 8] = [
    Oracle {
        name: "no container lost",
        promise: "when all is over no process of a container or of a shim lives that no daemon knows of",
        objection: |seen| seen.told.lost.first().map(|lost| format!("{lost} lives on")),
    },
    Oracle {
        name: "cleaned up",
        promise: "no socket, state directory, bundle or container of the runtime is left",
        objection: |seen| seen.told.left.first().map(|left| format!("{left} is left")),
    },
    Oracle {
        name: "answers",
        promise: "the daemon can do what it has to do, at once or after the next look",
        objection: |seen| seen.told.wrong.first().cloned(),
    },
    Oracle {
        name: "converges",
        promise: "every container comes to its end in bounded time, with at most one more life for \
                  each crash",
        objection: converges,
    },
    Oracle {
        name: "truth",
        promise: "a status is the kernel's own, or after the shim was killed the 137 that the protocol \
                  has for what nobody knows",
        objection: truth,
    },
    Oracle {
        name: "agreement",
        promise: "no status contradicts one that was told before, nor does its time",
        objection: agreement,
    },
    Oracle {
        name: "goes on",
        promise: "a container whose shim was not killed goes on whatever becomes of the daemon: it ends \
                  by itself, its output comes whole, and its end is told as an event",
        objection: goes_on,
    },
    Oracle {
        name: "nothing left",
        promise: "no zombie, descriptor, mount or file is left",
        objection: leftover,
    },
];

/// The first thing that is not as it was promised.
pub(super) fn verdict(
    world: &World,
    flow: &Flow,
    outcome: &Outcome,
    told: &Told,
    before: &[PathBuf],
) -> Option<Failure> {
    let log = told.log.clone();
    if *outcome != Outcome::Done || told.end.is_none() {
        let wrong = told.wrong.first().map(|wrong| format!("; {wrong}")).unwrap_or_default();
        return Some(Failure { objection: format!("{outcome}{wrong}"), log, ..SETTLES });
    }
    let seen = Seen { world, flow, told, before };
    ORACLES.iter().find_map(|oracle| {
        let objection = (oracle.objection)(&seen)?;
        let Oracle { name, promise, .. } = *oracle;
        Some(Failure { oracle: name, promise, objection, log: log.clone() })
    })
}

impl Seen<'_> {
    /// Every process in every life of its container.
    fn lives(&self) -> impl Iterator<Item = (&Process, &Life)> {
        self.flow.plan.processes.iter().flat_map(|process| {
            let lives = self.told.lives.get(container_of(process.name)).into_iter().flatten();
            lives.map(move |life| (process, life))
        })
    }

    fn kernel_knows(&self, life: &Life, name: Name) -> Option<u32> {
        let pid = Pid(life.pids.get(name)?.cast_signed());
        Some(self.world.exit_status(pid)?.number().unsigned_abs())
    }
}

fn converges(seen: &Seen<'_>) -> Option<String> {
    let (end, limit) = (seen.told.end.unwrap_or_default(), seen.flow.limit);
    if end > limit {
        return Some(format!("over after {end:?}, not within {limit:?}"));
    }
    let crashes = usize::try_from(seen.world.faults_struck()).unwrap_or(usize::MAX);
    seen.flow.plan.processes.iter().filter(|it| exec_of(it.name).is_empty()).find_map(|init| {
        let lives = seen.told.lives.get(init.name).map_or(&[][..], Vec::as_slice);
        let is_over = lives.last().is_some_and(|life| life.over);
        if lives.len() > crashes + 1 {
            return Some(format!("{}: {} lives and {crashes} crashes", init.name, lives.len()));
        }
        (!is_over).then(|| format!("{} never came to its end", init.name))
    })
}

/// Where a terminal is handed over the shim has made a directory for the moment of it, as containerd's
/// shims do. When it is killed in that moment there is nobody who knows of the directory.
fn leftover(seen: &Seen<'_>) -> Option<String> {
    let is_of_console = |left: &Leftover| match left {
        Leftover::File(path) => path.starts_with("/tmp") && !seen.flow.spares_the_shim(),
        _ => false,
    };
    let left = seen.world.leaks(&lasting(seen.before));
    left.iter().find(|left| !is_of_console(left)).map(ToString::to_string)
}

fn truth(seen: &Seen<'_>) -> Option<String> {
    const UNKNOWN: u32 = 137;
    /// What containerd 0.2 says of a process that was gone already.
    const UNKNOWN_TO_0_2: u32 = 255;
    seen.lives().find_map(|(process, life)| {
        let known = seen.kernel_knows(life, process.name);
        life.exits.get(process.name)?.iter().find_map(|(source, exit)| {
            let may_be_unknown = match *source {
                "delete" => life.shim_lost && exit.status == UNKNOWN,
                "the daemon" => life.shim_lost && [UNKNOWN, UNKNOWN_TO_0_2].contains(&exit.status),
                _ => false,
            };
            (known != Some(exit.status) && !may_be_unknown).then(|| {
                format!("{source} of {}: {}, the kernel: {known:?}", process.name, exit.status)
            })
        })
    })
}

fn agreement(seen: &Seen<'_>) -> Option<String> {
    seen.lives().find_map(|(process, life)| {
        let exits = life.exits.get(process.name)?;
        let first = exits.first()?;
        let other = exits.iter().find(|exit| exit.1 != first.1)?;
        Some(format!("{}: {first:?} and {other:?}", process.name))
    })
}

/// Whether a shim may have been killed when its daemon had no more to ask of it: nobody is told of what
/// it still had to do.
fn has_secret_loss(seen: &Seen<'_>) -> bool {
    let lives = seen.told.lives.values().flatten();
    let lost = lives.filter(|life| life.shim_lost).count();
    !seen.flow.spares_the_shim() && lost < usize::try_from(seen.world.faults_struck()).unwrap_or(0)
}

fn goes_on(seen: &Seen<'_>) -> Option<String> {
    let is_secret = has_secret_loss(seen);
    seen.lives().find_map(|(process, life)| {
        let name = process.name;
        if !life.started.contains(name) {
            return None;
        }
        if life.shim_lost {
            let is_alone = seen.flow.spares_the_shim();
            return is_alone.then(|| format!("the shim of {name} was lost, and nobody killed it"));
        }
        let known = seen.kernel_knows(life, name);
        if !known.is_some_and(|status| process.ends.contains(&status)) {
            return Some(format!("{name} ended with {known:?}, not with {:?}", process.ends));
        }
        if seen.flow.tells_events() && !is_secret && !life.events.contains(name) {
            return Some(format!("the end of {name} was not told as an event"));
        }
        if exec_of(name).is_empty() && !life.exits.contains_key(name) {
            return Some(format!("nobody was told how {name} ended"));
        }
        let may_be_cut = process.may_be_cut || is_secret;
        let none = [Vec::new(), Vec::new()];
        let seen = life.outputs.get(name).unwrap_or(&none);
        let is_whole = |seen: &Vec<u8>, wrote: &Vec<u8>| {
            seen == wrote || (may_be_cut && wrote.starts_with(seen))
        };
        let streams = [("stdout", &process.stdout), ("stderr", &process.stderr)];
        streams.iter().zip(seen).find(|((_, wrote), seen)| !is_whole(seen, wrote)).map(
            |((stream, wrote), seen)| {
                format!("{name} {stream}: {} bytes of {}", seen.len(), wrote.len())
            },
        )
    })
}
