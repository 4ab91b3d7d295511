//! A run as a timeline that people can look at: who took part, what happened, what was objected.

mod html;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;
use wavetank::host::{Pid, Signal};

use crate::Choose;
use crate::choose::Recorded;
use crate::event::{Choice, Event, What};
use crate::flow::{Case, Flow};
use crate::run::Failure;
use crate::tape::Tape;

pub use html::page;
pub use text::text;

/// A run, told.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// What was run.
    pub case: Case,
    /// The tape that gives this run again, as its file has it.
    pub tape: String,
    /// Answers that are not the plain one.
    pub decisions: usize,
    /// Questions that had more than one answer.
    pub questions: usize,
    /// The first thing that is not as it was promised, if any.
    pub failure: Option<Failure>,
    /// Same for runs in which the same happened.
    pub hash: u64,
    /// Everybody who took part: by kind, and in each kind in the order of their births.
    pub actors: Vec<Actor>,
    /// All that happened, in that order.
    pub moments: Vec<Moment>,
}

/// Who took part. A pid that was used twice is two of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Actor {
    /// Its number.
    pub pid: i32,
    /// What it is in the play.
    pub kind: Kind,
    /// For people: its program, and what it is told to do.
    pub name: String,
    /// The words that it was started with.
    pub argv: Vec<String>,
    /// Its parent's place among the actors; none if that is init.
    pub parent: Option<usize>,
    /// The first of its moments.
    pub from: usize,
    /// The last of its moments.
    pub to: usize,
}

/// What somebody is in the play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The daemon with its client, or a user.
    Daemon,
    /// The shim that stays.
    Shim,
    /// A program that the shim's own file runs for a moment.
    Helper,
    /// The runtime.
    Runtime,
    /// A process of the container, or what is to become one.
    Container,
    /// Somebody else.
    Other,
}

/// Something that happened, and its place in the story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// Whose it is, as a place among the actors.
    pub actor: usize,
    /// The moment at which the call began to wait that is over now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<usize>,
    /// The place on the tape of the first of the event's choices.
    pub place: usize,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl Kind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Kind; 6] =
        [Kind::Daemon, Kind::Shim, Kind::Helper, Kind::Runtime, Kind::Container, Kind::Other];

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Daemon => "daemon",
            Kind::Shim => "shim",
            Kind::Helper => "helper",
            Kind::Runtime => "runtime",
            Kind::Container => "container",
            Kind::Other => "other",
        }
    }

    fn of(program: &str, argv: &[String]) -> Kind {
        let has = |words: &[&str]| argv.iter().any(|word| words.contains(&word.as_str()));
        match program {
            "actor" | "wavetank" => Kind::Daemon,
            "containerd-shim" => Kind::Shim,
            "containerd-shim-wavetank-v2" if has(&["start", "delete", "mount"]) => Kind::Helper,
            "containerd-shim-wavetank-v2" => Kind::Shim,
            "runc" | "fake-runc" if argv.get(1).is_some_and(|word| word == "init") => {
                Kind::Container
            }
            "runc" | "fake-runc" => Kind::Runtime,
            "guest" => Kind::Container,
            _ => Kind::Other,
        }
    }
}

/// What a program is told to do: the first word that is one of its orders, or the first of all.
fn order(argv: &[String]) -> &str {
    const ORDERS: [&str; 12] = [
        "start",
        "delete",
        "mount",
        "init",
        "create",
        "run",
        "exec",
        "kill",
        "ps",
        "pause",
        "resume",
        "checkpoint",
    ];
    let words = argv.iter().skip(1).map(String::as_str);
    let found = words.clone().find(|word| ORDERS.contains(word));
    found.or_else(|| words.clone().find(|word| !word.starts_with('-'))).unwrap_or_default()
}

fn name_of(program: &str, kind: Kind, argv: &[String]) -> String {
    let short = program.strip_prefix("containerd-").unwrap_or(program);
    let short = short.strip_suffix("-wavetank-v2").unwrap_or(short);
    match (kind, order(argv)) {
        (Kind::Daemon | Kind::Shim, _) | (_, "") => short.to_owned(),
        (_, order) => format!("{short} {order}"),
    }
}

