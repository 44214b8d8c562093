//! Takes in what came of plugin calls, actions and clean-ups.

use std::cmp::Reverse;

use engine::{Observation, Report};
use model::Timestamp;
use proto::pinion::plugin::v1::WakeReason;

use crate::actions::{Acted, object_of};
use crate::attempt::{Attempt, Order, Stage};
use crate::backoff;
use crate::call::{Answer, Verdict};
use crate::cleanup::Cleaned;
use crate::clock::after;
use crate::dirty::Haste;
use crate::driver::{Alarm, Done, Driver};
use crate::mailbox::AttemptKey;

impl Driver {
    /// Takes in finished work.
    pub(crate) async fn absorb(&mut self, done: Done, now: Timestamp) {
        match done {
            Done::Fetched { node, fetched } => self.arrived.push((node, fetched)),
            Done::Answered { key, answer } => self.answered(key, *answer, now),
            Done::Acted { key, acted } => self.acted(key, *acted, now),
            Done::Cleaned { key, cleaned } => self.cleaned(key, *cleaned, now),
            Done::Started { key, started } => self.child_started(key, started, now),
            Done::Ended { keys, ended } => self.children_ended(keys, ended, now),
            Done::ChildAborted { key } => self.child_aborted(key, now),
            Done::Signals(looked) => self.signals_looked(looked, now),
            Done::Lists { array, lists } => self.lists_read(array, lists, now).await,
            // What they are about has ended meanwhile, and is forgotten.
            Done::Gathered { node, .. } | Done::Loaded { node, .. } | Done::Held { node, .. }
                if !self.engine.knows(node) => {}
            Done::Gathered { node, result, populated } => self.gathered(node, result, populated, now),
            Done::Loaded { node, made } => self.expansion_loaded(node, made, now),
            Done::LookedUp(found) => self.looked_up(found, now),
            Done::Held { node, key } => self.held(node, key, now),
            Done::Released => self.released(),
            Done::Nothing => {}
        }
    }

    fn answered(&mut self, key: AttemptKey, answer: Answer, now: Timestamp) {
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        attempt.busy = false;
        self.ready.insert(key);
        let mut changed = answer.state.is_some();
        if let Some(state) = answer.state {
            attempt.migrate = false;
            attempt.record.set_state(state);
        }
        changed |= note_objects(attempt, &answer.actions, &self.info.cluster);
        // Nothing waits for the word that a task runs: lost with a crash, it is said again.
        let only_runs = !changed && answer.actions.is_empty() && matches!(answer.verdict, Verdict::Running);
        let haste = if only_runs { Haste::Lazy } else { Haste::Urgent };
        if attempt.stage == Stage::Ended {
            // The engine ended it meanwhile. What the plugin keeps is kept, for its abort; what it asks for is not done.
            if changed {
                self.dirty.attempt(key, Haste::Urgent, now);
            }
            return;
        }
        if let Verdict::Parked(unavailable) = &answer.verdict {
            // Whatever it was called for, the next plugin is told to look at everything.
            attempt.wanted = Some(WakeReason::Recovered);
            return self.park(key, unavailable, now);
        }
        for report in &answer.reports {
            changed |= attempt.record.report(report, now);
        }
        if !answer.actions.is_empty() {
            attempt.promise(answer.actions);
            attempt.track_tokens();
            changed = true;
        }
        if let Some(after_ms) = answer.wake_after_ms {
            let wake_at = now.plus(i64::try_from(after_ms).unwrap_or(i64::MAX).saturating_mul(1000));
            attempt.record.row.wake_at = Some(wake_at);
            self.alarms.push(Reverse((wake_at, Alarm::Attempt(key))));
        }
        let ends = !matches!(answer.verdict, Verdict::Parked(_) | Verdict::Waiting | Verdict::Running);
        if let Verdict::Expanded { made, .. } = &answer.verdict {
            self.programs.add(key.node, &made.program, &self.mailbox);
        }
        if let Some(populated) = answer.populated {
            if let Some(obstacle) = &populated.obstacle {
                attempt.record.explain(&format!("the outputs are not cached: {obstacle}"), now);
            }
            self.cache.note_populated(key.node, populated);
        }
        let report = settle(attempt, answer.verdict, answer.called, now);
        if attempt.stage == Stage::Driving {
            attempt.bury();
        } else {
            changed = true;
        }
        if changed {
            self.dirty.attempt(key, haste, now);
        }
        let AttemptKey { node, attempt } = key;
        if ends && self.engine.node(node).attempt_started_at.is_none() {
            // It ran within the call.
            let report = Report::Running;
            self.apply(Observation::TaskReported { node, attempt, report }, answer.called);
        }
        let changes = self.engine.apply(Observation::TaskReported { node, attempt, report }, now);
        self.note(changes, only_runs, now);
    }

