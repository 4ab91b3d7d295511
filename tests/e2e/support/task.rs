//! The daemon's side of a v2 shim: `start`, the Task service, the events.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use containerd_shim_protos::api;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{EnumOrUnknown, Message, MessageField};
use containerd_shim_protos::shim::oci::Options;
use serde_json::{Value, json};
use wavetank::host::{Host, LinuxHost};
use wavetank::manager::tasks::TaskClient;
use wavetank::ttrpc::Code;

use super::events::Events;
use super::{LIMIT, Place, fake_runc, finish, reap, wait_for_end};

const PROGRAM: &str = env!("CARGO_BIN_EXE_containerd-shim-wavetank-v2");

/// Why a call was refused: the class of the error, and its words.
pub(crate) type Refused = (Code, String);

/// A daemon: it starts shims, and listens to what they tell.
pub(crate) struct Daemon<'a> {
    pub(crate) place: &'a Place,
    pub(crate) events: Events,
    env: Vec<(String, String)>,
    debug: bool,
    clean: bool,
}

impl<'a> Daemon<'a> {
    /// With a bundle for `c1` whose process runs this shell command in a pid namespace of its own,
    /// as far as the shim can know. Execs run what they are asked to.
    pub(crate) fn new(place: &'a Place, command: &str) -> Daemon<'a> {
        if !place.path("bundle/fake-runc.json").exists() {
            place.script(json!({
                "container": {"process_args": true}, "exec": {"process_args": true}
            }));
        }
        write_config(place, "bundle", command, &json!({}));
        fs::create_dir(place.path("bin")).unwrap();
        symlink(fake_runc(), place.path("bin/runc")).unwrap();
        let events = Events::listen(&place.path("events"));
        Daemon { place, events, env: Vec::new(), debug: false, clean: false }
    }

    /// A variable of the shim's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Daemon<'a> {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Shims are to tell everything in their logs.
    pub(crate) fn debug(mut self) -> Daemon<'a> {
        self.debug = true;
        self
    }

    /// Shims get no more of our environment than they need.
    pub(crate) fn clean(mut self) -> Daemon<'a> {
        self.clean = true;
        self
    }

    /// The bundle of a container. The further ones have the script of the first.
    pub(crate) fn bundle(&self, id: &str) -> PathBuf {
        if id == "c1" { self.place.path("bundle") } else { self.place.path(id) }
    }

    /// Makes the bundle of a further container.
    #[allow(clippy::needless_pass_by_value, reason = "callers write it down where they call")]
    pub(crate) fn add_bundle(&self, id: &str, command: &str, annotations: Value) {
        fs::create_dir(self.place.path(id)).unwrap();
        write_config(self.place, id, command, &annotations);
        let script = |bundle: &str| self.place.path(bundle).join("fake-runc.json");
        fs::copy(script("bundle"), script(id)).unwrap();
    }

    /// The command line of `start`; the answer is on its stdout.
    pub(crate) fn start_command(&self, id: &str) -> Command {
        let mut command = self.place.command(PROGRAM);
        command.args(["-namespace", "ns", "-address", "/run/e2e/grpc", "-id", id, "start"]);
        let mut path = std::env::var("PATH").unwrap_or_default();
        if self.clean {
            let given: Vec<(OsString, OsString)> = command
                .get_envs()
                .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
                .collect();
            command.env_clear().envs(given);
            path = "/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
        }
        command.env("PATH", format!("{}:{}", self.place.text("bin"), without_criu(&path)));
        command.env("TTRPC_ADDRESS", self.place.path("events"));
        command.envs(self.env.iter().cloned()).current_dir(self.bundle(id));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Has a shim started for a container, and gives its address.
    #[track_caller]
    pub(crate) fn start_shim(&self, id: &str) -> String {
        let level = if self.debug { -4 } else { 0 };
        let params = BootstrapParams {
            instance_id: id.to_owned(),
            namespace: "ns".to_owned(),
            log_level: EnumOrUnknown::from_i32(level),
            containerd_grpc_address: "/run/e2e/grpc".to_owned(),
            socket_dir: Some(self.place.text("s")),
            ..BootstrapParams::default()
        };
        let mut child = self.start_command(id).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&params.write_to_bytes().unwrap()).unwrap();
        let output = finish(child);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        BootstrapResult::parse_from_bytes(&output.stdout).unwrap().address
    }

    /// Has a shim started for `c1`, and connects with it.
    #[track_caller]
    pub(crate) fn start(&self) -> Server<'a> {
        let address = self.start_shim("c1");
        let client = Client::connect(self.place, &address);
        let shim = client.ask("Connect", &api::ConnectRequest::new());
        let pid = shim.map(|answer: api::ConnectResponse| answer.shim_pid).unwrap();
        Server { client, address, pid: pid.cast_signed() }
    }

    /// Everything that was told, in order. Complete when the shim has ended.
    pub(crate) fn told(&self) -> Vec<String> {
        self.events.told()
    }
}

