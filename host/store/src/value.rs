//! Turns the values of filters, which are text, into what their columns hold.

use std::str::FromStr as _;

use crate::query::{Filter, FilterFunction};
use crate::sql::Arg;

/// What a column holds, and so how a filter value is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    Int,
    /// RFC 3339 in a filter, microseconds in the database.
    Time,
    /// Seconds or a Go duration in a filter, microseconds in the database.
    Duration,
    /// Hexadecimal in a filter, a blob in the database.
    Hex,
    /// Name or number in a filter, a number in the database. The function names a number.
    Enumeration(fn(i32) -> Option<&'static str>),
}

/// Numbers above this are not looked at; no enum of the protocol is as long.
const MAX_ENUM: i32 = 64;

impl Kind {
    /// Reads one value.
    pub(crate) fn parse(self, value: &str) -> Result<Arg, String> {
        match self {
            Self::Text => Ok(Arg::from(value)),
            Self::Int => {
                let parsed: Result<i64, _> = value.trim().parse();
                parsed.map(Arg::from).map_err(|_| format!("`{value}` is not an integer"))
            }
            Self::Time => parse_time(value),
            Self::Duration => parse_duration(value),
            Self::Hex => {
                let parsed = hex::decode(value.trim()).map_err(|_| format!("`{value}` is not hexadecimal"));
                parsed.map(|bytes| Arg::from(bytes.as_slice()))
            }
            Self::Enumeration(name) => parse_enum(name, value).map(Arg::from),
        }
    }
}

fn parse_time(value: &str) -> Result<Arg, String> {
    let parsed = jiff::Timestamp::from_str(value.trim());
    parsed
        .map(|time| Arg::from(time.as_microsecond()))
        .map_err(|_| format!("`{value}` is not an RFC 3339 time such as `2024-05-01T12:00:00.5Z`"))
}

fn parse_duration(value: &str) -> Result<Arg, String> {
    let text = value.trim();
    let go = if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && !text.is_empty() {
        config::Duration::from_str(&format!("{text}s"))
    } else {
        config::Duration::from_str(text)
    };
    let micros = go.ok().and_then(|span| i64::try_from(span.as_micros()).ok());
    micros
        .map(Arg::from)
        .ok_or_else(|| format!("`{value}` is neither seconds nor a duration such as `1h30m` or `500ms`"))
}

fn named(name: fn(i32) -> Option<&'static str>) -> impl Iterator<Item = (i32, &'static str)> {
    (0..MAX_ENUM).filter_map(move |number| name(number).map(|name| (number, name)))
}

/// All numbers of an enum.
pub(crate) fn members(name: fn(i32) -> Option<&'static str>) -> Vec<i32> {
    named(name).map(|(number, _)| number).collect()
}

fn parse_enum(name: fn(i32) -> Option<&'static str>, value: &str) -> Result<i32, String> {
    let text = value.trim();
    let found = match text.parse::<i32>() {
        Ok(number) => name(number).map(|_| number),
        Err(_) => named(name).find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(number, _)| number),
    };
    found.ok_or_else(|| {
        let all: Vec<&str> = named(name).map(|(_, name)| name).collect();
        format!("`{value}` is none of {}", all.join(", "))
    })
}

/// The numbers of an enum that pass a filter. Flyte stores these enums by their names, so patterns and orders
/// go by the name where the value is one.
pub(crate) fn selected(name: fn(i32) -> Option<&'static str>, filter: &Filter) -> Result<Vec<i32>, String> {
    let value = filter.values.first().map(String::as_str).unwrap_or_default();
    let bound: Option<i32> = value.trim().parse().ok();
    let (mut glob, mut numbers) = (String::new(), Vec::new());
    match filter.function {
        FilterFunction::NotLike => glob = like_to_glob(value)?,
        FilterFunction::Eq | FilterFunction::Ne | FilterFunction::ValueIn | FilterFunction::ValueNotIn => {
            numbers = filter.values.iter().map(|value| parse_enum(name, value)).collect::<Result<_, _>>()?;
        }
        _ => {}
    }
    let keep = |number: i32, name: &str| {
        let order = bound.map_or_else(|| name.cmp(value), |bound| number.cmp(&bound));
        match filter.function {
            FilterFunction::Eq | FilterFunction::ValueIn => numbers.contains(&number),
            FilterFunction::Ne | FilterFunction::ValueNotIn => !numbers.contains(&number),
            FilterFunction::Gt => order.is_gt(),
            FilterFunction::Gte => order.is_ge(),
            FilterFunction::Lt => order.is_lt(),
            FilterFunction::Lte => order.is_le(),
            FilterFunction::Contains => name.contains(value),
            FilterFunction::NotLike => !glob_matches(&glob, name),
        }
    };
    Ok(named(name).filter(|(number, name)| keep(*number, name)).map(|(number, _)| number).collect())
}

