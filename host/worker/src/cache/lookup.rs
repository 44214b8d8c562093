//! Looks for cached outputs, those of all nodes of a round together.

use std::sync::Arc;

use bytes::Bytes;
use catalog::{Catalog, Hit, Reservation, TaskKey};
use engine::{Detail, NodeIdx, Resolved};
use futures::StreamExt;
use futures::future::BoxFuture;
use model::Timestamp;
use prost::Message;
use proto::flyteidl::core::{
    CatalogCacheStatus, CatalogMetadata, ExecutionError, LiteralMap, NodeExecutionIdentifier,
};

use super::{Note, Policy, owner, policy, refused};
use crate::call::retried;
use crate::clusters::with_causes;
use crate::driver::{Alarm, Done, Driver};
use crate::place::Place;
use crate::program::TaskRef;
use crate::shared::Shared;
use crate::{backoff, clock};

/// Look-ups in one statement.
const CHUNK: usize = 500;
/// Outputs written at once.
const WRITES_AT_ONCE: usize = 64;

/// A node whose outputs may be cached.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    node: NodeIdx,
    by: Box<NodeExecutionIdentifier>,
    policy: Policy,
    /// Its key: made when it is first needed.
    key: Result<Box<TaskKey>, Arc<LiteralMap>>,
    /// Where its inputs are.
    input_uri: String,
    /// Where cached outputs go.
    output_uri: String,
    task: Option<TaskRef>,
    owner: String,
}

/// What a look-up came to.
#[derive(Debug)]
pub(crate) struct Found {
    lookup: Lookup,
    pub(crate) outcome: Outcome,
}

/// See [`Found`].
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Its outputs are there and written.
    Hit { metadata: Box<CatalogMetadata>, explanation: String },
    /// It is to run.
    Run { status: CatalogCacheStatus, explanation: String, overwrite: bool, reserved: bool },
    /// Another execution computes it, until then at the latest unless it gives signs of life.
    Wait { until: Timestamp, explanation: String },
    /// It has no key.
    Failed(Box<ExecutionError>),
}

impl Driver {
    /// A task's inputs are made: looks for cached outputs at the end of the round, if it may have any.
    pub(crate) fn look_up_or_run(
        &mut self,
        node: NodeIdx,
        inputs: LiteralMap,
        input_uri: String,
        now: Timestamp,
    ) {
        match policy(&self.engine, node) {
            Ok(None) => self.resolved(node, Ok(Resolved { uri: input_uri, detail: Detail::Plain }), now),
            Err(error) => self.resolved(node, Err(*error), now),
            Ok(Some(policy)) => {
                let place = Place::of(&self.info, &self.engine, node);
                let attempt = self.engine.node(node).attempt;
                let lookup = Lookup {
                    node,
                    by: Box::new(place.id.to_proto()),
                    policy,
                    key: Err(Arc::new(inputs)),
                    input_uri,
                    output_uri: format!("{}/outputs.pb", place.output_prefix(&self.info, attempt)),
                    task: self.programs.task_ref(&self.engine, node),
                    owner: owner(&place.id),
                };
                self.cache.lookups.push(lookup);
            }
        }
    }

    /// Starts the look-ups of this round.
    pub(crate) fn start_lookups(&mut self) {
        let mut lookups = std::mem::take(&mut self.cache.lookups);
        while !lookups.is_empty() {
            let rest = lookups.split_off(lookups.len().min(CHUNK));
            self.spawn_lookups(std::mem::replace(&mut lookups, rest));
        }
    }

    fn spawn_lookups(&mut self, lookups: Vec<Lookup>) {
        let (shared, skip, waiter) = (Arc::clone(&self.shared), self.info.overwrite_cache, self.info.key);
        self.work.spawn(async move {
            let _permit = shared.permits.acquire().await;
            Done::LookedUp(look_up(&shared, lookups, skip, waiter).await)
        });
    }

    /// Looks again for what nodes wait for.
    pub(crate) fn look_again(&mut self) {
        self.cache.lookups.extend(self.cache.waiting.values().cloned());
        self.start_lookups();
    }

