//! Settings of a channel.

use std::collections::BTreeMap;
use std::path::PathBuf;

use config::Secret;
use serde::{Deserialize, Serialize};

/// A way to reach people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Channel {
    /// `smtp`, `slack`, `pagerduty` or `webhook`.
    pub r#type: Option<ChannelType>,
    /// Template of the subject, or of the one line that stands for it. Default: what ended how.
    pub subject: String,
    /// Template of the text. Default: what ended how, why, when, and where to look. For `webhook` the whole body, and
    /// by default a JSON document.
    pub body: String,
    /// SMTP: host of the mail server.
    pub host: String,
    /// SMTP: its port. Default 0: 587, with `tls: tls` 465, with `tls: none` 25.
    pub port: u16,
    /// SMTP: `starttls` (required), `tls` or `none`. Default starttls.
    pub tls: Tls,
    /// SMTP: file with further certificates to trust, PEM. Default none: those of the system.
    pub ca_file: PathBuf,
    /// SMTP: who signs in. Default empty: nobody.
    pub username: String,
    /// SMTP: password.
    pub password: Secret,
    /// SMTP: sender, such as `Pinion <pinion@example.com>`.
    pub from: String,
    /// SMTP: recipients of rules that name none.
    pub to: Vec<String>,
    /// Slack: the incoming webhook. Webhook: where to send. PagerDuty: another endpoint than the public one. A
    /// secret, because it may hold a token.
    pub url: Secret,
    /// Webhook: further headers. Default none.
    pub headers: BTreeMap<String, Secret>,
    /// Webhook: key of the signature (Standard Webhooks), as `whsec_` and base64, or as text. Default none.
    pub secret: Secret,
    /// Webhook: type of a body of your own. Default `application/json`.
    pub content_type: String,
    /// PagerDuty: integration key of the service (Events API v2).
    pub routing_key: Secret,
    /// PagerDuty: `critical`, `error`, `warning` or `info`. Default: `error` for failures, `warning` for aborts,
    /// `info` for successes.
    pub severity: String,
}

/// What a channel speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelType {
    /// E-mail.
    Smtp,
    /// A Slack incoming webhook.
    Slack,
    /// PagerDuty's Events API v2.
    Pagerduty,
    /// A signed HTTP request.
    Webhook,
}

impl ChannelType {
    /// The word in the settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Slack => "slack",
            Self::Pagerduty => "pagerduty",
            Self::Webhook => "webhook",
        }
    }
}

/// How a mail server is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// In clear.
    None,
    /// In clear until both sides have agreed on TLS, never further without.
    #[default]
    Starttls,
    /// TLS from the start.
    Tls,
}
