//! What can be asked about a container: its processes, its figures, its limits.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use containerd_shim_protos::api::UpdateTaskRequest;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc;
use serde_json::{Value, json};

use crate::client::{told, until};
use crate::scene::{Scene, comm};
use crate::table::{Differs, Needs, Row};

pub(crate) fn rows() -> Vec<Row> {
    let row =
        |name, read, reading| Row { name, needs: Needs::Nothing, read, reading, differs: &[] };
    vec![
        row("the version of the task service", task_version, ""),
        row("pids", pids, "cat exec e, sh, sleep"),
        row("stats", stats, ""),
        row("stats: of a stopped container", stats_stopped, ""),
        row("stats: the limits", limits, "memory 64000000"),
        row("update", update, "memory 64000000, then 48001024"),
        row("update: a stopped container", update_stopped, "refused"),
        Row { differs: MISSED, ..row("oom", oom, "status 137, told once") },
        Row { differs: MISSED, ..row("oom: of an exec", oom_exec, "exec 137, RUNNING, told") },
    ]
}

fn pids(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000 & wait");
    let client = scene.exec("c", "e", &[], &["sh", "-c", "echo ready; exec cat"]);
    let mut client = scene.shows(client, "ready");
    let list = || {
        let list = scene.task("ps", &[], "c").fine();
        let mut names = Vec::new();
        for line in list.lines().skip(1) {
            let (pid, info) = line.split_once(char::is_whitespace).unwrap();
            let name = comm(pid.parse().unwrap()).unwrap_or_default();
            let is_exec = info.trim() != "-";
            assert!(!is_exec || names_exec(info), "{info}");
            names.push(if is_exec { format!("{name} exec e") } else { name });
        }
        names.sort_unstable();
        names.join(", ")
    };
    until("all are there", || list().contains("sleep") && list().contains("cat"));
    let reading = list();
    client.close_input();
    client.finish();
    scene.remove("c");
    reading
}

/// As one or the other generation of `ctr` prints it.
fn names_exec(info: &str) -> bool {
    info.contains("ExecID:e,") || info.contains("exec_id:\"e\"")
}

fn metrics(scene: &Scene) -> Value {
    let text = scene.task("metrics", &["--format", "json"], "c").fine();
    serde_json::from_str(&text).unwrap()
}

/// The names of all objects, and of those numbers that are never zero.
fn stats(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000 & wait");
    until("both are there", || metrics(scene)["pids"]["current"] == 2);
    let metrics = metrics(scene);
    scene.remove("c");
    let sections: Vec<&String> = metrics.as_object().unwrap().keys().collect();
    let positive = |pointer: &str| metrics.pointer(pointer)?.as_u64().filter(|value| *value > 0);
    let numbers = ["/cpu/usage/total", "/cpu/usage_usec", "/memory/usage/usage", "/memory/usage"];
    let found: Vec<_> = numbers.iter().filter(|number| positive(number).is_some()).collect();
    assert!(found.len() >= 2, "no figures of cpu or memory: {metrics}");
    format!("{sections:?}, more than nothing in {found:?}")
}

fn stats_stopped(scene: &Scene) -> String {
    scene.detached("c", &[], "exit 0");
    scene.wait_for_state("c", "STOPPED");
    let told = scene.task("metrics", &["--format", "json"], "c");
    scene.remove("c");
    (if told.status == 0 { "told" } else { "refused" }).to_owned()
}

/// The memory limit, in bytes, as the shim tells it.
fn told_limit(scene: &Scene) -> u64 {
    let metrics = metrics(scene);
    let limit = metrics.pointer("/memory/usage/limit").or(metrics.pointer("/memory/usage_limit"));
    limit.and_then(Value::as_u64).unwrap_or(0)
}

fn limits(scene: &Scene) -> String {
    scene.detached("c", &["--memory-limit", "64000000"], "sleep 1000");
    let limit = told_limit(scene);
    scene.remove("c");
    // The kernel counts in pages.
    format!("memory {}", if limit.abs_diff(64_000_000) < 65536 { 64_000_000 } else { limit })
}

