//! Carries a wrong value out of serde, together with its place.

use std::fmt;

use serde::de;

use crate::{Origin, Problem, key, tree::Node};

/// Why a value could not be read.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    what: Box<What>,
    place: Option<Box<(String, Origin)>>,
    /// The address of the node to leave out in the next attempt.
    pub(super) node: Option<usize>,
}

#[derive(Clone, Debug)]
enum What {
    Type { expected: String, found: String },
    Message(String),
    Missing(&'static str),
}

impl Fault {
    fn new(what: What) -> Self {
        Self { what: Box::new(what), place: None, node: None }
    }

    /// A value of one type stands where another is expected.
    pub(super) fn type_of(expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self::new(What::Type { expected: in_words(expected.to_string()), found: found.to_string() })
    }

    /// Adds the place, unless a place further inside is known.
    pub(super) fn at(mut self, path: &str, node: Option<&Node>) -> Self {
        if self.place.is_none() {
            let origin = node.map_or(Origin::Default, |node| node.origin.clone());
            self.place = Some(Box::new((path.to_owned(), origin)));
            let is_missing = matches!(*self.what, What::Missing(_));
            self.node = node.filter(|_| !is_missing).map(super::address);
        }
        self
    }

    /// Leaves out another node in the next attempt than the one at the place.
    pub(super) fn blame(self, node: &Node) -> Self {
        Self { node: Some(super::address(node)), ..self }
    }

    /// What to tell the user. A wrong secret is not repeated.
    pub(super) fn into_problem(self) -> Problem {
        let (key, origin) = self.place.map_or((String::new(), Origin::Default), |place| *place);
        match *self.what {
            What::Missing(field) => Problem::Missing { key: key::join(&key, field) },
            What::Type { expected, .. } if key::is_secret(&key) => {
                Problem::Type { key, expected, found: "something else".to_owned(), origin }
            }
            What::Type { expected, found } => Problem::Type { key, expected, found, origin },
            What::Message(_) if key::is_secret(&key) => {
                Problem::Invalid { key, message: "the value is not valid".to_owned(), origin }
            }
            What::Message(message) => Problem::Invalid { key, message, origin },
        }
    }
}

/// Says what serde calls by the names of Rust.
fn in_words(expected: String) -> String {
    let words = match expected.as_str() {
        "u8" => "an integer from 0 to 255",
        "u16" => "an integer from 0 to 65535",
        "u32" | "u64" | "u128" | "usize" => "an integer that is not negative",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "an integer",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "a section",
        _ => return expected,
    };
    words.to_owned()
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(What::Message(message.to_string()))
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        match found {
            de::Unexpected::Unit | de::Unexpected::Option => Self::type_of(expected, "nothing"),
            de::Unexpected::Map => Self::type_of(expected, "a section"),
            de::Unexpected::Seq => Self::type_of(expected, "a list"),
            found => Self::type_of(expected, found),
        }
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::type_of(expected, found)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(What::Missing(field))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let expected = match expected {
            [] => "nothing".to_owned(),
            [only] => format!("`{only}`"),
            several => {
                let quoted: Vec<_> = several.iter().map(|name| format!("`{name}`")).collect();
                format!("one of {}", quoted.join(", "))
            }
        };
        Self::type_of(expected, format_args!("`{variant}`"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.clone().into_problem(), f)
    }
}

impl std::error::Error for Fault {}