impl Story {
    /// Runs a flow once and tells of it.
    #[must_use]
    pub fn of(case: &Case, flow: &Flow, chooser: impl Choose) -> Story {
        let mut recorded = Recorded::new(chooser);
        let run = flow.run(&mut recorded, true);
        let answers = recorded.into_tape();
        let questions = answers.len();
        let in_world: usize = run.events.iter().map(|event| event.choices.len()).sum();
        let tape = Tape::new(case.clone(), answers);
        let (actors, moments) = cast(run.events, questions.saturating_sub(in_world));
        Story {
            case: case.clone(),
            decisions: tape.decisions(),
            tape: tape.to_string(),
            questions,
            failure: run.failure,
            hash: run.hash,
            actors,
            moments,
        }
    }
}

/// Finds out who took part. The first choice of the events is at `place` of the tape.
fn cast(events: Vec<Event>, mut place: usize) -> (Vec<Actor>, Vec<Moment>) {
    let mut actors: Vec<Actor> = Vec::new();
    let mut alive: BTreeMap<i32, usize> = BTreeMap::new();
    let mut waiting: BTreeMap<usize, usize> = BTreeMap::new();
    let mut moments: Vec<Moment> = Vec::new();
    for event in events {
        let at = moments.len();
        let pid = event.pid.0;
        if let What::Born { parent, argv } = &event.what {
            let kind = Kind::of(&event.program, argv);
            alive.insert(pid, actors.len());
            actors.push(Actor {
                pid,
                kind,
                name: name_of(&event.program, kind, argv),
                argv: argv.clone(),
                parent: alive.get(&parent.0).copied(),
                from: at,
                to: at,
            });
        }
        // Of init nothing is told.
        let Some(&actor) = alive.get(&pid) else { continue };
        let it = &mut actors[actor];
        it.to = at;
        let mut since = None;
        match &event.what {
            What::Becomes { argv } => {
                let kind = Kind::of(&event.program, argv);
                (it.kind, it.argv) = (kind, argv.clone());
                it.name = format!("{} → {}", it.name, name_of(&event.program, kind, argv));
            }
            What::Waits { .. } => drop(waiting.insert(actor, at)),
            What::Calls { .. } | What::Doomed { .. } | What::Left { .. } => {
                since = waiting.remove(&actor);
            }
            What::Reaped { .. } => drop(alive.remove(&pid)),
            _ => {}
        }
        let choices = event.choices.len();
        moments.push(Moment { actor, since, place, event });
        place += choices;
    }
    by_kind(&actors, moments)
}

/// Puts the actors in the order of their kinds.
fn by_kind(actors: &[Actor], mut moments: Vec<Moment>) -> (Vec<Actor>, Vec<Moment>) {
    let mut order: Vec<usize> = (0..actors.len()).collect();
    order.sort_by_key(|place| actors[*place].kind);
    let mut new_place = vec![0; actors.len()];
    order.iter().enumerate().for_each(|(new, old)| new_place[*old] = new);
    for moment in &mut moments {
        moment.actor = new_place[moment.actor];
    }
    let moved = |place: &usize| Actor {
        parent: actors[*place].parent.map(|parent| new_place[parent]),
        ..actors[*place].clone()
    };
    (order.iter().map(moved).collect(), moments)
}

