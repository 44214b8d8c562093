//! Puts the services on HTTP: routes, what happens around each call, and the listener.

pub(crate) mod hosts;
mod observe;
mod repair;
mod serve;

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    extract::Request,
    middleware,
    response::{IntoResponse, Response},
    routing::any,
};
use futures::FutureExt;
use proto::datacatalog::data_catalog_server::DataCatalogServer;
use proto::flyteidl::cacheservice::cache_service_server::CacheServiceServer;
use proto::flyteidl::service::{
    admin_service_server::AdminServiceServer, data_proxy_service_server::DataProxyServiceServer,
    identity_service_server::IdentityServiceServer, signal_service_server::SignalServiceServer,
};
use tonic::{Status, codec::CompressionEncoding};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::ServiceExt;

pub use hosts::guarded;
pub use serve::serve;

use crate::{
    admin::Admin, cache_service::CachedOutputs, context::Context, data_catalog::Datasets,
    data_proxy::DataProxy, identity::Identity, raw, signal::Signals,
};

/// The names under which this host's health is known.
const HEALTH_NAMES: [&str; 2] = ["", "flyteadmin"];
/// Services of the same origin that this version does not have; clients ask for some of them.
const ABSENT: [&str; 1] = ["flyteidl.service.AuthMetadataService"];
/// Services that reflection lists.
const LISTED: [&str; 7] = [
    "flyteidl.service.AdminService",
    "flyteidl.service.DataProxyService",
    "flyteidl.service.SignalService",
    "flyteidl.service.IdentityService",
    "datacatalog.DataCatalog",
    "flyteidl.cacheservice.CacheService",
    "grpc.health.v1.Health",
];

/// Who calls; an authentication layer puts it into the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub String);

/// The caller's name; empty without authentication.
pub(crate) fn caller<T>(request: &tonic::Request<T>) -> String {
    request.extensions().get::<Caller>().map(|caller| caller.0.clone()).unwrap_or_default()
}

pub(crate) fn health_reporter() -> HealthReporter {
    let reporter = HealthReporter::new();
    // Nobody else holds the lock yet, so that the future is ready at once.
    let _ready = set_serving(&reporter, true).now_or_never();
    reporter
}

pub(crate) async fn set_serving(reporter: &HealthReporter, serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in HEALTH_NAMES {
        reporter.set_service_status(name, status).await;
    }
}

pub(crate) fn routes(context: &Arc<Context>, health: &HealthReporter) -> Router {
    let max = usize::try_from(context.config.max_request_size.bytes()).unwrap_or(usize::MAX);
    let cx = || Arc::clone(context);
    let gzip = CompressionEncoding::Gzip;
    let admin = AdminServiceServer::new(Admin(cx())).accept_compressed(gzip).max_decoding_message_size(max);
    let data_proxy =
        DataProxyServiceServer::new(DataProxy(cx())).accept_compressed(gzip).max_decoding_message_size(max);
    let signals =
        SignalServiceServer::new(Signals(cx())).accept_compressed(gzip).max_decoding_message_size(max);
    let datasets =
        DataCatalogServer::new(Datasets(cx())).accept_compressed(gzip).max_decoding_message_size(max);
    let cached =
        CacheServiceServer::new(CachedOutputs(cx())).accept_compressed(gzip).max_decoding_message_size(max);
    let mut router = Router::new()
        .route_service("/flyteidl.service.AdminService/{*method}", admin)
        .route_service("/flyteidl.service.DataProxyService/{*method}", data_proxy)
        .route_service("/flyteidl.service.SignalService/{*method}", signals)
        .route_layer(middleware::from_fn_with_state(max, raw::layer))
        .route_service("/flyteidl.service.IdentityService/{*method}", IdentityServiceServer::new(Identity))
        .route_service("/datacatalog.DataCatalog/{*method}", datasets)
        .route_service("/flyteidl.cacheservice.CacheService/{*method}", cached)
        .route_service("/grpc.health.v1.Health/{*method}", health_service(health));
    for absent in ABSENT {
        router = router.route(&format!("/{absent}/{{*method}}"), any(unimplemented));
    }
    if context.config.reflection {
        for version in ["v1", "v1alpha"] {
            let path = format!("/grpc.reflection.{version}.ServerReflection/{{*method}}");
            router = router.route(&path, any(reflect));
        }
    }
    let methods = Arc::new(observe::Methods::new());
    router.layer(middleware::from_fn_with_state(methods, observe::observe))
}

fn health_service(
    health: &HealthReporter,
) -> tonic_health::pb::health_server::HealthServer<tonic_health::server::HealthService> {
    let service = tonic_health::server::HealthService::from_health_reporter(health.clone());
    tonic_health::pb::health_server::HealthServer::new(service)
}

/// Reflection, put together when somebody asks: it takes megabytes that most hosts never need.
static REFLECTION: LazyLock<Router> = LazyLock::new(|| {
    let builder = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        LISTED.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => Router::new()
            .route_service("/grpc.reflection.v1.ServerReflection/{*method}", v1)
            .route_service("/grpc.reflection.v1alpha.ServerReflection/{*method}", v1alpha),
        (v1, v1alpha) => {
            let error = v1.err().or(v1alpha.err()).map(|error| error.to_string());
            tracing::error!(error, "reflection is not served");
            Router::new().fallback(unimplemented)
        }
    }
});

async fn reflect(request: Request) -> Response {
    let Ok(response) = REFLECTION.clone().oneshot(request).await;
    response
}

async fn unimplemented() -> Response {
    Status::unimplemented("this installation does not serve it")
        .into_http::<axum::body::Body>()
        .into_response()
}
