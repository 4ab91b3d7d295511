//! What befalls a run besides what its flow says, and what a daemon does then.
//!
//! Any flow runs with any faults of a [`Case`](crate::Case). As long as none of them strikes, all
//! oracles insist on all that the flow says. From then on they ask the run's [`Trouble`] what may
//! be given up: a call's success, a silent log, time. What never may be given up is said in each oracle.

use std::time::Duration;

use wavetank::host::Host;

use crate::caller::SimHost;
use crate::kernel::Kernel;

/// What has befallen a run besides what its flow says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// A call has failed.
    pub failed: bool,
    /// Calls go on failing until the daemon gives up: then the machine is well again.
    pub lasts: bool,
    /// A program got a signal.
    pub signalled: bool,
}

impl Trouble {
    /// Whether anything has.
    #[must_use]
    pub fn is_any(self) -> bool {
        self.failed || self.signalled
    }
}

/// How long a daemon in trouble waits for the next thing to happen: longer than all that a shim
/// itself waits for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A daemon's patience, which only matters when there may be trouble.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    until: Option<Duration>,
}

/// What comes when patience is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Impatience {
    /// What has failed all the time does so no more; everybody must go on now.
    Healed,
    /// Nobody does anything, for no reason.
    Hangs,
}

impl Patience {
    /// Something has happened.
    pub(crate) fn renew(&mut self) {
        self.until = None;
    }

    /// How long to wait at most; for ever where there can be no trouble.
    pub(crate) fn left(&mut self, host: &mut SimHost<'_>) -> Option<Duration> {
        if !host.may_be_in_trouble() {
            return None;
        }
        let now = host.now();
        Some(self.until.get_or_insert(now + PATIENCE).saturating_sub(now))
    }

    /// After how long to look again for what no descriptor tells of: in trouble the later, the longer
    /// nothing has happened.
    pub(crate) fn look_again(&mut self, host: &mut SimHost<'_>, at_first: Duration) -> Duration {
        let waited = self.left(host).map_or(Duration::ZERO, |left| PATIENCE.saturating_sub(left));
        at_first.max(waited / 16)
    }

    /// Whether it is over, and what that means. It begins anew.
    pub(crate) fn ends(&mut self, host: &mut SimHost<'_>) -> Option<Impatience> {
        if self.left(host) != Some(Duration::ZERO) {
            return None;
        }
        self.until = None;
        Some(if host.heal() { Impatience::Healed } else { Impatience::Hangs })
    }
}

impl SimHost<'_> {
    /// What has befallen the run.
    pub(crate) fn trouble(&self) -> Trouble {
        self.kernel.borrow().trouble
    }

    /// Whether something has befallen it, or may yet.
    pub(crate) fn may_be_in_trouble(&self) -> bool {
        let kernel = self.kernel.borrow();
        kernel.trouble.is_any() || kernel.faults.iter().any(|fault| fault.is_trouble)
    }

    /// Faults that the flow does not know of strike no more. Whether one of them was lasting.
    pub(crate) fn heal(&mut self) -> bool {
        self.kernel.borrow_mut().heal()
    }
}

impl Kernel {
    fn heal(&mut self) -> bool {
        let lasted = self.faults.iter().any(|fault| fault.is_trouble && fault.lasts());
        self.faults.retain(|fault| !fault.is_trouble);
        self.is_healed = true;
        lasted
    }
}
