//! The script: what this runtime is to do wrong, and what its containers do. Plain data.
//!
//! A script is the file `fake-runc.json` in the bundle, or the file that `FAKE_RUNC_SCRIPT`
//! names. Every invocation reads it anew. Relative paths in it start at its directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::signal::NamedSignal;

/// Name of the script in a bundle.
pub const SCRIPT_FILE: &str = "fake-runc.json";

/// Environment variable that names a script; it wins over the one in the bundle.
pub const SCRIPT_VARIABLE: &str = "FAKE_RUNC_SCRIPT";

/// Everything that can be told to this runtime. What is absent behaves as runc does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// What the container's first process does.
    pub container: Guest,
    /// What processes do that come by `exec`.
    pub exec: Guest,
    /// How each subcommand behaves.
    pub on: BTreeMap<Subcommand, Steps>,
    /// How the subcommands behave that have no entry in `on`.
    pub any: Steps,
}

/// What a started process does: by itself it copies its input to its output and exits with 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guest {
    /// Run this program, found in `PATH`, and nothing of what follows below `cwd`.
    pub argv: Option<Vec<String>>,
    /// Run what `config.json`, `--process` or the command line says, likewise.
    pub process_args: bool,
    /// Working directory; the bundle if absent.
    pub cwd: Option<PathBuf>,
    /// Signals that it does not mind.
    pub ignores: Vec<NamedSignal>,
    /// Leave a child behind that keeps stdout and stderr open so long; -1 is for ever.
    pub grandchild_holds_stdout_ms: Option<i64>,
    /// Write so many bytes of [`pattern`](crate::pattern) to stdout.
    pub stdout_bytes: u64,
    /// Write so many bytes of [`pattern`](crate::pattern) to stderr.
    pub stderr_bytes: u64,
    /// Then copy input to output until its end.
    pub echo: bool,
    /// Then exit with this code.
    pub exit_code: u8,
    /// Or end by this signal.
    pub die_by_signal: Option<NamedSignal>,
}

impl Default for Guest {
    fn default() -> Guest {
        Guest {
            argv: None,
            process_args: false,
            cwd: None,
            ignores: Vec::new(),
            grandchild_holds_stdout_ms: None,
            stdout_bytes: 0,
            stderr_bytes: 0,
            echo: true,
            exit_code: 0,
            die_by_signal: None,
        }
    }
}

/// How one subcommand behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Steps {
    /// Before anything was done.
    pub before: Moment,
    /// When the container was found fit for what is asked, and nothing is started. For `exec`.
    pub checked: Moment,
    /// When the process was started and has its terminal, and the pid file is not written.
    /// For `create`, `run`, `restore`, `exec`, and the `start` of 2016. For `checkpoint`, when its
    /// log was begun, and nothing saved or ended.
    pub midway: Moment,
    /// When everything was done.
    pub after: Moment,
    /// What becomes of the pid file.
    pub pid_file: PidFile,
    /// What becomes of the terminal.
    pub console: Console,
}

/// What happens at one moment, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Moment {
    /// Write so many bytes of [`pattern`](crate::pattern) to stdout.
    pub stdout_bytes: u64,
    /// Write so many bytes of [`pattern`](crate::pattern) to stderr.
    pub stderr_bytes: u64,
    /// Write this message at level error to the file of `--log`.
    pub log_error: Option<String>,
    /// Append this, as it is, to the file of `--log`.
    pub log_raw: Option<String>,
    /// Midway: wait until the started process has ended (and is not reaped). Not for `create`,
    /// whose process ends only when somebody lets it go on.
    pub wait_for_process_exit: bool,
    /// If it is a fifo, open it for reading, which waits for a writer. If not, wait until it
    /// exists.
    pub wait_for: Option<PathBuf>,
    /// Sleep.
    pub delay_ms: u64,
    /// Wait for ever.
    pub hang: bool,
    /// End by this signal, leaving everything as it is.
    pub die_by_signal: Option<NamedSignal>,
    /// Exit with this code, leaving everything as it is.
    pub exit_code: Option<u8>,
}

