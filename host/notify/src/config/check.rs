//! Finds settings that can't work before anything starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use reqwest::Client;

use super::{Config, Rule};
use crate::Error;
use crate::channel::{Channels, Means};
use crate::guard::Guard;
use crate::plan::PHASES;
use crate::planner;
use crate::sink::Sink;

/// What the settings describe, ready for use.
pub(crate) struct Built {
    pub(crate) sinks: BTreeMap<String, Arc<Sink>>,
    pub(crate) channels: Channels,
}

impl Config {
    /// Checks everything: addresses, URLs, keys, templates (each is tried out), and that rules name channels that
    /// are there.
    ///
    /// # Errors
    /// [`Error::Settings`] with one line per problem, each with its key; no line holds a secret.
    pub fn validate(&self) -> Result<(), Error> {
        self.build().map(drop)
    }

    pub(crate) fn build(&self) -> Result<Built, Error> {
        let mut wrong = Vec::new();
        let guard = Guard::read(&self.allow_addresses).unwrap_or_else(|entry| {
            wrong.push(format!(
                "allow-addresses: `{entry}` is neither a network such as 10.0.0.0/8 nor an address"
            ));
            Guard::default()
        });
        self.check_numbers(&mut wrong);
        let client = guard.client(self.timeout.get()).unwrap_or_else(|error| {
            wrong.push(format!("cannot make an HTTP client: {error}"));
            Client::new()
        });
        let mut sinks = BTreeMap::new();
        for (name, settings) in &self.sinks {
            if name == planner::NAME || name.is_empty() {
                wrong.push(format!("sinks.{name}: a sink cannot have this name"));
            }
            match Sink::new(name, settings, &self.source, &client, &guard) {
                Ok(sink) => drop(sinks.insert(name.clone(), Arc::new(sink))),
                Err(error) => wrong.push(format!("sinks.{name}.{error}")),
            }
        }
        let means = Means { client: &client, guard: &guard, timeout: self.timeout.get() };
        let channels = Channels::new(&self.channels, &means).unwrap_or_else(|errors| {
            wrong.extend(errors);
            Channels::default()
        });
        self.check_names(&mut wrong);
        for (n, rule) in self.rules.iter().enumerate() {
            wrong.extend(self.check_rule(rule).map(|error| format!("rules[{n}].{error}")));
        }
        if wrong.is_empty() { Ok(Built { sinks, channels }) } else { Err(Error::Settings(wrong)) }
    }

    fn check_numbers(&self, wrong: &mut Vec<String>) {
        let mut check = |is_wrong: bool, text: &str| {
            if is_wrong {
                wrong.push(text.to_owned());
            }
        };
        check(self.timeout.is_zero(), "timeout: 0 leaves no time to send anything");
        check(
            self.lease_ttl.get() < std::time::Duration::from_millis(300),
            "lease-ttl: less than 300ms cannot be kept up",
        );
        check(self.retry.initial.is_zero(), "retry.initial: 0 would try without a pause");
        check(self.retry.max < self.retry.initial, "retry.max: it is less than retry.initial");
    }

    fn check_names(&self, wrong: &mut Vec<String>) {
        if !self.email_channel.is_empty() {
            match self.channels.get(&self.email_channel).map(|channel| channel.r#type) {
                Some(Some(super::ChannelType::Smtp)) => {}
                Some(_) => {
                    wrong.push(format!("email-channel: `{}` is not of type `smtp`", self.email_channel))
                }
                None => wrong.push(format!("email-channel: there is no channel `{}`", self.email_channel)),
            }
        }
    }

    fn check_rule(&self, rule: &Rule) -> Option<String> {
        let known = |word: &String| PHASES.iter().any(|(phase, _)| word.eq_ignore_ascii_case(phase));
        if let Some(word) = rule.phases.iter().find(|word| !known(word)) {
            return Some(format!("phases: `{word}` is none of succeeded, failed, aborted, timed-out"));
        }
        let Some(channel) = self.channels.get(&rule.channel) else {
            return Some(format!("channel: there is no channel `{}`", rule.channel));
        };
        let is_smtp = channel.r#type == Some(super::ChannelType::Smtp);
        if is_smtp && rule.to.is_empty() && channel.to.is_empty() {
            return Some("to: neither the rule nor its channel names a recipient".to_owned());
        }
        if is_smtp {
            let error = |to: &String| crate::channel::check_address(to).err();
            return rule.to.iter().find_map(error).map(|error| format!("to: {error}"));
        }
        None
    }
}
