//! Reads what a launch plan says about its schedule. Pure.
//!
//! Besides `entity_metadata.schedule` two annotations (or labels) count: `pinion.dev/timezone`, because the stock
//! client lets no zone stand before a cron expression, and `pinion.dev/catch-up`.

use proto::flyteidl::admin::{FixedRateUnit, LaunchPlanSpec, Schedule, schedule::ScheduleExpression};
use store::{NewSchedule, Timing};

use crate::CatchUp;
use crate::timetable::{Timetable, TimetableError};

/// Annotation or label that says what becomes of missed ticks: `none`, `latest` or `all`.
pub const CATCH_UP: &str = "pinion.dev/catch-up";
/// Annotation that names the IANA time zone of the cron expression.
pub const TIMEZONE: &str = "pinion.dev/timezone";

/// Why a launch plan's schedule can't be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The expression.
    #[error(transparent)]
    Timetable(#[from] TimetableError),
    /// A rate of no known unit.
    #[error("{0} is no unit of a rate")]
    Unit(i32),
    /// The annotation about missed ticks.
    #[error("annotation {CATCH_UP}: `{0}` is none of none, latest, all")]
    CatchUp(String),
    /// The annotation that names a time zone.
    #[error("annotation {TIMEZONE}: {0}")]
    Timezone(String),
    /// An input is to be given the time, but there are no times.
    #[error("has a kickoff time input, but no expression")]
    NoExpression,
}

/// The schedule of a launch plan; `None` when it has none.
///
/// # Errors
/// A schedule that can't be run.
pub fn schedule_of(spec: &LaunchPlanSpec) -> Result<Option<NewSchedule>, PlanError> {
    let annotations = spec.annotations.iter().map(|annotations| &annotations.values);
    let labels = spec.labels.iter().map(|labels| &labels.values);
    let maps: Vec<_> = annotations.chain(labels).collect();
    let said = |key: &str| maps.iter().find_map(|map| map.get(key)).cloned().unwrap_or_default();
    let (timezone, catch_up) = (said(TIMEZONE), said(CATCH_UP));
    if !timezone.is_empty() {
        Timetable::parse("@daily", &timezone).map_err(|error| PlanError::Timezone(error.reason))?;
    }
    if !catch_up.is_empty() && CatchUp::parse(&catch_up).is_none() {
        return Err(PlanError::CatchUp(catch_up));
    }
    let Some(schedule) = spec.entity_metadata.as_ref().and_then(|metadata| metadata.schedule.as_ref()) else {
        return Ok(None);
    };
    let Some(expression) = expression_of(schedule)? else {
        return if schedule.kickoff_time_input_arg.is_empty() {
            Ok(None)
        } else {
            Err(PlanError::NoExpression)
        };
    };
    let zone = if timezone.is_empty() { "UTC" } else { &timezone };
    Timetable::parse(&expression, zone)?;
    let kickoff = schedule.kickoff_time_input_arg.clone();
    Ok(Some(NewSchedule { timing: Timing { expression, timezone, kickoff }, catch_up }))
}

/// The schedule's text as [`Timetable::parse`] takes it.
#[allow(deprecated, reason = "old clients still send cron_expression")]
fn expression_of(schedule: &Schedule) -> Result<Option<String>, PlanError> {
    Ok(match &schedule.schedule_expression {
        None => None,
        Some(ScheduleExpression::CronExpression(text)) => {
            let text = text.trim();
            // The deprecated field holds six fields as AWS writes them, or what the newer one holds.
            let is_aws = text.split_whitespace().count() == 6 && !text.contains('=');
            Some(if is_aws { format!("cron({text})") } else { text.to_owned() })
        }
        Some(ScheduleExpression::CronSchedule(cron)) => match cron.offset.trim() {
            "" => Some(cron.schedule.trim().to_owned()),
            offset => Some(format!("{} offset({offset})", cron.schedule.trim())),
        },
        Some(ScheduleExpression::Rate(rate)) => {
            let unit = match FixedRateUnit::try_from(rate.unit) {
                Ok(FixedRateUnit::Minute) => "minutes",
                Ok(FixedRateUnit::Hour) => "hours",
                Ok(FixedRateUnit::Day) => "days",
                Err(_) => return Err(PlanError::Unit(rate.unit)),
            };
            Some(format!("rate({} {unit})", rate.value))
        }
    })
}

#[cfg(test)]
mod tests {
    use proto::flyteidl::admin::{Annotations, CronSchedule, FixedRate, Labels, LaunchPlanMetadata};

    use super::*;

    fn spec(expression: ScheduleExpression) -> LaunchPlanSpec {
        let schedule = Schedule { schedule_expression: Some(expression), ..Schedule::default() };
        let metadata = LaunchPlanMetadata { schedule: Some(schedule), ..LaunchPlanMetadata::default() };
        LaunchPlanSpec { entity_metadata: Some(metadata), ..LaunchPlanSpec::default() }
    }

    fn cron(schedule: &str, offset: &str) -> ScheduleExpression {
        let (schedule, offset) = (schedule.to_owned(), offset.to_owned());
        ScheduleExpression::CronSchedule(CronSchedule { schedule, offset })
    }

    fn expression(expression: ScheduleExpression) -> Result<String, PlanError> {
        schedule_of(&spec(expression)).map(|found| found.unwrap().timing.expression)
    }

    #[test]
    #[allow(deprecated, reason = "old clients still send cron_expression")]
    fn each_way_to_write_a_schedule_is_read() {
        let rate = |value, unit| ScheduleExpression::Rate(FixedRate { value, unit });
        for (given, want) in [
            (cron(" */5 * * * * ", ""), "*/5 * * * *"),
            (cron("daily", "PT1H"), "daily offset(PT1H)"),
            (ScheduleExpression::CronExpression("0 10 * * ? *".to_owned()), "cron(0 10 * * ? *)"),
            (ScheduleExpression::CronExpression("0 10 * * *".to_owned()), "0 10 * * *"),
            (rate(15, 0), "rate(15 minutes)"),
            (rate(2, 1), "rate(2 hours)"),
            (rate(1, 2), "rate(1 days)"),
        ] {
            assert_eq!(expression(given).as_deref(), Ok(want));
        }
        assert!(expression(cron("* * * *", "")).is_err());
        assert!(expression(cron("@daily", "one hour")).is_err());
        assert!(expression(rate(0, 0)).is_err());
        assert_eq!(expression(rate(1, 9)), Err(PlanError::Unit(9)));
        assert_eq!(schedule_of(&LaunchPlanSpec::default()), Ok(None));
    }

    #[test]
    fn annotations_choose_zone_and_catch_up() {
        let with = |key: &str, value: &str| {
            let values = [(key.to_owned(), value.to_owned())].into();
            LaunchPlanSpec { annotations: Some(Annotations { values }), ..spec(cron("@daily", "")) }
        };
        let found = schedule_of(&with(TIMEZONE, "Europe/Berlin")).unwrap().unwrap();
        assert_eq!(found.timing.timezone, "Europe/Berlin");
        assert_eq!(schedule_of(&with(CATCH_UP, "latest")).unwrap().unwrap().catch_up, "latest");
        let label = Labels { values: [(CATCH_UP.to_owned(), "none".to_owned())].into() };
        let labelled = LaunchPlanSpec { labels: Some(label), ..spec(cron("@daily", "")) };
        assert_eq!(schedule_of(&labelled).unwrap().unwrap().catch_up, "none");
        assert!(schedule_of(&with(CATCH_UP, "some")).is_err());
        assert!(schedule_of(&with(TIMEZONE, "Mars/Base")).is_err());
    }
}
