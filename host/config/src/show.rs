//! Prints effective settings as YAML, each with its origin, none with a secret.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    Origin, key,
    tree::{Kind, Node},
    value::MASK,
};

/// Renders a tree.
pub(crate) fn render(node: &Node, origins: &BTreeMap<String, Origin>) -> String {
    let mut out = String::new();
    let mut renderer = Renderer { origins, out: &mut out };
    renderer.section(node, "", 0);
    out
}

struct Renderer<'r> {
    origins: &'r BTreeMap<String, Origin>,
    out: &'r mut String,
}

impl Renderer<'_> {
    fn section(&mut self, node: &Node, path: &str, depth: usize) {
        let Kind::Section(entries) = &node.kind else { return };
        for entry in entries {
            let path = key::join(path, &entry.key);
            let indent = "  ".repeat(depth);
            let name = text(&entry.key);
            match &entry.value.kind {
                Kind::Section(below) if !below.is_empty() => {
                    let _ = writeln!(self.out, "{indent}{name}:");
                    self.section(&entry.value, &path, depth + 1);
                }
                _ => {
                    let value = inline(&entry.value, &path);
                    let origin = self.origins.get(&path).unwrap_or(&Origin::Default);
                    let _ = writeln!(self.out, "{indent}{name}: {value}  # {origin}");
                }
            }
        }
    }
}

/// A value on one line.
fn inline(node: &Node, path: &str) -> String {
    match &node.kind {
        Kind::Null => "null".to_owned(),
        Kind::Bool(flag) => flag.to_string(),
        Kind::Int(int) => int.to_string(),
        Kind::Uint(uint) => uint.to_string(),
        Kind::Float(float) => float.to_string(),
        Kind::Text(secret) if key::is_secret(path) && !secret.is_empty() => text(MASK),
        Kind::Text(value) => text(&without_password(value)),
        Kind::List(items) => {
            let items: Vec<_> = items.iter().map(|item| inline(item, path)).collect();
            format!("[{}]", items.join(", "))
        }
        Kind::Section(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|entry| {
                    let value = inline(&entry.value, &key::join(path, &entry.key));
                    format!("{}: {value}", text(&entry.key))
                })
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// A string, in quotes unless it can't be taken for anything else.
fn text(value: &str) -> String {
    let starts_plain = value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    let is_plain = value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
    let is_word = ["true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"]
        .contains(&value.to_ascii_lowercase().as_str());
    let is_number = value.parse::<f64>().is_ok() || value.starts_with("0x") || value.starts_with("0o");
    if starts_plain && is_plain && !is_word && !is_number {
        value.to_owned()
    } else {
        serde_json::to_string(value).unwrap_or_else(|_| "\"\"".to_owned())
    }
}

/// A URL may carry a password whatever its key is called.
fn without_password(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let Some((user_info, host)) = authority.rsplit_once('@') else { return value.to_owned() };
    let Some((user, password)) = user_info.split_once(':') else { return value.to_owned() };
    if password.is_empty() {
        return value.to_owned();
    }
    let tail = rest.strip_prefix(authority).unwrap_or("");
    format!("{scheme}://{user}:{MASK}@{host}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_keep_their_type() {
        for (value, shown) in [
            ("plain", "plain"),
            ("30s", "30s"),
            ("a/b-c_d.e", "a/b-c_d.e"),
            ("", "\"\""),
            ("true", "\"true\""),
            ("No", "\"No\""),
            ("1.10", "\"1.10\""),
            ("1e3", "\"1e3\""),
            ("a: b", "\"a: b\""),
            ("#x", "\"#x\""),
            ("é\n", "\"é\\n\""),
        ] {
            assert_eq!(text(value), shown);
        }
    }

    #[test]
    fn passwords_in_urls_are_masked() {
        for (url, shown) in [
            ("postgres://u:p@w@h/d?x=1", "postgres://u:********@h/d?x=1"),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("http://h/a:b@c", "http://h/a:b@c"),
            ("text", "text"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