fn write_config(place: &Place, bundle: &str, command: &str, annotations: &Value) {
    let config = json!({
        "annotations": annotations,
        "process": {"args": ["sh", "-c", command], "cwd": "/"},
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
    });
    fs::write(place.path(bundle).join("config.json"), config.to_string()).unwrap();
}

fn change_config(place: &Place, bundle: &str, change: impl FnOnce(&mut Value)) {
    let path = place.path(bundle).join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

/// The container has the pids of the host.
pub(crate) fn share_pids(place: &Place, bundle: &str) {
    let namespaces = json!([{"type": "mount"}]);
    change_config(place, bundle, |config| config["linux"]["namespaces"] = namespaces);
}

/// The container's process has a terminal, as the daemon says it with the request too.
pub(crate) fn terminal_in_config(place: &Place, bundle: &str) {
    change_config(place, bundle, |config| config["process"]["terminal"] = json!(true));
}

/// Options with this runtime and the place's directory for its state.
pub(crate) fn runc_options(place: &Place, runtime: &str) -> Options {
    let (binary_name, root) = (runtime.to_owned(), place.text("root"));
    Options { binary_name, root, ..Options::default() }
}

/// A message as the daemon's typeurl packs it.
pub(crate) fn any<M: Message>(type_url: &str, message: &M) -> MessageField<Any> {
    any_json(type_url, message.write_to_bytes().unwrap())
}

/// Bytes as the daemon's typeurl packs them.
pub(crate) fn any_json(type_url: &str, value: Vec<u8>) -> MessageField<Any> {
    MessageField::some(Any { type_url: type_url.to_owned(), value, ..Any::default() })
}

pub(crate) fn options_any(options: &Options) -> MessageField<Any> {
    any("containerd.runc.v1.Options", options)
}

/// A connection with a shim.
pub(crate) struct Client<'a> {
    pub(crate) place: &'a Place,
    inner: RefCell<(LinuxHost, Option<TaskClient>)>,
}

impl<'a> Client<'a> {
    #[track_caller]
    pub(crate) fn connect(place: &'a Place, address: &str) -> Client<'a> {
        let mut host = LinuxHost::new();
        let client = TaskClient::connect(&mut host, address).unwrap();
        Client { place, inner: RefCell::new((host, Some(client))) }
    }

    /// From now on calls go to this service.
    pub(crate) fn service(self, name: &str) -> Client<'a> {
        let client = self.inner.borrow_mut().1.take().map(|client| client.service(name));
        self.inner.borrow_mut().1 = client;
        self
    }

