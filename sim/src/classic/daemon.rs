//! The daemon and its client as one actor: starts shims, talks to them, and tells what it saw.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use wavetank::files::read_file;
use wavetank::host::{Command, Host, OpenFlags, PollFd, Signal, WaitFor, WindowSize, close_all};
use wavetank::manager::ProcessSpec;
use wavetank::oci::Dialect;
use wavetank::stdio::StreamPaths;

use super::WORK;
use super::conversation::Conversation;

/// How long the daemon waits before it looks again for a file that nothing announces.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What the daemon is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The runtime's dialect, told to the shim.
    pub dialect: Dialect,
    /// Further environment of the shim.
    pub env: Vec<String>,
    /// The processes, the container's first one first. The others are started once it is there,
    /// and its input is kept open until they have ended.
    pub processes: Vec<Process>,
}

/// One process, and what its client does.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// `init`, or the exec's id.
    pub id: String,
    /// It has a terminal.
    pub terminal: bool,
    /// A checkpoint to restore it from.
    pub checkpoint: String,
    /// What the client writes.
    pub input: Vec<u8>,
    /// The window's size, told right at the start.
    pub size: Option<WindowSize>,
    /// A signal for the process as soon as its output is as long as this.
    pub signal: Option<(Signal, usize)>,
    /// A fifo that the client has forgotten to make.
    pub without: Option<&'static str>,
    /// Lines for the control fifo before anything else.
    pub control: String,
    /// The client leaves after so many bytes of output, and comes back.
    pub leaves_after: Option<usize>,
}

/// What the daemon saw of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Which process.
    pub process: String,
    /// The exit code of its shim.
    pub shim_code: Option<i32>,
    /// What `exitStatus` said when the exit fifo hung up.
    pub status: Option<String>,
    /// Its output.
    pub stdout: Vec<u8>,
    /// Its other output.
    pub stderr: Vec<u8>,
    /// `shim-log.json`.
    pub shim_log: String,
    /// Something that a daemon must not see.
    pub astonished: Option<String>,
}

pub(super) fn play<H: Host>(host: &mut H, plan: &Plan) -> Vec<Told> {
    let mut conversations: Vec<Conversation> = Vec::new();
    let mut told = Vec::new();
    for process in &plan.processes {
        while conversations.first().is_some_and(|init| init.pid(host).is_none() && !init.is_over())
        {
            turn(host, &mut conversations, true);
        }
        match Conversation::begin(host, plan, spec(process), process) {
            Ok(conversation) => conversations.push(conversation),
            Err(error) => told.push(Told {
                process: process.id.clone(),
                astonished: Some(error.to_string()),
                ..Told::default()
            }),
        }
    }
    while conversations.iter().any(|conversation| !conversation.is_over()) {
        let execs_over = conversations.iter().skip(1).all(Conversation::is_over);
        let mut must_look_again = false;
        for (number, conversation) in conversations.iter_mut().enumerate() {
            if number > 0 || execs_over {
                conversation.end_input(host);
            }
            must_look_again |= conversation.must_look_again();
        }
        turn(host, &mut conversations, must_look_again);
    }
    told.extend(conversations.into_iter().map(|conversation| conversation.finish(host)));
    let left = Path::new(WORK).join("runtime/c1");
    if let (Some(init), Ok(_)) = (told.first_mut(), host.stat(&left)) {
        init.astonished.get_or_insert("the runtime still has the container".to_owned());
    }
    told
}

fn turn<H: Host>(host: &mut H, conversations: &mut [Conversation], must_look_again: bool) {
    let mut questions: Vec<PollFd> = Vec::new();
    for conversation in conversations.iter() {
        conversation.ask(&mut questions);
    }
    let _ = host.poll(&mut questions, must_look_again.then_some(LOOK_AGAIN));
    for conversation in conversations.iter_mut() {
        conversation.turn(host, &questions);
    }
}

fn spec(process: &Process) -> ProcessSpec {
    let work = Path::new(WORK);
    let stream =
        |name: &str| work.join(format!("{}-{name}", process.id)).to_string_lossy().into_owned();
    let mut oci_process = serde_json::Map::new();
    oci_process.insert("terminal".to_owned(), Value::Bool(process.terminal));
    oci_process.insert("cwd".to_owned(), Value::from("/"));
    ProcessSpec {
        container: "c1".to_owned(),
        process: process.id.clone(),
        bundle: work.join("bundle"),
        runtime: "fake-runc".to_owned(),
        runtime_args: vec![format!("--root={WORK}/runtime")],
        shim: PathBuf::from("/bin/containerd-shim"),
        streams: StreamPaths {
            stdin: stream("stdin"),
            stdout: stream("stdout"),
            stderr: stream("stderr"),
        },
        exec: process.id != "init",
        checkpoint: process.checkpoint.clone(),
        oci_process: Value::Object(oci_process),
    }
}

/// The daemon's part since 0.2.3: starts what the shim has created.
pub(super) fn start_container<H: Host>(host: &mut H) -> Result<(), String> {
    let null = Path::new("/dev/null");
    let null = host
        .open(null, OpenFlags::READ | OpenFlags::WRITE, 0)
        .map_err(|errno| format!("open /dev/null: {errno}"))?;
    let root = format!("--root={WORK}/runtime");
    let argv = ["fake-runc", &root, "start", "c1"].map(std::ffi::OsString::from).to_vec();
    let program = PathBuf::from("/bin/fake-runc");
    let command = Command { program, argv, fds: vec![null; 3], ..Command::default() };
    let spawned = host.spawn(&command);
    close_all(host, [null]);
    let pid = spawned.map_err(|error| format!("fake-runc start: {error:?}"))?;
    match host.wait(WaitFor::Pid(pid), true) {
        Ok(Some(exit)) if exit.status.success() => Ok(()),
        other => Err(format!("fake-runc start: {other:?}")),
    }
}

pub(super) fn read_text<H: Host>(host: &mut H, path: &Path) -> Option<String> {
    let text = read_file(host, path, 1 << 20).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
