//! Sends requests within limits of size and time, and turns answers into successes and failures.

use std::collections::BTreeMap;
use std::time::Duration;

use config::Secret;
use model::Timestamp;
use reqwest::header::{HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};

use crate::failure::{Failure, with_causes};
use crate::guard::Guard;
use crate::mask::Mask;
use crate::sign::Signer;

/// Most of an answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// Most of an answer that is shown.
const MAX_SHOWN: usize = 300;

/// Longest pause that a receiver may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// Where requests go and what they all carry.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    client: Client,
    guard: Guard,
    url: Url,
    headers: Vec<(HeaderName, HeaderValue)>,
    signer: Option<Signer>,
    mask: Mask,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Tells repeats from others; also the id that is signed.
    pub(crate) id: String,
    pub(crate) content_type: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

/// What an endpoint is made of.
pub(crate) struct Parts<'a> {
    pub(crate) client: &'a Client,
    pub(crate) guard: &'a Guard,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a BTreeMap<String, Secret>,
    pub(crate) secret: &'a Secret,
}

impl Endpoint {
    /// Reads the settings of a receiver.
    ///
    /// # Errors
    /// A key and a sentence about what is wrong; never the value, which may be a secret.
    pub(crate) fn read(parts: &Parts<'_>) -> Result<Self, String> {
        let url = Url::parse(parts.url).map_err(|error| format!("url: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err("url: it must start with https:// or http:// and name a host".to_owned());
        }
        let header = |(name, value): (&String, &Secret)| {
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| format!("headers: `{name}` is no name of a header"))?;
            let mut value = HeaderValue::try_from(value.expose())
                .map_err(|_| format!("headers: the value of `{name}` cannot stand in a header"))?;
            value.set_sensitive(true);
            Ok((name, value))
        };
        let mut mask = Mask::default();
        mask.add_url(&url);
        parts.headers.values().for_each(|value| mask.add_header(value.expose()));
        mask.add(parts.secret.expose());
        Ok(Self {
            mask,
            client: parts.client.clone(),
            guard: parts.guard.clone(),
            url,
            headers: parts.headers.iter().map(header).collect::<Result<_, String>>()?,
            signer: Signer::read(parts.secret).map_err(|error| format!("secret: {error}"))?,
        })
    }

    /// Keeps a secret of the bodies out of what is told of answers.
    pub(crate) fn hiding(mut self, secret: &Secret) -> Self {
        self.mask.add(secret.expose());
        self
    }

    /// Who receives, without what may be secret.
    pub(crate) fn shown(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", self.url.scheme(), self.url.host_str().unwrap_or_default())
    }

    /// Sends; any answer of the 200s is a success.
    pub(crate) async fn send(&self, request: &Request) -> Result<(), Failure> {
        self.guard.check_url(&self.url).map_err(|refusal| Failure::passing(refusal.to_string()))?;
        let mut post = self.client.post(self.url.clone()).header("content-type", &request.content_type);
        for (name, value) in &request.headers {
            post = post.header(*name, value);
        }
        for (name, value) in &self.headers {
            post = post.header(name, value);
        }
        if let Some(signer) = &self.signer {
            for (name, value) in signer.headers(&request.id, Timestamp::now(), &request.body) {
                post = post.header(name, value);
            }
        }
        match post.body(request.body.clone()).send().await {
            Ok(response) if response.status().is_success() => {
                // Read, so that the connection can be used again.
                head(response).await;
                Ok(())
            }
            Ok(response) => Err(refused(response, &self.mask).await),
            Err(error) if error.is_timeout() => Err(Failure::passing("no answer in time")),
            Err(error) => Err(Failure::passing(with_causes(&error.without_url()))),
        }
    }
}

async fn refused(response: Response, mask: &Mask) -> Failure {
    let status = response.status();
    let pause = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let is_final = matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::GONE
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY
    );
    let reason = if status.is_redirection() {
        format!("answered {status}; redirects are not followed, name the final address")
    } else {
        let said = mask.hide(&head(response).await);
        let shown = said.get(..said.floor_char_boundary(MAX_SHOWN)).unwrap_or_default().trim();
        let colon = if shown.is_empty() { "" } else { ": " };
        format!("answered {status}{colon}{shown}")
    };
    Failure { reason, is_final, pause: pause.map(|seconds| Duration::from_secs(seconds).min(MAX_PAUSE)) }
}

/// The beginning of an answer.
async fn head(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_ANSWER
        && let Ok(Some(chunk)) = response.chunk().await
    {
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8_lossy(&bytes).replace(|c: char| c.is_control(), " ")
}
