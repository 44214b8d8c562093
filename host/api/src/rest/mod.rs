//! Serves the same calls over REST: paths and bodies become messages, and the same gRPC services answer.
//!
//! What comes in: HTTP requests on the paths that the `google.api.http` options of the methods name, with JSON or
//! binary messages. What goes out: the reply in the encoding asked for, or a `google.rpc.Status` under the HTTP
//! status that grpc-gateway would choose. Nothing here knows a method: `rule` reads the descriptors into a table
//! (`template`), `request` makes the message, `call` hands it to the router that gRPC clients reach too (ids,
//! metrics and panics are its matter), `reply` and `json` write what comes back. `openapi` describes it all.
//!
//! # Design notes
//! Field names in JSON are those of the `.proto` files, whatever the client accepts: flyteadmin answers so to
//! `Accept: application/json` and in lowerCamel to others. Requests may use both.

mod call;
mod encoding;
mod json;
mod openapi;
mod origin;
mod reply;
mod request;
mod rule;
mod template;
mod value;

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    extract::{Request, State},
    middleware,
    response::Response,
    routing::{any, get},
};
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tonic::Status;
use tower_http::{CompressionLevel, compression::CompressionLayer};

use crate::{Config, descriptors};
use rule::Route;
use template::{Found, Table};

/// The services whose methods have paths.
const SERVICES: [&str; 5] = [
    "flyteidl.service.AdminService",
    "flyteidl.service.DataProxyService",
    "flyteidl.service.SignalService",
    "flyteidl.service.IdentityService",
    "flyteidl.service.AuthMetadataService",
];
/// Below these everything is answered here, also what does not exist.
const OWN_PATHS: [&str; 2] = ["/api/v1", "/api/v1/{*path}"];

/// Paths of methods that lie elsewhere; none of them has fields.
const ELSEWHERE: [&str; 3] = ["/.well-known/oauth-authorization-server", "/config/v1/flyte_client", "/me"];

/// What every request needs.
struct Gateway {
    grpc: Router,
    /// Most bytes of a body.
    max_body: usize,
}

/// The REST paths in front of the gRPC services. Without a fallback, so that it can be merged with other routes.
pub(crate) fn routes(grpc: Router, config: &Config) -> Router {
    let mut router = Router::new().route("/api/v1/openapi", get(openapi::serve));
    for path in OWN_PATHS {
        router = router.route(path, any(serve));
    }
    for path in ELSEWHERE {
        router = router.route(path, any(serve));
    }
    let max_body = usize::try_from(config.max_request_size.bytes()).unwrap_or(usize::MAX);
    let gateway = Arc::new(Gateway { grpc, max_body });
    let router = router
        .with_state(gateway)
        .layer(middleware::from_fn_with_state(Arc::new(config.cors.clone()), origin::guard))
        .layer(CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest));
    match origin::layer(&config.cors) {
        Some(layer) => router.layer(layer),
        None => router,
    }
}

/// What is served where, made when the first request comes: hosts whose clients speak gRPC alone need no descriptors.
static TABLE: LazyLock<Table<Route>> = LazyLock::new(|| {
    let routes = rule::routes(descriptors::pool(), &SERVICES).unwrap_or_else(|error| {
        // The descriptors are part of the program, and a test serves every rule.
        tracing::error!(method = error.0, error = %error.1, "REST is not served");
        Vec::new()
    });
    rule::table(routes)
});

async fn serve(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let encoding = encoding::of_reply(request.headers());
    let (route, path) = match TABLE.find(request.method(), request.uri().path()) {
        Found::Value(route, path) => (route, path),
        Found::OtherMethod => {
            let text = format!("Method Not Allowed: {} {}", request.method(), request.uri().path());
            return reply::refusal(&Status::unimplemented(text), encoding);
        }
        Found::Nothing => {
            let text = format!("Not Found: nothing is served at {}", request.uri().path());
            return reply::refusal(&Status::not_found(text), encoding);
        }
    };
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, gateway.max_body).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let status = Status::resource_exhausted(format!(
                "the body has more than the {} bytes allowed (`api.max-request-size`)",
                gateway.max_body
            ));
            return reply::refusal_with(StatusCode::PAYLOAD_TOO_LARGE, &status, encoding);
        }
        Err(error) => {
            return reply::refusal(&Status::cancelled(format!("the body broke off: {error}")), encoding);
        }
    };
    let parts = request::Parts {
        path: &path,
        query: head.uri.query().unwrap_or_default(),
        body,
        encoding: encoding::of_body(&head.headers),
    };
    let message = match request::message(route, &parts) {
        Ok(message) => message,
        Err(status) => return reply::refusal(&status, encoding),
    };
    let answer = call::call(gateway.grpc.clone(), route, head, &message).await;
    let result = match answer.result {
        Ok(bytes) => reply::message(route.output, bytes, encoding).await,
        Err(status) => Err(status),
    };
    let mut response = result.unwrap_or_else(|status| reply::refusal(&status, encoding));
    reply::keep_headers(&answer.headers, &mut response);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_routed() {
        let routes = rule::routes(descriptors::pool(), &SERVICES).unwrap();
        let mut elsewhere: Vec<String> = routes.iter().map(|route| route.template.to_string()).collect();
        elsewhere.retain(|path| !path.starts_with("/api/v1/"));
        elsewhere.sort();
        elsewhere.dedup();
        assert_eq!(elsewhere, ELSEWHERE);
    }
}
