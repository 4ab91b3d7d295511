//! Questions to the chooser in the words of somebody who draws a plan. The first answer is always the
//! plain one.

use crate::Choose;

pub(crate) struct Draw<'c> {
    chooser: &'c mut dyn Choose,
}

impl<'c> Draw<'c> {
    pub(crate) fn new(chooser: &'c mut dyn Choose) -> Draw<'c> {
        Draw { chooser }
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        if n <= 1 { 0 } else { self.chooser.choose(n) }
    }

    /// In `yes` cases of `n`.
    pub(crate) fn one_in(&mut self, n: usize, yes: usize) -> bool {
        self.below(n) >= n - yes
    }

    /// In every second case.
    pub(crate) fn often(&mut self) -> bool {
        self.one_in(2, 1)
    }

    /// In every fourth case.
    pub(crate) fn seldom(&mut self) -> bool {
        self.one_in(4, 1)
    }

    /// One of these; there must be one.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
