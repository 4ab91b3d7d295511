//! The runtime v2 door in the simulated kernel: the real shim with its server, the real fake-runc by
//! the name of runc, and a daemon to play against them.

pub(crate) mod asks;
mod daemon;
mod flows;
pub(crate) mod launch;
mod oracles;
pub(crate) mod plan;
pub(crate) mod streams;
mod swarm;

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::json;

pub use flows::{Flow, flow, flows};
pub(crate) use flows::{RACES, races};
pub use plan::{Answer, Ask, Event, Exit, Name, Plan, Process, Step, Told, Until};

use crate::guests::{guest, logger};
use crate::run::{Failure, Run};
use crate::{Choose, Config, SimHost, World};

/// Where everything of a run is, the programs excepted.
pub(crate) const WORK: &str = "/w";
/// The daemon's namespace.
pub(crate) const NAMESPACE: &str = "ns";
/// The shim's program.
pub(crate) const SHIM: &str = "containerd-shim-wavetank-v2";
/// The cgroup that all of a run's processes are in.
pub(crate) const CGROUP: &str = "/run";
pub(crate) const CGROUP_DIR: &str = "/sys/fs/cgroup/run";
/// Where sockets are if the daemon does not say where.
pub(crate) const SOCKETS: &str = "/run/containerd/s";

/// Runs a flow once, every choice made by `chooser`.
pub fn run(flow: &Flow, chooser: &mut dyn Choose, keep_trace: bool) -> Run {
    let flow = &drawn(flow, chooser);
    let config = Config { trace: keep_trace, ..flow.config.clone() };
    let mut world = World::new(config);
    let told = Rc::new(RefCell::new(Told::default()));
    furnish(&mut world, flow, &told);
    if flow.chance {
        world.add_fault(flows::any_fault(chooser));
    }
    let before = world.paths();
    let failure = match world.start("/bin/actor", &["actor"]) {
        Ok(pid) => {
            world.set_cgroup(pid, CGROUP);
            let outcome = world.run(chooser);
            oracles::verdict(&world, flow, &outcome, &told.borrow(), &before)
        }
        Err(error) => Some(Failure::at_start(error)),
    };
    let told = told.borrow();
    Run { outcome: world.outcome(&*told), ..Run::of(&world, failure) }
}

/// The flow as it is run: one that is drawn asks `chooser` first for all that it is made of.
#[must_use]
pub fn drawn<'f>(flow: &'f Flow, chooser: &mut dyn Choose) -> Cow<'f, Flow> {
    if flow.is_drawn { Cow::Owned(swarm::draw(flow, chooser)) } else { Cow::Borrowed(flow) }
}

fn furnish(world: &mut World, flow: &Flow, told: &Rc<RefCell<Told>>) {
    world
        .add_dir("/tmp")
        .add_dir(SOCKETS)
        .add_dir(Path::new(WORK).join("io"))
        .add_file("/sys/fs/cgroup/cgroup.controllers", "memory pids\n")
        .add_file(Path::new(CGROUP_DIR).join("memory.events"), memory_events(0, 0))
        .add_program(format!("/bin/{SHIM}"), |host, argv| wavetank::task::main(host, argv))
        .add_program("/bin/guest", |host, argv| guest(host, argv))
        .add_program("/bin/logger", |host, argv| logger(host, argv));
    for process in flow.plan.inits() {
        let bundle = Path::new(WORK).join("bundles").join(process.name);
        world
            .add_file(bundle.join("config.json"), config(&flow.plan, process))
            .add_file(bundle.join("fake-runc.json"), script(&flow.script))
            .add_fifo(bundle.join("log"));
        for place in process.mounts.iter().filter(|place| !place.is_empty()) {
            world.add_dir(bundle.join("rootfs").join(place));
        }
    }
    let private_pids = flow.plan.private_pids;
    world.add_program("/bin/runc", move |host, argv| {
        if private_pids {
            choose_pid_space(host, argv);
        }
        fake_runc::main(host, argv)
    });
    for fault in &flow.faults {
        world.add_fault(fault.clone());
    }
    let (flow, told) = (flow.clone(), Rc::clone(told));
    world.add_program("/bin/actor", move |host, _| {
        *told.borrow_mut() = daemon::play(host, &flow);
        i32::from(wavetank::files::remove_all(host, Path::new(WORK)).is_err())
    });
}

/// The runtime's script: processes run the guest's words.
pub(crate) fn script(wishes: &serde_json::Value) -> String {
    let mut script = json!({
        "container": { "process_args": true }, "exec": { "process_args": true },
    });
    if let (Some(script), Some(wishes)) = (script.as_object_mut(), wishes.as_object()) {
        script.extend(wishes.clone());
    }
    script.to_string()
}

/// fake-runc does nothing about namespaces; here its container's init leads one, and execs join it.
pub(crate) fn choose_pid_space(host: &mut SimHost<'_>, argv: &[OsString]) {
    let has = |word: &str| argv.iter().any(|it| it == word);
    if argv.get(1).is_some_and(|word| word == "init") {
        return host.lead_pid_space();
    }
    let Some(id) = argv.last().filter(|_| has("exec")) else { return };
    let file = Path::new(WORK).join("bundles").join(id).join("init.pid");
    let pid = wavetank::files::read_file(host, &file, 64).ok();
    if let Some(pid) = pid.and_then(|text| wavetank::oci::parse_pid(&text).ok()) {
        host.join_pid_space(pid);
    }
}

/// What the kernel says of a cgroup that was out of memory so many times, and in which it killed so
/// many.
pub(crate) fn memory_events(used_up: u32, kills: u32) -> String {
    format!("low 0\nhigh 0\nmax 0\noom {used_up}\noom_kill {kills}\noom_group_kill 0\n")
}

pub(crate) fn config(plan: &Plan, init: &Process) -> String {
    let mut namespaces = vec![json!({ "type": "mount" })];
    if plan.private_pids {
        namespaces.push(json!({ "type": "pid" }));
    }
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": init.terminal, "cwd": "/", "args": asks::argv(&init.words),
        },
        "linux": { "namespaces": namespaces },
    });
    if !plan.group.is_empty() {
        config["annotations"] = json!({ "io.kubernetes.cri.sandbox-id": plan.group });
    }
    config.to_string()
}

/// The files that are to be there at the end: those from the start that are not of the run.
pub(crate) fn lasting(before: &[PathBuf]) -> Vec<PathBuf> {
    before.iter().filter(|path| !path.starts_with(WORK)).cloned().collect()
}