/// What becomes of the pid file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PidFile {
    /// The pid in decimal, no newline, appearing whole.
    #[default]
    Normal,
    /// There is none.
    None,
    /// It is empty.
    Empty,
    /// The first half of the digits.
    Partial,
    /// With a newline.
    Newline,
    /// With a minus sign.
    Negative,
    /// A number beyond 64 bits.
    Huge,
    /// The pid of a living process that has nothing to do with the container; `delete` ends it.
    Other,
    /// This text.
    Text(String),
    /// In place, as old runtimes did, and slowly: empty first, the digits one by one.
    InPlace {
        /// Rest before each digit.
        pause_ms: u64,
    },
}

/// What becomes of the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Console {
    /// The process stands on the slave, and the caller gets the master.
    #[default]
    Normal,
    /// Nobody connects to the socket; the process has `/dev/null`.
    Skipped,
    /// Somebody connects, sends nothing, and goes; the process has `/dev/null`.
    OnlyConnected,
    /// A name is sent and no descriptor; the process has `/dev/null`.
    WithoutDescriptor,
    /// The master is sent, but nobody ever opens the slave: the process has `/dev/null`.
    WithoutSlave,
}

/// The subcommands, by the word on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Subcommand {
    Checkpoint,
    Create,
    Delete,
    Events,
    Exec,
    Features,
    Kill,
    List,
    Pause,
    Ps,
    Restore,
    Resume,
    Run,
    Spec,
    Start,
    State,
    Update,
}

impl Subcommand {
    /// Every subcommand.
    pub const ALL: &[Subcommand] = &[
        Subcommand::Checkpoint,
        Subcommand::Create,
        Subcommand::Delete,
        Subcommand::Events,
        Subcommand::Exec,
        Subcommand::Features,
        Subcommand::Kill,
        Subcommand::List,
        Subcommand::Pause,
        Subcommand::Ps,
        Subcommand::Restore,
        Subcommand::Resume,
        Subcommand::Run,
        Subcommand::Spec,
        Subcommand::Start,
        Subcommand::State,
        Subcommand::Update,
    ];

    /// The word on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Subcommand::Checkpoint => "checkpoint",
            Subcommand::Create => "create",
            Subcommand::Delete => "delete",
            Subcommand::Events => "events",
            Subcommand::Exec => "exec",
            Subcommand::Features => "features",
            Subcommand::Kill => "kill",
            Subcommand::List => "list",
            Subcommand::Pause => "pause",
            Subcommand::Ps => "ps",
            Subcommand::Restore => "restore",
            Subcommand::Resume => "resume",
            Subcommand::Run => "run",
            Subcommand::Spec => "spec",
            Subcommand::Start => "start",
            Subcommand::State => "state",
            Subcommand::Update => "update",
        }
    }

    /// The subcommand that a word means.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Subcommand> {
        Subcommand::ALL.iter().copied().find(|known| known.word() == word)
    }
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// What is wrong with it: a name that does not exist, a value of the wrong kind, or two
    /// wishes that exclude one another.
    pub fn parse(json: &[u8]) -> Result<Script, String> {
        let script: Script = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        script.container.check("container")?;
        script.exec.check("exec")?;
        Ok(script)
    }

    /// How a subcommand behaves.
    #[must_use]
    pub fn steps(&self, word: Subcommand) -> &Steps {
        self.on.get(&word).unwrap_or(&self.any)
    }

    /// Makes the paths that start at the script's directory absolute.
    #[must_use]
    pub fn based_at(mut self, directory: &Path) -> Script {
        let all_steps = self.on.values_mut().chain([&mut self.any]);
        let moments =
            all_steps.flat_map(|s| [&mut s.before, &mut s.checked, &mut s.midway, &mut s.after]);
        let waits = moments.map(|moment| &mut moment.wait_for);
        for path in waits.chain([&mut self.container.cwd, &mut self.exec.cwd]).flatten() {
            *path = directory.join(&*path);
        }
        self
    }
}

