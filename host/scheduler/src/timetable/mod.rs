//! Says when a schedule fires: cron expressions in a time zone, and fixed rates. Pure.
//!
//! The texts that are understood:
//!
//! | text | ticks |
//! |---|---|
//! | `0 8 * * mon-fri` | five cron fields: minute, hour, day of month, month, day of week (0 or 7 is Sunday) |
//! | `@hourly`, `hourly`, `hours` and so on | the words of cron, and those of flytekit |
//! | `@every 1h30m` | a rate |
//! | `rate(15 minutes)` | a rate |
//! | `cron(0 10 * * ? 2030)` | six fields as AWS writes them, with a year; day of week 1 is Sunday |
//! | `CRON_TZ=Europe/Berlin 0 8 * * *` | any cron of the above in a time zone, also `TZ=` |
//! | `0 8 * * * offset(PT30M)` | any of the above, later by an ISO 8601 duration |
//!
//! When both the day of the month and the day of the week are restricted, either will do, as cron has it.
//!
//! Where clocks are moved, cron follows the rule of Vixie's: an expression with a `*` in the minutes or hours goes by
//! what the clock shows, so that it fires in neither hour that does not exist and in both hours that exist twice. One
//! that names its hour and minute fires once: at the end of the gap that swallowed its time, and the first of the two
//! times the clock shows it.
//!
//! A rate counts from its anchor, the activation of the launch plan, whatever happened since; a day is 24 hours.
//!
//! # Design notes
//! `croner` was looked at: it takes lists of hours (`0 2,14 * * *`) for intervals, so that their ticks in a gap are
//! lost; it gives up on gaps longer than two hours; and a date that does not exist is searched up to the year 5000.
//! Time zones come from `jiff`. Between two changes of a zone its clock runs evenly; everything here works on such
//! stretches, one after the other.

mod cron;
#[cfg(test)]
mod dst_tests;
#[cfg(test)]
mod tests;
mod zone;

use std::str::FromStr;

use jiff::tz::TimeZone;
use model::Timestamp;

use cron::Fields;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Why a text says no times.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {reason}")]
pub struct TimetableError {
    /// The text, cut to a readable length.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// When a schedule fires.
#[derive(Clone, Debug)]
pub struct Timetable {
    rule: Rule,
    /// Microseconds that every tick is later than its rule says.
    offset: i64,
}

#[derive(Clone, Debug)]
enum Rule {
    Cron { fields: Box<Fields>, zone: TimeZone },
    Every { micros: i64 },
}

impl Timetable {
    /// Reads a text; see the table above. `timezone` is that of a cron which names none.
    ///
    /// # Errors
    /// A text that says nothing, or times that never come.
    pub fn parse(text: &str, timezone: &str) -> Result<Self, TimetableError> {
        let fail = |reason: String| {
            let text = text.chars().take(100).collect();
            TimetableError { text, reason }
        };
        let table = parse(text.trim(), timezone).map_err(fail)?;
        // The turn of a century leaves out a leap day, so a search from here meets the longest wait there is.
        let start = table.rule.start();
        match table.next_after(start, start) {
            Some(_) => Ok(table),
            None => Err(fail("there is no such time".to_owned())),
        }
    }

    /// Whether it is a fixed rate, so that its ticks depend on the anchor.
    pub fn is_rate(&self) -> bool {
        matches!(self.rule, Rule::Every { .. })
    }

    /// Name of the time zone that the clock of a cron shows; `None` for a rate.
    pub fn timezone(&self) -> Option<&str> {
        match &self.rule {
            Rule::Cron { zone, .. } => zone.iana_name().or(Some("UTC")),
            Rule::Every { .. } => None,
        }
    }

    /// The first tick after a time. A rate is counted from the anchor, in both directions.
    pub fn next_after(&self, after: Timestamp, anchor: Timestamp) -> Option<Timestamp> {
        let before_offset = after.plus(-self.offset);
        let tick = match &self.rule {
            Rule::Every { micros } => {
                // Whole seconds, so that the times read well.
                let anchor = anchor.0.div_euclid(MICROS_PER_SECOND) * MICROS_PER_SECOND;
                let n_passed = before_offset.0.checked_sub(anchor)?.div_euclid(*micros);
                Timestamp(n_passed.checked_add(1)?.checked_mul(*micros)?.checked_add(anchor)?)
            }
            Rule::Cron { fields, zone } => zone::next_after(fields, zone, before_offset)?,
        };
        Some(tick.plus(self.offset))
    }

