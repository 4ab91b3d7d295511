//! What a step of a process looks at and what it changes, so that somebody can tell which steps could
//! as well have come the other way round.
//!
//! Two steps of different processes are *independent* if neither changes anything that the other
//! touches, but by adding to it in a way for which it is all the same who was first. Then the order
//! of two such neighbours makes no difference: the machine is the same after both, and neither lets
//! or keeps the other from being done. Where a call's way through the kernel is not told thing by
//! thing, it touches [`Thing::Everything`].

use std::cell::RefCell;

use crate::kernel::Kernel;

/// Something that steps have in common. Numbers are those of inodes, open files and sockets, which
/// are never given again, and pids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    /// All there is.
    Everything,
    /// A name in a directory, as a hash.
    Entry(u64, u64),
    /// The list of a directory's names.
    Names(u64),
    /// An inode's owner, mode and place.
    Node(u64),
    /// What a regular file holds.
    Data(u64),
    /// What is in a pipe or fifo, and how many have it open.
    Fifo(u64),
    /// Whether a pipe or fifo is empty, is full, and is open at either side: all that a poll tells.
    /// It changes only together with the pipe itself.
    FifoState(u64),
    /// Whether a file is a program that runs, or is open to be written.
    Text(u64),
    /// Where an open file stands, and how it is to be read.
    File(u64),
    /// How many descriptors an open file has.
    Users(u64),
    /// With whom a socket is connected.
    Link(u64),
    /// What waits in a socket to be read, or to be accepted.
    Queue(u64),
    /// Whether anything waits there. It changes only together with the queue itself.
    News(u64),
    /// What waits in a terminal, how it treats that, and who has it open.
    Terminal(u64),
    /// What a poll tells of either side of a terminal. It changes only together with the terminal.
    TerminalState(u64),
    /// How large a terminal's window is.
    WindowSize(u64),
    /// Which terminals there are.
    Terminals,
    /// Whether a process is there, and goes on.
    Life(i32),
    /// The signals that wait for a process, and those it holds back.
    Pending(i32),
    /// Whose children a process has, and which of them have ended.
    Children(i32),
    /// Whose child a process is.
    Parent(i32),
    /// Who is in a process group.
    Group(i32),
    /// What a process hands down to its children.
    Heritage(i32),
    /// Which pid is the next.
    Pids,
}

/// What is done to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deed {
    /// It is looked at.
    Looks,
    /// Something is put to it without a look: who does that first makes no difference.
    Adds,
    /// It becomes another one, or is looked at and added to.
    Changes,
}

impl Deed {
    /// Both of them.
    fn and(self, other: Deed) -> Deed {
        if self == other { self } else { Deed::Changes }
    }

    /// Whether it makes no difference which of the two is done first, by different processes.
    pub(crate) fn commutes(self, other: Deed) -> bool {
        self == other && self != Deed::Changes
    }
}

/// A thing that was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Touch {
    pub(crate) thing: Thing,
    pub(crate) deed: Deed,
}

/// What the step under way has touched so far, if anybody wants to know.
#[derive(Default)]
pub(crate) struct Touches {
    wanted: bool,
    list: RefCell<Vec<Touch>>,
}

impl Touches {
    /// A step begins of which somebody wants to know, or nobody. What it touches has room in `list`,
    /// whatever is in that.
    pub(crate) fn begin_step(&mut self, wanted: bool, mut list: Vec<Touch>) {
        list.clear();
        (self.wanted, self.list) = (wanted, RefCell::new(list));
    }

    /// For things that take work to name.
    #[inline]
    pub(crate) fn are_wanted(&self) -> bool {
        self.wanted
    }

    #[inline]
    pub(crate) fn sees(&self, thing: Thing) {
        self.note(thing, Deed::Looks);
    }

    #[inline]
    pub(crate) fn adds_to(&self, thing: Thing) {
        self.note(thing, Deed::Adds);
    }

