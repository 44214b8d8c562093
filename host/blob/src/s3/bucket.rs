//! Lists, creates and describes buckets.

use std::fs;

use axum::body::Body;
use http::{Response, StatusCode, header};

use super::{Answer, Endpoint, S3Error, xml::Xml, xml_answer};
use crate::{Error, reference::fault_of_bucket, serve, store::blocking};

/// The configured bucket and every other directory that could be one.
pub(super) async fn list(endpoint: &Endpoint) -> Answer {
    let local = endpoint.local.clone();
    let mut names = blocking(move || {
        let fault = |source| Error::Io { action: "list", path: local.dir().to_owned(), source };
        let listing = match fs::read_dir(local.dir()) {
            Ok(listing) => listing,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fault(error)),
        };
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry.map_err(fault)?;
            let is_dir = entry.file_type().map_err(fault)?.is_dir();
            names.extend(entry.file_name().into_string().ok().filter(|_| is_dir));
        }
        Ok(names)
    })
    .await?;
    names.retain(|name| fault_of_bucket(name).is_none());
    if !names.contains(&endpoint.bucket) {
        names.push(endpoint.bucket.clone());
    }
    names.sort_unstable();
    let mut xml = Xml::root("ListAllMyBucketsResult");
    xml.open("Owner").leaf("ID", "pinion").leaf("DisplayName", "pinion").close("Owner").open("Buckets");
    for name in names {
        xml.open("Bucket")
            .leaf("Name", name)
            .leaf("CreationDate", "2020-01-01T00:00:00.000Z")
            .close("Bucket");
    }
    xml.close("Buckets").close("ListAllMyBucketsResult");
    Ok(xml_answer(xml.finish()))
}

/// Creates a bucket; one that exists is as good.
pub(super) async fn create(endpoint: &Endpoint, bucket: &str) -> Answer {
    if let Some(reason) = fault_of_bucket(bucket) {
        return Err(S3Error::new(StatusCode::BAD_REQUEST, "InvalidBucketName", reason));
    }
    let path = endpoint.local.bucket_dir(bucket);
    blocking(move || {
        fs::create_dir_all(&path).map_err(|source| Error::Io { action: "create", path, source })
    })
    .await?;
    let mut response = Response::new(Body::empty());
    serve::set(response.headers_mut(), header::LOCATION, &format!("/{bucket}"));
    Ok(response)
}

/// Removes an empty bucket other than the configured one.
pub(super) async fn delete(endpoint: &Endpoint, bucket: &str) -> Answer {
    let in_use = |message| S3Error::new(StatusCode::CONFLICT, "BucketNotEmpty", message);
    if bucket == endpoint.bucket {
        return Err(in_use("the bucket of the platform can't be deleted"));
    }
    fs::remove_dir(endpoint.local.bucket_dir(bucket)).map_err(|_| in_use("the bucket still has objects"))?;
    Ok(no_content())
}

/// The region, which is the default one: empty.
pub(super) fn location() -> Response<Body> {
    let mut xml = Xml::root("LocationConstraint");
    xml.close("LocationConstraint");
    xml_answer(xml.finish())
}

/// Objects have no versions.
pub(super) fn versioning() -> Response<Body> {
    let mut xml = Xml::root("VersioningConfiguration");
    xml.close("VersioningConfiguration");
    xml_answer(xml.finish())
}

/// What a successful deletion is answered with.
pub(super) fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
