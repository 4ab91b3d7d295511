//! The trace file: a header line, then a line for each call. `fixtures/README.md` is its manual.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::{Call, Text};
use super::{Errno, SpawnError};

/// The version of the format that is written, and the newest that is read.
pub(super) const VERSION: u32 = 1;

/// The first line of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the format.
    pub wavetank_trace: u32,
    /// The program that was recorded.
    pub program: String,
    /// Its arguments, without its name.
    pub args: Vec<Text>,
    /// What was kept out of the trace.
    #[serde(default, skip_serializing_if = "Redaction::is_nothing")]
    pub redacted: Redaction,
}

/// One call and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The call.
    #[serde(flatten)]
    pub call: Call,
    /// What it gave.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What a call gave, in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It succeeded with this value.
    Ok(Value),
    /// It failed.
    Err(Errno),
    /// A child could not be started.
    SpawnErr(SpawnError),
}

/// What is kept out of a trace: secrets are replaced by as many `x`, so that every length, and with
/// it every call that follows, stays as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redaction {
    /// The values of the environment: our own, but for `PATH`, `TMPDIR` and `WAVETANK_*`; those
    /// given to children, and those in a `process.json` that is read.
    pub env: bool,
    /// What containers read and write.
    pub io: bool,
}

impl Redaction {
    /// Reads the comma-separated words `env` and `io`.
    ///
    /// # Errors
    /// The word that is neither.
    pub fn parse(words: &str) -> Result<Redaction, String> {
        let mut redaction = Redaction::default();
        for word in words.split(',').filter(|word| !word.is_empty()) {
            match word {
                "env" => redaction.env = true,
                "io" => redaction.io = true,
                other => return Err(format!("{other} is neither env nor io")),
            }
        }
        Ok(redaction)
    }

    fn is_nothing(&self) -> bool {
        *self == Redaction::default()
    }

    /// The environment entry as it may be told. What the shim itself acts upon is no secret.
    pub(super) fn env_entry(self, mut entry: Text) -> Text {
        let acted_upon: [&[u8]; 3] = [b"PATH=", b"TMPDIR=", b"WAVETANK_"];
        if self.env && !acted_upon.iter().any(|start| entry.0.starts_with(start)) {
            let value = entry.0.iter().position(|byte| *byte == b'=').map_or(0, |place| place + 1);
            entry.0[value..].fill(b'x');
        }
        entry
    }
}

/// Replaces the strings of every `"env": […]` list in JSON text by as many `x`, up to a `=` kept.
pub(super) fn mask_env_lists(json: &mut [u8]) {
    let mut place = 0;
    while let Some(start) = find(json, place, b"\"env\"") {
        place = start + b"\"env\"".len();
        let Some(open) = json[place..].iter().position(|byte| *byte == b'[') else { return };
        if !json[place..place + open].iter().all(|byte| byte.is_ascii_whitespace() || *byte == b':')
        {
            continue;
        }
        place = mask_strings(json, place + open + 1);
    }
}

fn find(text: &[u8], from: usize, word: &[u8]) -> Option<usize> {
    text[from..].windows(word.len()).position(|window| window == word).map(|place| from + place)
}

/// Masks string after string until the list ends, and gives the place behind it.
fn mask_strings(json: &mut [u8], mut place: usize) -> usize {
    while place < json.len() && json[place] != b']' {
        if json[place] == b'"' {
            let (mut in_value, mut escaped) = (false, false);
            place += 1;
            while place < json.len() && (escaped || json[place] != b'"') {
                escaped = !escaped && json[place] == b'\\';
                if in_value {
                    json[place] = b'x';
                }
                in_value |= json[place] == b'=';
                place += 1;
            }
        }
        place += 1;
    }
    place.min(json.len())
}

/// Why a trace cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceError {
    /// Line of the trace, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trace line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for TraceError {}

/// Reads a whole trace.
///
/// # Errors
/// The first line that is not JSON of the form that is promised, or a newer version of the
/// format.
pub(super) fn parse(text: &str) -> Result<(Header, Vec<Line>), TraceError> {
    let error = |line, reason: &dyn fmt::Display| TraceError { line, reason: reason.to_string() };
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let (_, first) = lines.next().ok_or_else(|| error(1, &"the trace is empty"))?;
    let header: Header = serde_json::from_str(first).map_err(|reason| error(1, &reason))?;
    if header.wavetank_trace > VERSION {
        let version = header.wavetank_trace;
        return Err(error(1, &format_args!("version {version}; this program reads {VERSION}")));
    }
    let read = |(number, line)| serde_json::from_str(line).map_err(|reason| error(number, &reason));
    Ok((header, lines.map(read).collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(r#"{"env":["A=1","B=a\"b=c"],"x":"A=1"}"#, r#"{"env":["A=x","B=xxxxxx"],"x":"A=1"}"#)]
    #[case(r#"{"env" : [ "TOKEN=se]cret" ]}"#, r#"{"env" : [ "TOKEN=xxxxxxx" ]}"#)]
    #[case(r#"{"env":[]}"#, r#"{"env":[]}"#)]
    #[case(r#"{"env":null,"args":["K=v"]}"#, r#"{"env":null,"args":["K=v"]}"#)]
    #[case(r#"{"env":["A=b"#, r#"{"env":["A=x"#)]
    fn masking_keeps_every_length(#[case] json: &str, #[case] masked: &str) {
        let mut bytes = json.as_bytes().to_vec();
        mask_env_lists(&mut bytes);
        assert_eq!(String::from_utf8(bytes).unwrap(), masked);
    }

    #[rstest]
    #[case("", 1, "the trace is empty")]
    #[case("{}", 1, "missing field")]
    #[case("{\"wavetank_trace\":99,\"program\":\"p\",\"args\":[]}", 1, "version 99")]
    #[case("{\"wavetank_trace\":1,\"program\":\"p\",\"args\":[]}\nnonsense", 2, "expected")]
    #[case(
        "{\"wavetank_trace\":1,\"program\":\"p\",\"args\":[]}\n{\"call\":\"fly\",\"ok\":1}",
        2,
        "fly"
    )]
    fn a_broken_trace_names_its_line(
        #[case] text: &str,
        #[case] line: usize,
        #[case] reason: &str,
    ) {
        let error = parse(text).unwrap_err();
        assert_eq!(error.line, line);
        assert!(error.reason.contains(reason), "{error}");
    }
}
