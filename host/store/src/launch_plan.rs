//! Stores launch plans and which version of each name is active.

use model::{EntityId, EntityKind, Timestamp};
use proto::flyteidl::admin;

use crate::dialect::Tx;
use crate::entity::vanished;
use crate::listing::{Column, Join, Listing, Order};
use crate::record::Record;
use crate::sql::Sql;
use crate::{
    Error, Inserted, LaunchPlanRow, ListQuery, NewSchedule, Result, Scope, Store, entity, named_entity,
    schedule,
};

/// The state of a version that new executions use.
const ACTIVE: i32 = admin::LaunchPlanState::Active as i32;

/// Columns of launch plans that clients may name.
pub(crate) const COLUMNS: &[Column] = &[
    Column::int("id", "@.id"),
    Column::time("created_at", "@.created_at"),
    Column::time("updated_at", "@.updated_at"),
    Column::text("project", "@.project"),
    Column::text("domain", "@.domain"),
    Column::text("name", "@.name"),
    Column::text("version", "@.version"),
    Column::hex("digest", "@.digest"),
    Column::enumeration("state", "@.state", |n| {
        admin::LaunchPlanState::try_from(n).ok().map(|state| state.as_str_name())
    }),
    Column::text("schedule_type", "@.schedule_type"),
    // Of Flyte's conditions a schedule is the only one here.
    Column::text(
        "launch_condition_type",
        "case when @.schedule_type in ('CRON', 'RATE') then 'SCHED' else 'NONE' end",
    ),
    Column::int(
        "workflow_id",
        "(select x.id from entity x where x.kind = 2 and x.project = @.workflow_project \
         and x.domain = @.workflow_domain and x.name = @.workflow_name and x.version = @.workflow_version)",
    )
    .nullable(),
];

const LISTING: Listing = Listing {
    names: &["launch_plan"],
    alias: "l",
    columns: COLUMNS,
    joins: &[Join {
        names: &["workflow"],
        own: &[
            Column::text("project", "@.workflow_project"),
            Column::text("domain", "@.workflow_domain"),
            Column::text("name", "@.workflow_name"),
            Column::text("version", "@.workflow_version"),
        ],
        link: "select 1 from entity j where j.kind = 2 and j.project = @.workflow_project \
               and j.domain = @.workflow_domain and j.name = @.workflow_name \
               and j.version = @.workflow_version",
        columns: entity::COLUMNS,
    }],
    order: Order { column: "@.created_at", ascending: false },
    tiebreak: "@.id",
};

const SELECT: &str = "select l.project, l.domain, l.name, l.version, l.workflow_project, l.workflow_domain, \
                      l.workflow_name, l.workflow_version, l.state, l.schedule_type, l.created_at, \
                      l.updated_at, l.digest, l.spec, l.closure from launch_plan l where ";

fn read(record: &Record) -> Result<LaunchPlanRow> {
    let mut c = record.cursor();
    Ok(LaunchPlanRow {
        id: c.entity_id(EntityKind::LaunchPlan)?,
        workflow: c.entity_id(EntityKind::Workflow)?,
        state: c.i32()?,
        schedule_type: c.text()?,
        created_at: c.time()?,
        updated_at: c.time()?,
        digest: c.blob()?,
        spec: c.blob()?,
        closure: c.blob()?,
    })
}

fn push_name(sql: &mut Sql, project: &str, domain: &str, name: &str) {
    sql.push("project = ").push_arg(project).push(" and domain = ").push_arg(domain);
    sql.push(" and name = ").push_arg(name);
}

fn by_id(id: &EntityId) -> Sql {
    let mut sql = Sql::new(SELECT);
    push_name(&mut sql, &id.project, &id.domain, &id.name);
    sql.push(" and version = ").push_arg(&id.version);
    sql
}

async fn insert(tx: &mut Tx, row: &LaunchPlanRow) -> Result<Inserted<LaunchPlanRow>> {
    let (id, workflow) = (&row.id, &row.workflow);
    // First of all, because on Postgres it locks the name against another activation.
    named_entity::register(tx, id).await?;
    let sql = Sql::new(
        "insert into launch_plan (project, domain, name, version, workflow_project, workflow_domain,
         workflow_name, workflow_version, state, schedule_type, created_at, updated_at, digest, spec, closure)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10, $11, $12, $13, $14)
         on conflict (project, domain, name, version) do nothing",
    )
    .bind(&id.project)
    .bind(&id.domain)
    .bind(&id.name)
    .bind(&id.version)
    .bind(&workflow.project)
    .bind(&workflow.domain)
    .bind(&workflow.name)
    .bind(&workflow.version)
    .bind(&row.schedule_type)
    .bind(row.created_at)
    .bind(row.updated_at)
    .bind(&row.digest)
    .bind(&row.spec)
    .bind(&row.closure);
    if tx.execute(sql).await? == 0 {
        let found = tx.fetch_optional(by_id(id)).await?;
        let found = read(&found.ok_or_else(|| vanished(id))?)?;
        let same = found.digest == row.digest;
        return Ok(if same { Inserted::Identical } else { Inserted::Different(Box::new(found)) });
    }
    if row.state != 0 {
        set_state(tx, id, row.state, None, row.updated_at).await?;
    }
    Ok(Inserted::New)
}