impl Guest {
    /// A program of somebody else does nothing that only the built-in one can do.
    fn check(&self, name: &str) -> Result<(), String> {
        if self.argv.as_ref().is_some_and(Vec::is_empty) {
            return Err(format!("{name}: argv is empty"));
        }
        let foreign = self.argv.is_some() || self.process_args;
        let built_in = Guest { argv: None, process_args: false, cwd: None, ..self.clone() }
            != Guest::default();
        if foreign && built_in {
            return Err(format!("{name}: argv and process_args exclude all but cwd"));
        }
        if self.argv.is_some() && self.process_args {
            return Err(format!("{name}: argv and process_args exclude one another"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_script_is_a_well_behaved_runtime() {
        assert_eq!(Script::parse(b"{}").unwrap(), Script::default());
    }

    #[test]
    fn every_script_survives_its_text_form() {
        let text = br#"{"container": {"argv": ["sh"], "cwd": "x"}, "on": {
            "create": {"midway": {"die_by_signal": "SIGKILL", "wait_for": "f"}, "pid_file": "huge"},
            "exec": {"pid_file": {"text": "x"}, "console": "without_slave"},
            "run": {"pid_file": {"in_place": {"pause_ms": 3}}}}}"#;
        let script = Script::parse(text).unwrap();
        assert_eq!(script.on.len(), 3);
        let again = serde_json::to_vec(&script).unwrap();
        assert_eq!(Script::parse(&again).unwrap(), script);
    }

    #[test]
    fn a_mistake_in_a_script_is_told() {
        for (text, part) in [
            (r#"{"contaner": {}}"#, "contaner"),
            (r#"{"on": {"crate": {}}}"#, "crate"),
            (r#"{"any": {"before": {"delay": 3}}}"#, "delay"),
            (r#"{"any": {"pid_file": "nonsense"}}"#, "nonsense"),
            (r#"{"container": {"die_by_signal": "FOO"}}"#, "FOO"),
            (r#"{"container": {"exit_code": 256}}"#, "256"),
            (r#"{"container": {"argv": []}}"#, "empty"),
            (r#"{"exec": {"argv": ["a"], "exit_code": 1}}"#, "exclude"),
            (r#"{"exec": {"argv": ["a"], "process_args": true}}"#, "one another"),
        ] {
            let message = Script::parse(text.as_bytes()).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn a_subcommand_without_an_entry_behaves_like_any() {
        let text = br#"{"any": {"before": {"delay_ms": 1}}, "on": {"kill": {}}}"#;
        let script = Script::parse(text).unwrap();
        assert_eq!(script.steps(Subcommand::Create).before.delay_ms, 1);
        assert_eq!(script.steps(Subcommand::Kill).before.delay_ms, 0);
    }

    #[test]
    fn relative_paths_start_at_the_script() {
        let text = br#"{"any": {"after": {"wait_for": "f"}}, "container": {"cwd": "/abs"}}"#;
        let script = Script::parse(text).unwrap().based_at(Path::new("/b"));
        assert_eq!(script.any.after.wait_for, Some("/b/f".into()));
        assert_eq!(script.container.cwd, Some("/abs".into()));
    }

    #[test]
    fn the_scripts_in_the_readme_are_right() {
        let readme = include_str!("../README.md");
        let scripts: Vec<&str> =
            readme.split("```json\n").skip(1).filter_map(|text| text.split("```").next()).collect();
        assert!(scripts.len() > 5);
        for script in scripts {
            assert!(Script::parse(script.as_bytes()).is_ok(), "{script}");
        }
    }

    #[test]
    fn every_subcommand_is_found_by_its_word() {
        for word in Subcommand::ALL {
            assert_eq!(Subcommand::from_word(word.word()), Some(*word));
            assert_eq!(serde_json::to_string(word).unwrap(), format!("\"{}\"", word.word()));
        }
    }
}
