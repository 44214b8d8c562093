//! Encodes a compiled workflow with the bytes it was compiled of, so that nothing of them is lost.
//!
//! What compiling did not change is taken over byte for byte: tasks, interfaces, most nodes. A node it did change (the
//! start node named, a branch's id put before the ids inside) is written anew and keeps the fields that this host does
//! not know. Only the start and end node are the compiler's own.

use std::{borrow::Cow, collections::HashMap};

use model::raw::{self, Type};
use prost::Message;
use proto::flyteidl::core::{
    CompiledTask, CompiledWorkflow, CompiledWorkflowClosure, Identifier, WorkflowTemplate,
};

/// Field numbers of the messages that are put together here.
mod number {
    pub(super) mod closure {
        pub(in super::super) const PRIMARY: u32 = 1;
        pub(in super::super) const SUB_WORKFLOWS: u32 = 2;
        pub(in super::super) const TASKS: u32 = 3;
        pub(in super::super) const LAUNCH_PLANS: u32 = 4;
    }
    pub(super) mod workflow {
        pub(in super::super) const TEMPLATE: u32 = 1;
        pub(in super::super) const CONNECTIONS: u32 = 2;
    }
    pub(super) mod template {
        pub(in super::super) const ID: u32 = 1;
        pub(in super::super) const NODES: u32 = 4;
        pub(in super::super) const OUTPUTS: u32 = 5;
    }
    pub(super) mod dynamic {
        pub(in super::super) const NODES: u32 = 1;
        pub(in super::super) const OUTPUTS: u32 = 3;
        pub(in super::super) const TASKS: u32 = 4;
        pub(in super::super) const SUB_WORKFLOWS: u32 = 5;
    }
    /// `core.CompiledTask.template`.
    pub(super) const TASK_TEMPLATE: u32 = 1;
}

/// What a workflow was compiled of, encoded. What is left out is encoded from the compiled form.
#[derive(Clone, Debug, Default)]
pub struct Arrived<'a> {
    /// `core.WorkflowTemplate`.
    pub template: Cow<'a, [u8]>,
    /// `core.WorkflowTemplate` each.
    pub sub_workflows: Vec<Cow<'a, [u8]>>,
    /// `core.CompiledTask` each, in any order.
    pub tasks: Vec<Cow<'a, [u8]>>,
}

impl<'a> Arrived<'a> {
    /// The parts of an encoded `core.DynamicJobSpec`.
    pub fn of_dynamic(spec: &'a [u8]) -> Self {
        let mut template = Vec::new();
        for (from, to) in [
            (number::dynamic::NODES, number::template::NODES),
            (number::dynamic::OUTPUTS, number::template::OUTPUTS),
        ] {
            raw::fields(spec, from).for_each(|body| raw::put(to, body, &mut template));
        }
        let task = |body: &[u8]| {
            let mut out = Vec::with_capacity(body.len() + 8);
            raw::put(number::TASK_TEMPLATE, body, &mut out);
            Cow::Owned(out)
        };
        Self {
            template: template.into(),
            sub_workflows: raw::fields(spec, number::dynamic::SUB_WORKFLOWS).map(Cow::Borrowed).collect(),
            tasks: raw::fields(spec, number::dynamic::TASKS).map(task).collect(),
        }
    }
}

/// Encodes a compiled workflow; see the module.
pub fn encode_compiled(compiled: &CompiledWorkflowClosure, arrived: &Arrived<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(compiled.encoded_len());
    if let Some(primary) = &compiled.primary {
        raw::put(number::closure::PRIMARY, &workflow(primary, Some(&arrived.template)), &mut out);
    }
    let id_of = |template: &[u8]| id(&raw::field(template, number::template::ID));
    let by_id = by_id(&arrived.sub_workflows, id_of);
    for sub in &compiled.sub_workflows {
        let source = sub.template.as_ref().and_then(|template| by_id.get(&key(template.id.as_ref()?)));
        raw::put(number::closure::SUB_WORKFLOWS, &workflow(sub, source.copied()), &mut out);
    }
    tasks(&compiled.tasks, &arrived.tasks, &mut out);
    for plan in &compiled.launch_plans {
        raw::put(number::closure::LAUNCH_PLANS, &plan.encode_to_vec(), &mut out);
    }
    out
}

fn tasks(tasks: &[CompiledTask], arrived: &[Cow<'_, [u8]>], out: &mut Vec<u8>) {
    let ty = Type::named("flyteidl.core.CompiledTask");
    let id_of = |task: &[u8]| id(&raw::field(&raw::field(task, number::TASK_TEMPLATE), number::template::ID));
    let by_id = by_id(arrived, id_of);
    for task in tasks {
        let source = task.template.as_ref().and_then(|template| by_id.get(&key(template.id.as_ref()?)));
        let body = match source {
            Some(source) => ty.keep(source, task),
            None => task.encode_to_vec(),
        };
        raw::put(number::closure::TASKS, &body, out);
    }
}

fn workflow(compiled: &CompiledWorkflow, arrived: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(compiled.encoded_len());
    if let Some(found) = &compiled.template {
        let body = match arrived {
            Some(arrived) if !arrived.is_empty() => template(found, arrived),
            _ => found.encode_to_vec(),
        };
        raw::put(number::workflow::TEMPLATE, &body, &mut out);
    }
    if let Some(connections) = &compiled.connections {
        raw::put(number::workflow::CONNECTIONS, &connections.encode_to_vec(), &mut out);
    }
    out
}

/// Compiling put start and end node before all others; with the same two before what arrived, nodes meet their likes.
fn template(compiled: &WorkflowTemplate, arrived: &[u8]) -> Vec<u8> {
    let after = compiled.encode_to_vec();
    let Ok(read) = WorkflowTemplate::decode(arrived) else { return after };
    let n_added = compiled.nodes.len().saturating_sub(read.nodes.len());
    let mut added = Vec::new();
    for node in compiled.nodes.iter().take(n_added) {
        raw::put(number::template::NODES, &node.encode_to_vec(), &mut added);
    }
    let before = [added.as_slice(), &read.encode_to_vec()].concat();
    let arrived = [added.as_slice(), arrived].concat();
    Type::named("flyteidl.core.WorkflowTemplate").graft(&arrived, &before, &after)
}

type Key = [String; 4];

fn key(id: &Identifier) -> Key {
    [id.project.clone(), id.domain.clone(), id.name.clone(), id.version.clone()]
}

fn id(bytes: &[u8]) -> Option<Key> {
    Identifier::decode(bytes).ok().as_ref().map(key)
}

/// Of several with one id the first.
fn by_id<'a>(arrived: &'a [Cow<'_, [u8]>], id_of: impl Fn(&[u8]) -> Option<Key>) -> HashMap<Key, &'a [u8]> {
    let mut found = HashMap::with_capacity(arrived.len());
    for bytes in arrived {
        if let Some(key) = id_of(bytes) {
            found.entry(key).or_insert(&**bytes);
        }
    }
    found
}
