//! `process.json`, and what tells the daemon's generation.

use serde::de::MapAccess;
use serde::{Deserialize, Serialize};

use crate::json::{self, Fields, Value};
use crate::oci::Dialect;
use crate::stdio::{Owner, StreamPaths};

/// The part of `process.json` that is for the shim; the rest is for the runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFile {
    /// The process wants a terminal.
    pub terminal: bool,
    /// The process is a further one of a container that is there already.
    pub exec: bool,
    /// Where its streams go.
    pub streams: StreamPaths,
    /// Arguments of the runtime itself, in front of the command.
    pub runtime_args: Vec<String>,
    /// Whether the root is changed without `pivot_root(2)`.
    pub no_pivot_root: bool,
    /// Name (containerd up to 0.2.2) or path (from 0.2.3) of the checkpoint to restore; empty for
    /// none.
    pub checkpoint: String,
    /// Who the container's root is on the host.
    pub root: Owner,
    /// Whether the file has a `consoleSize`, as containerd 0.2.9 writes it.
    pub has_console_size: bool,
}

impl ProcessFile {
    /// Reads the file's contents, as Go would (see `json`).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<ProcessFile, String> {
        json::read_object(text)
    }
}

impl Fields for ProcessFile {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "terminal" => self.terminal = value.read()?,
            "exec" => self.exec = value.read()?,
            "containerdstdin" => self.streams.stdin = value.read()?,
            "containerdstdout" => self.streams.stdout = value.read()?,
            "containerdstderr" => self.streams.stderr = value.read()?,
            "runtimeargs" => {
                let args: Vec<Option<String>> = value.read()?;
                self.runtime_args = args.into_iter().map(Option::unwrap_or_default).collect();
            }
            "nopivotroot" => self.no_pivot_root = value.read()?,
            "checkpoint" => self.checkpoint = value.read()?,
            "rootuid" => self.root.uid = value.read()?,
            "rootgid" => self.root.gid = value.read()?,
            "consolesize" => {
                self.has_console_size = true;
                value.skip()?;
            }
            _ => value.skip()?,
        }
        Ok(())
    }
}

/// The daemon's `state.json`, of which only one key's presence matters.
#[derive(Default)]
struct StateFile {
    has_shim: bool,
}

impl Fields for StateFile {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        self.has_shim |= key == "shim";
        value.skip()
    }
}

