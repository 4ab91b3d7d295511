//! What a daemon hands to start, and what it understands as an answer, in every generation.
//!
//! Until containerd 2.2 the options come over stdin, or nothing does, and the answer is the address; or,
//! since 1.7, JSON that says more. Since 2.3 both are messages. The old input may pass for the new
//! message, whose first two fields are text as well; it is taken for one only if those say what the
//! command line says.

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use serde::Serialize;

use crate::Error;

use super::arguments::Arguments;
use super::options::{Options, are_ours};

/// The log level from which on the log says more (`LOG_LEVEL_DEBUG`); lower ones say yet more.
const DEBUG_LEVEL: i32 = -4;
/// The version of the task service that we announce where we may.
const TASK_VERSION: i32 = 3;
/// What is spoken over the socket.
const PROTOCOL: &str = "ttrpc";

/// How a daemon wants to be told where the shim is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// The address and nothing else: containerd 1.6, which knows nothing else. To every other daemon
    /// that asks in the old way it means version 2 of the task service.
    #[default]
    Address,
    /// JSON: containerd 2.0 to 2.2. 1.7 reads it too, but knows no version 3.
    Json,
    /// A message: containerd 2.3.
    Message,
}

/// The answer as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    version: i32,
    address: &'a str,
    protocol: &'a str,
}

/// What a daemon wants of a start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bootstrap {
    /// How it spoke, and wants its answer: in messages or not.
    pub(super) form: Form,
    /// The runtime's options.
    pub(super) options: Options,
    /// The daemon's address, which is part of the socket's name.
    pub(super) grpc_address: String,
    /// Where the daemon takes events. Empty: as the environment says.
    pub(super) ttrpc_address: String,
    /// The daemon's program. Empty: none is known.
    pub(super) publish_binary: String,
    /// Where the socket is to be. Empty: at the usual place.
    pub(super) socket_dir: String,
    /// Say more in the log.
    pub(super) debug: bool,
}

impl Bootstrap {
    /// Understands the command line and stdin.
    ///
    /// # Errors
    /// Stdin holds neither message, or damaged options.
    pub(super) fn understand(arguments: &Arguments, stdin: &[u8]) -> Result<Bootstrap, Error> {
        if let Ok(params) = BootstrapParams::parse_from_bytes(stdin)
            && params.instance_id == arguments.id
            && params.namespace == arguments.namespace
        {
            return Bootstrap::from_params(arguments, params);
        }
        let options =
            Any::parse_from_bytes(stdin).map_err(|error| Error::invalid("stdin", error))?;
        Ok(Bootstrap {
            form: Form::Address,
            options: our_options([&options])?,
            grpc_address: arguments.address.clone(),
            ttrpc_address: String::new(),
            publish_binary: arguments.publish_binary.clone(),
            socket_dir: String::new(),
            debug: arguments.debug,
        })
    }

    fn from_params(arguments: &Arguments, params: BootstrapParams) -> Result<Bootstrap, Error> {
        let or_argument = |given: String, argument: &String| {
            if given.is_empty() { argument.clone() } else { given }
        };
        Ok(Bootstrap {
            form: Form::Message,
            options: our_options(params.extensions.iter().filter_map(|it| it.value.as_ref()))?,
            grpc_address: or_argument(params.containerd_grpc_address, &arguments.address),
            ttrpc_address: params.containerd_ttrpc_address,
            publish_binary: or_argument(params.containerd_binary, &arguments.publish_binary),
            socket_dir: params.socket_dir.unwrap_or_default(),
            debug: arguments.debug || params.log_level.value() <= DEBUG_LEVEL,
        })
    }

    /// The answer on stdout: where the shim listens.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn answer(&self, address: &str) -> Result<Vec<u8>, Error> {
        let (version, protocol) = (TASK_VERSION, PROTOCOL);
        match self.form {
            Form::Address => Ok(address.into()),
            Form::Json => serde_json::to_vec(&Answer { version, address, protocol })
                .map_err(|error| Error::invalid("the answer", error)),
            Form::Message => {
                let (address, protocol) = (address.to_owned(), protocol.to_owned());
                let result =
                    BootstrapResult { version, address, protocol, ..BootstrapResult::default() };
                result.write_to_bytes().map_err(|error| Error::invalid("the answer", error))
            }
        }
    }
}