    fn acted(&mut self, key: AttemptKey, acted: Acted, now: Timestamp) {
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        attempt.busy = false;
        self.ready.insert(key);
        let config = &self.shared.config.plugin_calls;
        if acted.remaining.is_empty() || matches!(attempt.order, Some(Order::Abort(_))) {
            if !attempt.record.row.intent.is_empty() && attempt.intent.is_empty() {
                attempt.record.set_intent(&[]);
                self.dirty.attempt(key, Haste::Lazy, now);
            }
        } else {
            let pause = backoff::pause(config, attempt.intent_tries);
            attempt.intent_tries = attempt.intent_tries.saturating_add(1);
            attempt.intent_not_before = after(now, pause);
            attempt.intent.splice(0..0, acted.remaining);
            self.alarms.push(Reverse((attempt.intent_not_before, Alarm::Attempt(key))));
            let obstacle = acted.obstacle.unwrap_or_default();
            tracing::warn!(execution = %self.info.id, node = %attempt.record.row.node_id, error = %obstacle,
                "actions of a task cannot be performed, trying again");
        }
        for object in acted.observed {
            attempt.observe(object);
        }
        if acted.tokens.is_empty() {
            return;
        }
        let ask_again_at = after(now, config.token_retry.get());
        let waiting = acted.tokens.iter().find(|status| !status.granted).map(|status| status.message.clone());
        if attempt.note_tokens(acted.tokens, ask_again_at) {
            attempt.want(WakeReason::Woken);
        }
        if let Some(message) = waiting {
            self.alarms.push(Reverse((ask_again_at, Alarm::Attempt(key))));
            if attempt.stage == Stage::Driving && attempt.record.wait(&message, now) {
                self.dirty.attempt(key, Haste::Lazy, now);
            }
        }
    }

    fn cleaned(&mut self, key: AttemptKey, cleaned: Cleaned, now: Timestamp) {
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        if let Some(phase) = &cleaned.phase {
            attempt.record.last_word(phase, now);
        }
        if let Some(debt) = &cleaned.debt {
            attempt.record.remark(debt, now);
        }
        self.apply(Observation::Cleaned { node: key.node, attempt: key.attempt }, now);
    }
}

/// Notes the objects that actions are about; says whether there are new ones.
fn note_objects(attempt: &mut Attempt, actions: &[proto::pinion::plugin::v1::Action], cluster: &str) -> bool {
    let n_before = attempt.record.objects.len();
    for object in actions.iter().filter_map(|action| object_of(action, cluster)) {
        attempt.record.add_object(&object);
    }
    attempt.record.objects.len() > n_before
}

/// Ends the attempt if it has ended, and says what the engine is to know.
fn settle(attempt: &mut Attempt, verdict: Verdict, called: Timestamp, now: Timestamp) -> Report {
    match verdict {
        Verdict::Parked(_) | Verdict::Waiting => Report::Waiting,
        Verdict::Running => Report::Running,
        Verdict::Succeeded { output_uri, deck_uri } => {
            attempt.stage = Stage::Ended;
            attempt.record.succeed(&output_uri, called, now);
            Report::Succeeded { output_uri, deck_uri }
        }
        Verdict::Expanded { made, deck_uri } => {
            attempt.stage = Stage::Ended;
            attempt.record.succeed("", called, now);
            Report::Expanded { expansion: made.expansion(), deck_uri }
        }
        Verdict::Failed { error, recoverable, cleanup } => {
            attempt.stage = Stage::Ended;
            attempt.record.fail(&error, cleanup, called, now);
            Report::Failed { error, recoverable, cleanup }
        }
    }
}
