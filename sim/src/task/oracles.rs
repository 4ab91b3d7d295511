//! What must hold of every run, whatever the flow and the order of events.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wavetank::host::Mark;

use super::daemon::LATER;
use super::flows::Flow;
use super::plan::{Event, Exit, Process, Step, Told, container_of, exec_of};
use super::{SHIM, SOCKETS, lasting};
use crate::run::{Failure, SETTLES};
use crate::{Leftover, Outcome, Trouble, World};

/// More polls in a row without waiting are a loop that does nothing.
const ROW_MAX: u32 = 5000;

/// Something that must hold.
struct Oracle {
    name: &'static str,
    promise: &'static str,
    /// What speaks against it, if anything.
    objection: fn(&Run<'_>) -> Option<String>,
}

/// What `delete` says of a container whose end nobody recorded: it kills what is left.
const INVENTED: u32 = 137;

/// All that is known of a run.
struct Run<'r> {
    world: &'r World,
    flow: &'r Flow,
    told: &'r Told,
    before: &'r [PathBuf],
    trouble: Trouble,
}

const ORACLES: [Oracle; 15] = [
    Oracle {
        name: "answers",
        promise: "every call is answered, in one of the ways that the flow allows; in trouble it \
                  may be refused, or its connection break, but nobody waits for nothing",
        objection: |run| run.told.wrong.first().cloned(),
    },
    Oracle {
        name: "one exit",
        promise: "of every process that was made, and of no other, exactly one exit is told; none \
                  only if its server was lost or the daemon has given it up, and two never",
        objection: one_exit,
    },
    Oracle {
        name: "truth",
        promise: "an exit is told with the status that the kernel knows, and that the flow \
                  expects; only `delete` may say 137 of one that nobody recorded, in trouble",
        objection: truth,
    },
    Oracle {
        name: "promptness",
        promise: "an end is told soon after the process has ended, in trouble later",
        objection: promptness,
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
        promise: "the client reads what the process wrote, whole, in order, and then the end; in \
                  trouble it may be cut off, if that is told, but is right up to there",
        objection: output,
    },
    Oracle {
        name: "time",
        promise: "a flow is over when there is nothing more to wait for, in trouble later, but soon",
        objection: |run| {
            let later = if run.trouble.is_any() { LATER } else { Duration::ZERO };
            let end = run.told.end.saturating_sub(run.told.healed);
            let limit = run.flow.limit + later;
            (end > limit).then(|| format!("over after {end:?}, not within {limit:?}"))
        },
    },
    Oracle {
        name: "rest",
        promise: "whoever has nothing to do waits, and does not ask again and again; in trouble \
                  this was not looked at yet",
        objection: |run| {
            let (row, program) = run.world.longest_row();
            (row > ROW_MAX && !run.trouble.is_any())
                .then(|| format!("{program} has not waited in {row} polls"))
        },
    },
    Oracle {
        name: "nothing left",
        promise: "no process, zombie, descriptor, mount, fifo, socket or file is left; in trouble, \
                  once the daemon has cleaned up on a machine that is well again",
        objection: nothing_left,
    },
    Oracle {
        name: "zombies",
        promise: "a shim reaps whoever ends, within a second",
        // While a runtime hangs that makes a process, nobody knows who it is.
        objection: |run| {
            let may_wait = run.flow.config.timers_race || run.flow.is_disturbed;
            run.world.zombie_of(SHIM).filter(|_| !may_wait)
        },
    },
    Oracle {
        name: "log",
        promise: "the shims' log says what went wrong, and nothing if nothing did; in trouble, \
                  anything",
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
    let run = Run { world, flow, told, before, trouble: world.trouble() };
    ORACLES.iter().find_map(|oracle| {
        let objection = (oracle.objection)(&run)?;
        let Oracle { name, promise, .. } = *oracle;
        Some(Failure { oracle: name, promise, objection, log: log.clone() })
    })
}

fn silence(run: &Run<'_>) -> Option<String> {
    let (log, expected) = (&run.told.log, run.flow.log);
    let is_right = if expected.is_empty() { log.is_empty() } else { log.contains(expected) };
    (run.flow.log_counts && !run.trouble.is_any() && !is_right)
        .then(|| format!("the log does not say {expected:?}"))
}

impl Run<'_> {
    /// The events about a process, each one once: after a lost answer it may come again.
    fn events(&self, name: &str) -> Vec<&Event> {
        let mut events: Vec<&Event> =
            self.told.events.iter().filter(|event| event.name == name).collect();
        if self.flow.may_repeat_events || self.trouble.is_any() {
            events.dedup();
        }
        events
    }

    /// Its number, as it was answered, or else as an event had it.
    fn pid(&self, name: &str) -> u32 {
        let told = || self.events(name).iter().map(|event| event.pid).find(|pid| *pid != 0);
        self.told.pids.get(name).copied().or_else(told).unwrap_or(0)
    }

    /// Whether something may never have been told: its server was lost, or the daemon gave up, or in
    /// trouble nobody could be told as long as a shim waits for that.
    fn may_be_untold(&self) -> bool {
        let ended_untold = || self.world.marks().contains(&Mark::EndsUntold);
        self.told.lost || self.told.gave_up || self.trouble.failed && ended_untold()
    }

    /// Whether output may be cut off: the shim has said that something went wrong, or the daemon
    /// knows it, since it has given up or lost the server.
    fn has_told_of_loss(&self) -> bool {
        self.trouble.is_any() && (self.may_be_untold() || !self.told.log.is_empty())
    }

    /// Whether it was said of a directory, or of what is in it, that it could not be removed.
    fn has_told_of_left(&self, path: &Path) -> bool {
        let log = &self.told.log;
        let is_named =
            |call: &str, path: &Path| log.contains(&format!("{call} {}: ", path.display()));
        let is_of_console = path.parent().is_some_and(|parent| is_named("remove", parent));
        self.trouble.failed
            && (is_of_console || is_named("remove", path) || is_named("unlink", path))
    }

    /// Whether `delete` may have had to invent an end, for want of a record.
    fn may_be_unrecorded(&self) -> bool {
        self.flow.exit_is_unrecorded || self.trouble.is_any()
    }

    fn count(&self, name: &str, topic: &str) -> usize {
        self.events(name).iter().filter(|event| event.topic == topic).count()
    }

    /// What is in a fifo that nobody has open is lost.
    fn has_daemon_died(&self) -> bool {
        self.flow.plan.threads.iter().flatten().any(|step| matches!(step, Step::Die))
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
        if process.is_disturbed {
            // An answer may be lost, and with a server all that it has not told.
            let is_missing = was_made && count == 0 && !run.told.lost && !process.may_vanish;
            return (count > 1 || is_missing)
                .then(|| format!("{name}: {count} exits; it was made: {was_made}"));
        }
        let may_be_none = process.may_vanish || run.may_be_untold();
        let fits = count == usize::from(was_made) || (may_be_none && count == 0);
        // Whoever gave it up may not have heard that it was made.
        let fits = fits || (run.may_be_untold() && count == 1);
        (!fits).then(|| format!("{name}: {count} exits; it was made: {was_made}"))
    })
}

