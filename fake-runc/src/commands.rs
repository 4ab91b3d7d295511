//! What is done to a container that exists.

use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};
use wavetank::host::{self, Errno, Fd, Host, OpenFlags, PollFd, Ready, Signal};

use crate::Context;
use crate::cli::{Action, Checkpoint, Update};
use crate::container::{self, absolute};
use crate::error::{Error, Result, at, doing};
use crate::file::read_file;
use crate::live;
use crate::print;
use crate::spec;
use crate::state::{self, GATE, Home, PAUSED, RESOURCES, Status};

/// How often one looks whether a killed container is gone, 10 ms apart.
const LOOKS: u32 = 1000;

/// Does what the invocation asks for, and gives the exit code.
pub(crate) fn perform<H: Host>(host: &mut H, cx: &Context, action: &Action) -> Result<i32> {
    match action {
        Action::Launch(launch) => return container::launch(host, cx, launch),
        Action::Exec(exec) => return container::exec(host, cx, exec),
        Action::Start { id } => start(host, cx, id)?,
        Action::Checkpoint(wish) => checkpoint(host, cx, wish)?,
        Action::Delete { id, force } => delete(host, cx, id, *force)?,
        Action::Kill { id, all, signal } => kill(host, cx, id, *all, *signal)?,
        Action::Pause { id } => pause(host, cx, id)?,
        Action::Resume { id } => resume(host, cx, id)?,
        Action::State { id } => print::state(host, cx, id)?,
        Action::Ps { id, json } => print::processes(host, cx, id, *json)?,
        Action::Update(wish) => update(host, cx, wish)?,
        Action::Events { id } => print::statistics(host, cx, id)?,
        Action::Features => print::features(host)?,
        Action::List { json, quiet } => print::list(host, cx, *json, *quiet)?,
        Action::Spec { bundle } => write_spec(host, bundle.as_deref())?,
        Action::Version => print::version(host)?,
        Action::Help => print::help(host)?,
    }
    Ok(0)
}

/// Opens the gate, and waits until the first process has passed or is dead.
fn start<H: Host>(host: &mut H, cx: &Context, id: &str) -> Result<()> {
    let home = Home::of(&cx.root, id);
    let state = home.load(host)?;
    match home.status(host, &state) {
        Status::Created => {}
        Status::Stopped => {
            return Err(Error::new("cannot start a container that has stopped"));
        }
        Status::Running | Status::Paused => {
            return Err(Error::new("cannot start an already running container"));
        }
    }
    let path = home.path.join(GATE);
    let gate =
        host.open(&path, OpenFlags::READ | OpenFlags::NONBLOCK, 0).map_err(doing("open", &path))?;
    let mut byte = [0];
    loop {
        let mut wait = [PollFd::new(gate, Ready::READ)];
        match host.poll(&mut wait, Some(std::time::Duration::from_millis(100))) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(doing("wait for", &path)(errno)),
        }
        match host.read(gate, &mut byte) {
            Ok(1) => break,
            Ok(_) => live::nap(host),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(doing("read", &path)(errno)),
        }
        // Whatever it wrote before it died is in the fifo by now.
        if !live::is_alive(host, state.init) && !matches!(host.read(gate, &mut byte), Ok(1)) {
            return Err(Error::new("container process is already dead"));
        }
    }
    host.close(gate).map_err(doing("close", &path))?;
    home.take(host, GATE)
}

fn kill<H: Host>(host: &mut H, cx: &Context, id: &str, all: bool, signal: Signal) -> Result<()> {
    let home = Home::of(&cx.root, id);
    let state = home.load(host)?;
    if all {
        home.signal_all(host, &state, signal);
        return Ok(());
    }
    if home.status(host, &state) == Status::Stopped {
        return Err(Error::new("container not running"));
    }
    match host.kill(state.init.pid, signal) {
        Ok(()) => Ok(()),
        Err(Errno::ESRCH) => Err(Error::new("container not running")),
        Err(errno) => Err(at(&format!("kill process {}", state.init.pid))(errno)),
    }
}

