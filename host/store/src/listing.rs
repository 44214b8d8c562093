//! Compiles filters, sort keys and pages of list requests into SQL, from lists of allowed columns.
//!
//! Invariant: what a client writes is looked up in these lists or bound as a value; the SQL itself is constant.

use crate::dialect::Dialect;
use crate::query::{Filter, FilterFunction, ListQuery};
use crate::sql::{Arg, Sql};
use crate::value::{Kind, like_to_glob, members, selected};
use crate::{Error, Result};

/// Most filters in a request, and most values in a filter.
const MAX_FILTERS: usize = 50;
const MAX_VALUES: usize = 500;

/// A column that clients may name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    name: &'static str,
    /// Its SQL; `@` stands for the alias of the table.
    sql: &'static str,
    kind: Kind,
    nullable: bool,
}

impl Column {
    pub(crate) const fn text(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql, kind: Kind::Text, nullable: false }
    }

    pub(crate) const fn int(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql, kind: Kind::Int, nullable: false }
    }

    pub(crate) const fn time(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql, kind: Kind::Time, nullable: false }
    }

    pub(crate) const fn duration(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql, kind: Kind::Duration, nullable: true }
    }

    pub(crate) const fn hex(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql, kind: Kind::Hex, nullable: false }
    }

    pub(crate) const fn enumeration(
        name: &'static str,
        sql: &'static str,
        names: fn(i32) -> Option<&'static str>,
    ) -> Self {
        Self { name, sql, kind: Kind::Enumeration(names), nullable: false }
    }

    pub(crate) const fn nullable(self) -> Self {
        Self { nullable: true, ..self }
    }
}

/// An entity that filters of a list may name before the dot.
pub(crate) struct Join {
    pub(crate) names: &'static [&'static str],
    /// Columns that the listed row holds itself.
    pub(crate) own: &'static [Column],
    /// `select 1 from <table> j where <j belongs to the listed row>`; `@` stands for the listed row.
    pub(crate) link: &'static str,
    /// Columns of the joined row, whose alias is `j`.
    pub(crate) columns: &'static [Column],
}

impl Join {
    /// The column of the joined row that a filter names.
    fn column(&self, filter: &Filter) -> Result<&'static Column> {
        find(self.columns, filter).map_err(|_| {
            invalid(filter, allowed("field", self.own.iter().chain(self.columns).map(|c| c.name)))
        })
    }
}

/// Order of a list for which none was asked.
pub(crate) struct Order {
    pub(crate) column: &'static str,
    pub(crate) ascending: bool,
}

/// A kind of list request.
pub(crate) struct Listing {
    /// What the listed entity may be called before the dot.
    pub(crate) names: &'static [&'static str],
    pub(crate) alias: &'static str,
    pub(crate) columns: &'static [Column],
    pub(crate) joins: &'static [Join],
    pub(crate) order: Order,
    /// Unique column that parts rows with equal sort keys, so that pages neither repeat nor lose a row.
    pub(crate) tiebreak: &'static str,
}

impl Listing {
    /// Whether a filter is on this column of the listed entity.
    pub(crate) fn filters_on(&self, query: &ListQuery, column: &str) -> bool {
        query.filters.iter().any(|filter| self.is_own(filter) && filter.field == column)
    }

    pub(crate) fn is_own(&self, filter: &Filter) -> bool {
        filter.entity.as_deref().is_none_or(|entity| self.names.contains(&entity))
    }

    /// Appends conditions, order and page to a statement that ends within its `where` clause.
    pub(crate) fn push(&self, sql: &mut Sql, dialect: Dialect, query: &ListQuery) -> Result<()> {
        self.push_filters(sql, dialect, &query.filters)?;
        self.push_order(sql, dialect, query)?;
        self.push_page(sql, dialect, query);
        Ok(())
    }

    /// The numbers of an enumerated column that pass all of these filters.
    pub(crate) fn selected(&self, column: &'static str, filters: &[Filter]) -> Result<Vec<i32>> {
        let kind = self.columns.iter().find(|known| known.name == column).map(|known| known.kind);
        let Some(Kind::Enumeration(names)) = kind else { return Ok(Vec::new()) };
        let mut numbers = members(names);
        for filter in filters {
            check_values(filter)?;
            let passed = selected(names, filter).map_err(|reason| invalid(filter, reason))?;
            numbers.retain(|number| passed.contains(number));
        }
        Ok(numbers)
    }

