//! Crash points: the shim, or the daemon, is killed at each of its calls. A killed daemon is started
//! again, finds what the one before it has left, and brings it to its end.
//!
//! A crash point is a [`Fault`] of a [`Case`](crate::Case), so it is replayed like everything else.

mod classic;
mod daemon;
mod flows;
mod keeper;
mod oracles;
mod points;
mod task;
mod told;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use wavetank::oci::Dialect;

pub use flows::flows;
pub use points::{Killed, Point, case, points, points_after};

use crate::guests::guest;
use crate::run::{Failure, Run};
use crate::task::plan::Plan;
use crate::task::{self as v2, CGROUP, CGROUP_DIR, SHIM, SOCKETS, WORK};
use crate::{Choose, Config, Fault, Made, SimHost, World};
use told::Shared;

/// The daemon's program.
pub const DAEMON: &str = "daemon";
/// The classic shim's program.
pub const CLASSIC_SHIM: &str = "containerd-shim";
/// Whoever starts the daemon again, and plays its client. Nobody kills it.
const KEEPER: &str = "keeper";

/// Which shim, and so which daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The runtime v2 shim.
    Task,
    /// The classic shim, and the dialect of its runtime.
    Classic(Dialect),
}

/// A life cycle that is brought to its end whoever is killed meanwhile.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its name, with `crash/` before it.
    pub name: &'static str,
    /// What the machine is like.
    pub config: Config,
    /// Which shim.
    pub door: Door,
    /// The processes; there are no threads.
    pub plan: Plan,
    /// Containers are paused and resumed on their way.
    pub pauses: bool,
    /// Who is killed, and when.
    pub faults: Vec<Fault>,
    /// When all must be over.
    pub limit: Duration,
}

impl Flow {
    /// The name of the program that is the shim.
    #[must_use]
    pub fn shim(&self) -> &'static str {
        match self.door {
            Door::Task => SHIM,
            Door::Classic(_) => CLASSIC_SHIM,
        }
    }

    /// Whether ends come as events.
    fn tells_events(&self) -> bool {
        self.door == Door::Task
    }

    /// Whether nobody is killed but the daemon.
    fn spares_the_shim(&self) -> bool {
        self.faults.iter().all(|fault| fault.program.as_deref() == Some(DAEMON))
    }
}

/// Runs a flow once, every choice made by `chooser`.
pub fn run(flow: &Flow, chooser: &mut dyn Choose, keep_trace: bool) -> Run {
    run_counting(flow, chooser, keep_trace).0
}

/// The same, and how many of the flow's crashes there were.
pub fn run_counting(flow: &Flow, chooser: &mut dyn Choose, keep_trace: bool) -> (Run, u64) {
    let config = Config { trace: keep_trace, ..flow.config.clone() };
    let mut world = World::new(config);
    let told = Shared::default();
    furnish(&mut world, flow, &told);
    let before = world.paths();
    let failure = match world.start(Path::new("/bin").join(KEEPER), &[KEEPER]) {
        Ok(pid) => {
            world.set_cgroup(pid, CGROUP);
            let outcome = world.run(chooser);
            oracles::verdict(&world, flow, &outcome, &told.borrow(), &before)
        }
        Err(error) => Some(Failure::at_start(error)),
    };
    (Run::of(&world, failure), world.faults_struck())
}

/// Every call that is made in a run.
fn calls(flow: &Flow, chooser: &mut dyn Choose) -> Vec<Made> {
    let config = Config { list_calls: true, ..flow.config.clone() };
    run_counting(&Flow { config, ..flow.clone() }, chooser, false).0.calls
}

fn furnish(world: &mut World, flow: &Flow, told: &Shared) {
    world
        .add_dir("/tmp")
        .add_dir(SOCKETS)
        .add_dir(Path::new(WORK).join("io"))
        .add_dir(Path::new(WORK).join("bundles"))
        .add_dir(Path::new(WORK).join("state"))
        .add_dir(Path::new(WORK).join("done"))
        .add_file("/sys/fs/cgroup/cgroup.controllers", "memory pids\n")
        .add_file(Path::new(CGROUP_DIR).join("memory.events"), v2::memory_events(0, 0))
        .add_program(format!("/bin/{SHIM}"), |host, argv| {
            host.play_part(part_of(argv));
            wavetank::task::main(host, argv)
        })
        .add_program(format!("/bin/{CLASSIC_SHIM}"), |host, argv| {
            host.play_part("server");
            wavetank::classic::main(host, argv)
        })
        .add_program("/bin/guest", |host, argv| guest(host, argv));
    let private_pids = flow.plan.private_pids;
    world.add_program("/bin/runc", move |host, argv| {
        if private_pids {
            v2::choose_pid_space(host, argv);
        }
        fake_runc::main(host, argv)
    });
    for fault in &flow.faults {
        world.add_fault(fault.clone());
    }
    let (own, shared) = (flow.clone(), Rc::clone(told));
    world.add_program(format!("/bin/{DAEMON}"), move |host, _| play(host, &own, &shared));
    let (flow, told) = (flow.clone(), Rc::clone(told));
    world.add_program(format!("/bin/{KEEPER}"), move |host, _| keeper::keep(host, &flow, &told));
}

fn play(host: &mut SimHost<'_>, flow: &Flow, told: &Shared) -> i32 {
    match flow.door {
        Door::Task => task::play(host, flow, told),
        Door::Classic(dialect) => classic::play(host, flow, told, dialect),
    }
}

/// Which of the shim's parts a command line is for.
fn part_of(argv: &[OsString]) -> &'static str {
    match argv.last().and_then(|word| OsStr::to_str(word)) {
        Some("start") => "start",
        Some("delete") => "delete",
        Some("mount") => "mount",
        _ => "server",
    }
}
