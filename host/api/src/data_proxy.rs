//! Serves `flyteidl.service.DataProxyService`: where clients put their files and get data back.

use std::{sync::Arc, time::Duration};

use blob::{DataReference, SignedUrl, UploadRoot, upload_key};
use bytes::Bytes;
use prost_types::Timestamp;
use proto::flyteidl::service::{
    ArtifactType, CreateDownloadLinkRequest, CreateDownloadLinkResponse, CreateDownloadLocationRequest,
    CreateDownloadLocationResponse, CreateUploadLocationRequest, CreateUploadLocationResponse,
    GetDataRequest, GetDataResponse, PreSignedUrLs, create_download_link_request::Source,
    data_proxy_service_server, get_data_response::Data,
};
use store::{ListQuery, NodeExecutionRow};
use tonic::{Request, Response, Status};

use crate::{
    Error,
    context::{Context, node_id},
    error::Result,
    flyte_url::{self, FlyteUrl, Part},
    raw::{self, Encoded},
    read,
};

/// Field numbers.
mod number {
    /// Of `GetDataResponse`.
    pub(super) const LITERAL_MAP: u32 = 1;
    pub(super) const LITERAL: u32 = 3;
    /// Of `core.LiteralMap`.
    pub(super) const LITERALS: u32 = 1;
}

/// Bytes of a literal map that one reply may hold; clients take 20 MiB at most.
const MAX_LITERAL_MAP: u64 = 16 << 20;

