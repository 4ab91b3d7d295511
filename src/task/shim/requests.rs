//! Which method does what.

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::Message;

use super::Shim;
use super::calls::CallId;
use super::state::{Order, Task};
use crate::host::{Bug, Host};
use crate::ttrpc::{Incoming, Status};

/// The names of the Task service; their messages are the same. A daemon may find a shim that
/// another version of it has started, so both are always served.
const SERVICES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/// What a call comes to at once: an answer, or nothing yet.
pub(super) type Answer = Result<Option<Vec<u8>>, Status>;

pub(super) fn encode<M: Message>(message: &M) -> Vec<u8> {
    // Only a message with a required field that is absent cannot be written; there are none here.
    message.write_to_bytes().unwrap_or_default()
}

fn decode<M: Message>(payload: &[u8]) -> Result<M, Status> {
    M::parse_from_bytes(payload).map_err(Status::bad_payload)
}

fn now<M: Message>(message: &M) -> Answer {
    Ok(Some(encode(message)))
}

fn done() -> Answer {
    now(&api::Empty::new())
}

impl Shim {
    /// Does as a call asks, and answers it if that can be done at once.
    pub(super) fn request<H: Host>(&mut self, host: &mut H, call: CallId, incoming: Incoming) {
        let Incoming { service, method, payload, .. } = incoming;
        let served = if host.planted(Bug::OneProtocol) { &SERVICES[1..] } else { &SERVICES };
        let answer = if served.contains(&service.as_str()) {
            self.dispatch(host, call, &method, &payload)
        } else {
            Err(Status::no_service(&service))
        };
        match answer {
            Ok(Some(message)) => self.server.answer(call, Ok(message)),
            Ok(None) => {}
            Err(status) => self.server.answer(call, Err(status)),
        }
    }

    fn dispatch<H: Host>(
        &mut self,
        host: &mut H,
        call: CallId,
        method: &str,
        payload: &[u8],
    ) -> Answer {
        match method {
            "State" => now(&self.state(&decode(payload)?)?),
            "Connect" => now(&self.connect(host, &decode(payload)?)),
            "Pids" => now(&self.pids(host, &decode(payload)?)?),
            "Stats" => now(&self.stats(host, &decode(payload)?)?),
            "Wait" => self.wait(host, call, &decode(payload)?),
            "Exec" => self.exec(host, decode(payload)?).and_then(|()| done()),
            "CloseIO" => self.close_io(host, &decode(payload)?).and_then(|()| done()),
            "ResizePty" => self.resize_pty(host, &decode(payload)?).and_then(|()| done()),
            "Shutdown" => {
                let request: api::ShutdownRequest = decode(payload).unwrap_or_default();
                self.shut_down(host, &request.id);
                done()
            }
            "Create" => self.create(host, call, decode(payload)?).map(|()| None),
            "Kill" => self.kill(host, call, &decode(payload)?),
            "Start" => {
                let request: api::StartRequest = decode(payload)?;
                self.have(host, call, &request.id, &request.exec_id, Task::Start)
            }
            "Delete" => {
                let request: api::DeleteRequest = decode(payload)?;
                self.disown(&request.id);
                self.have(host, call, &request.id, &request.exec_id, Task::Delete)
            }
            "Pause" => {
                let request: api::PauseRequest = decode(payload)?;
                self.have(host, call, &request.id, "", Task::Pause)
            }
            "Resume" => {
                let request: api::ResumeRequest = decode(payload)?;
                self.have(host, call, &request.id, "", Task::Resume)
            }
            "Update" => {
                let request: api::UpdateTaskRequest = decode(payload)?;
                let resources = request.resources.into_option().unwrap_or_default().value;
                self.have(host, call, &request.id, "", Task::Update(resources))
            }
            "Checkpoint" => {
                let request: api::CheckpointTaskRequest = decode(payload)?;
                let task = self.checkpoint_task(&request)?;
                self.have(host, call, &request.id, "", task)
            }
            _ => Err(Status::no_method(method)),
        }
    }

    /// Has something done to a process, now or when it is its turn.
    fn have<H: Host>(
        &mut self,
        host: &mut H,
        call: CallId,
        id: &str,
        exec_id: &str,
        task: Task,
    ) -> Answer {
        let key = self.find(id, exec_id)?;
        self.order(host, key, Order { task, call });
        Ok(None)
    }
}
