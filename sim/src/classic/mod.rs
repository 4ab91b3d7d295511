//! The classic door in the simulated kernel: the real shim, the real fake-runc, and a daemon to
//! play against them.

mod conversation;
mod daemon;
mod flows;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use wavetank::host::Host;

pub use daemon::{Plan, Process, Told};
pub use flows::{Flow, flow, flows};

use crate::guests::guest;
use crate::{Choose, Config, Outcome, World};

/// Where everything of a run is, the programs excepted.
const WORK: &str = "/w";

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// The first thing that is not as it was promised, if any.
    pub failure: Option<String>,
    /// Same for runs in which the same happened.
    pub hash: u64,
    /// Calls of the host that were made.
    pub steps: u64,
    /// What happened, line by line, if it was to be kept.
    pub trace: Vec<String>,
}

/// Runs a flow once, every choice made by `chooser`.
pub fn run(flow: &Flow, chooser: &mut dyn Choose, keep_trace: bool) -> Run {
    let config = Config { trace: keep_trace, ..flow.config.clone() };
    let mut world = World::new(config);
    let told = Rc::new(RefCell::new(Vec::new()));
    furnish(&mut world, flow, &told);
    let failure = match world.start("/bin/daemon", &["daemon"]) {
        Ok(_) => {
            let outcome = world.run(chooser);
            check(&world, flow, &outcome, &told.borrow())
        }
        Err(error) => Some(format!("the daemon could not be started: {error:?}")),
    };
    Run { failure, hash: world.hash(), steps: world.steps(), trace: world.trace() }
}

fn furnish(world: &mut World, flow: &Flow, told: &Rc<RefCell<Vec<Told>>>) {
    world
        .add_dir("/tmp")
        .add_dir(WORK)
        .add_program("/bin/containerd-shim", |host, argv| wavetank::classic::main(host, argv))
        .add_program("/bin/fake-runc", |host, argv| fake_runc::main(host, argv))
        .add_program("/bin/guest", |host, argv| guest(host, argv));
    for (path, content) in &flow.files {
        world.add_file(PathBuf::from(WORK).join(path), content.clone());
    }
    for fault in &flow.faults {
        world.add_fault(fault.clone());
    }
    let (plan, told) = (flow.plan.clone(), Rc::clone(told));
    world.add_program("/bin/daemon", move |host, _| {
        *told.borrow_mut() = daemon::play(host, &plan);
        let cleaned = wavetank::files::remove_all(host, std::path::Path::new(WORK));
        i32::from(cleaned.is_err() || host.pid().0 == 0)
    });
}

/// Holds a run against what it promised.
fn check(world: &World, flow: &Flow, outcome: &Outcome, told: &[Told]) -> Option<String> {
    if *outcome != Outcome::Done {
        return Some(outcome.to_string());
    }
    if told.len() != flow.expected.len() {
        return Some(format!("{} of {} processes were told of", told.len(), flow.expected.len()));
    }
    let differing = flow.expected.iter().zip(told).find_map(|(expected, told)| {
        let difference = expected.difference(told)?;
        Some(format!("{}: {difference}", told.process))
    });
    let programs = ["/bin", "/bin/containerd-shim", "/bin/daemon", "/bin/fake-runc", "/bin/guest"];
    let expected: Vec<PathBuf> = programs.iter().chain(&["/tmp"]).map(PathBuf::from).collect();
    differing.or_else(|| world.leaks(&expected).first().map(ToString::to_string))
}
