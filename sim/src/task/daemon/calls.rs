//! Short programs, connections and calls: how they are begun, and what comes of them.

use std::path::Path;
use std::time::Duration;

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::Message;
use wavetank::host::{Host, PollFd};
use wavetank::manager::tasks::TaskClient;
use wavetank::ttrpc::{Code, Status};

use super::super::NAMESPACE;
use super::super::asks;
use super::super::launch::{Complains, Launch, Said};
use super::super::plan::{Answer, Ask, Name, Step, container_of, done, exec_of};
use super::{Daemon, LOOK_AGAIN, WORK, process};
use crate::caller::SimHost;

/// How often in a row a client does not wait for its answer.
const HANG_UPS: u32 = 5;
/// What needs no runtime is answered within this time.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A call that is not answered yet.
pub(super) struct Open {
    pub(super) stream: u32,
    pub(super) ask: Ask,
    pub(super) answer: Answer,
    /// When it was made.
    pub(super) made: Duration,
}

impl Open {
    fn step(&self) -> Step {
        Step::Ask(self.ask, self.answer.clone())
    }
}

impl Daemon<'_> {
    pub(super) fn launch(
        &mut self,
        host: &mut SimHost<'_>,
        at: usize,
        name: Name,
        action: &'static str,
    ) {
        let complains = if self.flow.is_disturbed { Complains::Perhaps } else { Complains::Never };
        match Launch::begin(host, name, action, self.manner, complains) {
            Ok(launch) => self.threads[at].launch = Some(launch),
            Err(error) => self.complain(error),
        }
    }

    /// Something went wrong that must not, unless calls fail.
    pub(super) fn complain(&mut self, what: String) {
        if !self.may_go_wrong() {
            self.told.wrong.push(what);
        }
    }

    /// Whether what goes wrong now may be due to what was planned to.
    pub(super) fn may_go_wrong(&self) -> bool {
        self.flow.is_disturbed && !self.marks.contains(super::HEALED)
    }

    /// Makes the connection that a thread needs.
    pub(super) fn connect(&mut self, host: &mut SimHost<'_>, at: usize, name: Name) -> bool {
        if self.threads[at].client.is_some() {
            return true;
        }
        let container = container_of(name);
        let Some(address) = self.addresses.get(container) else { return false };
        match TaskClient::connect(host, address) {
            Ok(client) => {
                self.threads[at].client = Some(client.service(self.service));
                for wait in std::mem::take(&mut self.threads[at].lost_waits) {
                    self.wait_for(host, at, wait);
                }
                true
            }
            Err(error) => {
                self.miss_servers(host);
                // Where all is drawn, a server that is gone stays away.
                let is_troubled = host.trouble().is_any() || self.flow.is_disturbed;
                if !self.heals()
                    && host.trouble().is_any()
                    && self.told.pids.contains_key(container)
                {
                    // Whoever was made there has lost its shim.
                    self.give_up(host);
                } else if !self.takes_care(host, at, Step::Launch(container)) && !is_troubled {
                    self.told.wrong.push(error.to_string());
                }
                false
            }
        }
    }

    pub(super) fn wait_for(&mut self, host: &mut SimHost<'_>, at: usize, name: Name) {
        // What was deleted meanwhile is not known any more.
        let answer = done()
            .or(Code::NotFound, "process does not exist")
            .or(Code::NotFound, "container not created");
        self.call(host, at, Ask::Wait(name), answer);
    }

    pub(super) fn call(
        &mut self,
        host: &mut SimHost<'_>,
        at: usize,
        ask: Ask,
        answer: Answer,
    ) -> Option<u32> {
        if !self.connect(host, at, ask.name()) {
            // After the shim that is to be launched first.
            if let Some(Step::Launch(_)) = self.threads[at].steps.front()
                && self.is_lenient(host)
            {
                self.threads[at].steps.insert(1, Step::Ask(ask, answer));
            }
            return None;
        }
        let is_lenient = self.is_lenient(host);
        if let Ask::Create(name) | Ask::Exec(name) | Ask::Start(name) = ask
            && let Some(streams) = self.streams.get_mut(name)
        {
            if is_lenient && !matches!(ask, Ask::Start(_)) {
                streams.come_anew();
            }
            streams.open(host, process(self.flow, name).is_some_and(|it| it.terminal));
        }
        let thread = &mut self.threads[at];
        thread.container = Some(ask.name());
        let client = thread.client.as_mut()?;
        match asks::send(host, client, &ask, &self.flow.plan.processes) {
            Ok(stream) => {
                let made = host.now();
                thread.open.push(Open { stream, ask, answer, made });
                Some(stream)
            }
            Err(error) => {
                // A server that has ended meanwhile is the same as one that refuses.
                let is_settled =
                    process(self.flow, ask.name()).is_some_and(|process| process.is_disturbed);
                if !is_settled
                    && !self.takes_care(host, at, Step::Ask(ask, answer))
                    && !self.told.gave_up
                {
                    self.told.wrong.push(format!("{ask:?}: {error}"));
                }
                self.hang_up(host, at);
                None
            }
        }
    }

    /// A client that has waited for some time, or not at all, is gone; it will ask again. After some
    /// attempts it waits as long as it takes.
    pub(super) fn perhaps_give_up(
        &mut self,
        host: &mut SimHost<'_>,
        at: usize,
        ask: Ask,
        answer: &Answer,
    ) {
        let may = self.flow.gives_up && self.threads[at].hung_up < HANG_UPS;
        let again = answer.clone().or_done(ask);
        let Some(again) = again.filter(|_| may && host.choose(4) == 0) else {
            self.threads[at].hung_up = 0;
            return;
        };
        for _ in 0..host.choose(4) {
            self.turn(host, Some(LOOK_AGAIN));
        }
        if self.threads[at].awaited.is_some() {
            self.threads[at].hung_up += 1;
            self.hang_up(host, at);
            self.threads[at].steps.push_front(Step::Ask(ask, again));
        }
    }

    pub(super) fn hang_up(&mut self, host: &mut SimHost<'_>, at: usize) {
        let thread = &mut self.threads[at];
        if let Some(client) = thread.client.take() {
            client.close(host);
        }
        thread.awaited = None;
        for open in std::mem::take(&mut thread.open) {
            if let Ask::Wait(name) = open.ask {
                thread.lost_waits.push(name);
            }
        }
    }

    /// After a connection broke: whether there still is a server, if anybody waits for an end.
    fn come_to_know(&mut self, host: &mut SimHost<'_>, at: usize) {
        self.miss_servers(host);
        let thread = &self.threads[at];
        let waits = !thread.lost_waits.is_empty() && !self.told.gave_up;
        if let Some(name) = thread.container.filter(|_| waits)
            && self.tries_again(host)
        {
            self.connect(host, at, name);
        }
    }

    pub(super) fn turn_launch(&mut self, host: &mut SimHost<'_>, at: usize, answers: &[PollFd]) {
        let Some(launch) = &mut self.threads[at].launch else { return };
        let name = launch.name;
        match launch.turn(host, answers) {
            None => return,
            Some(Ok(Said::Address(address))) => drop(self.addresses.insert(name, address)),
            // Of what was never made it has to invent an end.
            Some(Ok(Said::Deleted(exit))) => {
                if let Some(exit) = exit.filter(|_| self.told.pids.contains_key(name)) {
                    self.note_exit(name, "delete", exit);
                }
                // Complaints may not be heard.
                let known = Path::new(WORK).join("runc").join(NAMESPACE).join(name);
                if self.flow.is_disturbed && host.stat(&known).is_ok() {
                    self.takes_care(host, at, Step::CleanUp(name));
                }
            }
            Some(Err(error)) => {
                let Some(launch) = self.threads[at].launch.take() else { return };
                let step = launch.step();
                // What was under way when all was given up may have met with the trouble.
                let was_under_way = self.gave_up_at.is_some_and(|at| launch.begun <= at);
                let is_late = matches!(step, Step::Launch(_)) && self.told.gave_up || was_under_way;
                let was_disturbed = self.may_go_wrong()
                    || self.flow.is_disturbed && launch.begun <= self.told.healed;
                if !self.takes_care(host, at, step) && !was_disturbed && !is_late {
                    self.told.wrong.push(error);
                }
            }
        }
        self.threads[at].launch = None;
    }

    pub(super) fn turn_client(&mut self, host: &mut SimHost<'_>, at: usize) {
        let thread = &mut self.threads[at];
        let Some(client) = &mut thread.client else { return };
        let lost = client.turn(host).err();
        let mut answered = Vec::new();
        for open in std::mem::take(&mut thread.open) {
            match client.take(open.stream) {
                Some(result) => answered.push((open, result)),
                None => thread.open.push(open),
            }
        }
        let is_dead = lost.is_some();
        self.told.lost |= is_dead && self.flow.is_disturbed;
        if is_dead && !self.flow.shim_is_killed && !self.is_lenient(host) {
            for Open { ask, .. } in &self.threads[at].open {
                let may_end = match ask {
                    Ask::Shutdown(_) => self.flow.is_disturbed,
                    // Nothing was made there: it may have failed to begin, or waited in vain.
                    _ if !self.told.pids.contains_key(container_of(ask.name())) => {
                        let may_fail = self.may_go_wrong() && !self.flow.faults.is_empty();
                        may_fail || self.flow.config.timers_race
                    }
                    _ => false,
                };
                if !may_end && !self.flow.shim_may_go {
                    self.told.wrong.push(format!("{ask:?} got no answer: {lost:?}"));
                }
            }
        }
        for (open, result) in answered {
            if self.threads[at].awaited == Some(open.stream) {
                self.threads[at].awaited = None;
            }
            self.answered(host, at, &open, result);
        }
        if is_dead {
            let thread = &self.threads[at];
            let awaited = thread.open.iter().find(|open| thread.awaited == Some(open.stream));
            if let Some(step) = awaited.map(Open::step) {
                self.takes_care(host, at, step);
            }
            self.hang_up(host, at);
            if host.trouble().is_any() {
                self.come_to_know(host, at);
            }
            if self.flow.shim_is_killed {
                self.threads[at].lost_waits.clear();
            }
        }
    }

    pub(super) fn answered(
        &mut self,
        host: &mut SimHost<'_>,
        at: usize,
        open: &Open,
        result: Result<Vec<u8>, Status>,
    ) {
        let Open { ask, answer, made, .. } = open;
        let taken = host.now().saturating_sub(*made);
        // Where timers race, time goes on though there is something to do.
        let is_timed =
            !self.flow.config.timers_race && !self.flow.is_disturbed && !host.trouble().is_any();
        if ask.is_quick() && taken > AT_ONCE && is_timed {
            self.told.wrong.push(format!("{ask:?} was answered only after {taken:?}"));
        }
        let is_allowed = self.told.gave_up
            || match &result {
                Ok(_) => answer.may_be_done,
                Err(status) => answer.allows(status),
            };
        self.patience.renew();
        let is_tried_again = !is_allowed && self.takes_care(host, at, open.step());
        if !is_allowed && !is_tried_again {
            let what = result.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
            self.told.wrong.push(format!("{ask:?} was answered: {what}"));
        }
        match (ask, result) {
            (Ask::Create(name) | Ask::Exec(name), Ok(payload)) => {
                if matches!(ask, Ask::Create(_)) {
                    self.note_pid(name, &payload);
                }
                self.wait_for(host, at, name);
            }
            (Ask::Create(name) | Ask::Exec(name), Err(status))
                if is_allowed && status.code == Code::AlreadyExists && self.flow.gives_up =>
            {
                self.wait_for(host, at, name);
            }
            (Ask::Start(name), Ok(payload)) => {
                self.note_pid(name, &payload);
                self.told.started.push((*name).to_owned());
                if self.is_lenient(host) && !exec_of(name).is_empty() {
                    self.wait_for(host, at, name);
                }
            }
            (Ask::Create(name) | Ask::Exec(name) | Ask::Start(name), Err(status)) => {
                let is_of_init = matches!(ask, Ask::Start(name) if exec_of(name).is_empty());
                // It was made by an earlier call, whose answer was lost; its input is on its way.
                let is_made = status.message.contains("cannot start a");
                let has_failed = !is_of_init && !is_made;
                if matches!(ask, Ask::Start(_)) && is_allowed && has_failed {
                    // As planned, so it is not tried again, and there is no end to wait for.
                    self.ended.insert(name);
                }
                if has_failed
                    && !self.told.pids.contains_key(*name)
                    && let Some(streams) = self.streams.get_mut(name)
                {
                    streams.give_up(host);
                }
            }
            (Ask::Wait(_), Err(_)) if !is_allowed => {}
            // A start that failed is tried again, and then there is an end to wait for.
            (Ask::Wait(_), Ok(payload)) if self.is_lenient(host) && is_of_nothing(&payload) => {}
            (Ask::Wait(name), result) => {
                self.ended.insert(name);
                if let Some(streams) = self.streams.get_mut(name) {
                    streams.process_ended();
                }
                if let Ok(payload) = result {
                    self.note_answered_exit(name, "Wait", &payload);
                }
            }
            (Ask::Delete(name), Ok(payload)) => {
                self.note_answered_exit(name, "Delete", &payload);
                self.told.deleted.push((*name).to_owned());
                if process(self.flow, name).is_some_and(|it| it.leaves_at_delete)
                    && let Some(streams) = self.streams.get_mut(name)
                {
                    streams.close(host);
                }
                self.look_for_mounts(host, name);
            }
            (Ask::State(name), Ok(payload)) => self.note_answered_exit(name, "State", &payload),
            _ => {}
        }
    }
}

/// Whether an answer of Wait tells of no end.
fn is_of_nothing(payload: &[u8]) -> bool {
    let response = api::WaitResponse::parse_from_bytes(payload).unwrap_or_default();
    asks::exit(response.exit_status, response.exited_at.as_ref()).is_none()
}
