//! What a shim needs to know of a container's `config.json`.

use std::collections::BTreeMap;

use serde::de::MapAccess;
use serde::{Deserialize, Serialize};

use crate::json::{self, Fields, Value};

/// A larger `config.json` is none; those of today's containers have some ten thousand bytes.
pub const SPEC_MAX: usize = 64 * 1024 * 1024;

/// The part of `config.json` (`config.md` of the runtime specification) that somebody here needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// What people say about the container.
    pub annotations: BTreeMap<String, String>,
    /// `root.path`: the root file system, from the bundle if it is relative.
    pub root: String,
    /// `process.terminal`.
    pub terminal: bool,
    namespaces: Vec<Namespace>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: Option<String>,
    path: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Root {
    path: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Process {
    terminal: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Linux {
    namespaces: Option<Vec<Namespace>>,
}

impl Spec {
    /// Reads the file's contents.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Spec, String> {
        json::read_object(text)
    }

    /// Whether the container has a pid namespace that is made for it alone. Then all its processes
    /// end with the first one (`pid_namespaces(7)`).
    #[must_use]
    pub fn has_private_pid_namespace(&self) -> bool {
        let is_empty = |path: &Option<String>| path.as_deref().unwrap_or_default().is_empty();
        let is_private = |namespace: &Namespace| {
            namespace.kind.as_deref() == Some("pid") && is_empty(&namespace.path)
        };
        self.namespaces.iter().any(is_private)
    }
}

impl Fields for Spec {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "annotations" => {
                let annotations: BTreeMap<String, Option<String>> = value.read()?;
                let text = |(key, value): (_, Option<String>)| (key, value.unwrap_or_default());
                self.annotations = annotations.into_iter().map(text).collect();
            }
            "root" => self.root = value.read::<Root>()?.path.unwrap_or_default(),
            "process" => self.terminal = value.read::<Process>()?.terminal.unwrap_or_default(),
            "linux" => self.namespaces = value.read::<Linux>()?.namespaces.unwrap_or_default(),
            _ => value.skip()?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn what_is_read() {
        let spec = Spec::parse(
            br#"{"ociVersion":"1.1.0","process":{"terminal":true,"args":["sh"]},
            "root":{"path":"rootfs","readonly":true},"hostname":"x",
            "annotations":{"io.kubernetes.cri.sandbox-id":"s1","empty":"","none":null}}"#,
        )
        .unwrap();
        assert!(spec.terminal);
        assert_eq!(spec.root, "rootfs");
        let pairs = [("empty", ""), ("io.kubernetes.cri.sandbox-id", "s1"), ("none", "")];
        let expected: BTreeMap<_, _> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(spec.annotations, expected);
    }

    #[rstest]
    #[case("{}")]
    #[case(r#"{"process":null,"root":null,"linux":null,"annotations":null}"#)]
    #[case(r#"{"process":{},"root":{},"linux":{},"annotations":{}}"#)]
    fn what_may_be_missing(#[case] text: &str) {
        assert_eq!(Spec::parse(text.as_bytes()), Ok(Spec::default()));
    }

    #[rstest]
    #[case("", "unexpected EOF")]
    #[case("{\"annotations\":", "unexpected EOF")]
    #[case("[]", "invalid type")]
    #[case("{\"annotations\":{\"a\":1}}", "invalid type")]
    fn what_is_refused(#[case] text: &str, #[case] reason: &str) {
        let error = Spec::parse(text.as_bytes()).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }

    #[rstest]
    #[case(r#"[{"type":"mount"},{"type":"pid"}]"#, true)]
    #[case(r#"[{"type":"pid","path":""}]"#, true)]
    #[case(r#"[{"type":"pid","path":"/proc/1/ns/pid"}]"#, false)]
    #[case(r#"[{"type":"mount"}]"#, false)]
    #[case("null", false)]
    fn pid_namespaces(#[case] namespaces: &str, #[case] private: bool) {
        let text = format!("{{\"linux\":{{\"namespaces\":{namespaces}}}}}");
        assert_eq!(Spec::parse(text.as_bytes()).unwrap().has_private_pid_namespace(), private);
    }
}
