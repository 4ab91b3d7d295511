//! What a step of a process looks at and what it changes, so that somebody can tell which steps could
//! as well have come the other way round.
//!
//! Two steps of different processes are *independent* if neither changes anything that the other
//! touches. Then the order of two such neighbours makes no difference: the machine is the same
//! after both, and neither lets or keeps the other from being done. Where a call's way through the
//! kernel is not told thing by thing, it touches [`Thing::Everything`].

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
    /// A pipe or fifo, and who has it open.
    Fifo(u64),
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
    /// A terminal.
    Terminal(u64),
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

/// A thing that was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Touch {
    pub(crate) thing: Thing,
    pub(crate) changed: bool,
}

/// What the step under way has touched so far, if anybody wants to know.
#[derive(Default)]
pub(crate) struct Touches {
    wanted: bool,
    list: RefCell<Vec<Touch>>,
}

impl Touches {
    pub(crate) fn want(&mut self, wanted: bool) {
        self.wanted = wanted;
        self.list.get_mut().clear();
    }

    /// For things that take work to name.
    #[inline]
    pub(crate) fn are_wanted(&self) -> bool {
        self.wanted
    }

    #[inline]
    pub(crate) fn sees(&self, thing: Thing) {
        self.note(thing, false);
    }

    #[inline]
    pub(crate) fn alters(&self, thing: Thing) {
        self.note(thing, true);
    }

    #[inline]
    fn note(&self, thing: Thing, changed: bool) {
        if self.wanted {
            self.list.borrow_mut().push(Touch { thing, changed });
        }
    }

    /// What was touched since this was last asked: each thing once, sorted.
    pub(crate) fn take(&mut self) -> Vec<Touch> {
        let mut list = std::mem::take(self.list.get_mut());
        // Of a thing that was both looked at and changed the change is what counts.
        list.sort_unstable_by_key(|touch| (touch.thing, !touch.changed));
        list.dedup_by_key(|touch| touch.thing);
        list
    }
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
            std::cmp::Ordering::Equal if a.changed || b.changed => return false,
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

    /// The step under way changes this.
    #[inline]
    pub(crate) fn alters(&self, thing: Thing) {
        self.touches.alters(thing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touches(list: &[(Thing, bool)]) -> Vec<Touch> {
        let mut touches = Touches::default();
        touches.want(true);
        list.iter().for_each(|(thing, changed)| touches.note(*thing, *changed));
        touches.take()
    }

    #[test]
    fn only_a_change_of_what_the_other_touches_makes_a_difference() {
        let (reads, changes) = ((Thing::Data(1), false), (Thing::Data(1), true));
        let other = (Thing::Data(2), true);
        assert!(are_independent(&touches(&[reads]), &touches(&[reads, other])));
        assert!(!are_independent(&touches(&[reads]), &touches(&[reads, changes])));
        assert!(!are_independent(&touches(&[changes]), &touches(&[other, reads])));
        assert!(are_independent(&touches(&[changes]), &touches(&[other])));
        let all = touches(&[other, (Thing::Everything, true)]);
        assert!(!are_independent(&all, &[]));
        assert!(!are_independent(&touches(&[reads]), &all));
    }
}
