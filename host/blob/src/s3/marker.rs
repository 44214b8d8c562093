//! Pretends to store directory markers: empty objects whose key ends with a slash.
//!
//! Some clients (pyarrow, Hadoop) write one before the first object below it. Here a directory is a directory: the
//! marker makes it, is there as long as it is, and is never listed.

use std::{fs, io};

use axum::body::Body;
use http::{HeaderValue, Method, Response, header};

use super::{Answer, Call, Endpoint, S3Error, bucket::no_content, object::small_body};
use crate::{DataReference, Error, local::meta_of, serve};

/// Answers a request for the marker of a directory.
pub(super) async fn handle(endpoint: &Endpoint, directory: &DataReference, call: Call) -> Answer {
    let path = endpoint.local.path(directory)?;
    let method = call.head.parts.method.clone();
    let is_plain = !["uploads", "uploadId", "partNumber"].iter().any(|name| call.head.has(name));
    match method {
        Method::PUT if is_plain && call.head.header("x-amz-copy-source").is_none() => {
            if !small_body(call).await?.is_empty() {
                return Err(S3Error::invalid_argument(
                    "a key that ends with a slash can only be an empty object",
                ));
            }
            fs::create_dir_all(&path).map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => Error::KeyConflict {
                    reference: directory.clone(),
                    reason: "a part of its key before a slash is already an object",
                },
                _ => Error::Io { action: "create", path: path.clone(), source },
            })?;
        }
        Method::GET | Method::HEAD => {}
        Method::DELETE if is_plain => {
            // One that is in use stays, which the sender can't tell from a marker that is gone.
            drop(fs::remove_dir(&path));
            return Ok(no_content());
        }
        _ => return Err(S3Error::invalid_argument("the key ends with a slash; directories are not objects")),
    }
    let meta = fs::metadata(&path).ok().filter(fs::Metadata::is_dir).ok_or_else(S3Error::no_such_key)?;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    serve::set_validators(headers, &meta_of(&meta));
    if method != Method::PUT {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        serve::set(headers, header::CONTENT_TYPE, "application/x-directory");
    }
    Ok(response)
}