    /// Appends conditions on the row `j` of a joined entity that the statement joins itself.
    pub(crate) fn push_joined_row(
        &self,
        sql: &mut Sql,
        dialect: Dialect,
        entity: &[&str],
        filters: &[Filter],
    ) -> Result<()> {
        for filter in filters {
            let join = self.joins.iter().find(|join| join.names == entity);
            let join = join.ok_or_else(|| invalid(filter, self.known_entities()))?;
            let (column, alias) = match join.own.iter().find(|column| column.name == filter.field) {
                Some(column) => (column, self.alias),
                None => (join.column(filter)?, "j"),
            };
            sql.push(" and ");
            Condition { sql, dialect, column, alias }.push(filter)?;
        }
        Ok(())
    }

    pub(crate) fn push_filters(&self, sql: &mut Sql, dialect: Dialect, filters: &[Filter]) -> Result<()> {
        if let Some(filter) = filters.get(MAX_FILTERS) {
            return Err(invalid(filter, format!("more than {MAX_FILTERS} filters")));
        }
        for filter in filters.iter().filter(|filter| self.is_own(filter)) {
            let column = find(self.columns, filter)?;
            sql.push(" and ");
            Condition { sql, dialect, column, alias: self.alias }.push(filter)?;
        }
        // All filters on one joined entity speak of the same joined row.
        for filter in filters.iter().filter(|filter| !self.is_own(filter)) {
            if self.join_of(filter).is_none() {
                return Err(invalid(filter, self.known_entities()));
            }
        }
        for join in self.joins {
            let here: Vec<&Filter> = filters
                .iter()
                .filter(|filter| !self.is_own(filter))
                .filter(|filter| self.join_of(filter).is_some_and(|found| std::ptr::eq(found, join)))
                .collect();
            self.push_joined(sql, dialect, join, &here)?;
        }
        Ok(())
    }

    fn push_joined(&self, sql: &mut Sql, dialect: Dialect, join: &Join, filters: &[&Filter]) -> Result<()> {
        let (own, joined): (Vec<&Filter>, Vec<&Filter>) =
            filters.iter().partition(|filter| join.own.iter().any(|column| column.name == filter.field));
        for filter in own {
            sql.push(" and ");
            let column = find(join.own, filter)?;
            Condition { sql, dialect, column, alias: self.alias }.push(filter)?;
        }
        if joined.is_empty() {
            return Ok(());
        }
        sql.push(" and exists (").push_aliased(join.link, self.alias);
        for filter in joined {
            let column = join.column(filter)?;
            sql.push(" and ");
            Condition { sql, dialect, column, alias: "j" }.push(filter)?;
        }
        sql.push(")");
        Ok(())
    }

    fn join_of(&self, filter: &Filter) -> Option<&'static Join> {
        let entity = filter.entity.as_deref()?;
        self.joins.iter().find(|join| join.names.contains(&entity))
    }

    fn known_entities(&self) -> String {
        let joined = self.joins.iter().flat_map(|join| join.names);
        allowed("entity", self.names.iter().chain(joined).copied())
    }

    /// Appends the order alone.
    pub(crate) fn push_order(&self, sql: &mut Sql, dialect: Dialect, query: &ListQuery) -> Result<()> {
        let (column, ascending, nullable) = match &query.sort {
            None => (self.order.column, self.order.ascending, false),
            Some(sort) => {
                let column = self.columns.iter().find(|column| column.name == sort.column);
                let column = column.ok_or_else(|| Error::InvalidSort {
                    column: sort.column.clone(),
                    reason: allowed("key", self.columns.iter().map(|column| column.name)),
                })?;
                (column.sql, sort.ascending, column.nullable)
            }
        };
        let direction = if ascending { "" } else { " desc" };
        sql.push(" order by ").push_aliased(column, self.alias).push(direction);
        // Nulls come first, as in SQLite; not said where there are none, because then no index would fit.
        if nullable && dialect == Dialect::Postgres {
            sql.push(if ascending { " nulls first" } else { " nulls last" });
        }
        if column != self.tiebreak {
            sql.push(", ").push_aliased(self.tiebreak, self.alias).push(direction);
        }
        Ok(())
    }

    /// Appends the page.
    pub(crate) fn push_page(&self, sql: &mut Sql, dialect: Dialect, query: &ListQuery) {
        if query.limit > 0 {
            sql.push(" limit ").push_arg(query.limit);
        } else if query.offset > 0 && dialect == Dialect::Sqlite {
            sql.push(" limit -1");
        }
        if query.offset > 0 {
            sql.push(" offset ").push_arg(i64::try_from(query.offset).unwrap_or(i64::MAX));
        }
    }
}

