//! What must not be left when a run is over.

use std::fmt;
use std::path::{Path, PathBuf};

use wavetank::host::{Fd, Pid};

use crate::world::World;

/// Something that should not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// A process that has ended, and its parent has not asked how.
    Zombie {
        /// Who ended.
        pid: Pid,
        /// Whose business it is.
        parent: Pid,
        /// The name of the program.
        program: String,
    },
    /// A process that goes on.
    Process {
        /// Which.
        pid: Pid,
        /// The name of its program.
        program: String,
    },
    /// A descriptor of a process that goes on.
    Descriptor {
        /// Whose.
        pid: Pid,
        /// Its number.
        fd: Fd,
        /// What it leads to.
        name: PathBuf,
    },
    /// Open files that no process has, as in a message that nobody received.
    OpenFiles(usize),
    /// Something that is still mounted here.
    Mount(PathBuf),
    /// A file that was not expected.
    File(PathBuf),
    /// A file that was expected and is not there.
    MissingFile(PathBuf),
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Leftover::Zombie { pid, parent, program } => {
                write!(f, "{pid} {program} has ended and {parent} has not reaped it")
            }
            Leftover::Process { pid, program } => write!(f, "{pid} {program} goes on"),
            Leftover::Descriptor { pid, fd, name } => {
                write!(f, "{pid} has {} open as {fd}", name.display())
            }
            Leftover::OpenFiles(count) => write!(f, "{count} open files belong to nobody"),
            Leftover::Mount(path) => write!(f, "{} is still mounted", path.display()),
            Leftover::File(path) => write!(f, "{} is left", path.display()),
            Leftover::MissingFile(path) => write!(f, "{} is gone", path.display()),
        }
    }
}

/// All that is left, where only the files in `expected`, sorted, should be.
#[must_use]
pub fn leftovers(world: &World, expected: &[PathBuf]) -> Vec<Leftover> {
    let mut found = Vec::new();
    let mut owned = 0;
    for process in world.processes() {
        let (pid, program) = (process.pid, process.program);
        match process.zombie {
            Some(_) => found.push(Leftover::Zombie { pid, parent: process.parent, program }),
            None => found.push(Leftover::Process { pid, program }),
        }
        owned += process.descriptors.len();
        let leaked = process.descriptors.into_iter();
        found.extend(leaked.map(|(fd, name)| Leftover::Descriptor { pid, fd, name }));
    }
    // Several descriptors may share an open file, so fewer open files than descriptors are fine.
    if let Some(count @ 1..) = world.open_files().checked_sub(owned) {
        found.push(Leftover::OpenFiles(count));
    }
    found.extend(world.mounts().into_iter().map(|mount| Leftover::Mount(mount.target)));
    let paths = world.paths();
    let strange = paths.iter().filter(|path| !has(expected, path));
    found.extend(strange.cloned().map(Leftover::File));
    let missing = expected.iter().filter(|path| !has(&paths, path));
    found.extend(missing.cloned().map(Leftover::MissingFile));
    found
}

/// Paths are compared byte by byte: all of them are written in one way.
fn has(paths: &[PathBuf], path: &Path) -> bool {
    paths.iter().any(|it| it.as_os_str() == path.as_os_str())
}

impl World {
    /// The first ended process that the program of this name has left as it was for long.
    pub(crate) fn zombie_of(&self, program: &str) -> Option<String> {
        let late = self.late_reaps().into_iter().find(|late| late.parent == program)?;
        Some(format!("{} had ended, and was reaped only {:?} later", late.pid, late.after))
    }

    /// What is left beyond these files: nothing, if everybody cleaned up.
    #[must_use]
    pub fn leaks(&self, expected: &[PathBuf]) -> Vec<Leftover> {
        leftovers(self, expected)
    }
}
