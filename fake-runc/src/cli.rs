//! The command line: what an invocation asks for, as plain data.
//!
//! Three generations of callers are understood: the `start -d` of 2016, the `create` of 2017 with
//! its `--console-socket`, and runc 1.1.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use wavetank::host::Signal;

use crate::flags::{self, Order, Parsed, Result};
use crate::script::Subcommand;
use crate::signal;
use crate::tables;

/// One invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What stands before the subcommand.
    pub global: Global,
    /// What is to be done.
    pub action: Action,
}

/// The flags that stand before the subcommand. Those without effect here are only checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Global {
    /// `--log`: where error messages go.
    pub log: Option<PathBuf>,
    /// `--log-format json`, and not text.
    pub log_json: bool,
    /// `--root`: the directory of the containers' states.
    pub root: Option<PathBuf>,
}

/// What an invocation is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `create`, `run`, `restore`, and the `start --bundle` of 2016.
    Launch(Launch),
    /// Today's `start`: lets a created container go on.
    Start {
        /// Which container.
        id: String,
    },
    /// `exec`: one more process.
    Exec(Exec),
    /// `checkpoint`.
    Checkpoint(Checkpoint),
    /// `delete`.
    Delete {
        /// Which container.
        id: String,
        /// Even if it runs, and no error if it does not exist.
        force: bool,
    },
    /// `kill`.
    Kill {
        /// Which container.
        id: String,
        /// Every process of it, and not the first alone.
        all: bool,
        /// What is sent.
        signal: Signal,
    },
    /// `pause`.
    Pause {
        /// Which container.
        id: String,
    },
    /// `resume`.
    Resume {
        /// Which container.
        id: String,
    },
    /// `state`.
    State {
        /// Which container.
        id: String,
    },
    /// `ps`.
    Ps {
        /// Which container.
        id: String,
        /// A JSON array, and not a table.
        json: bool,
    },
    /// `update`.
    Update(Update),
    /// `events --stats`, which prints one record.
    Events {
        /// Which container.
        id: String,
    },
    /// `features`.
    Features,
    /// `list`.
    List {
        /// A JSON array, and not a table.
        json: bool,
        /// The names alone.
        quiet: bool,
    },
    /// `spec`: writes a `config.json`.
    Spec {
        /// Where to; here if absent.
        bundle: Option<PathBuf>,
    },
    /// `--version`.
    Version,
    /// `--help`, or nothing at all.
    Help,
}

/// How a container comes to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The word on the command line.
    pub word: Subcommand,
    /// The container's name.
    pub id: String,
    /// `--bundle`; the working directory if absent.
    pub bundle: Option<PathBuf>,
    /// Whether the container's program waits for `start`.
    pub waits_for_start: bool,
    /// `--detach`: exit once it runs. Without it, wait for its end and exit as it did.
    pub detach: bool,
    /// `--keep`: keep the state when a container that was waited for has ended.
    pub keep: bool,
    /// `--image-path` of `restore`.
    pub image: Option<PathBuf>,
    /// `--work-path` of `restore`: where the log of the restoring goes.
    pub work: Option<PathBuf>,
    /// What the process stands on.
    pub stdio: Stdio,
}

