//! Keeps what is known of one pod, and tells the world when it changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{
    pod::Pod,
    queue::Ticket,
    room::Room,
    runner::SHUTDOWN,
    status::{self, ContainerState, Progress, Terminated},
};
use crate::{Event, Object, ObjectRef};

/// A pod of this host's life.
pub(crate) struct Record {
    pub object_ref: ObjectRef,
    pub pod: Pod,
    pub uid: String,
    /// Cancelled when the pod is to end.
    pub end: CancellationToken,
    state: Mutex<State>,
}

struct State {
    progress: Progress,
    object: Arc<Object>,
    /// Its place in the line while it waits.
    ticket: Option<Ticket>,
    /// Whether it was deleted: it disappears when it has ended.
    deleted: bool,
}

impl Record {
    pub(crate) fn new(
        object_ref: ObjectRef,
        pod: Pod,
        uid: String,
        progress: Progress,
        object: Object,
    ) -> Record {
        let state = State { progress, object: Arc::new(object), ticket: None, deleted: false };
        Record { object_ref, pod, uid, end: CancellationToken::new(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object as last told.
    pub(crate) fn object(&self) -> Arc<Object> {
        Arc::clone(&self.state().object)
    }

    pub(crate) fn phase(&self) -> &'static str {
        self.state().progress.phase
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state().progress.is_terminal()
    }

    /// Whether the container has ended; `None` if there is none of that name.
    pub(crate) fn container_ended(&self, name: &str) -> Option<bool> {
        let idx = self.pod.all().position(|container| container.name == name)?;
        let state = self.state();
        Some(state.progress.is_terminal() || state.progress.states[idx].terminated().is_some())
    }

    pub(crate) fn set_ticket(&self, ticket: Option<Ticket>) {
        self.state().ticket = ticket;
    }

    /// Leaves the line, if it stands there.
    pub(crate) fn take_ticket(&self) -> Option<Ticket> {
        self.state().ticket.take()
    }

    /// Marks the pod as deleted. False if it was already.
    pub(crate) fn mark_deleted(&self) -> bool {
        let mut state = self.state();
        state.progress.deleted.get_or_insert_with(Timestamp::now);
        !std::mem::replace(&mut state.deleted, true)
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.state().deleted
    }

    /// Notes why the pod fails where no container tells; the first reason stays. Told with the next update.
    pub(crate) fn fail(&self, reason: &'static str, message: &str) {
        let progress = &mut self.state().progress;
        if progress.reason.is_empty() && !progress.is_terminal() {
            progress.reason = reason;
            progress.message = message.to_owned();
        }
    }

    /// Notes that the pod was admitted. That is told at once if it had to wait, else with what happens next.
    pub(crate) fn admitted(&self, room: &Room) {
        let waited = {
            let progress = &mut self.state().progress;
            progress.started = Some(Timestamp::now());
            !std::mem::take(&mut progress.unscheduled).is_empty()
        };
        if waited {
            self.update(room, |_| {});
        }
    }

    /// Changes the pod, writes it down if that was its end, and tells the change. A pod that had ended is left alone.
    pub(crate) fn update(&self, room: &Room, change: impl FnOnce(&mut Progress)) {
        let mut state = self.state();
        if state.progress.is_terminal() {
            return;
        }
        change(&mut state.progress);
        let mut next = Object::clone(&state.object);
        status::write(&mut next, &self.pod, &state.progress, &self.uid, room.next_version());
        let next = Arc::new(next);
        state.object = Arc::clone(&next);
        // On disk before anybody hears of it, so that what was once told is never taken back by a restart.
        if state.progress.is_terminal() {
            room.store(&self.pod, &next);
        }
        room.tell(Event { object_ref: self.object_ref.clone(), object: next, deleted: false });
    }
}

impl Progress {
    /// Concludes the phase of the pod once all its containers have ended. `over` says that no more will be started.
    pub(crate) fn settle(&mut self, pod: &Pod, over: bool) {
        if self.is_terminal() {
            return;
        }
        let init_failed = self.states.iter().zip(&pod.init).any(|(state, container)| {
            !container.sidecar && state.terminated().is_some_and(|ended| ended.exit_code != 0)
        });
        let running = self.states.iter().any(|state| matches!(state, ContainerState::Running { .. }));
        let mains = &self.states[pod.init.len()..];
        let mains_ended = mains.iter().all(|state| state.terminated().is_some());
        if !over && (running || !(mains_ended || init_failed)) {
            return;
        }
        let failed = |ended: &Terminated| ended.exit_code != 0;
        let success = mains_ended
            && self.reason.is_empty()
            && !mains.iter().filter_map(ContainerState::terminated).any(failed);
        self.phase = if success { "Succeeded" } else { "Failed" };
        // A process that went down with the supervisor left no exit code.
        let now = Timestamp::now();
        for state in &mut self.states {
            if let ContainerState::Running { since } = *state {
                let message = SHUTDOWN.1.to_owned();
                let ended = Terminated {
                    exit_code: 137,
                    signal: 9,
                    reason: "Error",
                    message,
                    started: since,
                    finished: now,
                };
                *state = ContainerState::Terminated(ended);
            }
        }
    }
}
