//! Walks downstream: who used something.

use futures::future::BoxFuture;
use proto::flyteidl::admin::NodeExecutionClosure;
use proto::flyteidl::admin::node_execution_closure::TargetMetadata;
use proto::flyteidl::core::{Binding, Node, node, workflow_node};

use super::place::{NodeRef, Place, Site, Walk, arms, is_start, path, promises, runs};
use super::{Use, UseKind};
use crate::error::{Result, decode};
use crate::evict::shown;

/// Uses from the cache that are followed for one artifact.
const MAX_HITS: u32 = 100;

/// A node that a binding of the same workflow leads to.
struct Bound {
    node: NodeRef,
    input: String,
    runs: String,
    starts: bool,
}

impl Walk<'_> {
    /// The nodes that used an output, or any output, to a depth.
    pub(crate) fn uses<'s>(
        &'s mut self,
        id: &'s NodeRef,
        output: Option<&'s str>,
        depth: u32,
    ) -> BoxFuture<'s, Result<Vec<Use>>> {
        Box::pin(async move {
            let Some(place) = self.place(id).await? else { return Ok(Vec::new()) };
            if !self.enter(id, depth) {
                return Ok(Vec::new());
            }
            let mut out = Vec::new();
            self.input_uses(&place.site, &place.node.id, output, depth, &mut out).await?;
            self.output_uses(&place, output, depth, &mut out).await?;
            self.cache_uses(id, depth, &mut out).await?;
            Ok(out)
        })
    }

    /// The nodes of a workflow that have a promise of one of its nodes, or, of the start node, of its inputs.
    async fn input_uses(
        &mut self,
        site: &Site,
        of: &str,
        output: Option<&str>,
        depth: u32,
        out: &mut Vec<Use>,
    ) -> Result<()> {
        let mut found = Vec::new();
        for node in site.scope.template.nodes.iter().filter(|node| node.id != "end-node") {
            collect(node, &site.scope.unique_id(&node.id), &mut |node, unique| {
                for binding in node.inputs.iter().filter(|binding| leads_to(binding, of, output)) {
                    found.push(Bound {
                        node: NodeRef::new(&site.run.row.id, unique),
                        input: binding.var.clone(),
                        runs: runs(node),
                        starts: starts_execution(node),
                    });
                }
            });
        }
        for bound in found {
            out.extend(self.input_use(bound, depth).await?);
        }
        Ok(())
    }

    async fn input_use(&mut self, bound: Bound, depth: u32) -> Result<Option<Use>> {
        // A node that has no row was not reached: a branch that was not taken, or an execution that failed before.
        let Some(place) = self.place(&bound.node).await? else { return Ok(None) };
        if !self.has_run(&bound.node).await? {
            return Ok(None);
        }
        let mut found = Use {
            kind: if bound.starts { UseKind::LaunchPlan } else { UseKind::Input },
            execution: path(&bound.node.execution),
            node: bound.node.node_id.clone(),
            runs: bound.runs,
            input: bound.input.clone(),
            started: String::new(),
            at: place.row.started_at.map(shown).unwrap_or_default(),
            then: Vec::new(),
            cut: self.seen.contains(&bound.node) || depth <= 1,
        };
        if bound.starts {
            let closure: NodeExecutionClosure = decode(&place.row.extra, "closure", &place.row.node_id)?;
            if let Some(TargetMetadata::WorkflowNodeMetadata(child)) = closure.target_metadata
                && let Some(child) = child.execution_id
            {
                found.started = format!("{}/{}/{}", child.project, child.domain, child.name);
            }
        }
        if depth > 1
            && let Some(inner) = self.run_by(&place).await?
        {
            let then = &mut found.then;
            Box::pin(self.input_uses(&inner, "", Some(&bound.input), depth - 1, then)).await?;
        }
        if found.then.is_empty() {
            found.then = self.uses(&bound.node, None, depth - 1).await?;
        }
        Ok(Some(found))
    }

    /// Outputs of the workflow around a node: of the execution, or of the node that runs the workflow.
    async fn output_uses(
        &mut self,
        place: &Place,
        output: Option<&str>,
        depth: u32,
        out: &mut Vec<Use>,
    ) -> Result<()> {
        let execution = place.site.run.row.id.clone();
        // What a branch runs becomes the branch's output; what an array runs, the array's.
        let parent = NodeRef::new(&execution, &place.row.parent_id);
        if !place.row.parent_id.is_empty()
            && let Some(around) = self.place(&parent).await?
            && matches!(around.node.target, Some(node::Target::BranchNode(_) | node::Target::ArrayNode(_)))
        {
            out.extend(self.uses(&parent, output, depth).await?);
            return Ok(());
        }
        let outputs = place.site.scope.template.outputs.clone();
        for binding in outputs.iter().filter(|binding| leads_to(binding, &place.node.id, output)) {
            match &place.site.scope.parent {
                Some((parent, _)) => {
                    let parent = NodeRef::new(&execution, parent);
                    out.extend(self.uses(&parent, Some(&binding.var), depth).await?);
                }
                None => {
                    let then = self.uses_of_execution(place, &binding.var, depth).await?;
                    out.push(Use {
                        kind: UseKind::Output,
                        execution: path(&execution),
                        node: "end-node".to_owned(),
                        runs: String::new(),
                        input: binding.var.clone(),
                        started: String::new(),
                        at: String::new(),
                        then,
                        cut: false,
                    });
                }
            }
        }
        Ok(())
    }

    /// Who used an output of an execution: those who used the node that started it.
    async fn uses_of_execution(&mut self, place: &Place, output: &str, depth: u32) -> Result<Vec<Use>> {
        let Some((key, node)) = &place.site.run.row.parent_node else { return Ok(Vec::new()) };
        let Some(parent) = self.catalog.store.execution_get_by_key(*key).await? else { return Ok(Vec::new()) };
        self.uses(&NodeRef::new(&parent.id, node), Some(output), depth - 1).await
    }

    /// The nodes that took from the cache what this one had made.
    async fn cache_uses(&mut self, id: &NodeRef, depth: u32, out: &mut Vec<Use>) -> Result<()> {
        for artifact in self.catalog.made_by(&id.execution, &id.node_id).await? {
            for hit in self.catalog.store.catalog_uses_of(&artifact, MAX_HITS).await? {
                let node = NodeRef::new(&hit.execution, &hit.node_id);
                let runs = self.place(&node).await?.map(|place| runs(&place.node)).unwrap_or_default();
                let cut = self.seen.contains(&node) || depth <= 1;
                out.push(Use {
                    kind: UseKind::CacheHit,
                    execution: path(&hit.execution),
                    node: hit.node_id,
                    runs,
                    input: String::new(),
                    started: String::new(),
                    at: shown(hit.used_at),
                    then: self.uses(&node, None, depth - 1).await?,
                    cut,
                });
            }
        }
        Ok(())
    }
}

/// Visits a node and those within its branches, with their unique ids. A branch has one attempt.
fn collect(node: &Node, unique: &str, visit: &mut dyn FnMut(&Node, &str)) {
    visit(node, unique);
    if let Some(node::Target::BranchNode(branch)) = &node.target {
        for arm in arms(branch) {
            collect(arm, &model::name::child_node_id(unique, 0, &arm.id), visit);
        }
    }
}

fn leads_to(binding: &Binding, node: &str, output: Option<&str>) -> bool {
    let mut found = false;
    if let Some(data) = &binding.binding {
        promises(data, &mut |of, var| {
            let is_it = of == node || (is_start(of) && is_start(node));
            found |= is_it && output.is_none_or(|output| output == var);
        });
    }
    found
}

fn starts_execution(node: &Node) -> bool {
    let Some(node::Target::WorkflowNode(workflow)) = &node.target else { return false };
    matches!(workflow.reference, Some(workflow_node::Reference::LaunchplanRef(_)))
}
