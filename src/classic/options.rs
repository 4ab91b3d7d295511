//! What the environment may change; without any of it the shim does as containerd 0.2.9's did.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::host::variable;
use crate::oci::{Dialect, parse_duration};

/// Options, each an environment variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// `WAVETANK_DIALECT=start|create|run`: the runtime's command line, whatever the files say.
    pub dialect: Option<Dialect>,
    /// `WAVETANK_DRAIN_TIMEOUT`: how long after the process's end its output is waited for, if
    /// others still have it open or nobody reads it. Without it: as long as it takes.
    pub drain_timeout: Option<Duration>,
    /// `WAVETANK_RUNTIME_TIMEOUT`: how long a runtime may take before it is killed. Without it:
    /// as long as it takes to start a process (the daemon has a timeout of its own and kills the
    /// shim), and [`Options::CLEANUP_TIMEOUT`] to kill or delete.
    pub runtime_timeout: Option<Duration>,
}

impl Options {
    /// How long a runtime may take to kill or delete a container, unless the option says otherwise.
    pub const CLEANUP_TIMEOUT: Duration = Duration::from_secs(30);

    /// Reads the options from an environment.
    ///
    /// # Errors
    /// The first variable whose value means nothing.
    pub fn from_env(env: &[OsString]) -> Result<Options, Error> {
        let value = |name: &str| {
            let value = variable(env, name).filter(|value| !value.is_empty());
            value.map(OsStr::to_string_lossy)
        };
        let duration = |name| {
            let read = |text: std::borrow::Cow<'_, str>| {
                parse_duration(&text).ok_or_else(|| {
                    Error::invalid(name, format_args!("{text:?} is no time, as 10s or 500ms"))
                })
            };
            value(name).map(read).transpose()
        };
        let dialect = |text: std::borrow::Cow<'_, str>| {
            Dialect::from_name(&text).ok_or_else(|| {
                let reason = format_args!("{text:?} is none of start, create, run").to_string();
                Error::invalid("WAVETANK_DIALECT", reason)
            })
        };
        Ok(Options {
            dialect: value("WAVETANK_DIALECT").map(dialect).transpose()?,
            drain_timeout: duration("WAVETANK_DRAIN_TIMEOUT")?,
            runtime_timeout: duration("WAVETANK_RUNTIME_TIMEOUT")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10", Some(10_000))]
    #[case("10s", Some(10_000))]
    #[case("500ms", Some(500))]
    #[case("0", Some(0))]
    #[case("", None)]
    #[case("s", None)]
    #[case("-1", None)]
    #[case("1.5s", None)]
    #[case("10m", None)]
    #[case("18446744073709551615s", None)]
    #[case("18446744073709551615ms", None)]
    #[case("3153600000", Some(3_153_600_000_000))]
    fn durations(#[case] text: &str, #[case] millis: Option<u64>) {
        assert_eq!(parse_duration(text), millis.map(Duration::from_millis));
    }

    #[rstest]
    #[case("WAVETANK_DIALECT=sing")]
    #[case("WAVETANK_DRAIN_TIMEOUT=soon")]
    #[case("WAVETANK_RUNTIME_TIMEOUT=5 apples")]
    fn a_bad_value_is_named(#[case] entry: &str) {
        let error = Options::from_env(&[entry.into()]).unwrap_err().to_string();
        let (name, value) = entry.split_once('=').unwrap();
        assert!(error.contains(name) && error.contains(value), "{error}");
    }

    #[test]
    fn an_empty_value_is_none() {
        let options = Options::from_env(&["WAVETANK_DIALECT=".into(), "OTHER=x".into()]);
        assert_eq!(options, Ok(Options::default()));
    }
}
