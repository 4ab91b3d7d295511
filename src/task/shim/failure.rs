//! Why a call could not be done, in containerd's error classes and words.

use crate::Error;
use crate::process::Refusal;
use crate::ttrpc::Status;

pub(super) fn no_container() -> Status {
    Status::not_found("container not created")
}

pub(super) fn no_process(exec_id: &str) -> Status {
    Status::not_found(format!("process does not exist {exec_id}"))
}

pub(super) fn already_finished() -> Status {
    Status::not_found("process already finished")
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        if refusal.gone {
            Status::not_found(refusal.message)
        } else {
            Status::unknown(refusal.message)
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        Status::unknown(error.to_string())
    }
}
