//! Reads flags as Go programs do: one dash or two, `--name value` or `--name=value`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What was read, or what is wrong with it, in runc's words.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// One flag that a command knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// Its names; the first is the one that [`Parsed`] files it under.
    names: &'static [&'static str],
    /// Whether a value follows.
    takes_value: bool,
}

/// A flag that is there or not.
pub(crate) const fn switch(names: &'static [&'static str]) -> Flag {
    Flag { names, takes_value: false }
}

/// A flag with a value; given twice, the last counts, or both for those that gather.
pub(crate) const fn value(names: &'static [&'static str]) -> Flag {
    Flag { names, takes_value: true }
}

/// Whether flags may stand behind the first argument that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// What follows the first argument belongs to somebody else: the program that `exec` runs.
    FlagsFirst,
    /// Flags may stand anywhere.
    Anywhere,
}

/// What was found on a command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// Values by the flag's first name. A switch that is on has the value `true`.
    flags: BTreeMap<&'static str, Vec<OsString>>,
    /// The arguments that are no flags, in their order.
    pub(crate) arguments: Vec<OsString>,
}

/// Sorts a command line into flags and arguments.
pub(crate) fn parse(args: &[OsString], known: &[Flag], order: Order) -> Result<Parsed> {
    let mut parsed = Parsed::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let bytes = arg.as_bytes();
        if bytes.len() < 2 || bytes[0] != b'-' {
            parsed.arguments.push(arg.clone());
            if order == Order::FlagsFirst {
                break;
            }
            continue;
        }
        if bytes == b"--" {
            break;
        }
        let (name, attached) = split(arg)?;
        let flag = known
            .iter()
            .find(|flag| flag.names.contains(&name.as_str()))
            .ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
        let found = match (flag.takes_value, attached) {
            (true, Some(value)) => value,
            (true, None) => {
                rest.next().cloned().ok_or_else(|| format!("flag needs an argument: -{name}"))?
            }
            (false, None) => OsString::from("true"),
            (false, Some(value)) => OsString::from(boolean(&name, &value)?),
        };
        parsed.flags.entry(flag.names[0]).or_default().push(found);
    }
    parsed.arguments.extend(rest.cloned());
    Ok(parsed)
}

/// `--name=value` in its parts.
fn split(arg: &OsStr) -> Result<(String, Option<OsString>)> {
    let bytes = arg.as_bytes();
    let body = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-")).unwrap_or(bytes);
    let equals = body.iter().position(|byte| *byte == b'=');
    let (name, attached) = match equals {
        Some(place) => (&body[..place], Some(OsStr::from_bytes(&body[place + 1..]).to_owned())),
        None => (body, None),
    };
    if name.is_empty() || name[0] == b'-' {
        return Err(format!("bad flag syntax: {}", arg.display()));
    }
    Ok((String::from_utf8_lossy(name).into_owned(), attached))
}

/// The values that Go takes for a switch.
fn boolean(name: &str, value: &OsStr) -> Result<&'static str> {
    match value.to_str() {
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok("true"),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok("false"),
        _ => Err(format!("invalid boolean value \"{}\" for -{name}: parse error", value.display())),
    }
}

impl Parsed {
    /// Whether a switch is on.
    pub(crate) fn on(&self, name: &str) -> bool {
        self.one(name).is_some_and(|value| value == "true")
    }

    /// The value of a flag, the last one if there are several.
    pub(crate) fn one(&self, name: &str) -> Option<&OsStr> {
        self.flags.get(name)?.last().map(OsString::as_os_str)
    }

    /// A value that is a path; an empty one counts as absent.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.one(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// A value as text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.one(name).map(|value| value.to_string_lossy().into_owned())
    }

    /// A value that is a count; 0 if absent.
    pub(crate) fn count(&self, name: &str) -> Result<u32> {
        let Some(text) = self.text(name) else { return Ok(0) };
        text.parse().map_err(|_| format!("invalid value \"{text}\" for flag -{name}: parse error"))
    }

    /// All values of a flag that may be given several times.
    pub(crate) fn all(&self, name: &str) -> Vec<OsString> {
        self.flags.get(name).cloned().unwrap_or_default()
    }

    /// Every flag that was given, with its last value, in the order of the names.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        self.flags.iter().filter_map(|(name, values)| {
            values.last().map(|value| (*name, value.to_string_lossy().into_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Flag] = &[switch(&["detach", "d"]), value(&["pid-file"])];

    fn parse_words(words: &[&str], order: Order) -> Result<Parsed> {
        let args: Vec<OsString> = words.iter().map(OsString::from).collect();
        parse(&args, KNOWN, order)
    }

    #[test]
    fn one_dash_and_two_are_the_same_and_a_value_may_be_attached() {
        for words in [
            ["-d", "--pid-file", "p", "id"].as_slice(),
            &["--detach", "-pid-file", "p", "id"],
            &["-detach=true", "--pid-file=p", "id"],
            &["--pid-file", "old", "id", "--d", "--pid-file=p"],
        ] {
            let parsed = parse_words(words, Order::Anywhere).unwrap();
            assert!(parsed.on("detach"), "{words:?}");
            assert_eq!(parsed.path("pid-file"), Some(PathBuf::from("p")), "{words:?}");
            assert_eq!(parsed.arguments, ["id"], "{words:?}");
        }
    }

    #[test]
    fn what_follows_the_first_argument_may_be_left_alone() {
        let parsed = parse_words(&["-d", "id", "sh", "-d", "--x"], Order::FlagsFirst).unwrap();
        assert_eq!(parsed.arguments, ["id", "sh", "-d", "--x"]);
    }

    #[test]
    fn two_dashes_end_the_flags() {
        let parsed = parse_words(&["--", "-d", "id"], Order::Anywhere).unwrap();
        assert!(!parsed.on("detach"));
        assert_eq!(parsed.arguments, ["-d", "id"]);
    }

    #[test]
    fn an_empty_value_and_a_single_dash_are_values() {
        let parsed = parse_words(&["--pid-file", "", "-"], Order::Anywhere).unwrap();
        assert_eq!(parsed.one("pid-file"), Some(OsStr::new("")));
        assert_eq!(parsed.path("pid-file"), None);
        assert_eq!(parsed.arguments, ["-"]);
    }

    #[test]
    fn mistakes_are_told_in_the_words_of_go() {
        for (words, message) in [
            (["--nope"].as_slice(), "flag provided but not defined: -nope"),
            (&["--pid-file"], "flag needs an argument: -pid-file"),
            (&["---d"], "bad flag syntax: ---d"),
            (&["--=d"], "bad flag syntax: --=d"),
            (&["-d=maybe"], "invalid boolean value \"maybe\" for -d: parse error"),
        ] {
            assert_eq!(parse_words(words, Order::Anywhere).unwrap_err(), message);
        }
    }
}
