//! Checks the schedule of a launch plan. Pure.

use compiler::typing;
use proto::flyteidl::admin::{FixedRateUnit, Schedule, schedule::ScheduleExpression};
use proto::flyteidl::core::{LiteralType, ParameterMap, SimpleType, literal_type, parameter::Behavior};

use crate::Error;

/// What a launch plan's schedule column says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleType {
    /// No schedule.
    None,
    /// A cron expression.
    Cron,
    /// A fixed rate.
    Rate,
}

impl ScheduleType {
    /// The column's text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Cron => "CRON",
            Self::Rate => "RATE",
        }
    }
}

/// Words for common schedules; `@` before them may be left out.
const ALIASES: &[&str] = &[
    "hourly", "hours", "daily", "days", "weekly", "weeks", "monthly", "months", "annually", "yearly",
    "years", "midnight",
];

/// Checks a schedule against the inputs that its launch plan leaves open.
///
/// # Errors
/// An expression that never fires or can't be read, or an input that nobody would give.
pub fn check(schedule: Option<&Schedule>, expected: &ParameterMap) -> Result<ScheduleType, Error> {
    let Some(schedule) = schedule else { return Ok(ScheduleType::None) };
    let Some(schedule_type) = expression(schedule)? else {
        if schedule.kickoff_time_input_arg.is_empty() {
            return Ok(ScheduleType::None);
        }
        return Err(invalid("has a kickoff time input, but no expression"));
    };
    let kickoff = schedule.kickoff_time_input_arg.as_str();
    if !kickoff.is_empty() {
        check_kickoff(kickoff, expected)?;
    }
    let open = expected.parameters.iter().find(|(name, parameter)| {
        *name != kickoff && !matches!(parameter.behavior, Some(Behavior::Default(_)))
    });
    match open {
        Some((name, _)) => Err(invalid(format!(
            "input `{name}` has neither a default nor a fixed value, so nothing would give it"
        ))),
        None => Ok(schedule_type),
    }
}

