//! The `config.json` that containerd 0.2 leaves in a checkpoint.

use serde::de::MapAccess;
use serde::{Deserialize, Serialize};

use crate::json::{self, Fields, Value};

/// What a process was when it was checkpointed, as far as restoring needs to know
/// (`Checkpoint` of containerd 0.2's `specs`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// It had open TCP connections.
    pub tcp: bool,
    /// It had connections over unix sockets to outside.
    pub unix_sockets: bool,
    /// It had a terminal from outside.
    pub shell: bool,
    /// Namespaces that are made anew, not restored.
    pub empty_namespaces: Vec<String>,
}

impl Checkpoint {
    /// Reads the file's contents.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Checkpoint, String> {
        json::read_object(text)
    }
}

impl Fields for Checkpoint {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "tcp" => self.tcp = value.read()?,
            "unixsockets" => self.unix_sockets = value.read()?,
            "shell" => self.shell = value.read()?,
            "emptyns" => self.empty_namespaces = value.read()?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_of_containerd() {
        let text = br#"{"created":"2016-11-23T11:50:20.8Z","name":"c9","tcp":true,
            "unixSockets":true,"shell":false,"exit":true,"emptyNS":["network"]}"#;
        let expected = Checkpoint {
            tcp: true,
            unix_sockets: true,
            shell: false,
            empty_namespaces: vec!["network".to_owned()],
        };
        assert_eq!(Checkpoint::parse(text), Ok(expected));
    }
}
