//! Reads filter expressions of list requests: `eq(project,p)+value_in(phase,RUNNING;QUEUED)`. Pure.

use store::{Filter, FilterFunction};

use crate::Error;

/// Reads a whole filter string; empty is no filter.
///
/// # Errors
/// A text that is no expression, or an unknown function.
pub fn parse(text: &str) -> Result<Vec<Filter>, Error> {
    let mut rest = text.trim();
    let mut filters = Vec::new();
    while !rest.is_empty() {
        let (expression, tail) = split_first(rest).ok_or_else(|| no_expression(rest))?;
        filters.push(expression_of(expression)?);
        rest = tail;
    }
    Ok(filters)
}

fn no_expression(text: &str) -> Error {
    let shown: String = text.chars().take(100).collect();
    let reason = format!("`{shown}` is no expression of the form function(field,value)");
    Error::invalid("filters", reason)
}

/// Splits behind the first `)` that ends the text or stands before a separator and the next function. A
/// separator is `+`, or the space that some HTTP clients make of it.
fn split_first(text: &str) -> Option<(&str, &str)> {
    for (at, _) in text.match_indices(')') {
        let (expression, tail) = text.split_at(at + 1);
        let tail = tail.trim_end();
        if tail.is_empty() {
            return Some((expression, tail));
        }
        if let Some(next) = tail.strip_prefix(['+', ' ']).map(|next| next.trim_start_matches(['+', ' ']))
            && starts_with_function(next)
        {
            return Some((expression, next));
        }
    }
    None
}

fn starts_with_function(text: &str) -> bool {
    text.split_once('(').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_')
    })
}

fn expression_of(text: &str) -> Result<Filter, Error> {
    let broken = || no_expression(text);
    let (function, arguments) = text.split_once('(').ok_or_else(broken)?;
    let arguments = arguments.strip_suffix(')').ok_or_else(broken)?;
    let (field, value) = arguments.split_once(',').ok_or_else(broken)?;
    let (field, value) = (field.trim(), value.trim());
    if field.is_empty() || value.is_empty() {
        return Err(broken());
    }
    let function = function_of(function.trim())?;
    let values = match function {
        FilterFunction::ValueIn | FilterFunction::ValueNotIn => {
            value.split(';').map(|value| value.trim().to_owned()).collect()
        }
        _ => vec![value.to_owned()],
    };
    let (entity, field) = match field.split_once('.') {
        Some((entity, field)) => (Some(entity.to_owned()), field),
        None => (None, field),
    };
    Ok(Filter { entity, field: field.to_owned(), function, values })
}

fn function_of(name: &str) -> Result<FilterFunction, Error> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "eq" => FilterFunction::Eq,
        "ne" => FilterFunction::Ne,
        "gt" => FilterFunction::Gt,
        "gte" => FilterFunction::Gte,
        "lt" => FilterFunction::Lt,
        "lte" => FilterFunction::Lte,
        "contains" => FilterFunction::Contains,
        "not_like" => FilterFunction::NotLike,
        "value_in" => FilterFunction::ValueIn,
        "value_not_in" => FilterFunction::ValueNotIn,
        _ => {
            let known = "eq, ne, gt, gte, lt, lte, contains, not_like, value_in, value_not_in";
            return Err(Error::invalid("filters", format!("unknown function `{name}`; there are {known}")));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(entity: Option<&str>, field: &str, function: FilterFunction, values: &[&str]) -> Filter {
        Filter {
            entity: entity.map(str::to_owned),
            field: field.to_owned(),
            function,
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        }
    }

    #[test]
    fn expressions_read_as_clients_write_them() {
        use FilterFunction as F;
        let cases: [(&str, Vec<Filter>); 9] = [
            ("", vec![]),
            ("eq(version,v1)", vec![filter(None, "version", F::Eq, &["v1"])]),
            (
                "eq(project, flytesnacks)+ne(name, a)",
                vec![filter(None, "project", F::Eq, &["flytesnacks"]), filter(None, "name", F::Ne, &["a"])],
            ),
            (
                "value_in(execution_tag.key,eager-exec)+value_in(phase,UNDEFINED;QUEUED;RUNNING)",
                vec![
                    filter(Some("execution_tag"), "key", F::ValueIn, &["eager-exec"]),
                    filter(None, "phase", F::ValueIn, &["UNDEFINED", "QUEUED", "RUNNING"]),
                ],
            ),
            (
                "gte(started_at,2024-01-01T00:00:00+00:00)",
                vec![filter(None, "started_at", F::Gte, &["2024-01-01T00:00:00+00:00"])],
            ),
            ("contains(name,f(x))", vec![filter(None, "name", F::Contains, &["f(x)"])]),
            (
                "eq(state,0) contains(name,a b)",
                vec![filter(None, "state", F::Eq, &["0"]), filter(None, "name", F::Contains, &["a b"])],
            ),
            ("eq(name,a,b)", vec![filter(None, "name", F::Eq, &["a,b"])]),
            ("EQ(name,x)", vec![filter(None, "name", F::Eq, &["x"])]),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn broken_expressions_are_refused() {
        for text in
            ["eq", "eq(", "eq(a)", "eq(a,)", "eq(,b)", "eq(a,b", "like(a,b)", "eq(a,b)+", "eq(a,b)x", "(a,b)"]
        {
            assert!(matches!(parse(text), Err(Error::Invalid { .. })), "{text}");
        }
    }
}