/// The options among what is given. Others are not for us: who makes the container will say so.
fn our_options<'a>(given: impl IntoIterator<Item = &'a Any>) -> Result<Options, Error> {
    let ours = given.into_iter().find(|any| are_ours(any));
    Options::from_any(ours)
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::bootstrap_api::{Extension, LogLevel};
    use containerd_shim_protos::protobuf::{EnumOrUnknown, MessageField};
    use rstest::rstest;

    use super::*;

    fn arguments() -> Arguments {
        Arguments {
            id: "c1".to_owned(),
            namespace: "ns".to_owned(),
            address: "/run/c.sock".to_owned(),
            publish_binary: "/bin/containerd".to_owned(),
            ..Arguments::default()
        }
    }

    /// `binary_name` is the options' field 6.
    fn options(type_url: &str) -> Any {
        let value = b"\x32\x04crun".to_vec();
        Any { type_url: type_url.to_owned(), value, ..Any::default() }
    }

    fn crun() -> Options {
        Options { binary_name: "crun".to_owned(), ..Options::default() }
    }

    fn params() -> BootstrapParams {
        BootstrapParams {
            instance_id: "c1".to_owned(),
            namespace: "ns".to_owned(),
            containerd_grpc_address: "/run/other.sock".to_owned(),
            containerd_ttrpc_address: "/run/other.sock.ttrpc".to_owned(),
            containerd_binary: "/bin/other".to_owned(),
            ..BootstrapParams::default()
        }
    }

    fn extension(any: Any) -> Extension {
        Extension { value: MessageField::some(any), ..Extension::default() }
    }

    fn understand(stdin: &impl Message) -> Bootstrap {
        Bootstrap::understand(&arguments(), &stdin.write_to_bytes().unwrap()).unwrap()
    }

    fn of_old() -> Bootstrap {
        Bootstrap {
            grpc_address: "/run/c.sock".to_owned(),
            publish_binary: "/bin/containerd".to_owned(),
            ..Bootstrap::default()
        }
    }

    #[test]
    fn nothing_at_all() {
        assert_eq!(Bootstrap::understand(&arguments(), b""), Ok(of_old()));
    }

    #[rstest]
    #[case("containerd.runc.v1.Options", crun())]
    #[case("types.googleapis.com/containerd.runc.v1.Options", crun())]
    #[case("runtimeoptions.v1.Options", Options::default())]
    fn options_alone(#[case] type_url: &str, #[case] options_read: Options) {
        let expected = Bootstrap { options: options_read, ..of_old() };
        assert_eq!(understand(&options(type_url)), expected);
    }

    #[test]
    fn options_that_pass_for_the_message() {
        let any = Any { type_url: "c1".to_owned(), value: b"other".to_vec(), ..Any::default() };
        assert_eq!(understand(&any), of_old());
    }

    #[rstest]
    #[case(b"\x0a\x05c1".as_slice())]
    #[case(b"no message \xff")]
    #[case(b"\x0a\x1acontainerd.runc.v1.Options\x12\x02\x32\x09")]
    fn damaged_input(#[case] stdin: &[u8]) {
        assert!(Bootstrap::understand(&arguments(), stdin).is_err());
    }

    #[test]
    fn the_whole_message() {
        let stdin = BootstrapParams {
            socket_dir: Some("/run/s".to_owned()),
            extensions: vec![
                extension(Any { type_url: "x/y".to_owned(), ..Any::default() }),
                Extension::default(),
                extension(options("x/containerd.runc.v1.Options")),
            ],
            ..params()
        };
        let expected = Bootstrap {
            form: Form::Message,
            options: crun(),
            grpc_address: "/run/other.sock".to_owned(),
            ttrpc_address: "/run/other.sock.ttrpc".to_owned(),
            publish_binary: "/bin/other".to_owned(),
            socket_dir: "/run/s".to_owned(),
            debug: false,
        };
        assert_eq!(understand(&stdin), expected);
    }

    #[test]
    fn a_message_with_little_in_it() {
        let stdin = BootstrapParams {
            instance_id: "c1".to_owned(),
            namespace: "ns".to_owned(),
            ..BootstrapParams::default()
        };
        assert_eq!(understand(&stdin), Bootstrap { form: Form::Message, ..of_old() });
    }

    #[rstest]
    #[case(LogLevel::LOG_LEVEL_TRACE.into(), true)]
    #[case(LogLevel::LOG_LEVEL_DEBUG.into(), true)]
    #[case(EnumOrUnknown::from_i32(-5), true)]
    #[case(EnumOrUnknown::from_i32(-3), false)]
    #[case(LogLevel::LOG_LEVEL_INFO.into(), false)]
    #[case(LogLevel::LOG_LEVEL_PANIC.into(), false)]
    fn log_levels(#[case] log_level: EnumOrUnknown<LogLevel>, #[case] debug: bool) {
        assert_eq!(understand(&BootstrapParams { log_level, ..params() }).debug, debug);
    }

    #[test]
    fn answers() {
        let address = "unix:///run/containerd/s/ab";
        assert_eq!(of_old().answer(address).unwrap(), address.as_bytes());
        let json = Bootstrap { form: Form::Json, ..of_old() }.answer(address).unwrap();
        let expected =
            r#"{"version":3,"address":"unix:///run/containerd/s/ab","protocol":"ttrpc"}"#;
        assert_eq!(json, expected.as_bytes());
        let answer = understand(&params()).answer(address).unwrap();
        // Daemons until 2.3.3 cut white space off both ends.
        assert_eq!(answer.trim_ascii(), answer);
        let result = BootstrapResult::parse_from_bytes(&answer).unwrap();
        assert_eq!((result.version, &*result.address, &*result.protocol), (3, address, "ttrpc"));
    }
}
