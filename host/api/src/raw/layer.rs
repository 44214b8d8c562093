//! Lays the bytes of requests beside their messages, and sends replies that are bytes.

use std::io::Read;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use tonic::Status;

use super::{Arrived, Reply, encoded::PREFIX};

const ENCODING: &str = "grpc-encoding";
const STATUS: &str = "grpc-status";

/// Handles one unary call; `max` is the most bytes of a message.
pub(crate) async fn layer(State(max): State<usize>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let body = match Limited::new(body, max.saturating_add(PREFIX)).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return too_large(max),
        Err(error) => {
            return Status::cancelled(format!("the request broke off: {error}")).into_http::<Body>();
        }
    };
    let body = match body.first() {
        Some(1) => match unpack(&head.headers, &body, max) {
            Ok(unpacked) => {
                head.headers.remove(ENCODING);
                unpacked
            }
            Err(Unpack::TooLarge) => return too_large(max),
            // Refused where every call is read.
            Err(Unpack::Broken) => body,
        },
        _ => body,
    };
    if let Some(message) = only_message(&body) {
        head.extensions.insert(Arrived(message));
    }
    let mut response = next.run(Request::from_parts(head, Body::from(body))).await;
    if let Some(Reply(framed)) = response.extensions_mut().remove() {
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(STATUS, HeaderValue::from_static("0"));
        let body = Full::new(framed).with_trailers(std::future::ready(Some(Ok(trailers))));
        *response.body_mut() = Body::new(body);
    }
    response
}

fn too_large(max: usize) -> Response {
    let text = format!("the message has more than the {max} bytes allowed (`api.max-request-size`)");
    Status::resource_exhausted(text).into_http::<Body>()
}

/// The message of a body that holds one, not compressed.
fn only_message(body: &Bytes) -> Option<Bytes> {
    let ([flag, length @ ..], message) = body.split_first_chunk::<PREFIX>()?;
    let n_bytes = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (*flag == 0 && message.len() == n_bytes).then(|| body.slice(PREFIX..))
}

enum Unpack {
    TooLarge,
    Broken,
}

/// The same body, not compressed any more.
fn unpack(headers: &HeaderMap, body: &[u8], max: usize) -> Result<Bytes, Unpack> {
    if headers.get(ENCODING).is_none_or(|encoding| encoding != "gzip") {
        return Err(Unpack::Broken);
    }
    let packed = body.get(PREFIX..).ok_or(Unpack::Broken)?;
    let mut message = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut reader = flate2::read::GzDecoder::new(packed).take(limit);
    reader.read_to_end(&mut message).map_err(|_| Unpack::Broken)?;
    if message.len() > max {
        return Err(Unpack::TooLarge);
    }
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).map_err(|_| Unpack::TooLarge)?);
    framed.put_slice(&message);
    Ok(framed.freeze())
}