    /// From now on calls have a deadline, which the shim is told too.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) {
        self.inner.borrow_mut().1.as_mut().unwrap().set_timeout(timeout);
    }

    /// Begins a call.
    #[track_caller]
    pub(crate) fn send<Q: Message>(&self, method: &str, request: &Q) -> u32 {
        let (host, client) = &mut *self.inner.borrow_mut();
        client.as_mut().unwrap().send(host, method, request).unwrap()
    }

    /// Waits for the answer of a call.
    #[track_caller]
    pub(crate) fn answer<A: Message>(&self, stream: u32) -> Result<A, Refused> {
        let (host, client) = &mut *self.inner.borrow_mut();
        let client = client.as_mut().unwrap();
        let end = Instant::now() + LIMIT;
        let result = loop {
            if let Some(result) = client.take(stream) {
                break result;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "a call was never answered");
            let _ = host.poll(&mut [client.question()], Some(left));
            if let Err(error) = client.turn(host) {
                assert!(client.has_answer(stream), "{error}");
            }
        };
        match result {
            Ok(bytes) => Ok(A::parse_from_bytes(&bytes).unwrap()),
            Err(status) => Err((status.code, status.message)),
        }
    }

    /// Whether a call was answered meanwhile.
    pub(crate) fn is_answered(&self, stream: u32) -> bool {
        let (host, client) = &mut *self.inner.borrow_mut();
        let client = client.as_mut().unwrap();
        client.turn(host).unwrap();
        client.has_answer(stream)
    }

    #[track_caller]
    pub(crate) fn ask<Q: Message, A: Message>(
        &self,
        method: &str,
        request: &Q,
    ) -> Result<A, Refused> {
        self.answer(self.send(method, request))
    }

    /// A call whose answer says nothing.
    #[track_caller]
    pub(crate) fn tell<Q: Message>(&self, method: &str, request: &Q) -> Result<(), Refused> {
        self.ask(method, request).map(|_: api::Empty| ())
    }

    /// What a container is created with if nothing else is said: no streams.
    pub(crate) fn create_request(&self, id: &str) -> api::CreateTaskRequest {
        let bundle = if id == "c1" { self.place.text("bundle") } else { self.place.text(id) };
        let runtime = fake_runc();
        let options = runc_options(self.place, runtime.to_str().unwrap());
        api::CreateTaskRequest {
            id: id.to_owned(),
            bundle,
            options: options_any(&options),
            ..api::CreateTaskRequest::default()
        }
    }

    /// Creates a container, and gives its pid.
    #[track_caller]
    pub(crate) fn create(&self, id: &str) -> Result<u32, Refused> {
        self.create_with(id, |_| {})
    }

    /// Creates a container for which something else is said.
    #[track_caller]
    pub(crate) fn create_with(
        &self,
        id: &str,
        change: impl FnOnce(&mut api::CreateTaskRequest),
    ) -> Result<u32, Refused> {
        let mut request = self.create_request(id);
        change(&mut request);
        self.ask("Create", &request).map(|answer: api::CreateTaskResponse| answer.pid)
    }

    /// Starts a process, and gives its pid.
    #[track_caller]
    pub(crate) fn start(&self, id: &str, exec_id: &str) -> Result<u32, Refused> {
        self.ask("Start", &start_request(id, exec_id)).map(|answer: api::StartResponse| answer.pid)
    }

    /// Creates and starts `c1`.
    #[track_caller]
    pub(crate) fn run(&self) -> u32 {
        let pid = self.create("c1").unwrap();
        assert_eq!(self.start("c1", "").unwrap(), pid);
        pid
    }

    /// Announces an exec of a shell command in `c1`.
    #[track_caller]
    pub(crate) fn exec(&self, exec_id: &str, command: &str) -> Result<(), Refused> {
        self.exec_with(exec_id, command, |_| {})
    }

    #[track_caller]
    pub(crate) fn exec_with(
        &self,
        exec_id: &str,
        command: &str,
        change: impl FnOnce(&mut api::ExecProcessRequest),
    ) -> Result<(), Refused> {
        let spec = json!({"args": ["sh", "-c", command], "cwd": "/"});
        let mut request = api::ExecProcessRequest {
            id: "c1".to_owned(),
            exec_id: exec_id.to_owned(),
            spec: any_json(
                "types.containerd.io/opencontainers/runtime-spec/1/Process",
                spec.to_string().into_bytes(),
            ),
            ..api::ExecProcessRequest::default()
        };
        change(&mut request);
        self.tell("Exec", &request)
    }

    #[track_caller]
    pub(crate) fn state(&self, id: &str, exec_id: &str) -> Result<api::StateResponse, Refused> {
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        self.ask("State", &api::StateRequest { id, exec_id, ..api::StateRequest::default() })
    }

    /// The status of a process, as the daemon would print it.
    #[track_caller]
    pub(crate) fn status(&self, id: &str, exec_id: &str) -> String {
        format!("{:?}", self.state(id, exec_id).unwrap().status.enum_value_or_default())
    }

    #[track_caller]
    pub(crate) fn send_wait(&self, id: &str, exec_id: &str) -> u32 {
        self.send("Wait", &wait_request(id, exec_id))
    }

    /// Waits for the end of a process, and gives its exit status.
    #[track_caller]
    pub(crate) fn wait(&self, id: &str, exec_id: &str) -> Result<u32, Refused> {
        let answer = self.ask("Wait", &wait_request(id, exec_id));
        answer.map(|answer: api::WaitResponse| answer.exit_status)
    }

    #[track_caller]
    pub(crate) fn kill(&self, id: &str, exec_id: &str, signal: u32) -> Result<(), Refused> {
        self.tell("Kill", &kill_request(id, exec_id, signal))
    }

    #[track_caller]
    pub(crate) fn delete(&self, id: &str, exec_id: &str) -> Result<api::DeleteResponse, Refused> {
        self.ask("Delete", &delete_request(id, exec_id))
    }

    #[track_caller]
    pub(crate) fn close_io(&self, id: &str, exec_id: &str) -> Result<(), Refused> {
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        let stdin = true;
        let request = api::CloseIORequest { id, exec_id, stdin, ..api::CloseIORequest::default() };
        self.tell("CloseIO", &request)
    }

    #[track_caller]
    pub(crate) fn connected(&self, id: &str) -> api::ConnectResponse {
        let id = id.to_owned();
        self.ask("Connect", &api::ConnectRequest { id, ..Default::default() }).unwrap()
    }

    #[track_caller]
    pub(crate) fn shut_down(&self) {
        self.tell("Shutdown", &api::ShutdownRequest::default()).unwrap();
    }

    /// Kills `c1` if it still runs, and deletes it.
    #[track_caller]
    pub(crate) fn remove(&self) -> u32 {
        let _ = self.kill("c1", "", 9);
        let status = self.wait("c1", "").unwrap();
        assert_eq!(self.delete("c1", "").unwrap().exit_status, status);
        status
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        let (host, client) = &mut *self.inner.borrow_mut();
        if let Some(client) = client.take() {
            client.close(host);
        }
    }
}

