//! Keeps what each part of the host says about its own health.
//!
//! A part that loops beats; one that has not beaten for longer than it promised is wedged, whatever it last said.
//! A part that works with a loss (a plugin that was quarantined) is degraded: the host stays ready and says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

/// What a part says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not yet at work.
    Starting,
    /// At work.
    Ok,
    /// At work, but something it should do it can't.
    Degraded(String),
    /// Not at work.
    Failed(String),
}

/// All parts of the host. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, Entry>>>);

#[derive(Debug)]
struct Entry {
    state: State,
    beat: Instant,
    /// Longest time between two beats; none for a part that does not loop.
    deadline: Option<Duration>,
}

/// One part's handle. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Component {
    health: Health,
    name: String,
}

impl Health {
    /// Adds a part. With a deadline it must beat at least that often.
    pub fn register(&self, name: &str, deadline: Option<Duration>) -> Component {
        let entry = Entry { state: State::Starting, beat: Instant::now(), deadline };
        self.lock().insert(name.to_owned(), entry);
        Component { health: self.clone(), name: name.to_owned() }
    }

    /// Whether every part is at work, and what each says.
    pub fn report(&self) -> (bool, Value) {
        self.report_at(Instant::now())
    }

    fn report_at(&self, now: Instant) -> (bool, Value) {
        let entries = self.lock();
        let mut is_ready = true;
        let mut is_degraded = false;
        let mut parts = serde_json::Map::new();
        for (name, entry) in entries.iter() {
            let silent = now.saturating_duration_since(entry.beat);
            let wedged =
                entry.deadline.filter(|deadline| silent > *deadline && entry.state != State::Starting);
            let (state, reason) = match (&entry.state, wedged) {
                (_, Some(deadline)) => (
                    "wedged",
                    format!(
                        "no sign of life for {:.1} s; it promised one every {:.1} s",
                        silent.as_secs_f64(),
                        deadline.as_secs_f64()
                    ),
                ),
                (State::Starting, None) => ("starting", String::new()),
                (State::Ok, None) => ("ok", String::new()),
                (State::Degraded(reason), None) => ("degraded", reason.clone()),
                (State::Failed(reason), None) => ("failed", reason.clone()),
            };
            is_ready &= matches!(state, "ok" | "degraded");
            is_degraded |= state == "degraded";
            let mut part = json!({ "state": state });
            if !reason.is_empty() {
                part["reason"] = reason.into();
            }
            if entry.deadline.is_some() {
                part["last_beat_seconds"] = silent.as_secs_f64().into();
            }
            parts.insert(name.clone(), part);
        }
        let status = match (is_ready, is_degraded) {
            (false, _) => "not ready",
            (true, true) => "degraded",
            (true, false) => "ready",
        };
        (is_ready, json!({ "status": status, "components": parts }))
    }

    /// `/livez`, `/readyz` and `/healthcheck`.
    pub fn routes(&self) -> Router {
        let health = self.clone();
        Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/healthcheck", get(|| async { StatusCode::OK }))
            .route(
                "/readyz",
                get(move || async move {
                    let (is_ready, body) = health.report();
                    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
                }),
            )
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Component {
    /// Says what it is now; counts as a beat.
    pub fn set(&self, state: State) {
        self.change(|entry| entry.state = state.clone());
    }

    /// Says that it is alive; the first beat makes it [`State::Ok`].
    pub fn beat(&self) {
        self.change(|entry| {
            if entry.state == State::Starting {
                entry.state = State::Ok;
            }
        });
    }

    fn change(&self, change: impl Fn(&mut Entry)) {
        if let Some(entry) = self.health.lock().get_mut(&self.name) {
            entry.beat = Instant::now();
            change(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_loop_is_wedged_and_a_slow_one_is_not() {
        let health = Health::default();
        let worker = health.register("worker", Some(Duration::from_secs(10)));
        worker.beat();
        let soon = Instant::now() + Duration::from_secs(5);
        assert!(health.report_at(soon).0);
        let (is_ready, body) = health.report_at(Instant::now() + Duration::from_secs(60));
        assert!(!is_ready);
        assert_eq!(body["components"]["worker"]["state"], "wedged");
    }

    #[test]
    fn a_degraded_plugin_keeps_the_host_ready_and_is_named() {
        let health = Health::default();
        health.register("api", None).set(State::Ok);
        health.register("plugins", None).set(State::Degraded("bad.so is quarantined".to_owned()));
        let (is_ready, body) = health.report();
        assert!(is_ready);
        assert_eq!(body["status"], "degraded");
        assert_eq!(body["components"]["plugins"]["reason"], "bad.so is quarantined");
    }

    #[test]
    fn what_has_not_started_or_failed_is_not_ready() {
        let health = Health::default();
        let api = health.register("api", None);
        assert!(!health.report().0);
        api.set(State::Ok);
        assert!(health.report().0);
        api.set(State::Failed("no database".to_owned()));
        assert!(!health.report().0);
    }
}
