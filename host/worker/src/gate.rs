//! Has gate nodes wait for their signals (execution.md A14).
//!
//! A signal's row is made in the commit that opens the gate. Its value is looked at when the gate starts, in this life
//! or a later one, and whenever the store says that a signal of the execution was set.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use engine::{GateKind, NodeKind, Observation, Report};
use model::Timestamp;
use prost::Message;
use proto::flyteidl::core::{
    ExecutionError, Literal, LiteralMap, LiteralType, Primitive, Scalar, SimpleType,
    execution_error::ErrorKind, literal, literal_type, primitive, scalar,
};
use store::row::SignalRow;

use crate::call::retried;
use crate::clusters::with_causes;
use crate::driver::{Alarm, Done, Driver};
use crate::mailbox::AttemptKey;
use crate::outcome::execution_error;
use crate::place::Place;
use crate::shared::Shared;
use crate::{backoff, clock};

/// The gates that wait.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    waiting: BTreeMap<AttemptKey, Waiting>,
    /// A look is under way.
    looking: bool,
    /// Another one is wanted after it.
    again: bool,
}

/// One gate that waits.
#[derive(Clone, Debug)]
struct Waiting {
    signal: Arc<str>,
    /// Output that takes the value, and where it is written; absent for a gate that wants a yes.
    output: Option<(Arc<str>, String)>,
    /// Where the outputs of an approved gate are: it gives its inputs.
    input_uri: String,
}

/// What a look found: reports about gates, or why it found nothing.
pub(crate) type Looked = Result<Vec<(AttemptKey, Report)>, String>;

impl Gates {
    /// Forgets a gate that waits no more.
    pub(crate) fn forget(&mut self, key: AttemptKey) {
        self.waiting.remove(&key);
    }
}

impl Driver {
    /// The row of the signal that a gate waits for; to be written in the commit that opens the gate.
    pub(crate) fn signal_row(&self, key: AttemptKey, at: Timestamp) -> Option<SignalRow> {
        let NodeKind::Gate(gate) = &self.engine.graph_node(key.node).kind else { return None };
        let (signal, ty) = match gate {
            GateKind::Signal { id, ty, .. } => (id, LiteralType::clone(ty)),
            GateKind::Approve { id } => (id, boolean()),
            GateKind::Sleep { .. } => return None,
        };
        Some(SignalRow {
            execution: self.info.key,
            signal_id: signal.to_string(),
            node_id: self.engine.unique_id(key.node).to_string(),
            ty: ty.encode_to_vec(),
            value: Vec::new(),
            set_by: String::new(),
            created_at: at,
            updated_at: at,
        })
    }

    /// The gate waits from the next commit on.
    pub(crate) fn want_signal(&mut self, key: AttemptKey) {
        let NodeKind::Gate(gate) = &self.engine.graph_node(key.node).kind else { return };
        let output_uri = || {
            let place = Place::of(&self.info, &self.engine, key.node);
            format!("{}/outputs.pb", place.output_prefix(&self.info, key.attempt))
        };
        let (signal, output) = match gate {
            GateKind::Signal { id, output, .. } => (id.clone(), Some((output.clone(), output_uri()))),
            GateKind::Approve { id } => (id.clone(), None),
            GateKind::Sleep { .. } => return,
        };
        let input_uri = self.engine.node(key.node).input_uri.to_string();
        self.gates.waiting.insert(key, Waiting { signal, output, input_uri });
        self.ready.insert(key);
    }

    /// Whether this attempt is a gate's; if so, its signal is looked at.
    pub(crate) fn start_gate(&mut self, key: AttemptKey) -> bool {
        let is_gate = self.gates.waiting.contains_key(&key);
        if is_gate {
            self.look_at_signals();
        }
        is_gate
    }

    /// A gate that is to end leaves nothing behind.
    pub(crate) fn abort_gate(&mut self, key: AttemptKey, now: Timestamp) {
        self.gates.forget(key);
        self.apply(Observation::Cleaned { node: key.node, attempt: key.attempt }, now);
    }

