//! The calls of the Task service as messages, and what their answers tell.

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as events;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::oci::{CheckpointOptions, Options};
use containerd_shim_protos::types::mount::Mount;
use serde_json::json;
use wavetank::host::Host;
use wavetank::manager::events::ReceivedEvent;
use wavetank::manager::tasks::{CallError, TaskClient};

use super::plan::{Ask, Event, Exit, Name, Process, container_of, exec_of};
use super::{WORK, streams};

/// The seconds of Go's zero time: it has not ended.
const NEVER: i64 = -62_135_596_800;

/// Begins a call, and gives its number.
pub(crate) fn send<H: Host>(
    host: &mut H,
    client: &mut TaskClient,
    ask: &Ask,
    processes: &[Process],
) -> Result<u32, CallError> {
    let name = ask.name();
    let (id, exec_id) = (container_of(name).to_owned(), exec_of(name).to_owned());
    match *ask {
        Ask::Create(_) => client.send(host, "Create", &create(processes, name)),
        Ask::Exec(_) => client.send(host, "Exec", &exec(processes, name)),
        Ask::Start(_) => {
            let request = api::StartRequest { id, exec_id, ..Default::default() };
            client.send(host, "Start", &request)
        }
        Ask::Wait(_) => {
            let request = api::WaitRequest { id, exec_id, ..Default::default() };
            client.send(host, "Wait", &request)
        }
        Ask::State(_) => {
            let request = api::StateRequest { id, exec_id, ..Default::default() };
            client.send(host, "State", &request)
        }
        Ask::Kill(_, signal) | Ask::KillAll(_, signal) => {
            let all = matches!(ask, Ask::KillAll(..));
            let request = api::KillRequest { id, exec_id, signal, all, ..Default::default() };
            client.send(host, "Kill", &request)
        }
        Ask::Delete(_) => {
            let request = api::DeleteRequest { id, exec_id, ..Default::default() };
            client.send(host, "Delete", &request)
        }
        Ask::Pause(_) => {
            client.send(host, "Pause", &api::PauseRequest { id, ..Default::default() })
        }
        Ask::Resume(_) => {
            client.send(host, "Resume", &api::ResumeRequest { id, ..Default::default() })
        }
        Ask::CloseIo(_) => {
            let request = api::CloseIORequest { id, exec_id, stdin: true, ..Default::default() };
            client.send(host, "CloseIO", &request)
        }
        Ask::Resize(_, size) => {
            let (width, height) = (size.columns.into(), size.rows.into());
            let request =
                api::ResizePtyRequest { id, exec_id, width, height, ..Default::default() };
            client.send(host, "ResizePty", &request)
        }
        Ask::Pids(_) => client.send(host, "Pids", &api::PidsRequest { id, ..Default::default() }),
        Ask::Connect(_) => {
            client.send(host, "Connect", &api::ConnectRequest { id, ..Default::default() })
        }
        Ask::Stats(_) => {
            client.send(host, "Stats", &api::StatsRequest { id, ..Default::default() })
        }
        Ask::Update(_) => {
            let resources = Any { value: br#"{"pids":{"limit":9}}"#.to_vec(), ..Any::default() };
            let resources = MessageField::some(resources);
            let request = api::UpdateTaskRequest { id, resources, ..Default::default() };
            client.send(host, "Update", &request)
        }
        Ask::Checkpoint(_) => {
            let options = CheckpointOptions { exit: true, ..CheckpointOptions::default() };
            let value = options.write_to_bytes().unwrap_or_default();
            let type_url = "containerd.runc.v1.CheckpointOptions".to_owned();
            let options = MessageField::some(Any { type_url, value, ..Any::default() });
            let path = format!("{WORK}/checkpoint");
            let request = api::CheckpointTaskRequest { id, path, options, ..Default::default() };
            client.send(host, "Checkpoint", &request)
        }
        Ask::Shutdown(_) => {
            client.send(host, "Shutdown", &api::ShutdownRequest { id, ..Default::default() })
        }
        Ask::Odd(_, method, bytes) => {
            let mut message = api::Empty::new();
            // A message of any kind: bytes that no field is known for are kept as they are.
            if message.merge_from_bytes(bytes).is_err() {
                message = api::Empty::new();
            }
            client.send(host, method, &message)
        }
    }
}

fn process(processes: &[Process], name: Name) -> Option<&Process> {
    processes.iter().find(|process| process.name == name)
}

fn stream(process: &str, stream: &str) -> String {
    streams::path(process, stream).to_string_lossy().into_owned()
}

fn stdout(processes: &[Process], name: Name) -> String {
    match process(processes, name).and_then(|process| process.file) {
        Some(file) => format!("file://{file}"),
        None => stream(name, "stdout"),
    }
}

/// The options that the daemon was configured with.
pub(crate) fn options() -> Any {
    let options = Options { root: format!("{WORK}/runc"), ..Options::default() };
    let value = options.write_to_bytes().unwrap_or_default();
    Any { type_url: "containerd.runc.v1.Options".to_owned(), value, ..Any::default() }
}

fn create(processes: &[Process], name: Name) -> api::CreateTaskRequest {
    let process = process(processes, name);
    let terminal = process.is_some_and(|process| process.terminal);
    let logger = process.map_or("", |process| process.logger);
    let mounts = process.map_or(&[][..], |process| &process.mounts);
    let mount = |target: &&str| Mount {
        type_: "tmpfs".to_owned(),
        source: "none".to_owned(),
        target: (*target).to_owned(),
        ..Mount::default()
    };
    api::CreateTaskRequest {
        id: name.to_owned(),
        bundle: format!("{WORK}/bundles/{name}"),
        rootfs: mounts.iter().map(mount).collect(),
        terminal,
        stdin: stream(name, "stdin"),
        stdout: if logger.is_empty() { stdout(processes, name) } else { logger.to_owned() },
        stderr: if terminal { String::new() } else { stream(name, "stderr") },
        options: MessageField::some(options()),
        ..Default::default()
    }
}

fn exec(processes: &[Process], name: Name) -> api::ExecProcessRequest {
    let process = process(processes, name);
    let terminal = process.is_some_and(|process| process.terminal);
    let words = process.map_or(&[][..], |process| &process.words);
    let spec = json!({ "cwd": "/", "args": argv(words) }).to_string().into_bytes();
    let spec = Any { value: spec, ..Any::default() };
    api::ExecProcessRequest {
        id: container_of(name).to_owned(),
        exec_id: exec_of(name).to_owned(),
        terminal,
        stdin: stream(name, "stdin"),
        stdout: stdout(processes, name),
        stderr: if terminal { String::new() } else { stream(name, "stderr") },
        spec: MessageField::some(spec),
        ..Default::default()
    }
}

/// The guest's command line.
pub(crate) fn argv(words: &[&str]) -> Vec<String> {
    std::iter::once("guest").chain(words.iter().copied()).map(str::to_owned).collect()
}

/// What an answer tells of an end; nothing if there was none yet.
pub(crate) fn exit(status: u32, at: Option<&Timestamp>) -> Option<Exit> {
    let at = at?;
    (at.seconds != NEVER).then_some(Exit { status, at: (at.seconds, at.nanos) })
}

/// Understands an event.
pub(crate) fn event(received: &ReceivedEvent) -> Result<Event, String> {
    let bytes = &received.message[..];
    let failed = |error| format!("{}: {error}", received.type_url);
    let whole = |id: &str, exec: &str| {
        if exec.is_empty() || exec == id { id.to_owned() } else { format!("{id}/{exec}") }
    };
    let (topic, name, pid, exit) = match received.type_url.as_str() {
        "containerd.events.TaskCreate" => {
            let it = events::TaskCreate::parse_from_bytes(bytes).map_err(failed)?;
            ("/tasks/create", it.container_id, it.pid, None)
        }
        "containerd.events.TaskStart" => {
            let it = events::TaskStart::parse_from_bytes(bytes).map_err(failed)?;
            ("/tasks/start", it.container_id, it.pid, None)
        }
        "containerd.events.TaskExit" => {
            let it = events::TaskExit::parse_from_bytes(bytes).map_err(failed)?;
            let exit = exit(it.exit_status, it.exited_at.as_ref());
            ("/tasks/exit", whole(&it.container_id, &it.id), it.pid, exit)
        }
        "containerd.events.TaskDelete" => {
            let it = events::TaskDelete::parse_from_bytes(bytes).map_err(failed)?;
            let exit = exit(it.exit_status, it.exited_at.as_ref());
            ("/tasks/delete", it.container_id, it.pid, exit)
        }
        "containerd.events.TaskExecAdded" => {
            let it = events::TaskExecAdded::parse_from_bytes(bytes).map_err(failed)?;
            ("/tasks/exec-added", whole(&it.container_id, &it.exec_id), 0, None)
        }
        "containerd.events.TaskExecStarted" => {
            let it = events::TaskExecStarted::parse_from_bytes(bytes).map_err(failed)?;
            ("/tasks/exec-started", whole(&it.container_id, &it.exec_id), it.pid, None)
        }
        "containerd.events.TaskOOM" => {
            let it = events::TaskOOM::parse_from_bytes(bytes).map_err(failed)?;
            ("/tasks/oom", it.container_id, 0, None)
        }
        "containerd.events.TaskPaused" => {
            let it = events::TaskPaused::parse_from_bytes(bytes).map_err(failed)?;
            ("/tasks/paused", it.container_id, 0, None)
        }
        "containerd.events.TaskResumed" => {
            let it = events::TaskResumed::parse_from_bytes(bytes).map_err(failed)?;
            ("/tasks/resumed", it.container_id, 0, None)
        }
        other => return Err(format!("an event {other} at {}", received.topic)),
    };
    if topic != received.topic {
        return Err(format!("{} at {}", received.type_url, received.topic));
    }
    if received.namespace != super::NAMESPACE {
        return Err(format!("an event of the namespace {:?}", received.namespace));
    }
    Ok(Event { topic: topic.to_owned(), name, pid, exit })
}
