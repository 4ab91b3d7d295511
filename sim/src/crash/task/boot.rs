//! What a daemon does when it comes up: every bundle is looked at, as containerd's `loadShims` does.

use std::path::Path;

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::Message;
use wavetank::files::{read_file, remove_all};
use wavetank::host::Host;

use super::super::daemon::named;
use super::{Daemon, Setback, bundle};
use crate::caller::SimHost;
use crate::task::WORK;
use crate::task::plan::{Ask, Name};

/// No address is longer.
const ADDRESS_MAX: usize = 256;

impl Daemon<'_> {
    pub(super) fn load_all(&mut self, host: &mut SimHost<'_>) {
        let bundles = Path::new(WORK).join("bundles");
        for name in host.list(&bundles).unwrap_or_default() {
            let text = name.to_string_lossy().into_owned();
            match named(self.flow, &text).map(|process| process.name) {
                Some(container) => self.load(host, container),
                // Its removal was begun.
                None => {
                    if let Err(error) = remove_all(host, &bundles.join(&name)) {
                        self.wrong(error.to_string());
                    }
                }
            }
        }
    }

    /// A shim that answers is kept if it has a task; the others are cleaned up.
    fn load(&mut self, host: &mut SimHost<'_>, container: Name) {
        self.open_log(host, container);
        let address = ["bootstrap", "address"].iter().find_map(|name| {
            let text = read_file(host, &bundle(container).join(name), ADDRESS_MAX).ok()?;
            String::from_utf8(text).ok()
        });
        let connected =
            address.is_some_and(|address| self.connect(host, container, &address, false));
        if !connected {
            return self.forget_lost(host, container);
        }
        match self.attach(host, container) {
            Ok(()) => {}
            Err(Setback::Dead) => self.forget_lost(host, container),
            // A shim without a task: the daemon died when it was about to have one made, or when it
            // had removed it.
            Err(Setback::Refused(_)) => {
                let _ = self.ask_or(host, container, Ask::Delete(container));
                let _ = self.dismiss(host, container);
            }
        }
    }

    fn forget_lost(&mut self, host: &mut SimHost<'_>, container: Name) {
        self.settle(host);
        let ended = {
            let mut told = self.told.borrow_mut();
            let life = told.life(container);
            // It may have run without anybody's having heard of its start.
            life.exits.contains_key(container) || !life.pids.contains_key(container)
        };
        self.forget(host, container, !ended);
    }

    /// Takes up again what the daemon before knew of a container.
    fn attach(&mut self, host: &mut SimHost<'_>, container: Name) -> Result<(), Setback> {
        let pids = self.ask(host, container, Ask::Pids(container))?;
        let pids = api::PidsResponse::parse_from_bytes(&pids).unwrap_or_default();
        let state = self.ask(host, container, Ask::State(container))?;
        let state = api::StateResponse::parse_from_bytes(&state).unwrap_or_default();
        if pids.processes.is_empty() && state.pid == 0 {
            return Err(Setback::Refused("it has no process".to_owned()));
        }
        self.told.borrow_mut().life(container).pids.insert(container, state.pid);
        self.begin_wait(host, container, container);
        match state.status.enum_value() {
            Ok(api::Status::CREATED) => {
                // A call of the daemon before may be under way.
                if let Ok(started) = self.ask_or(host, container, Ask::Start(container))? {
                    self.note_started(container, &started);
                }
            }
            Ok(api::Status::PAUSED | api::Status::PAUSING) => {
                self.ask_or(host, container, Ask::Resume(container))?.ok();
            }
            _ => {}
        }
        if state.status.enum_value() != Ok(api::Status::CREATED) {
            self.told.borrow_mut().life(container).started.insert(container);
        }
        Ok(())
    }
}
