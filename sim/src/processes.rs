//! The table of processes. There are few at a time, and they are asked for at every step.

use std::cell::Cell;
use std::ops::{Index, IndexMut};

use crate::process::Process;

/// Processes in the order of their pids.
#[derive(Default)]
pub(crate) struct Processes {
    pids: Vec<i32>,
    rows: Vec<Process>,
    /// Where somebody was asked for last: mostly the same one is asked for again.
    last: Cell<usize>,
}

impl Processes {
    /// Where a pid is, or where it would be.
    #[inline]
    fn place(&self, pid: i32) -> Result<usize, usize> {
        let last = self.last.get();
        if self.pids.get(last) == Some(&pid) { Ok(last) } else { self.search(pid) }
    }

    fn search(&self, pid: i32) -> Result<usize, usize> {
        let place = self.pids.binary_search(&pid);
        place.inspect(|at| self.last.set(*at))
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

    #[inline]
    pub(crate) fn get(&self, pid: i32) -> Option<&Process> {
        self.place(pid).ok().map(|at| &self.rows[at])
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, pid: i32) -> Option<&mut Process> {
        self.place(pid).ok().map(|at| &mut self.rows[at])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, &Process)> {
        self.pids.iter().copied().zip(self.values())
    }

    /// Lists those of which something holds: from this pid on, and then from the first one on.
    pub(crate) fn list_from(
        &self,
        pid: i32,
        list: &mut Vec<i32>,
        holds: impl Fn(i32, &Process) -> bool,
    ) {
        let first = self.place(pid).unwrap_or_else(|at| at);
        let mut look = |at: usize| {
            if holds(self.pids[at], &self.rows[at]) {
                list.push(self.pids[at]);
            }
        };
        for at in first..self.pids.len() {
            look(at);
        }
        for at in 0..first {
            look(at);
        }
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

    #[inline]
    fn index(&self, pid: i32) -> &Process {
        match self.get(pid) {
            Some(process) => process,
            None => panic!("the simulated kernel kept the pid of a process that is gone"),
        }
    }
}

impl IndexMut<i32> for Processes {
    #[inline]
    fn index_mut(&mut self, pid: i32) -> &mut Process {
        match self.get_mut(pid) {
            Some(process) => process,
            None => panic!("the simulated kernel kept the pid of a process that is gone"),
        }
    }
}
