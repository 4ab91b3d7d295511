//! What clients ask at any moment, and what may be answered.

use wavetank::ttrpc::Code;

use super::super::plan::{Answer, Ask, Name, done};
use super::behaviour::SIZE;
use crate::swarm::Draw;

/// What may come of a call to a container, or an exec in it, that may be at any stage of its life,
/// also not made yet, or removed.
pub(super) fn possible() -> Answer {
    done()
        .or(Code::NotFound, "container not created")
        .or(Code::NotFound, "process does not exist")
        .or(Code::NotFound, "process already finished")
        .or(Code::NotFound, "no such container")
        .or(Code::NotFound, "cgroup does not exist")
        .or(Code::FailedPrecondition, "process not created")
        .or(Code::FailedPrecondition, "init process is not running")
        .or(Code::Unknown, "cannot start a ")
        .or(Code::Unknown, "cannot pause ")
        .or(Code::Unknown, "cannot resume ")
        .or(Code::Unknown, "cannot delete a ")
        .or(Code::Unknown, "cannot exec in a ")
        .or(Code::Unknown, "cannot update a ")
        .or(Code::Unknown, "cannot resize a ")
        .or(Code::Unknown, "container not running")
        .or(Code::Unknown, "container does not exist")
        .or(Code::Unknown, "OCI runtime start failed")
        .or(Code::Unknown, "OCI runtime exec failed")
}

/// A question, or an order that changes nothing. `wanted` are orders that do.
pub(super) fn questions(
    draw: &mut Draw<'_>,
    name: Name,
    terminal: bool,
    wanted: [Option<Ask>; 2],
) -> Option<Ask> {
    match draw.below(10) {
        0 => Some(Ask::State(name)),
        1 => Some(Ask::Pids(name)),
        2 => Some(Ask::Stats(name)),
        3 => Some(Ask::Connect(name)),
        4 => Some(Ask::Update(name)),
        5 => Some(Ask::Kill(name, 0)),
        6 => Some(Ask::CloseIo(name)),
        7 => wanted[0],
        8 => wanted[1],
        _ => terminal.then_some(Ask::Resize(name, SIZE)),
    }
}