/// The dialect that the daemon expects to be spoken. A `shim` in the container's `state.json` is
/// there since containerd 0.2.3, `consoleSize` in `process.json` with 0.2.9 at the latest; both
/// mean that the daemon itself starts what the shim creates.
#[must_use]
pub fn detect_dialect(process: &ProcessFile, state_file: Option<&[u8]>) -> Dialect {
    let state = state_file.and_then(|text| json::read_object::<StateFile>(text).ok());
    if process.has_console_size || state.is_some_and(|state| state.has_shim) {
        Dialect::Create
    } else {
        Dialect::Start
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const OF_0_2_9: &str = r#"{"consoleSize":{"height":0,"width":0},"user":{"uid":0,"gid":0},
        "args":["sh","-c","echo \u003e\u00262"],"env":["PATH=/bin"],"cwd":"/",
        "capabilities":{"bounding":["CAP_KILL"]},"rlimits":[{"type":"RLIMIT_NOFILE","hard":1024,"soft":1024}],
        "noNewPrivileges":true,"exec":false,"containerdStdin":"/run/c1/stdin",
        "containerdStdout":"/run/c1/stdout","containerdStderr":"/run/c1/stderr",
        "runtimeArgs":["--root=/run/oci"],"noPivotRoot":false,"checkpoint":"","rootUID":7,"rootGID":8}
"#;

    fn of_0_2_9() -> ProcessFile {
        ProcessFile {
            streams: StreamPaths {
                stdin: "/run/c1/stdin".to_owned(),
                stdout: "/run/c1/stdout".to_owned(),
                stderr: "/run/c1/stderr".to_owned(),
            },
            runtime_args: vec!["--root=/run/oci".to_owned()],
            root: Owner { uid: 7, gid: 8 },
            has_console_size: true,
            ..ProcessFile::default()
        }
    }

    #[test]
    fn a_file_of_containerd_0_2_9() {
        assert_eq!(ProcessFile::parse(OF_0_2_9.as_bytes()), Ok(of_0_2_9()));
    }

    #[rstest]
    #[case("{}", ProcessFile::default())]
    #[case(r#"{"Exec":true,"TERMINAL":true,"cOnTaInErDsTdIn":"/i"}"#, ProcessFile {
        exec: true,
        terminal: true,
        streams: StreamPaths { stdin: "/i".to_owned(), ..StreamPaths::default() },
        ..ProcessFile::default()
    })]
    #[case(
        r#"{"terminal":null,"runtimeArgs":null,"checkpoint":null,"rootUID":null}"#,
        ProcessFile::default()
    )]
    #[case(r#"{"runtimeArgs":["a",null]}"#, ProcessFile {
        runtime_args: vec!["a".to_owned(), String::new()],
        ..ProcessFile::default()
    })]
    #[case(r#"{"args":{"not":"a list"},"user":3,"new":[[{}]],"exec":true}"#, ProcessFile {
        exec: true,
        ..ProcessFile::default()
    })]
    #[case(r#"{"checkpoint":"c9"} and more { that nobody reads"#, ProcessFile {
        checkpoint: "c9".to_owned(),
        ..ProcessFile::default()
    })]
    #[case(r#"{"exec":false,"exec":true}"#, ProcessFile { exec: true, ..ProcessFile::default() })]
    fn what_go_would_read(#[case] text: &str, #[case] expected: ProcessFile) {
        assert_eq!(ProcessFile::parse(text.as_bytes()), Ok(expected));
    }

    #[rstest]
    #[case(b"", "unexpected EOF")]
    #[case(b"{\"exec\":tr", "unexpected EOF")]
    #[case(b"{\"exec\":true", "unexpected EOF")]
    #[case(b"null", "expected an object")]
    #[case(b"[]", "expected an object")]
    #[case(b"{\"terminal\":\"yes\"}", "expected a boolean")]
    #[case(b"{\"containerdStdin\":7}", "expected a string")]
    #[case(b"{\"runtimeArgs\":\"--root\"}", "expected a sequence")]
    #[case(b"{\"rootUID\":-1}", "expected u32")]
    #[case(b"{\"containerdStdin\":\"\xff\"}", "unicode")]
    #[case(b"\xff\xfe{}", "expected value")]
    fn what_is_wrong_is_told(#[case] text: &[u8], #[case] reason: &str) {
        let error = ProcessFile::parse(text).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn every_truncation_is_an_unexpected_end() {
        let text = OF_0_2_9.trim_end().as_bytes();
        for end in 0..text.len() {
            assert_eq!(ProcessFile::parse(&text[..end]), Err("unexpected EOF".to_owned()), "{end}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_hurt_only_where_they_are_needed() {
        assert!(ProcessFile::parse(b"{\"env\":[\"A=\xff\"],\"exec\":true}").unwrap().exec);
    }

    #[rstest]
    #[case(false, None, Dialect::Start)]
    #[case(false, Some("{\"bundle\":\"b\",\"runtime\":\"runc\"}"), Dialect::Start)]
    #[case(
        false,
        Some("{\"bundle\":\"b\",\"shim\":\"/usr/bin/containerd-shim\"}"),
        Dialect::Create
    )]
    #[case(true, None, Dialect::Create)]
    #[case(false, Some("{\"shim\":\"x\""), Dialect::Start)]
    fn dialects(
        #[case] console_size: bool,
        #[case] state: Option<&str>,
        #[case] expected: Dialect,
    ) {
        let process = ProcessFile { has_console_size: console_size, ..ProcessFile::default() };
        assert_eq!(detect_dialect(&process, state.map(str::as_bytes)), expected);
    }
}
