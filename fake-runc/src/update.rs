//! `update`: limits are remembered, and nobody is limited.

use std::path::Path;

use serde_json::error::Category;
use serde_json::{Deserializer, Value, json};
use wavetank::host::{Errno, Fd, Host};

use crate::Context;
use crate::cli::Update;
use crate::error::{Error, Result, at, doing};
use crate::file::read_file;
use crate::spec;
use crate::state::{Home, RESOURCES, Status};

/// Stores what is wanted, as it is, in the file `resources.json` of the container's state.
pub(crate) fn update<H: Host>(host: &mut H, cx: &Context, wish: &Update) -> Result<()> {
    let home = Home::of(&cx.root, &wish.id);
    let state = home.load(host)?;
    let resources = match &wish.resources {
        None => json!(wish.limits),
        Some(path) => parse(&read_resources(host, path)?).map_err(Error::new)?,
    };
    if home.status(host, &state) == Status::Stopped {
        return Err(Error::new("container not running"));
    }
    home.write_json(host, RESOURCES, &resources)
}

fn read_resources<H: Host>(host: &mut H, path: &Path) -> Result<Vec<u8>> {
    match path.as_os_str() == "-" {
        true => read_stdin(host),
        false => read_file(host, path, spec::LIMIT).map_err(doing("open", path)),
    }
}

fn read_stdin<H: Host>(host: &mut H) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match host.read(Fd(0), &mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(at("read from stdin")(errno)),
        }
    }
}

/// Reads the first JSON value, as Go's decoder does, and refuses what is none in Go's words.
fn parse(text: &[u8]) -> std::result::Result<Value, String> {
    let kind = match Deserializer::from_slice(text).into_iter().next() {
        None => return Err("EOF".to_owned()),
        Some(Err(error)) => return Err(mistake(text, &error)),
        Some(Ok(value @ (Value::Object(_) | Value::Null))) => return Ok(value),
        Some(Ok(Value::Array(_))) => "array",
        Some(Ok(Value::String(_))) => "string",
        Some(Ok(Value::Number(_))) => "number",
        Some(Ok(Value::Bool(_))) => "bool",
    };
    Err(format!("json: cannot unmarshal {kind} into Go value of type specs.LinuxResources"))
}

/// Go tells more kinds of mistakes apart; this is the one that is met most.
fn mistake(text: &[u8], error: &serde_json::Error) -> String {
    if error.classify() == Category::Eof {
        return "unexpected EOF".to_owned();
    }
    let line = text.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1));
    let wrong = line.and_then(|line| line.get(error.column().saturating_sub(1)));
    let wrong = char::from(wrong.copied().unwrap_or(b'?'));
    format!("invalid character '{wrong}' looking for beginning of value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", "EOF")]
    #[case("\n ", "EOF")]
    #[case("{\"memory\": ", "unexpected EOF")]
    #[case("xml", "invalid character 'x' looking for beginning of value")]
    #[case("{\"a\":\n?}", "invalid character '?' looking for beginning of value")]
    #[case("[1]", "json: cannot unmarshal array into Go value of type specs.LinuxResources")]
    #[case("7", "json: cannot unmarshal number into Go value of type specs.LinuxResources")]
    fn what_is_no_resources_is_refused_in_the_words_of_go(
        #[case] text: &str,
        #[case] message: &str,
    ) {
        assert_eq!(parse(text.as_bytes()), Err(message.to_owned()));
    }

    #[rstest]
    #[case("{}\n", json!({}))]
    #[case("{\"memory\":{\"limit\":5}} trailing", json!({"memory": {"limit": 5}}))]
    #[case("null", Value::Null)]
    fn one_object_is_enough(#[case] text: &str, #[case] value: Value) {
        assert_eq!(parse(text.as_bytes()), Ok(value));
    }
}
