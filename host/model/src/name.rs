//! Makes the names Flyte makes: fixed-length unique ids, node ids, pod names, execution names.
//!
//! The rules and vectors are those of execution.md A19 and A20; clients and tests rely on some of them
//! (`n1-0-n0`, `n0-0-dn0`).

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz123456";
const EXECUTION_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Width of the hash that stands in for a name that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashWidth {
    /// FNV-1a, 32 bits: 8 characters in all.
    Fnv32,
    /// FNV-1a, 64 bits: 14 characters in all.
    Fnv64,
    /// FNV-1a, 128 bits: 27 characters in all.
    Fnv128,
}

/// FNV-1a, 32 bits.
pub fn fnv32a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

/// FNV-1a, 64 bits.
pub fn fnv64a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// FNV-1a, 128 bits.
pub fn fnv128a(bytes: &[u8]) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes
        .iter()
        .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |h, b| (h ^ u128::from(*b)).wrapping_mul(PRIME))
}

fn base32(bytes: &[u8]) -> String {
    let mut out = String::new();
    let (mut acc, mut n_bits) = (0u32, 0u32);
    for byte in bytes {
        acc = (acc << 8) | u32::from(*byte);
        n_bits += 8;
        while n_bits >= 5 {
            n_bits -= 5;
            out.push(char::from(BASE32[((acc >> n_bits) & 31) as usize]));
        }
    }
    if n_bits > 0 {
        out.push(char::from(BASE32[((acc << (5 - n_bits)) & 31) as usize]));
    }
    out
}

/// `text` itself while it fits into `max` characters, else `f` and a hash of it.
pub fn fixed_length_unique_id(text: &str, max: usize, width: HashWidth) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let hash = match width {
        HashWidth::Fnv32 => base32(&fnv32a(text.as_bytes()).to_be_bytes()),
        HashWidth::Fnv64 => base32(&fnv64a(text.as_bytes()).to_be_bytes()),
        HashWidth::Fnv128 => base32(&fnv128a(text.as_bytes()).to_be_bytes()),
    };
    format!("f{hash}")
}

/// Joins parts with `-`; leading empty parts vanish.
pub fn join_parts(parts: &[&str]) -> String {
    let mut out = String::new();
    for part in parts {
        if !out.is_empty() {
            out.push('-');
        }
        out.push_str(part);
    }
    out
}

/// The unique id of a node below a parent node: `<parent>-<parent attempt>-<node>`, hashed over 20 characters. The hash
/// has 64 bits where Flyte's has 32: those collide among the nodes of a large workflow.
pub fn child_node_id(parent: &str, parent_attempt: u32, node: &str) -> String {
    fixed_length_unique_id(&join_parts(&[parent, &parent_attempt.to_string(), node]), 20, HashWidth::Fnv64)
}

/// The unique id of an element of an array node: `<array>-<array attempt>-n<index>`, never hashed.
pub fn element_node_id(array: &str, array_attempt: u32, index: u32) -> String {
    format!("{array}-{array_attempt}-n{index}")
}

/// The name of the execution that an attempt of a launch plan node starts: the same for the same attempt, whoever asks.
pub fn child_execution_name(parent: &str, node: &str, attempt: u32) -> String {
    let joined = join_parts(&[parent, node, &attempt.to_string()]);
    if joined.len() <= 20 && is_execution_name(&joined) {
        return joined;
    }
    fixed_length_unique_id(&joined, 0, HashWidth::Fnv64)
}

/// Name of what an attempt creates outside; see [`crate::AttemptId::generated_name`].
pub fn generated_name(execution: &str, node: &str, attempt: u32) -> String {
    let joined = join_parts(&[execution, node, &attempt.to_string()]);
    dns1123(&fixed_length_unique_id(&joined, 50, HashWidth::Fnv64))
}

/// Turns any text into a DNS-1123 name: camel case to kebab, lower case, other characters dropped.
pub fn dns1123(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 4);
    let mut previous_lower = false;
    for c in text.chars() {
        if c.is_ascii_uppercase() {
            if previous_lower {
                out.push('-');
            }
            out.push(c.to_ascii_lowercase());
            previous_lower = false;
        } else if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.' {
            out.push(c);
            previous_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        }
    }
    out.truncate(253);
    out.trim_matches(|c| c == '-' || c == '.').to_owned()
}