impl Moment {
    /// Whether somebody planned that this should go wrong.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        self.event.is_fault()
    }

    /// Whether something was decided before it that is not the plain answer.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.event.choices.iter().any(|choice| !choice.is_plain())
    }

    /// What kind of moment it is, in one word.
    fn word(&self) -> &'static str {
        match &self.event.what {
            What::Born { .. } => "born",
            What::Becomes { .. } => "becomes",
            What::Waits { .. } => "waits",
            What::Calls { .. } => "calls",
            What::Signalled { .. } => "signalled",
            What::Doomed { .. } => "doomed",
            What::Closes => "closes",
            What::Ended { .. } => "ended",
            What::Reaped { .. } => "reaped",
            What::Left { .. } => "left",
        }
    }

    /// What happened, in three parts: the verb, what it is about, what came of it.
    fn told(&self, actors: &[Actor]) -> [String; 3] {
        let who = |pid: &Pid| match actors.iter().rev().find(|it| it.pid == pid.0) {
            Some(actor) => format!("{pid} {}", actor.name),
            None if pid.0 == 1 => "1 init".to_owned(),
            None => pid.to_string(),
        };
        let parts = |verb: &str, about: String, result: String| [verb.to_owned(), about, result];
        match &self.event.what {
            What::Born { parent, argv } => {
                parts("starts", argv.join(" "), format!("by {}", who(parent)))
            }
            What::Becomes { argv } => parts("becomes", argv.join(" "), String::new()),
            What::Waits { call, arguments, wanted } => {
                parts(call.name(), format!("({arguments})"), format!("waits for {wanted}"))
            }
            What::Calls { call, arguments, result, fault, .. } => {
                let planned = if *fault { ", as planned" } else { "" };
                parts(call.name(), format!("({arguments})"), format!("→ {result}{planned}"))
            }
            What::Signalled { signal, by: None } => {
                parts("gets", signal_name(*signal), "as planned".to_owned())
            }
            What::Signalled { signal, by: Some(by) } => {
                parts("gets", signal_name(*signal), format!("from {}", who(by)))
            }
            What::Doomed { status } => parts("is ended", format!("by {status}"), String::new()),
            What::Closes => parts("closes", "everything".to_owned(), String::new()),
            What::Ended { status } => parts("has ended", status.to_string(), String::new()),
            What::Reaped { by } => parts("is reaped", format!("by {}", who(by)), String::new()),
            What::Left { why } => parts("is left:", why.clone(), String::new()),
        }
        .map(|part| without_wrappers(&part))
    }

    /// What was decided before it that is not the plain answer, for people.
    fn decisions(&self) -> Vec<String> {
        let numbered = (self.place..).zip(&self.event.choices);
        let not_plain = numbered.filter(|(_, choice)| !choice.is_plain());
        not_plain
            .map(|(place, choice)| match choice {
                Choice::Turn { among, answer, .. } => {
                    let plain = among.first().map_or("time".to_owned(), ToString::to_string);
                    let chosen = among.get(*answer).map(ToString::to_string);
                    let chosen = chosen.unwrap_or_else(|| "time".to_owned());
                    format!("answer {place}: {chosen} goes on instead of {plain}")
                }
                Choice::Other { answers, answer } => {
                    format!("answer {place}: {answer} of {answers}")
                }
            })
            .collect()
    }
}

fn signal_name(signal: Signal) -> String {
    const NAMES: [(Signal, &str); 13] = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::KILL, "SIGKILL"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::TERM, "SIGTERM"),
        (Signal::CHLD, "SIGCHLD"),
        (Signal::CONT, "SIGCONT"),
        (Signal::STOP, "SIGSTOP"),
        (Signal::WINCH, "SIGWINCH"),
        (Signal(6), "SIGABRT"),
    ];
    let known = NAMES.iter().find(|(known, _)| *known == signal);
    known.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

/// Numbers and flags without the names of their types, as `Fd(3)` and `Ready(READ)` have them; what
/// is in quotes stays as it is.
fn without_wrappers(text: &str) -> String {
    const NAMES: [&str; 6] = ["OpenFlags", "MountFlags", "Ready", "Signal", "Fd", "Pid"];
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut escaped, mut wrappers) = (false, false, Vec::new());
    for letter in text.chars() {
        match letter {
            '"' if !escaped => quoted = !quoted,
            '(' if !quoted => {
                let name = NAMES.iter().find(|name| out.ends_with(*name));
                wrappers.push(name.is_some());
                if let Some(name) = name {
                    out.truncate(out.len() - name.len());
                    continue;
                }
            }
            ')' if !quoted && wrappers.pop() == Some(true) => continue,
            _ => {}
        }
        escaped = letter == '\\' && !escaped;
        out.push(letter);
    }
    out
}

/// Nanoseconds as milliseconds, for people.
fn milliseconds(clock: u64) -> String {
    format!("{}.{:03}", clock / 1_000_000, clock / 1_000 % 1_000)
}
