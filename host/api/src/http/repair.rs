//! Corrects codes that the gRPC library answers by itself, before a service sees the call.
//!
//! A message that can't be read is the client's fault, and `UNKNOWN` would make clients start a login.

use axum::response::Response;
use http::{HeaderMap, HeaderValue};
use tonic::Code;

const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";
/// What a call of a method hears that its service does not have.
const NO_METHOD: HeaderValue = HeaderValue::from_static("this%20service%20has%20no%20such%20method");

/// The code of a reply that has failed; success tells its code in the trailers, behind the message.
pub(crate) fn code(response: &Response) -> Option<Code> {
    response.headers().get(STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

pub(crate) fn repair(mut response: Response) -> Response {
    if let Some(code) = code(&response)
        && let Some(better) = better(code, response.headers())
    {
        response.headers_mut().insert(STATUS, HeaderValue::from(better as i32));
    }
    if code(&response) == Some(Code::Unimplemented) && !response.headers().contains_key(MESSAGE) {
        response.headers_mut().insert(MESSAGE, NO_METHOD);
    }
    response
}

fn better(code: Code, headers: &HeaderMap) -> Option<Code> {
    let message = headers.get(MESSAGE).map(HeaderValue::as_bytes).unwrap_or_default();
    let says = |text: &[u8]| message.windows(text.len()).any(|window| window == text);
    match code {
        Code::Internal if says(b"failed%20to%20decode%20Protobuf") => Some(Code::InvalidArgument),
        Code::OutOfRange if says(b"message%20length%20too%20large") => Some(Code::ResourceExhausted),
        Code::Unknown => Some(Code::Internal),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tonic::Status;

    use super::*;

    #[test]
    fn a_method_that_is_not_there_is_called_so() {
        let text = |response: Response| response.headers()[MESSAGE].to_str().unwrap().to_owned();
        let silent = Response::builder().header(STATUS, "12").body(Body::empty()).unwrap();
        assert_eq!(text(repair(silent)), "this%20service%20has%20no%20such%20method");
        assert_eq!(text(repair(Status::unimplemented("not here").into_http())), "not%20here");
    }

    #[test]
    fn library_codes_become_precise() {
        for (code, message, want) in [
            (Code::Unknown, "x", Code::Internal),
            (Code::Internal, "failed to decode Protobuf message: buffer underflow", Code::InvalidArgument),
            (Code::Internal, "x", Code::Internal),
            (Code::OutOfRange, "Error, decoded message length too large: found 9", Code::ResourceExhausted),
            (Code::NotFound, "x", Code::NotFound),
        ] {
            let response = repair(Status::new(code, message).into_http::<Body>());
            assert_eq!(super::code(&response), Some(want), "{message}");
        }
    }
}
