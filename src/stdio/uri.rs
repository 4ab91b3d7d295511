//! What a v2 client may name as the place of a process's output: a path, or a URI.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::Error;

/// Where output goes, as containerd's shim reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A fifo, or whatever file has that path.
    Path(PathBuf),
    /// `file://`: a file, made with its directory where it is missing.
    File(PathBuf),
    /// `binary://` and `binary-v2://`: a program that reads the output.
    Logger {
        /// The file to execute.
        program: PathBuf,
        /// Its arguments, without its own name: each key of the query and its first value.
        arguments: Vec<OsString>,
        /// `binary-v2`: closing the ready pipe without having written to it is a failure.
        must_say_ready: bool,
    },
}

impl Place {
    /// Reads a path or URI.
    ///
    /// # Errors
    /// An unknown scheme, a URI without a path, or one with a bad escape.
    pub(super) fn parse(text: &str) -> Result<Place, Error> {
        let Some((scheme, rest)) = split_scheme(text) else {
            return Ok(Place::Path(PathBuf::from(text)));
        };
        let (path, query) = path_and_query(rest);
        let path = || match unescape(path.as_bytes(), false) {
            Some(path) if path.is_empty() => Err(Error::invalid(text, "the URI has no path")),
            Some(path) => Ok(PathBuf::from(path)),
            None => Err(Error::invalid(text, "the URI has an invalid escape")),
        };
        match scheme.to_ascii_lowercase().as_str() {
            "fifo" => Ok(Place::Path(path()?)),
            "file" => Ok(Place::File(path()?)),
            version @ ("binary" | "binary-v2") => Ok(Place::Logger {
                program: path()?,
                arguments: arguments(query),
                must_say_ready: version == "binary-v2",
            }),
            unknown => Err(Error::invalid(text, format_args!("unknown STDIO scheme {unknown}"))),
        }
    }
}

/// A scheme is a letter, and then letters, digits, `+`, `-` and `.` up to the colon (RFC 3986).
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_of_scheme = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
    (scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(is_of_scheme))
    .then_some((scheme, rest))
}

/// Leaves out the host, if there is one, and the fragment.
fn path_and_query(rest: &str) -> (&str, &str) {
    let rest = rest.split('#').next().unwrap_or_default();
    let (hierarchy, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = match hierarchy.strip_prefix("//") {
        Some(located) => located.find('/').map_or("", |slash| &located[slash..]),
        None if hierarchy.starts_with('/') => hierarchy,
        None => "",
    };
    (path, query)
}

/// The keys in the order of their first mention, each with its first value. As with Go's
/// `url.Query`, a pair that cannot be read is as if it were not there.
fn arguments(query: &str) -> Vec<OsString> {
    let mut pairs: Vec<(OsString, OsString)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let read = |text: &str| unescape(text.as_bytes(), true);
        if let (Some(key), Some(value)) = (read(key), read(value))
            && !pairs.iter().any(|(known, _)| *known == key)
        {
            pairs.push((key, value));
        }
    }
    pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()
}

/// Undoes `%XX`, and `+` for a space where that is the custom; `None` for a bad escape.
fn unescape(text: &[u8], plus_is_space: bool) -> Option<OsString> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        plain.push(match byte {
            b'%' => hex(*rest.next()?)? << 4 | hex(*rest.next()?)?,
            b'+' if plus_is_space => b' ',
            byte => *byte,
        });
    }
    Some(OsString::from_vec(plain))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn logger(program: &str, arguments: &[&str], must_say_ready: bool) -> Place {
        let arguments = arguments.iter().map(OsString::from).collect();
        Place::Logger { program: program.into(), arguments, must_say_ready }
    }

    #[rstest]
    #[case::fifo("/run/c/out", Place::Path("/run/c/out".into()))]
    #[case::colon_in_a_path("/run/a:b%2F?c", Place::Path("/run/a:b%2F?c".into()))]
    #[case::relative("out", Place::Path("out".into()))]
    #[case::named_fifo("fifo:///run/out", Place::Path("/run/out".into()))]
    #[case::file("file:///var/a%20b?x=1#y", Place::File("/var/a b".into()))]
    #[case::a_plus_in_a_path_is_a_plus("file:///a+b", Place::File("/a+b".into()))]
    #[case::host_is_left_out("file://host/a", Place::File("/a".into()))]
    #[case::letter_case("FILE:/a", Place::File("/a".into()))]
    #[case::bare_logger("binary:///bin/log", logger("/bin/log", &[], false))]
    #[case::key_and_value("binary:///b?id=x", logger("/b", &["id", "x"], false))]
    #[case::decoded("binary-v2:///b?k+1=%2Fa+b", logger("/b", &["k 1", "/a b"], true))]
    #[case::no_value("binary:///b?one&two=", logger("/b", &["one", "", "two", ""], false))]
    #[case::first_value("binary:///b?z=1&a=2&z=3", logger("/b", &["z", "1", "a", "2"], false))]
    #[case::bad_pairs("binary:///b?a=%zz&b;c=1&&d=%4", logger("/b", &[], false))]
    fn a_place_is_read(#[case] text: &str, #[case] place: Place) {
        assert_eq!(Place::parse(text).unwrap(), place);
    }

    #[rstest]
    #[case("ttrpc+unix:///s?stream_id=1", "unknown STDIO scheme ttrpc+unix")]
    #[case("binary://logger", "no path")]
    #[case("file:a", "no path")]
    #[case("file:///%g0", "invalid escape")]
    fn what_is_no_place_is_refused(#[case] text: &str, #[case] why: &str) {
        let error = Place::parse(text).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