async fn set_state(
    tx: &mut Tx,
    id: &EntityId,
    state: i32,
    schedule: Option<&NewSchedule>,
    now: Timestamp,
) -> Result<()> {
    let mut lock = Sql::new("select 1 from named_entity where kind = 3 and ");
    push_name(&mut lock, &id.project, &id.domain, &id.name);
    lock.push(tx.dialect().for_update());
    tx.fetch(lock).await?;
    if state == ACTIVE {
        let mut others = Sql::new("update launch_plan set state = 0, updated_at = ");
        others.push_arg(now).push(" where state = 1 and ");
        push_name(&mut others, &id.project, &id.domain, &id.name);
        others.push(" and version <> ").push_arg(&id.version);
        tx.execute(others).await?;
    }
    let mut sql = Sql::new("update launch_plan set state = ");
    sql.push_arg(state).push(", updated_at = ").push_arg(now).push(" where ");
    push_name(&mut sql, &id.project, &id.domain, &id.name);
    sql.push(" and version = ").push_arg(&id.version);
    if tx.execute(sql).await? == 0 {
        return Err(vanished(id));
    }
    match state {
        ACTIVE => schedule::replace(tx, id, schedule, now).await,
        _ => schedule::remove_version(tx, id).await,
    }
}

impl Store {
    /// Registers a launch plan; see [`Store::entity_insert`]. A row that says active deactivates other versions.
    ///
    /// # Errors
    /// The database.
    pub async fn launch_plan_insert(&self, row: &LaunchPlanRow) -> Result<Inserted<LaunchPlanRow>> {
        let row = row.clone();
        self.write(move |tx| Box::pin(async move { insert(tx, &row).await })).await
    }

    /// Reads a launch plan.
    ///
    /// # Errors
    /// The database.
    pub async fn launch_plan_get(&self, id: &EntityId) -> Result<Option<LaunchPlanRow>> {
        self.fetch_optional(by_id(id)).await?.as_ref().map(read).transpose()
    }

    /// Lists launch plans, all versions or the active ones.
    ///
    /// # Errors
    /// An unknown filter or sort key, or the database.
    pub async fn launch_plan_list(
        &self,
        scope: &Scope,
        active_only: bool,
        query: &ListQuery,
    ) -> Result<Vec<LaunchPlanRow>> {
        let mut sql = Sql::new(SELECT);
        sql.push(if active_only { "l.state = 1" } else { "true" });
        scope.push(&mut sql, LISTING.alias);
        LISTING.push(&mut sql, self.dialect(), query)?;
        self.fetch(sql).await?.iter().map(read).collect()
    }

    /// The active version of a launch plan.
    ///
    /// # Errors
    /// The database.
    pub async fn launch_plan_fetch_active(
        &self,
        project: &str,
        domain: &str,
        name: &str,
    ) -> Result<Option<LaunchPlanRow>> {
        let mut sql = Sql::new(SELECT);
        sql.push("state = 1 and ");
        push_name(&mut sql, project, domain, name);
        self.fetch_optional(sql).await?.as_ref().map(read).transpose()
    }

    /// Makes a version the active one. In one step the version that was active before is so no longer, and its
    /// schedule gives way to the one given here.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database.
    pub async fn launch_plan_activate(
        &self,
        id: &EntityId,
        schedule: Option<&NewSchedule>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (id, schedule) = (id.clone(), schedule.cloned());
        self.write(move |tx| {
            Box::pin(async move { set_state(tx, &id, ACTIVE, schedule.as_ref(), now).await })
        })
        .await
    }

    /// Sets the state of a version. Activating one deactivates the version that was active before, in one step; one
    /// that is deactivated loses its schedule.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database.
    pub async fn launch_plan_set_state(
        &self,
        id: &EntityId,
        state: i32,
        now: Timestamp,
    ) -> Result<(), Error> {
        let id = id.clone();
        self.write(move |tx| Box::pin(async move { set_state(tx, &id, state, None, now).await })).await
    }
}
