//! Computes the objecthash of JSON values: SHA-256 over a tag and a payload, the same for equal values (execution.md
//! A17). Pure.
//!
//! A message is hashed as if it had been written as JSON first, without writing it: each function here takes what
//! the JSON would hold.

use sha2::{Digest, Sha256};

/// An objecthash.
pub(crate) type Hash = [u8; 32];

fn tagged(tag: u8, payload: &[u8]) -> Hash {
    Sha256::new().chain_update([tag]).chain_update(payload).finalize().into()
}

/// Of a string.
pub(crate) fn text(value: &str) -> Hash {
    tagged(b'u', value.as_bytes())
}

/// Of `null`.
pub(crate) fn null() -> Hash {
    tagged(b'n', &[])
}

/// Of `true` or `false`.
pub(crate) fn boolean(value: bool) -> Hash {
    tagged(b'b', if value { b"1" } else { b"0" })
}

/// Of a number, or of the string that stands for it where JSON has no number.
pub(crate) fn number(value: f64) -> Hash {
    if value.is_nan() {
        text("NaN")
    } else if value.is_infinite() {
        text(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        tagged(b'f', normal(value).as_bytes())
    }
}

/// Sign, exponent and binary digits of the mantissa, which lies above one half and is at most 1.
fn normal(value: f64) -> String {
    if value == 0.0 {
        return "+0:".to_owned();
    }
    let mut rest = value.abs();
    let mut exponent = 0i32;
    while rest > 1.0 {
        rest /= 2.0;
        exponent += 1;
    }
    while rest <= 0.5 {
        rest *= 2.0;
        exponent -= 1;
    }
    let mut out = format!("{}{exponent}:", if value < 0.0 { '-' } else { '+' });
    while rest != 0.0 {
        if rest >= 1.0 {
            out.push('1');
            rest -= 1.0;
        } else {
            out.push('0');
        }
        rest *= 2.0;
    }
    out
}

/// A list under way.
#[derive(Default)]
pub(crate) struct List(Vec<u8>);

impl List {
    /// Adds an item.
    pub(crate) fn push(&mut self, item: Hash) {
        self.0.extend_from_slice(&item);
    }

    /// The hash of the list.
    pub(crate) fn hash(&self) -> Hash {
        tagged(b'l', &self.0)
    }
}

/// An object under way; no key may come twice.
#[derive(Default)]
pub(crate) struct Dict(Vec<(Hash, Hash)>);

impl Dict {
    /// Adds a member.
    pub(crate) fn put(&mut self, key: &str, value: Hash) {
        self.0.push((text(key), value));
    }

    /// The hash of the object.
    pub(crate) fn hash(mut self) -> Hash {
        self.0.sort_unstable();
        let mut payload = Vec::with_capacity(self.0.len() * 64);
        for (key, value) in &self.0 {
            payload.extend_from_slice(key);
            payload.extend_from_slice(value);
        }
        tagged(b'd', &payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form() {
        for (value, form) in [
            (0.0, "+0:"),
            (-0.0, "+0:"),
            (1.0, "+0:1"),
            (0.5, "+-1:1"),
            (3.0, "+2:011"),
            (-2.0, "-1:1"),
            (1.5, "+1:011"),
            (f64::MIN_POSITIVE, "+-1022:1"),
            (5e-324, "+-1074:1"),
        ] {
            assert_eq!(normal(value), form, "{value}");
        }
        assert!(normal(f64::MAX).starts_with("+1024:0111"));
    }

    #[test]
    fn members_have_no_order() {
        let dict = |keys: &[&str]| {
            let mut dict = Dict::default();
            keys.iter().for_each(|key| dict.put(key, text(key)));
            dict.hash()
        };
        assert_eq!(dict(&["a", "b", "c"]), dict(&["c", "a", "b"]));
        assert_ne!(dict(&["a"]), dict(&["b"]));
        assert_ne!(List::default().hash(), Dict::default().hash());
    }
}