fn bundle(scene: &Scene) -> PathBuf {
    let state = scene.daemon.place.join("state/io.containerd.runtime.v2.task");
    state.join(scene.daemon.namespace(scene.shim)).join(scene.id("c"))
}

/// What a daemon of 2.x has written down of the answer of `start`.
fn bootstrap(scene: &Scene) -> Option<Value> {
    let text = std::fs::read(bundle(scene).join("bootstrap.json")).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

fn task_version(scene: &Scene) -> String {
    scene.detached("c", &[], "sleep 1000");
    let version = bootstrap(scene).map(|bootstrap| bootstrap["version"].to_string());
    scene.remove("c");
    version.unwrap_or("not written down".to_owned())
}

/// What no `ctr` does: the call that the daemon makes, over the socket of the shim.
fn update_memory(scene: &Scene, limit: u64) -> Result<(), ttrpc::Error> {
    let address = std::fs::read_to_string(bundle(scene).join("address"))
        .unwrap_or_else(|_| bootstrap(scene).unwrap()["address"].as_str().unwrap().to_owned());
    let client = ttrpc::Client::connect(&address)?;
    let mut request = UpdateTaskRequest::new();
    request.set_id(scene.id("c"));
    let mut resources = containerd_shim_protos::protobuf::well_known_types::any::Any::new();
    resources.type_url = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".into();
    resources.value = json!({"memory": {"limit": limit}}).to_string().into_bytes();
    request.set_resources(resources);
    let call = |version: &str| {
        let mut call = ttrpc::Request::new();
        call.service = format!("containerd.task.{version}.Task");
        call.method = "Update".to_owned();
        call.payload = request.write_to_bytes().unwrap();
        call.timeout_nano = 20_000_000_000;
        client.request(call).map(|_| ())
    };
    // Each generation of the stock shim knows only its own.
    match call("v3") {
        Err(ttrpc::Error::RpcStatus(status)) if status.code() == ttrpc::Code::UNIMPLEMENTED => {
            call("v2")
        }
        other => other,
    }
}

fn update(scene: &Scene) -> String {
    scene.detached("c", &["--memory-limit", "64000000"], "sleep 1000");
    let before = told_limit(scene).div_ceil(1_000_000) * 1_000_000;
    let updated = update_memory(scene, 48_001_024);
    let after = told_limit(scene);
    scene.remove("c");
    updated.unwrap();
    format!("memory {before}, then {after}")
}

fn update_stopped(scene: &Scene) -> String {
    scene.detached("c", &[], "exit 0");
    scene.wait_for_state("c", "STOPPED");
    let updated = update_memory(scene, 48_001_024);
    scene.remove("c");
    (if updated.is_err() { "refused" } else { "done" }).to_owned()
}

const GLUTTON: [&str; 5] = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"];
const TIGHT: [&str; 2] = ["--memory-limit", "30000000"];

fn ooms(scene: &Scene) -> usize {
    scene.events("c").iter().filter(|(topic, _)| topic == "oom").count()
}

/// An event needs its time; one that has not come after this is not told.
fn ooms_told(scene: &Scene) -> &'static str {
    let end = Instant::now() + Duration::from_secs(15);
    while ooms(scene) == 0 {
        if Instant::now() > end {
            return "not told";
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    if ooms(scene) == 1 { "told once" } else { "told more than once" }
}

const MISSED: &[Differs] = &[Differs {
    on: "",
    stock: "*",
    why: "under load an OOM kill of a container that ends with it is not always told",
}];

fn oom(scene: &Scene) -> String {
    let flags = [&TIGHT[..], &["--rm"]].concat();
    let status = told(scene.run("c", &flags, &GLUTTON)).status;
    format!("status {status}, {}", ooms_told(scene))
}

fn oom_exec(scene: &Scene) -> String {
    scene.detached("c", &TIGHT, "sleep 1000");
    let status = told(scene.exec("c", "e", &[], &GLUTTON)).status;
    let told = if ooms_told(scene) == "not told" { "not told" } else { "told" };
    let state = scene.state("c");
    scene.remove("c");
    format!("exec {status}, {state}, {told}")
}
