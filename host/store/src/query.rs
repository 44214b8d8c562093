//! Says what a list request selects: filters, order, page.

use crate::{Error, Result};

/// What a list call selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// All must hold.
    pub filters: Vec<Filter>,
    /// Order; without it each list has its own.
    pub sort: Option<Sort>,
    /// How many at most; 0 is all.
    pub limit: u32,
    /// How many to skip.
    pub offset: u64,
}

impl ListQuery {
    /// Reads a page token: the number of items before the page; empty is none.
    ///
    /// # Errors
    /// [`Error::InvalidToken`] for anything else.
    pub fn offset_of(token: &str) -> Result<u64> {
        if token.is_empty() {
            return Ok(0);
        }
        let digits = token.bytes().all(|byte| byte.is_ascii_digit());
        let offset: Option<u64> = if digits { token.parse().ok() } else { None };
        // What a database can skip is an i64.
        offset
            .filter(|offset| i64::try_from(*offset).is_ok())
            .ok_or_else(|| Error::InvalidToken { token: token.to_owned() })
    }

    /// The token of the page behind this one, which had `n` items: empty when this page was not full.
    pub fn next_token(&self, n: usize) -> String {
        if self.limit == 0 || n < self.limit as usize {
            return String::new();
        }
        (self.offset + n as u64).to_string()
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The joined entity, the part before the dot; `None` is the listed entity itself.
    pub entity: Option<String>,
    /// Column name.
    pub field: String,
    /// How to compare.
    pub function: FilterFunction,
    /// What to compare with: one value, or several for [`FilterFunction::ValueIn`] and its opposite.
    pub values: Vec<String>,
}

/// How a filter compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterFunction {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// The column holds the value as a part.
    Contains,
    /// The column does not match the SQL `LIKE` pattern (`%` any text, `_` any character, `\` escapes).
    NotLike,
    /// Equal to one of the values.
    ValueIn,
    /// Equal to none of the values.
    ValueNotIn,
}

impl FilterFunction {
    /// Every function, in the order of the client API's list.
    pub const ALL: [Self; 10] = [
        Self::Eq,
        Self::Ne,
        Self::Gt,
        Self::Gte,
        Self::Lt,
        Self::Lte,
        Self::Contains,
        Self::NotLike,
        Self::ValueIn,
        Self::ValueNotIn,
    ];

    /// The name clients write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::Contains => "contains",
            Self::NotLike => "not_like",
            Self::ValueIn => "value_in",
            Self::ValueNotIn => "value_not_in",
        }
    }

    /// The function of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.name() == name)
    }
}

/// Order of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    /// Column name.
    pub column: String,
    /// Smallest first.
    pub ascending: bool,
}
