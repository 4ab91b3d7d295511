//! Options as CRI hands them to a runtime whose name it does not know
//! (`runtimeoptions.v1.Options`): a section of its own configuration file, as TOML.
//!
//! It has written that text itself, one `Name = value` on a line; so much of TOML is read here.

use containerd_shim_protos::protobuf::well_known_types::empty::Empty;
use containerd_shim_protos::protobuf::{Message, UnknownValueRef};
use serde_json::{Map, Value};

use crate::Error;

use super::options::Options;

/// The name of the message.
pub(super) const GENERIC_OPTIONS_TYPE: &str = "runtimeoptions.v1.Options";
const CONFIG_PATH: u32 = 2;
const CONFIG_BODY: u32 = 3;

/// Reads the message. The names are those that the options have in Go (`SystemdCgroup`); others
/// are skipped.
///
/// # Errors
/// It is damaged, has an option of the wrong type, or is only the path of a file.
pub(super) fn parse(message: &[u8]) -> Result<Options, Error> {
    let wrong =
        |reason: String| Error::invalid(format!("options of type {GENERIC_OPTIONS_TYPE}"), reason);
    // No field of it is known here by name; all are kept as unknown ones.
    let message = Empty::parse_from_bytes(message).map_err(|error| wrong(error.to_string()))?;
    let field = |number| match message.special_fields.unknown_fields().get(number) {
        Some(UnknownValueRef::LengthDelimited(bytes)) => bytes,
        _ => &[],
    };
    if !field(CONFIG_PATH).is_empty() {
        let path = String::from_utf8_lossy(field(CONFIG_PATH));
        return Err(wrong(format!("a file of options ({path}) is not supported")));
    }
    let text = std::str::from_utf8(field(CONFIG_BODY)).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_value(Value::Object(entries(text))).map_err(|error| wrong(error.to_string()))
}

/// The entries before the first table, under the names of our own.
fn entries(text: &str) -> Map<String, Value> {
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with('['));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, text)| (snake_case(name.trim()), value(text.trim()))).collect()
}

/// `SystemdCgroup` is `systemd_cgroup`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Text, a number or a boolean; null for what no option is.
fn value(text: &str) -> Value {
    match text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        Some(literal) => literal.into(),
        None => serde_json::from_str(text).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn message(number: u8, text: &str) -> Vec<u8> {
        // The length has seven bits to a byte, the lowest first.
        let length = u16::try_from(text.len()).unwrap();
        let [low, high] = [length & 0x7f | 0x80, length >> 7].map(|b| u8::try_from(b).unwrap());
        [&[number << 3 | 2, low, high], text.as_bytes()].concat()
    }

    #[test]
    fn a_section_of_a_configuration() {
        let text = "BinaryName = \"/usr/bin/crun\"\nRoot = '/r\\x'\nSystemdCgroup = true\n\
            \nIoUid = 5\nMine = [1,\n 2]\nTime = 1979-05-27\n\n[Table]\nSystemdCgroup = false\n";
        let expected = Options {
            binary_name: "/usr/bin/crun".to_owned(),
            root: "/r\\x".to_owned(),
            systemd_cgroup: true,
            io_uid: 5,
            ..Options::default()
        };
        assert_eq!(parse(&message(3, text)), Ok(expected));
    }

    #[test]
    fn nothing() {
        assert_eq!(parse(b""), Ok(Options::default()));
        assert_eq!(parse(&message(1, "x.Options")), Ok(Options::default()));
    }

    #[rstest]
    #[case(&message(2, "/etc/o.toml"), "a file of options (/etc/o.toml) is not supported")]
    #[case(&message(3, "SystemdCgroup = 'yes'"), "invalid type: string \"yes\"")]
    #[case(&message(3, "SystemdCgroup = [true]"), "invalid type: sequence")]
    #[case(&message(3, "IoUid = -1"), "invalid value: integer `-1`")]
    #[case(b"\x1a\x05x", "options of type")]
    #[case(b"\x1a\x01\xff", "invalid utf-8")]
    fn what_is_refused(#[case] message: &[u8], #[case] reason: &str) {
        let error = parse(message).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
