//! Questions to the chooser in the words of somebody who draws a plan. The first answer is always the
//! plain one.

use crate::Choose;

pub(super) struct Draw<'c> {
    chooser: &'c mut dyn Choose,
}

impl<'c> Draw<'c> {
    pub(super) fn new(chooser: &'c mut dyn Choose) -> Draw<'c> {
        Draw { chooser }
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        if n <= 1 { 0 } else { self.chooser.choose(n) }
    }

    /// In `yes` cases of `n`.
    pub(super) fn one_in(&mut self, n: usize, yes: usize) -> bool {
        self.below(n) >= n - yes
    }

    /// In every second case.
    pub(super) fn often(&mut self) -> bool {
        self.one_in(2, 1)
    }

    /// In every fourth case.
    pub(super) fn seldom(&mut self) -> bool {
        self.one_in(4, 1)
    }

    /// One of these; there must be one.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
