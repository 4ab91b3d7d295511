//! How a call ended, when it did not end well.

use std::fmt;

use containerd_shim_protos::protobuf::Enum;
use containerd_shim_protos::ttrpc as wire;
use serde::{Deserialize, Serialize};

/// A code of gRPC (`google.rpc.Code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Code {
    Ok,
    Canceled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

const CODES: [(Code, wire::Code); 17] = [
    (Code::Ok, wire::Code::OK),
    (Code::Canceled, wire::Code::CANCELLED),
    (Code::Unknown, wire::Code::UNKNOWN),
    (Code::InvalidArgument, wire::Code::INVALID_ARGUMENT),
    (Code::DeadlineExceeded, wire::Code::DEADLINE_EXCEEDED),
    (Code::NotFound, wire::Code::NOT_FOUND),
    (Code::AlreadyExists, wire::Code::ALREADY_EXISTS),
    (Code::PermissionDenied, wire::Code::PERMISSION_DENIED),
    (Code::ResourceExhausted, wire::Code::RESOURCE_EXHAUSTED),
    (Code::FailedPrecondition, wire::Code::FAILED_PRECONDITION),
    (Code::Aborted, wire::Code::ABORTED),
    (Code::OutOfRange, wire::Code::OUT_OF_RANGE),
    (Code::Unimplemented, wire::Code::UNIMPLEMENTED),
    (Code::Internal, wire::Code::INTERNAL),
    (Code::Unavailable, wire::Code::UNAVAILABLE),
    (Code::DataLoss, wire::Code::DATA_LOSS),
    (Code::Unauthenticated, wire::Code::UNAUTHENTICATED),
];

impl Code {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> i32 {
        self.on_wire().value()
    }

    /// The code of a number; one that gRPC does not have is `Unknown`.
    #[must_use]
    pub fn from_number(number: i32) -> Code {
        let code = CODES.iter().find(|(_, wire)| wire.value() == number);
        code.map_or(Code::Unknown, |(code, _)| *code)
    }

    fn on_wire(self) -> wire::Code {
        let code = CODES.iter().find(|(code, _)| *code == self);
        code.map_or(wire::Code::UNKNOWN, |(_, wire)| *wire)
    }
}

/// Why a call failed. Clients decide by the code; the message is for people, but some clients look
/// for words in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What kind of failure it is.
    pub code: Code,
    /// The whole chain of reasons.
    pub message: String,
}

/// Where the name of a constructor is the name of an error of containerd's `errdefs`, its words
/// follow the reason, as Go's wrapped errors have it.
impl Status {
    /// A status with a message as it is.
    pub fn new(code: Code, message: impl fmt::Display) -> Status {
        Status { code, message: message.to_string() }
    }

    fn wrapped(code: Code, reason: impl fmt::Display, kind: &str) -> Status {
        Status { code, message: format!("{reason}: {kind}") }
    }

    /// `REASON: not found`.
    pub fn not_found(reason: impl fmt::Display) -> Status {
        Status::wrapped(Code::NotFound, reason, "not found")
    }

    /// `REASON: already exists`.
    pub fn already_exists(reason: impl fmt::Display) -> Status {
        Status::wrapped(Code::AlreadyExists, reason, "already exists")
    }

    /// `REASON: invalid argument`.
    pub fn invalid_argument(reason: impl fmt::Display) -> Status {
        Status::wrapped(Code::InvalidArgument, reason, "invalid argument")
    }

    /// `REASON: failed precondition`.
    pub fn failed_precondition(reason: impl fmt::Display) -> Status {
        Status::wrapped(Code::FailedPrecondition, reason, "failed precondition")
    }

    /// `REASON: not implemented`.
    pub fn unimplemented(reason: impl fmt::Display) -> Status {
        Status::wrapped(Code::Unimplemented, reason, "not implemented")
    }

    /// `REASON: unavailable`.
    pub fn unavailable(reason: impl fmt::Display) -> Status {
        Status::wrapped(Code::Unavailable, reason, "unavailable")
    }

