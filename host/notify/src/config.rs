//! Holds the settings of the room: sinks for events, channels for people, rules that join them with executions.

mod channel;
mod check;
mod sink;

use std::collections::BTreeMap;

use config::Duration;
use serde::{Deserialize, Serialize};

pub use channel::{Channel, ChannelType, Tls};
pub use sink::{Encoding, Kind, Mode, Sink, SinkType};

/// Settings of events and notifications.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Whether this host writes events and hands them out. Set the same on all hosts. Default true.
    pub enabled: bool,
    /// Who sends the events, the `source` of every CloudEvent. Empty: `server.public-url`.
    pub source: String,
    /// Where links to executions in messages lead, without a trailing slash. Empty: `worker.console-url`.
    pub console_url: String,
    /// Receivers of events, by name; each gets every event it asks for, in order. Default none.
    pub sinks: BTreeMap<String, Sink>,
    /// Ways to reach people, by name. Default none.
    pub channels: BTreeMap<String, Channel>,
    /// Which executions are told about on which channel when they end, besides what launch plans and executions ask
    /// for themselves. Default none.
    pub rules: Vec<Rule>,
    /// The channel for the recipients that launch plans and executions name: e-mail, and Slack and PagerDuty, which
    /// Flyte reaches by e-mail too. Empty: the first channel of type `smtp`.
    pub email_channel: String,
    /// Networks such as `10.0.0.0/8` that HTTP receivers may be in though they are not public. Default none: only
    /// public addresses are connected to.
    pub allow_addresses: Vec<String>,
    /// How long one request or one e-mail may take. Default 10s.
    pub timeout: Duration,
    /// How often and when something is tried again.
    pub retry: Retry,
    /// How long a host that is gone keeps another from taking over. Default 15s.
    pub lease_ttl: Duration,
    /// How many events may wait for a sink. Older ones are given up, and the delivery log says so. Default 1000000.
    pub max_backlog: u32,
    /// How long the delivery log is kept. 0 is for ever. Default 30d.
    pub log_retention: Duration,
}

/// When something that failed is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Retry {
    /// Pause after the first failure; it doubles with each further one. Default 1s.
    pub initial: Duration,
    /// Longest pause. Default 5m.
    pub max: Duration,
    /// How often a notification is tried before it counts as failed; 0 is for ever. Default 12.
    pub max_attempts: u32,
}

/// Which executions are told about on which channel. An empty list matches everything; `*` stands for any text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Rule {
    /// Projects. Default all.
    pub projects: Vec<String>,
    /// Domains. Default all.
    pub domains: Vec<String>,
    /// Names of launch plans. Default all.
    pub launch_plans: Vec<String>,
    /// Names of workflows. Default all.
    pub workflows: Vec<String>,
    /// Phases: `succeeded`, `failed`, `aborted`, `timed-out`. Default `failed` and `timed-out`.
    pub phases: Vec<String>,
    /// The channel.
    pub channel: String,
    /// Recipients, for channels that have some; empty: those of the channel.
    pub to: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            source: String::new(),
            console_url: String::new(),
            sinks: BTreeMap::new(),
            channels: BTreeMap::new(),
            rules: Vec::new(),
            email_channel: String::new(),
            allow_addresses: Vec::new(),
            timeout: Duration::from_secs(10),
            retry: Retry::default(),
            lease_ttl: Duration::from_secs(15),
            max_backlog: 1_000_000,
            log_retention: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), max: Duration::from_secs(300), max_attempts: 12 }
    }
}

impl Config {
    /// The channel for addresses in launch plans and executions.
    pub(crate) fn email(&self) -> Option<&str> {
        if !self.email_channel.is_empty() {
            return Some(&self.email_channel);
        }
        let is_smtp = |channel: &Channel| channel.r#type == Some(ChannelType::Smtp);
        self.channels.iter().find(|(_, channel)| is_smtp(channel)).map(|(name, _)| name.as_str())
    }

    /// Which transitions the store has to write for these settings.
    pub fn wish(&self) -> store::EventWish {
        if !self.enabled {
            return store::EventWish::default();
        }
        let any = |kind: Kind| self.sinks.values().any(|sink| sink.takes(kind));
        store::EventWish {
            workflows: any(Kind::Workflow),
            nodes: any(Kind::Node),
            tasks: any(Kind::Task),
            ends: !self.rules.is_empty(),
            notified_ends: true,
        }
    }
}