    /// Takes in what look-ups came to.
    pub(crate) fn looked_up(&mut self, found: Vec<Found>, now: Timestamp) {
        for Found { lookup, outcome } in found {
            let node = lookup.node;
            if !self.engine.knows(node) || self.engine.node(node).phase.is_terminal() {
                continue;
            }
            let uri = lookup.input_uri.clone();
            let key = lookup.key.as_ref().ok().cloned();
            let detail = match outcome {
                Outcome::Failed(error) => {
                    self.resolved(node, Err(*error), now);
                    continue;
                }
                Outcome::Hit { metadata, explanation } => {
                    self.cache.waiting.remove(&node);
                    let note = Note {
                        status: CatalogCacheStatus::CacheHit,
                        metadata: Some(metadata),
                        explanation: Some(explanation.into()),
                        ..Note::default()
                    };
                    self.cache.notes.insert(node, note);
                    Detail::CacheHit { output_uri: lookup.output_uri.clone() }
                }
                Outcome::Run { status, explanation, overwrite, reserved } => {
                    self.cache.waiting.remove(&node);
                    let metadata = key.as_ref().map(|key| Box::new(dataset_of(key)));
                    if let Some(key) = key.as_ref().filter(|_| reserved) {
                        self.hold(node, TaskKey::clone(key), now);
                    }
                    let target = key.map(|key| Box::new((lookup.policy.clone(), *key)));
                    let explanation = Some(explanation.into());
                    self.cache.notes.insert(node, Note { status, metadata, target, overwrite, explanation });
                    Detail::Plain
                }
                Outcome::Wait { until, explanation } => {
                    let metadata = key.as_ref().map(|key| Box::new(dataset_of(key)));
                    let note = Note {
                        status: CatalogCacheStatus::CacheMiss,
                        metadata,
                        explanation: Some(explanation.into()),
                        ..Note::default()
                    };
                    self.cache.notes.insert(node, note);
                    // A little later than the other one's time runs out, or it would be found just alive.
                    let again =
                        clock::after(until.max(now), backoff::pause(&self.shared.config.plugin_calls, 0));
                    self.alarm(again, Alarm::Cache);
                    if self.cache.waiting.insert(node, lookup).is_some() {
                        continue;
                    }
                    Detail::CacheWait
                }
            };
            self.resolved(node, Ok(Resolved { uri, detail }), now);
        }
    }
}

/// What clients read of an entry that is not there.
fn dataset_of(key: &TaskKey) -> CatalogMetadata {
    CatalogMetadata { dataset_id: Some(key.dataset.clone()), ..CatalogMetadata::default() }
}

async fn look_up(
    shared: &Shared,
    lookups: Vec<Lookup>,
    skip: bool,
    waiter: store::row::ExecutionKey,
) -> Vec<Found> {
    let mut found = Vec::with_capacity(lookups.len());
    let mut sound = Vec::with_capacity(lookups.len());
    for mut lookup in lookups {
        if let Err(inputs) = &lookup.key {
            match lookup.policy.signature.key(inputs) {
                Ok(key) => lookup.key = Ok(Box::new(key)),
                Err(error) => {
                    found.push(Found { outcome: Outcome::Failed(refused(&error)), lookup });
                    continue;
                }
            }
        }
        sound.push(lookup);
    }
    let answers = if skip { None } else { Some(ask(shared, &sound).await) };
    let mut work: Vec<(Lookup, Answer)> = Vec::with_capacity(sound.len());
    match answers {
        None => work.extend(sound.into_iter().map(|lookup| (lookup, Answer::Skipped))),
        Some(Ok(answers)) => {
            work.extend(sound.into_iter().zip(answers.into_iter().map(Answer::Found)));
        }
        Some(Err(text)) => {
            work.extend(sound.into_iter().map(|lookup| (lookup, Answer::Unknown(text.clone()))));
        }
    }
    let mut decided = futures::stream::iter(work)
        .map(|(lookup, answer)| async move {
            let outcome = decide(shared, &lookup, answer, waiter).await;
            Found { lookup, outcome }
        })
        .buffer_unordered(WRITES_AT_ONCE);
    while let Some(one) = decided.next().await {
        found.push(one);
    }
    drop(decided);
    note_uses(shared, &found).await;
    found
}

/// What the catalog said.
enum Answer {
    Found(catalog::Lookup),
    /// It was not asked: outputs are to be made anew.
    Skipped,
    Unknown(String),
}

async fn ask(shared: &Shared, lookups: &[Lookup]) -> Result<Vec<catalog::Lookup>, String> {
    let keys: Vec<TaskKey> =
        lookups.iter().filter_map(|lookup| Some(TaskKey::clone(lookup.key.as_ref().ok()?))).collect();
    let config = &shared.config.plugin_calls;
    let mut n_tried = 0;
    loop {
        match lookup_many(&shared.catalog, &keys, shared.clock.now()).await {
            Ok(answers) => return Ok(answers),
            Err(error) if error.is_transient() && n_tried + 1 < config.cleanup_tries => {
                let pause = backoff::pause(config, n_tried);
                shared.clock.sleep_until(clock::after(shared.clock.now(), pause)).await;
                n_tried += 1;
            }
            Err(error) => return Err(with_causes(&error)),
        }
    }
}