fn truth(run: &Run<'_>) -> Option<String> {
    run.told.exits.iter().find_map(|(name, exits)| {
        let process = run.processes().find(|process| process.name == name.as_str());
        let Some(process) = process else { return Some(format!("an exit of {name}")) };
        let pid = run.pid(name);
        let known = run.world.exit_status(wavetank::host::Pid(pid.cast_signed()));
        let known = known.map(|status| status.number().unsigned_abs());
        let counts = |source: &str, exit: &Exit| {
            source != "delete" || !run.may_be_unrecorded() || exit.status != INVENTED
        };
        exits.iter().filter(|exit| counts(exit.0, &exit.1)).find_map(|(source, exit)| {
            let status = exit.status;
            // Where numbers come again, the kernel's list does not say whose exit it was.
            let is_unheard = process.is_disturbed && pid == 0;
            let is_known = run.flow.config.pid_max > 1000 && !is_unheard;
            if is_known && known != Some(status) {
                return Some(format!("{source} of {name}: {status}, but pid {pid}: {known:?}"));
            }
            let expected = &process.ends;
            // The daemon kills what it gives up, and so it ended.
            let is_expected = expected.contains(&status)
                || run.told.gave_up && status == INVENTED
                || process.is_disturbed;
            (!is_expected).then(|| format!("{source} of {name}: {status}, not of {expected:?}"))
        })
    })
}

/// Without a clock of its own an event has the shim's time, which is that of the machine.
fn promptness(run: &Run<'_>) -> Option<String> {
    if run.flow.config.pid_max <= 1000 {
        return None;
    }
    run.told.exits.iter().find_map(|(name, exits)| {
        let pid = run.told.pids.get(name)?;
        let ended = run.world.exit_time(wavetank::host::Pid(pid.cast_signed()))?;
        // What hangs until it is healed keeps an end as long; others are never healed.
        let ended = run.flow.config.wall_clock + ended.max(run.told.healed);
        let (_, exit) = exits.iter().find(|(source, _)| *source == "TaskExit")?;
        let at = Duration::new(exit.at.0.cast_unsigned(), exit.at.1.cast_unsigned());
        let late = at.saturating_sub(ended);
        let later = if run.trouble.is_any() { LATER } else { Duration::ZERO };
        (late > run.flow.prompt + later).then(|| format!("{name}: its end was told after {late:?}"))
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
        if was_started != start_told
            && !run.flow.shim_is_killed
            && !process.may_vanish
            && !run.may_be_untold()
            && !process.is_disturbed
        {
            return Some(format!("{name}: started: {was_started}; {:?}", told()));
        }
        let pids = run.events(name).into_iter().filter(|event| event.pid != 0);
        let pid = run.pid(name);
        let is_unknown = process.is_disturbed && pid == 0;
        let other = pids.map(|event| event.pid).find(|told| *told != pid && !is_unknown)?;
        Some(format!("{name}: pid {other} in an event, and {pid} in an answer"))
    })
}

