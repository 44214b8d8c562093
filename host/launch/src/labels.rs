//! Checks labels and annotations as Kubernetes does. Pure.

use std::collections::BTreeMap;

/// Total size of all annotations that Kubernetes takes.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

/// Why a map of labels or annotations was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// There are too many.
    #[error("{actual} entries, more than the limit of {allowed}")]
    TooMany {
        /// How many there are.
        actual: usize,
        /// The limit.
        allowed: usize,
    },
    /// A key breaks the rule.
    #[error(
        "key `{key}`: a key is an optional DNS name and a slash, then at most 63 letters, digits, `-`, `_` or `.`, \
         with a letter or digit at both ends"
    )]
    Key {
        /// The key.
        key: String,
    },
    /// A value breaks the rule.
    #[error(
        "value `{value}` of `{key}`: a value has at most 63 letters, digits, `-`, `_` or `.`, with a letter or \
         digit at both ends, or is empty"
    )]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// All together are too large.
    #[error("{actual} bytes, more than the limit of {allowed}")]
    TooLarge {
        /// Their size.
        actual: usize,
        /// The limit.
        allowed: usize,
    },
}

/// Checks labels: few, with keys and values that Kubernetes takes.
///
/// # Errors
/// The first entry that breaks a rule.
pub fn check_labels(labels: &BTreeMap<String, String>, max_entries: usize) -> Result<(), LabelError> {
    check_count(labels, max_entries)?;
    for (key, value) in labels {
        if !is_key(key) {
            return Err(LabelError::Key { key: key.clone() });
        }
        if !value.is_empty() && !is_name(value) {
            return Err(LabelError::Value { key: key.clone(), value: value.clone() });
        }
    }
    Ok(())
}

/// Checks annotations: few, with keys that Kubernetes takes and any values.
///
/// # Errors
/// The first entry that breaks a rule.
pub fn check_annotations(
    annotations: &BTreeMap<String, String>,
    max_entries: usize,
) -> Result<(), LabelError> {
    check_count(annotations, max_entries)?;
    if let Some(key) = annotations.keys().find(|key| !is_key(&key.to_ascii_lowercase())) {
        return Err(LabelError::Key { key: key.clone() });
    }
    let actual = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if actual > MAX_ANNOTATION_BYTES {
        return Err(LabelError::TooLarge { actual, allowed: MAX_ANNOTATION_BYTES });
    }
    Ok(())
}

fn check_count(map: &BTreeMap<String, String>, allowed: usize) -> Result<(), LabelError> {
    match map.len() {
        actual if actual > allowed => Err(LabelError::TooMany { actual, allowed }),
        _ => Ok(()),
    }
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_name(name),
        None => is_name(key),
    }
}

fn is_name(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn is_subdomain(text: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 253
        && text.split('.').all(|part| {
            part.starts_with(lower) && part.ends_with(lower) && part.chars().all(|c| lower(c) || c == '-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn labels_follow_the_kubernetes_rule() {
        for (key, value) in
            [("a", ""), ("eager-exec", "a7k2"), ("k8s.io/name", "A.b_c-d"), ("x", &"v".repeat(63))]
        {
            assert_eq!(check_labels(&one(key, value), 16), Ok(()), "{key}={value}");
        }
        for (key, value) in [
            ("", "v"),
            ("-a", "v"),
            ("a", "b c"),
            ("a", "-"),
            ("a/b/c", "v"),
            ("Upper.io/a", "v"),
            ("a", "v:1"),
            ("x", &"v".repeat(64)),
        ] {
            assert!(check_labels(&one(key, value), 16).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn annotations_take_any_value() {
        assert_eq!(check_annotations(&one("a/b", "any text: {\"x\": 1}"), 16), Ok(()));
        assert!(check_annotations(&one("a b", "v"), 16).is_err());
        assert!(check_annotations(&one("a", &"v".repeat(300_000)), 16).is_err());
    }

    #[test]
    fn too_many_entries_say_how_many() {
        let many = (0..17).map(|i| (format!("k{i}"), String::new())).collect();
        assert_eq!(check_labels(&many, 16), Err(LabelError::TooMany { actual: 17, allowed: 16 }));
    }
}
