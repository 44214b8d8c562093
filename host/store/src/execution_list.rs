//! Lists executions: there may be a million, so the shape of a statement is chosen by its filters.
//!
//! A page in order of creation is read from an index that holds its rows side by side. An index has one such
//! stretch for each phase (and each launch plan, task or workflow with it), so a list over several phases is
//! merged from a stretch of each. A list by tag starts from the tag's own index.

use proto::flyteidl::{admin, core};

use crate::dialect::Dialect;
use crate::execution::{READ, read};
use crate::listing::{Column, Join, Listing, Order};
use crate::query::Filter;
use crate::sql::Sql;
use crate::{ExecutionRow, FilterFunction, ListQuery, Result, Store, entity, launch_plan};

/// What a tag may be called before the dot.
const TAGS: &[&str] = &["execution_tag", "admin_tag"];

fn phase_name(number: i32) -> Option<&'static str> {
    core::workflow_execution::Phase::try_from(number).ok().map(|phase| phase.as_str_name())
}

/// Columns of executions that clients may name.
pub(crate) const COLUMNS: &[Column] = &[
    Column::text("execution_project", "@.project"),
    Column::text("execution_domain", "@.domain"),
    Column::text("execution_name", "@.name"),
    Column::text("project", "@.project"),
    Column::text("domain", "@.domain"),
    Column::text("name", "@.name"),
    Column::enumeration("phase", "@.phase", phase_name),
    Column::time("created_at", "@.created_at"),
    Column::time("execution_created_at", "@.created_at"),
    Column::time("updated_at", "@.updated_at"),
    Column::time("execution_updated_at", "@.updated_at"),
    Column::time("started_at", "@.started_at").nullable(),
    Column::duration("duration", "@.duration"),
    Column::text("abort_cause", "@.abort_cause"),
    Column::int("mode", "@.mode"),
    Column::text("cluster", "@.cluster"),
    Column::text("error_kind", "@.error_kind"),
    Column::text("error_code", "@.error_code"),
    Column::text("user", "@.principal"),
    Column::enumeration("state", "@.state", |n| {
        admin::ExecutionState::try_from(n).ok().map(|state| state.as_str_name())
    }),
    Column::text("launch_entity", "case when @.task_name is null then 'launch_plan' else 'task' end"),
    Column::int(
        "launch_plan_id",
        "(select x.id from launch_plan x where x.project = @.launch_plan_project \
         and x.domain = @.launch_plan_domain and x.name = @.launch_plan_name \
         and x.version = @.launch_plan_version)",
    )
    .nullable(),
    Column::int(
        "workflow_id",
        "(select x.id from entity x where x.kind = 2 and x.project = @.workflow_project \
         and x.domain = @.workflow_domain and x.name = @.workflow_name and x.version = @.workflow_version)",
    )
    .nullable(),
    Column::int(
        "task_id",
        "(select x.id from entity x where x.kind = 1 and x.project = @.task_project \
         and x.domain = @.task_domain and x.name = @.task_name and x.version = @.task_version)",
    )
    .nullable(),
    Column::int(
        "source_execution_id",
        "(select x.id from execution x where x.project = @.source_project \
         and x.domain = @.source_domain and x.name = @.source_name)",
    )
    .nullable(),
    Column::int("parent_node_execution_id", "@.parent_id").nullable(),
];

const JOINS: &[Join] = &[
    Join {
        names: &["launch_plan"],
        own: &[
            Column::text("project", "@.launch_plan_project"),
            Column::text("domain", "@.launch_plan_domain"),
            Column::text("name", "@.launch_plan_name"),
            Column::text("version", "@.launch_plan_version"),
        ],
        link: "select 1 from launch_plan j where j.project = @.launch_plan_project \
               and j.domain = @.launch_plan_domain and j.name = @.launch_plan_name \
               and j.version = @.launch_plan_version",
        columns: launch_plan::COLUMNS,
    },
    Join {
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
    },
    Join {
        names: &["task"],
        own: &[
            Column::text("project", "@.task_project"),
            Column::text("domain", "@.task_domain"),
            Column::text("name", "@.task_name"),
            Column::text("version", "@.task_version"),
        ],
        link: "select 1 from entity j where j.kind = 1 and j.project = @.task_project \
               and j.domain = @.task_domain and j.name = @.task_name and j.version = @.task_version",
        columns: entity::COLUMNS,
    },
    Join {
        names: TAGS,
        own: &[
            Column::text("execution_project", "@.project"),
            Column::text("execution_domain", "@.domain"),
            Column::text("execution_name", "@.name"),
        ],
        link: "select 1 from execution_tag j where j.execution_id = @.id",
        columns: &[
            Column::text("key", "@.key"),
            Column::text("name", "@.key"),
            Column::text("value", "@.value"),
        ],
    },
];

const LISTING: Listing = Listing {
    names: &["execution"],
    alias: "e",
    columns: COLUMNS,
    joins: JOINS,
    order: Order { column: "@.created_at", ascending: false },
    tiebreak: "@.id",
};

/// Whether a filter selects one value of a column.
fn is_one(filter: &Filter, entities: &[&str], fields: &[&str]) -> bool {
    filter.entity.as_deref().is_some_and(|entity| entities.contains(&entity))
        && fields.contains(&filter.field.as_str())
        && matches!(filter.function, FilterFunction::Eq | FilterFunction::ValueIn)
        && filter.values.len() == 1
}

/// A list request of a project and domain.
struct Request<'a> {
    project: &'a str,
    domain: &'a str,
    query: &'a ListQuery,
    dialect: Dialect,
}

