//! Reads the fields of a cron expression, and finds the next moment of a clock that they match.

use jiff::civil::{Date, DateTime, Weekday};

/// Longest wait for a leap day: 2096-02-29 to 2104-02-29.
const MAX_YEARS: i16 = 9;

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Years that AWS takes.
const YEARS: (u32, u32) = (1970, 2199);

/// Which minutes match. Bit `n` of a set stands for the number `n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Sorted; empty is every year.
    years: Vec<i16>,
    /// Whether days of the month are left open, so that only days of the week count, and the other way round.
    any_day: bool,
    any_weekday: bool,
    /// Whether minutes or hours have a star: then ticks follow the clock through every change of it.
    is_interval: bool,
}

/// One field, as it is read.
struct Field {
    bits: u64,
    /// It has a star without a step.
    is_open: bool,
    /// It has a star.
    has_star: bool,
}

/// What a field may hold.
struct Range {
    name: &'static str,
    min: u32,
    max: u32,
    words: &'static [&'static str],
}

impl Fields {
    /// Reads five fields, a word such as `@daily`, or six fields in `cron(...)`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(inner) = text.strip_prefix("cron(").and_then(|rest| rest.strip_suffix(')')) {
            return Self::parse_aws(inner);
        }
        let text = word(text).unwrap_or(text);
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(
                "a cron expression has 5 fields (minute, hour, day of month, month, day of week), or is a \
                        word such as @hourly, @daily, @weekly, @monthly, @yearly"
                    .to_owned(),
            );
        };
        let weekdays = field(weekdays, &Range { name: "day of week", min: 0, max: 7, words: WEEKDAYS })?;
        Self::new([minutes, hours, days, months], weekdays, Vec::new())
    }

    /// The fields of CloudWatch: a sixth one for the year, and weekdays from 1 on.
    fn parse_aws(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays, years] = fields.as_slice() else {
            return Err(
                "`cron(...)` has 6 fields: minute, hour, day of month, month, day of week, year".to_owned()
            );
        };
        let range = Range { name: "day of week", min: 1, max: 7, words: WEEKDAYS };
        let mut weekdays = field(weekdays, &range)?;
        weekdays.bits >>= 1;
        let years = self::years(years)?;
        Self::new([minutes, hours, days, months], weekdays, years)
    }

    fn new(
        [minutes, hours, days, months]: [&str; 4],
        mut weekdays: Field,
        years: Vec<i16>,
    ) -> Result<Self, String> {
        let minutes = field(minutes, &Range { name: "minute", min: 0, max: 59, words: &[] })?;
        let hours = field(hours, &Range { name: "hour", min: 0, max: 23, words: &[] })?;
        let days = field(days, &Range { name: "day of month", min: 1, max: 31, words: &[] })?;
        let months = field(months, &Range { name: "month", min: 1, max: 12, words: MONTHS })?;
        // Sunday is 0, and 7.
        weekdays.bits |= (weekdays.bits >> 7) & 1;
        Ok(Self {
            minutes: minutes.bits,
            hours: hours.bits,
            days: days.bits,
            months: months.bits,
            weekdays: weekdays.bits,
            years,
            any_day: days.is_open,
            any_weekday: weekdays.is_open,
            is_interval: minutes.has_star || hours.has_star,
        })
    }

    pub(super) fn has_years(&self) -> bool {
        !self.years.is_empty()
    }

    pub(super) fn is_interval(&self) -> bool {
        self.is_interval
    }

    /// The last year worth a look, from a moment on.
    pub(super) fn last_year(&self, from: DateTime) -> i16 {
        match self.years.last() {
            Some(last) => *last,
            None => from.year().saturating_add(MAX_YEARS),
        }
    }

    /// The first full minute from `from` on that matches.
    pub(super) fn next_match(&self, from: DateTime) -> Option<DateTime> {
        let last_year = self.last_year(from);
        let mut minute_of_day = minutes_of(from);
        let mut date = from.date();
        while date.year() <= last_year {
            if !self.has_year(date.year()) {
                date = Date::new(date.year().checked_add(1)?, 1, 1).ok()?;
            } else if !has(self.months, date.month()) {
                date = date.first_of_month().checked_add(jiff::Span::new().months(1)).ok()?;
            } else {
                if self.has_day(date)
                    && let Some((hour, minute)) = self.next_minute(minute_of_day)
                {
                    return Some(date.at(hour, minute, 0, 0));
                }
                date = date.tomorrow().ok()?;
            }
            minute_of_day = 0;
        }
        None
    }

    fn has_year(&self, year: i16) -> bool {
        self.years.is_empty() || self.years.binary_search(&year).is_ok()
    }

    /// Either will do when both are restricted, as cron has it.
    fn has_day(&self, date: Date) -> bool {
        let by_day = has(self.days, date.day());
        let by_weekday = has(self.weekdays, sunday_zero(date.weekday()));
        if self.any_day || self.any_weekday { by_day && by_weekday } else { by_day || by_weekday }
    }

    /// The first hour and minute that match, from a minute of the day on.
    fn next_minute(&self, from: i32) -> Option<(i8, i8)> {
        let (hour, minute) = (from.div_euclid(60), from.rem_euclid(60));
        if has(self.hours, hour)
            && let Some(minute) = next_bit(self.minutes, minute)
        {
            return Some((i8::try_from(hour).ok()?, minute));
        }
        Some((next_bit(self.hours, hour + 1)?, next_bit(self.minutes, 0)?))
    }
}