/// What any started process is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stdio {
    /// `--console` or `--console-socket`.
    pub console: ConsoleFlag,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--preserve-fds`: how many descriptors from 3 on it keeps.
    pub preserve_fds: u32,
}

/// How the caller wants to get at the terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ConsoleFlag {
    /// Neither flag: a terminal cannot be had.
    #[default]
    Absent,
    /// `--console ""`: no terminal.
    None,
    /// `--console PATH` of 2016: the process is to stand on this terminal.
    Path(PathBuf),
    /// `--console-socket PATH`: a terminal is made, and its master sent there.
    Socket(PathBuf),
}

/// One more process in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// Which container.
    pub id: String,
    /// `--process`: the file that describes it.
    pub process: Option<PathBuf>,
    /// The program and its arguments on the command line.
    pub args: Vec<OsString>,
    /// `--env`, as `NAME=value`.
    pub env: Vec<OsString>,
    /// `--cwd`.
    pub cwd: Option<PathBuf>,
    /// `--tty`.
    pub tty: bool,
    /// `--detach`.
    pub detach: bool,
    /// `--ignore-paused`.
    pub ignore_paused: bool,
    /// What the process stands on.
    pub stdio: Stdio,
}

/// What to save, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which container.
    pub id: String,
    /// `--image-path`; `checkpoint` in the working directory if absent, as runc has it.
    pub image: Option<PathBuf>,
    /// `--work-path`: where the log of the dump goes.
    pub work: Option<PathBuf>,
    /// `--leave-running` or `--pre-dump`.
    pub leave_running: bool,
}

/// New limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Which container.
    pub id: String,
    /// `--resources`: a file, or `-` for standard input.
    pub resources: Option<PathBuf>,
    /// The limits that are flags of their own.
    pub limits: BTreeMap<String, String>,
}

/// A command line that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The flags before the subcommand, as far as they were understood.
    pub global: Global,
    /// What is wrong, in runc's words.
    pub message: String,
}

/// Reads a command line, the program's name included.
///
/// # Errors
/// What is wrong with it, and where that is to be told.
pub fn parse(argv: &[OsString]) -> std::result::Result<Invocation, Refusal> {
    let mut global = Global::default();
    match parse_line(argv, &mut global) {
        Ok(action) => Ok(Invocation { global, action }),
        Err(message) => Err(Refusal { global, message }),
    }
}

fn parse_line(argv: &[OsString], global: &mut Global) -> Result<Action> {
    let args = argv.get(1..).unwrap_or_default();
    let found = flags::parse(args, tables::GLOBAL, Order::FlagsFirst)?;
    global.log = found.path("log");
    global.root = found.path("root");
    global.log_json = match found.text("log-format").as_deref() {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => return Err(format!("invalid log-format: {other}")),
    };
    match found.arguments.split_first() {
        _ if found.on("version") => Ok(Action::Version),
        _ if found.on("help") => Ok(Action::Help),
        None => Ok(Action::Help),
        Some((word, rest)) => action(&word.to_string_lossy(), rest),
    }
}

fn action(word: &str, args: &[OsString]) -> Result<Action> {
    let unknown = || format!("No help topic for '{word}'");
    let word = Subcommand::from_word(word).ok_or_else(unknown)?;
    let (known, order) = tables::of(word);
    let found = flags::parse(args, known, order)?;
    if found.on("help") {
        return Ok(Action::Help);
    }
    Ok(match word {
        Subcommand::Create | Subcommand::Run | Subcommand::Restore => launch(word, &found)?,
        Subcommand::Start if is_of_2016(&found) => launch(word, &found)?,
        Subcommand::Start => Action::Start { id: only_id(word, &found)? },
        Subcommand::Exec => exec(&found)?,
        Subcommand::Checkpoint => Action::Checkpoint(Checkpoint {
            id: only_id(word, &found)?,
            image: found.path("image-path"),
            work: found.path("work-path"),
            leave_running: found.on("leave-running") || found.on("pre-dump"),
        }),
        Subcommand::Delete => {
            Action::Delete { id: only_id(word, &found)?, force: found.on("force") }
        }
        Subcommand::Kill => kill(&found)?,
        Subcommand::Pause => Action::Pause { id: only_id(word, &found)? },
        Subcommand::Resume => Action::Resume { id: only_id(word, &found)? },
        Subcommand::State => Action::State { id: only_id(word, &found)? },
        Subcommand::Ps => Action::Ps { id: first_id(word, &found)?, json: json_format(&found)? },
        Subcommand::Update => Action::Update(Update {
            id: only_id(word, &found)?,
            resources: found.path("resources"),
            limits: found
                .given()
                .filter(|(name, _)| *name != "resources")
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }),
        Subcommand::Events => Action::Events { id: only_id(word, &found)? },
        Subcommand::Features => Action::Features,
        Subcommand::List => Action::List { json: json_format(&found)?, quiet: found.on("quiet") },
        Subcommand::Spec => Action::Spec { bundle: found.path("bundle") },
    })
}

/// The `start` of 2016 is known by the flags that today's has not.
fn is_of_2016(found: &Parsed) -> bool {
    ["bundle", "console", "detach", "pid-file", "no-pivot"]
        .iter()
        .any(|name| found.one(name).is_some())
}

fn launch(word: Subcommand, found: &Parsed) -> Result<Action> {
    let image = match word {
        Subcommand::Restore => Some(found.path("image-path").unwrap_or("checkpoint".into())),
        _ => None,
    };
    Ok(Action::Launch(Launch {
        word,
        id: only_id(word, found)?,
        bundle: found.path("bundle"),
        waits_for_start: word == Subcommand::Create,
        detach: word == Subcommand::Create || found.on("detach"),
        keep: found.on("keep"),
        image,
        work: found.path("work-path"),
        stdio: stdio(found)?,
    }))
}

fn exec(found: &Parsed) -> Result<Action> {
    let process = found.path("process");
    let id = first_id(Subcommand::Exec, found)?;
    let args: Vec<OsString> = found.arguments.iter().skip(1).cloned().collect();
    if process.is_none() && args.is_empty() {
        return Err("process args cannot be empty".to_owned());
    }
    Ok(Action::Exec(Exec {
        id,
        process,
        args,
        env: found.all("env"),
        cwd: found.path("cwd"),
        tty: found.on("tty"),
        detach: found.on("detach"),
        ignore_paused: found.on("ignore-paused"),
        stdio: stdio(found)?,
    }))
}

fn kill(found: &Parsed) -> Result<Action> {
    let id = first_id(Subcommand::Kill, found)?;
    let text = match found.arguments.get(1..).unwrap_or_default() {
        [] => "SIGTERM".into(),
        [signal] => signal.to_string_lossy(),
        _ => return Err("\"kill\" requires at most 2 arguments".to_owned()),
    };
    let unknown = || format!("unknown signal \"{text}\"");
    let signal = signal::parse_any(&text).ok_or_else(unknown)?;
    Ok(Action::Kill { id, all: found.on("all"), signal })
}

fn stdio(found: &Parsed) -> Result<Stdio> {
    let console = match (found.path("console-socket"), found.one("console")) {
        (Some(socket), _) => ConsoleFlag::Socket(socket),
        (None, None) => ConsoleFlag::Absent,
        (None, Some(path)) if path.is_empty() => ConsoleFlag::None,
        (None, Some(path)) => ConsoleFlag::Path(path.into()),
    };
    let preserve_fds = found.count("preserve-fds")?;
    Ok(Stdio { console, pid_file: found.path("pid-file"), preserve_fds })
}

fn json_format(found: &Parsed) -> Result<bool> {
    match found.text("format").as_deref() {
        None | Some("table") => Ok(false),
        Some("json") => Ok(true),
        Some(_) => Err("invalid format option".to_owned()),
    }
}

/// The container's name, when nothing may follow it.
fn only_id(word: Subcommand, found: &Parsed) -> Result<String> {
    if found.arguments.len() != 1 {
        return Err(format!("\"{}\" requires exactly 1 argument", word.word()));
    }
    first_id(word, found)
}

/// The container's name. It becomes a directory's name, so it must not lead anywhere else.
fn first_id(word: Subcommand, found: &Parsed) -> Result<String> {
    let Some(id) = found.arguments.first() else {
        return Err(format!("\"{}\" requires a minimum of 1 argument", word.word()));
    };
    let id = id.to_string_lossy().into_owned();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id == "." || id == ".." || !id.chars().all(allowed) {
        return Err("invalid id format".to_owned());
    }
    Ok(id)
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
