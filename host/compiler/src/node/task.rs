//! Finds the interface of nodes that run a task.

use proto::flyteidl::core::{Node, TaskNode, task_node};

use super::{Interface, Scope};
use crate::error::{Error, ErrorCode};
use crate::library::Key;

pub(super) fn interface<'a>(
    scope: &Scope<'a, '_>,
    node: &Node,
    task: &TaskNode,
    errors: &mut Vec<Error>,
) -> Option<Interface<'a>> {
    let Some(task_node::Reference::ReferenceId(id)) = &task.reference else {
        errors.push(Error::required(&node.id, "TaskNode.Reference"));
        return None;
    };
    let Some(task) = scope.library.task(id) else {
        let text = format!("Referenced Task [{}] not found.", Key::of(id));
        errors.push(Error::new(ErrorCode::TaskReferenceNotFound, &node.id, text));
        return None;
    };
    let interface = task.template.as_ref().and_then(|template| template.interface.as_ref());
    if interface.is_none() {
        errors.push(Error::required(&node.id, "TaskNode.Interface"));
    }
    interface.map(Interface::of)
}
