//! Reaches people: by e-mail, Slack, PagerDuty, or a signed webhook.

mod pagerduty;
mod slack;
mod smtp;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;

use reqwest::Client;

use crate::config::{self, ChannelType};
use crate::facts::Facts;
use crate::failure::Failure;
use crate::guard::Guard;
use crate::template::{Form, Templates};

/// All channels, by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Channels(Arc<BTreeMap<String, Channel>>);

/// A channel that is ready.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) kind: ChannelType,
    templates: Templates,
    target: Target,
    to: Vec<String>,
}

#[derive(Debug)]
enum Target {
    Smtp(Box<smtp::Smtp>),
    Slack(slack::Slack),
    Pagerduty(Box<pagerduty::Pagerduty>),
    Webhook(webhook::Webhook),
}

/// What all channels are made with.
pub(crate) struct Means<'a> {
    pub(crate) client: &'a Client,
    pub(crate) guard: &'a Guard,
    pub(crate) timeout: std::time::Duration,
}

impl Channels {
    /// Makes channels of their settings.
    ///
    /// # Errors
    /// `<name>.<key>` and a sentence for each channel that is wrong.
    pub(crate) fn new(
        settings: &BTreeMap<String, config::Channel>,
        means: &Means<'_>,
    ) -> Result<Self, Vec<String>> {
        let mut made = BTreeMap::new();
        let mut wrong = Vec::new();
        for (name, settings) in settings {
            match Channel::new(settings, means) {
                Ok(channel) => drop(made.insert(name.clone(), channel)),
                Err(error) => wrong.push(format!("channels.{name}.{error}")),
            }
        }
        if wrong.is_empty() { Ok(Self(Arc::new(made))) } else { Err(wrong) }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Channel> {
        self.0.get(name)
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

impl Channel {
    fn new(settings: &config::Channel, means: &Means<'_>) -> Result<Self, String> {
        let Some(kind) = settings.r#type else {
            return Err("type: one of `smtp`, `slack`, `pagerduty`, `webhook` is needed".to_owned());
        };
        let form = match kind {
            ChannelType::Slack => Form::Slack,
            ChannelType::Webhook if webhook::is_json(settings) => Form::Json,
            ChannelType::Smtp | ChannelType::Pagerduty | ChannelType::Webhook => Form::Plain,
        };
        // A webhook without a template of its own sends a document that needs none.
        let body =
            if kind == ChannelType::Webhook && settings.body.is_empty() { "{}" } else { &settings.body };
        let target = match kind {
            ChannelType::Smtp => Target::Smtp(Box::new(smtp::Smtp::new(settings, means.timeout)?)),
            ChannelType::Slack => Target::Slack(slack::Slack::new(settings, means)?),
            ChannelType::Pagerduty => {
                Target::Pagerduty(Box::new(pagerduty::Pagerduty::new(settings, means)?))
            }
            ChannelType::Webhook => Target::Webhook(webhook::Webhook::new(settings, means)?),
        };
        let templates = Templates::read(&settings.subject, body, form)?;
        Ok(Self { kind, templates, target, to: settings.to.clone() })
    }

    /// Who is meant when a rule names these; a channel without recipients of its own names where it sends to.
    pub(crate) fn recipients(&self, named: &[String]) -> Vec<String> {
        match &self.target {
            Target::Smtp(_) if named.is_empty() => self.to.clone(),
            Target::Smtp(_) => named.to_vec(),
            Target::Slack(slack) => vec![slack.shown()],
            Target::Pagerduty(pagerduty) => vec![pagerduty.shown()],
            Target::Webhook(webhook) => vec![webhook.shown()],
        }
    }

    /// Sends one message. `key` tells repeats from others.
    pub(crate) async fn send(&self, key: &str, recipient: &str, facts: &Facts) -> Result<(), Failure> {
        let templates = &self.templates;
        match &self.target {
            Target::Smtp(smtp) => {
                let (subject, body) = (text(templates.subject(facts))?, text(templates.body(facts))?);
                smtp.send(key, recipient, &subject, body).await
            }
            Target::Slack(slack) => slack.send(key, &text(templates.body(facts))?).await,
            Target::Pagerduty(pagerduty) => {
                pagerduty.send(key, &text(templates.subject(facts))?, facts).await
            }
            Target::Webhook(webhook) => webhook.send(key, facts, || text(templates.body(facts))).await,
        }
    }
}

/// A template that fails once fails again with the same facts.
fn text(rendered: Result<String, String>) -> Result<String, Failure> {
    rendered.map_err(|error| Failure::last(format!("template: {error}")))
}

/// Checks an e-mail address.
///
/// # Errors
/// A sentence about what is wrong with it.
pub(crate) fn check_address(text: &str) -> Result<(), String> {
    smtp::address(text).map(drop)
}
