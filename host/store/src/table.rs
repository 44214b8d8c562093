//! Writes many rows of a table with few statements.

use std::collections::HashMap;
use std::hash::Hash;

use crate::dialect::Tx;
use crate::sql::{Arg, Sql, Type};
use crate::{Result, sql};

/// A table as it is written: columns in the order of the cells, those of its unique key first.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [(&'static str, Type)],
    /// How many columns make the unique key.
    pub(crate) n_key: usize,
    /// Columns that keep what the first write gave them. Those of an index belong here: SQLite rewrites the
    /// index entry of each column that a change names, even if its value stays.
    pub(crate) fixed: &'static [&'static str],
}

/// What to do with a row whose key is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnConflict {
    Keep,
    Replace,
}

impl Table {
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.columns.iter().map(|(name, _)| *name)
    }

    /// One statement that inserts these rows.
    pub(crate) fn insert(
        &self,
        dialect: crate::dialect::Dialect,
        rows: impl ExactSizeIterator<Item = Vec<Arg>>,
        conflict: OnConflict,
    ) -> Sql {
        let types: Vec<Type> = self.columns.iter().map(|(_, ty)| *ty).collect();
        let mut sql = Sql::new("insert into ");
        sql.push(self.name).push(" (").push_list("", self.names()).push(") ");
        dialect.push_rows(&mut sql, &types, rows);
        sql.push(" on conflict (").push_list("", self.names().take(self.n_key));
        match conflict {
            OnConflict::Keep => sql.push(") do nothing"),
            OnConflict::Replace => {
                sql.push(") do update set ");
                let changing = self.names().skip(self.n_key).filter(|name| !self.fixed.contains(name));
                for (n, name) in changing.enumerate() {
                    sql.push(if n > 0 { ", " } else { "" }).push(name).push(" = excluded.").push(name);
                }
                &mut sql
            }
        };
        sql
    }

    /// Writes rows in as few statements as the dialect allows. No two rows may have the same key.
    pub(crate) async fn write(
        &self,
        tx: &mut Tx,
        mut rows: Vec<Vec<Arg>>,
        conflict: OnConflict,
    ) -> Result<()> {
        let n_rows = rows.len() as u64;
        let mut rest = rows.drain(..);
        while rest.len() > 0 {
            let n = tx.dialect().chunk(rest.len());
            let chunk: Vec<Vec<Arg>> = rest.by_ref().take(n).collect();
            let sql: sql::Sql = self.insert(tx.dialect(), chunk.into_iter(), conflict);
            tx.defer(sql).await?;
        }
        metrics::counter!("pinion_store_rows_total", "table" => self.name).increment(n_rows);
        Ok(())
    }
}

/// The last of equal keys, in the order in which the keys first came.
pub(crate) fn last_of_each<'a, T, K: Hash + Eq>(items: &'a [T], key: impl Fn(&'a T) -> K) -> Vec<&'a T> {
    let mut at: HashMap<K, usize> = HashMap::with_capacity(items.len());
    let mut out: Vec<&T> = Vec::with_capacity(items.len());
    for item in items {
        match at.entry(key(item)) {
            std::collections::hash_map::Entry::Occupied(seen) => out[*seen.get()] = item,
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(out.len());
                out.push(item);
            }
        }
    }
    out
}
