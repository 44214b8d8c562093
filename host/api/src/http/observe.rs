//! Wraps each call: request id, metrics, one log line for what went wrong, and a panic becomes `INTERNAL`.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use futures::FutureExt;
use http::HeaderValue;
use metrics::{Label, SharedString, counter, gauge, histogram};
use tonic::{Code, Status};
use tracing::Instrument;

use super::repair;
use crate::descriptors;

/// Header with which a call is found again in the logs.
const REQUEST_ID: &str = "x-request-id";
/// Longest id that is taken over from a client.
const MAX_REQUEST_ID: usize = 128;

/// The methods that are known, so that no client makes up metric labels.
#[derive(Debug)]
pub(crate) struct Methods(HashMap<String, [Label; 2]>);

impl Methods {
    pub(crate) fn new() -> Self {
        let mut methods = HashMap::new();
        let mut add = |service: &str, method: &str| {
            let shared = |text: &str| SharedString::from(Arc::<str>::from(text));
            let labels =
                [Label::new("grpc_service", shared(service)), Label::new("grpc_method", shared(method))];
            methods.insert(format!("/{service}/{method}"), labels);
        };
        descriptors::each_method(&mut add);
        add("grpc.health.v1.Health", "Check");
        add("grpc.health.v1.Health", "Watch");
        for version in ["v1", "v1alpha"] {
            add(&format!("grpc.reflection.{version}.ServerReflection"), "ServerReflectionInfo");
        }
        Self(methods)
    }

    fn labels(&self, path: &str) -> [Label; 2] {
        let other = || [Label::new("grpc_service", "other"), Label::new("grpc_method", "other")];
        self.0.get(path).cloned().unwrap_or_else(other)
    }
}

/// Counts a call down even when the client goes away in the middle.
struct InFlight(metrics::Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

pub(crate) async fn observe(State(methods): State<Arc<Methods>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let path = request.uri().path().to_owned();
    let labels = methods.labels(&path);
    let id = request_id(&request);
    let in_flight = gauge!("grpc_server_in_flight", labels.iter());
    in_flight.increment(1.0);
    let _in_flight = InFlight(in_flight);
    counter!("grpc_server_started_total", labels.iter()).increment(1);

    let span = tracing::info_span!("call", %path, request_id = id.to_str().unwrap_or_default());
    let called = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let mut response = match called {
        Ok(response) => repair::repair(response),
        Err(panic) => {
            span.in_scope(|| tracing::error!(panic = panic_text(panic.as_ref()), "call panicked"));
            let text = format!("internal error; request id {}", id.to_str().unwrap_or_default());
            Status::internal(text).into_http::<Body>()
        }
    };
    response.headers_mut().insert(REQUEST_ID, id);

    let code = repair::code(&response).unwrap_or(Code::Ok);
    let [service, method] = labels;
    let labels = [service, method, Label::new("grpc_code", code_name(code))];
    counter!("grpc_server_handled_total", labels.iter()).increment(1);
    histogram!("grpc_server_handling_seconds", labels.iter()).record(start.elapsed().as_secs_f64());
    span.in_scope(|| tracing::debug!(?code, elapsed = ?start.elapsed(), "call handled"));
    response
}

/// The client's own id if it is usable, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID);
    match given.filter(|id| !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.to_str().is_ok()) {
        Some(id) => id.clone(),
        None => {
            let id = format!("{:032x}", rand::random::<u128>());
            HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("none"))
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

/// The names that gRPC's own metrics use.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware, routing::get};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn panics_become_internal() {
        let broken = || async {
            if true {
                panic!("oops");
            }
        };
        let router = Router::new()
            .route("/broken", get(broken))
            .layer(middleware::from_fn_with_state(Arc::new(Methods::new()), observe));
        let request = Request::get("/broken").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(repair::code(&response), Some(Code::Internal));
        assert!(response.headers().contains_key(REQUEST_ID));
    }

    #[test]
    fn made_up_methods_share_one_label() {
        let methods = Methods::new();
        let of = |path: &str| methods.labels(path).map(|label| label.value().to_owned());
        assert_eq!(
            of("/flyteidl.service.AdminService/GetTask"),
            ["flyteidl.service.AdminService", "GetTask"]
        );
        assert_eq!(of("/flyteidl.service.AdminService/x9"), ["other", "other"]);
    }
}
