//! Calls the gRPC services of this process: same routes, same layers, no socket in between.

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, request};
use http_body_util::BodyExt;
use tonic::{Code, Status, metadata::GRPC_CONTENT_TYPE};
use tower::ServiceExt;

use super::rule::Route;

/// Headers that say how a message travels, and are not for the one who reads it.
const OF_THE_TRANSPORT: [HeaderName; 12] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// With this before its name, a header becomes metadata of that name.
const METADATA_PREFIX: &str = "grpc-metadata-";
/// Flag and length before each message.
const PREFIX: usize = 5;

/// What a call answered: the message as bytes, or why not; and the headers for the client.
pub(crate) struct Answer {
    pub(crate) result: Result<Bytes, Status>,
    pub(crate) headers: HeaderMap,
}

/// Performs one call. Extensions of the request, such as who calls, go along.
pub(crate) async fn call(grpc: axum::Router, route: &Route, head: request::Parts, message: &[u8]) -> Answer {
    let Ok(n_bytes) = u32::try_from(message.len()) else {
        return Answer::refused(Status::resource_exhausted("the message is larger than 4 GiB"));
    };
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(n_bytes);
    framed.put_slice(message);
    let mut request = Request::new(Body::from(framed.freeze()));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = Uri::from(route.grpc_path.clone());
    *request.headers_mut() = metadata(head.headers);
    *request.extensions_mut() = head.extensions;
    let Ok(response) = grpc.oneshot(request).await;
    let (head, body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&head.headers)
        && status.code() != Code::Ok
    {
        return Answer { result: Err(status), headers: head.headers };
    }
    let result = match body.collect().await {
        Ok(collected) => {
            let status = collected.trailers().and_then(Status::from_header_map);
            match status {
                Some(status) if status.code() != Code::Ok => Err(status),
                _ => unframe(collected.to_bytes()),
            }
        }
        Err(error) => Err(Status::internal(format!("the reply broke off: {error}"))),
    };
    Answer { result, headers: head.headers }
}

impl Answer {
    fn refused(status: Status) -> Self {
        Self { result: Err(status), headers: HeaderMap::new() }
    }
}

fn metadata(headers: HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(headers.len() + 2);
    let mut name = None;
    for (next, value) in headers {
        // A name stands only before the first of its values.
        name = next.or(name);
        let Some(name) = &name else { continue };
        if OF_THE_TRANSPORT.contains(name) {
            continue;
        }
        match name.as_str().strip_prefix(METADATA_PREFIX).map(HeaderName::try_from) {
            None => drop(out.append(name.clone(), value)),
            Some(Ok(inner)) => drop(out.append(inner, value)),
            Some(Err(_)) => {}
        }
    }
    out.insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    out.insert(header::TE, HeaderValue::from_static("trailers"));
    out
}

fn unframe(bytes: Bytes) -> Result<Bytes, Status> {
    match bytes.split_at_checked(PREFIX) {
        Some(([0, ..], _)) => Ok(bytes.slice(PREFIX..)),
        Some(_) => Err(Status::internal("the reply is compressed, and nobody asked for that")),
        None => Err(Status::internal("the reply has no message")),
    }
}
