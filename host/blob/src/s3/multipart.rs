//! Takes large objects in parts.
//!
//! Parts wait as files in a directory per upload, beside the temporary files. Completing one writes a new file from
//! them and renames it; only then do the parts go.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    path::{Path, PathBuf},
};

use axum::body::Body;
use http::{Response, StatusCode, header};

use super::{
    Answer, Call, Endpoint, Head, S3Error,
    bucket::no_content,
    list::TIME,
    object::{body_of, copy_source, echo, small_body},
    xml::{self, Xml},
    xml_answer,
};
use crate::{
    DataReference, Error, ObjectMeta, encode,
    local::{Local, TempFile, meta_of},
    receive::receive,
    serve,
    store::blocking,
    sweep::uploads_dir,
};

/// Highest number of a part, as in S3.
const MAX_PART: u32 = 10_000;
/// The file that says which object an upload is for.
const TARGET: &str = "target";

/// Begins an upload.
pub(super) async fn create(endpoint: &Endpoint, r: &DataReference) -> Answer {
    let id = hex::encode(rand::random::<[u8; 16]>());
    let dir = uploads_dir(endpoint.local.tmp()).join(&id);
    let target = r.to_string();
    blocking(move || {
        fs::create_dir_all(&dir)
            .and_then(|()| fs::write(dir.join(TARGET), target))
            .map_err(|source| Error::Io { action: "create", path: dir, source })
    })
    .await?;
    let mut xml = Xml::root("InitiateMultipartUploadResult");
    xml.leaf("Bucket", r.bucket()).leaf("Key", r.key()).leaf("UploadId", id);
    xml.close("InitiateMultipartUploadResult");
    Ok(xml_answer(xml.finish()))
}

/// Takes one part, from the body or from another object.
pub(super) async fn upload_part(endpoint: &Endpoint, r: &DataReference, call: Call) -> Answer {
    let dir = upload_dir(endpoint, r, &call.head)?;
    let number = call.head.param("partNumber").and_then(|number| number.parse().ok());
    let number = number.filter(|number| (1..=MAX_PART).contains(number));
    let number =
        number.ok_or_else(|| S3Error::invalid_argument("partNumber must lie between 1 and 10000"))?;
    let path = part_path(&dir, number);
    if call.head.header("x-amz-copy-source").is_some() {
        return copy_part(endpoint, r, &call.head, path).await;
    }
    let (source, expected) = body_of(call)?;
    let checksum = expected.checksum.clone();
    let received = receive(&endpoint.local, source, expected, None).await?;
    let r = r.clone();
    let meta = received.commit(move |local, temp| commit_part(local, temp, &r, &dir, &path)).await?;
    let mut response = Response::new(Body::empty());
    serve::set(response.headers_mut(), header::ETAG, &format!("\"{}\"", meta.etag));
    echo(&mut response, checksum.as_ref());
    Ok(response)
}

/// Puts a part in its place, unless the upload ended meanwhile: a commit would make its directory again.
fn commit_part(
    local: &Local,
    temp: TempFile,
    r: &DataReference,
    dir: &Path,
    path: &Path,
) -> Result<ObjectMeta, Error> {
    if !dir.join(TARGET).exists() {
        return Err(Error::NotFound { reference: r.clone() });
    }
    local.commit(temp, r, path)
}

async fn copy_part(endpoint: &Endpoint, r: &DataReference, head: &Head, path: PathBuf) -> Answer {
    let from = copy_source(endpoint, head)?;
    let range = head.header("x-amz-copy-source-range").map(str::to_owned);
    let (local, r) = (endpoint.local.clone(), r.clone());
    let meta = blocking(move || {
        let (mut file, meta) = local.open(&from)?;
        let out_of_range = || Error::OutOfRange { reference: from.clone(), size: meta.size };
        let span = match range {
            None => 0..meta.size,
            Some(range) => serve::parse_range(&range, meta.size).ok().flatten().ok_or_else(out_of_range)?,
        };
        let seek = file.seek(io::SeekFrom::Start(span.start));
        seek.map_err(|source| Error::Io { action: "read", path: path.clone(), source })?;
        let mut temp = TempFile::create(local.tmp())?;
        temp.copy_from(&mut file.take(span.end - span.start))?;
        let dir = path.parent().unwrap_or(&path);
        commit_part(&local, temp, &r, dir, &path)
    })
    .await?;
    let mut xml = Xml::root("CopyPartResult");
    xml.leaf("LastModified", meta.last_modified.strftime(TIME));
    xml.leaf("ETag", format_args!("\"{}\"", meta.etag)).close("CopyPartResult");
    Ok(xml_answer(xml.finish()))
}

