//! The options of a runc container (`containerd.runc.v1.Options`), and of a checkpoint.

use std::path::{Path, PathBuf};

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, UnknownFields, UnknownValueRef};
use containerd_shim_protos::shim::oci;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The name of the message, whatever stands before it in a type URL.
pub(super) const OPTIONS_TYPE: &str = "containerd.runc.v1.Options";
const CHECKPOINT_OPTIONS_TYPE: &str = "containerd.runc.v1.CheckpointOptions";

/// Where runc keeps its containers unless it is told otherwise, one directory for a namespace.
const DEFAULT_ROOT: &str = "/run/containerd/runc";
/// `criu_path` of containerd 1.x, which today's message has no more.
const CRIU_PATH: u32 = 8;
/// `parent_path`, which the message has since containerd 2.4.
const PARENT_PATH: u32 = 10;

/// How containers of a shim are made. In the JSON form, that of `options.json`, the names are these
/// and what is zero is left out, as Go writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Options {
    /// Change the root by `MS_MOVE` and not by `pivot_root`.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) no_pivot_root: bool,
    /// Leave the container in the session keyring of the runtime.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) no_new_keyring: bool,
    /// The cgroup that the shim joins, below the root of the hierarchy. Empty: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) shim_cgroup: String,
    /// Owner of the container's stdio.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) io_uid: u32,
    /// Group of the container's stdio.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) io_gid: u32,
    /// The OCI runtime, by name or path. Empty: `runc`.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) binary_name: String,
    /// Where the runtime keeps its containers. Empty: `/run/containerd/runc`.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) root: String,
    /// The `criu` to use, by path (containerd 1.x). Empty: the runtime's own choice.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) criu_path: String,
    /// systemd makes the cgroups.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) systemd_cgroup: bool,
    /// Checkpoint to restore; the daemon reads it, nobody here does.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) criu_image_path: String,
    /// Where criu keeps what it needs while it works. Empty: in the bundle's `work`.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) criu_work_path: String,
    /// Address of a task service (2.0, deprecated); not used.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) task_api_address: String,
    /// Version of that service; not used.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) task_api_version: u32,
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Options {
    /// The options in a request. Those of nobody, and those without a value, are the defaults;
    /// unknown fields are skipped.
    ///
    /// # Errors
    /// They are of another type, or damaged.
    pub(super) fn from_any(any: Option<&Any>) -> Result<Options, Error> {
        let Some(message) = unpack::<oci::Options>(any, OPTIONS_TYPE)? else {
            return Ok(Options::default());
        };
        Ok(Options {
            criu_path: unknown_string(message.special_fields.unknown_fields(), CRIU_PATH),
            no_pivot_root: message.no_pivot_root,
            no_new_keyring: message.no_new_keyring,
            shim_cgroup: message.shim_cgroup,
            io_uid: message.io_uid,
            io_gid: message.io_gid,
            binary_name: message.binary_name,
            root: message.root,
            systemd_cgroup: message.systemd_cgroup,
            criu_image_path: message.criu_image_path,
            criu_work_path: message.criu_work_path,
            task_api_address: message.task_api_address,
            task_api_version: message.task_api_version,
        })
    }

    /// The contents of `options.json`: what Go's `json.Marshal` makes of the message.
    #[must_use]
    pub(super) fn to_json(&self) -> String {
        // Plain fields of a struct always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads `options.json`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn from_json(text: &[u8]) -> Result<Options, String> {
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }

    /// The OCI runtime, by name or path.
    #[must_use]
    pub(super) fn runtime_name(&self) -> &str {
        if self.binary_name.is_empty() { "runc" } else { &self.binary_name }
    }

    /// Where the runtime keeps the containers of a namespace.
    #[must_use]
    pub(super) fn runtime_root(&self, namespace: &str) -> PathBuf {
        let root = if self.root.is_empty() { DEFAULT_ROOT } else { &self.root };
        Path::new(root).join(namespace.trim_start_matches('/'))
    }
}

