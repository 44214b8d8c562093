//! Reads what all list requests share, limit, token, filters and order, and makes the next token. Pure.

use proto::flyteidl::admin::{Sort, sort::Direction};
use store::ListQuery;

use crate::{Error, filter};

/// Reads a list request that must have a limit.
///
/// # Errors
/// No limit, a token that is no offset, a broken filter, an unknown direction.
pub fn query(limit: u32, token: &str, filters: &str, sort: Option<&Sort>) -> Result<ListQuery, Error> {
    if limit == 0 {
        return Err(Error::invalid("limit", "must be greater than 0"));
    }
    query_without_limit(limit, token, filters, sort)
}

/// Reads a list request in which limit 0 means all.
///
/// # Errors
/// As [`query`], but for the limit.
pub fn query_without_limit(
    limit: u32,
    token: &str,
    filters: &str,
    sort: Option<&Sort>,
) -> Result<ListQuery, Error> {
    let offset = match token {
        "" => 0,
        token => token
            .parse::<u64>()
            .ok()
            .filter(|offset| i64::try_from(*offset).is_ok())
            .ok_or_else(|| Error::invalid("token", format!("`{}` is no offset", shown(token))))?,
    };
    let sort = sort.filter(|sort| !sort.key.is_empty()).map(order).transpose()?;
    Ok(ListQuery { filters: filter::parse(filters)?, sort, limit, offset })
}

fn order(sort: &Sort) -> Result<store::Sort, Error> {
    let direction = Direction::try_from(sort.direction)
        .map_err(|_| Error::invalid("sort_by.direction", format!("{} is no direction", sort.direction)))?;
    Ok(store::Sort { column: sort.key.clone(), ascending: direction == Direction::Ascending })
}

/// The token of the next page: empty once a page was not full.
pub fn next_token(query: &ListQuery, n_rows: usize) -> String {
    if query.limit > 0 && n_rows as u64 >= u64::from(query.limit) {
        (query.offset + n_rows as u64).to_string()
    } else {
        String::new()
    }
}

fn shown(token: &str) -> String {
    token.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_offsets() {
        for (token, offset) in [("", 0), ("0", 0), ("25", 25)] {
            assert_eq!(query(1, token, "", None).unwrap().offset, offset);
        }
        for token in ["-1", "x", "1.5", "99999999999999999999", "18446744073709551615"] {
            assert!(query(1, token, "", None).is_err(), "{token}");
        }
    }

    #[test]
    fn full_pages_have_a_next() {
        let query = query(2, "4", "", None).unwrap();
        assert_eq!(next_token(&query, 2), "6");
        assert_eq!(next_token(&query, 1), "");
        assert_eq!(next_token(&query, 0), "");
    }

    #[test]
    fn limit_zero_is_refused_unless_it_means_all() {
        assert!(query(0, "", "", None).is_err());
        assert_eq!(next_token(&query_without_limit(0, "", "", None).unwrap(), 7), "");
    }

    #[test]
    fn order_is_descending_unless_said() {
        let sort = |key: &str, direction| Sort { key: key.to_owned(), direction };
        let read = |sort: &Sort| query(1, "", "", Some(sort)).map(|query| query.sort);
        assert!(!read(&sort("name", 0)).unwrap().unwrap().ascending);
        assert!(read(&sort("name", 1)).unwrap().unwrap().ascending);
        assert_eq!(read(&sort("", 0)).unwrap(), None);
        assert!(read(&sort("name", 7)).is_err());
    }
}
