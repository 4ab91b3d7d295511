//! What must hold of every run, whatever the flow and the order of events.

use std::path::PathBuf;

use super::flows::Flow;
use super::plan::{Event, Process, Told, container_of, exec_of};
use super::{SHIM, lasting};
use crate::run::{Failure, SETTLES};
use crate::{Outcome, World};

/// Something that must hold.
struct Oracle {
    name: &'static str,
    promise: &'static str,
    /// What speaks against it, if anything.
    objection: fn(&Run<'_>) -> Option<String>,
}

/// All that is known of a run.
struct Run<'r> {
    world: &'r World,
    flow: &'r Flow,
    told: &'r Told,
    before: &'r [PathBuf],
}

const ORACLES: [Oracle; 13] = [
    Oracle {
        name: "answers",
        promise: "every call is answered, in one of the ways that the flow allows",
        objection: |run| run.told.wrong.first().cloned(),
    },
    Oracle {
        name: "one exit",
        promise: "of every process that was made, and of no other, exactly one exit is told",
        objection: one_exit,
    },
    Oracle {
        name: "truth",
        promise: "an exit is told with the status that the kernel knows, and that the flow expects",
        objection: truth,
    },
    Oracle {
        name: "order",
        promise: "of a process is told, in this order: added or created, started, ended, deleted",
        objection: order,
    },
    Oracle {
        name: "deletions",
        promise: "every container's deletion that was answered well is told",
        objection: deletions,
    },
    Oracle {
        name: "memory",
        promise: "of a container is told that it was killed for want of memory only if it was, and \
                  before its end",
        objection: memory,
    },
    Oracle {
        name: "init last",
        promise: "the exits of execs are told before that of their container's init",
        objection: init_last,
    },
    Oracle {
        name: "agreement",
        promise: "events, Wait, State, Delete and `delete` name one status and one time",
        objection: agreement,
    },
    Oracle {
        name: "output",
        promise: "the client reads what the process wrote, whole, in order, and then the end",
        objection: output,
    },
    Oracle {
        name: "time",
        promise: "a flow is over when there is nothing more to wait for",
        objection: |run| {
            let (end, limit) = (run.told.end, run.flow.limit);
            (end > limit).then(|| format!("over after {end:?}, not within {limit:?}"))
        },
    },
    Oracle {
        name: "nothing left",
        promise: "no process, zombie, descriptor, mount, fifo, socket or file is left",
        objection: |run| run.world.leaks(&lasting(run.before)).first().map(ToString::to_string),
    },
    Oracle {
        name: "zombies",
        promise: "a shim reaps whoever ends, within a second",
        objection: |run| run.world.zombie_of(SHIM).filter(|_| !run.flow.config.timers_race),
    },
    Oracle {
        name: "log",
        promise: "the shims' log says what went wrong, and nothing if nothing did",
        objection: silence,
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
    if *outcome != Outcome::Done {
        let wrong = told.wrong.iter().map(|wrong| format!("; {wrong}")).next().unwrap_or_default();
        return Some(Failure { objection: format!("{outcome}{wrong}"), log, ..SETTLES });
    }
    let run = Run { world, flow, told, before };
    ORACLES.iter().find_map(|oracle| {
        let objection = (oracle.objection)(&run)?;
        let Oracle { name, promise, .. } = *oracle;
        Some(Failure { oracle: name, promise, objection, log: log.clone() })
    })
}

fn silence(run: &Run<'_>) -> Option<String> {
    let (log, expected) = (&run.told.log, run.flow.log);
    let is_right = if expected.is_empty() { log.is_empty() } else { log.contains(expected) };
    (run.flow.log_counts && !is_right).then(|| format!("the log does not say {expected:?}"))
}

impl Run<'_> {
    /// The events about a process, each one once: after a lost answer it may come again.
    fn events(&self, name: &str) -> Vec<&Event> {
        let mut events: Vec<&Event> =
            self.told.events.iter().filter(|event| event.name == name).collect();
        if self.flow.may_repeat_events {
            events.dedup();
        }
        events
    }

    fn count(&self, name: &str, topic: &str) -> usize {
        self.events(name).iter().filter(|event| event.topic == topic).count()
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.flow.plan.processes.iter()
    }
}

fn one_exit(run: &Run<'_>) -> Option<String> {
    if run.flow.shim_is_killed {
        return None;
    }
    run.processes().find_map(|process| {
        let name = process.name;
        let was_made = run.told.pids.contains_key(name);
        let count = run.count(name, "/tasks/exit");
        (count != usize::from(was_made) && !(process.may_vanish && count == 0))
            .then(|| format!("{name}: {count} exits; it was made: {was_made}"))
    })
}

fn truth(run: &Run<'_>) -> Option<String> {
    run.told.exits.iter().find_map(|(name, exits)| {
        let process = run.processes().find(|process| process.name == name.as_str());
        let Some(process) = process else { return Some(format!("an exit of {name}")) };
        let pid = run.told.pids.get(name).copied().unwrap_or(0);
        let known = run.world.exit_status(wavetank::host::Pid(pid.cast_signed()));
        let known = known.map(|status| status.number().unsigned_abs());
        let counts = |source: &str| !run.flow.exit_is_unrecorded || source != "delete";
        exits.iter().filter(|exit| counts(exit.0)).find_map(|(source, exit)| {
            let status = exit.status;
            // Where numbers come again, the kernel's list does not say whose exit it was.
            let is_known = run.flow.config.pid_max > 1000;
            if is_known && known != Some(status) {
                return Some(format!("{source} of {name}: {status}, but pid {pid}: {known:?}"));
            }
            let expected = &process.ends;
            (!expected.contains(&status))
                .then(|| format!("{source} of {name}: {status}, not of {expected:?}"))
        })
    })
}