/// How a checkpoint is made (`containerd.runc.v1.CheckpointOptions`). `cgroups_mode` and
/// `image_path` are skipped, as containerd's own shim does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CheckpointOptions {
    /// End the container afterwards.
    pub(super) exit: bool,
    /// Checkpoint open TCP connections.
    pub(super) open_tcp: bool,
    /// Checkpoint connections over unix sockets to outside.
    pub(super) external_unix_sockets: bool,
    /// Checkpoint a terminal from outside.
    pub(super) terminal: bool,
    /// Checkpoint file locks.
    pub(super) file_locks: bool,
    /// Namespaces that are not checkpointed.
    pub(super) empty_namespaces: Vec<String>,
    /// Where criu keeps what it needs while it works. Empty: in the bundle's `work`.
    pub(super) work_path: String,
    /// An earlier checkpoint that this one builds on. Empty: none.
    pub(super) parent_path: String,
}

impl CheckpointOptions {
    /// The options in a request, as [`Options::from_any`] reads its own.
    ///
    /// # Errors
    /// They are of another type, or damaged.
    pub(super) fn from_any(any: Option<&Any>) -> Result<CheckpointOptions, Error> {
        let Some(message) = unpack::<oci::CheckpointOptions>(any, CHECKPOINT_OPTIONS_TYPE)? else {
            return Ok(CheckpointOptions::default());
        };
        Ok(CheckpointOptions {
            parent_path: unknown_string(message.special_fields.unknown_fields(), PARENT_PATH),
            exit: message.exit,
            open_tcp: message.open_tcp,
            external_unix_sockets: message.external_unix_sockets,
            terminal: message.terminal,
            file_locks: message.file_locks,
            empty_namespaces: message.empty_namespaces,
            work_path: message.work_path,
        })
    }
}

/// Whether a message in an [`Any`] is of this type; what its URL says before the last slash is
/// for resolvers, of which there is none here.
#[must_use]
pub(super) fn is_of_type(any: &Any, name: &str) -> bool {
    any.type_url.rsplit('/').next() == Some(name)
}

fn unpack<M: Message>(any: Option<&Any>, name: &str) -> Result<Option<M>, Error> {
    let Some(any) = any.filter(|any| !any.value.is_empty()) else {
        return Ok(None);
    };
    if !is_of_type(any, name) {
        let reason = format!("are of type {:?}, not {name}", any.type_url);
        return Err(Error::invalid("options", reason));
    }
    let message = M::parse_from_bytes(&any.value);
    message.map(Some).map_err(|error| Error::invalid(format!("options of type {name}"), error))
}

