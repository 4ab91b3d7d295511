//! Sets of signals as the kernel has them, a bit for each.
//!
//! C libraries keep some of the real-time signals for themselves. musl takes 32 to 34 out of every mask
//! that it shows, so that one which is put back is not what it was.

use nix::libc::{self, c_int};

use super::checked;
use crate::host::{Fd, Result, Signal};

/// Signals, all that Linux has.
#[derive(Clone, Copy)]
pub(super) struct SignalSet(u64);

impl SignalSet {
    pub(super) const ALL: SignalSet = SignalSet(u64::MAX);
    pub(super) const NONE: SignalSet = SignalSet(0);

    /// Those; what is no signal is in no set.
    pub(super) fn of(signals: &[Signal]) -> SignalSet {
        let numbers = signals.iter().map(|signal| signal.0);
        let bits = numbers.filter(|number| (1..=64).contains(number)).map(|number| number - 1);
        SignalSet(bits.fold(0, |set, bit| set | 1 << bit))
    }

    /// Blocks them, besides those that are blocked already (`rt_sigprocmask(2)`).
    pub(super) fn block(self) -> Result<()> {
        self.mask(libc::SIG_BLOCK).map(drop)
    }

    /// Blocks them and no others; gives those that were blocked before.
    pub(super) fn be_blocked(self) -> Result<SignalSet> {
        self.mask(libc::SIG_SETMASK)
    }

    fn mask(self, how: c_int) -> Result<SignalSet> {
        let mut before = SignalSet::NONE;
        let (set, old) = (&raw const self.0, &raw mut before.0);
        // SAFETY: both sets are as long as is said.
        let done =
            unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, set, old, size_of::<u64>()) };
        checked(c_int::try_from(done).unwrap_or(-1)).map(|_| before)
    }

    /// A descriptor from which they are read (`signalfd4(2)`).
    pub(super) fn descriptor(self) -> Result<Fd> {
        let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
        let set = &raw const self.0;
        // SAFETY: the set is as long as is said; -1 asks for a new descriptor.
        let fd = unsafe { libc::syscall(libc::SYS_signalfd4, -1, set, size_of::<u64>(), flags) };
        checked(c_int::try_from(fd).unwrap_or(-1)).map(Fd)
    }
}