/// The two-character shard of a raw output directory (execution.md A19).
pub fn shard(unique_id: &str) -> String {
    const DIGITS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let n = (fnv32a(unique_id.as_bytes()) % 1296) as usize;
    format!("{}{}", char::from(DIGITS[n / 36]), char::from(DIGITS[n % 36]))
}

/// A generated execution name: `a` and 19 characters that no DNS rule and no client pattern refuses.
pub fn execution_name(random: &[u8; 19]) -> String {
    let mut out = String::with_capacity(20);
    out.push('a');
    for byte in random {
        out.push(char::from(EXECUTION_ALPHABET[usize::from(*byte) % EXECUTION_ALPHABET.len()]));
    }
    out
}

/// Whether a client may give an execution this name: `^[a-z][a-z\-0-9]*$`, at most 63 characters.
pub fn is_execution_name(name: &str) -> bool {
    let mut chars = name.chars();
    name.len() <= 63
        && chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_hash_as_flyte_hashes_them() {
        let x24 = "x".repeat(24);
        assert_eq!(fixed_length_unique_id(&x24, 20, HashWidth::Fnv32), "fuaa3aji");
        assert_eq!(fixed_length_unique_id("xx", 1, HashWidth::Fnv32), "flfryc2i");
        let parts = join_parts(&["x", "y", "z"]);
        assert_eq!(fixed_length_unique_id(&parts, 4, HashWidth::Fnv32), "fxzsoqrq");
        let long = join_parts(&["x", "y", "z", "m", "n", "y", "z", "m", "n", "y", "z", "m", "n"]);
        assert_eq!(fixed_length_unique_id(&long, 15, HashWidth::Fnv32), "fe63sz6y");
        assert_eq!(fixed_length_unique_id(&long, 15, HashWidth::Fnv64), "fwp4bky2kucex5");
        assert_eq!(fixed_length_unique_id(&"y".repeat(64), 30, HashWidth::Fnv128).len(), 27);
    }

    #[test]
    fn shards_match_the_computed_vectors() {
        for (id, want) in [("abc", "k9"), ("", "pz"), ("ex-n0-0", "4m"), ("a7k2mlp9xzq4r8t1vb3c-n0-0", "24")]
        {
            assert_eq!(shard(id), want, "{id}");
        }
    }

    #[test]
    fn generated_names_are_dns_labels() {
        assert_eq!(generated_name("a7k2", "n0", 1), "a7k2-n0-1");
        assert_eq!(dns1123("basicWorkflow_T1"), "basic-workflow-t1");
        assert_eq!(dns1123("-A.b-"), "a.b");
    }

    #[test]
    fn execution_names_follow_the_client_rule() {
        assert!(is_execution_name(&execution_name(&[255; 19])));
        assert_eq!(execution_name(&[0; 19]).len(), 20);
        for bad in ["", "1a", "A", "a_b", &"a".repeat(64)] {
            assert!(!is_execution_name(bad), "{bad}");
        }
    }

    #[test]
    fn children_are_named_by_parent_and_attempt() {
        assert_eq!(child_node_id("n1", 0, "n0"), "n1-0-n0");
        assert_eq!(child_node_id("", 0, "n0"), "0-n0");
        assert_eq!(child_node_id("a-rather-long-node-id", 0, "n0").len(), 14);
        assert_eq!(element_node_id("a-rather-long-node-id", 1, 7), "a-rather-long-node-id-1-n7");
    }

    #[test]
    fn child_executions_are_named_by_node_and_attempt() {
        assert_eq!(child_execution_name("exec", "n1", 0), "exec-n1-0");
        let long = child_execution_name("a7k2mlp9xzq4r8t1vb3c", "n1", 0);
        assert!(long.starts_with('f') && long.len() == 14, "{long}");
        assert_ne!(long, child_execution_name("a7k2mlp9xzq4r8t1vb3c", "n1", 1));
        let upper = child_execution_name("e", "My_Node", 0);
        assert!(is_execution_name(&upper) && upper.len() == 14, "{upper}");
    }
}
