//! Makes the project that a stock client works in without being told.

use model::Timestamp;
use store::{ProjectRow, Store};

/// Registers these projects unless they are there.
///
/// # Errors
/// The store.
pub async fn seed(store: &Store, projects: &[&str]) -> Result<(), store::Error> {
    for id in projects {
        let row = ProjectRow {
            id: (*id).to_owned(),
            name: (*id).to_owned(),
            description: String::new(),
            labels: Vec::new(),
            state: 0,
            created_at: Timestamp::now(),
        };
        match store.project_insert(&row).await {
            Ok(()) => tracing::info!(project = id, "project registered"),
            Err(store::Error::Exists { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