fn check_kickoff(kickoff: &str, expected: &ParameterMap) -> Result<(), Error> {
    let parameter = expected.parameters.get(kickoff).ok_or_else(|| {
        invalid(format!("kickoff time input `{kickoff}` is no free input of the launch plan"))
    })?;
    let found = parameter.var.as_ref().and_then(|variable| variable.r#type.as_ref());
    let datetime = LiteralType {
        r#type: Some(literal_type::Type::Simple(SimpleType::Datetime as i32)),
        ..LiteralType::default()
    };
    match found {
        Some(found) if typing::castable(&datetime, found) => Ok(()),
        found => {
            let found = found.map_or_else(|| "unknown".to_owned(), typing::describe);
            Err(invalid(format!("kickoff time input `{kickoff}` must be a datetime, it is of type {found}")))
        }
    }
}

#[allow(deprecated, reason = "old clients still send cron_expression")]
fn expression(schedule: &Schedule) -> Result<Option<ScheduleType>, Error> {
    match &schedule.schedule_expression {
        None => Ok(None),
        Some(ScheduleExpression::CronExpression(text)) => check_cron(text).map(Some),
        Some(ScheduleExpression::CronSchedule(cron)) => {
            if !cron.offset.is_empty() {
                return Err(invalid("an offset is not supported"));
            }
            check_cron(&cron.schedule).map(Some)
        }
        Some(ScheduleExpression::Rate(rate)) => {
            if rate.value == 0 {
                return Err(invalid("a rate must be greater than 0"));
            }
            FixedRateUnit::try_from(rate.unit)
                .map(|_| Some(ScheduleType::Rate))
                .map_err(|_| invalid(format!("{} is no unit of a rate", rate.unit)))
        }
    }
}

fn check_cron(text: &str) -> Result<ScheduleType, Error> {
    let broken =
        |reason: &str| invalid(format!("`{}`: {reason}", text.chars().take(100).collect::<String>()));
    let trimmed = text.trim();
    if let Some(every) = trimmed.strip_prefix("@every ") {
        let positive = every.starts_with(|c: char| c.is_ascii_digit());
        return if positive {
            Ok(ScheduleType::Cron)
        } else {
            Err(broken("@every needs a duration such as 1h30m"))
        };
    }
    if ALIASES.contains(&trimmed.trim_start_matches('@')) {
        return Ok(ScheduleType::Cron);
    }
    let fields: Vec<&str> = trimmed.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else {
        return Err(broken(
            "a cron expression has 5 fields, or is one of @hourly, @daily, @weekly, @monthly, @yearly",
        ));
    };
    const MONTHS: &[&str] =
        &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    for (name, field, min, max, words) in [
        ("minute", minute, 0, 59, &[][..]),
        ("hour", hour, 0, 23, &[]),
        ("day of month", day, 1, 31, &[]),
        ("month", month, 1, 12, MONTHS),
        ("day of week", weekday, 0, 7, DAYS),
    ] {
        if !is_field(field, min, max, words) {
            return Err(broken(&format!("{name} `{field}` is not within {min}-{max}")));
        }
    }
    Ok(ScheduleType::Cron)
}

/// `*`, `?`, `a`, `a-b`, each with an optional `/step`, joined by commas.
fn is_field(field: &str, min: u32, max: u32, words: &[&str]) -> bool {
    let value = |text: &str| {
        let lower = text.to_ascii_lowercase();
        let word = words.iter().position(|word| *word == lower);
        match word {
            Some(at) => u32::try_from(at).ok().map(|at| at + min.min(1)),
            None => text.parse().ok().filter(|value| (min..=max).contains(value)),
        }
    };
    field.split(',').all(|item| {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let step_fits = step.is_none_or(|step| step.parse::<u32>().is_ok_and(|step| step > 0));
        let range_fits = match range.split_once('-') {
            _ if range == "*" || range == "?" => true,
            Some((from, to)) => matches!((value(from), value(to)), (Some(from), Some(to)) if from <= to),
            None => value(range).is_some(),
        };
        step_fits && range_fits
    })
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::invalid("spec.entity_metadata.schedule", reason)
}

#[cfg(test)]
mod tests {
    use proto::flyteidl::admin::{CronSchedule, FixedRate};
    use proto::flyteidl::core::{Parameter, Variable};

    use super::*;

    fn cron(text: &str) -> Schedule {
        let cron = CronSchedule { schedule: text.to_owned(), offset: String::new() };
        Schedule { schedule_expression: Some(ScheduleExpression::CronSchedule(cron)), ..Schedule::default() }
    }

    fn required(simple: SimpleType) -> Parameter {
        let literal_type =
            LiteralType { r#type: Some(literal_type::Type::Simple(simple as i32)), ..LiteralType::default() };
        let var = Variable { r#type: Some(literal_type), ..Variable::default() };
        Parameter { var: Some(var), behavior: Some(Behavior::Required(true)) }
    }

    #[test]
    fn cron_reads_as_a_cron_does() {
        for text in [
            "* * * * *",
            "*/5 * * * *",
            "0 0 1 jan mon-fri",
            "1,2,3-5/2 0 ? * *",
            "0 10 * * 7",
            "@hourly",
            "daily",
            "@every 1h",
        ] {
            assert!(check(Some(&cron(text)), &ParameterMap::default()).is_ok(), "{text}");
        }
        for text in
            ["", "* * * *", "60 * * * *", "* * 0 * *", "a * * * *", "5-1 * * * *", "*/0 * * * *", "@never"]
        {
            assert!(check(Some(&cron(text)), &ParameterMap::default()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_positive() {
        let rate = |value, unit| Schedule {
            schedule_expression: Some(ScheduleExpression::Rate(FixedRate { value, unit })),
            ..Schedule::default()
        };
        assert_eq!(check(Some(&rate(1, 2)), &ParameterMap::default()).unwrap(), ScheduleType::Rate);
        assert!(check(Some(&rate(0, 0)), &ParameterMap::default()).is_err());
        assert!(check(Some(&rate(1, 9)), &ParameterMap::default()).is_err());
    }

    #[test]
    fn every_input_must_come_from_somewhere() {
        let when = ParameterMap { parameters: [("t".to_owned(), required(SimpleType::Datetime))].into() };
        assert!(check(Some(&cron("@daily")), &when).is_err());
        let kickoff = Schedule { kickoff_time_input_arg: "t".to_owned(), ..cron("@daily") };
        assert_eq!(check(Some(&kickoff), &when).unwrap(), ScheduleType::Cron);
        let number = ParameterMap { parameters: [("t".to_owned(), required(SimpleType::Integer))].into() };
        assert!(check(Some(&kickoff), &number).is_err());
        assert!(check(Some(&kickoff), &ParameterMap::default()).is_err());
    }

    #[test]
    fn no_schedule_is_fine() {
        assert_eq!(check(None, &ParameterMap::default()).unwrap(), ScheduleType::None);
        assert_eq!(check(Some(&Schedule::default()), &ParameterMap::default()).unwrap(), ScheduleType::None);
    }
}
