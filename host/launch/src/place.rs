//! Checks that something may be registered or started in a project and domain.

use store::{ProjectRow, Store};

use crate::{Config, Error};

/// `admin.Project.ProjectState` of a project that takes new things.
const ACTIVE: i32 = 0;
/// `admin.Project.ProjectState` of a project the platform made for itself; it takes new things too.
const SYSTEM_GENERATED: i32 = 2;

/// The project, if it is active and the domain is known.
///
/// # Errors
/// An empty, unknown or archived project, an empty or unknown domain, or the store.
pub async fn check(config: &Config, store: &Store, project: &str, domain: &str) -> Result<ProjectRow, Error> {
    if project.is_empty() {
        return Err(Error::Missing("project"));
    }
    check_domain(config, domain)?;
    check_project(store, project).await
}

/// The project, if it is active.
///
/// # Errors
/// An empty, unknown or archived project, or the store.
pub async fn check_project(store: &Store, project: &str) -> Result<ProjectRow, Error> {
    if project.is_empty() {
        return Err(Error::Missing("project"));
    }
    let row = store
        .project_get(project)
        .await?
        .ok_or_else(|| Error::UnknownProject { project: project.to_owned() })?;
    if row.state != ACTIVE && row.state != SYSTEM_GENERATED {
        return Err(Error::InactiveProject { project: project.to_owned() });
    }
    Ok(row)
}

/// Whether the domain is one of this installation.
///
/// # Errors
/// An empty or unknown domain.
pub fn check_domain(config: &Config, domain: &str) -> Result<(), Error> {
    if domain.is_empty() {
        return Err(Error::Missing("domain"));
    }
    if config.domains.iter().any(|known| known == domain) {
        return Ok(());
    }
    Err(Error::UnknownDomain { domain: domain.to_owned(), known: config.domains.join(", ") })
}
