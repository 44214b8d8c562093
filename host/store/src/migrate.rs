//! Brings the schema of a database up to the version this program knows, and refuses a newer one.

use sqlx::{Executor as _, Row as _};

use crate::{Error, Result};

/// One step of the schema, written for each dialect.
pub(crate) struct Migration {
    pub(crate) version: i64,
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        sqlite: include_str!("../migrations/sqlite/0001_initial.sql"),
        postgres: include_str!("../migrations/postgres/0001_initial.sql"),
    },
    Migration {
        version: 2,
        sqlite: include_str!("../migrations/sqlite/0002_catalog.sql"),
        postgres: include_str!("../migrations/postgres/0002_catalog.sql"),
    },
    Migration {
        version: 4,
        sqlite: include_str!("../migrations/sqlite/0004_outbox.sql"),
        postgres: include_str!("../migrations/postgres/0004_outbox.sql"),
    },
    Migration {
        version: 3,
        sqlite: include_str!("../migrations/sqlite/0003_schedule.sql"),
        postgres: include_str!("../migrations/postgres/0003_schedule.sql"),
    },
    Migration {
        version: 5,
        sqlite: include_str!("../migrations/sqlite/0005_attribute.sql"),
        postgres: include_str!("../migrations/postgres/0005_attribute.sql"),
    },
    Migration {
        version: 6,
        sqlite: include_str!("../migrations/sqlite/0006_signal.sql"),
        postgres: include_str!("../migrations/postgres/0006_signal.sql"),
    },
    Migration {
        version: 7,
        sqlite: include_str!("../migrations/sqlite/0007_node_detail.sql"),
        postgres: include_str!("../migrations/postgres/0007_node_detail.sql"),
    },
    Migration {
        version: 8,
        sqlite: include_str!("../migrations/sqlite/0008_spec_rest.sql"),
        postgres: include_str!("../migrations/postgres/0008_spec_rest.sql"),
    },
];

const VERSION_TABLE: &str = "create table if not exists pinion_schema (version bigint not null primary key)";
const VERSIONS_GET: &str = "select version from pinion_schema";
const VERSION_INSERT: &str = "insert into pinion_schema (version) values ($1)";

/// Any number; it must only differ from locks that others take in the same database.
const POSTGRES_LOCK: &str = "select pg_advisory_xact_lock(5064734210)";

/// The steps that a database which has taken the steps `found` lacks.
fn missing(found: Vec<i64>) -> Result<impl Iterator<Item = &'static Migration>> {
    let known = MIGRATIONS.last().map_or(0, |last| last.version);
    match found.iter().max() {
        Some(&newest) if newest > known => Err(Error::NewerSchema { found: newest, known }),
        _ => Ok(MIGRATIONS.iter().filter(move |migration| !found.contains(&migration.version))),
    }
}

pub(crate) async fn sqlite(conn: &mut sqlx::SqliteConnection) -> Result<()> {
    use sqlx::Connection as _;
    let mut tx = conn.begin_with("begin immediate").await?;
    tx.execute(VERSION_TABLE).await?;
    let found =
        tx.fetch_all(VERSIONS_GET).await?.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    for migration in missing(found)? {
        tx.execute(sqlx::raw_sql(migration.sqlite)).await?;
        sqlx::query(VERSION_INSERT).bind(migration.version).execute(&mut *tx).await?;
        tracing::info!(version = migration.version, "schema migrated");
    }
    Ok(tx.commit().await?)
}

pub(crate) async fn postgres(conn: &mut sqlx::PgConnection) -> Result<()> {
    use sqlx::Connection as _;
    let mut tx = conn.begin().await?;
    tx.execute(POSTGRES_LOCK).await?;
    tx.execute(VERSION_TABLE).await?;
    let found =
        tx.fetch_all(VERSIONS_GET).await?.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    for migration in missing(found)? {
        tx.execute(sqlx::raw_sql(migration.postgres)).await?;
        sqlx::query(VERSION_INSERT).bind(migration.version).execute(&mut *tx).await?;
        tracing::info!(version = migration.version, "schema migrated");
    }
    Ok(tx.commit().await?)
}
