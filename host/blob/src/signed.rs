//! Serves the URLs that the host signed: uploads and downloads of local objects, without further credentials, and
//! the way to objects that are elsewhere.

use std::time::Duration;

use axum::{Router, body::Body, extract::State, routing::any};
use http::{Method, Request, Response, StatusCode, header};

use crate::{
    Blob, Error,
    digest::Expected,
    local::Local,
    receive::{ReceiveError, Source, receive},
    serve::{self, Refused},
    sign::{PATH, Permit},
    store::{Backend, unix_now},
};

/// Stored bytes come from users: whatever the browser makes of them, it is not this origin.
const SANDBOX: &str = "sandbox allow-scripts allow-popups allow-downloads";

impl Blob {
    /// The routes of signed URLs, `PUT` and `GET /data/...`.
    pub fn signed_routes(&self) -> Router {
        Router::new().route(&format!("{PATH}{{*object}}"), any(handle)).with_state(self.clone())
    }
}

async fn handle(State(blob): State<Blob>, request: Request<Body>) -> Response<Body> {
    let method = request.method().clone();
    if ![Method::GET, Method::HEAD, Method::PUT].contains(&method) {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "use PUT to upload and GET to download");
    }
    let uri = request.uri();
    let permit = blob.inner.signer.check(&method, uri.path(), uri.query().unwrap_or(""), unix_now());
    let permit = match permit {
        Ok(permit) => permit,
        Err(refusal) => return refuse(StatusCode::FORBIDDEN, &refusal.to_string()),
    };
    if method == Method::PUT {
        upload(&blob, permit, request).await
    } else if let Backend::Local(local) = &blob.inner.backend {
        download(local, &permit, &request)
    } else {
        redirect(&blob, &permit).await
    }
}

/// How long a client may take to follow a redirect.
const FOLLOW_WITHIN: Duration = Duration::from_mins(1);

async fn redirect(blob: &Blob, permit: &Permit) -> Response<Body> {
    let within = FOLLOW_WITHIN.min(blob.inner.config.max_signed_url_expiry.get());
    match blob.sign_get(&permit.reference, within).await {
        Ok(signed) => {
            let mut response = status_only(StatusCode::TEMPORARY_REDIRECT);
            serve::set(response.headers_mut(), header::LOCATION, &signed.url);
            serve::set(response.headers_mut(), header::CACHE_CONTROL, "private, no-store");
            response
        }
        Err(error) => refuse_object(error),
    }
}

async fn upload(blob: &Blob, permit: Permit, request: Request<Body>) -> Response<Body> {
    let Backend::Local(local) = &blob.inner.backend else {
        return refuse(StatusCode::NOT_FOUND, "objects are not kept on this host");
    };
    let mut expected = Expected { md5: permit.content_md5.into_iter().collect(), ..Expected::default() };
    if let Err(mismatch) = expected.add_content_md5(request.headers()) {
        return refuse(StatusCode::BAD_REQUEST, &mismatch.to_string());
    }
    let max = Some(blob.inner.config.max_upload_size.bytes()).filter(|max| *max > 0);
    let source = Source::Plain(request.into_body().into_data_stream());
    let received = match receive(local, source, expected, max).await {
        Ok(received) => received,
        Err(error) => return refuse_body(error),
    };
    let r = permit.reference;
    let committed = received
        .commit(move |local, temp| local.path(&r).and_then(|path| local.commit(temp, &r, &path)))
        .await;
    match committed {
        // Some clients take nothing but exactly 200 for success.
        Ok(meta) => {
            let mut response = Response::new(Body::empty());
            serve::set_validators(response.headers_mut(), &meta);
            response
        }
        Err(error) => refuse_object(error),
    }
}

fn download(local: &Local, permit: &Permit, request: &Request<Body>) -> Response<Body> {
    let (file, meta) = match local.open(&permit.reference) {
        Ok(opened) => opened,
        Err(error) => return refuse_object(error),
    };
    let content_type = serve::content_type(permit.reference.key());
    let answer = serve::answer(request.method(), request.headers(), file, &meta, content_type);
    let mut response = answer.unwrap_or_else(|refused| match refused {
        Refused::NotModified => status_only(StatusCode::NOT_MODIFIED),
        Refused::PreconditionFailed => status_only(StatusCode::PRECONDITION_FAILED),
        Refused::InvalidRange => {
            let mut response = status_only(StatusCode::RANGE_NOT_SATISFIABLE);
            serve::set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{}", meta.size));
            response
        }
    });
    let headers = response.headers_mut();
    serve::set(headers, header::CONTENT_SECURITY_POLICY, SANDBOX);
    serve::set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    serve::set(headers, header::CACHE_CONTROL, "private, no-cache");
    response
}

fn refuse_body(error: ReceiveError) -> Response<Body> {
    match error {
        ReceiveError::TooLarge { .. } => refuse(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()),
        ReceiveError::Mismatch(_) | ReceiveError::Broken(_) | ReceiveError::BadChunkSignature => {
            refuse(StatusCode::BAD_REQUEST, &error.to_string())
        }
        ReceiveError::Storage(error) => refuse_object(error),
    }
}

fn refuse_object(error: Error) -> Response<Body> {
    let status = match error {
        Error::NotFound { .. } => StatusCode::NOT_FOUND,
        Error::InvalidKey { .. } | Error::InvalidReference { .. } | Error::ForeignScheme { .. } => {
            StatusCode::BAD_REQUEST
        }
        Error::KeyConflict { .. } | Error::ConditionFailed { .. } => StatusCode::CONFLICT,
        _ => {
            tracing::error!(error = &error as &dyn std::error::Error, "signed URL not served");
            // The details name paths of this machine.
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the object store of this host failed");
        }
    };
    refuse(status, &error.to_string())
}

fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{message}\n")));
    *response.status_mut() = status;
    serve::set(response.headers_mut(), header::CONTENT_TYPE, "text/plain; charset=utf-8");
    response
}

fn status_only(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