/// With a named type: the compiler does not find out by itself that the future may be sent.
fn lookup_many<'a>(
    catalog: &'a Catalog,
    keys: &'a [TaskKey],
    now: Timestamp,
) -> BoxFuture<'a, Result<Vec<catalog::Lookup>, catalog::Error>> {
    Box::pin(catalog.lookup_many(keys, None, now))
}

async fn decide(
    shared: &Shared,
    lookup: &Lookup,
    answer: Answer,
    waiter: store::row::ExecutionKey,
) -> Outcome {
    let is_asked = !matches!(answer, Answer::Skipped);
    let (status, explanation, overwrite) = match answer {
        Answer::Found(catalog::Lookup::Hit(hit)) => match take(shared, lookup, &hit).await {
            Ok(()) => {
                let explanation = hit.explanation.to_string();
                return Outcome::Hit { metadata: Box::new(hit.metadata), explanation };
            }
            Err(text) => (CatalogCacheStatus::CacheLookupFailure, text, true),
        },
        Answer::Found(catalog::Lookup::Miss(why)) => {
            (CatalogCacheStatus::CacheMiss, why.to_string(), why.should_overwrite())
        }
        Answer::Skipped => {
            let text = "cached outputs are not looked for: the execution overwrites them".to_owned();
            (CatalogCacheStatus::CacheSkipped, text, true)
        }
        Answer::Unknown(text) => {
            (CatalogCacheStatus::CacheLookupFailure, format!("the catalog has no answer: {text}"), false)
        }
    };
    let run = |reserved| Outcome::Run { status, explanation: explanation.clone(), overwrite, reserved };
    let Ok(key) = lookup.key.as_ref().map_err(|_| ()) else { return run(false) };
    if !lookup.policy.is_serialized {
        return run(false);
    }
    let heartbeat = super::reservation::heartbeat_micros(shared);
    let now = shared.clock.now();
    let catalog: &Catalog = &shared.catalog;
    match catalog.reserve(key, &lookup.owner, heartbeat, now, Some(waiter)).await {
        Ok(Reservation::Acquired { .. }) if is_asked => {
            // The one before may have put its outputs and gone between the look-up and now.
            match found_now(shared, lookup, key).await {
                Some(hit) => hit,
                None => run(true),
            }
        }
        Ok(Reservation::Acquired { .. }) => run(true),
        Ok(Reservation::Held { owner, expires_at }) => Outcome::Wait {
            until: expires_at,
            explanation: format!("waiting on serialized cache: {owner} computes the same"),
        },
        Err(error) => {
            tracing::warn!(error = %with_causes(&error), "cannot reserve a cached computation, it runs without");
            run(false)
        }
    }
}

/// Looks again once the turn is the node's own; it is given back if there is something to take.
async fn found_now(shared: &Shared, lookup: &Lookup, key: &TaskKey) -> Option<Outcome> {
    let answers = lookup_many(&shared.catalog, std::slice::from_ref(key), shared.clock.now()).await;
    let Ok(Some(catalog::Lookup::Hit(hit))) = answers.map(|mut all| all.pop()) else { return None };
    take(shared, lookup, &hit).await.ok()?;
    super::reservation::release(shared, &lookup.owner, key).await;
    let explanation = hit.explanation.to_string();
    Some(Outcome::Hit { metadata: Box::new(hit.metadata), explanation })
}

/// Puts cached outputs where those of the node are read.
async fn take(shared: &Shared, lookup: &Lookup, hit: &Hit) -> Result<(), String> {
    if let Some(declared) = lookup.task.as_ref().and_then(TaskRef::declared) {
        engine::inputs::check_outputs(&declared, &hit.outputs)
            .map_err(|error| format!("the cached outputs are not usable: {}", error.message))?;
    }
    let bytes = Bytes::from(hit.outputs.encode_to_vec());
    retried(shared, || shared.files.write(&lookup.output_uri, bytes.clone()))
        .await
        .map_err(|error| format!("the cached outputs cannot be written: {}", with_causes(&error)))?;
    shared.files.remember_map(&lookup.output_uri, Arc::new(hit.outputs.clone()));
    Ok(())
}

/// Notes who took what. Without the note only lineage has a gap.
async fn note_uses(shared: &Shared, found: &[Found]) {
    let uses: Vec<_> = found
        .iter()
        .filter_map(|found| match &found.outcome {
            Outcome::Hit { metadata, .. } => Some((&**metadata, &*found.lookup.by)),
            Outcome::Run { .. } | Outcome::Wait { .. } | Outcome::Failed(_) => None,
        })
        .collect();
    if !uses.is_empty()
        && let Err(error) = shared.catalog.used_many(&uses, shared.clock.now()).await
    {
        tracing::warn!(error = %with_causes(&error), "cannot note who used cached outputs");
    }
}