fn find(columns: &'static [Column], filter: &Filter) -> Result<&'static Column> {
    columns
        .iter()
        .find(|column| column.name == filter.field)
        .ok_or_else(|| invalid(filter, allowed("field", columns.iter().map(|column| column.name))))
}

fn allowed(what: &str, names: impl Iterator<Item = &'static str>) -> String {
    format!("unknown {what}; allowed are {}", names.collect::<Vec<_>>().join(", "))
}

fn invalid(filter: &Filter, reason: String) -> Error {
    let field = match &filter.entity {
        Some(entity) => format!("{entity}.{}", filter.field),
        None => filter.field.clone(),
    };
    Error::InvalidFilter { field, reason }
}

fn check_values(filter: &Filter) -> Result<()> {
    let n_values = filter.values.len();
    let several = matches!(filter.function, FilterFunction::ValueIn | FilterFunction::ValueNotIn);
    let most = if several { MAX_VALUES } else { 1 };
    if n_values == 0 || n_values > most {
        return Err(invalid(filter, format!("{n_values} values; 1 to {most} are allowed")));
    }
    Ok(())
}

/// Writes one condition.
struct Condition<'a> {
    sql: &'a mut Sql,
    dialect: Dialect,
    column: &'static Column,
    alias: &'static str,
}

impl Condition<'_> {
    fn push(self, filter: &Filter) -> Result<()> {
        check_values(filter)?;
        self.push_checked(filter).map_err(|reason| invalid(filter, reason))
    }

    fn push_checked(self, filter: &Filter) -> Result<(), String> {
        let value = &filter.values[0];
        match (self.column.kind, filter.function) {
            (Kind::Text, FilterFunction::Contains) => {
                let find = match self.dialect {
                    Dialect::Sqlite => "instr(",
                    Dialect::Postgres => "strpos(",
                };
                let Self { sql, column, alias, .. } = self;
                sql.push(find).push_aliased(column.sql, alias).push(", ").push_arg(value).push(") > 0");
                Ok(())
            }
            (Kind::Text, FilterFunction::NotLike) => {
                let glob = like_to_glob(value)?;
                let Self { sql, dialect, column, alias } = self;
                sql.push_aliased(column.sql, alias);
                match dialect {
                    Dialect::Sqlite => sql.push(" not glob ").push_arg(glob),
                    Dialect::Postgres => sql.push(" not like ").push_arg(value),
                };
                Ok(())
            }
            (Kind::Enumeration(names), _) => {
                let numbers = selected(names, filter)?;
                self.push_in(" in (", numbers.into_iter().map(Arg::from).collect());
                Ok(())
            }
            (kind, function) => {
                let args: Result<Vec<Arg>, String> = filter.values.iter().map(|v| kind.parse(v)).collect();
                let operator = match function {
                    FilterFunction::ValueIn => " in (",
                    FilterFunction::ValueNotIn => " not in (",
                    FilterFunction::Eq => " = ",
                    FilterFunction::Ne => " <> ",
                    FilterFunction::Gt => " > ",
                    FilterFunction::Gte => " >= ",
                    FilterFunction::Lt => " < ",
                    FilterFunction::Lte => " <= ",
                    FilterFunction::Contains | FilterFunction::NotLike => {
                        return Err(format!("`{}` needs a column of text", function.name()));
                    }
                };
                if operator.ends_with('(') {
                    self.push_in(operator, args?);
                } else {
                    let Self { sql, column, alias, .. } = self;
                    sql.push_aliased(column.sql, alias).push(operator);
                    args?.into_iter().for_each(|arg| {
                        sql.push_arg(arg);
                    });
                }
                Ok(())
            }
        }
    }

    fn push_in(self, operator: &'static str, args: Vec<Arg>) {
        let Self { sql, column, alias, .. } = self;
        if args.is_empty() {
            sql.push("false");
            return;
        }
        // One value leaves an index its order.
        let operator = if args.len() == 1 && operator == " in (" { " = (" } else { operator };
        sql.push_aliased(column.sql, alias).push(operator);
        for (n, arg) in args.into_iter().enumerate() {
            sql.push(if n > 0 { ", " } else { "" }).push_arg(arg);
        }
        sql.push(")");
    }
}
