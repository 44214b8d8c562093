//! `pinion watch`: follows an execution as a live tree of its nodes.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use proto::flyteidl::admin::{
    Execution, ExecutionClosure, NodeExecution, NodeExecutionListRequest, ObjectGetRequest, Sort,
    WorkflowExecutionGetRequest, sort,
};
use proto::flyteidl::core::Identifier;
use proto::flyteidl::service::admin_service_client::AdminServiceClient;
use tonic::transport::Channel;

use crate::client::{Target, explain};
use crate::phase::{self, Word};

const INTERVAL: Duration = Duration::from_millis(200);
const PAGE: u32 = 1000;

/// Follows an execution until it ends. The answer says whether it succeeded.
pub(crate) async fn run(target: &Target, name: &str) -> Result<bool> {
    let mut client = target.connect().await?;
    let mut view = View::default();
    loop {
        let execution = get(&mut client, target, name).await?;
        let nodes = list(&mut client, target, name).await?;
        let closure = execution.closure.clone().unwrap_or_default();
        let is_done = phase::is_terminal(closure.phase());
        if view.names.is_none() {
            view.names = Some(node_names(&mut client, closure.workflow_id.clone()).await);
        }
        view.show(name, &execution, &closure, &nodes, is_done)?;
        if is_done {
            if let Some(error) = error_of(&closure) {
                println!("\n{}", error.trim_end());
            }
            use proto::flyteidl::core::workflow_execution::Phase;
            return Ok(closure.phase() == Phase::Succeeded);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn get(client: &mut AdminServiceClient<Channel>, target: &Target, name: &str) -> Result<Execution> {
    let request = WorkflowExecutionGetRequest { id: Some(target.execution(name)) };
    Ok(client.get_execution(request).await.map_err(|status| explain(&status))?.into_inner())
}

/// What people call the nodes of a workflow: the last part of the task's name. Empty when the workflow can't be read.
async fn node_names(
    client: &mut AdminServiceClient<Channel>,
    workflow: Option<Identifier>,
) -> BTreeMap<String, String> {
    let request = ObjectGetRequest { id: workflow };
    let Ok(answer) = client.get_workflow(request).await else { return BTreeMap::new() };
    let closure = answer.into_inner().closure.and_then(|closure| closure.compiled_workflow);
    let template = closure.and_then(|closure| closure.primary).and_then(|primary| primary.template);
    let nodes = template.map(|template| template.nodes).unwrap_or_default();
    nodes
        .into_iter()
        .map(|node| {
            let name = node.metadata.map(|metadata| metadata.name).unwrap_or_default();
            (node.id, name.rsplit('.').next().unwrap_or_default().to_owned())
        })
        .collect()
}

/// All top-level nodes of an execution, oldest first.
pub(crate) async fn list(
    client: &mut AdminServiceClient<Channel>,
    target: &Target,
    name: &str,
) -> Result<Vec<NodeExecution>> {
    let mut nodes = Vec::new();
    let mut token = String::new();
    loop {
        let request = NodeExecutionListRequest {
            workflow_execution_id: Some(target.execution(name)),
            limit: PAGE,
            token,
            sort_by: Some(Sort { key: "created_at".into(), direction: sort::Direction::Ascending.into() }),
            ..Default::default()
        };
        let page =
            client.list_node_executions(request).await.map_err(|status| explain(&status))?.into_inner();
        nodes.extend(page.node_executions);
        token = page.token;
        if token.is_empty() {
            return Ok(nodes);
        }
    }
}

fn error_of(closure: &ExecutionClosure) -> Option<String> {
    use proto::flyteidl::admin::execution_closure::OutputResult;
    match closure.output_result.as_ref()? {
        OutputResult::Error(error) => Some(format!("{}: {}", error.code, error.message)),
        OutputResult::AbortMetadata(abort) => Some(format!("aborted: {}", abort.cause)),
        _ => None,
    }
}

/// What is on the screen.
#[derive(Default)]
struct View {
    lines: usize,
    /// Names of the nodes, once read.
    names: Option<BTreeMap<String, String>>,
    /// Last printed phase of each node, for output that is not a terminal.
    printed: BTreeMap<String, String>,
}

impl View {
    fn show(
        &mut self,
        name: &str,
        execution: &Execution,
        closure: &ExecutionClosure,
        nodes: &[NodeExecution],
        is_done: bool,
    ) -> Result<()> {
        let tree = tree(name, execution, closure, nodes, self.names.as_ref());
        if phase::on_terminal() {
            let mut out = std::io::stdout().lock();
            if self.lines > 0 {
                write!(out, "\x1b[{}A\x1b[J", self.lines)?;
            }
            self.lines = tree.lines().count();
            write!(out, "{tree}")?;
            out.flush()?;
            return Ok(());
        }
        if is_done {
            print!("{tree}");
            return Ok(());
        }
        for node in nodes.iter().filter(|node| is_shown(node)) {
            let (id, word) = describe(node);
            if self.printed.get(&id) != Some(&word) {
                let name = self.names.as_ref().and_then(|names| names.get(&id)).map_or("", String::as_str);
                println!("{} {id:<10} {name:<24} {word}", phase::symbol(&word));
                self.printed.insert(id, word);
            }
        }
        Ok(())
    }
}

/// Start and end nodes are of no interest to people.
fn is_shown(node: &NodeExecution) -> bool {
    let id = node.id.as_ref().map(|id| id.node_id.as_str()).unwrap_or_default();
    !id.ends_with("start-node") && !id.ends_with("end-node")
}

fn describe(node: &NodeExecution) -> (String, String) {
    let id = node.id.as_ref().map(|id| id.node_id.clone()).unwrap_or_default();
    let word = node.closure.as_ref().map(|closure| closure.phase().word()).unwrap_or_default();
    (id, word)
}

fn tree(
    name: &str,
    execution: &Execution,
    closure: &ExecutionClosure,
    nodes: &[NodeExecution],
    names: Option<&BTreeMap<String, String>>,
) -> String {
    let word = closure.phase().word();
    let took = closure
        .duration
        .as_ref()
        .map_or_else(|| phase::between(closure.started_at.as_ref(), None), phase::duration);
    let workflow = closure.workflow_id.as_ref().map(|id| id.name.clone()).unwrap_or_default();
    let project = execution.id.as_ref().map(|id| format!("{}/{}", id.project, id.domain)).unwrap_or_default();
    let mut out =
        format!("{} {name}  {workflow}  {project}  {}  {took}\n", phase::symbol(&word), phase::paint(&word));
    let shown: Vec<&NodeExecution> = nodes.iter().filter(|node| is_shown(node)).collect();
    for (i, node) in shown.iter().enumerate() {
        let (id, word) = describe(node);
        let closure = node.closure.clone().unwrap_or_default();
        let name = names.and_then(|names| names.get(&id)).map_or("", String::as_str);
        let took = closure
            .duration
            .as_ref()
            .filter(|_| closure.started_at.is_some())
            .map_or_else(|| phase::between(closure.started_at.as_ref(), None), phase::duration);
        let branch = if i + 1 == shown.len() { "└─" } else { "├─" };
        out.push_str(&format!(
            "{branch} {} {id:<6} {name:<24} {:<10} {took}\n",
            phase::symbol(&word),
            phase::paint(&word)
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::flyteidl::admin::NodeExecutionClosure;
    use proto::flyteidl::core::{NodeExecutionIdentifier, node_execution};

    #[test]
    fn the_tree_hides_start_and_end_nodes() {
        let node = |id: &str| NodeExecution {
            id: Some(NodeExecutionIdentifier { node_id: id.into(), execution_id: None }),
            closure: Some(NodeExecutionClosure {
                phase: node_execution::Phase::Running.into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let text = tree(
            "ex",
            &Execution::default(),
            &ExecutionClosure::default(),
            &[node("start-node"), node("n0"), node("n1"), node("end-node")],
            None,
        );
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("├─ ● n0") && text.contains("└─ ● n1"), "{text}");
    }
}