    /// The ticks from `from` on and before `to`, in their order.
    pub fn ticks(
        &self,
        from: Timestamp,
        to: Timestamp,
        anchor: Timestamp,
    ) -> impl Iterator<Item = Timestamp> {
        let first = self.next_after(from.plus(-1), anchor);
        std::iter::successors(first, move |tick| self.next_after(*tick, anchor))
            .take_while(move |tick| *tick < to)
    }
}

impl Rule {
    /// From when on it is looked whether it ever fires.
    fn start(&self) -> Timestamp {
        /// 2096-03-01: the leap day after the next is eight years away.
        const BEFORE_THE_LONGEST_WAIT: Timestamp = Timestamp(3_981_312_000_000_000);
        match self {
            Self::Cron { fields, .. } if fields.has_years() => Timestamp(0),
            _ => BEFORE_THE_LONGEST_WAIT,
        }
    }
}

fn parse(text: &str, timezone: &str) -> Result<Timetable, String> {
    let (text, offset) = match text.strip_suffix(')').and_then(|rest| rest.rsplit_once("offset(")) {
        Some((rest, offset)) => (rest.trim_end(), self::offset(offset)?),
        None => (text, 0),
    };
    let (timezone, text) = match text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) {
        Some(rest) => {
            let (zone, text) = rest.split_once(char::is_whitespace).ok_or("a time zone, but no times")?;
            (zone, text.trim_start())
        }
        None => (timezone, text),
    };
    let rule = match rate(text)? {
        Some(micros) => Rule::Every { micros },
        None => Rule::Cron { fields: Box::new(Fields::parse(text)?), zone: self::zone(timezone)? },
    };
    Ok(Timetable { rule, offset })
}

fn zone(name: &str) -> Result<TimeZone, String> {
    // jiff takes any letter case and abbreviations of its own; only names of the tz database pass here.
    TimeZone::get(name).map_err(|_| {
        format!("`{name}` is no time zone of the tz database; write it as `Europe/Berlin` or `UTC`")
    })
}

/// Microseconds of a rate; `None` when the text is none.
fn rate(text: &str) -> Result<Option<i64>, String> {
    let micros = if let Some(every) = text.strip_prefix("@every ") {
        let every = config::Duration::from_str(every.trim()).map_err(|error| error.to_string())?;
        i64::try_from(every.as_micros()).map_err(|_| "too long".to_owned())?
    } else if let Some(inner) = text.strip_prefix("rate(").and_then(|rest| rest.strip_suffix(')')) {
        let (value, unit) = inner.trim().split_once(' ').ok_or("a rate reads `rate(15 minutes)`")?;
        let value: i64 = value.parse().map_err(|_| format!("`{value}` is not a whole number"))?;
        let seconds = match unit.trim() {
            "minute" | "minutes" => 60,
            "hour" | "hours" => 60 * 60,
            "day" | "days" => 24 * 60 * 60,
            other => return Err(format!("`{other}` is none of minutes, hours, days")),
        };
        value.checked_mul(seconds * MICROS_PER_SECOND).ok_or("too long")?
    } else {
        return Ok(None);
    };
    if micros < MICROS_PER_SECOND {
        return Err("a rate is one second at least".to_owned());
    }
    if micros % MICROS_PER_SECOND != 0 {
        return Err("a rate is whole seconds".to_owned());
    }
    Ok(Some(micros))
}

/// Microseconds of an ISO 8601 duration that is as long on every day.
fn offset(text: &str) -> Result<i64, String> {
    let text = text.trim();
    let is_iso = text.trim_start_matches(['+', '-']).starts_with('P');
    let span = jiff::Span::from_str(text)
        .ok()
        .filter(|_| is_iso)
        .ok_or_else(|| format!("offset `{text}` is no ISO 8601 duration such as `PT1H30M`"))?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(format!("offset `{text}` has months or years, which are not equally long"));
    }
    let length = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| format!("offset `{text}` is too long"))?;
    i64::try_from(length.as_micros()).map_err(|_| format!("offset `{text}` is too long"))
}
