//! Reads Kubernetes resource quantities (`500m`, `1.5Gi`, `2e3`).

/// Why a quantity could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a resource quantity; write a number with an optional suffix such as m, k, M, G, Ki, Mi or Gi"
)]
pub struct QuantityError(pub String);

/// The quantity in thousandths of its base unit (cores, bytes, items), rounded up.
///
/// # Errors
/// Anything that is not a non-negative Kubernetes quantity.
pub fn parse_milli(text: &str) -> Result<u128, QuantityError> {
    let bad = || QuantityError(text.to_owned());
    let trimmed = text.trim();
    let split =
        trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+')).unwrap_or(trimmed.len());
    let (number, suffix) = trimmed.split_at(split);
    let number = number.strip_prefix('+').unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || number.contains('+') || whole.len() + fraction.len() > 27 {
        return Err(bad());
    }
    let digits: u128 = format!("0{whole}{fraction}").parse().map_err(|_| bad())?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| bad())?);
    let (numerator, denominator): (u128, u128) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1_000),
        "m" => (1, 1),
        "" => (1_000, 1),
        "k" => (1_000_000, 1),
        "M" => (10u128.pow(9), 1),
        "G" => (10u128.pow(12), 1),
        "T" => (10u128.pow(15), 1),
        "P" => (10u128.pow(18), 1),
        "E" => (10u128.pow(21), 1),
        "Ki" => (1_000 << 10, 1),
        "Mi" => (1_000 << 20, 1),
        "Gi" => (1_000 << 30, 1),
        "Ti" => (1_000 << 40, 1),
        "Pi" => (1_000 << 50, 1),
        "Ei" => (1_000 << 60, 1),
        other => {
            let exponent = other.strip_prefix(['e', 'E']).ok_or_else(bad)?;
            let power: i32 = exponent.parse().map_err(|_| bad())?;
            match u32::try_from(power) {
                Ok(p) if p <= 21 => (1_000 * 10u128.pow(p), 1),
                Err(_) if power >= -21 => (1_000, 10u128.pow(power.unsigned_abs())),
                _ => return Err(bad()),
            }
        }
    };
    let value = digits.checked_mul(numerator).ok_or_else(bad)?;
    // So large a divisor leaves less than a thousandth.
    let Some(divisor) = scale.checked_mul(denominator) else { return Ok(u128::from(value > 0)) };
    Ok(value.div_ceil(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_kubernetes_reads_them() {
        for (text, milli) in [
            ("1", 1_000),
            ("500m", 500),
            ("1.5", 1_500),
            ("0.1", 100),
            ("2k", 2_000_000),
            ("1Ki", 1_024_000),
            ("1.5Gi", 1_610_612_736_000),
            ("1e3", 1_000_000),
            ("100n", 1),
            ("0", 0),
            (".5", 500),
            ("0.00000000000000000001e-21", 1),
        ] {
            assert_eq!(parse_milli(text), Ok(milli), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_not_guessed() {
        for text in ["", "Gi", "-1", "1 Gi", "1gb", "1e99", "NaN", "1..2", "9".repeat(40).as_str()] {
            assert!(parse_milli(text).is_err(), "{text}");
        }
    }
}
