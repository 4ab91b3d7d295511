//! The daemon and its client as one actor: starts shims, talks to them, and tells what it saw.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use wavetank::host::{Command, Host, OpenFlags, PollFd, WaitFor, close_all};
use wavetank::manager::ProcessSpec;
use wavetank::stdio::StreamPaths;

use super::WORK;
use super::conversation::Conversation;
use super::plan::{Plan, Process, Told};
use crate::caller::SimHost;
use crate::trouble::{Impatience, Patience};

/// How long the daemon waits before it looks again for a file that nothing announces.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How often it looks, in trouble, whether a shim has died: one that did so before it opened its exit
/// fifo is announced by nothing else.
const LOOK_FOR_THE_DEAD: Duration = Duration::from_secs(1);

pub(super) fn play(host: &mut SimHost<'_>, plan: &Plan) -> Vec<Told> {
    let mut patience = Patience::default();
    let mut conversations: Vec<Conversation> = Vec::new();
    let mut told = Vec::new();
    if plan.race {
        host.begin_race();
        host.only_read();
    }
    for process in &plan.processes {
        while conversations.first().is_some_and(|init| init.pid(host).is_none() && !init.is_over())
        {
            turn(host, &mut conversations, true, &mut patience);
        }
        match Conversation::begin(host, plan, spec(plan, process), process) {
            Ok(conversation) => {
                patience.renew();
                conversations.push(conversation);
            }
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
        turn(host, &mut conversations, must_look_again, &mut patience);
    }
    if host.trouble().is_any() {
        clean_up(host, plan.runtime, &conversations);
    }
    told.extend(conversations.into_iter().map(|conversation| conversation.finish(host)));
    let left = Path::new(WORK).join("runtime/c1");
    if let (Some(init), Ok(_)) = (told.first_mut(), host.stat(&left)) {
        init.astonished.get_or_insert("the runtime still has the container".to_owned());
    }
    told
}

/// What the daemon does about a container whose shim may not have seen it off: on a machine that
/// is well again it ends what runs and has the runtime forget it.
fn clean_up(host: &mut SimHost<'_>, runtime: &str, conversations: &[Conversation]) {
    host.heal();
    for conversation in conversations.iter().rev() {
        conversation.end_process(host);
    }
    if host.stat(&Path::new(WORK).join("runtime/c1")).is_ok() {
        // Whatever it says, the look at what it still has tells.
        let _ = run_runtime(host, runtime, &["delete", "--force", "c1"]);
    }
}

/// Runs the runtime to its end, as the daemon does itself.
pub(super) fn run_runtime<H: Host>(
    host: &mut H,
    runtime: &str,
    words: &[&str],
) -> Result<(), String> {
    let null = Path::new("/dev/null");
    let null = host
        .open(null, OpenFlags::READ | OpenFlags::WRITE, 0)
        .map_err(|errno| format!("open /dev/null: {errno}"))?;
    let root = format!("--root={WORK}/runtime");
    let argv = [runtime, &root].iter().chain(words).map(OsString::from).collect();
    let program = Path::new("/bin").join(runtime);
    let command = Command { program, argv, fds: vec![null; 3], ..Command::default() };
    let spawned = host.spawn(&command);
    close_all(host, [null]);
    let pid = spawned.map_err(|error| format!("{runtime} {words:?}: {error:?}"))?;
    match host.wait(WaitFor::Pid(pid), true) {
        Ok(Some(exit)) if exit.status.success() => Ok(()),
        other => Err(format!("{runtime} {words:?}: {other:?}")),
    }
}

fn turn(
    host: &mut SimHost<'_>,
    conversations: &mut [Conversation],
    must_look_again: bool,
    patience: &mut Patience,
) {
    let mut questions: Vec<PollFd> = Vec::new();
    for conversation in conversations.iter() {
        conversation.ask(&mut questions);
    }
    let left = patience.left(host);
    let again = must_look_again.then(|| patience.look_again(host, LOOK_AGAIN));
    let dead = left.map(|_| LOOK_FOR_THE_DEAD);
    let _ = host.poll(&mut questions, [left, again, dead].into_iter().flatten().min());
    if patience.ends(host) == Some(Impatience::Hangs) {
        conversations.iter_mut().for_each(|conversation| conversation.give_up(host));
    }
    for conversation in conversations.iter_mut() {
        conversation.turn(host, &questions);
    }
}

fn spec(plan: &Plan, process: &Process) -> ProcessSpec {
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
        runtime: plan.runtime.to_owned(),
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
