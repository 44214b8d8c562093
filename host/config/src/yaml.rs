//! Reads a YAML file into a tree with line numbers.

use std::{fmt, path::PathBuf, sync::Arc};

use serde::{Deserialize, Deserializer, de};
use serde_saphyr::Spanned;

use crate::{
    Origin, Problem,
    tree::{Entry, Kind, Node},
};

/// Reads the text of a file. An empty one has no settings.
pub(crate) fn parse(text: &str, path: &Arc<PathBuf>) -> Result<Node, Problem> {
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let located = serde_saphyr::from_str_with_options::<Spanned<Plain>>(text, options).map_err(|error| {
        Problem::Syntax {
            path: path.as_ref().clone(),
            line: error.location().map_or(1, |location| location.line()),
            message: error.without_snippet().to_string(),
        }
    })?;
    Ok(Reader { text, path }.node(located))
}

/// YAML before its lines have been turned into origins.
enum Plain {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Plain>>),
    Map(Vec<(Spanned<Key>, Spanned<Plain>)>),
}

struct Reader<'t> {
    text: &'t str,
    path: &'t Arc<PathBuf>,
}

impl Reader<'_> {
    fn origin(&self, location: serde_saphyr::Location) -> Origin {
        Origin::File { path: self.path.clone(), line: location.line() }
    }

    fn node(&self, located: Spanned<Plain>) -> Node {
        let origin = self.origin(located.referenced);
        let mut raw = None;
        let kind = match located.value {
            Plain::Null => Kind::Null,
            Plain::Text(text) => Kind::Text(text),
            Plain::List(items) => Kind::List(items.into_iter().map(|item| self.node(item)).collect()),
            Plain::Map(entries) => Kind::Section(
                entries
                    .into_iter()
                    .map(|(key, value)| Entry {
                        origin: self.origin(key.referenced),
                        key: key.value.0,
                        value: self.node(value),
                    })
                    .collect(),
            ),
            scalar => {
                raw = self.source(located.defined);
                match scalar {
                    Plain::Bool(flag) => Kind::Bool(flag),
                    Plain::Int(int) => Kind::Int(int),
                    Plain::Uint(uint) => Kind::Uint(uint),
                    Plain::Float(float) => Kind::Float(float),
                    _ => Kind::Null,
                }
            }
        };
        Node { kind, origin, raw }
    }

    /// The text of a scalar: `1.10` is a number, and a version.
    fn source(&self, location: serde_saphyr::Location) -> Option<String> {
        let span = location.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let len = usize::try_from(span.byte_len()?).ok()?;
        self.text.get(start..start.checked_add(len)?).map(|raw| raw.trim().to_owned())
    }
}

/// A key: any scalar, as text.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Plain;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a YAML value")
            }

            fn visit_unit<E>(self) -> Result<Plain, E> {
                Ok(Plain::Null)
            }

            fn visit_none<E>(self) -> Result<Plain, E> {
                Ok(Plain::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Plain, D::Error> {
                deserializer.deserialize_any(self)
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Plain, E> {
                Ok(Plain::Bool(flag))
            }

            fn visit_i64<E>(self, int: i64) -> Result<Plain, E> {
                Ok(u64::try_from(int).map_or(Plain::Int(int), Plain::Uint))
            }

            fn visit_u64<E>(self, uint: u64) -> Result<Plain, E> {
                Ok(Plain::Uint(uint))
            }

            fn visit_f64<E>(self, float: f64) -> Result<Plain, E> {
                Ok(Plain::Float(float))
            }

            fn visit_str<E>(self, text: &str) -> Result<Plain, E> {
                Ok(Plain::Text(text.to_owned()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Plain, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Plain::List(list))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<Plain, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    map.push(entry);
                }
                Ok(Plain::Map(map))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(node: &Node, depth: usize, out: &mut String) {
        let line = |origin: &Origin| match origin {
            Origin::File { line, .. } => *line,
            _ => 0,
        };
        match &node.kind {
            Kind::Section(entries) => {
                for entry in entries {
                    out.push_str(&format!("\n{}{}@{}", " ".repeat(depth), entry.key, line(&entry.origin)));
                    dump(&entry.value, depth + 1, out);
                }
            }
            Kind::List(items) => items.iter().for_each(|item| {
                out.push_str(&format!("\n{}-@{}", " ".repeat(depth), line(&item.origin)));
                dump(item, depth + 1, out);
            }),
            scalar => out.push_str(&format!(" {scalar:?} {:?}", node.raw)),
        }
    }

    #[test]
    fn every_key_knows_its_line() {
        let text = "# comment\na: 1\nb:\n  c: 1.10\n\n  d: \"12\"\n  e:\n  # note\nlist:\n  - x\n  - y: true\nanchor: &n {k: v}\nalias: *n\n";
        let mut out = String::new();
        dump(&parse(text, &Arc::new("f".into())).unwrap(), 0, &mut out);
        expect_test::expect![[r#"

            a@2 Uint(1) Some("1")
            b@3
             c@4 Float(1.1) Some("1.10")
             d@6 Text("12") None
             e@7 Null None
            list@9
             -@10 Text("x") None
             -@11
              y@11 Bool(true) Some("true")
            anchor@12
             k@12 Text("v") None
            alias@13
             k@13 Text("v") None"#]]
        .assert_eq(&out);
    }

    #[test]
    fn syntax_errors_name_file_and_line() {
        for (text, line) in [("a: 1\nb: [1,\n", 2), ("a: 1\n b: 2\n", 2), ("a: 1\na: 2\n", 2)] {
            let message = parse(text, &Arc::new("conf.yaml".into())).unwrap_err().to_string();
            assert!(message.starts_with("file conf.yaml line "), "{message}");
            println!("{line} {message}");
        }
        assert!(matches!(parse("", &Arc::new("f".into())).unwrap().kind, Kind::Null));
        assert!(matches!(parse("# only\n", &Arc::new("f".into())).unwrap().kind, Kind::Null));
    }
}