fn sunday_zero(weekday: Weekday) -> i8 {
    weekday.to_sunday_zero_offset()
}

/// The minute of the day at which the search starts: a minute that has begun is over.
fn minutes_of(time: DateTime) -> i32 {
    let begun = time.second() != 0 || time.subsec_nanosecond() != 0;
    i32::from(time.hour()) * 60 + i32::from(time.minute()) + i32::from(begun)
}

fn has(bits: u64, n: impl Into<i32>) -> bool {
    u32::try_from(n.into()).ok().and_then(|n| bits.checked_shr(n)).is_some_and(|bits| bits & 1 == 1)
}

fn next_bit(bits: u64, from: i32) -> Option<i8> {
    let from = u32::try_from(from).ok()?;
    let rest = bits.checked_shr(from)?;
    if rest == 0 { None } else { i8::try_from(from + rest.trailing_zeros()).ok() }
}

/// The five fields that a word stands for; those of flytekit have no `@`.
fn word(text: &str) -> Option<&'static str> {
    match text.strip_prefix('@').unwrap_or(text).to_ascii_lowercase().as_str() {
        "hourly" | "hours" => Some("0 * * * *"),
        "daily" | "days" | "midnight" => Some("0 0 * * *"),
        "weekly" | "weeks" => Some("0 0 * * 0"),
        "monthly" | "months" => Some("0 0 1 * *"),
        "yearly" | "years" | "annually" => Some("0 0 1 1 *"),
        _ => None,
    }
}

/// `*`, `?`, `a`, `a-b`, each with an optional `/step`, joined by commas.
fn field(text: &str, range: &Range) -> Result<Field, String> {
    let mut out = Field { bits: 0, is_open: false, has_star: false };
    for item in text.split(',') {
        let (bounds, step) = match item.split_once('/') {
            Some((bounds, step)) => (bounds, Some(step)),
            None => (item, None),
        };
        let broken = || {
            let Range { name, min, max, .. } = range;
            format!("{name} `{text}`: `{item}` is neither `*` nor within {min}-{max}")
        };
        let is_star = matches!(bounds, "*" | "?");
        let every = match step {
            Some(step) => step.parse::<u32>().ok().filter(|step| *step > 0).ok_or_else(broken)?,
            None => 1,
        };
        // A full week has 7 days, though Sunday has two numbers.
        let last = if range.max == 7 && range.min == 0 { 6 } else { range.max };
        let (first, last) = match bounds.split_once('-') {
            _ if is_star => (range.min, last),
            Some((first, last)) => {
                (value(first, range).ok_or_else(broken)?, value(last, range).ok_or_else(broken)?)
            }
            None => {
                let first = value(bounds, range).ok_or_else(broken)?;
                (first, if step.is_some() { last.max(first) } else { first })
            }
        };
        if first > last {
            return Err(broken());
        }
        let mut n = first;
        while n <= last {
            out.bits |= 1 << n;
            n = n.saturating_add(every);
        }
        out.has_star |= is_star;
        out.is_open |= is_star && every == 1;
    }
    Ok(out)
}

fn value(text: &str, range: &Range) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    let value = match range.words.iter().position(|word| *word == lower) {
        // The words count from the least number, of weekdays as of months.
        Some(at) => u32::try_from(at).ok()? + range.min,
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok()?,
        None => return None,
    };
    (range.min..=range.max).contains(&value).then_some(value)
}

/// `*`, `a`, `a-b`, each with an optional `/step`, joined by commas; empty is every year.
fn years(text: &str) -> Result<Vec<i16>, String> {
    let (min, max) = YEARS;
    let mut out = Vec::new();
    for item in text.split(',') {
        let broken = || format!("year `{text}`: `{item}` is neither `*` nor within {min}-{max}");
        let year =
            |text: &str| text.parse().ok().filter(|year| (min..=max).contains(year)).ok_or_else(broken);
        let (bounds, step) = match item.split_once('/') {
            Some((bounds, step)) => (bounds, step.parse().ok().filter(|step| *step > 0).ok_or_else(broken)?),
            None => (item, 1),
        };
        let (first, last) = match bounds.split_once('-') {
            _ if bounds == "*" && step == 1 => return Ok(Vec::new()),
            _ if bounds == "*" => (min, max),
            Some((first, last)) => (year(first)?, year(last)?),
            None if item.contains('/') => (year(bounds)?, max),
            None => (year(bounds)?, year(bounds)?),
        };
        out.extend((first..=last).step_by(step).filter_map(|year| i16::try_from(year).ok()));
    }
    out.sort_unstable();
    out.dedup();
    if out.is_empty() { Err(format!("year `{text}`: no year")) } else { Ok(out) }
}
