//! Holds one open attempt in memory: its row, its plugin, what was seen of its objects, and what is to be done next.
//!
//! Invariant: at most one thing is done for an attempt at a time (`busy`): a call, its actions or its clean-up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Timestamp;
use proto::pinion::plugin::v1::{
    AcquireToken, Action, ObjectGone, ObservedObject, Phase, PhaseInfo, TokenStatus, WakeReason, action,
    observed_object::Observed,
};

use crate::clusters::key_of;
use crate::observe::Sighting;
use crate::plugin::Plugin;
use crate::record::Record;
use crate::response::Standing;

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its row is made, nothing else.
    Opened,
    /// It waits for a plugin.
    Parked,
    /// Its plugin drives it.
    Driving,
    /// It has ended; only clean-up is left.
    Ended,
}

/// A clean-up the engine ordered.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Abort, then finalize.
    Abort(String),
    /// Finalize.
    Finalize,
}

/// A token the attempt waits for or holds.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) acquire: AcquireToken,
    pub(crate) status: TokenStatus,
    pub(crate) ask_again_at: Timestamp,
}

/// One open attempt.
pub(crate) struct Attempt {
    pub(crate) record: Record,
    pub(crate) plugin: Option<Arc<dyn Plugin>>,
    pub(crate) stage: Stage,
    pub(crate) busy: bool,
    /// Why the plugin is to be called next.
    pub(crate) wanted: Option<WakeReason>,
    /// Actions that are committed and to be performed.
    pub(crate) intent: Vec<Action>,
    pub(crate) intent_not_before: Timestamp,
    pub(crate) intent_tries: u32,
    /// Objects are to be read, for their changes may have been missed.
    pub(crate) refresh: bool,
    /// Newest state of its objects, by key.
    observed: BTreeMap<String, ObservedObject>,
    /// Objects that are gone, though the plugin still sees their last state.
    gone: BTreeSet<String>,
    /// Tokens by pool and token.
    pub(crate) tokens: BTreeMap<(String, String), Token>,
    pub(crate) order: Option<Order>,
    /// The state is of another version of the plugin.
    pub(crate) migrate: bool,
    pub(crate) parked_until: Timestamp,
    /// Whether a plugin was called for it in this life.
    pub(crate) called: bool,
    /// Whether it began in an earlier life, which may not have come to writing its inputs.
    pub(crate) recovered: bool,
}

impl Attempt {
    pub(crate) fn new(record: Record) -> Self {
        Self {
            record,
            plugin: None,
            stage: Stage::Opened,
            busy: false,
            wanted: None,
            intent: Vec::new(),
            intent_not_before: Timestamp(0),
            intent_tries: 0,
            refresh: false,
            observed: BTreeMap::new(),
            gone: BTreeSet::new(),
            tokens: BTreeMap::new(),
            order: None,
            migrate: false,
            parked_until: Timestamp(0),
            called: false,
            recovered: false,
        }
    }

    /// Asks for a call; an earlier reason stands.
    pub(crate) fn want(&mut self, reason: WakeReason) {
        self.wanted.get_or_insert(reason);
    }

    /// Where the attempt stands by the plugin's own words.
    pub(crate) fn standing(&self) -> Standing {
        Standing {
            phase: i32::from(self.record.row.plugin_phase.abs()),
            version: u32::try_from(self.record.row.phase_version).unwrap_or_default(),
        }
    }

    /// Whether a report beside an answer may be noted: it ends nothing and goes back behind nothing.
    pub(crate) fn takes_report(&self, info: &PhaseInfo) -> bool {
        let standing = self.standing();
        self.stage == Stage::Driving
            && matches!(info.phase(), Phase::Queued | Phase::Initializing | Phase::Running)
            && (info.phase != standing.phase || info.version > standing.version)
    }

    /// Notes an object as it was read.
    pub(crate) fn observe(&mut self, object: ObservedObject) {
        let Some(key) = object.object.as_ref().map(key_of) else { return };
        self.gone.remove(&key);
        self.observed.insert(key, object);
        self.want(WakeReason::Observed);
    }

    /// Notes an object as it was watched.
    pub(crate) fn sight(&mut self, key: String, sighting: Sighting) {
        if sighting.gone {
            self.gone.insert(key.clone());
        } else {
            self.gone.remove(&key);
        }
        self.observed.insert(key, sighting.object);
        self.want(WakeReason::Observed);
    }

    /// All that is known of its objects.
    pub(crate) fn observations(&self) -> Vec<ObservedObject> {
        self.observed.values().cloned().collect()
    }

    /// After a call that saw the last state of objects that are gone: they are gone now.
    pub(crate) fn bury(&mut self) {
        for key in std::mem::take(&mut self.gone) {
            if let Some(object) = self.observed.get_mut(&key) {
                object.observed = Some(Observed::Gone(ObjectGone {}));
                self.want(WakeReason::Observed);
            }
        }
    }

    /// Promises actions on top of those still to be done; the row says so.
    pub(crate) fn promise(&mut self, actions: Vec<Action>) {
        self.intent.extend(actions);
        self.intent_tries = 0;
        self.intent_not_before = Timestamp(0);
        self.record.set_intent(&self.intent);
    }

    /// Notes how tokens stand; says whether one was granted.
    pub(crate) fn note_tokens(&mut self, statuses: Vec<TokenStatus>, ask_again_at: Timestamp) -> bool {
        let mut granted = false;
        for status in statuses {
            let key = (status.resource_namespace.clone(), status.token.clone());
            granted |= status.granted;
            if let Some(token) = self.tokens.get_mut(&key) {
                token.status = status;
                token.ask_again_at = ask_again_at;
            }
        }
        granted
    }

    /// Remembers which tokens actions ask for or give back.
    pub(crate) fn track_tokens(&mut self) {
        for action in &self.intent {
            match &action.action {
                Some(action::Action::Acquire(acquire)) => {
                    let key = (acquire.resource_namespace.clone(), acquire.token.clone());
                    let status = TokenStatus {
                        resource_namespace: acquire.resource_namespace.clone(),
                        token: acquire.token.clone(),
                        ..TokenStatus::default()
                    };
                    let token = Token { acquire: acquire.clone(), status, ask_again_at: Timestamp(i64::MAX) };
                    self.tokens.entry(key).or_insert(token);
                }
                Some(action::Action::Release(release)) => {
                    self.tokens.remove(&(release.resource_namespace.clone(), release.token.clone()));
                }
                Some(_) | None => {}
            }
        }
    }

    /// Asks again for tokens it waits for; all of them, or those whose time has come.
    pub(crate) fn ask_again(&mut self, due: Option<Timestamp>) {
        let waits =
            |token: &&mut Token| !token.status.granted && due.is_none_or(|now| token.ask_again_at <= now);
        for token in self.tokens.values_mut().filter(waits) {
            token.ask_again_at = Timestamp(i64::MAX);
            self.intent.push(Action { action: Some(action::Action::Acquire(token.acquire.clone())) });
        }
    }
}