fn unknown_string(fields: &UnknownFields, number: u32) -> String {
    match fields.get(number) {
        Some(UnknownValueRef::LengthDelimited(bytes)) => String::from_utf8_lossy(bytes).into(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn any(type_url: &str, value: &[u8]) -> Any {
        Any { type_url: type_url.to_owned(), value: value.to_vec(), ..Any::default() }
    }

    /// Every field, written down byte by byte, with a field of the future.
    const ALL: &[u8] = b"\x08\x01\x10\x01\x1a\x02/c\x20\x05\x28\x06\x32\x04crun\x3a\x02/r\
        \x42\x05/criu\x48\x01\x52\x02/i\x5a\x02/w\x62\x01a\x68\x03\xa2\x06\x01x";

    fn all() -> Options {
        Options {
            no_pivot_root: true,
            no_new_keyring: true,
            shim_cgroup: "/c".to_owned(),
            io_uid: 5,
            io_gid: 6,
            binary_name: "crun".to_owned(),
            root: "/r".to_owned(),
            criu_path: "/criu".to_owned(),
            systemd_cgroup: true,
            criu_image_path: "/i".to_owned(),
            criu_work_path: "/w".to_owned(),
            task_api_address: "a".to_owned(),
            task_api_version: 3,
        }
    }

    #[rstest]
    #[case("containerd.runc.v1.Options")]
    #[case("types.googleapis.com/containerd.runc.v1.Options")]
    fn every_field(#[case] type_url: &str) {
        assert_eq!(Options::from_any(Some(&any(type_url, ALL))), Ok(all()));
    }

    #[rstest]
    #[case(None)]
    #[case(Some(any("", b"")))]
    #[case(Some(any("containerd.runc.v1.Options", b"")))]
    #[case(Some(any("anything", b"")))]
    fn no_options_are_the_defaults(#[case] any: Option<Any>) {
        assert_eq!(Options::from_any(any.as_ref()), Ok(Options::default()));
    }

    #[rstest]
    #[case("containerd.runc.v1.CheckpointOptions", ALL, "are of type")]
    #[case("xcontainerd.runc.v1.Options", ALL, "are of type")]
    #[case("containerd.runc.v1.Options", b"\x3a\x09/r", "options of type")]
    fn what_is_refused(#[case] type_url: &str, #[case] value: &[u8], #[case] reason: &str) {
        let error = Options::from_any(Some(&any(type_url, value))).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    #[rstest]
    #[case(Options::default(), "{}")]
    #[case(
        Options { binary_name: "runc".to_owned(), systemd_cgroup: true, ..Options::default() },
        r#"{"binary_name":"runc","systemd_cgroup":true}"#
    )]
    #[case(all(), concat!(
        r#"{"no_pivot_root":true,"no_new_keyring":true,"shim_cgroup":"/c","io_uid":5,"io_gid":6,"#,
        r#""binary_name":"crun","root":"/r","criu_path":"/criu","systemd_cgroup":true,"#,
        r#""criu_image_path":"/i","criu_work_path":"/w","task_api_address":"a","task_api_version":3}"#
    ))]
    fn as_json(#[case] options: Options, #[case] text: &str) {
        assert_eq!(options.to_json(), text);
        assert_eq!(Options::from_json(text.as_bytes()), Ok(options));
    }

    #[test]
    fn json_of_another_version() {
        let options = Options::from_json(br#"{"root":"/r","new_field":[1]}"#);
        assert_eq!(options, Ok(Options { root: "/r".to_owned(), ..Options::default() }));
        assert!(Options::from_json(b"{").is_err());
    }

    #[rstest]
    #[case("", "", "runc", "/run/containerd/runc/k8s.io")]
    #[case("crun", "/r/", "crun", "/r/k8s.io")]
    fn the_runtime(
        #[case] binary_name: &str,
        #[case] root: &str,
        #[case] name: &str,
        #[case] runtime_root: &str,
    ) {
        let options = Options {
            binary_name: binary_name.to_owned(),
            root: root.to_owned(),
            ..Options::default()
        };
        assert_eq!(options.runtime_name(), name);
        assert_eq!(options.runtime_root("k8s.io"), Path::new(runtime_root));
    }

    #[test]
    fn options_of_a_checkpoint() {
        let value = b"\x08\x01\x10\x01\x18\x01\x20\x01\x28\x01\x32\x07network\x32\x03ipc\
            \x3a\x04soft\x42\x02/i\x4a\x02/w\x52\x02/p";
        let options = CheckpointOptions::from_any(Some(&any(
            "x/containerd.runc.v1.CheckpointOptions",
            value,
        )));
        let expected = CheckpointOptions {
            exit: true,
            open_tcp: true,
            external_unix_sockets: true,
            terminal: true,
            file_locks: true,
            empty_namespaces: vec!["network".to_owned(), "ipc".to_owned()],
            work_path: "/w".to_owned(),
            parent_path: "/p".to_owned(),
        };
        assert_eq!(options, Ok(expected));
        assert_eq!(CheckpointOptions::from_any(None), Ok(CheckpointOptions::default()));
    }
}
