//! Tells where an artifact is from and who used it: across nodes, sub-workflows, executions and the cache.
//!
//! Nothing is recorded for this but who took what from the cache: the rest follows from bindings, and from the rows of
//! nodes and executions.

mod maker;
mod place;
mod target;
mod uses;

use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::error::Result;
use crate::evict::Entry;

pub(crate) use place::{NodeRef, Place, Walk};
pub use target::Target;

/// Deepest lineage: deeper JSON is refused by common readers.
const MAX_DEPTH: u32 = 20;
/// Most nodes of an answer.
const MAX_NODES: usize = 500;

/// Where an artifact is from and who used it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// What was asked for.
    pub of: Artifact,
    /// The node that made it, and from what.
    pub made_by: Maker,
    /// The nodes that used it.
    pub used_by: Vec<Use>,
    /// Whether something was left out because it is too much.
    pub cut: bool,
}

/// The output of a node, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// As Flyte's clients name it.
    pub uri: String,
    /// The output; `None` is all of them.
    pub output: Option<String>,
    /// Its value in short; empty when it can't be read.
    pub value: String,
    /// Entries of the cache that hold it.
    pub cached: Vec<Entry>,
}

/// A node that made something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    /// `project/domain/execution`.
    pub execution: String,
    /// Unique id of the node.
    pub node: String,
    /// The attempt that made it.
    pub attempt: u32,
    /// What the node runs: `task name@version`, `workflow name@version`, `branch`, ...; empty when it is not known.
    pub runs: String,
    /// The node's own name.
    pub name: String,
    /// When it was done, RFC 3339; empty when it was not.
    pub at: String,
    /// It did not compute: it took what this node had made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<Box<Taken>>,
    /// The nodes within it that made the output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<Source>,
    /// What it was made from.
    pub inputs: Vec<Input>,
    /// It stands elsewhere in the answer with its inputs, or they are too deep.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// Where a node took its outputs from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// How.
    pub how: How,
    /// Which node had made them.
    pub maker: Maker,
}

/// How a node came to outputs without computing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// From the cache.
    Cache,
    /// From the execution that was recovered.
    Recovery,
}

/// An input of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its value in short; empty when it can't be read.
    pub value: String,
    /// What it is made of.
    pub from: Vec<Source>,
}

/// What an input is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Source {
    /// An output of a node.
    Output {
        /// Which output.
        output: String,
        /// Of which node.
        maker: Maker,
    },
    /// An input of the execution.
    Given {
        /// Which input.
        input: String,
        /// `project/domain/execution`.
        execution: String,
        /// What the node that started the execution gave; empty when a client or a schedule did.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        from: Vec<Source>,
    },
    /// A constant of the workflow.
    Constant,
    /// It can't be told.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// A use of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// What for.
    pub kind: UseKind,
    /// `project/domain/execution`.
    pub execution: String,
    /// Unique id of the node.
    pub node: String,
    /// What the node runs.
    pub runs: String,
    /// The input it became; for an output of an execution, which one.
    pub input: String,
    /// The execution that was started with it, as `project/domain/execution`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub started: String,
    /// When, RFC 3339; empty when it did not begin.
    pub at: String,
    /// Who used what was made of it.
    pub then: Vec<Use>,
    /// It stands elsewhere in the answer with what follows, or that is too deep.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// What an artifact was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UseKind {
    /// An input of a node.
    Input,
    /// An input of an execution that a node started.
    LaunchPlan,
    /// A node took it from the cache.
    CacheHit,
    /// An output of the execution.
    Output,
}

impl Catalog {
    /// Where an artifact is from and who used it, `depth` steps both ways, 20 at most.
    ///
    /// # Errors
    /// No such node or artifact, the database or the object store.
    pub async fn lineage(&self, target: &Target, depth: u32) -> Result<Lineage> {
        let depth = depth.clamp(1, MAX_DEPTH);
        let mut walk = place::Walk::new(self, MAX_NODES);
        let output = target.output.as_deref();
        let found = walk.find(target).await?;
        let made_by = walk.maker(&found, output, depth).await?;
        walk.restart(MAX_NODES);
        let used_by = walk.uses(&found, output, depth).await?;
        let of = self.described(target, &found).await?;
        Ok(Lineage { of, made_by, used_by, cut: walk.is_cut() })
    }

    async fn described(&self, target: &Target, found: &place::NodeRef) -> Result<Artifact> {
        let rows = self.made_by(&found.execution, &found.node_id).await?;
        let execution = &found.execution;
        let base = format!(
            "flyte://v1/{}/{}/{}/{}",
            execution.project, execution.domain, execution.name, found.node_id
        );
        let attempt = target.attempt.map(|attempt| format!("/{attempt}")).unwrap_or_default();
        let tail = target.output.as_ref().map(|output| format!("/{output}")).unwrap_or_default();
        let value = match &target.output {
            Some(output) => self.output_value(found, output).await,
            None => String::new(),
        };
        Ok(Artifact {
            uri: format!("{base}{attempt}/o{tail}"),
            output: target.output.clone(),
            value,
            cached: self.entries(&rows).await?,
        })
    }
}
