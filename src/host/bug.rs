//! Bugs that shims had, by name, to be put back where a simulator is to find them.

use serde::{Deserialize, Serialize};

macro_rules! bugs {
    ($($(#[doc = $what:literal])+ $variant:ident $name:literal,)*) => {
        /// A bug that a shim had in the world, and that this one does not have.
        ///
        /// Where it could be, the code asks [`Planted::planted`] and behaves as the
        /// other shim did. Only a simulated kernel ever says yes; for a real one the question is a
        /// constant, and nothing of the bug is in the program.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Bug {
            $($(#[doc = $what])+ #[serde(rename = $name)] $variant,)*
        }

        impl Bug {
            /// Every one.
            pub const ALL: &[Bug] = &[$(Bug::$variant),*];

            /// Its name, as tapes and the museum's table have it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Bug::$variant => $name,)*
                }
            }

            /// What the shim does that has it.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self {
                    $(Bug::$variant => concat!($($what),+).trim_ascii(),)*
                }
            }

            /// The bug of that name.
            #[must_use]
            pub fn named(name: &str) -> Option<Bug> {
                Bug::ALL.iter().copied().find(|bug| bug.name() == name)
            }
        }
    };
}

bugs! {
    /// One `wait(2)` for every `SIGCHLD`, as if signals did not coalesce.
    OneWaitPerSignal "one-wait-per-signal",
    /// `delete` says that a container was killed, whatever is known of its end.
    InventedStatus "invented-status",
    /// `CloseIO` does nothing to a process that is not there yet, and is not remembered.
    ForgottenCloseIo "forgotten-close-io",
}

/// Whether a [`Bug`] has been put back on purpose: part of every [`Host`](super::Host).
pub trait Planted {
    /// Whether this one is. Only a simulated kernel ever says yes.
    #[must_use]
    fn planted(&self, _bug: Bug) -> bool {
        false
    }
}
