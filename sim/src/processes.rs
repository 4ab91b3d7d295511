//! The table of processes. There are few at a time, and they are asked for at every step.

use std::ops::{Index, IndexMut};

use crate::process::Process;

/// Processes in the order of their pids.
#[derive(Default)]
pub(crate) struct Processes {
    pids: Vec<i32>,
    rows: Vec<Process>,
}

impl Processes {
    /// Where a pid is, or where it would be.
    fn place(&self, pid: i32) -> Result<usize, usize> {
        // New ones have the highest numbers, and are those that do something.
        let after = self.pids.iter().rposition(|it| *it <= pid);
        match after {
            Some(at) if self.pids[at] == pid => Ok(at),
            Some(at) => Err(at + 1),
            None => Err(0),
        }
    }

    pub(crate) fn insert(&mut self, pid: i32, process: Process) {
        match self.place(pid) {
            Ok(at) => self.rows[at] = process,
            Err(at) => {
                self.pids.insert(at, pid);
                self.rows.insert(at, process);
            }
        }
    }

    pub(crate) fn remove(&mut self, pid: i32) -> Option<Process> {
        let at = self.place(pid).ok()?;
        self.pids.remove(at);
        Some(self.rows.remove(at))
    }

    pub(crate) fn contains(&self, pid: i32) -> bool {
        self.place(pid).is_ok()
    }

    pub(crate) fn get(&self, pid: i32) -> Option<&Process> {
        self.place(pid).ok().map(|at| &self.rows[at])
    }

    pub(crate) fn get_mut(&mut self, pid: i32) -> Option<&mut Process> {
        self.place(pid).ok().map(|at| &mut self.rows[at])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, &Process)> {
        self.pids.iter().copied().zip(self.values())
    }

    /// All of them, the first being the one with this pid or the next higher one.
    pub(crate) fn from(&self, pid: i32) -> impl Iterator<Item = (i32, &Process)> {
        let at = self.place(pid).unwrap_or_else(|at| at);
        let both = |range: std::ops::Range<usize>| {
            self.pids[range.clone()].iter().copied().zip(&self.rows[range])
        };
        both(at..self.pids.len()).chain(both(0..at))
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = i32> {
        self.pids.iter().copied()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Process> {
        self.rows.iter()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        self.rows.iter_mut()
    }
}

impl Index<i32> for Processes {
    type Output = Process;

    fn index(&self, pid: i32) -> &Process {
        match self.get(pid) {
            Some(process) => process,
            None => panic!("the simulated kernel kept the pid of a process that is gone"),
        }
    }
}

impl IndexMut<i32> for Processes {
    fn index_mut(&mut self, pid: i32) -> &mut Process {
        match self.get_mut(pid) {
            Some(process) => process,
            None => panic!("the simulated kernel kept the pid of a process that is gone"),
        }
    }
}