    /// Reads the signals, if any gate waits for one.
    pub(crate) fn look_at_signals(&mut self) {
        if self.gates.waiting.is_empty() {
            return;
        }
        if self.gates.looking {
            self.gates.again = true;
            return;
        }
        self.gates.looking = true;
        let waiting = self.gates.waiting.clone();
        let (shared, key) = (Arc::clone(&self.shared), self.info.key);
        self.work.spawn(async move {
            let looked = match shared.store.signal_load(key).await {
                Ok(rows) => decide_all(&shared, waiting, rows).await,
                Err(error) => Err(with_causes(&error)),
            };
            Done::Signals(looked)
        });
    }

    /// Another try to read the signals.
    pub(crate) fn retry_signals(&mut self) {
        self.gates.looking = false;
        self.look_at_signals();
    }

    /// Takes in what a look found.
    pub(crate) fn signals_looked(&mut self, looked: Looked, now: Timestamp) {
        let reports = match looked {
            Ok(reports) => reports,
            Err(error) => {
                tracing::warn!(execution = %self.info.id, error, "cannot read signals, trying again");
                let pause = backoff::pause(&self.shared.config.plugin_calls, 3);
                return self.alarm(clock::after(now, pause), Alarm::Signals);
            }
        };
        self.gates.looking = false;
        for (key, report) in reports {
            if self.gates.waiting.remove(&key).is_some() {
                self.apply(Observation::TaskReported { node: key.node, attempt: key.attempt, report }, now);
            }
        }
        if std::mem::take(&mut self.gates.again) {
            self.look_at_signals();
        }
    }
}

fn boolean() -> LiteralType {
    LiteralType {
        r#type: Some(literal_type::Type::Simple(SimpleType::Boolean.into())),
        ..LiteralType::default()
    }
}

/// Decides every gate whose signal has a value, and writes the outputs of those that give it on.
async fn decide_all(shared: &Shared, waiting: BTreeMap<AttemptKey, Waiting>, rows: Vec<SignalRow>) -> Looked {
    let values: HashMap<String, Vec<u8>> =
        rows.into_iter().filter(|row| !row.value.is_empty()).map(|row| (row.signal_id, row.value)).collect();
    let mut reports = Vec::new();
    for (key, gate) in waiting {
        let Some(bytes) = values.get(&*gate.signal) else { continue };
        let report = match Literal::decode(bytes.as_slice()) {
            Ok(value) => decide(shared, &gate, value).await?,
            Err(error) => failed("SignalUnreadable", format!("signal {}: {error}", gate.signal)),
        };
        reports.push((key, report));
    }
    Ok(reports)
}

async fn decide(shared: &Shared, gate: &Waiting, value: Literal) -> Result<Report, String> {
    let Some((var, uri)) = &gate.output else {
        return Ok(if is_true(&value) {
            Report::Succeeded { output_uri: gate.input_uri.clone(), deck_uri: String::new() }
        } else {
            failed("ReceivedRejectSignal", format!("received signal [{}] to reject", gate.signal))
        });
    };
    let outputs = LiteralMap { literals: [(var.to_string(), value)].into() };
    let bytes = Bytes::from(outputs.encode_to_vec());
    retried(shared, || shared.files.write(uri, bytes.clone())).await.map_err(|error| with_causes(&error))?;
    shared.files.remember_map(uri, outputs.into());
    Ok(Report::Succeeded { output_uri: uri.clone(), deck_uri: String::new() })
}

fn failed(code: &str, message: String) -> Report {
    let error: ExecutionError = execution_error(ErrorKind::User, code, message);
    Report::Failed { error, recoverable: false, cleanup: false }
}

fn is_true(value: &Literal) -> bool {
    let Some(literal::Value::Scalar(scalar)) = &value.value else { return false };
    let yes = Primitive { value: Some(primitive::Value::Boolean(true)) };
    matches!(&**scalar, Scalar { value: Some(scalar::Value::Primitive(primitive)) } if *primitive == yes)
}
