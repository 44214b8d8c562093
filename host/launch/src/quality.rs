//! Resolves the quality of service: request, launch plan, workflow, attributes, then the domain's. Pure.

use model::time::duration_to_proto;
use prost_types::Duration;
use proto::flyteidl::core::{
    QualityOfService,
    quality_of_service::{Designation, Tier},
};

use crate::Config;

/// Reads a tier of the configuration.
pub(crate) fn tier(name: &str) -> Option<Tier> {
    Tier::from_str_name(&name.to_ascii_uppercase()).filter(|tier| *tier != Tier::Undefined)
}

/// The first of `said` that says something, else what the configuration says of the domain.
pub(crate) fn resolve<'a>(
    said: impl IntoIterator<Item = Option<&'a QualityOfService>>,
    domain: &str,
    config: &Config,
) -> Option<QualityOfService> {
    said.into_iter().flatten().find(|quality| says_something(quality)).cloned().or_else(|| {
        let tier = config.domain_quality_of_service.get(domain).and_then(|name| tier(name))?;
        Some(QualityOfService { designation: Some(Designation::Tier(tier as i32)) })
    })
}

fn says_something(quality: &QualityOfService) -> bool {
    match &quality.designation {
        Some(Designation::Tier(number)) => *number != Tier::Undefined as i32,
        Some(Designation::Spec(spec)) => spec.queueing_budget.is_some(),
        None => false,
    }
}

/// How long an execution of this quality may wait.
pub(crate) fn queueing_budget(quality: Option<&QualityOfService>, config: &Config) -> Option<Duration> {
    match quality?.designation.as_ref()? {
        Designation::Spec(spec) => spec.queueing_budget,
        Designation::Tier(number) => {
            let asked = Tier::try_from(*number).ok()?;
            let budget = config.queueing_budgets.iter().find(|(name, _)| tier(name) == Some(asked))?.1;
            Some(duration_to_proto(i64::try_from(budget.get().as_micros()).unwrap_or(i64::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::flyteidl::core::QualityOfServiceSpec;

    use super::*;

    fn of_tier(tier: Tier) -> QualityOfService {
        QualityOfService { designation: Some(Designation::Tier(tier as i32)) }
    }

    fn of_seconds(seconds: i64) -> QualityOfService {
        let spec = QualityOfServiceSpec { queueing_budget: Some(Duration { seconds, nanos: 0 }) };
        QualityOfService { designation: Some(Designation::Spec(spec)) }
    }

    fn config() -> Config {
        Config {
            domain_quality_of_service: [("production".to_owned(), "high".to_owned())].into(),
            queueing_budgets: [("HIGH".to_owned(), config::Duration::from_secs(60))].into(),
            ..Config::default()
        }
    }

    #[test]
    fn the_first_that_says_something_holds() {
        let (high, low, spec, nothing) =
            (of_tier(Tier::High), of_tier(Tier::Low), of_seconds(5), of_tier(Tier::Undefined));
        let resolve =
            |said: &[Option<&QualityOfService>], domain| resolve(said.iter().copied(), domain, &config());
        assert_eq!(resolve(&[None, Some(&low), Some(&high)], "production"), Some(low));
        assert_eq!(resolve(&[Some(&nothing), Some(&spec), Some(&low)], "production"), Some(spec));
        assert_eq!(resolve(&[None, Some(&nothing)], "production"), Some(high));
        assert_eq!(resolve(&[None], "staging"), None);
    }

    #[test]
    fn budgets_come_from_the_spec_or_the_tier() {
        let budget = |quality: &QualityOfService| {
            queueing_budget(Some(quality), &config()).map(|budget| budget.seconds)
        };
        assert_eq!(budget(&of_seconds(5)), Some(5));
        assert_eq!(budget(&of_tier(Tier::High)), Some(60));
        assert_eq!(budget(&of_tier(Tier::Low)), None);
        assert_eq!(queueing_budget(None, &config()), None);
    }
}
