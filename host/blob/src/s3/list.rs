//! Lists the objects of a bucket, page by page, in both versions of the call.

use std::ops::ControlFlow;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};

use super::{Answer, Endpoint, Head, S3Error, xml::Xml, xml_answer};
use crate::{
    Error, ObjectMeta, encode,
    local::{Found, Local, Walk},
    store::blocking,
};

/// Longest page, as in S3.
const MAX_KEYS: usize = 1000;
/// How S3 writes times.
pub(super) const TIME: &str = "%Y-%m-%dT%H:%M:%S.%3fZ";
/// Questions about a bucket that have no answer here; anything else unknown is ignored, as S3 does.
pub(super) const UNSUPPORTED: [&str; 12] = [
    "acl",
    "cors",
    "encryption",
    "lifecycle",
    "logging",
    "notification",
    "object-lock",
    "policy",
    "replication",
    "tagging",
    "versions",
    "website",
];

/// Where a page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cursor {
    /// After this key.
    after: String,
    /// After all keys with this prefix.
    after_prefix: String,
}

impl Cursor {
    fn token(&self) -> String {
        let text = match self.after_prefix.as_str() {
            "" => format!("k{}", self.after),
            prefix => format!("p{prefix}"),
        };
        BASE64.encode(text)
    }

    fn from_token(token: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64.decode(token).ok()?).ok()?;
        if let Some(key) = text.strip_prefix('k') {
            return Some(Self { after: key.to_owned(), ..Self::default() });
        }
        Some(Self { after_prefix: text.strip_prefix('p')?.to_owned(), ..Self::default() })
    }
}

/// What to list.
struct Query {
    prefix: String,
    delimiter: String,
    max_keys: usize,
    cursor: Cursor,
}

#[derive(Default)]
struct Page {
    objects: Vec<(String, ObjectMeta)>,
    prefixes: Vec<String>,
    last: Cursor,
    next: Option<Cursor>,
}

impl Page {
    fn len(&self) -> usize {
        self.objects.len() + self.prefixes.len()
    }
}

/// Answers ListObjects and ListObjectsV2.
pub(super) async fn objects(endpoint: &Endpoint, bucket: &str, head: &Head) -> Answer {
    let text = |name: &str| head.param(name).unwrap_or("").to_owned();
    let is_v2 = head.param("list-type") == Some("2");
    let max_keys = match head.param("max-keys") {
        None | Some("") => MAX_KEYS,
        Some(number) => number
            .parse::<usize>()
            .map_err(|_| S3Error::invalid_argument("max-keys is no number"))?
            .min(MAX_KEYS),
    };
    let delimiter = text("delimiter");
    let marker = text(if is_v2 { "start-after" } else { "marker" });
    let cursor = match head.param("continuation-token").filter(|_| is_v2) {
        Some(token) => Cursor::from_token(token)
            .ok_or_else(|| S3Error::invalid_argument("continuation-token is not ours"))?,
        // In version 1 the marker may be a common prefix, all of which has been listed.
        None if !is_v2 && !delimiter.is_empty() && marker.ends_with(&delimiter) => {
            Cursor { after_prefix: marker.clone(), ..Cursor::default() }
        }
        None => Cursor { after: marker.clone(), ..Cursor::default() },
    };
    let query = Query { prefix: text("prefix"), delimiter, max_keys, cursor };
    let (local, name) = (endpoint.local.clone(), bucket.to_owned());
    let (query, page) = blocking(move || page(&local, &name, &query).map(|page| (query, page))).await?;
    Ok(xml_answer(document(bucket, head, is_v2, &marker, &query, page)))
}

fn page(local: &Local, bucket: &str, query: &Query) -> Result<Page, Error> {
    let root = local.bucket_dir(bucket);
    let mut page = Page::default();
    if query.max_keys == 0 {
        return Ok(page);
    }
    let mut take = |found: Found| {
        let (key, meta) = match found {
            Found::Prefix(prefix) => (prefix, None),
            Found::Object { key, meta } => (key, Some(meta)),
        };
        let rest = key.get(query.prefix.len()..).unwrap_or("");
        let cut = match query.delimiter.as_str() {
            "" => None,
            delimiter => rest.find(delimiter).map(|at| query.prefix.len() + at + delimiter.len()),
        };
        let prefix = cut.map(|cut| &key[..cut]);
        if prefix.is_some_and(|prefix| {
            page.prefixes.last().is_some_and(|last| last == prefix)
                || (!query.cursor.after_prefix.is_empty() && query.cursor.after_prefix == prefix)
        }) {
            return ControlFlow::Continue(());
        }
        if page.len() == query.max_keys {
            page.next = Some(page.last.clone());
            return ControlFlow::Break(());
        }
        match (prefix, meta) {
            (Some(prefix), _) => {
                page.last = Cursor { after_prefix: prefix.to_owned(), ..Cursor::default() };
                page.prefixes.push(prefix.to_owned());
            }
            (None, Some(meta)) => {
                page.last = Cursor { after: key.clone(), ..Cursor::default() };
                page.objects.push((key, meta));
            }
            (None, None) => {}
        }
        ControlFlow::Continue(())
    };
    Walk::new(&root, &query.prefix)
        .after(&query.cursor.after)
        .after_prefix(&query.cursor.after_prefix)
        .shallow(query.delimiter == "/")
        .run(&mut take)
        .map_err(|source| Error::Io { action: "list", path: root.clone(), source })?;
    Ok(page)
}

fn document(bucket: &str, head: &Head, is_v2: bool, marker: &str, query: &Query, page: Page) -> String {
    let is_encoded = head.param("encoding-type") == Some("url");
    let encoded = |key: &str| if is_encoded { encode::path(key) } else { key.to_owned() };
    let mut xml = Xml::root("ListBucketResult");
    xml.leaf("Name", bucket).leaf("Prefix", encoded(&query.prefix)).leaf("MaxKeys", query.max_keys);
    if !query.delimiter.is_empty() {
        xml.leaf("Delimiter", encoded(&query.delimiter));
    }
    if is_encoded {
        xml.leaf("EncodingType", "url");
    }
    xml.leaf("IsTruncated", page.next.is_some());
    if is_v2 {
        xml.leaf("KeyCount", page.len());
        if !marker.is_empty() {
            xml.leaf("StartAfter", encoded(marker));
        }
        if let Some(token) = head.param("continuation-token") {
            xml.leaf("ContinuationToken", token);
        }
        if let Some(next) = &page.next {
            xml.leaf("NextContinuationToken", next.token());
        }
    } else {
        xml.leaf("Marker", encoded(marker));
        if let Some(next) = &page.next {
            // One of the two is empty.
            xml.leaf("NextMarker", encoded(&format!("{}{}", next.after, next.after_prefix)));
        }
    }
    for (key, meta) in &page.objects {
        xml.open("Contents")
            .leaf("Key", encoded(key))
            .leaf("LastModified", meta.last_modified.strftime(TIME));
        xml.leaf("ETag", format_args!("\"{}\"", meta.etag)).leaf("Size", meta.size);
        xml.leaf("StorageClass", "STANDARD").close("Contents");
    }
    for prefix in &page.prefixes {
        xml.open("CommonPrefixes").leaf("Prefix", encoded(prefix)).close("CommonPrefixes");
    }
    xml.close("ListBucketResult");
    xml.finish()
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