pub(crate) fn start_request(id: &str, exec_id: &str) -> api::StartRequest {
    let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
    api::StartRequest { id, exec_id, ..api::StartRequest::default() }
}

pub(crate) fn delete_request(id: &str, exec_id: &str) -> api::DeleteRequest {
    let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
    api::DeleteRequest { id, exec_id, ..api::DeleteRequest::default() }
}

pub(crate) fn wait_request(id: &str, exec_id: &str) -> api::WaitRequest {
    let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
    api::WaitRequest { id, exec_id, ..api::WaitRequest::default() }
}

pub(crate) fn kill_request(id: &str, exec_id: &str, signal: u32) -> api::KillRequest {
    let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
    api::KillRequest { id, exec_id, signal, ..api::KillRequest::default() }
}

/// A shim that serves, and the daemon's first connection with it.
pub(crate) struct Server<'a> {
    client: Client<'a>,
    pub(crate) address: String,
    pub(crate) pid: i32,
}

impl<'a> Deref for Server<'a> {
    type Target = Client<'a>;

    fn deref(&self) -> &Client<'a> {
        &self.client
    }
}

impl<'a> Server<'a> {
    /// A further connection.
    pub(crate) fn connect(&self) -> Client<'a> {
        Client::connect(self.place, &self.address)
    }

    pub(crate) fn socket(&self) -> &Path {
        Path::new(self.address.strip_prefix("unix://").unwrap())
    }

    /// Asks the shim to end, and waits until it has; it leaves nothing behind.
    #[track_caller]
    pub(crate) fn shut_down_and_end(self) {
        self.shut_down();
        self.ended();
    }

    /// Removes `c1`, and ends the shim.
    #[track_caller]
    pub(crate) fn finish(self) {
        self.remove();
        self.shut_down_and_end();
    }

    #[track_caller]
    fn ended(self) {
        wait_for_end(self.pid);
        reap(self.pid);
        assert!(!self.socket().exists(), "the socket is left");
        // The runtime's states are in a directory per namespace.
        let _ = fs::remove_dir(self.place.path("root/ns"));
    }
}

/// The directories of a `PATH` without those that have a criu, so that shims do the same on every
/// machine; but never without the shell.
fn without_criu(path: &str) -> String {
    let has = |directory: &&str, name: &str| Path::new(directory).join(name).exists();
    let keep = |directory: &&str| !has(directory, "criu") || has(directory, "sh");
    path.split(':').filter(keep).collect::<Vec<_>>().join(":")
}