fn delete<H: Host>(host: &mut H, cx: &Context, id: &str, force: bool) -> Result<()> {
    let home = Home::of(&cx.root, id);
    let state = match home.load(host) {
        Ok(state) => state,
        Err(error) => {
            home.remove(host)?;
            return if force { Ok(()) } else { Err(error) };
        }
    };
    let status = home.status(host, &state);
    if matches!(status, Status::Running | Status::Paused) && !force {
        let word = status.word();
        return Err(Error::new(format!(
            "cannot delete container {id} that is not stopped: {word}\n"
        )));
    }
    home.signal_all(host, &state, Signal::KILL);
    for bystander in home.noted(host, "bystander") {
        live::signal_group(host, bystander, Signal::KILL);
    }
    for _ in 0..LOOKS {
        if !live::is_alive(host, state.init) {
            return home.remove(host);
        }
        live::nap(host);
    }
    Err(Error::new("container init still running"))
}

fn pause<H: Host>(host: &mut H, cx: &Context, id: &str) -> Result<()> {
    let home = Home::of(&cx.root, id);
    let state = home.load(host)?;
    match home.status(host, &state) {
        Status::Running | Status::Created => {
            home.put(host, PAUSED)?;
            home.signal_all(host, &state, Signal::STOP);
            Ok(())
        }
        Status::Paused | Status::Stopped => Err(Error::new("container not running")),
    }
}

fn resume<H: Host>(host: &mut H, cx: &Context, id: &str) -> Result<()> {
    let home = Home::of(&cx.root, id);
    let state = home.load(host)?;
    if !home.has(host, PAUSED) || home.status(host, &state) == Status::Stopped {
        return Err(Error::new("container not paused"));
    }
    home.signal_all(host, &state, Signal::CONT);
    home.take(host, PAUSED)
}

/// Remembers the limits; nobody is limited.
fn update<H: Host>(host: &mut H, cx: &Context, wish: &Update) -> Result<()> {
    let home = Home::of(&cx.root, &wish.id);
    home.load(host)?;
    let resources = match &wish.resources {
        None => json!(wish.limits),
        Some(path) => {
            let text = match path.as_os_str() == "-" {
                true => read_stdin(host)?,
                false => read_file(host, path, spec::LIMIT).map_err(doing("open", path))?,
            };
            serde_json::from_slice::<Value>(&text)
                .map_err(|error| Error::new(format!("parse {}: {error}", path.display())))?
        }
    };
    home.write_json(host, RESOURCES, &resources)
}

fn read_stdin<H: Host>(host: &mut H) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match host.read(Fd(0), &mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(at("read from stdin")(errno)),
        }
    }
}

/// What is put into an image directory, so that one can see whose it is.
#[derive(Serialize)]
struct Image<'a> {
    id: &'a str,
    pid: host::Pid,
}

fn checkpoint<H: Host>(host: &mut H, cx: &Context, wish: &Checkpoint) -> Result<()> {
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
    let content = serde_json::to_vec(&Image { id: &wish.id, pid: state.init.pid })
        .map_err(|error| Error::new(format!("describe the image: {error}")))?;
    state::write_atomically(host, &image.join("inventory.img"), &content)?;
    state::write_atomically(host, &image.join("descriptors.json"), b"[\"\",\"\",\"\"]")?;
    if let Some(work) = &wish.work {
        let work = absolute(host, work)?;
        state::make_directories(host, &work)?;
        state::write_atomically(host, &work.join("dump.log"), b"Dumping finished successfully\n")?;
    }
    if !wish.leave_running {
        home.signal_all(host, &state, Signal::KILL);
    }
    Ok(())
}

fn write_spec<H: Host>(host: &mut H, bundle: Option<&Path>) -> Result<()> {
    let path = absolute(host, bundle.unwrap_or("".as_ref()))?.join("config.json");
    if host.stat(&path).is_ok() {
        return Err(Error::new("File config.json exists. Remove it first"));
    }
    state::write_atomically(host, &path, spec::EXAMPLE.as_bytes())
}
