//! Reads and writes objects for plugins.

use blob::{Blob, DataReference};
use plugins::status;
use proto::pinion::plugin::v1::{
    BlobEntry, BlobGetRequest, BlobGetResponse, BlobHeadRequest, BlobHeadResponse, BlobListRequest,
    BlobListResponse, BlobPutRequest, BlobPutResponse, InputsGetRequest, InputsGetResponse, Status,
};

use super::{INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE};
use crate::clusters::with_causes;

const MAX_PAGE: usize = 1000;

/// Reads an object or a part of it.
pub(super) async fn get(blob: &Blob, request: BlobGetRequest) -> Result<BlobGetResponse, Status> {
    let reference = parse(&request.uri)?;
    let whole = request.offset == 0 && request.length.is_none();
    if whole {
        let data = blob.get(&reference).await.map_err(|error| refused(&error))?.to_vec();
        return Ok(BlobGetResponse { size: data.len() as u64, data });
    }
    let size = size(blob, &reference).await?;
    let end = request.length.map_or(size, |length| request.offset.saturating_add(length)).min(size);
    let data = if request.offset >= end {
        Vec::new()
    } else {
        blob.get_range(&reference, request.offset..end).await.map_err(|error| refused(&error))?.to_vec()
    };
    Ok(BlobGetResponse { data, size })
}

async fn size(blob: &Blob, reference: &DataReference) -> Result<u64, Status> {
    let found = blob.head(reference).await.map_err(|error| refused(&error))?;
    let found = found
        .ok_or_else(|| status(NOT_FOUND, "NotFound", format!("{} does not exist", reference.as_str())))?;
    Ok(found.size)
}

/// Writes an object.
pub(super) async fn put(blob: &Blob, request: BlobPutRequest) -> Result<BlobPutResponse, Status> {
    let reference = parse(&request.uri)?;
    blob.put(&reference, request.data.into()).await.map_err(|error| refused(&error))?;
    Ok(BlobPutResponse {})
}

/// Says whether an object exists.
pub(super) async fn head(blob: &Blob, request: BlobHeadRequest) -> Result<BlobHeadResponse, Status> {
    let found = blob.head(&parse(&request.uri)?).await.map_err(|error| refused(&error))?;
    Ok(found.map_or_else(BlobHeadResponse::default, |found| BlobHeadResponse {
        exists: true,
        size: found.size,
        etag: found.etag,
    }))
}

/// Lists a page of objects; the token is the last URI of the page before.
pub(super) async fn list(blob: &Blob, request: BlobListRequest) -> Result<BlobListResponse, Status> {
    let found = blob.list(&parse(&request.prefix)?).await.map_err(|error| refused(&error))?;
    let limit = match usize::try_from(request.limit) {
        Ok(0) | Err(_) => MAX_PAGE,
        Ok(asked) => asked.min(MAX_PAGE),
    };
    let all =
        found.into_iter().map(|(reference, size)| BlobEntry { uri: reference.as_str().to_owned(), size });
    let mut rest = all.filter(|entry| request.page_token.is_empty() || entry.uri > request.page_token);
    let entries: Vec<_> = rest.by_ref().take(limit).collect();
    let next_page_token = match (rest.next(), entries.last()) {
        (Some(_), Some(last)) => last.uri.clone(),
        _ => String::new(),
    };
    Ok(BlobListResponse { entries, next_page_token })
}

/// Reads the inputs of an attempt.
pub(super) async fn inputs(blob: &Blob, request: InputsGetRequest) -> Result<InputsGetResponse, Status> {
    if request.input_uri.is_empty() {
        return Ok(InputsGetResponse::default());
    }
    let bytes = blob.get(&parse(&request.input_uri)?).await.map_err(|error| refused(&error))?;
    Ok(InputsGetResponse { literal_map: bytes.to_vec() })
}

fn parse(uri: &str) -> Result<DataReference, Status> {
    DataReference::parse(uri).map_err(|error| status(INVALID_ARGUMENT, "InvalidReference", error.to_string()))
}

fn refused(error: &blob::Error) -> Status {
    let (code, name) = if error.is_not_found() {
        (NOT_FOUND, "NotFound")
    } else if error.is_transient() {
        (UNAVAILABLE, "StorageUnavailable")
    } else {
        (INVALID_ARGUMENT, "StorageRefused")
    };
    status(code, name, with_causes(error))
}