impl Request<'_> {
    /// Chooses the statement.
    fn compile(&self) -> Result<Sql> {
        let by_creation = self
            .query
            .sort
            .as_ref()
            .is_none_or(|sort| matches!(sort.column.as_str(), "created_at" | "execution_created_at"));
        let in_scope = !self.project.is_empty() && !self.domain.is_empty();
        if !by_creation || !in_scope || self.query.limit == 0 {
            return self.plain();
        }
        if self.query.filters.iter().any(|filter| is_one(filter, TAGS, &["key", "name"])) {
            return self.by_tag();
        }
        let on_phase =
            self.query.filters.iter().any(|filter| LISTING.is_own(filter) && filter.field == "phase");
        let on_entity = self
            .query
            .filters
            .iter()
            .any(|filter| is_one(filter, &["launch_plan", "workflow", "task"], &["name"]));
        if on_phase || on_entity { self.by_phases() } else { self.plain() }
    }

    /// Appends what holds for every row of the list but the filters.
    fn push_scope(&self, sql: &mut Sql) {
        sql.push(if LISTING.filters_on(self.query, "state") { "true" } else { "e.state = 0" });
        for (column, value) in [(" and e.project = ", self.project), (" and e.domain = ", self.domain)] {
            if !value.is_empty() {
                sql.push(column).push_arg(value);
            }
        }
    }

    /// The page first, and then its rows: what is skipped or searched is looked at in an index alone.
    fn plain(&self) -> Result<Sql> {
        let mut sql = Sql::new("select ");
        sql.push_list("e.", READ.iter().copied()).push(" from (select e.id from execution e where ");
        self.push_scope(&mut sql);
        LISTING.push(&mut sql, self.dialect, self.query)?;
        sql.push(") page join execution e on e.id = page.id");
        LISTING.push_order(&mut sql, self.dialect, self.query)?;
        Ok(sql)
    }

    /// One key, and so at most one row for each execution. The joined row is `j`, as in the filters.
    fn by_tag(&self) -> Result<Sql> {
        let (tags, others): (Vec<Filter>, Vec<Filter>) = self
            .query
            .filters
            .iter()
            .cloned()
            .partition(|filter| filter.entity.as_deref().is_some_and(|entity| TAGS.contains(&entity)));
        let mut sql = Sql::new("select ");
        sql.push_list("e.", READ.iter().copied());
        // SQLite keeps to the order of a cross join.
        sql.push(" from execution_tag j cross join execution e where j.execution_id = e.id and ");
        self.push_scope(&mut sql);
        sql.push(" and j.project = ").push_arg(self.project);
        sql.push(" and j.domain = ").push_arg(self.domain);
        LISTING.push_joined_row(&mut sql, self.dialect, TAGS, &tags)?;
        LISTING.push_filters(&mut sql, self.dialect, &others)?;
        sql.push(if self.ascending() {
            " order by j.created_at, j.execution_id"
        } else {
            " order by j.created_at desc, j.execution_id desc"
        });
        LISTING.push_page(&mut sql, self.dialect, self.query);
        Ok(sql)
    }

    /// A page of each phase that passes the filters, and of all of them the page that is asked for.
    fn by_phases(&self) -> Result<Sql> {
        let (on_phase, others): (Vec<Filter>, Vec<Filter>) = self
            .query
            .filters
            .iter()
            .cloned()
            .partition(|filter| LISTING.is_own(filter) && filter.field == "phase");
        let phases = LISTING.selected("phase", &on_phase)?;
        let upto = ListQuery {
            filters: others,
            sort: self.query.sort.clone(),
            limit: u32::try_from(self.query.offset.saturating_add(self.query.limit.into()))
                .unwrap_or(u32::MAX),
            offset: 0,
        };
        let mut sql = Sql::new("select ");
        sql.push_list("e.", READ.iter().copied()).push(" from (");
        let mut repeated = None;
        for phase in phases {
            sql.push(if repeated.is_some() { " union all " } else { "" });
            sql.push("select * from (select e.id from execution e where e.phase = ").push_arg(phase);
            match &repeated {
                Some(range) => {
                    sql.push_again(std::ops::Range::clone(range));
                }
                None => {
                    let start = sql.len();
                    sql.push(" and ");
                    self.push_scope(&mut sql);
                    LISTING.push(&mut sql, self.dialect, &upto)?;
                    sql.push(") stretch");
                    repeated = Some(start..sql.len());
                }
            }
        }
        if repeated.is_none() {
            // Filters that contradict each other; what else they say is checked all the same.
            LISTING.push_filters(&mut sql, self.dialect, &upto.filters)?;
            sql = Sql::new("select ");
            sql.push_list("e.", READ.iter().copied()).push(" from execution e where false");
            return Ok(sql);
        }
        sql.push(") page join execution e on e.id = page.id");
        LISTING.push_order(&mut sql, self.dialect, self.query)?;
        LISTING.push_page(&mut sql, self.dialect, self.query);
        Ok(sql)
    }

    fn ascending(&self) -> bool {
        self.query.sort.as_ref().is_some_and(|sort| sort.ascending)
    }
}

impl Store {
    /// Lists executions of a project and domain; empty texts cover all. Archived executions are left out unless a
    /// filter is on `state`.
    ///
    /// # Errors
    /// An unknown filter or sort key, or the database.
    pub async fn execution_list(
        &self,
        project: &str,
        domain: &str,
        query: &ListQuery,
    ) -> Result<Vec<ExecutionRow>> {
        let sql = Request { project, domain, query, dialect: self.dialect() }.compile()?;
        self.fetch(sql).await?.iter().map(read).collect()
    }
}
