//! Reads path templates of `google.api.http` and finds the one that a path matches. Pure.

use std::{collections::HashMap, error::Error, fmt};

/// A path template: `/api/v1/tasks/{id.project}/{id.domain}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(pub(crate) Vec<Segment>);

/// What stands between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Literal(String),
    /// Any text that is not empty; it becomes the value of that field.
    Field(String),
}

/// A template of a form that no method here uses: several segments in one field, a verb.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownForm(String);

impl fmt::Display for UnknownForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "path template `{}` is of a form that is not served", self.0)
    }
}

impl Error for UnknownForm {}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, UnknownForm> {
        let unknown = || UnknownForm(text.to_owned());
        let path = text.strip_prefix('/').ok_or_else(unknown)?;
        let segment = |part: &str| {
            let field = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
            match field.map(|field| field.strip_suffix("=*").unwrap_or(field)) {
                Some(field) if !field.is_empty() && field.chars().all(is_field_char) => {
                    Some(Segment::Field(field.to_owned()))
                }
                None if !part.is_empty() && !part.contains(['{', '}', '*', ':']) => {
                    Some(Segment::Literal(part.to_owned()))
                }
                Some(_) | None => None,
            }
        };
        let segments: Option<Vec<_>> = path.split('/').map(segment).collect();
        Ok(Self(segments.ok_or_else(unknown)?))
    }

    /// The fields that the path fills, in order.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Field(field) => Some(field.as_str()),
            Segment::Literal(_) => None,
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Field(field) => write!(f, "/{{{field}}}")?,
            }
        }
        Ok(())
    }
}

fn is_field_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

/// Values by template, and by HTTP method below that.
#[derive(Debug)]
pub(crate) struct Table<T> {
    nodes: Vec<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    literals: HashMap<String, usize>,
    field: Option<usize>,
    /// What ends here, by method.
    values: HashMap<http::Method, T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: HashMap::new(), field: None, values: HashMap::new() }
    }
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'t, T> {
    /// The value, and the segments that stand where the template has fields.
    Value(&'t T, Vec<String>),
    /// The path is known, but not with that method.
    OtherMethod,
    Nothing,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl<T> Table<T> {
    /// Adds a template. Of two for the same paths the first stays.
    pub(crate) fn insert(&mut self, method: http::Method, template: &Template, value: T) {
        let mut at = 0;
        for segment in &template.0 {
            let next = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return };
            let slot = match segment {
                Segment::Literal(text) => *node.literals.entry(text.clone()).or_insert(next),
                Segment::Field(_) => *node.field.get_or_insert(next),
            };
            if slot == next {
                self.nodes.push(Node::default());
            }
            at = slot;
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.values.entry(method).or_insert(value);
        }
    }

    /// Looks a path up as it came, percent-encoded. A literal goes before a field.
    pub(crate) fn find(&self, method: &http::Method, path: &str) -> Found<'_, T> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let decoded: Option<Vec<String>> = path.split('/').map(decode).collect();
        let Some(segments) = decoded else { return Found::Nothing };
        let mut fields = Vec::new();
        let mut is_known = false;
        match self.walk(0, method, &segments, &mut fields, &mut is_known) {
            Some(value) => {
                Found::Value(value, fields.into_iter().filter_map(|idx| segments.get(idx).cloned()).collect())
            }
            None if is_known => Found::OtherMethod,
            None => Found::Nothing,
        }
    }

    /// Follows the segments from node `at`; `fields` are the indices of those that stand for fields.
    fn walk(
        &self,
        at: usize,
        method: &http::Method,
        segments: &[String],
        fields: &mut Vec<usize>,
        is_known: &mut bool,
    ) -> Option<&T> {
        let mut open = vec![(at, 0, 0, None)];
        while let Some((at, depth, n_fields, field)) = open.pop() {
            fields.truncate(n_fields);
            fields.extend(field);
            let Some(node) = self.nodes.get(at) else { continue };
            let Some(segment) = segments.get(depth) else {
                *is_known |= !node.values.is_empty();
                match node.values.get(method) {
                    Some(value) => return Some(value),
                    None => continue,
                }
            };
            if let Some(next) = node.field.filter(|_| !segment.is_empty()) {
                open.push((next, depth + 1, fields.len(), Some(depth)));
            }
            if let Some(next) = node.literals.get(segment) {
                open.push((*next, depth + 1, fields.len(), None));
            }
        }
        None
    }
}

fn decode(segment: &str) -> Option<String> {
    let text = percent_encoding::percent_decode_str(segment).decode_utf8().ok()?;
    Some(text.into_owned())
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn table(templates: &[(Method, &str)]) -> Table<String> {
        let mut table = Table::default();
        for (method, text) in templates {
            table.insert(method.clone(), &Template::parse(text).unwrap(), format!("{method} {text}"));
        }
        table
    }

    #[test]
    fn templates_are_literals_and_fields() {
        let template = Template::parse("/api/{id.project}/{name=*}/x").unwrap();
        assert_eq!(template.fields().collect::<Vec<_>>(), ["id.project", "name"]);
        for unknown in ["api", "/a/{b=c/*}", "/a/**", "/a/{}", "/a:verb", "/a//b"] {
            assert!(Template::parse(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn literals_go_before_fields_and_back() {
        let table = table(&[
            (Method::GET, "/x/{a}"),
            (Method::POST, "/x/relaunch"),
            (Method::GET, "/x/{a}/y"),
            (Method::GET, "/x/relaunch/{b}/z"),
        ]);
        let found = |method, path| match table.find(&method, path) {
            Found::Value(value, fields) => format!("{value} {fields:?}"),
            other => format!("{other:?}"),
        };
        assert_eq!(found(Method::GET, "/x/1"), "GET /x/{a} [\"1\"]");
        assert_eq!(found(Method::POST, "/x/relaunch"), "POST /x/relaunch []");
        assert_eq!(found(Method::GET, "/x/relaunch"), "GET /x/{a} [\"relaunch\"]");
        assert_eq!(found(Method::GET, "/x/relaunch/y"), "GET /x/{a}/y [\"relaunch\"]");
        assert_eq!(found(Method::GET, "/x/relaunch/2/z"), "GET /x/relaunch/{b}/z [\"2\"]");
        assert_eq!(found(Method::DELETE, "/x/1"), "OtherMethod");
        assert_eq!(found(Method::GET, "/x/1/2"), "Nothing");
        assert_eq!(found(Method::GET, "/x//y"), "Nothing");
    }

    #[test]
    fn encoded_slashes_stay_inside_their_segment() {
        let table = table(&[(Method::GET, "/x/{a}/{b}")]);
        let Found::Value(_, fields) = table.find(&Method::GET, "/x/a%2Fb%20c/%C3%A4/") else { panic!() };
        assert_eq!(fields, ["a/b c", "ä"]);
        assert_eq!(table.find(&Method::GET, "/x/%ff/b"), Found::Nothing);
    }
}
