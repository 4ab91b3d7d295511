//! The daemon's ear for events: a thread that takes them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use containerd_shim_protos::events::task as events;
use containerd_shim_protos::protobuf::Message;
use wavetank::host::{Fd, Host, LinuxHost, OpenFlags, PollFd, Ready};
use wavetank::manager::events::{EventReceiver, ReceivedEvent};

use super::wait_for;

/// What shims have told. It may be deaf for a while.
pub(crate) struct Events {
    path: PathBuf,
    heard: Arc<Mutex<Vec<ReceivedEvent>>>,
    /// The listening thread, and the pipe whose end is its own.
    ear: Option<(JoinHandle<()>, Fd)>,
}

impl Events {
    pub(crate) fn listen(path: &Path) -> Events {
        let mut events = Events { path: path.to_owned(), heard: Arc::default(), ear: None };
        events.listen_again();
        events
    }

    /// The daemon is there again.
    pub(crate) fn listen_again(&mut self) {
        let mut host = LinuxHost::new();
        let stop = host.pipe(OpenFlags::empty()).unwrap();
        let mut receiver = EventReceiver::listen(&mut host, &self.path).unwrap();
        let heard = Arc::clone(&self.heard);
        let listen = move || {
            loop {
                let mut questions = vec![PollFd::new(stop.read, Ready::READ)];
                receiver.ask(&mut questions);
                if host.poll(&mut questions, None).is_err() {
                    continue;
                }
                // What the shim has an answer to is already written down.
                let mut heard = heard.lock().unwrap();
                heard.extend(receiver.turn(&mut host, &questions));
                if !questions[0].ready.is_empty() {
                    break;
                }
            }
            receiver.close(&mut host);
            host.close(stop.read).unwrap();
        };
        self.ear = Some((std::thread::spawn(listen), stop.write));
    }

    /// The daemon is gone.
    pub(crate) fn stop(&mut self) {
        if let Some((thread, stop)) = self.ear.take() {
            LinuxHost::new().close(stop).unwrap();
            let _ = thread.join();
        }
    }

    pub(crate) fn all(&self) -> Vec<ReceivedEvent> {
        self.heard.lock().unwrap().clone()
    }

    /// A line for each, without pids and times.
    pub(crate) fn told(&self) -> Vec<String> {
        self.all().iter().map(line).collect()
    }

    /// Waits until something was told.
    #[track_caller]
    pub(crate) fn wait_for(&self, wanted: &str) -> ReceivedEvent {
        wait_for(&format!("{wanted:?} is told"), || {
            self.all().into_iter().find(|event| line(event) == wanted)
        })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.stop();
    }
}

#[track_caller]
pub(crate) fn read<M: Message>(event: &ReceivedEvent) -> M {
    M::parse_from_bytes(&event.message).unwrap()
}

fn line(event: &ReceivedEvent) -> String {
    let name = event.topic.strip_prefix("/tasks/").unwrap();
    assert_eq!(event.namespace, "ns");
    match (name, event.type_url.as_str()) {
        ("create", "containerd.events.TaskCreate") => {
            format!("create {}", read::<events::TaskCreate>(event).container_id)
        }
        ("start", "containerd.events.TaskStart") => {
            format!("start {}", read::<events::TaskStart>(event).container_id)
        }
        ("exec-added", "containerd.events.TaskExecAdded") => {
            let event: events::TaskExecAdded = read(event);
            format!("exec-added {} {}", event.container_id, event.exec_id)
        }
        ("exec-started", "containerd.events.TaskExecStarted") => {
            let event: events::TaskExecStarted = read(event);
            format!("exec-started {} {}", event.container_id, event.exec_id)
        }
        ("exit", "containerd.events.TaskExit") => {
            let event: events::TaskExit = read(event);
            format!("exit {} {} {}", event.container_id, event.id, event.exit_status)
        }
        ("delete", "containerd.events.TaskDelete") => {
            let event: events::TaskDelete = read(event);
            format!("delete {} {}", event.container_id, event.exit_status)
        }
        ("paused", "containerd.events.TaskPaused") => {
            format!("paused {}", read::<events::TaskPaused>(event).container_id)
        }
        ("resumed", "containerd.events.TaskResumed") => {
            format!("resumed {}", read::<events::TaskResumed>(event).container_id)
        }
        other => panic!("{other:?} is no event"),
    }
}
