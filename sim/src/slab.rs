//! A table whose rows have small numbers, and in which the number of a removed row is used again.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// The number of a row in a [`Slab`] of `T`.
pub(crate) struct Id<T>(u32, PhantomData<fn() -> T>);

/// Rows of `T`. A new row takes the number that was given back last, so the same calls give the
/// same numbers in every run.
pub(crate) struct Slab<T> {
    rows: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Slab<T> {
        Slab::with_room(0)
    }

    /// One in which so many rows have room from the start.
    pub(crate) fn with_room(rows: usize) -> Slab<T> {
        Slab { rows: Vec::with_capacity(rows), free: Vec::with_capacity(rows) }
    }

    #[inline]
    pub(crate) fn insert(&mut self, row: T) -> Id<T> {
        if let Some(number) = self.free.pop() {
            self.rows[number as usize] = Some(row);
            return Id(number, PhantomData);
        }
        self.rows.push(Some(row));
        Id(u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX), PhantomData)
    }

    #[inline]
    pub(crate) fn remove(&mut self, id: Id<T>) -> Option<T> {
        let row = self.rows[id.0 as usize].take();
        if row.is_some() {
            self.free.push(id.0);
        }
        row
    }

    /// Removes a row that nobody wants to have.
    pub(crate) fn drop_row(&mut self, id: Id<T>) {
        let row = &mut self.rows[id.0 as usize];
        if row.is_some() {
            *row = None;
            self.free.push(id.0);
        }
    }

    #[inline]
    pub(crate) fn get(&self, id: Id<T>) -> Option<&T> {
        self.rows.get(id.0 as usize)?.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        (0..)
            .zip(&self.rows)
            .filter_map(|(number, row)| row.as_ref().map(|row| (Id(number, PhantomData), row)))
    }
}

impl<T> Index<Id<T>> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: Id<T>) -> &T {
        match &self.rows[id.0 as usize] {
            Some(row) => row,
            None => panic!("the simulated kernel kept the number of a row that is gone"),
        }
    }
}

impl<T> IndexMut<Id<T>> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, id: Id<T>) -> &mut T {
        match &mut self.rows[id.0 as usize] {
            Some(row) => row,
            None => panic!("the simulated kernel kept the number of a row that is gone"),
        }
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Id<T> {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Id<T>) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Id<T> {}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_removed_row_is_used_again() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        let second = slab.insert('b');
        assert_eq!(slab.remove(first), Some('a'));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(first), None);
        let third = slab.insert('c');
        assert_eq!(third, first);
        slab[second] = 'd';
        let rows: Vec<_> = slab.iter().map(|(_, row)| *row).collect();
        assert_eq!(rows, ['c', 'd']);
    }
}
