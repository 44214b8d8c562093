//! Says why something was found or not, field by field. Pure.

use std::fmt;

use model::Timestamp;
use serde::{Deserialize, Serialize};
use store::{CatalogArtifactRow, CatalogSource};

use crate::fields;
use crate::key::{KeyFields, TaskKey, version_parts};

/// Why a lookup found what it found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The reason.
    pub cause: Cause,
    /// The task's key against that of `entry`, field by field; empty when there is nothing to compare with.
    pub fields: Vec<FieldReport>,
    /// The entry that was found, or the nearest one.
    pub entry: Option<EntryReport>,
}

/// The reason of a hit or a miss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Cause {
    /// It is a hit.
    Found,
    /// No entry of this task was ever cached, or none is left.
    Nothing,
    /// There are entries of this task, but under other keys.
    Differs,
    /// The entry is older than allowed.
    TooOld {
        /// How old it may be, in microseconds.
        max_age_micros: i64,
    },
    /// The entry was evicted.
    Evicted {
        /// How long ago, in microseconds.
        ago_micros: i64,
    },
    /// The entry's outputs can't be read any more.
    Lost,
}

impl Cause {
    /// A word for metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Nothing => "nothing",
            Self::Differs => "differs",
            Self::TooOld { .. } => "too_old",
            Self::Evicted { .. } => "evicted",
            Self::Lost => "lost",
        }
    }
}

/// A field of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// The task's cache version.
    CacheVersion,
    /// Names and types of the inputs.
    InputInterface,
    /// Names and types of the outputs.
    OutputInterface,
    /// The value of an input.
    Input(String),
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CacheVersion => write!(f, "cache version"),
            Self::InputInterface => write!(f, "input interface"),
            Self::OutputInterface => write!(f, "output interface"),
            Self::Input(name) => write!(f, "input `{name}`"),
        }
    }
}

/// How a field of the task's key stands to that of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both are the same.
    Same,
    /// They differ.
    Differs,
    /// Only the task has it.
    New,
    /// Only the entry has it.
    Gone,
    /// The entry was made by an engine that does not say.
    Unknown,
}

/// A field of the task's key against that of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldReport {
    /// Which field.
    pub field: Field,
    /// How they stand.
    pub verdict: Verdict,
    /// The task's: a version, or the beginning of a hash; empty when it has none.
    pub task: String,
    /// The entry's.
    pub entry: String,
}

/// An entry, as people are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryReport {
    /// Id of the artifact.
    pub artifact_id: String,
    /// Project of the execution that made it; empty where an engine outside did not say.
    pub project: String,
    /// Its domain.
    pub domain: String,
    /// Its name.
    pub execution: String,
    /// The node that made it.
    pub node: String,
    /// The attempt that made it.
    pub attempt: u32,
    /// Version of the task that made it.
    pub task_version: String,
    /// How long ago it was made, in microseconds.
    pub age_micros: i64,
}

impl EntryReport {
    pub(crate) fn of(row: &CatalogArtifactRow, now: Timestamp) -> Self {
        let CatalogSource { execution, node_id, attempt } = &row.source;
        Self {
            artifact_id: row.artifact_id.clone(),
            project: execution.project.to_string(),
            domain: execution.domain.to_string(),
            execution: execution.name.to_string(),
            node: node_id.clone(),
            attempt: *attempt,
            task_version: row.task_version.clone(),
            age_micros: now.since(row.updated_at),
        }
    }
}

impl fmt::Display for EntryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { project, domain, execution, node, attempt, .. } = self;
        if execution.is_empty() {
            write!(f, "artifact {}, made {} ago", self.artifact_id, span(self.age_micros))
        } else {
            let age = span(self.age_micros);
            write!(f, "{project}/{domain}/{execution}/{node} attempt {attempt}, made {age} ago")
        }
    }
}

impl Explanation {
    /// Whether it explains a hit.
    pub fn is_hit(&self) -> bool {
        self.cause == Cause::Found
    }

    /// Whether the task's outputs are to take the place of an entry that is there but may not be used.
    pub fn should_overwrite(&self) -> bool {
        matches!(self.cause, Cause::TooOld { .. } | Cause::Lost)
    }

    /// Explains what the entry under the task's own key has to do with it.
    pub(crate) fn of_entry(key: &TaskKey, cause: Cause, row: &CatalogArtifactRow, now: Timestamp) -> Self {
        let other = Other::new(row.clone());
        Self { cause, fields: compare(key, &other), entry: Some(EntryReport::of(row, now)) }
    }

    /// Explains a miss by the nearest of the entries of the same task: the one with the fewest differences, and the
    /// newest of those.
    pub(crate) fn of_miss(key: &TaskKey, others: &[Other], now: Timestamp) -> Self {
        let distance =
            |other: &&Other| (distance(&key.fields, other), std::cmp::Reverse(other.row.created_at));
        match others.iter().min_by_key(distance) {
            None => Self { cause: Cause::Nothing, fields: Vec::new(), entry: None },
            Some(other) => {
                let entry = Some(EntryReport::of(&other.row, now));
                Self { cause: Cause::Differs, fields: compare(key, other), entry }
            }
        }
    }
}

/// An entry to compare with.
#[derive(Clone, Debug)]
pub(crate) struct Other {
    pub(crate) row: CatalogArtifactRow,
    /// The fields of its key; those of an input are unknown where an engine outside made it.
    fields: KeyFields,
    knows_inputs: bool,
}