/// The `GLOB` pattern of a `LIKE` pattern: SQLite's `LIKE` does not tell capitals from small letters.
pub(crate) fn like_to_glob(like: &str) -> Result<String, String> {
    let mut out = String::with_capacity(like.len() + 8);
    let mut chars = like.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => out.push('*'),
            '_' => out.push('?'),
            '\\' => {
                let escaped = chars.next().ok_or("the pattern ends with its escape character `\\`")?;
                push_literal(&mut out, escaped);
            }
            c => push_literal(&mut out, c),
        }
    }
    Ok(out)
}

fn push_literal(glob: &mut String, c: char) {
    if matches!(c, '*' | '?' | '[') {
        glob.extend(['[', c, ']']);
    } else {
        glob.push(c);
    }
}

/// Matches what [`like_to_glob`] makes, for the short names of enums.
fn glob_matches(glob: &str, text: &str) -> bool {
    let Some(c) = glob.chars().next() else { return text.is_empty() };
    let rest = &glob[c.len_utf8()..];
    match c {
        '*' => text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .any(|at| glob_matches(rest, &text[at..])),
        '?' => text.chars().next().is_some_and(|first| glob_matches(rest, &text[first.len_utf8()..])),
        '[' => {
            let mut inner = rest.chars();
            let (Some(literal), Some(_)) = (inner.next(), inner.next()) else { return false };
            text.strip_prefix(literal).is_some_and(|text| glob_matches(inner.as_str(), text))
        }
        c => text.strip_prefix(c).is_some_and(|text| glob_matches(rest, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(n: i32) -> Option<&'static str> {
        ["UNDEFINED", "QUEUED", "RUNNING", "SUCCEEDED"].get(usize::try_from(n).ok()?).copied()
    }

    fn int(kind: Kind, value: &str) -> Option<i64> {
        match kind.parse(value) {
            Ok(Arg::Int(value)) => value,
            _ => None,
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(int(Kind::Time, "1970-01-01T00:00:01.5Z"), Some(1_500_000));
        assert_eq!(int(Kind::Time, "1970-01-01T01:00:00.000001999+01:00"), Some(1));
        for bad in ["", "yesterday", "1970-01-01", "1700000000", "1970-01-01T00:00:00"] {
            assert_eq!(int(Kind::Time, bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_are_seconds_or_go_text() {
        for (text, micros) in [("5", 5_000_000), ("0.25", 250_000), ("1m30s", 90_000_000), ("2ms", 2_000)] {
            assert_eq!(int(Kind::Duration, text), Some(micros), "{text}");
        }
        for bad in ["", ".", "-1s", "5 minutes", "1e9", "99999999999999999999"] {
            assert_eq!(int(Kind::Duration, bad), None, "{bad}");
        }
    }

    #[test]
    fn enums_are_names_or_numbers() {
        let kind = Kind::Enumeration(phase);
        assert_eq!(int(kind, "RUNNING"), Some(2));
        assert_eq!(int(kind, "running"), Some(2));
        assert_eq!(int(kind, "3"), Some(3));
        assert!(kind.parse("4").is_err_and(|reason| reason.contains("UNDEFINED, QUEUED")));
        assert!(kind.parse("'; drop table execution").is_err());
        let numbers = |function, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            selected(phase, &Filter { entity: None, field: "phase".to_owned(), function, values }).unwrap()
        };
        assert_eq!(numbers(FilterFunction::Contains, &["UE"]), [1]);
        assert_eq!(numbers(FilterFunction::NotLike, &["%E%D"]), [2]);
        assert_eq!(numbers(FilterFunction::Lt, &["RUNNING"]), [1]);
        assert_eq!(numbers(FilterFunction::Gte, &["2"]), [2, 3]);
        assert_eq!(numbers(FilterFunction::ValueNotIn, &["QUEUED", "3"]), [0, 2]);
    }

    #[test]
    fn like_patterns_keep_their_meaning() {
        for (like, glob) in [("a%b_", "a*b?"), (r"100\%", "100%"), ("x*[y?", "x[*][[]y[?]"), (r"\\", "\\")] {
            assert_eq!(like_to_glob(like).unwrap(), glob, "{like}");
        }
        assert!(like_to_glob("a\\").is_err());
        assert!(glob_matches("a*b[*]?", "axxb*c"));
        assert!(!glob_matches("a*b[*]?", "axxbc"));
    }
}
