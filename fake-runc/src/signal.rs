//! Signals by name and number.

use serde::{Deserialize, Serialize};
use wavetank::host::Signal;

/// Names of the signals 1 to 31 without `SIG`, in the order of their numbers (`signal(7)`, x86).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The highest real-time signal.
const LAST: i32 = 64;

/// Reads `9`, `KILL`, `SIGKILL`, `sigkill`.
pub(crate) fn parse(text: &str) -> Option<Signal> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=LAST).contains(&number).then_some(Signal(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let place = NAMES.iter().position(|known| *known == name)?;
    i32::try_from(place + 1).ok().map(Signal)
}

/// Reads what stands on the command line, where any number is a signal until somebody sends it.
pub(crate) fn parse_any(text: &str) -> Option<Signal> {
    text.parse().map(Signal).ok().or_else(|| parse(text))
}

/// A signal as a script writes it: `9`, `"KILL"` or `"SIGKILL"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "i32")]
pub struct NamedSignal(pub Signal);

impl From<NamedSignal> for i32 {
    fn from(signal: NamedSignal) -> i32 {
        signal.0.0
    }
}

/// The two ways of writing a signal.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Number(i32),
    Name(String),
}

impl TryFrom<Text> for NamedSignal {
    type Error = String;

    fn try_from(text: Text) -> Result<NamedSignal, String> {
        let text = match text {
            Text::Number(number) => number.to_string(),
            Text::Name(name) => name,
        };
        parse(&text).map(NamedSignal).ok_or_else(|| format!("unknown signal \"{text}\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_may_be_written_in_every_usual_way() {
        for text in ["9", "KILL", "SIGKILL", "sigkill"] {
            assert_eq!(parse(text), Some(Signal::KILL), "{text}");
        }
        assert_eq!(parse("SIGWINCH"), Some(Signal::WINCH));
        assert_eq!(parse("64"), Some(Signal(64)));
    }

    #[test]
    fn any_number_may_stand_on_the_command_line() {
        for (text, number) in [("0", Some(0)), ("SIGHUP", Some(1)), ("99", Some(99)), ("X", None)] {
            assert_eq!(parse_any(text), number.map(Signal), "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in ["", "0", "65", "-9", "SIG", "SIGNONSENSE"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