impl Other {
    pub(crate) fn new(row: CatalogArtifactRow) -> Self {
        let kept = fields::decode(&row.fields);
        let knows_inputs = kept.is_some();
        let fields = kept.unwrap_or_else(|| {
            version_parts(&row.dataset.version).map_or_else(KeyFields::default, |parts| KeyFields {
                cache_version: parts.cache_version.to_owned(),
                input_interface: parts.input_interface.to_owned(),
                output_interface: parts.output_interface.to_owned(),
                ..KeyFields::default()
            })
        });
        Self { row, fields, knows_inputs }
    }

    /// Whether its key has these fields.
    pub(crate) fn is_same(&self, fields: &KeyFields) -> bool {
        self.knows_inputs && distance(fields, self) == (0, 0)
    }
}

/// How many fields differ, and how many can't be compared.
fn distance(ours: &KeyFields, other: &Other) -> (usize, usize) {
    let theirs = &other.fields;
    let heads = [
        (&ours.cache_version, &theirs.cache_version),
        (&ours.input_interface, &theirs.input_interface),
        (&ours.output_interface, &theirs.output_interface),
    ];
    let heads = heads.iter().filter(|(ours, theirs)| ours != theirs).count();
    if !other.knows_inputs {
        return (heads, ours.inputs.len());
    }
    let lacks = |these: &KeyFields, those: &KeyFields| {
        these.inputs.iter().filter(|input| !those.inputs.contains(input)).count()
    };
    (heads + lacks(ours, theirs).max(lacks(theirs, ours)), 0)
}

/// Compares the task's key with that of an entry.
fn compare(key: &TaskKey, other: &Other) -> Vec<FieldReport> {
    let (ours, theirs) = (&key.fields, &other.fields);
    let mut out = vec![
        report(Field::CacheVersion, Some(&ours.cache_version), Some(&theirs.cache_version)),
        report(Field::InputInterface, Some(&ours.input_interface), Some(&theirs.input_interface)),
        report(Field::OutputInterface, Some(&ours.output_interface), Some(&theirs.output_interface)),
    ];
    for (name, hash) in &ours.inputs {
        let field = Field::Input(name.clone());
        if other.knows_inputs {
            let theirs = theirs.inputs.iter().find(|(other, _)| other == name).map(|(_, hash)| hash);
            out.push(report(field, Some(hash), theirs));
        } else {
            let (task, entry) = (hash.clone(), String::new());
            out.push(FieldReport { field, verdict: Verdict::Unknown, task, entry });
        }
    }
    for (name, hash) in &theirs.inputs {
        if !ours.inputs.iter().any(|(other, _)| other == name) {
            out.push(report(Field::Input(name.clone()), None, Some(hash)));
        }
    }
    out
}

fn report(field: Field, task: Option<&String>, entry: Option<&String>) -> FieldReport {
    let verdict = match (task, entry) {
        (Some(task), Some(entry)) if task == entry => Verdict::Same,
        (Some(_), Some(entry)) if entry.is_empty() => Verdict::Unknown,
        (Some(_), Some(_)) => Verdict::Differs,
        (Some(_), None) => Verdict::New,
        (None, _) => Verdict::Gone,
    };
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    FieldReport { field, verdict, task: text(task), entry: text(entry) }
}

impl fmt::Display for FieldReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, verdict, task, entry } = self;
        match (verdict, field) {
            (Verdict::Differs, Field::CacheVersion) => {
                write!(f, "cache version is `{task}` and not `{entry}`")
            }
            (Verdict::Differs, _) => write!(f, "{field} differs"),
            (Verdict::New, _) => write!(f, "{field} is new"),
            (Verdict::Gone, _) => write!(f, "{field} is gone"),
            (Verdict::Unknown, _) => write!(f, "{field} can't be compared"),
            (Verdict::Same, _) => write!(f, "{field} is the same"),
        }
    }
}

impl fmt::Display for Explanation {
    /// One line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = || self.entry.as_ref().map_or_else(|| "the entry".to_owned(), ToString::to_string);
        match &self.cause {
            Cause::Found => write!(f, "hit: outputs of {}", entry()),
            Cause::Nothing => write!(f, "miss: nothing is cached of this task yet"),
            Cause::Differs => {
                let differences: Vec<String> = self
                    .fields
                    .iter()
                    .filter(|it| it.verdict != Verdict::Same)
                    .map(ToString::to_string)
                    .collect();
                let differences =
                    if differences.is_empty() { "tag differs".to_owned() } else { differences.join(", ") };
                write!(f, "miss: {differences}; the nearest entry is of {}", entry())?;
                let same: Vec<String> = self
                    .fields
                    .iter()
                    .filter(|it| it.verdict == Verdict::Same)
                    .map(|it| it.field.to_string())
                    .collect();
                if same.is_empty() { Ok(()) } else { write!(f, "; the same: {}", same.join(", ")) }
            }
            Cause::TooOld { max_age_micros } => {
                let max = span(*max_age_micros);
                write!(f, "miss: the entry of {} is too old, {max} is allowed", entry())
            }
            Cause::Evicted { ago_micros } => {
                write!(f, "miss: the entry of {} was evicted {} ago", entry(), span(*ago_micros))
            }
            Cause::Lost => write!(f, "miss: the outputs of the entry of {} are gone", entry()),
        }
    }
}

/// A span of time in its largest unit.
pub(crate) fn span(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        0 => format!("{} ms", micros / 1_000),
        1..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
