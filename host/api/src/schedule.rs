//! Checks the schedule of a launch plan. Pure.

use compiler::typing;
use proto::flyteidl::admin::{LaunchPlanSpec, schedule::ScheduleExpression};
use proto::flyteidl::core::{LiteralType, ParameterMap, SimpleType, literal_type, parameter::Behavior};
use store::NewSchedule;

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

/// Checks a launch plan's schedule, against the inputs that it leaves open.
///
/// # Errors
/// An expression that never fires or can't be read, or an input that nobody would give.
pub fn check(spec: &LaunchPlanSpec, expected: &ParameterMap) -> Result<ScheduleType, Error> {
    let Some(schedule) = of_plan(spec)? else { return Ok(ScheduleType::None) };
    let kickoff = schedule.timing.kickoff.as_str();
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
        None => Ok(schedule_type(spec)),
    }
}

/// The schedule that a launch plan brings along when it is activated.
///
/// # Errors
/// As [`check`], inputs apart.
pub fn of_plan(spec: &LaunchPlanSpec) -> Result<Option<NewSchedule>, Error> {
    scheduler::schedule_of(spec).map_err(|error| invalid(error.to_string()))
}

fn schedule_type(spec: &LaunchPlanSpec) -> ScheduleType {
    let schedule = spec.entity_metadata.as_ref().and_then(|metadata| metadata.schedule.as_ref());
    match schedule.and_then(|schedule| schedule.schedule_expression.as_ref()) {
        None => ScheduleType::None,
        Some(ScheduleExpression::Rate(_)) => ScheduleType::Rate,
        Some(_) => ScheduleType::Cron,
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

fn invalid(reason: impl Into<String>) -> Error {
    Error::invalid("spec.entity_metadata.schedule", reason)
}

#[cfg(test)]
mod tests {
    use proto::flyteidl::admin::{Annotations, CronSchedule, FixedRate, LaunchPlanMetadata, Schedule};
    use proto::flyteidl::core::{Parameter, Variable};

    use super::*;

    fn plan(schedule: Schedule) -> LaunchPlanSpec {
        let metadata = LaunchPlanMetadata { schedule: Some(schedule), ..LaunchPlanMetadata::default() };
        LaunchPlanSpec { entity_metadata: Some(metadata), ..LaunchPlanSpec::default() }
    }

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
    fn schedules_have_a_type_for_the_list_filter() {
        let none = ParameterMap::default();
        let of = |schedule| check(&plan(schedule), &none);
        assert_eq!(of(cron("0 8 * * *")).unwrap(), ScheduleType::Cron);
        let rate = |value, unit| Schedule {
            schedule_expression: Some(ScheduleExpression::Rate(FixedRate { value, unit })),
            ..Schedule::default()
        };
        assert_eq!(of(rate(1, 2)).unwrap(), ScheduleType::Rate);
        assert!(of(rate(0, 0)).is_err());
        assert!(of(cron("61 * * * *")).is_err());
        assert_eq!(of(Schedule::default()).unwrap(), ScheduleType::None);
        assert_eq!(check(&LaunchPlanSpec::default(), &none).unwrap(), ScheduleType::None);
    }

    #[test]
    fn every_input_must_come_from_somewhere() {
        let when = ParameterMap { parameters: [("t".to_owned(), required(SimpleType::Datetime))].into() };
        assert!(check(&plan(cron("@daily")), &when).is_err());
        let kickoff = plan(Schedule { kickoff_time_input_arg: "t".to_owned(), ..cron("@daily") });
        assert_eq!(check(&kickoff, &when).unwrap(), ScheduleType::Cron);
        let number = ParameterMap { parameters: [("t".to_owned(), required(SimpleType::Integer))].into() };
        assert!(check(&kickoff, &number).is_err());
        assert!(check(&kickoff, &ParameterMap::default()).is_err());
    }

    #[test]
    fn what_annotations_say_of_a_schedule_is_checked_too() {
        let values = [(scheduler::plan::TIMEZONE.to_owned(), "Mars/Base".to_owned())].into();
        let spec = LaunchPlanSpec { annotations: Some(Annotations { values }), ..plan(cron("@daily")) };
        let error = check(&spec, &ParameterMap::default()).unwrap_err().to_string();
        assert!(error.contains("Mars/Base"), "{error}");
    }
}
