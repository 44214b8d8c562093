//! Reads, writes and copies one object.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderName, Response, header};

use super::{Answer, Call, Chunked, Endpoint, Head, S3Error, auth::Payload, xml::Xml, xml_answer};
use crate::{
    DataReference, SCHEME,
    digest::{Checksum, Digests, Expected},
    encode,
    local::Condition,
    receive::{Source, next_frame, receive},
    serve,
    store::blocking,
};

/// Largest body of a request that is not an object.
const MAX_DOCUMENT: usize = 4 << 20;

/// Answers GET and HEAD.
pub(super) fn get(endpoint: &Endpoint, r: &DataReference, head: &Head) -> Answer {
    let (file, meta) = endpoint.local.open(r)?;
    let content_type = head.param("response-content-type").unwrap_or_else(|| serve::content_type(r.key()));
    let answer = serve::answer(&head.parts.method, &head.parts.headers, file, &meta, content_type);
    let mut response = answer.map_err(|refused| S3Error::refused(refused, meta.size))?;
    for (param, name) in [
        ("response-content-disposition", header::CONTENT_DISPOSITION),
        ("response-content-encoding", header::CONTENT_ENCODING),
        ("response-cache-control", header::CACHE_CONTROL),
    ] {
        if let Some(value) = head.param(param) {
            serve::set(response.headers_mut(), name, value);
        }
    }
    Ok(response)
}

/// Writes an object.
pub(super) async fn put(endpoint: &Endpoint, r: &DataReference, call: Call) -> Answer {
    let condition = match (call.head.header("if-none-match"), call.head.header("if-match")) {
        (Some("*"), _) => Condition::Absent,
        (Some(_), _) => return Err(S3Error::not_implemented("If-None-Match other than `*`")),
        (None, Some(list)) => Condition::Matches(serve::tags(list).map(str::to_owned).collect()),
        (None, None) => Condition::Always,
    };
    let (source, expected) = body_of(call)?;
    let checksum = expected.checksum.clone();
    let received = receive(&endpoint.local, source, expected, None).await?;
    let r = r.clone();
    let meta = received
        .commit(move |local, temp| {
            local.path(&r).and_then(|path| local.commit_if(temp, &r, &path, &condition))
        })
        .await?;
    let mut response = Response::new(Body::empty());
    serve::set(response.headers_mut(), header::ETAG, &format!("\"{}\"", meta.etag));
    echo(&mut response, checksum.as_ref());
    Ok(response)
}

/// Repeats a verified checksum, as S3 does.
pub(super) fn echo(response: &mut Response<Body>, checksum: Option<&Checksum>) {
    if let Some(checksum) = checksum
        && let Some(value) = &checksum.value
    {
        serve::set(response.headers_mut(), HeaderName::from_static(checksum.name()), value);
    }
}

/// The body of an upload, and what it must hash to.
pub(super) fn body_of(call: Call) -> Result<(Source, Expected), S3Error> {
    let mut expected =
        Expected { checksum: Checksum::from_headers(&call.head.parts.headers), ..Expected::default() };
    expected.add_content_md5(&call.head.parts.headers)?;
    let n_decoded = call.head.header("x-amz-decoded-content-length").and_then(|value| value.parse().ok());
    let stream = call.body.into_data_stream();
    let source = match call.payload {
        Payload::Unsigned => Source::Plain(stream),
        Payload::Sha256(digest) => {
            expected.sha256 = Some(digest);
            Source::Plain(stream)
        }
        Payload::Chunked(chain) => Source::Chunked(Box::new(Chunked::new(stream, chain, n_decoded))),
    };
    Ok((source, expected))
}

/// Reads the body of a request that is a document.
pub(super) async fn small_body(call: Call) -> Result<Bytes, S3Error> {
    let (Source::Plain(mut stream), expected) = body_of(call)? else {
        return Err(S3Error::not_implemented("aws-chunked here"));
    };
    let mut document = BytesMut::new();
    let mut digests = Digests::new(expected);
    while let Some(bytes) = next_frame(&mut stream).await? {
        if document.len() + bytes.len() > MAX_DOCUMENT {
            return Err(S3Error::malformed_xml("the document is too large"));
        }
        digests.update(&bytes);
        document.extend_from_slice(&bytes);
    }
    digests.verify()?;
    Ok(document.freeze())
}

/// Copies an object that a header names.
pub(super) async fn copy(endpoint: &Endpoint, to: &DataReference, head: &Head) -> Answer {
    let from = copy_source(endpoint, head)?;
    let (local, to) = (endpoint.local.clone(), to.clone());
    let meta = blocking(move || local.copy(&from, &to)).await?;
    let mut xml = Xml::root("CopyObjectResult");
    xml.leaf("LastModified", meta.last_modified.strftime(super::list::TIME));
    xml.leaf("ETag", format_args!("\"{}\"", meta.etag)).close("CopyObjectResult");
    Ok(xml_answer(xml.finish()))
}

/// Reads `x-amz-copy-source`: `/bucket/key`, encoded, perhaps with a version.
pub(super) fn copy_source(endpoint: &Endpoint, head: &Head) -> Result<DataReference, S3Error> {
    let malformed = || S3Error::invalid_argument("x-amz-copy-source must be `/bucket/key`");
    let text = head.header("x-amz-copy-source").ok_or_else(malformed)?;
    let text = text.split_once("?versionId=").map_or(text, |(path, _)| path);
    let path = encode::decode(text).ok_or_else(malformed)?;
    let (bucket, key) = path.strip_prefix('/').unwrap_or(&path).split_once('/').ok_or_else(malformed)?;
    endpoint.require_bucket(bucket)?;
    Ok(DataReference::new(SCHEME, bucket, key)?)
}