fn order(run: &Run<'_>) -> Option<String> {
    const INIT: [&str; 4] = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
    const EXEC: [&str; 3] = ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"];
    run.processes().find_map(|process| {
        let name = process.name;
        let topics = if exec_of(name).is_empty() { &INIT[..] } else { &EXEC };
        let places: Vec<usize> = run
            .events(name)
            .iter()
            .filter_map(|event| topics.iter().position(|topic| *topic == event.topic))
            .collect();
        let told = || places.iter().map(|place| topics[*place]).collect::<Vec<_>>();
        // The name of an exec that was deleted may be given to another.
        let is_sorted = |one: &[usize]| one.windows(2).all(|pair| pair[0] < pair[1]);
        let is_another = |_: &usize, next: &usize| !exec_of(name).is_empty() && *next == 0;
        if !places.chunk_by(|one, next| !is_another(one, next)).all(is_sorted) {
            return Some(format!("{name}: {:?}", told()));
        }
        let was_started = run.told.started.iter().any(|started| started == name);
        let start_told = places.contains(&1);
        if was_started != start_told && !run.flow.shim_is_killed && !process.may_vanish {
            return Some(format!("{name}: started: {was_started}; {:?}", told()));
        }
        let pids = run.events(name).into_iter().filter(|event| event.pid != 0);
        let pid = run.told.pids.get(name).copied().unwrap_or(0);
        let other = pids.map(|event| event.pid).find(|told| *told != pid)?;
        Some(format!("{name}: pid {other} in an event, and {pid} in an answer"))
    })
}

fn deletions(run: &Run<'_>) -> Option<String> {
    let containers = run.told.deleted.iter().filter(|name| exec_of(name).is_empty());
    let mut untold = containers.filter(|name| run.count(name, "/tasks/delete") == 0);
    let name = untold.next().filter(|_| !run.flow.shim_is_killed)?;
    Some(format!("{name} was deleted, and nobody was told"))
}

fn memory(run: &Run<'_>) -> Option<String> {
    run.processes().find_map(|process| {
        let events = run.events(process.name);
        let place = |topic| events.iter().position(|event| event.topic == topic);
        let killed = events.iter().filter(|event| event.topic == "/tasks/oom").count();
        if killed > run.told.memory_kills as usize {
            return Some(format!("{}: {killed} of {} kills", process.name, run.told.memory_kills));
        }
        let (killed, ended) = (place("/tasks/oom")?, place("/tasks/exit")?);
        (killed > ended).then(|| format!("{}: after its end", process.name))
    })
}

fn init_last(run: &Run<'_>) -> Option<String> {
    let exits = || run.told.events.iter().enumerate().filter(|(_, it)| it.topic == "/tasks/exit");
    exits().find_map(|(place, exit)| {
        let (init, exec) = (container_of(&exit.name), exec_of(&exit.name));
        let earlier = exits().any(|(other, it)| other < place && it.name == init);
        (!exec.is_empty() && earlier && !run.flow.may_repeat_events)
            .then(|| format!("{} after its init", exit.name))
    })
}

fn agreement(run: &Run<'_>) -> Option<String> {
    run.told.exits.iter().find_map(|(name, exits)| {
        // Where the record could not be written, `delete` has to invent an end.
        let counts = |source: &str| !run.flow.exit_is_unrecorded || source != "delete";
        let mut exits = exits.iter().filter(|exit| counts(exit.0));
        let first = exits.next()?;
        let other = exits.find(|exit| exit.1 != first.1)?;
        Some(format!("{name}: {first:?} and {other:?}"))
    })
}

fn output(run: &Run<'_>) -> Option<String> {
    run.processes().find_map(|process| {
        let name = process.name;
        if run.told.unended.iter().any(|it| it == name) && !process.is_never_opened {
            return Some(format!("{name}: its output has not come to its end"));
        }
        let seen = run.told.outputs.get(name)?;
        let streams =
            [("stdout", &seen[0], &process.stdout), ("stderr", &seen[1], &process.stderr)];
        // What a runtime says of its failing goes where the process would have spoken.
        let speaks_for_itself = !process.may_vanish || run.told.pids.contains_key(name);
        let counts = |stream: &str| stream == "stdout" || !process.runtime_speaks;
        let streams = streams.into_iter().filter(|it| speaks_for_itself && counts(it.0));
        streams.into_iter().find_map(|(stream, seen, wrote)| {
            let same = seen.iter().zip(wrote).take_while(|(one, other)| one == other).count();
            let cut = process.may_be_cut && same == seen.len();
            let (have, want) = (seen.len(), wrote.len());
            (seen != wrote && !cut)
                .then(|| format!("{name} {stream}: {have} bytes of {want}, the first {same} right"))
        })
    })
}
