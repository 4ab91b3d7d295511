//! -info: what this runtime is and can do.

use std::path::Path;
use std::time::Duration;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use serde::de::IgnoredAny;

use crate::Error;
use crate::host::Host;
use crate::oci::{Failure, Runc, find_program};

use super::RUNTIME;
use super::options::Options;
use super::runtime_call::call;
use super::stdin::read_stdin;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that this was built from, if whoever built it said so.
const REVISION: &str = match option_env!("WAVETANK_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// The name that daemons know the runtime's features by.
const FEATURES_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
/// A runtime prints its features at once.
const FEATURES_LIMIT: Duration = Duration::from_secs(10);

/// The version, as people read it.
pub(super) fn version(program: &str) -> String {
    format!("{program}:\n  Version:  {VERSION}\n  Revision: {REVISION}\n\n")
}

/// The message for stdout; stdin holds options, or nothing.
///
/// # Errors
/// Stdin is damaged, or there is no such runtime.
pub(super) fn info<H: Host>(host: &mut H) -> Result<Vec<u8>, Error> {
    let stdin = read_stdin(host)?;
    let given = Any::parse_from_bytes(&stdin).map_err(|error| Error::invalid("stdin", error))?;
    let options = Options::from_any(Some(&given))?;
    let name = options.runtime_name();
    let env = host.environment();
    if find_program(host, Path::new(name), &env).is_none_or(|file| host.stat(&file).is_err()) {
        let reason = Failure::NotFound.describe(name);
        return Err(Error::invalid("failed to look up the runtime", reason));
    }
    let version = RuntimeVersion {
        version: VERSION.to_owned(),
        revision: REVISION.to_owned(),
        ..RuntimeVersion::default()
    };
    let info = RuntimeInfo {
        name: RUNTIME.to_owned(),
        version: MessageField::some(version),
        options: if given.value.is_empty() { None } else { Some(given) }.into(),
        features: features(host, name).into(),
        ..RuntimeInfo::default()
    };
    info.write_to_bytes().map_err(|error| Error::invalid("the answer", error))
}

/// What the runtime can do, in its own words; `None` of one that has none for it.
fn features<H: Host>(host: &mut H, name: &str) -> Option<Any> {
    let runc = Runc { program: name.to_owned(), ..Runc::default() };
    let called = call(host, runc.features(), FEATURES_LIMIT).ok()?;
    let value = called.stdout.trim_ascii().to_vec();
    let is_object =
        value.first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(&value).is_ok();
    let told = called.status.success() && is_object;
    told.then(|| Any { type_url: FEATURES_TYPE.to_owned(), value, ..Any::default() })
}
