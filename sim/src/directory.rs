//! The names in a directory. There are few in most, and they are asked for all the time.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Names and what they stand for, in the order of the names.
pub(crate) struct Directory<T> {
    entries: Vec<(OsString, T)>,
}

impl<T: Copy> Directory<T> {
    pub(crate) fn new() -> Directory<T> {
        Directory { entries: Vec::new() }
    }

    /// Where a name is. Most others differ in their length already, or in their last byte.
    fn place(&self, name: &OsStr) -> Option<usize> {
        let name = name.as_bytes();
        let is_it = |it: &[u8]| it.len() == name.len() && it.last() == name.last() && it == name;
        self.entries.iter().position(|(it, _)| is_it(it.as_bytes()))
    }

    pub(crate) fn get(&self, name: &OsStr) -> Option<T> {
        self.place(name).map(|at| self.entries[at].1)
    }

    /// Adds a name, or lets it stand for something else.
    pub(crate) fn insert(&mut self, name: OsString, what: T) {
        match self.entries.binary_search_by(|(it, _)| it.cmp(&name)) {
            Ok(at) => self.entries[at].1 = what,
            Err(at) => self.entries.insert(at, (name, what)),
        }
    }

    pub(crate) fn remove(&mut self, name: &OsStr) -> Option<T> {
        self.place(name).map(|at| self.entries.remove(at).1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&OsString, T)> {
        self.entries.iter().map(|(name, what)| (name, *what))
    }

    pub(crate) fn names(&self) -> Vec<OsString> {
        self.entries.iter().map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_their_order_and_stand_for_what_they_were_given_last() {
        let mut directory = Directory::new();
        for (name, what) in [("b", 1), ("aa", 2), ("c", 3), ("a", 4), ("b", 5)] {
            directory.insert(name.into(), what);
        }
        assert_eq!(directory.remove("c".as_ref()), Some(3));
        assert_eq!(directory.remove("c".as_ref()), None);
        assert_eq!(directory.names(), ["a", "aa", "b"]);
        let found = ["a", "aa", "b", "c"].map(|name| directory.get(name.as_ref()));
        assert_eq!(found, [Some(4), Some(2), Some(5), None]);
    }
}
