//! What the daemons of both doors have in common: what they keep on disk besides their containers, and
//! their client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wavetank::files::write_atomically;
use wavetank::host::{Host, Signal};

use super::Flow;
use super::told::{Shared, Wish};
use crate::caller::SimHost;
use crate::task::WORK;
use crate::task::plan::{Name, Process, container_of, exec_of};

/// How long a daemon waits before it looks again for what no descriptor tells of.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// More lives no container needs: one ends with each crash.
const LIVES: usize = 4;

/// Has the client do something, and waits until it has.
pub(super) fn wish(host: &mut SimHost<'_>, told: &Shared, wish: Wish) {
    told.borrow_mut().wishes.push(wish);
    let keeper = host.parent();
    let _ = host.kill(keeper, Signal::USR1);
    while told.borrow().wishes.contains(&wish) {
        let _ = host.poll(&mut [], Some(LOOK_AGAIN));
    }
}

/// Begins another life of a container, with new streams; no if there have been too many.
pub(super) fn begin_life(host: &mut SimHost<'_>, told: &Shared, container: Name) -> bool {
    told.borrow_mut().begin(container);
    let lives = told.borrow().lives.get(container).map_or(0, Vec::len);
    if lives > LIVES {
        told.borrow_mut()
            .wrong
            .push(format!("{container} does not come to its end in {LIVES} lives"));
        return false;
    }
    wish(host, told, Wish::Streams(container));
    true
}

/// Writes down that a container came to its end, and needs no other life.
pub(super) fn note_done(host: &mut SimHost<'_>, told: &Shared, container: Name) {
    told.borrow_mut().life(container).over = true;
    if let Err(error) = write_atomically(host, &done(container), b"") {
        told.borrow_mut().wrong.push(error.to_string());
    }
}

/// The containers that have not come to their end.
pub(super) fn unfinished(host: &mut SimHost<'_>, flow: &Flow) -> Vec<Name> {
    let inits = flow.plan.processes.iter().map(|process| process.name);
    inits.filter(|name| exec_of(name).is_empty() && host.stat(&done(name)).is_err()).collect()
}

fn done(container: &str) -> PathBuf {
    Path::new(WORK).join("done").join(container)
}

/// The further processes of a container.
pub(super) fn execs<'f>(flow: &'f Flow, container: &str) -> impl Iterator<Item = &'f Process> {
    let is_one =
        move |it: &&Process| container_of(it.name) == container && !exec_of(it.name).is_empty();
    flow.plan.processes.iter().filter(is_one)
}

/// The process of that name.
pub(super) fn named<'f>(flow: &'f Flow, name: &str) -> Option<&'f Process> {
    flow.plan.processes.iter().find(|process| process.name == name)
}
