//! Turns the rounds of a section into a table of medians, spreads and verdicts.

use std::fmt::{self, Display, Formatter};

use comfy_table::{Cell, CellAlignment, Table, presets};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds, shown as what fits.
    Seconds,
    /// Things per second.
    PerSecond,
    /// Bytes, shown in MiB or KiB.
    Bytes,
    /// A bare number.
    Count,
    /// How many times more.
    Times,
}

/// The values of all rounds.
#[derive(Clone, Debug)]
pub struct Sample {
    unit: Unit,
    values: Vec<f64>,
}

impl Sample {
    /// An empty one.
    pub fn new(unit: Unit) -> Self {
        Self { unit, values: Vec::new() }
    }

    /// One with values.
    pub fn of(unit: Unit, values: impl IntoIterator<Item = f64>) -> Self {
        Self { unit, values: values.into_iter().collect() }
    }

    /// Adds the value of a round.
    pub fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    /// The value of a round; NaN when it was not taken.
    pub fn at(&self, round: usize) -> f64 {
        self.values.get(round).copied().unwrap_or(f64::NAN)
    }

    /// The value in the middle; NaN without values.
    pub fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        match (sorted.get(half), half.checked_sub(1).and_then(|below| sorted.get(below))) {
            (Some(upper), Some(lower)) if sorted.len().is_multiple_of(2) => f64::midpoint(*lower, *upper),
            (Some(middle), _) => *middle,
            (None, _) => f64::NAN,
        }
    }

    /// The value at a rank from 0 to 1, nearest rank.
    pub fn quantile(&self, rank: f64) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank within a short list"
        )]
        let at = (rank * last as f64).round() as usize;
        sorted.get(at).copied().unwrap_or(f64::NAN)
    }

    /// Round by round, this over the other.
    pub fn over(&self, other: &Self) -> Self {
        let pairs = self.values.iter().zip(&other.values);
        Self::of(Unit::Times, pairs.map(|(ours, theirs)| ours / theirs))
    }

    /// Each value changed.
    pub fn map(&self, unit: Unit, change: impl Fn(f64) -> f64) -> Self {
        Self::of(unit, self.values.iter().map(|value| change(*value)))
    }

    /// Median and, of several values, least and greatest.
    fn show(&self) -> String {
        let median = format_value(self.unit, self.median());
        if self.values.len() < 2 {
            return median;
        }
        let ends = (format_value(self.unit, self.quantile(0.0)), format_value(self.unit, self.quantile(1.0)));
        format!("{median} ({}..{})", ends.0, ends.1)
    }
}

fn format_value(unit: Unit, value: f64) -> String {
    match unit {
        _ if !value.is_finite() => "-".to_owned(),
        Unit::Seconds if value >= 10.0 => format!("{value:.1} s"),
        Unit::Seconds if value >= 1.0 => format!("{value:.2} s"),
        Unit::Seconds if value >= 1e-3 => format!("{} ms", three_digits(value * 1e3)),
        Unit::Seconds => format!("{} us", three_digits(value * 1e6)),
        Unit::PerSecond => format!("{}/s", three_digits(value)),
        Unit::Bytes if value.abs() >= 1024.0 * 1024.0 => format!("{} MiB", three_digits(value / 1_048_576.0)),
        Unit::Bytes => format!("{} KiB", three_digits(value / 1024.0)),
        Unit::Count => three_digits(value),
        Unit::Times => format!("{}x", three_digits(value)),
    }
}

fn three_digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// What a line has to reach.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    fn show(self, unit: Unit) -> String {
        match self {
            Self::AtMost(limit) => format!("<= {}", format_value(unit, limit)),
            Self::AtLeast(limit) => format!(">= {}", format_value(unit, limit)),
        }
    }
}

struct Line {
    goal: &'static str,
    what: String,
    ours: Sample,
    reference: Option<(String, Sample)>,
    target: Option<Target>,
}

impl Line {
    /// What is judged: the ratio where there is a reference.
    fn judged(&self) -> Sample {
        match &self.reference {
            Some((_, reference)) => self.ours.over(reference),
            None => self.ours.clone(),
        }
    }

    fn verdict(&self) -> Option<bool> {
        Some(self.target?.is_met(self.judged().median()))
    }
}

/// The table of a section.
pub struct Report {
    section: &'static str,
    lines: Vec<Line>,
}

impl Report {
    /// An empty one.
    pub fn new(section: &'static str) -> Self {
        Self { section, lines: Vec::new() }
    }

    /// Adds a figure that stands for itself.
    pub fn figure(
        &mut self,
        goal: &'static str,
        what: impl Into<String>,
        ours: Sample,
        target: Option<Target>,
    ) {
        self.lines.push(Line { goal, what: what.into(), ours, reference: None, target });
    }

    /// Adds a ratio: what was measured over its reference.
    pub fn ratio(
        &mut self,
        goal: &'static str,
        what: impl Into<String>,
        ours: &Sample,
        (name, reference): (&str, &Sample),
        target: Option<Target>,
    ) {
        let reference = Some((name.to_owned(), reference.clone()));
        self.lines.push(Line { goal, what: what.into(), ours: ours.clone(), reference, target });
    }

    /// Says what is measured now, on standard error.
    pub fn progress(&self, text: &str) {
        eprintln!("{}: {text}", self.section);
    }

    /// Whether any target was missed.
    pub fn has_miss(&self) -> bool {
        self.lines.iter().any(|line| line.verdict() == Some(false))
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["goal", "what", "pinion", "reference", "ratio", "target", ""]);
        for line in &self.lines {
            let (reference, ratio, unit) = match &line.reference {
                Some((name, sample)) => {
                    (format!("{} {name}", sample.show()), line.judged().show(), Unit::Times)
                }
                None => (String::new(), String::new(), line.ours.unit),
            };
            let verdict = match line.verdict() {
                Some(true) => "PASS",
                Some(false) => "MISS",
                None => "",
            };
            let target = line.target.map_or_else(String::new, |target| target.show(unit));
            table.add_row([
                Cell::new(line.goal),
                Cell::new(&line.what),
                Cell::new(line.ours.show()).set_alignment(CellAlignment::Right),
                Cell::new(reference).set_alignment(CellAlignment::Right),
                Cell::new(ratio).set_alignment(CellAlignment::Right),
                Cell::new(target),
                Cell::new(verdict),
            ]);
        }
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_is_the_median_of_ratios() {
        let ours = Sample::of(Unit::Seconds, [1.0, 20.0, 3.0]);
        let theirs = Sample::of(Unit::Seconds, [1.0, 10.0, 1.0]);
        assert!((ours.over(&theirs).median() - 2.0).abs() < 1e-9);
        let mut report = Report::new("x");
        report.ratio("P0", "thing", &ours, ("floor", &theirs), Some(Target::AtMost(1.5)));
        assert!(report.has_miss());
        assert!(report.to_string().contains("2.00x (1.00x..3.00x)"));
    }

    #[test]
    fn quantiles_are_nearest_ranks() {
        let sample = Sample::of(Unit::Count, (0..101).map(f64::from));
        assert!((sample.quantile(0.99) - 99.0).abs() < 1e-9);
        assert!((sample.median() - 50.0).abs() < 1e-9);
        assert!((Sample::of(Unit::Count, [4.0, 1.0]).median() - 2.5).abs() < 1e-9);
        assert!(Sample::new(Unit::Count).median().is_nan());
    }
}
