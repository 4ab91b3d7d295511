//! Points in time as messages.

use std::time::Duration;

use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;

/// Go's zero time, which says that something has not happened.
const NEVER: i64 = -62_135_596_800;

/// A time since the start of 1970, or never.
pub(super) fn timestamp(at: Option<Duration>) -> MessageField<Timestamp> {
    let mut message = Timestamp::new();
    message.seconds = at.map_or(NEVER, |at| i64::try_from(at.as_secs()).unwrap_or(i64::MAX));
    message.nanos = at.map_or(0, |at| at.subsec_nanos().cast_signed());
    MessageField::some(message)
}
