//! Stores what is registered once and for all, and tells a repeat from a change.

use model::{
    EntityId, digest,
    raw::{self, Type},
};
use proto::flyteidl::admin::DescriptionEntity;
use store::{EntityRow, Inserted};

use crate::{Error, context::Context, diff, error::Result};

/// Field numbers of what clients register.
pub(super) mod number {
    /// `spec` of every request that registers something.
    pub(in super::super) const SPEC: u32 = 2;
    pub(in super::super) mod task_spec {
        pub(in super::super::super) const TEMPLATE: u32 = 1;
        pub(in super::super::super) const DESCRIPTION: u32 = 2;
    }
    pub(in super::super) mod workflow_spec {
        pub(in super::super::super) const TEMPLATE: u32 = 1;
        pub(in super::super::super) const SUB_WORKFLOWS: u32 = 2;
        pub(in super::super::super) const DESCRIPTION: u32 = 3;
    }
}

/// The description that came with a registration.
pub(super) struct Description {
    found: Option<DescriptionEntity>,
    arrived: Vec<u8>,
}

impl Description {
    /// `spec` is the encoded spec that has it in field `number`.
    pub(super) fn new(id: &EntityId, found: Option<DescriptionEntity>, spec: &[u8], number: u32) -> Self {
        let with_id = |found: DescriptionEntity| DescriptionEntity { id: Some(id.to_proto()), ..found };
        let found = found.filter(|found| *found != DescriptionEntity::default()).map(with_id);
        Self { found, arrived: raw::field(spec, number).into_owned() }
    }

    pub(super) fn short(&self) -> String {
        self.found.as_ref().map(|found| found.short_description.clone()).unwrap_or_default()
    }

    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        let ty = Type::named("flyteidl.admin.DescriptionEntity");
        self.found.as_ref().map(|found| ty.keep(&self.arrived, found))
    }
}

/// The fields of a spec that this host does not know. They are part of what is registered: a registration that differs
/// in them is another.
pub(super) struct Rest {
    spec_type: &'static str,
    fields: Vec<u8>,
}

impl Rest {
    pub(super) fn of(spec_type: &'static str, spec: &[u8]) -> Self {
        // What is left when everything known is taken away.
        Self { spec_type, fields: Type::named(spec_type).graft(spec, spec, &[]) }
    }
}

/// The digest of what is stored: neither the order of maps nor unset against default changes it, but fields that this
/// host does not know do. `canonical` is the same content as this host encodes it.
pub(super) fn digest(content_type: &str, content: &[u8], canonical: &[u8]) -> Vec<u8> {
    digest::with_unknown(canonical, &Type::named(content_type).unknown(content)).to_vec()
}

/// Stores a task or workflow.
///
/// # Errors
/// [`Error::Registered`] for a repeat, [`Error::Changed`] for other content under the same version.
pub(super) async fn insert(
    cx: &Context,
    mut row: EntityRow,
    description: Option<Vec<u8>>,
    rest: &Rest,
    closure_type: &str,
) -> Result<()> {
    let Rest { spec_type, fields } = rest;
    if !fields.is_empty() {
        row.digest = digest::of_bytes(&[row.digest.as_slice(), fields].concat()).to_vec();
    }
    match cx.store.entity_insert_with(&row, description.as_deref(), fields).await? {
        Inserted::New => Ok(()),
        Inserted::Identical => Err(Error::Registered(row.id)),
        Inserted::Different(old) => {
            let mut changes = diff::messages(closure_type, &old.closure, &row.closure);
            if changes.is_empty() {
                let old_fields = cx.store.entity_spec_rest(&row.id).await?;
                changes = diff::messages(spec_type, &old_fields, fields);
            }
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
