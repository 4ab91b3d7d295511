#![doc = include_str!("../README.md")]

mod calls;
mod checkpoint;
pub mod cli;
mod clock;
mod commands;
mod console;
mod container;
mod environment;
mod error;
mod file;
mod flags;
mod guest;
mod live;
mod log;
mod moment;
mod pattern;
mod pid_file;
mod print;
pub mod script;
mod signal;
mod spec;
mod state;
mod tables;
mod update;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use wavetank::host::{Errno, Host};

pub use calls::{CALLS_VARIABLE, Call, Descriptor};
pub use pattern::pattern;
pub use signal::NamedSignal;

use cli::{Action, Global, Invocation, Refusal};
use error::{Error, Result, doing};
use file::read_file;
use script::{SCRIPT_FILE, SCRIPT_VARIABLE, Script, Steps, Subcommand};
use state::Home;

/// The program's name.
const NAME: &str = "fake-runc";

/// What every subcommand needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The flags before the subcommand.
    pub(crate) global: Global,
    /// Directory of the containers' states.
    pub(crate) root: PathBuf,
    /// The script, its paths absolute.
    pub(crate) script: Script,
    /// The part of it that is about this subcommand.
    pub(crate) steps: Steps,
}

/// Runs one invocation, the program's name included in `argv`, and gives its exit code.
pub fn main<H: Host>(host: &mut H, argv: &[OsString]) -> i32 {
    if let Some(done) = guest::main(host, argv) {
        return exit_code(host, &Global::default(), done);
    }
    calls::record(host, argv);
    let invocation = match cli::parse(argv) {
        Ok(invocation) => invocation,
        Err(Refusal { global, message }) => {
            return exit_code(host, &global, Err(Error::new(message)));
        }
    };
    let done = run(host, &invocation);
    exit_code(host, &invocation.global, done)
}

fn exit_code<H: Host>(host: &mut H, global: &Global, done: Result<i32>) -> i32 {
    match done {
        Ok(code) | Err(Error::Scripted { code }) => code,
        Err(Error::Failed { code, message }) => {
            log::tell(host, global, &message);
            code
        }
    }
}

fn run<H: Host>(host: &mut H, invocation: &Invocation) -> Result<i32> {
    let Invocation { global, action } = invocation;
    let root = global.root.clone().unwrap_or_else(|| default_root(host));
    let script = read_script(host, &root, action)?;
    let steps = subcommand(action).map(|word| script.steps(word).clone()).unwrap_or_default();
    let cx = Context { global: global.clone(), root, script, steps };
    moment::play(host, global, &cx.steps.before, None)?;
    let code = commands::perform(host, &cx, action)?;
    moment::play(host, global, &cx.steps.after, None)?;
    Ok(code)
}

fn default_root<H: Host>(host: &mut H) -> PathBuf {
    let directory = environment::variable(host, "XDG_RUNTIME_DIR")
        .or_else(|| environment::variable(host, "TMPDIR"))
        .unwrap_or_else(|| "/tmp".into());
    Path::new(&directory).join(NAME)
}

/// Finds and reads the script: the one of the environment, or that of the container's bundle.
fn read_script<H: Host>(host: &mut H, root: &Path, action: &Action) -> Result<Script> {
    let named = environment::variable(host, SCRIPT_VARIABLE).map(PathBuf::from);
    let path = match &named {
        Some(path) => container::absolute(host, path)?,
        None => match bundle(host, root, action)? {
            Some(bundle) => bundle.join(SCRIPT_FILE),
            None => return Ok(Script::default()),
        },
    };
    let json = match read_file(host, &path, spec::LIMIT) {
        Ok(json) => json,
        Err(Errno::ENOENT | Errno::ENOTDIR) if named.is_none() => return Ok(Script::default()),
        Err(errno) => return Err(doing("open", &path)(errno)),
    };
    let script = Script::parse(&json)
        .map_err(|what| Error::new(format!("script {}: {what}", path.display())))?;
    Ok(script.based_at(path.parent().unwrap_or(Path::new("/"))))
}

/// The bundle that an invocation is about, as far as it is known.
fn bundle<H: Host>(host: &mut H, root: &Path, action: &Action) -> Result<Option<PathBuf>> {
    let id = match action {
        Action::Launch(launch) => {
            let given = launch.bundle.as_deref().unwrap_or("".as_ref());
            return container::absolute(host, given).map(Some);
        }
        Action::Exec(exec) => &exec.id,
        Action::Checkpoint(wish) => &wish.id,
        Action::Update(wish) => &wish.id,
        Action::Start { id }
        | Action::Delete { id, .. }
        | Action::Kill { id, .. }
        | Action::Pause { id }
        | Action::Resume { id }
        | Action::State { id }
        | Action::Ps { id, .. }
        | Action::Events { id } => id,
        Action::Features
        | Action::List { .. }
        | Action::Spec { .. }
        | Action::Version
        | Action::Help => return Ok(None),
    };
    Ok(Home::of(root, id).load(host).ok().map(|state| state.bundle))
}

/// Under which word the script speaks of an invocation.
fn subcommand(action: &Action) -> Option<Subcommand> {
    Some(match action {
        Action::Launch(launch) => launch.word,
        Action::Start { .. } => Subcommand::Start,
        Action::Exec(_) => Subcommand::Exec,
        Action::Checkpoint(_) => Subcommand::Checkpoint,
        Action::Delete { .. } => Subcommand::Delete,
        Action::Kill { .. } => Subcommand::Kill,
        Action::Pause { .. } => Subcommand::Pause,
        Action::Resume { .. } => Subcommand::Resume,
        Action::State { .. } => Subcommand::State,
        Action::Ps { .. } => Subcommand::Ps,
        Action::Update(_) => Subcommand::Update,
        Action::Events { .. } => Subcommand::Events,
        Action::Features => Subcommand::Features,
        Action::List { .. } => Subcommand::List,
        Action::Spec { .. } => Subcommand::Spec,
        Action::Version | Action::Help => return None,
    })
}
