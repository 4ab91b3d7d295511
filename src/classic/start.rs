//! From the command line to a shim that is ready to run: everything is opened, nothing is started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::log::{Level, Log};
use super::shim::{Parts, Shim};
use super::{Options, ProcessFile, detect_dialect};
use crate::Error;
use crate::files::read_file;
use crate::host::{Fd, FileKind, Host, OpenFlags, Signal};
use crate::oci::{Checkpoint, Console, Dialect, Runtime};
use crate::stdio::{Stdio, open_null};

/// The environment and the arguments of a process are bounded by the kernel to 6 MiB (`execve(2)`);
/// a larger `process.json` is none.
const PROCESS_FILE_MAX: usize = 8 * 1024 * 1024;

/// The three words of the command line. A missing one is empty, as it was in 2016.
pub(super) struct Arguments {
    id: String,
    bundle: String,
    runtime: String,
}

/// A shim, and the runtime's command line with which it is to begin.
pub(super) type Ready = (Shim, Vec<OsString>);

/// Why there is no shim to run.
pub(super) enum Failure {
    /// It is told in `shim-log.json`.
    Logged,
    /// There is no `shim-log.json` to tell it in.
    Unlogged(Error),
}

/// Understands the command line as Go's `flag` does with no flag defined.
pub(super) fn arguments(argv: &[OsString]) -> Result<Arguments, String> {
    let name = argv.first().map_or("containerd-shim".into(), |name| name.to_string_lossy());
    let usage = format!("Usage of {name}:\n  {name} ID BUNDLE RUNTIME\n");
    let mut words = Vec::new();
    for word in argv.iter().skip(1) {
        let word = word.to_str().ok_or_else(|| format!("{word:?} is not UTF-8\n{usage}"))?;
        words.push(word);
    }
    match words.first() {
        Some(&"--") => drop(words.remove(0)),
        Some(&("-h" | "--h" | "-help" | "--help")) => return Err(usage),
        Some(word) if word.len() > 1 && word.starts_with('-') => {
            let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or(word);
            return Err(format!("flag provided but not defined: -{flag}\n{usage}"));
        }
        _ => {}
    }
    let mut words = words.into_iter().map(str::to_owned);
    let mut next = || words.next().unwrap_or_default();
    Ok(Arguments { id: next(), bundle: next(), runtime: next() })
}

/// Opens everything, in the order of containerd 0.2: the log, then the fifos whose closing tells
/// the daemon of our end whatever happens, then what may be wrong.
pub(super) fn start<H: Host>(host: &mut H, arguments: Arguments) -> Result<Ready, Failure> {
    let unlogged = |error| Failure::Unlogged(error);
    // Held back first of all: not even an early signal ends the shim.
    let signals = host.signals(&Signal::catchable());
    let state_dir = host
        .current_dir()
        .map_err(|errno| unlogged(Error::system("getcwd", "the state directory", errno)))?;
    let log = Log::open(host, &state_dir.join("shim-log.json")).map_err(unlogged)?;
    let signals = signals.map_err(|errno| Error::system("signalfd", "for all signals", errno));
    let shim =
        signals.and_then(|signals| open_all(host, arguments, state_dir, log.clone(), signals));
    shim.map_err(|error| {
        log.write(host, Level::Error, &error.to_string());
        Failure::Logged
    })
}

fn open_all<H: Host>(
    host: &mut H,
    arguments: Arguments,
    state_dir: PathBuf,
    log: Log,
    signals: Fd,
) -> Result<Ready, Error> {
    host.become_subreaper()
        .map_err(|errno| Error::system("prctl", "PR_SET_CHILD_SUBREAPER", errno))?;
    let exit = open_fifo(host, "exit")?;
    let control = open_fifo(host, "control")?;
    let null = open_null(host)?;
    let env = host.environment();
    let options = Options::from_env(&env)?;
    let process = read_process_file(host)?;
    let dialect = match options.dialect {
        Some(dialect) => dialect,
        None => {
            let state = read_file(host, Path::new("../state.json"), PROCESS_FILE_MAX).ok();
            detect_dialect(&process, state.as_deref())
        }
    };
    let runtime = Runtime {
        dialect,
        id: arguments.id,
        bundle: arguments.bundle.into(),
        name: arguments.runtime,
        args: process.runtime_args.clone(),
        no_pivot: process.no_pivot_root,
        state_dir,
    };
    let restore = read_checkpoint(host, &process, &runtime)?;
    let (stdio, console) = open_stdio(host, &process, dialect, &env)?;
    let make = match restore {
        _ if process.exec => runtime.exec(&console),
        Some((image, checkpoint)) => {
            let now = host.wall_clock();
            runtime.restore(&image, &checkpoint, &console, now)
        }
        None => runtime.create(&console),
    };
    let parts = Parts { log, signals, exit, control, null, runtime, options, stdio };
    Ok((Shim::new(parts, process.exec), make))
}

