//! Removing what has ended. Every step that was done stays done, so an attempt that failed half-way
//! is taken up again by the next.

use std::time::Duration;

use containerd_shim_protos::api;

use super::failure::no_container;
use super::jobs::Streams;
use super::make::pid_file;
use super::requests::encode;
use super::state::{JobKey, ProcessKey, Step};
use super::{DRAIN_TIMEOUT, Shim};
use crate::host::{Bug, ExitStatus, Host, Mark};
use crate::oci::Failure;
use crate::process::Life;
use crate::task::mounts;
use crate::task::timestamp::timestamp;
use crate::ttrpc::Status;

impl Shim {
    pub(super) fn begin_delete<H: Host>(&mut self, host: &mut H, key: JobKey) {
        let Some((job, container)) = self.container_of(key) else { return };
        let Some(process) = self.processes.get(&job.process) else { return };
        let was_made = process.pid != 0 || process.life == Life::Stopped;
        if !process.exec_id.is_empty() || container.removed || !was_made {
            return self.drain(host, key);
        }
        let argv = container.runtime.delete(&process.container, false);
        self.step(key, Step::Runtime, None);
        if let Err(failure) = self.start_runtime(host, key, argv, Streams::Captured(None)) {
            let failure = self.runtime_failure(host, key, "failed to delete task", failure);
            self.finish(host, key, Err(failure));
        }
    }

    /// The runtime has removed the container, or knew nothing of it any more.
    pub(super) fn removed<H: Host>(&mut self, host: &mut H, key: JobKey, status: ExitStatus) {
        let is_gone = status.success()
            || !host.planted(Bug::GoneIsAFailure)
                && self.complains_of(host, key, &["does not exist"]);
        if !is_gone {
            let ended = Failure::Ended(status);
            let failure = self.runtime_failure(host, key, "failed to delete task", ended);
            return self.finish(host, key, Err(failure));
        }
        if !status.success() {
            host.mark(Mark::RemovedAlready);
        }
        self.container_mut(key, |container| container.removed = true);
        self.drain(host, key);
    }

    /// Lets the output come to its end. A container that was never started has none.
    fn drain<H: Host>(&mut self, host: &mut H, key: JobKey) {
        let Some(process) = self.jobs.get(&key).map(|job| job.process) else { return };
        let now = host.now();
        let mut drain = self.drain.unwrap_or(DRAIN_TIMEOUT);
        if host.planted(Bug::DrainWithoutEnd) {
            drain = Duration::from_secs(86_400);
        }
        if let Some(process) = self.processes.get_mut(&process) {
            if !process.life.has_ended() {
                process.stdio.process_ended(host, now, Duration::ZERO);
            }
            process.stdio.hurry(host, now, drain);
        }
        self.step(key, Step::Drain, None);
        let drained = self.processes.get(&process).is_none_or(|it| it.stdio.is_drained());
        if drained {
            self.drained(host, key);
        }
    }

    pub(super) fn drained<H: Host>(&mut self, host: &mut H, key: JobKey) {
        let Some((_, container)) = self.container_of(key) else { return };
        if host.planted(Bug::DrainEndsDelete) && self.is_drained_too_late(host, key) {
            return self.finish(host, key, Err(Status::unknown("failed to drain in time")));
        }
        let is_init = self.is_about_init(key);
        if !is_init || !container.mounted {
            return self.deleted(host, key);
        }
        let rootfs = container.bundle.join("rootfs");
        self.step(key, Step::Unmount, None);
        if let Err(error) = self.start_mounter(host, key, &mounts::Job::Unmount { rootfs }) {
            self.finish(host, key, Err(error.into()));
        }
    }

    /// [`Bug::DrainEndsDelete`].
    fn is_drained_too_late<H: Host>(&self, host: &mut H, key: JobKey) -> bool {
        let process = self.jobs.get(&key).and_then(|job| self.processes.get(&job.process));
        let now = host.now();
        process.is_some_and(|process| process.stdio.is_overdue(now))
    }

    fn is_about_init(&self, key: JobKey) -> bool {
        let process = self.jobs.get(&key).and_then(|job| self.processes.get(&job.process));
        process.is_some_and(|process| process.exec_id.is_empty())
    }

    pub(super) fn unmounted<H: Host>(&mut self, host: &mut H, key: JobKey, status: ExitStatus) {
        if status.success() || host.planted(Bug::UnmountedOnce) {
            self.container_mut(key, |container| container.mounted = false);
        }
        if status.success() {
            return self.deleted(host, key);
        }
        host.mark(Mark::UnmountFailed);
        let reason = self.what_failed(host, key, status);
        let message = format!("failed to unmount the root file system: {reason}");
        if host.planted(Bug::ForgottenWhileMounted)
            && let Some(process) = self.jobs.get(&key).map(|job| job.process)
        {
            self.forget_container(host, process);
        }
        self.finish(host, key, Err(Status::unknown(message)));
    }

    /// Nothing is left of it but our own knowledge, and that goes now.
    fn deleted<H: Host>(&mut self, host: &mut H, key: JobKey) {
        let Some((job, container)) = self.container_of(key) else { return };
        let process_key = job.process;
        if self.is_about_init(key) {
            let mut processes: Vec<_> = container.execs.values().copied().collect();
            processes.push(process_key);
            // The runtime has killed all of it; nothing new is begun for that now.
            if let Some(init) = self.processes.get_mut(&process_key)
                && !host.planted(Bug::RestKilledForNobody)
            {
                init.cleaned = true;
            }
            self.end_other_jobs(host, key, &processes);
            // What of its end was still to be done need not be, and the end is told before this.
            self.tell_end(host, process_key);
        }
        let Some((_, container)) = self.container_of(key) else { return };
        let Some(process) = self.processes.get(&process_key) else { return };
        let mut response = api::DeleteResponse::new();
        response.pid = process.pid;
        response.exit_status = process.exit.map_or(0, |exit| exit.status);
        response.exited_at = timestamp(process.exit.map(|exit| exit.at));
        let (id, exec_id) = (process.container.clone(), process.exec_id.clone());
        if exec_id.is_empty() {
            self.tell_deleted(host, &id, &response);
            self.forget_container(host, process_key);
        } else {
            let file = pid_file(&container.bundle, &exec_id);
            if process.pid != 0 {
                let _ = host.unlink(&file);
            }
            if let Some(container) = self.containers.get_mut(&id)
                && !host.planted(Bug::NameStaysTaken)
            {
                container.execs.remove(&exec_id);
            }
            self.forget_process(host, process_key);
        }
        self.finish(host, key, Ok(encode(&response)));
    }

    /// Ends what is still being done to the processes of a container that goes.
    fn end_other_jobs<H: Host>(&mut self, host: &mut H, but: JobKey, processes: &[ProcessKey]) {
        let jobs: Vec<JobKey> = self
            .jobs
            .iter()
            .filter(|(key, job)| **key != but && processes.contains(&job.process))
            .map(|(key, _)| *key)
            .collect();
        for job in jobs {
            host.mark(Mark::JobsCutShort);
            // It may hold secrets, and the runtime that was to read it has nothing to do any more.
            if !host.planted(Bug::ProcessFileLeft) {
                self.remove_process_file(host, job);
            }
            self.finish(host, job, Err(no_container()));
        }
    }
}
