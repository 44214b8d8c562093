//! Sends HTTP requests for plugins over shared connections.

use std::sync::OnceLock;
use std::time::Duration;

use futures::StreamExt;
use plugins::status;
use proto::pinion::plugin::v1::{HttpHeader, HttpRequest, HttpResponse, Status};
use reqwest::header::{HeaderName, HeaderValue};

use super::{INVALID_ARGUMENT, UNAVAILABLE};
use crate::clusters::with_causes;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_RESPONSE: usize = 64 << 20;
const RESOURCE_EXHAUSTED: u32 = 8;

/// The connections, made when first needed.
#[derive(Debug, Default)]
pub(super) struct Client(OnceLock<reqwest::Client>);

impl Client {
    /// Sends a request. An answer of any HTTP status is an answer.
    pub(super) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Status> {
        let client = self.0.get_or_init(reqwest::Client::new);
        let bad =
            |what: &str, error: String| status(INVALID_ARGUMENT, "BadRequest", format!("{what}: {error}"));
        let method = reqwest::Method::from_bytes(request.method.as_bytes())
            .map_err(|error| bad("method", error.to_string()))?;
        let timeout = match request.timeout_ms {
            0 => DEFAULT_TIMEOUT,
            asked => Duration::from_millis(asked),
        };
        let mut builder = client.request(method, &request.url).timeout(timeout).body(request.body);
        for header in request.headers {
            let name = HeaderName::from_bytes(header.name.as_bytes())
                .map_err(|error| bad("header name", error.to_string()))?;
            let value = HeaderValue::from_bytes(&header.value)
                .map_err(|_| bad("header value", format!("that of {name} is not allowed")))?;
            builder = builder.header(name, value);
        }
        let response = builder.send().await.map_err(|error| failed(&error))?;
        let headers = response.headers().iter().map(|(name, value)| HttpHeader {
            name: name.as_str().to_owned(),
            value: value.as_bytes().to_vec(),
        });
        let (http_status, headers) = (u32::from(response.status().as_u16()), headers.collect());
        let mut body = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            body.extend_from_slice(&chunk.map_err(|error| failed(&error))?);
            if body.len() > MAX_RESPONSE {
                let message = format!("the answer has more than {MAX_RESPONSE} bytes");
                return Err(status(RESOURCE_EXHAUSTED, "ResponseTooLarge", message));
            }
        }
        Ok(HttpResponse { status: http_status, headers, body })
    }
}

/// A builder's error is the request's fault, all others are the network's. The URL may hold a secret and is left out.
fn failed(error: &reqwest::Error) -> Status {
    let code = if error.is_builder() { INVALID_ARGUMENT } else { UNAVAILABLE };
    let mut text = with_causes(error);
    if let Some(url) = error.url() {
        text = text.replace(url.as_str(), url.host_str().unwrap_or("the host"));
    }
    status(code, "HttpFailed", text)
}