fn deletions(run: &Run<'_>) -> Option<String> {
    let containers = run.told.deleted.iter().filter(|name| exec_of(name).is_empty());
    let mut untold = containers.filter(|name| run.count(name, "/tasks/delete") == 0);
    let name = untold.next().filter(|_| !run.flow.shim_is_killed && !run.may_be_untold())?;
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

fn nothing_left(run: &Run<'_>) -> Option<String> {
    let left = run.world.leaks(&lasting(run.before));
    // The socket of a server that was lost is replaced by the next one.
    let is_replaced = |left: &Leftover| matches!(left, Leftover::File(path) if path.starts_with(SOCKETS) && run.told.lost);
    // Where a console was awaited, or a socket, and that it could not be removed is told.
    let is_told =
        |left: &Leftover| matches!(left, Leftover::File(path) if run.has_told_of_left(path));
    left.iter().find(|left| !is_replaced(left) && !is_told(left)).map(ToString::to_string)
}

fn init_last(run: &Run<'_>) -> Option<String> {
    let exits = || run.told.events.iter().filter(|event| event.topic == "/tasks/exit");
    // An event may come again after a lost answer; what counts is when it first came.
    let first = |name: &str| exits().position(|exit| exit.name == name);
    run.processes().map(|process| process.name).find_map(|name| {
        let init = container_of(name);
        let is_late = first(name)? > first(init)?;
        (name != init && is_late).then(|| format!("{name} after its init"))
    })
}

fn agreement(run: &Run<'_>) -> Option<String> {
    run.told.exits.iter().find_map(|(name, exits)| {
        // Where the record could not be written, `delete` has to invent an end.
        let counts = |source: &str| !run.may_be_unrecorded() || source != "delete";
        let mut exits = exits.iter().filter(|exit| counts(exit.0));
        let first = exits.next()?;
        let other = exits.find(|exit| exit.1 != first.1)?;
        Some(format!("{name}: {first:?} and {other:?}"))
    })
}

fn output(run: &Run<'_>) -> Option<String> {
    run.processes().find_map(|process| {
        let name = process.name;
        if process.is_disturbed && run.has_daemon_died() {
            return None;
        }
        let may_be_unended = process.is_never_opened
            || process.is_disturbed
            || run.may_be_untold()
            || run.has_told_of_loss();
        if run.told.unended.iter().any(|it| it == name) && !may_be_unended {
            return Some(format!("{name}: its output has not come to its end"));
        }
        let seen = run.told.outputs.get(name)?;
        let streams =
            [("stdout", &seen[0], &process.stdout), ("stderr", &seen[1], &process.stderr)];
        // What a runtime says of its failing goes where the process would have spoken.
        let is_made = run.told.pids.contains_key(name);
        // A runtime that fails speaks on a terminal, too; and one that cannot read its script runs
        // something else.
        let mut faults = run.flow.faults.iter();
        let is_of_runtime = faults.any(|fault| fault.program.as_deref() != Some(SHIM));
        // Who counts what comes counts less if its server was lost with some of it.
        let is_short = run.told.lost && !process.input.is_empty();
        let is_spoilt = process.is_disturbed && (process.terminal || is_of_runtime || is_short);
        let speaks_for_itself = !is_spoilt && (!process.may_vanish || is_made);
        let runtime_speaks = process.runtime_speaks || process.is_disturbed;
        let counts = |stream: &str| stream == "stdout" || !runtime_speaks;
        let streams = streams.into_iter().filter(|it| speaks_for_itself && counts(it.0));
        streams.into_iter().find_map(|(stream, seen, wrote)| {
            let same = seen.iter().zip(wrote).take_while(|(one, other)| one == other).count();
            let may_be_cut = process.may_be_cut || process.is_disturbed || run.has_told_of_loss();
            let cut = may_be_cut && same == seen.len();
            let (have, want) = (seen.len(), wrote.len());
            (seen != wrote && !cut)
                .then(|| format!("{name} {stream}: {have} bytes of {want}, the first {same} right"))
        })
    })
}
