//! Starts processes: a container's first, and more in it.

use std::ffi::OsString;
use std::path::PathBuf;

use wavetank::host::{Errno, Fd, Host, OpenFlags, Pid, Signal, WaitFor};

use crate::Context;
use crate::checkpoint::{self, Log};
use crate::cli::{self, Exec, Launch};
use crate::clock;
use crate::console;
use crate::environment::find_program;
use crate::error::{Error, Result, at, doing, starting};
use crate::guest::{self, Program};
use crate::live::Mark;
use crate::moment;
use crate::pid_file;
use crate::script::{Guest, Subcommand};
use crate::spec;
use crate::state::{GATE, Home, State, Status};

/// A process to be started.
#[derive(Clone, Debug)]
struct Plan<'a> {
    /// What the script says about it.
    guest: &'a Guest,
    /// Program and arguments that the caller wants; they count only if the script says so.
    args: Vec<OsString>,
    /// Environment that the caller wants.
    env: Option<Vec<OsString>>,
    /// Working directory, unless the script names one.
    cwd: PathBuf,
    /// Whether it wants a terminal.
    terminal: bool,
    /// Whether we exit before it does.
    detach: bool,
    /// Where it waits before it becomes its program.
    gate: Option<PathBuf>,
    /// Terminal, pid file, descriptors.
    stdio: &'a cli::Stdio,
}

/// `create`, `run`, `restore`, and the `start` of 2016.
pub(crate) fn launch<H: Host>(host: &mut H, cx: &Context, launch: &Launch) -> Result<i32> {
    let done = launch_inner(host, cx, launch);
    match launch.word {
        Subcommand::Create | Subcommand::Run => {
            done.map_err(|error| error.of_launch(launch.word.word()))
        }
        _ => done,
    }
}

fn launch_inner<H: Host>(host: &mut H, cx: &Context, launch: &Launch) -> Result<i32> {
    let bundle = absolute(host, launch.bundle.as_deref().unwrap_or("".as_ref()))?;
    host.stat(&bundle).map_err(doing("chdir", &bundle))?;
    let saved = match &launch.image {
        Some(image) => {
            let image = absolute(host, image)?;
            checkpoint::saved_process(host, &image)?
        }
        None => None,
    };
    let config = spec::read_config(host, &bundle)?;
    let process = saved.or(config.process).unwrap_or_default();
    let home = Home::of(&cx.root, &launch.id);
    home.make(host)?;
    let log = Log::begin(host, launch.work.as_deref(), "restore.log", "Restoring")
        .inspect_err(|_| drop(home.remove(host)))?;
    let plan = Plan {
        guest: &cx.script.container,
        args: words(process.args.unwrap_or_default()),
        env: process.env.map(words),
        cwd: bundle.clone(),
        terminal: process.terminal.unwrap_or(false),
        detach: launch.detach,
        gate: launch.waits_for_start.then(|| home.path.join(GATE)),
        stdio: &launch.stdio,
    };
    let state = |host: &mut H, init| State {
        id: launch.id.clone(),
        rootfs: bundle.join(config.root.unwrap_or_default().path_or_default()),
        bundle,
        created: clock::rfc3339(host.wall_clock(), true),
        annotations: config.annotations.unwrap_or_default(),
        init,
    };
    let save = |host: &mut H, init| {
        let state = state(host, init);
        home.save(host, &state)
    };
    let started =
        make_gate(host, plan.gate.as_ref()).and_then(|()| start(host, cx, &home, &plan, save));
    let pid = started.inspect_err(|error| {
        if matches!(error, Error::Failed { .. }) {
            let _ = home.remove(host);
        }
    })?;
    log.finish(host)?;
    if launch.detach {
        return Ok(0);
    }
    let code = wait_for_end(host, pid)?;
    if !launch.keep {
        home.remove(host)?;
    }
    Ok(code)
}

/// `exec`.
pub(crate) fn exec<H: Host>(host: &mut H, cx: &Context, exec: &Exec) -> Result<i32> {
    exec_inner(host, cx, exec).map_err(Error::of_exec)
}

fn exec_inner<H: Host>(host: &mut H, cx: &Context, exec: &Exec) -> Result<i32> {
    let home = Home::of(&cx.root, &exec.id);
    let state = home.load(host)?;
    match home.status(host, &state) {
        Status::Stopped => return Err(Error::new("cannot exec in a stopped container")),
        Status::Paused if !exec.ignore_paused => {
            return Err(Error::new(
                "cannot exec in a paused container (use --ignore-paused to override)",
            ));
        }
        Status::Created | Status::Running | Status::Paused => {}
    }
    moment::play(host, &cx.global, &cx.steps.checked, None)?;
    let process = match &exec.process {
        Some(path) => spec::read_process(host, path)?,
        None => spec::read_config(host, &state.bundle)?.process.unwrap_or_default(),
    };
    let mut env = process.env.map(words);
    if !exec.env.is_empty() {
        env.get_or_insert_with(|| host.environment()).extend(exec.env.iter().cloned());
    }
    let from_file = exec.process.is_some();
    let plan = Plan {
        guest: &cx.script.exec,
        args: if from_file { words(process.args.unwrap_or_default()) } else { exec.args.clone() },
        env,
        cwd: exec.cwd.clone().unwrap_or(state.bundle),
        terminal: exec.tty || (from_file && process.terminal.unwrap_or(false)),
        detach: exec.detach,
        gate: None,
        stdio: &exec.stdio,
    };
    let note = |host: &mut H, mark| home.note(host, "exec", mark);
    let pid = start(host, cx, &home, &plan, note)?;
    if exec.detach { Ok(0) } else { wait_for_end(host, pid) }
}

