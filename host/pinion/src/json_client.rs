//! Talks to the JSON routes of a running server, for commands about things that Flyte's API has no calls for.

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::Value;

use crate::client::Target;

impl Target {
    /// Asks for `/pinion/v1/<path>`.
    pub(crate) async fn get_json(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        self.json(Method::GET, path, query, None).await
    }

    /// Sends a message to `/pinion/v1/<path>`.
    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Result<Value> {
        self.json(Method::POST, path, &[], Some(body)).await
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value> {
        let base = if self.endpoint.contains("://") && !self.endpoint.starts_with("dns:///") {
            self.endpoint.trim_end_matches('/').to_owned()
        } else {
            format!("http://{}", self.endpoint.trim_start_matches("dns:///"))
        };
        let mut url = reqwest::Url::parse(&format!("{base}/pinion/v1/{path}"))
            .with_context(|| format!("`{}` is not a host and port", self.endpoint))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = reqwest::Client::new().request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| {
            format!(
                "no server answers at {}; start one with `pinion dev` or name one with --endpoint",
                self.endpoint
            )
        })?;
        let status = answer.status();
        let text = answer.text().await.context("the answer broke off")?;
        let value: Option<Value> = serde_json::from_str(&text).ok();
        match value {
            Some(value) if status.is_success() => Ok(value),
            Some(value) if value["message"].is_string() => {
                bail!("{}", value["message"].as_str().unwrap_or_default())
            }
            _ => bail!("the server answers {status}: {}", text.trim()),
        }
    }
}

/// One part of a path: what has a meaning in paths is written in percent signs.
pub(crate) fn part(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A text of an answer; empty when there is none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A moment of an answer, to the second.
pub(crate) fn moment(value: &Value) -> String {
    match value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()) {
        Some(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => text(value).to_owned(),
    }
}

/// Who runs this command, for others to see.
pub(crate) fn user() -> String {
    std::env::var("USER").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_path_keep_their_meaning() {
        assert_eq!(part("my.wf_1"), "my.wf_1");
        assert_eq!(part("a/b c?"), "a%2Fb%20c%3F");
    }

    #[test]
    fn moments_are_shown_to_the_second() {
        assert_eq!(moment(&Value::from("2024-05-01T10:00:00.5Z")), "2024-05-01 10:00:00");
        assert_eq!(moment(&Value::Null), "");
    }
}
