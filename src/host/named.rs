//! Things that go by a name and a sentence, in tables and on tapes.

/// An enum whose variants each have their name written behind them, and whose docs say what they are.
macro_rules! named {
    (
        $(#[doc = $about:literal])+
        $of:ident { $($(#[doc = $what:literal])+ $variant:ident $name:literal,)* }
    ) => {
        $(#[doc = $about])+
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
        )]
        pub enum $of {
            $($(#[doc = $what])+ #[serde(rename = $name)] $variant,)*
        }

        impl $of {
            /// Every one.
            pub const ALL: &[$of] = &[$($of::$variant),*];

            /// Its name, as tapes and tables have it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $($of::$variant => $name,)*
                }
            }

            /// What happens where it is.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self {
                    $($of::$variant => concat!($($what),+).trim_ascii(),)*
                }
            }
        }
    };
}

pub(super) use named;
