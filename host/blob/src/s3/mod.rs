//! Speaks the part of the S3 protocol that clients of a sandbox use, over the local objects.
//!
//! Path style only. Every request is authenticated as S3 does (signature version 4, in headers or in the query);
//! errors are S3's XML. One file per family of operations; this one tells them apart.

mod auth;
mod auth_v2;
mod bucket;
mod chunked;
mod delete;
mod error;
mod list;
mod marker;
mod multipart;
mod object;
mod xml;

use std::{collections::BTreeMap, sync::Arc};

use axum::{Router, body::Body, extract::State};
pub(crate) use chunked::Chunked;
use error::S3Error;
use http::{HeaderValue, Method, Request, Response, header, request::Parts};

use crate::{
    Blob, DataReference, SCHEME, encode,
    local::Local,
    store::{Backend, unix_now},
};

impl Blob {
    /// The embedded S3 endpoint, to be mounted at the root of its own port. Without local objects there is none.
    pub fn s3_routes(&self) -> Router {
        let Backend::Local(local) = &self.inner.backend else { return Router::new() };
        let config = &self.inner.config;
        let keys = auth::Keys {
            access_key: config.local.access_key.clone(),
            secret_key: config.local.secret_key.clone(),
            allow_anonymous: config.local.allow_anonymous,
        };
        let endpoint = Endpoint { local: local.clone(), bucket: config.bucket.clone(), keys };
        Router::new().fallback(handle).with_state(Arc::new(endpoint))
    }
}

/// What the operations share.
struct Endpoint {
    local: Arc<Local>,
    /// Exists even before anything is written to it.
    bucket: String,
    keys: auth::Keys,
}

/// A request whose sender is known.
struct Call {
    head: Head,
    payload: auth::Payload,
    body: Body,
}

/// The request without its body.
struct Head {
    parts: Parts,
    query: BTreeMap<String, String>,
}

type Answer = Result<Response<Body>, S3Error>;

impl Head {
    fn param(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    fn has(&self, name: &str) -> bool {
        self.query.contains_key(name)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

async fn handle(State(endpoint): State<Arc<Endpoint>>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let id = format!("{:016X}", rand::random::<u64>());
    let method = request.method().clone();
    let answer = answer(&endpoint, request).await;
    let mut response = answer.unwrap_or_else(|error| {
        tracing::debug!(%method, path, code = error.code, message = error.message, "S3 request refused");
        error.into_response(&path, &id)
    });
    let headers = response.headers_mut();
    crate::serve::set(headers, http::HeaderName::from_static("x-amz-request-id"), &id);
    headers.insert(header::SERVER, HeaderValue::from_static("pinion"));
    response
}

async fn answer(endpoint: &Endpoint, request: Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    let payload = auth::authenticate(&endpoint.keys, &parts, unix_now())?;
    let path =
        encode::decode(parts.uri.path()).ok_or_else(|| S3Error::invalid_uri("the path is not UTF-8"))?;
    let query = encode::query(parts.uri.query().unwrap_or("")).collect();
    let call = Call { head: Head { parts, query }, payload, body };
    let head = &call.head;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    if bucket.is_empty() {
        return match head.parts.method {
            Method::GET => bucket::list(endpoint).await,
            _ => Err(S3Error::method_not_allowed()),
        };
    }
    if key.is_empty() {
        return on_bucket(endpoint, bucket, call).await;
    }
    endpoint.require_bucket(bucket)?;
    if let Some(directory) = key.strip_suffix('/') {
        return marker::handle(endpoint, &DataReference::new(SCHEME, bucket, directory)?, call).await;
    }
    let reference = DataReference::new(SCHEME, bucket, key)?;
    // The key as it came: `new` forgives a leading slash.
    endpoint.local.path(&reference)?;
    if reference.key() != key {
        return Err(S3Error::invalid_argument("the key starts with a slash"));
    }
    on_object(endpoint, &reference, call).await
}

async fn on_bucket(endpoint: &Endpoint, bucket: &str, call: Call) -> Answer {
    let head = &call.head;
    let method = head.parts.method.clone();
    if method == Method::PUT && head.query.is_empty() {
        return bucket::create(endpoint, bucket).await;
    }
    endpoint.require_bucket(bucket)?;
    match method {
        Method::HEAD => Ok(Response::new(Body::empty())),
        Method::GET if head.has("location") => Ok(bucket::location()),
        Method::GET if head.has("versioning") => Ok(bucket::versioning()),
        Method::GET if head.has("uploads") => Ok(multipart::list_uploads(bucket)),
        Method::GET => match head.query.keys().find(|name| list::UNSUPPORTED.contains(&name.as_str())) {
            Some(name) => Err(S3Error::not_implemented(name)),
            None => list::objects(endpoint, bucket, head).await,
        },
        Method::POST if head.has("delete") => delete::objects(endpoint, bucket, call).await,
        Method::DELETE if head.query.is_empty() => bucket::delete(endpoint, bucket).await,
        _ => Err(S3Error::method_not_allowed()),
    }
}

async fn on_object(endpoint: &Endpoint, r: &DataReference, call: Call) -> Answer {
    let head = &call.head;
    if let Some(name) =
        ["acl", "tagging", "retention", "legal-hold", "torrent", "select", "restore", "attributes"]
            .into_iter()
            .find(|name| head.has(name))
    {
        return Err(S3Error::not_implemented(name));
    }
    match head.parts.method.clone() {
        Method::GET if head.has("uploadId") => multipart::list_parts(endpoint, r, head).await,
        Method::GET | Method::HEAD => object::get(endpoint, r, head),
        Method::PUT if head.has("partNumber") => multipart::upload_part(endpoint, r, call).await,
        Method::PUT if head.header("x-amz-copy-source").is_some() => object::copy(endpoint, r, head).await,
        Method::PUT => object::put(endpoint, r, call).await,
        Method::POST if head.has("uploads") => multipart::create(endpoint, r).await,
        Method::POST if head.has("uploadId") => multipart::complete(endpoint, r, call).await,
        Method::DELETE if head.has("uploadId") => multipart::abort(endpoint, r, head).await,
        Method::DELETE => delete::object(endpoint, r),
        _ => Err(S3Error::method_not_allowed()),
    }
}

impl Endpoint {
    /// Whether a bucket exists: the configured one does from the start.
    fn has_bucket(&self, bucket: &str) -> bool {
        crate::reference::fault_of_bucket(bucket).is_none()
            && (bucket == self.bucket || self.local.bucket_dir(bucket).is_dir())
    }

    fn require_bucket(&self, bucket: &str) -> Result<(), S3Error> {
        if self.has_bucket(bucket) { Ok(()) } else { Err(S3Error::no_such_bucket(bucket)) }
    }
}

/// An answer in XML.
fn xml_answer(document: String) -> Response<Body> {
    let mut response = Response::new(Body::from(document));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}
