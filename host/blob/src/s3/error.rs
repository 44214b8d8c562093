//! Says what is wrong in the words of S3.

use axum::body::Body;
use http::{Response, StatusCode};

use super::{xml::Xml, xml_answer};
use crate::{Error, digest::Mismatch, receive::ReceiveError, serve::Refused};

/// An error answer: clients match on the code.
#[derive(Debug)]
pub(super) struct S3Error {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// The size of the object, when a range lies beyond it.
    size: Option<u64>,
}

impl S3Error {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), size: None }
    }

    pub(super) fn denied(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    pub(super) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidArgument", message)
    }

    pub(super) fn invalid_uri(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidURI", message)
    }

    pub(super) fn malformed_xml(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MalformedXML", message)
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "this resource does not take this method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    pub(super) fn not_implemented(what: &str) -> Self {
        let message = format!("the embedded S3 endpoint does not know `{what}`");
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
    }

    pub(super) fn no_such_bucket(bucket: &str) -> Self {
        let message = format!("bucket `{bucket}` does not exist");
        Self::new(StatusCode::NOT_FOUND, "NoSuchBucket", message)
    }

    pub(super) fn no_such_key() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchKey", "the object does not exist")
    }

    pub(super) fn no_such_upload() -> Self {
        let message = "the multipart upload does not exist: it was completed, aborted or never begun";
        Self::new(StatusCode::NOT_FOUND, "NoSuchUpload", message)
    }

    /// A refused GET or HEAD.
    pub(super) fn refused(refused: Refused, size: u64) -> Self {
        match refused {
            Refused::NotModified => Self::new(StatusCode::NOT_MODIFIED, "NotModified", ""),
            Refused::PreconditionFailed => Self::precondition_failed(),
            Refused::InvalidRange => Self {
                size: Some(size),
                ..Self::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "InvalidRange",
                    "the range starts beyond the object",
                )
            },
        }
    }

    fn precondition_failed() -> Self {
        let message = "a condition of the request does not hold";
        Self::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", message)
    }

    /// The answer; one without a body where HTTP allows none.
    pub(super) fn into_response(self, resource: &str, request_id: &str) -> Response<Body> {
        let mut response = if self.status == StatusCode::NOT_MODIFIED {
            Response::new(Body::empty())
        } else {
            let mut xml = Xml::new();
            xml.open("Error");
            xml.leaf("Code", self.code).leaf("Message", &self.message);
            xml.leaf("Resource", resource).leaf("RequestId", request_id);
            xml.close("Error");
            xml_answer(xml.finish())
        };
        *response.status_mut() = self.status;
        if let Some(size) = self.size {
            let headers = response.headers_mut();
            crate::serve::set(headers, http::header::CONTENT_RANGE, &format!("bytes */{size}"));
        }
        response
    }
}

impl From<Error> for S3Error {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::NotFound { .. } => Self::no_such_key(),
            Error::InvalidKey { .. } | Error::InvalidReference { .. } | Error::ForeignScheme { .. } => {
                Self::invalid_argument(message)
            }
            Error::KeyConflict { .. } => Self::new(StatusCode::CONFLICT, "KeyConflict", message),
            Error::ConditionFailed { .. } => Self::precondition_failed(),
            Error::OutOfRange { size, .. } => Self::refused(Refused::InvalidRange, size),
            Error::TooLarge { .. } => Self::new(StatusCode::BAD_REQUEST, "EntityTooLarge", message),
            Error::Config(_) | Error::ExpiryTooLong { .. } | Error::Io { .. } | Error::Store { .. } => {
                tracing::error!(error = &error as &dyn std::error::Error, "S3 request failed");
                let message = "the host could not read or write its data directory; its log says why";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
            }
        }
    }
}

impl From<ReceiveError> for S3Error {
    fn from(error: ReceiveError) -> Self {
        let message = error.to_string();
        let code = match error {
            ReceiveError::Storage(error) => return error.into(),
            ReceiveError::BadChunkSignature => return Self::denied("SignatureDoesNotMatch", message),
            ReceiveError::Mismatch(mismatch) => return mismatch.into(),
            ReceiveError::TooLarge { .. } => "EntityTooLarge",
            ReceiveError::Broken(_) => "IncompleteBody",
        };
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }
}

impl From<Mismatch> for S3Error {
    fn from(mismatch: Mismatch) -> Self {
        let code = match mismatch {
            Mismatch::Md5 | Mismatch::Checksum(_) => "BadDigest",
            Mismatch::Sha256 => "XAmzContentSHA256Mismatch",
        };
        Self::new(StatusCode::BAD_REQUEST, code, mismatch.to_string())
    }
}
