//! The subcommands that only tell something.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;
use wavetank::host::{self, Fd, Host, Pid};

use crate::error::{Error, Result, at};
use crate::live::{self, Mark};
use crate::script::Subcommand;
use crate::state::{Home, State, Status};
use crate::{Context, NAME};

/// Version of the OCI runtime specification that is spoken.
const SPEC_VERSION: &str = "1.0.2";

/// A container as `runc state` and `runc list` print it; the order of the keys is theirs.
#[derive(Serialize)]
struct Container {
    #[serde(rename = "ociVersion")]
    oci_version: &'static str,
    id: String,
    pid: Pid,
    status: Status,
    bundle: PathBuf,
    rootfs: PathBuf,
    created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    owner: &'static str,
}

impl Container {
    fn look_at<H: Host>(host: &mut H, home: &Home, state: State) -> Container {
        let status = home.status(host, &state);
        Container {
            oci_version: SPEC_VERSION,
            pid: if status == Status::Stopped { Pid(0) } else { state.init.pid },
            status,
            id: state.id,
            bundle: state.bundle,
            rootfs: state.rootfs,
            created: state.created,
            annotations: state.annotations,
            owner: "",
        }
    }
}

fn text<H: Host>(host: &mut H, text: &str) -> Result<()> {
    host::write_all(host, Fd(1), text.as_bytes()).map_err(at("write to stdout"))
}

fn json<H: Host>(host: &mut H, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(value)
        .map_err(|error| Error::new(format!("write to stdout: {error}")))?;
    text(host, &json)
}

/// `state`.
pub(crate) fn state<H: Host>(host: &mut H, cx: &Context, id: &str) -> Result<()> {
    let home = Home::of(&cx.root, id);
    let state = home.load(host)?;
    let container = Container::look_at(host, &home, state);
    json(host, &container)
}

/// `list`.
pub(crate) fn list<H: Host>(host: &mut H, cx: &Context, as_json: bool, quiet: bool) -> Result<()> {
    let mut containers = Vec::new();
    for id in host.list(&cx.root).unwrap_or_default() {
        let home = Home { path: cx.root.join(id) };
        if let Ok(state) = home.load(host) {
            containers.push(Container::look_at(host, &home, state));
        }
    }
    if as_json {
        return json(host, &containers);
    }
    let mut lines = String::new();
    if !quiet {
        lines += "ID          PID         STATUS      BUNDLE      CREATED                OWNER\n";
    }
    for c in containers {
        lines += &c.id;
        if !quiet {
            let (pid, status, bundle) = (c.pid, c.status.word(), c.bundle.display());
            lines += &format!("   {pid}   {status}   {bundle}   {}   {}", c.created, c.owner);
        }
        lines += "\n";
    }
    text(host, &lines)
}

/// `ps`: the first process and those that came by `exec`. Nobody here knows their children.
pub(crate) fn processes<H: Host>(
    host: &mut H,
    cx: &Context,
    id: &str,
    as_json: bool,
) -> Result<()> {
    let home = Home::of(&cx.root, id);
    let state = home.load(host)?;
    let mut marks: Vec<Mark> = vec![state.init];
    marks.extend(home.noted(host, "exec"));
    marks.retain(|mark| live::is_alive(host, *mark));
    let pids: Vec<Pid> = marks.into_iter().map(|mark| mark.pid).collect();
    if as_json {
        let line = serde_json::to_string(&pids).unwrap_or_default();
        return text(host, &format!("{line}\n"));
    }
    let lines: String = pids.iter().map(|pid| format!("{pid:>7}\n")).collect();
    text(host, &format!("    PID\n{lines}"))
}

/// `events --stats`: one record, all of it empty.
pub(crate) fn statistics<H: Host>(host: &mut H, cx: &Context, id: &str) -> Result<()> {
    let home = Home::of(&cx.root, id);
    let state = home.load(host)?;
    if home.status(host, &state) == Status::Stopped {
        return Err(Error::new(format!("container with id {id} is not running")));
    }
    text(host, &format!("{}\n", json!({"type": "stats", "id": id, "data": {}})))
}

/// `features`, as the runtime specification's `features.md` has it.
pub(crate) fn features<H: Host>(host: &mut H) -> Result<()> {
    let value = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": ["bind", "nodev", "noexec", "nosuid", "rbind", "ro", "rprivate", "rw"],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"],
            "capabilities": [],
            "cgroup": {"v1": false, "v2": false, "systemd": false, "systemdUser": false},
            "seccomp": {"enabled": false},
            "apparmor": {"enabled": false},
            "selinux": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": true}},
        },
        "annotations": {"org.wavetank.fake-runc.version": env!("CARGO_PKG_VERSION")},
    });
    json(host, &value)
}

/// `--version`.
pub(crate) fn version<H: Host>(host: &mut H) -> Result<()> {
    text(host, &format!("{NAME} version {}\nspec: {SPEC_VERSION}\n", env!("CARGO_PKG_VERSION")))
}

/// `--help`.
pub(crate) fn help<H: Host>(host: &mut H) -> Result<()> {
    let words: Vec<&str> = Subcommand::ALL.iter().map(|word| word.word()).collect();
    let words = words.join(" | ");
    text(host, &format!("USAGE: {NAME} [global flags] ({words}) [flags] [ID]\n"))
}
