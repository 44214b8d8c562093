//! Answers a GET or HEAD for a local file: conditions, ranges, streaming.

use std::{fs::File, ops::Range};

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use jiff::Timestamp;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use crate::{ObjectMeta, local, metric, store::INLINE};

/// Read and sent at a time.
const BLOCK: usize = 256 * 1024;

/// What to say instead of sending the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The object has not changed (304).
    NotModified,
    /// A condition does not hold (412).
    PreconditionFailed,
    /// The range starts beyond the end (416).
    InvalidRange,
}

/// Builds the answer for an open object.
pub(crate) fn answer(
    method: &Method,
    request: &HeaderMap,
    file: File,
    meta: &ObjectMeta,
    content_type: &str,
) -> Result<Response<Body>, Refused> {
    check_conditions(request, meta)?;
    let range = requested_range(request, meta)?;
    let whole = 0..meta.size;
    let (status, span) = match range {
        Some(range) => (StatusCode::PARTIAL_CONTENT, range),
        None => (StatusCode::OK, whole),
    };
    let len = span.end - span.start;
    let body = if method == Method::HEAD { Body::empty() } else { body(file, span.clone()) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    set(headers, header::CONTENT_TYPE, content_type);
    set_validators(headers, meta);
    if status == StatusCode::PARTIAL_CONTENT {
        let end = span.end - 1;
        set(headers, header::CONTENT_RANGE, &format!("bytes {}-{end}/{}", span.start, meta.size));
    }
    Ok(response)
}

/// Sets `ETag` and `Last-Modified`.
pub(crate) fn set_validators(headers: &mut HeaderMap, meta: &ObjectMeta) {
    set(headers, header::ETAG, &format!("\"{}\"", meta.etag));
    set(headers, header::LAST_MODIFIED, &http_date(meta.last_modified));
}

/// Sets a header, unless the value can't stand in one.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn body(file: File, span: Range<u64>) -> Body {
    let len = span.end - span.start;
    metric::read(len);
    if len <= INLINE {
        return match local::read_part(&file, span.start, len) {
            Ok(bytes) => Body::from(bytes),
            Err(error) => Body::from_stream(futures::stream::once(async { Err::<bytes::Bytes, _>(error) })),
        };
    }
    let mut file = file;
    if span.start > 0
        && let Err(error) = std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(span.start))
    {
        return Body::from_stream(futures::stream::once(async { Err::<bytes::Bytes, _>(error) }));
    }
    Body::from_stream(ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(len), BLOCK))
}

fn check_conditions(request: &HeaderMap, meta: &ObjectMeta) -> Result<(), Refused> {
    if let Some(tags) = text(request, header::IF_MATCH) {
        if !matches_any(tags, &meta.etag) {
            return Err(Refused::PreconditionFailed);
        }
    } else if let Some(date) = date(request, header::IF_UNMODIFIED_SINCE)
        && meta.last_modified.as_second() > date
    {
        return Err(Refused::PreconditionFailed);
    }
    if let Some(tags) = text(request, header::IF_NONE_MATCH) {
        if matches_any(tags, &meta.etag) {
            return Err(Refused::NotModified);
        }
    } else if let Some(date) = date(request, header::IF_MODIFIED_SINCE)
        && meta.last_modified.as_second() <= date
    {
        return Err(Refused::NotModified);
    }
    Ok(())
}

/// The tags of an `If-Match` list, without quotes.
pub(crate) fn tags(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'))
}

fn matches_any(list: &str, etag: &str) -> bool {
    tags(list).any(|tag| tag == "*" || tag == etag)
}

/// The bytes asked for; `None` for all of them. What is not one well-formed range is ignored, as HTTP has it.
fn requested_range(request: &HeaderMap, meta: &ObjectMeta) -> Result<Option<Range<u64>>, Refused> {
    if let Some(tag) = text(request, header::IF_RANGE)
        && !matches_any(tag, &meta.etag)
    {
        return Ok(None);
    }
    let Some(spec) = text(request, header::RANGE) else { return Ok(None) };
    parse_range(spec, meta.size)
}

/// Reads `bytes=a-b`, `bytes=a-` or `bytes=-n` for an object of `size` bytes.
pub(crate) fn parse_range(spec: &str, size: u64) -> Result<Option<Range<u64>>, Refused> {
    let Some((first, last)) = spec.trim().strip_prefix("bytes=").and_then(|spec| spec.split_once('-')) else {
        return Ok(None);
    };
    match (first.trim().parse::<u64>(), last.trim()) {
        (Ok(first), _) if first >= size => Err(Refused::InvalidRange),
        (Ok(first), "") => Ok(Some(first..size)),
        (Ok(first), last) => match last.parse::<u64>() {
            Ok(last) if last >= first => Ok(Some(first..last.saturating_add(1).min(size))),
            _ => Ok(None),
        },
        (Err(_), last) if first.trim().is_empty() => match last.parse::<u64>() {
            Ok(0) => Err(Refused::InvalidRange),
            Ok(_) if size == 0 => Err(Refused::InvalidRange),
            Ok(n_bytes) => Ok(Some(size.saturating_sub(n_bytes)..size)),
            Err(_) => Ok(None),
        },
        (Err(_), _) => Ok(None),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<i64> {
    let parsed = jiff::fmt::rfc2822::parse(text(headers, name)?).ok()?;
    Some(parsed.timestamp().as_second())
}

/// A time as HTTP writes it.
pub(crate) fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The content type that the end of a key suggests.
pub(crate) fn content_type(key: &str) -> &'static str {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    let suffix = name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    match suffix.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "txt" | "log" | "md" | "py" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "json" => "application/json",
        "yaml" | "yml" => "application/yaml",
        "pb" => "application/octet-stream",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        "gz" | "tgz" => "application/gzip",
        "zip" => "application/zip",
        "parquet" => "application/vnd.apache.parquet",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_has_it() {
        for (spec, size, expected) in [
            ("bytes=0-4", 10, Ok(Some(0..5))),
            ("bytes=5-", 10, Ok(Some(5..10))),
            ("bytes=5-99", 10, Ok(Some(5..10))),
            ("bytes=-3", 10, Ok(Some(7..10))),
            ("bytes=-30", 10, Ok(Some(0..10))),
            ("bytes=10-", 10, Err(Refused::InvalidRange)),
            ("bytes=-0", 10, Err(Refused::InvalidRange)),
            ("bytes=-1", 0, Err(Refused::InvalidRange)),
            ("bytes=0-0", 0, Err(Refused::InvalidRange)),
            ("bytes=4-2", 10, Ok(None)),
            ("bytes=0-1,3-4", 10, Ok(None)),
            ("lines=0-1", 10, Ok(None)),
            ("bytes=a-b", 10, Ok(None)),
            ("bytes=0-18446744073709551615", 10, Ok(Some(0..10))),
        ] {
            assert_eq!(parse_range(spec, size), expected, "{spec} of {size}");
        }
    }

    #[test]
    fn dates_have_the_form_of_http() {
        let time = Timestamp::from_second(784_111_777).unwrap();
        assert_eq!(http_date(time), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
