//! The daemon and its client as one actor: starts shims, talks to them, and tells what it saw.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use wavetank::host::{Host, PollFd};
use wavetank::manager::ProcessSpec;
use wavetank::stdio::StreamPaths;

use super::WORK;
use super::conversation::Conversation;
use super::plan::{Plan, Process, Told};

/// How long the daemon waits before it looks again for a file that nothing announces.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

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
