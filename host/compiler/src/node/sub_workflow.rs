//! Finds the interface of nodes that run a workflow inside the workflow.

use proto::flyteidl::core::{Identifier, Node};

use super::{Interface, Scope};
use crate::error::{Error, ErrorCode};
use crate::library::Key;

pub(super) fn interface<'a>(
    scope: &Scope<'a, '_>,
    node: &Node,
    id: &Identifier,
    errors: &mut Vec<Error>,
) -> Option<Interface<'a>> {
    let interface = scope.library.workflow(id);
    if interface.is_none() {
        let text = format!("Referenced Workflow [{}] not found.", Key::of(id));
        errors.push(Error::new(ErrorCode::WorkflowReferenceNotFound, &node.id, text));
    }
    interface.map(Interface::of)
}
