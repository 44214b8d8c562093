//! Decides which web pages may call: CORS headers for those that are allowed, a refusal for writes from others.
//!
//! Invariant: without authentication a page of another origin can start nothing. Browsers send some requests
//! across origins without asking first; their `Origin` header gives them away.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, uri::Authority};
use tonic::Status;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::{encoding, reply};
use crate::config::Cors;

const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::PATCH];

/// The layer that answers preflights and names allowed origins; `None` when no other origin is allowed.
pub(crate) fn layer(cors: &Cors) -> Option<CorsLayer> {
    if cors.origins.is_empty() {
        return None;
    }
    let headers: Vec<HeaderName> =
        cors.headers.iter().filter_map(|name| HeaderName::try_from(name.as_str()).ok()).collect();
    let any = cors.allows_any();
    let origins: Vec<HeaderValue> =
        cors.origins.iter().filter_map(|origin| HeaderValue::try_from(origin.as_str()).ok()).collect();
    let layer = CorsLayer::new()
        .allow_methods(METHODS)
        .allow_headers(AllowHeaders::list(headers))
        .expose_headers([HeaderName::from_static("x-request-id")])
        .allow_origin(if any { AllowOrigin::any() } else { AllowOrigin::list(origins) });
    // Browsers do not send credentials to whoever allows everybody.
    Some(if cors.credentials && !any { layer.allow_credentials(true) } else { layer })
}

/// Refuses writes that a page of an unknown origin sends.
pub(crate) async fn guard(State(cors): State<Arc<Cors>>, request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if is_read || is_allowed(&cors, request.headers(), request.uri().authority()) {
        return next.run(request).await;
    }
    let text = "pages of this origin may not change anything here; name it in `api.cors.origins` to allow it";
    reply::refusal(&Status::permission_denied(text), encoding::of_reply(request.headers()))
}

fn is_allowed(cors: &Cors, headers: &HeaderMap, authority: Option<&Authority>) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    if cors.allows_any() || cors.origins.iter().any(|allowed| allowed == origin) {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or(authority.map(Authority::as_str));
    let of_page = origin.split_once("://").map(|(_, host)| host);
    of_page.is_some() && of_page == host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_known_origins_may_write() {
        let of = |origins: &[&str], origin: &'static str| {
            let cors = Cors {
                origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
                ..Cors::default()
            };
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:30080"));
            if !origin.is_empty() {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            is_allowed(&cors, &headers, None)
        };
        assert!(of(&[], ""));
        assert!(of(&[], "http://localhost:30080"));
        assert!(!of(&[], "http://localhost:3000"));
        assert!(!of(&[], "null"));
        assert!(of(&["http://localhost:3000"], "http://localhost:3000"));
        assert!(!of(&["http://localhost:3000"], "http://evil.example"));
        assert!(of(&["*"], "http://anywhere.example"));
    }
}