    #[inline]
    pub(crate) fn alters(&self, thing: Thing) {
        self.note(thing, Deed::Changes);
    }

    #[inline]
    fn note(&self, thing: Thing, deed: Deed) {
        if self.wanted {
            self.list.borrow_mut().push(Touch { thing, deed });
        }
    }

    /// What the step has touched that is now over: each thing once, sorted. What others look at before
    /// the next one begins, to see whether they can go on, is no part of either.
    pub(crate) fn end_step(&mut self) -> Vec<Touch> {
        self.wanted = false;
        let mut list = std::mem::take(self.list.get_mut());
        settle(&mut list);
        list
    }
}

/// Sorts touches, and has each thing in them once.
pub(crate) fn settle(list: &mut Vec<Touch>) {
    list.sort_unstable();
    list.dedup_by(|later, kept| {
        let is_same = later.thing == kept.thing;
        if is_same {
            kept.deed = kept.deed.and(later.deed);
        }
        is_same
    });
}

/// Whether it makes no difference which of two steps of different processes comes first.
pub(crate) fn are_independent(one: &[Touch], other: &[Touch]) -> bool {
    let is_barrier =
        |touches: &[Touch]| touches.first().is_some_and(|touch| touch.thing == Thing::Everything);
    if is_barrier(one) || is_barrier(other) {
        return false;
    }
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        match a.thing.cmp(&b.thing) {
            std::cmp::Ordering::Less => drop(one.next()),
            std::cmp::Ordering::Greater => drop(other.next()),
            std::cmp::Ordering::Equal if !a.deed.commutes(b.deed) => return false,
            std::cmp::Ordering::Equal => {
                one.next();
                other.next();
            }
        }
    }
    true
}

/// A name in a directory.
pub(crate) fn entry(directory: u64, name: &[u8]) -> Thing {
    let hash =
        name.iter().fold(name.len() as u64, |hash, byte| crate::trace::mix(hash, u64::from(*byte)));
    Thing::Entry(directory, hash)
}

impl Kernel {
    /// The step under way looks at this.
    #[inline]
    pub(crate) fn sees(&self, thing: Thing) {
        self.touches.sees(thing);
    }

    /// The step under way adds to this.
    #[inline]
    pub(crate) fn adds_to(&self, thing: Thing) {
        self.touches.adds_to(thing);
    }

    /// The step under way changes this.
    #[inline]
    pub(crate) fn alters(&self, thing: Thing) {
        self.touches.alters(thing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touches(list: &[(Thing, Deed)]) -> Vec<Touch> {
        let mut touches = Touches::default();
        touches.begin_step(true, Vec::new());
        list.iter().for_each(|(thing, deed)| touches.note(*thing, *deed));
        touches.end_step()
    }

    #[test]
    fn only_a_change_of_what_the_other_touches_makes_a_difference() {
        let one = Thing::Data(1);
        let (looks, adds, changes) = ((one, Deed::Looks), (one, Deed::Adds), (one, Deed::Changes));
        let other = (Thing::Data(2), Deed::Changes);
        let are_independent = |one: &[(Thing, Deed)], two: &[(Thing, Deed)]| {
            let (one, two) = (touches(one), touches(two));
            assert_eq!(are_independent(&one, &two), are_independent(&two, &one));
            are_independent(&one, &two)
        };
        assert!(are_independent(&[looks], &[looks, other]));
        assert!(are_independent(&[adds], &[other, adds]));
        assert!(!are_independent(&[looks], &[adds]));
        assert!(!are_independent(&[looks, adds], &[adds]));
        assert!(!are_independent(&[looks], &[looks, changes]));
        assert!(!are_independent(&[changes], &[other, looks]));
        assert!(are_independent(&[changes], &[other]));
        let all = [other, (Thing::Everything, Deed::Changes)];
        assert!(!are_independent(&all, &[]));
        assert!(!are_independent(&[looks], &all));
    }
}
