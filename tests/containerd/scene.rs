//! What a row has to work with: one daemon, one shim, names and a directory of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{Client, LIMIT, Told, told, until, wait_for};
use crate::daemon::{Daemon, IMAGE, Shim, arguments, processes};

pub(crate) struct Scene {
    pub(crate) daemon: Arc<Daemon>,
    pub(crate) shim: Shim,
    /// Differs between all rows.
    pub(crate) row: String,
}

impl Scene {
    pub(crate) fn new(daemon: &Arc<Daemon>, shim: Shim, row: usize) -> Scene {
        let scene = Scene { daemon: Arc::clone(daemon), shim, row: format!("r{row}") };
        fs::create_dir_all(scene.directory()).unwrap();
        scene
    }

    /// A container's name.
    pub(crate) fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.row)
    }

    /// Also to be seen by containers that were made with [`Scene::shared`].
    pub(crate) fn directory(&self) -> PathBuf {
        self.daemon.place.join(format!("{}-{}", self.row, self.shim.name()))
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The flag that shows the row's directory as `/t`.
    pub(crate) fn shared(&self) -> String {
        format!("--mount=type=bind,src={},dst=/t,options=rbind:rw", self.path(""))
    }

    pub(crate) fn ctr(&self, args: &[&str]) -> Command {
        let mut command = self.daemon.ctr(self.shim);
        command.args(args);
        command
    }

    pub(crate) fn told(&self, args: &[&str]) -> Told {
        told(self.ctr(args))
    }

    /// `ctr run`, of a command.
    pub(crate) fn run(&self, name: &str, flags: &[&str], args: &[&str]) -> Command {
        let mut command = self.ctr(&["run", "--runtime", self.shim.runtime_name()]);
        command.args(flags).args([IMAGE, &self.id(name)]).args(args);
        command
    }

    /// A container in the background that runs a shell script.
    #[track_caller]
    pub(crate) fn detached(&self, name: &str, flags: &[&str], script: &str) {
        let flags = [&["--detach"], flags].concat();
        told(self.run(name, &flags, &["sh", "-c", script])).fine();
    }

    /// `ctr tasks exec`, of a command.
    pub(crate) fn exec(&self, name: &str, exec: &str, flags: &[&str], args: &[&str]) -> Command {
        let mut command = self.ctr(&["tasks", "exec", "--exec-id", exec]);
        command.args(flags).arg(self.id(name)).args(args);
        command
    }

    /// A `ctr tasks` command about one container.
    pub(crate) fn task(&self, verb: &str, flags: &[&str], name: &str) -> Told {
        let mut command = self.ctr(&["tasks", verb]);
        command.args(flags).arg(self.id(name));
        told(command)
    }

    /// The task's pid and state, if there is one.
    pub(crate) fn listed(&self, name: &str) -> Option<(u32, String)> {
        let (id, list) = (self.id(name), self.told(&["tasks", "list"]).fine());
        let mut rows = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row.first() == Some(&&*id))?;
        Some((row[1].parse().unwrap(), row[2].to_owned()))
    }

    pub(crate) fn state(&self, name: &str) -> String {
        self.listed(name).map_or("none".to_owned(), |(_, state)| state)
    }

    #[track_caller]
    pub(crate) fn wait_for_state(&self, name: &str, state: &str) {
        until(&format!("{name} is {state}"), || self.state(name) == state);
    }

    /// The first process of a container.
    #[track_caller]
    pub(crate) fn init(&self, name: &str) -> u32 {
        self.listed(name).unwrap().0
    }

    /// The shim that was started for a container.
    #[track_caller]
    pub(crate) fn shim_of(&self, name: &str) -> u32 {
        let id = self.id(name);
        let has_id = |pid: &u32| arguments(*pid).windows(2).any(|pair| pair == ["-id", &id]);
        let find = || self.daemon.shims(self.shim).into_iter().find(has_id);
        wait_for("there is a shim", find)
    }

    /// Ends and removes a container, in whatever state it is.
    pub(crate) fn remove(&self, name: &str) {
        self.task("kill", &["--signal", "SIGKILL"], name);
        until("the task has ended", || ["STOPPED", "none"].contains(&&*self.state(name)));
        let told = self.task("delete", &[], name);
        assert!(self.state(name) == "none", "{name} is not deleted: {}", told.line());
        self.told(&["containers", "delete", &self.id(name)]);
    }

    /// Removes whatever the row has left, for it has failed.
    pub(crate) fn clear(&self) {
        let prefix = format!("{}-", self.row);
        let list = self.told(&["containers", "list", "--quiet"]).out;
        for name in list.lines().filter_map(|id| id.strip_prefix(&prefix)) {
            self.task("resume", &[], name);
            self.task("kill", &["--signal", "SIGKILL"], name);
            self.task("delete", &["--force"], name);
            self.told(&["containers", "delete", &self.id(name)]);
        }
    }

    /// The events of a container's task: topic, and what is in it.
    pub(crate) fn events(&self, name: &str) -> Vec<(String, serde_json::Value)> {
        let (id, namespace) = (self.id(name), self.daemon.namespace(self.shim));
        let mut found = Vec::new();
        for line in self.daemon.events() {
            let Some((_, rest)) = line.split_once(&format!(" {namespace} /tasks/")) else {
                continue;
            };
            let (topic, json) = rest.split_once(' ').unwrap();
            let event: serde_json::Value = serde_json::from_str(json).unwrap();
            if event["container_id"] == *id {
                found.push((topic.to_owned(), event));
            }
        }
        found
    }

    /// The same in short, once the last one wanted is there.
    #[track_caller]
    pub(crate) fn story(&self, name: &str, last: &str) -> String {
        let end = Instant::now() + LIMIT;
        while !self.events(name).iter().any(|(topic, _)| topic == last) {
            assert!(Instant::now() < end, "no {last} is told, only: {}", self.so_far(name));
            std::thread::sleep(Duration::from_millis(10));
        }
        self.so_far(name)
    }

    fn so_far(&self, name: &str) -> String {
        let id = self.id(name);
        let tell = |(topic, event): (String, serde_json::Value)| {
            let process = event["id"].as_str().filter(|process| *process != id);
            let process = process.or(event["exec_id"].as_str());
            let status = event["exit_status"].as_u64().map(|status| format!(" {status}"));
            let process = process.map(|process| format!(" {process}")).unwrap_or_default();
            format!("{topic}{process}{}", status.unwrap_or_default())
        };
        self.events(name).into_iter().map(tell).collect::<Vec<_>>().join(", ")
    }

    /// An interactive `ctr`, once it has shown a word.
    #[track_caller]
    pub(crate) fn shows(&self, command: Command, word: &str) -> Client {
        let client = Client::piped(command);
        client.wait_for(word);
        client
    }
}

/// The program's name of a process, if it is there and no zombie.
pub(crate) fn comm(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    (!rest.starts_with(['Z', 'X'])).then(|| name.to_owned())
}

/// Zombies that wait for this parent.
pub(crate) fn zombies_of(parent: u32) -> usize {
    let is_one = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let mut fields = rest.split(' ');
        fields.next() == Some("Z") && fields.next() == Some(&parent.to_string())
    };
    processes().filter(is_one).count()
}
