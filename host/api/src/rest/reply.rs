//! Writes replies and refusals in the encoding that was asked for.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use prost::{Message, encoding};
use tonic::{Code, Status};

use super::{encoding::Encoding, json};

/// Headers of gRPC replies that mean something over REST too.
const KEPT: [HeaderName; 1] = [HeaderName::from_static("x-request-id")];
/// From this size on a reply is written on a thread of its own, so that it holds up no other call.
const LARGE: usize = 1 << 20;

/// A reply with a message.
pub(crate) async fn message(ty: json::Type, bytes: Bytes, encoding: Encoding) -> Result<Response, Status> {
    let body = match encoding {
        Encoding::Binary(_) => bytes,
        Encoding::Json if bytes.len() < LARGE => to_json(ty, &bytes)?,
        Encoding::Json => {
            let written = tokio::task::spawn_blocking(move || to_json(ty, &bytes)).await;
            written.map_err(|_| Status::internal("writing the reply was cut off"))??
        }
    };
    Ok(response(StatusCode::OK, encoding, body))
}

fn to_json(ty: json::Type, bytes: &[u8]) -> Result<Bytes, Status> {
    let mut out = Vec::with_capacity(bytes.len() * 2 + 64);
    match json::write(ty, bytes, &mut out) {
        Ok(()) => Ok(out.into()),
        Err(broken) => Err(Status::internal(format!("cannot write the reply as JSON: {broken}"))),
    }
}

fn response(status: StatusCode, encoding: Encoding, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(encoding.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// A refusal, as `google.rpc.Status`.
pub(crate) fn refusal(status: &Status, encoding: Encoding) -> Response {
    refusal_with(http_status(status.code()), status, encoding)
}

/// A refusal under an HTTP status of its own.
pub(crate) fn refusal_with(http: StatusCode, status: &Status, encoding: Encoding) -> Response {
    let details = details(status.details());
    let body = match encoding {
        Encoding::Json => {
            let mut out = format!("{{\"code\":{},\"message\":", status.code() as i32).into_bytes();
            json::write_text(status.message(), &mut out);
            out.extend_from_slice(b",\"details\":[");
            for (n, detail) in details.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                let start = out.len();
                if json::write_any(detail, &mut out).is_err() {
                    out.truncate(start);
                    out.extend_from_slice(b"{}");
                }
            }
            out.extend_from_slice(b"]}");
            out
        }
        Encoding::Binary(_) => {
            let mut out = Vec::new();
            encoding::int32::encode(1, &(status.code() as i32), &mut out);
            encoding::string::encode(2, &status.message().to_owned(), &mut out);
            for detail in details {
                encoding::bytes::encode(3, &detail, &mut out);
            }
            out
        }
    };
    response(http, encoding, body.into())
}

/// The encoded `google.protobuf.Any` messages inside the `google.rpc.Status` that travels with a gRPC refusal.
fn details(status: &[u8]) -> Vec<Vec<u8>> {
    #[derive(Clone, PartialEq, Message)]
    struct Details {
        #[prost(bytes = "vec", repeated, tag = "3")]
        details: Vec<Vec<u8>>,
    }
    Details::decode(status).map(|found| found.details).unwrap_or_default()
}

/// Takes over the headers of the gRPC reply that are for any client.
pub(crate) fn keep_headers(from: &HeaderMap, response: &mut Response) {
    for name in KEPT {
        if let Some(value) = from.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
}

/// The HTTP status of each code, as grpc-gateway has it.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