/// Opens a fifo of the state directory to read and write, which waits for nobody: the daemon may
/// be dead, and come back.
fn open_fifo<H: Host>(host: &mut H, name: &str) -> Result<Fd, Error> {
    let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::NONBLOCK | OpenFlags::NOFOLLOW;
    let fd =
        host.open(Path::new(name), flags, 0).map_err(|errno| Error::system("open", name, errno))?;
    match host.fstat(fd) {
        Ok(stat) if stat.kind == FileKind::Fifo => Ok(fd),
        Ok(_) => Err(Error::invalid(name, "is not a fifo")),
        Err(errno) => Err(Error::system("stat", name, errno)),
    }
}

fn read_process_file<H: Host>(host: &mut H) -> Result<ProcessFile, Error> {
    let text = read_file(host, Path::new("process.json"), PROCESS_FILE_MAX)?;
    ProcessFile::parse(&text).map_err(|reason| Error::invalid("process.json", reason))
}

/// The checkpoint to restore, and its directory.
fn read_checkpoint<H: Host>(
    host: &mut H,
    process: &ProcessFile,
    runtime: &Runtime,
) -> Result<Option<(PathBuf, Checkpoint)>, Error> {
    if process.checkpoint.is_empty() {
        return Ok(None);
    }
    let image = match runtime.dialect {
        Dialect::Create => PathBuf::from(&process.checkpoint),
        Dialect::Start | Dialect::Run => {
            runtime.bundle.join("checkpoints").join(&process.checkpoint)
        }
    };
    let file = image.join("config.json");
    let text = read_file(host, &file, PROCESS_FILE_MAX)?;
    let checkpoint =
        Checkpoint::parse(&text).map_err(|reason| Error::invalid(file.display(), reason))?;
    Ok(Some((image, checkpoint)))
}

fn open_stdio<H: Host>(
    host: &mut H,
    process: &ProcessFile,
    dialect: Dialect,
    env: &[OsString],
) -> Result<(Stdio, Console), Error> {
    let (streams, root) = (&process.streams, process.root);
    if !process.terminal {
        let stdio = Stdio::with_pipes(host, streams, root)?;
        return Ok((stdio, Console::None));
    }
    if dialect.has_console_socket() {
        let (stdio, socket) = Stdio::with_console_socket(host, streams, env)?;
        Ok((stdio, Console::Socket(socket)))
    } else {
        let (stdio, path) = Stdio::with_pty(host, streams, root)?;
        Ok((stdio, Console::Path(path)))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&["c1", "/b", "runc"], ["c1", "/b", "runc"])]
    #[case(&["--", "-c1", "/b", "runc"], ["-c1", "/b", "runc"])]
    #[case(&["c1", "-b", "--runc"], ["c1", "-b", "--runc"])]
    #[case(&["-", "/b", "runc"], ["-", "/b", "runc"])]
    #[case(&["c1"], ["c1", "", ""])]
    #[case(&[], ["", "", ""])]
    #[case(&["c1", "/b", "runc", "more"], ["c1", "/b", "runc"])]
    fn three_words(#[case] words: &[&str], #[case] expected: [&str; 3]) {
        let argv: Vec<OsString> =
            std::iter::once("shim").chain(words.iter().copied()).map(OsString::from).collect();
        let arguments = arguments(&argv).ok().unwrap();
        assert_eq!([arguments.id, arguments.bundle, arguments.runtime], expected);
    }

    #[rstest]
    #[case("-h")]
    #[case("--help")]
    #[case("-debug")]
    #[case("--root=/x")]
    fn flags_are_refused(#[case] flag: &str) {
        let usage = arguments(&["shim".into(), flag.into(), "c1".into()]).err().unwrap();
        assert!(usage.contains("Usage of shim"), "{usage}");
    }
}