/// Puts the parts together.
pub(super) async fn complete(endpoint: &Endpoint, r: &DataReference, call: Call) -> Answer {
    let dir = upload_dir(endpoint, r, &call.head)?;
    let wanted = xml::records(&small_body(call).await?, "Part")?;
    let mut parts: Vec<(u32, String)> = Vec::new();
    for part in &wanted.items {
        let number = part.get("PartNumber").and_then(|number| number.trim().parse().ok());
        let number = number.ok_or_else(|| S3Error::malformed_xml("a part has no number"))?;
        if parts.last().is_some_and(|(last, _)| *last >= number) {
            let message = "the parts must be named in ascending order";
            return Err(S3Error::new(StatusCode::BAD_REQUEST, "InvalidPartOrder", message));
        }
        let etag = part.get("ETag").map(|etag| etag.trim().trim_matches('"').to_owned());
        parts.push((number, etag.unwrap_or_default()));
    }
    if parts.is_empty() {
        return Err(S3Error::malformed_xml("no part is named"));
    }
    let (local, target) = (endpoint.local.clone(), r.clone());
    let meta = blocking(move || Ok(assemble(&local, &target, &dir, &parts))).await??;
    let mut xml = Xml::root("CompleteMultipartUploadResult");
    let location = format!("/{}/{}", r.bucket(), encode::path(r.key()));
    xml.leaf("Location", location).leaf("Bucket", r.bucket()).leaf("Key", r.key());
    xml.leaf("ETag", format_args!("\"{}\"", meta.etag)).close("CompleteMultipartUploadResult");
    Ok(xml_answer(xml.finish()))
}

fn assemble(
    local: &Local,
    r: &DataReference,
    dir: &Path,
    parts: &[(u32, String)],
) -> Result<ObjectMeta, S3Error> {
    let mut temp = TempFile::create(local.tmp())?;
    for (number, etag) in parts {
        let invalid = || {
            let message = format!("part {number} was not uploaded, or its ETag is another one");
            S3Error::new(StatusCode::BAD_REQUEST, "InvalidPart", message)
        };
        let path = part_path(dir, *number);
        let mut file = File::open(&path).map_err(|_| invalid())?;
        let meta = file.metadata().map_err(|source| Error::Io { action: "read", path, source })?;
        if meta_of(&meta).etag != *etag {
            return Err(invalid());
        }
        temp.copy_from(&mut file)?;
    }
    let path = local.path(r)?;
    let meta = local.commit(temp, r, &path)?;
    // The object is complete: parts that stay behind go with the next sweep.
    drop(fs::remove_dir_all(dir));
    Ok(meta)
}

/// Gives an upload up.
pub(super) async fn abort(endpoint: &Endpoint, r: &DataReference, head: &Head) -> Answer {
    let dir = upload_dir(endpoint, r, head)?;
    blocking(move || {
        fs::remove_dir_all(&dir).map_err(|source| Error::Io { action: "delete", path: dir, source })
    })
    .await?;
    Ok(no_content())
}

/// Lists the parts that have arrived.
pub(super) async fn list_parts(endpoint: &Endpoint, r: &DataReference, head: &Head) -> Answer {
    let dir = upload_dir(endpoint, r, head)?;
    let number_of = |name: &str| head.param(name).and_then(|number| number.parse::<u32>().ok());
    let after = number_of("part-number-marker").unwrap_or(0);
    let max_parts = number_of("max-parts").unwrap_or(1000).clamp(1, 1000);
    let mut parts = blocking(move || {
        parts_in(&dir).map_err(|source| Error::Io { action: "list", path: dir.clone(), source })
    })
    .await?;
    parts.retain(|(number, _)| *number > after);
    let n_shown = usize::try_from(max_parts).unwrap_or(usize::MAX);
    let is_truncated = parts.len() > n_shown;
    parts.truncate(n_shown);
    let mut xml = Xml::root("ListPartsResult");
    xml.leaf("Bucket", r.bucket()).leaf("Key", r.key());
    xml.leaf("UploadId", head.param("uploadId").unwrap_or("")).leaf("PartNumberMarker", after);
    xml.leaf("MaxParts", max_parts).leaf("IsTruncated", is_truncated);
    if let Some((last, _)) = parts.last() {
        xml.leaf("NextPartNumberMarker", last);
    }
    for (number, meta) in parts {
        xml.open("Part").leaf("PartNumber", number);
        xml.leaf("LastModified", meta.last_modified.strftime(TIME));
        xml.leaf("ETag", format_args!("\"{}\"", meta.etag)).leaf("Size", meta.size).close("Part");
    }
    xml.close("ListPartsResult");
    Ok(xml_answer(xml.finish()))
}

/// Lists no uploads: clients ask only to clean up, which the sweep does.
pub(super) fn list_uploads(bucket: &str) -> Response<Body> {
    let mut xml = Xml::root("ListMultipartUploadsResult");
    xml.leaf("Bucket", bucket).leaf("IsTruncated", false).close("ListMultipartUploadsResult");
    xml_answer(xml.finish())
}

fn parts_in(dir: &Path) -> io::Result<Vec<(u32, ObjectMeta)>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(number) = name.to_str().and_then(|name| name.strip_prefix("part-")?.parse().ok()) {
            parts.push((number, meta_of(&entry.metadata()?)));
        }
    }
    parts.sort_unstable_by_key(|(number, _)| *number);
    Ok(parts)
}

fn part_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("part-{number:05}"))
}

/// The directory of the upload that the request names, if it is one for this object.
fn upload_dir(endpoint: &Endpoint, r: &DataReference, head: &Head) -> Result<PathBuf, S3Error> {
    let id = head.param("uploadId").unwrap_or("");
    // Anything else could leave the directory.
    if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(S3Error::no_such_upload());
    }
    let dir = uploads_dir(endpoint.local.tmp()).join(id);
    match fs::read_to_string(dir.join(TARGET)) {
        Ok(target) if target == r.as_str() => Ok(dir),
        _ => Err(S3Error::no_such_upload()),
    }
}
