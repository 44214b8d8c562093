//! Reads Kubernetes quantities, such as `500m` of a processor and `2Gi` of memory.

use std::{fmt, ops};

/// An amount of what the machine shares out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    /// Thousandths of a processor.
    pub cpu_milli: u64,
    /// Bytes.
    pub memory: u64,
}

impl Resources {
    pub(crate) fn fits(self, free: Resources) -> bool {
        self.cpu_milli <= free.cpu_milli && self.memory <= free.memory
    }

    pub(crate) fn at_most(self, limit: Resources) -> Resources {
        Resources { cpu_milli: self.cpu_milli.min(limit.cpu_milli), memory: self.memory.min(limit.memory) }
    }

    pub(crate) fn at_least(self, other: Resources) -> Resources {
        Resources { cpu_milli: self.cpu_milli.max(other.cpu_milli), memory: self.memory.max(other.memory) }
    }
}

impl ops::Add for Resources {
    type Output = Resources;

    fn add(self, other: Resources) -> Resources {
        Resources {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory: self.memory.saturating_add(other.memory),
        }
    }
}

impl ops::Sub for Resources {
    type Output = Resources;

    fn sub(self, other: Resources) -> Resources {
        Resources {
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory: self.memory.saturating_sub(other.memory),
        }
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, mib) = (self.cpu_milli as f64 / 1000.0, self.memory >> 20);
        write!(f, "{cpu} cpu and {mib} MiB")
    }
}

/// Thousandths of a processor; rounded up as Kubernetes does.
pub(crate) fn cpu_milli(text: &str) -> Option<u64> {
    Some((quantity(text)? * 1000.0 - 1e-6).ceil().max(0.0) as u64)
}

/// Bytes; rounded up.
pub(crate) fn memory_bytes(text: &str) -> Option<u64> {
    Some((quantity(text)? - 1e-6).ceil().max(0.0) as u64)
}

fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let text = text.trim();
    let scaled = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (digits, factor) = scaled.unwrap_or((text, 1.0));
    let plain = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '+');
    let value = digits.parse::<f64>().ok().filter(|value| plain && value.is_finite())?;
    Some(value * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_kubernetes_does() {
        let cpu =
            [("1", 1000), ("500m", 500), ("0.1", 100), ("2.5", 2500), ("1e1", 10_000), ("1n", 1), ("0", 0)];
        for (text, expected) in cpu {
            assert_eq!(cpu_milli(text), Some(expected), "{text}");
        }
        let memory = [
            ("128974848", 128_974_848),
            ("129M", 129_000_000),
            ("123Mi", 128_974_848),
            ("1e3", 1000),
            ("1k", 1000),
        ];
        for (text, expected) in memory {
            assert_eq!(memory_bytes(text), Some(expected), "{text}");
        }
        for text in ["", "-1", "x", "1Zi", "inf", "NaN", "1 Gi i"] {
            assert_eq!(cpu_milli(text), None, "{text}");
        }
    }
}