    /// Any other failure, in its own words.
    pub fn unknown(message: impl fmt::Display) -> Status {
        Status::new(Code::Unknown, message)
    }

    /// Something that should not happen, in its own words.
    pub fn internal(message: impl fmt::Display) -> Status {
        Status::new(Code::Internal, message)
    }

    /// The time that the caller gave is over.
    #[must_use]
    pub fn deadline_exceeded() -> Status {
        Status::new(Code::DeadlineExceeded, "context deadline exceeded")
    }

    /// The caller does not want it any more.
    #[must_use]
    pub fn canceled() -> Status {
        Status::new(Code::Canceled, "context canceled")
    }

    /// There is no service of that name, in the words of Go's ttrpc.
    #[must_use]
    pub fn no_service(name: &str) -> Status {
        Status::new(Code::Unimplemented, format_args!("service {name}"))
    }

    /// The service has no method of that name, in the words of Go's ttrpc.
    #[must_use]
    pub fn no_method(name: &str) -> Status {
        Status::new(Code::Unimplemented, format_args!("method {name}"))
    }

    /// The payload of a request is not the message that the method takes, in the words of Go's
    /// ttrpc.
    pub fn bad_payload(reason: impl fmt::Display) -> Status {
        Status::internal(format_args!("ttrpc: error unmarshalling payload: {reason}"))
    }

    /// A message is too long, in the words of Go's ttrpc.
    pub(super) fn oversize(len: impl fmt::Display) -> Status {
        let limit = super::BODY_MAX;
        let message = format!("message length {len} exceed maximum message size of {limit}");
        Status { code: Code::ResourceExhausted, message }
    }

    pub(super) fn on_wire(&self) -> wire::Status {
        wire::Status {
            code: self.code.on_wire().into(),
            message: self.message.clone(),
            ..wire::Status::default()
        }
    }

    /// `None` is success.
    pub(super) fn from_wire(status: wire::Status) -> Option<Status> {
        let code = Code::from_number(status.code.value());
        (code != Code::Ok).then_some(Status { code, message: status.message })
    }
}

/// The message alone: it says already what kind of failure it is, where anybody needs to know.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Status::not_found("container not created"), 5, "container not created: not found")]
    #[case(Status::already_exists("id a"), 6, "id a: already exists")]
    #[case(Status::invalid_argument("id"), 3, "id: invalid argument")]
    #[case(Status::failed_precondition("not up"), 9, "not up: failed precondition")]
    #[case(Status::unimplemented("stats"), 12, "stats: not implemented")]
    #[case(Status::unavailable("shim"), 14, "shim: unavailable")]
    #[case(Status::unknown("cannot pause"), 2, "cannot pause")]
    #[case(Status::internal("odd"), 13, "odd")]
    #[case(Status::deadline_exceeded(), 4, "context deadline exceeded")]
    #[case(Status::canceled(), 1, "context canceled")]
    #[case(Status::no_service("a.B"), 12, "service a.B")]
    #[case(Status::no_method("C"), 12, "method C")]
    #[case(Status::bad_payload("short"), 13, "ttrpc: error unmarshalling payload: short")]
    #[case(Status::oversize(5), 8, "message length 5 exceed maximum message size of 4194304")]
    fn a_status_has_the_code_and_the_words_of_containerd(
        #[case] status: Status,
        #[case] number: i32,
        #[case] message: &str,
    ) {
        assert_eq!((status.code.number(), status.to_string().as_str()), (number, message));
        assert_eq!(Status::from_wire(status.on_wire()), Some(status.clone()));
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    }

    #[rstest]
    #[case(0, Code::Ok)]
    #[case(16, Code::Unauthenticated)]
    #[case(17, Code::Unknown)]
    #[case(-1, Code::Unknown)]
    fn every_number_is_some_code(#[case] number: i32, #[case] code: Code) {
        assert_eq!(Code::from_number(number), code);
    }
}
