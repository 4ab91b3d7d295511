//! `checkpoint`, and what `restore` finds of it. No memory is saved: the image says which process
//! it was, and a restored container starts that one anew.

use std::path::{Path, PathBuf};

use serde::Serialize;
use wavetank::host::{Errno, Host, Pid};

use crate::Context;
use crate::cli::Checkpoint;
use crate::commands::destroy;
use crate::container::absolute;
use crate::error::{Error, Result, doing};
use crate::file::read_file;
use crate::moment;
use crate::spec::{self, Process};
use crate::state::{self, Home, Status};

/// Name of the file in an image that says which process it is of.
const PROCESS: &str = "process.json";

/// What is put into an image directory, so that one can see whose it is.
#[derive(Serialize)]
struct Inventory<'a> {
    id: &'a str,
    pid: Pid,
}

pub(crate) fn checkpoint<H: Host>(host: &mut H, cx: &Context, wish: &Checkpoint) -> Result<()> {
    let home = Home::of(&cx.root, &wish.id);
    let state = home.load(host)?;
    let status = home.status(host, &state);
    if matches!(status, Status::Created | Status::Stopped) {
        let word = status.word();
        return Err(Error::new(format!("Container cannot be checkpointed in {word} state")));
    }
    let default = Path::new("checkpoint");
    let image = absolute(host, wish.image.as_deref().unwrap_or(default))?;
    state::make_directories(host, &image)?;
    let log = Log::begin(host, wish.work.as_deref(), "dump.log", "Dumping")?;
    moment::play(host, &cx.global, &cx.steps.midway, None)?;
    look_at_streams(host, state.init.pid)?;
    write_json(host, &image, "inventory.img", &Inventory { id: &wish.id, pid: state.init.pid })?;
    let process = spec::read_config(host, &state.bundle)?.process.unwrap_or_default();
    write_json(host, &image, PROCESS, &process)?;
    write_json(host, &image, "descriptors.json", &["", "", ""])?;
    log.finish(host)?;
    // What was checkpointed and does not go on is no container any more.
    if wish.leave_running { Ok(()) } else { destroy(host, &home, &state) }
}

/// criu finds no mount of the container's for a file that was opened outside. The runtime hands it
/// pipes, and opens the null device anew; a terminal is the container's own.
fn look_at_streams<H: Host>(host: &mut H, pid: Pid) -> Result<()> {
    for fd in 0..3 {
        let link = PathBuf::from(format!("/proc/{pid}/fd/{fd}"));
        let Ok(file) = host.readlink(&link) else { continue };
        if file.is_absolute() && !file.starts_with("/dev") {
            let file = file.display();
            let reason = format!("criu failed: no mount for fd {fd}, which is {file}");
            return Err(Error::new(reason));
        }
    }
    Ok(())
}

fn write_json<H: Host>(
    host: &mut H,
    image: &Path,
    name: &str,
    value: &impl Serialize,
) -> Result<()> {
    let content = serde_json::to_vec(value)
        .map_err(|error| Error::new(format!("describe the image: {error}")))?;
    state::write_atomically(host, &image.join(name), &content)
}

/// The process that an image is of. An image of another maker does not say that here.
pub(crate) fn saved_process<H: Host>(host: &mut H, image: &Path) -> Result<Option<Process>> {
    host.stat(image).map_err(doing("open", image))?;
    let path = image.join(PROCESS);
    match read_file(host, &path, spec::LIMIT) {
        Ok(json) => spec::parse(&json, &path).map(Some),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(doing("open", &path)(errno)),
    }
}

/// The log that criu keeps in its work directory, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    path: Option<PathBuf>,
    deed: &'static str,
}

impl Log {
    /// Begins a log, and makes the directory.
    pub(crate) fn begin<H: Host>(
        host: &mut H,
        work: Option<&Path>,
        name: &str,
        deed: &'static str,
    ) -> Result<Log> {
        let Some(work) = work else { return Ok(Log { path: None, deed }) };
        let work = absolute(host, work)?;
        state::make_directories(host, &work)?;
        let path = work.join(name);
        state::write_atomically(host, &path, format!("{deed} begins\n").as_bytes())?;
        Ok(Log { path: Some(path), deed })
    }

    /// Says that it went well.
    pub(crate) fn finish<H: Host>(&self, host: &mut H) -> Result<()> {
        let Log { path: Some(path), deed } = self else { return Ok(()) };
        let text = format!("{deed} begins\n{deed} finished successfully\n");
        state::write_atomically(host, path, text.as_bytes())
    }
}
