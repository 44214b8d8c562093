//! Parses and prints sizes in bytes as Kubernetes quantities: `512Mi`, `10G`, `4096`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::duration::scaled;

/// A number of bytes, written as a Kubernetes quantity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(u64);

/// Binary suffixes from the largest to the smallest.
const BINARY: [(&str, u128); 6] =
    [("Ei", 1 << 60), ("Pi", 1 << 50), ("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];

/// Decimal suffixes; `k` is the only lower-case one, as in Kubernetes.
const DECIMAL: [(&str, u128); 6] = [
    ("E", 1_000_000_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

/// Says why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size (write it as `512Mi`, `10G` or a number of bytes)")]
pub struct ParseSizeError(String);

impl Size {
    /// Makes a size of so many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Makes a size of so many kibibytes.
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib << 10)
    }

    /// Makes a size of so many mebibytes.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// Makes a size of so many gibibytes.
    pub const fn from_gib(gib: u64) -> Self {
        Self(gib << 30)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, ParseSizeError> {
        let fail = || ParseSizeError(text.to_owned());
        let trimmed = text.trim();
        let suffix = BINARY.iter().chain(&DECIMAL).find(|(name, _)| trimmed.ends_with(name));
        let (number, scale) = match suffix {
            Some((name, scale)) => (trimmed.strip_suffix(name).unwrap_or(trimmed), *scale),
            None => (trimmed, 1),
        };
        let number = number.strip_prefix('+').unwrap_or(number);
        let bytes = scaled(number, scale).ok_or_else(fail)?;
        u64::try_from(bytes).map(Self).map_err(|_| fail())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = u128::from(self.0);
        match BINARY.iter().find(|(_, scale)| bytes >= *scale && bytes % scale == 0) {
            Some((name, scale)) => write!(f, "{}{name}", bytes / scale),
            None => write!(f, "{bytes}"),
        }
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as `512Mi`, `10G` or a number of bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::custom(ParseSizeError(bytes.to_string())))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("512Mi", 512 << 20),
            ("1.5Gi", 3 << 29),
            ("10G", 10_000_000_000),
            ("100k", 100_000),
        ] {
            assert_eq!(text.parse::<Size>().unwrap().bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "Mi", "-1", "500m", "1KB", "1 Gi", "99999999Ei", "ten"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn printing_takes_the_largest_exact_unit() {
        for (bytes, text) in [(0, "0"), (1000, "1000"), (1024, "1Ki"), (3 << 29, "1536Mi"), (1 << 30, "1Gi")]
        {
            assert_eq!(Size::from_bytes(bytes).to_string(), text);
            assert_eq!(text.parse::<Size>().unwrap().bytes(), bytes);
        }
    }
}