/// Starts a process, remembers it by `note`, and writes the pid file. If it fails midway, nothing
/// is left of the process; if the script ends it midway, everything is left as it is.
fn start<H: Host>(
    host: &mut H,
    cx: &Context,
    home: &Home,
    plan: &Plan<'_>,
    note: impl FnOnce(&mut H, Mark) -> Result<()>,
) -> Result<Pid> {
    let program = choose_program(host, plan)?;
    let manner = cx.steps.console;
    let (flag, terminal) = (&plan.stdio.console, plan.terminal);
    let footing = console::prepare(host, flag, terminal, plan.detach, manner)?;
    let mut fds = footing.fds.to_vec();
    let mut to_close = footing.opened;
    fds.extend((3..).map(Fd).take(plan.stdio.preserve_fds as usize));
    let mut exit_watch = None;
    if cx.steps.midway.wait_for_process_exit {
        let pipe = host.pipe(OpenFlags::empty()).map_err(at("make a pipe"))?;
        fds.push(pipe.write);
        to_close.push(pipe.write);
        exit_watch = Some(pipe.read);
    }
    let descriptors = i32::try_from(fds.len()).unwrap_or(i32::MAX);
    let program = Program { descriptors, ..program };
    let mut word = None;
    let program = match &plan.gate {
        Some(gate) => {
            let pipe = host.pipe(OpenFlags::empty()).map_err(at("make a pipe"))?;
            fds.push(pipe.read);
            to_close.push(pipe.read);
            word = Some(pipe.write);
            guest::gated(host, gate, program)?
        }
        None => program,
    };
    let command = program.command(fds, footing.lead);
    let spawned = host.spawn(&command).map_err(starting(&command));
    for fd in to_close {
        let _ = host.close(fd);
    }
    let pid = spawned?;
    let note = |host: &mut H, mark| {
        note(host, mark)?;
        let Some(word) = word else { return Ok(()) };
        // It is remembered, and may go on to its gate.
        let told = host.write(word, b"0").and_then(|_| host.close(word));
        told.or_else(|errno| if errno == Errno::EPIPE { Ok(()) } else { Err(errno) })
            .map_err(at("write to the first process"))
    };
    let done = finish_start(host, cx, home, plan, pid, exit_watch, note);
    if matches!(done, Err(Error::Failed { .. })) {
        let _ = host.kill(pid, Signal::KILL);
        let _ = wait_for_end(host, pid);
    }
    done.map(|()| pid)
}

fn finish_start<H: Host>(
    host: &mut H,
    cx: &Context,
    home: &Home,
    plan: &Plan<'_>,
    pid: Pid,
    exit_watch: Option<Fd>,
    note: impl FnOnce(&mut H, Mark) -> Result<()>,
) -> Result<()> {
    let mark = Mark::of(host, pid);
    note(host, mark)?;
    moment::play(host, &cx.global, &cx.steps.midway, exit_watch)?;
    if let Some(fd) = exit_watch {
        let _ = host.close(fd);
    }
    match &plan.stdio.pid_file {
        Some(path) => pid_file::write(host, home, path, pid, &cx.steps.pid_file),
        None => Ok(()),
    }
}

fn choose_program<H: Host>(host: &mut H, plan: &Plan<'_>) -> Result<Program> {
    let cwd = plan.guest.cwd.clone().unwrap_or_else(|| plan.cwd.clone());
    let argv = match &plan.guest.argv {
        Some(argv) => words(argv.clone()),
        None if plan.guest.process_args => plan.args.clone(),
        None => {
            let (file, argv) = guest::built_in(host, plan.guest)?;
            let (file, cwd) = (file.into(), cwd.into());
            return Ok(Program { file, argv, env: plan.env.clone(), cwd, descriptors: 0 });
        }
    };
    let name = argv.first().ok_or_else(|| Error::new("process args cannot be empty"))?;
    let file = find_program(host, &name.to_string_lossy(), plan.env.as_deref(), &cwd)?;
    let (file, cwd) = (file.into(), cwd.into());
    Ok(Program { file, argv, env: plan.env.clone(), cwd, descriptors: 0 })
}

fn make_gate<H: Host>(host: &mut H, gate: Option<&PathBuf>) -> Result<()> {
    match gate {
        Some(path) => host.mkfifo(path, 0o622).map_err(doing("mkfifo", path)),
        None => Ok(()),
    }
}

fn wait_for_end<H: Host>(host: &mut H, pid: Pid) -> Result<i32> {
    loop {
        match host.wait(WaitFor::Pid(pid), true) {
            Ok(Some(exit)) => return Ok(exit.status.number()),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(at(&format!("wait for process {pid}"))(errno)),
        }
    }
}

/// A path as seen from the root; an empty one is the working directory.
pub(crate) fn absolute<H: Host>(host: &mut H, path: &std::path::Path) -> Result<PathBuf> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let here = host.current_dir().map_err(at("find the working directory"))?;
    Ok(if path.as_os_str().is_empty() { here } else { here.join(path) })
}

fn words(words: Vec<String>) -> Vec<OsString> {
    words.into_iter().map(OsString::from).collect()
}
