//! Stores what is registered once and for all, and tells a repeat from a change.

use model::EntityId;
use prost::Message;
use proto::flyteidl::admin::DescriptionEntity;
use store::{EntityRow, Inserted};

use crate::{Error, context::Context, diff, error::Result};

/// The description that came with a registration.
pub(super) struct Description(Option<DescriptionEntity>);

impl Description {
    pub(super) fn new(id: &EntityId, description: Option<DescriptionEntity>) -> Self {
        let with_id = |found: DescriptionEntity| DescriptionEntity { id: Some(id.to_proto()), ..found };
        Self(description.filter(|found| *found != DescriptionEntity::default()).map(with_id))
    }

    pub(super) fn short(&self) -> String {
        self.0.as_ref().map(|found| found.short_description.clone()).unwrap_or_default()
    }

    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        self.0.as_ref().map(Message::encode_to_vec)
    }
}

/// Stores a task or workflow.
///
/// # Errors
/// [`Error::Registered`] for a repeat, [`Error::Changed`] for other content under the same version.
pub(super) async fn insert(
    cx: &Context,
    row: EntityRow,
    description: Option<Vec<u8>>,
    closure_type: &str,
) -> Result<()> {
    match cx.store.entity_insert(&row, description.as_deref()).await? {
        Inserted::New => Ok(()),
        Inserted::Identical => Err(Error::Registered(row.id)),
        Inserted::Different(old) => {
            let changes = diff::messages(closure_type, &old.closure, &row.closure);
            Err(refuse(row.id, changes))
        }
    }
}

/// Bytes that differ may still say the same: unset against empty.
pub(super) fn refuse(id: EntityId, changes: diff::Changes) -> Error {
    if changes.is_empty() {
        return Error::Registered(id);
    }
    Error::Changed { id: Box::new(id), changes: changes.shown, more: changes.more }
}
