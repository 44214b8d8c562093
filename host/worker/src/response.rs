//! Holds a plugin's answer to the rules of the wall (execution.md B3).

use proto::pinion::plugin::v1::{HandleResponse, Phase, PhaseInfo};

/// Most bytes of state a plugin may keep with an attempt.
pub(crate) const MAX_STATE: usize = 64 * 1024;

/// Where the attempt stood when the plugin was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) phase: i32,
    pub(crate) version: u32,
}

/// Which rule an answer broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Illegal {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Whether another attempt may do better.
    pub(crate) recoverable: bool,
}

/// Checks an answer; the report it makes comes back.
pub(crate) fn check(
    response: &HandleResponse,
    standing: Standing,
    max_version: u32,
) -> Result<&PhaseInfo, Illegal> {
    let broken = |message: String| Illegal { code: "PluginContractViolation", message, recoverable: true };
    if let Some(state) = &response.state
        && state.data.len() > MAX_STATE
    {
        let message = format!(
            "the plugin answered with a state of {} bytes; it may keep {MAX_STATE} at most",
            state.data.len()
        );
        return Err(Illegal { code: "PluginStateTooLarge", message, recoverable: true });
    }
    let phase =
        response.phase.as_ref().ok_or_else(|| broken("the plugin answered without a phase".to_owned()))?;
    let mut standing = standing;
    for info in response.events.iter().chain([phase]) {
        match Phase::try_from(info.phase) {
            Ok(Phase::Undefined) => {
                return Err(broken("the plugin answered with phase UNDEFINED".to_owned()));
            }
            Ok(Phase::Aborted) => {
                return Err(broken("the plugin reported ABORTED without being aborted".to_owned()));
            }
            Err(_) => {
                return Err(broken(format!("the plugin answered with the unknown phase {}", info.phase)));
            }
            Ok(_) => {}
        }
        if info.phase == standing.phase && info.version < standing.version {
            return Err(broken(format!(
                "the plugin reported version {} of phase {} after version {}",
                info.version,
                info.phase().as_str_name(),
                standing.version
            )));
        }
        if info.version > max_version {
            let message =
                format!("the plugin reported phase version {}, {max_version} is the limit", info.version);
            return Err(Illegal { code: "TooManyPluginPhaseVersions", message, recoverable: false });
        }
        standing = Standing { phase: info.phase, version: info.version };
    }
    Ok(phase)
}

#[cfg(test)]
mod tests {
    use proto::pinion::plugin::v1::PluginState;

    use super::*;

    fn answer(phase: i32, version: u32) -> HandleResponse {
        let phase = PhaseInfo { phase, version, ..PhaseInfo::default() };
        HandleResponse { phase: Some(phase), ..HandleResponse::default() }
    }

    #[test]
    fn answers_within_the_rules_pass() {
        let running = Standing { phase: Phase::Running.into(), version: 3 };
        for (phase, version) in
            [(Phase::Running, 3), (Phase::Running, 4), (Phase::Succeeded, 0), (Phase::Queued, 0)]
        {
            assert!(check(&answer(phase.into(), version), running, 100).is_ok(), "{phase:?} {version}");
        }
    }

    #[test]
    fn answers_that_break_a_rule_are_refused() {
        let running = Standing { phase: Phase::Running.into(), version: 3 };
        let mut big = answer(Phase::Running.into(), 4);
        big.state = Some(PluginState { data: vec![0; MAX_STATE + 1], version: 1 });
        for (response, word) in [
            (answer(Phase::Running.into(), 2), "after version 3"),
            (answer(0, 0), "UNDEFINED"),
            (answer(77, 0), "unknown phase 77"),
            (answer(Phase::Aborted.into(), 0), "ABORTED"),
            (answer(Phase::Running.into(), 101), "limit"),
            (HandleResponse::default(), "without a phase"),
            (big, "65537 bytes"),
        ] {
            let illegal = check(&response, running, 100).unwrap_err();
            assert!(illegal.message.contains(word), "{}", illegal.message);
        }
    }
}
