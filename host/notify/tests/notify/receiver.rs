//! A web server that keeps what it is sent and answers as it is told.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// How it answers one request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With this status; the request counts as taken if it is one of the 200s.
    Status(u16),
    /// With a refusal that repeats the whole request.
    Echo,
    /// Not at all.
    Silence,
    /// With a redirect to this place.
    Elsewhere(String),
    /// It takes the request, but the sender never learns.
    TakenInSilence,
}

/// One request that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Taken {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Inner {
    taken: Vec<Taken>,
    n_requests: usize,
    next: VecDeque<Answer>,
    always: Option<Answer>,
}

/// The server.
#[derive(Clone)]
pub struct Receiver {
    inner: Arc<Mutex<Inner>>,
    port: u16,
}

impl Receiver {
    pub async fn start() -> Self {
        let inner = Arc::new(Mutex::new(Inner::default()));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(take).with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { inner, port }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How the next requests are answered, before it does as always.
    pub fn then(&self, answers: impl IntoIterator<Item = Answer>) {
        self.inner.lock().unwrap().next.extend(answers);
    }

    /// How all others are answered; without it they are taken.
    pub fn always(&self, answer: Option<Answer>) {
        self.inner.lock().unwrap().always = answer;
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.inner.lock().unwrap().taken.clone()
    }

    pub fn n_requests(&self) -> usize {
        self.inner.lock().unwrap().n_requests
    }

    /// The events that were taken, of requests of any mode.
    pub fn events(&self) -> Vec<Value> {
        self.taken().iter().flat_map(events_of).collect()
    }

    /// Subject and phase of each event, in the order of arrival.
    pub fn told(&self) -> Vec<String> {
        let text = |event: &Value| {
            let (subject, phase) = (event["subject"].as_str().unwrap(), event["phase"].as_str().unwrap());
            format!("{} {phase}", subject.trim_start_matches("p/d/"))
        };
        self.events().iter().map(text).collect()
    }

    /// Checks that events of each execution arrived in order, repeats left aside, and returns how many different
    /// ones there were.
    pub fn check_order(&self) -> usize {
        self.check_order_of("")
    }

    /// The same for executions whose name contains a text.
    pub fn check_order_of(&self, part: &str) -> usize {
        let mut seen: HashMap<String, String> = HashMap::new();
        let mut all = std::collections::HashSet::new();
        for event in self.events() {
            let key = event["partitionkey"].as_str().unwrap().to_owned();
            if !key.contains(part) {
                continue;
            }
            let sequence = event["sequence"].as_str().unwrap().to_owned();
            if !all.insert(event["id"].as_str().unwrap().to_owned()) {
                continue;
            }
            if let Some(last) = seen.insert(key.clone(), sequence.clone()) {
                assert!(last < sequence, "{key}: {sequence} came after {last}");
            }
        }
        all.len()
    }
}

fn events_of(taken: &Taken) -> Vec<Value> {
    let kind = taken.header("content-type");
    if kind.starts_with("application/cloudevents-batch+json") {
        return taken.json().as_array().unwrap().clone();
    }
    if kind.starts_with("application/cloudevents+json") {
        return vec![taken.json()];
    }
    if taken.header("ce-id").is_empty() {
        return Vec::new();
    }
    let attributes = taken.headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().strip_prefix("ce-")?.to_owned(), Value::from(value.to_str().unwrap())))
    });
    vec![Value::Object(attributes.collect())]
}

async fn take(State(inner): State<Arc<Mutex<Inner>>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let answer = {
        let mut inner = inner.lock().unwrap();
        inner.n_requests += 1;
        let answer = inner.next.pop_front().or(inner.always.clone()).unwrap_or(Answer::Status(200));
        if let Answer::Echo = answer {
            let said = format!("refused {uri} {headers:?} {}", String::from_utf8_lossy(&body));
            return (StatusCode::FORBIDDEN, said).into_response();
        }
        let is_taken = matches!(answer, Answer::Status(200..300) | Answer::TakenInSilence);
        if is_taken {
            inner.taken.push(Taken { path: uri.path().to_owned(), headers, body });
        }
        answer
    };
    match answer {
        Answer::Status(code) => (StatusCode::from_u16(code).unwrap(), "said <so>\u{7}").into_response(),
        Answer::Elsewhere(place) => (StatusCode::FOUND, [("location", place)]).into_response(),
        Answer::Echo | Answer::Silence | Answer::TakenInSilence => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            StatusCode::OK.into_response()
        }
    }
}
