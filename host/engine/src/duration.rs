//! Prints durations as Flyte's messages do: `1h0m30s`, `1.5s`, `250ms`.

/// A duration in microseconds as Go prints it; negative ones do not occur and print as zero.
pub(crate) fn display(micros: i64) -> String {
    let micros = micros.max(0);
    match micros {
        0 => return "0s".to_owned(),
        1..1_000 => return format!("{micros}µs"),
        1_000..1_000_000 => return format!("{}ms", decimal(micros, 1_000)),
        _ => {}
    }
    let (hours, minutes) = (micros / 3_600_000_000, micros / 60_000_000 % 60);
    let seconds = decimal(micros % 60_000_000, 1_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `count / unit` without trailing zeros; `unit` is a power of ten.
fn decimal(count: i64, unit: i64) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", count / unit, count % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::display;

    #[test]
    fn durations_print_as_in_go() {
        for (micros, text) in [
            (0, "0s"),
            (-5, "0s"),
            (7, "7µs"),
            (1_500, "1.5ms"),
            (250_000, "250ms"),
            (30_000_000, "30s"),
            (1_500_000, "1.5s"),
            (10_000_000, "10s"),
            (60_000_000, "1m0s"),
            (90_250_000, "1m30.25s"),
            (3_600_000_000, "1h0m0s"),
            (90_000_000_000, "25h0m0s"),
        ] {
            assert_eq!(display(micros), text, "{micros}");
        }
    }
}