/// The service.
pub(crate) struct DataProxy(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl data_proxy_service_server::DataProxyService for DataProxy {
    async fn create_upload_location(
        &self,
        request: Request<CreateUploadLocationRequest>,
    ) -> Result<Response<CreateUploadLocationResponse>, Status> {
        Ok(Response::new(self.upload_location(request.into_inner()).await?))
    }

    #[allow(deprecated, reason = "old clients still call it")]
    async fn create_download_location(
        &self,
        request: Request<CreateDownloadLocationRequest>,
    ) -> Result<Response<CreateDownloadLocationResponse>, Status> {
        Ok(Response::new(self.download_location(request.into_inner()).await?))
    }

    async fn create_download_link(
        &self,
        request: Request<CreateDownloadLinkRequest>,
    ) -> Result<Response<CreateDownloadLinkResponse>, Status> {
        Ok(Response::new(self.download_link(request.into_inner()).await?))
    }

    async fn get_data(&self, request: Request<GetDataRequest>) -> Result<Response<GetDataResponse>, Status> {
        let url = flyte_url::parse(&request.into_inner().flyte_url)?;
        raw::reply(self.data(&url).await)
    }
}

impl DataProxy {
    /// The place depends on nothing but the request: it becomes part of registered tasks.
    async fn upload_location(
        &self,
        request: CreateUploadLocationRequest,
    ) -> Result<CreateUploadLocationResponse> {
        let Context { blob, .. } = &*self.0;
        for (value, field) in [(&request.project, "project"), (&request.domain, "domain")] {
            if value.is_empty() {
                return Err(Error::Missing(field));
            }
        }
        let md5 = request.content_md5.as_slice();
        if !md5.is_empty() && md5.len() != 16 {
            return Err(Error::invalid("content_md5", format!("has {} bytes instead of 16", md5.len())));
        }
        let root = match (request.filename_root.as_str(), md5) {
            ("", []) => return Err(Error::Missing("content_md5 or filename_root")),
            ("", md5) => UploadRoot::ContentMd5(md5),
            (root, _) => UploadRoot::Named(root),
        };
        let expires = self.expires(request.expires_in.as_ref())?;
        let filename = match request.filename.as_str() {
            "" => model::name::execution_name(&rand::random()),
            filename => filename.to_owned(),
        };
        let base = &blob.config().upload_prefix;
        let key = upload_key(base, &request.project, &request.domain, root, &filename)?;
        let reference = blob.reference(&key)?;
        if !request.filename.is_empty() && !request.filename_root.is_empty() {
            self.check_free(&reference, md5).await?;
        }
        let md5 = Some(md5).filter(|md5| !md5.is_empty());
        let signed = blob.sign_put(&reference, expires, md5).await?;
        Ok(CreateUploadLocationResponse {
            native_url: reference.as_str().to_owned(),
            expires_at: Some(expiry(&signed)),
            signed_url: signed.url,
            headers: signed.headers,
        })
    }

    /// A place the client names itself may be taken: then only by the same content.
    async fn check_free(&self, reference: &DataReference, md5: &[u8]) -> Result<()> {
        let Context { blob, .. } = &*self.0;
        if blob.head(reference).await?.is_none() {
            return Ok(());
        }
        if !md5.is_empty() && blob.content_md5(reference).await?.as_slice() == md5 {
            return Ok(());
        }
        Err(Error::Exists { what: "upload with other content", id: reference.as_str().to_owned() })
    }

    async fn download_location(
        &self,
        request: CreateDownloadLocationRequest,
    ) -> Result<CreateDownloadLocationResponse> {
        if request.native_url.is_empty() {
            return Err(Error::Missing("native_url"));
        }
        let signed = self.sign_get(&request.native_url, self.expires(request.expires_in.as_ref())?).await?;
        Ok(CreateDownloadLocationResponse { expires_at: Some(expiry(&signed)), signed_url: signed.url })
    }

    #[allow(deprecated, reason = "flytekit reads the old fields, the console the new one")]
    async fn download_link(&self, request: CreateDownloadLinkRequest) -> Result<CreateDownloadLinkResponse> {
        if request.artifact_type != ArtifactType::Deck as i32 {
            return Err(Error::invalid("artifact_type", format!("{} is not DECK", request.artifact_type)));
        }
        let Some(Source::NodeExecutionId(id)) = &request.source else {
            return Err(Error::Missing("node_execution_id"));
        };
        let expires = self.expires(request.expires_in.as_ref())?;
        let id = node_id("node_execution_id", Some(id))?;
        let node = match self.0.node(&id).await {
            Ok((_, node)) => node,
            Err(Error::NotFound { what, id }) => {
                return Err(Error::invalid("node_execution_id", format!("{what} {id} does not exist")));
            }
            Err(error) => return Err(error),
        };
        let urls = self.deck(&node, expires).await?;
        Ok(CreateDownloadLinkResponse {
            signed_url: urls.signed_url.clone(),
            expires_at: urls.expires_at,
            pre_signed_urls: Some(urls),
        })
    }

    async fn deck(&self, node: &NodeExecutionRow, expires: Duration) -> Result<PreSignedUrLs> {
        let missing = || Error::not_found("deck of node", &node.node_id);
        if node.deck_uri.is_empty() {
            return Err(missing());
        }
        if self.0.blob.head(&DataReference::parse(node.deck_uri.as_str())?).await?.is_none() {
            return Err(missing());
        }
        let signed = self.sign_get(&node.deck_uri, expires).await?;
        Ok(PreSignedUrLs { expires_at: Some(expiry(&signed)), signed_url: vec![signed.url] })
    }

    async fn data(&self, url: &FlyteUrl) -> Result<Encoded<GetDataResponse>> {
        let (execution, node) = self.0.node(&url.node).await?;
        let output_uri = match url.attempt {
            None => node.output_uri.clone(),
            Some(attempt) => {
                let all = ListQuery::default();
                let rows = self.0.store.task_execution_list(execution.key, &node.node_id, &all).await?;
                let row = rows.into_iter().find(|row| row.attempt.unsigned_abs() == attempt);
                let missing = || Error::not_found("attempt", format!("{}:{attempt}", url.node));
                row.ok_or_else(missing)?.output_uri
            }
        };
        let uri = match url.part {
            Part::Inputs => &node.input_uri,
            Part::Outputs => &output_uri,
            Part::Deck => {
                let urls = self.deck(&node, self.expires(None)?).await?;
                return Ok(Encoded::of(&GetDataResponse { data: Some(Data::PreSignedUrls(urls)) }));
            }
        };
        let map = self.literal_map(uri, url).await?;
        let Some(name) = &url.name else { return Ok(Encoded::new().parts(number::LITERAL_MAP, &[&map])) };
        match model::raw::entry(&map, number::LITERALS, name) {
            Some(literal) => Ok(Encoded::new().parts(number::LITERAL, &[&literal])),
            None => Err(Error::invalid("flyte_url", format!("{} has no value named `{name}`", url.node))),
        }
    }

    async fn literal_map(&self, uri: &str, url: &FlyteUrl) -> Result<Bytes> {
        let missing = || Error::not_found("data of", &url.node);
        if uri.is_empty() {
            return Err(missing());
        }
        match read::data::literal_map(&self.0.blob, uri, MAX_LITERAL_MAP).await {
            Ok(map) => Ok(map),
            Err(read::data::ReadError::Blob(error)) if error.is_not_found() => Err(missing()),
            Err(read::data::ReadError::Blob(error)) => Err(error.into()),
            Err(read::data::ReadError::Decode(source)) => {
                Err(Error::Decode { what: "data", id: url.node.to_string(), source })
            }
        }
    }

    async fn sign_get(&self, uri: &str, expires: Duration) -> Result<SignedUrl> {
        Ok(self.0.blob.sign_get(&DataReference::parse(uri)?, expires).await?)
    }

    /// The asked life of a URL, or the longest there is.
    fn expires(&self, asked: Option<&prost_types::Duration>) -> Result<Duration> {
        let max = self.0.blob.config().max_signed_url_expiry.get();
        let Some(asked) = asked else { return Ok(max) };
        let micros = model::time::duration_micros(asked);
        let asked = u64::try_from(micros).ok().filter(|micros| *micros > 0).map(Duration::from_micros);
        match asked {
            Some(asked) if asked <= max => Ok(asked),
            Some(asked) => {
                let (asked_secs, max_secs) = (asked.as_secs(), max.as_secs());
                Err(blob::Error::ExpiryTooLong { asked_secs, max_secs }.into())
            }
            None => Err(Error::invalid("expires_in", "must be greater than 0")),
        }
    }
}

fn expiry(signed: &SignedUrl) -> Timestamp {
    Timestamp { seconds: signed.expires_at_unix, nanos: 0 }
}
