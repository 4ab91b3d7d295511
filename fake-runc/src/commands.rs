//! What is done to a container that exists.

use std::path::Path;

use wavetank::host::{Errno, Host, OpenFlags, PollFd, Ready, Signal};

use crate::Context;
use crate::checkpoint::checkpoint;
use crate::cli::Action;
use crate::container::{self, absolute};
use crate::error::{Error, Result, at, doing};
use crate::live;
use crate::print;
use crate::spec;
use crate::state::{self, GATE, Home, PAUSED, State, Status, unknown};
use crate::update::update;

/// How often one looks whether a killed container is gone, or a paused one still, 10 ms apart.
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
        Status::Running => return Err(Error::new("cannot start an already running container")),
        Status::Paused => {
            return Err(Error::new("cannot start a container in the paused state"));
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
        Err(errno) => Err(at("unable to signal init")(errno)),
    }
}

fn delete<H: Host>(host: &mut H, cx: &Context, id: &str, force: bool) -> Result<()> {
    let home = Home::of(&cx.root, id);
    let state = match home.load(host) {
        Ok(state) => state,
        // It was begun, and never written down. What cannot be read now may be a container all the same.
        Err(error) if error == unknown() => {
            home.remove(host)?;
            return if force { Ok(()) } else { Err(error) };
        }
        Err(error) => return Err(error),
    };
    let status = home.status(host, &state);
    if matches!(status, Status::Running | Status::Paused) && !force {
        let word = status.word();
        return Err(Error::new(format!(
            "cannot delete container {id} that is not stopped: {word}\n"
        )));
    }
    destroy(host, &home, &state)
}

/// Ends all that is left of a container, and forgets it.
pub(crate) fn destroy<H: Host>(host: &mut H, home: &Home, state: &State) -> Result<()> {
    home.signal_all(host, state, Signal::KILL);
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
            wait_until_stopped(host, &home, &state)
        }
        Status::Paused | Status::Stopped => Err(Error::new("container not running")),
    }
}

/// A process that was sent `SIGSTOP` may still be writing.
fn wait_until_stopped<H: Host>(host: &mut H, home: &Home, state: &State) -> Result<()> {
    let mut marks = home.noted(host, "exec");
    marks.push(state.init);
    for _ in 0..LOOKS {
        marks.retain(|mark| live::runs(host, *mark));
        if marks.is_empty() {
            return Ok(());
        }
        live::nap(host);
    }
    Err(Error::new("unable to freeze"))
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

fn write_spec<H: Host>(host: &mut H, bundle: Option<&Path>) -> Result<()> {
    let path = absolute(host, bundle.unwrap_or("".as_ref()))?.join("config.json");
    if host.stat(&path).is_ok() {
        return Err(Error::new("File config.json exists. Remove it first"));
    }
    state::write_atomically(host, &path, spec::EXAMPLE.as_bytes())
}
