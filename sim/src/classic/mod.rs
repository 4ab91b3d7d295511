//! The classic door in the simulated kernel: the real shim, the real fake-runc, and a daemon to
//! play against them.

mod conversation;
mod daemon;
mod flows;
mod lean;
mod oracles;
mod plan;
mod races;
mod user;

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use wavetank::host::Host;
use wavetank::manager::RunOptions;

pub use flows::{Actor, Expected, Flow, flow, flows};
pub use plan::{Plan, Process, Told};
pub(crate) use races::{RACES, races};
pub use user::Typed;

pub use crate::run::Run;

use crate::guests::guest;
use crate::run::Failure;
use crate::{Choose, Config, World};

/// Where everything of a run is, the programs excepted.
const WORK: &str = "/w";

/// Runs a flow once, every choice made by `chooser`.
pub fn run(flow: &Flow, chooser: &mut dyn Choose, keep_trace: bool) -> Run {
    let config = Config { trace: keep_trace, ..flow.config.clone() };
    let mut world = World::new(config);
    let told = Rc::new(RefCell::new(Vec::new()));
    furnish(&mut world, flow, &told);
    let failure = match world.start("/bin/actor", &["actor"]) {
        Ok(_) => {
            let outcome = world.run(chooser);
            oracles::verdict(&world, flow, &outcome, &told.borrow())
        }
        Err(error) => Some(Failure::at_start(error)),
    };
    let told = told.borrow();
    Run { outcome: world.outcome(&*told), ..Run::of(&world, failure) }
}

fn furnish(world: &mut World, flow: &Flow, told: &Rc<RefCell<Vec<Told>>>) {
    world
        .add_dir("/tmp")
        .add_dir(WORK)
        .add_program("/bin/containerd-shim", |host, argv| wavetank::classic::main(host, argv))
        .add_program("/bin/fake-runc", |host, argv| fake_runc::main(host, argv))
        .add_program(Path::new("/bin").join(lean::NAME), |host, argv| lean::main(host, argv))
        .add_program("/bin/wavetank", |host, argv| run_tool(host, argv))
        .add_program("/bin/guest", |host, argv| guest(host, argv));
    for (path, content) in &flow.files {
        world.add_file(PathBuf::from(WORK).join(path), content.clone());
    }
    for fault in &flow.faults {
        world.add_fault(fault.clone());
    }
    let (actor, told) = (flow.actor.clone(), Rc::clone(told));
    world.add_program("/bin/actor", move |host, _| {
        *told.borrow_mut() = match &actor {
            Actor::Daemon(plan) => daemon::play(host, plan),
            Actor::User(typed) => vec![user::play(host, typed)],
        };
        i32::from(wavetank::files::remove_all(host, Path::new(WORK)).is_err())
    });
}

/// `wavetank run -- WORD…`, its own name being the first of the words.
fn run_tool<H: Host>(host: &mut H, words: &[OsString]) -> i32 {
    let command = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    wavetank::manager::run(host, &RunOptions { command, ..RunOptions::default() })
}
