//! Serves `flyteidl.cacheservice.CacheService`, by which engines outside share the cache: outputs by one key.

use std::sync::Arc;

use model::Timestamp;
use proto::flyteidl::cacheservice as cs;
use proto::flyteidl::cacheservice::cache_service_server::CacheService;
use tonic::{Request, Response, Status};

use crate::{Error, context::Context, error::Result};

/// The service.
pub(crate) struct CachedOutputs(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl CacheService for CachedOutputs {
    async fn get(
        &self,
        request: Request<cs::GetCacheRequest>,
    ) -> Result<Response<cs::GetCacheResponse>, Status> {
        let found = self.0.catalog.get_cached(&request.get_ref().key).await.map_err(Error::from)?;
        Ok(Response::new(cs::GetCacheResponse { output: Some(found) }))
    }

    async fn put(
        &self,
        request: Request<cs::PutCacheRequest>,
    ) -> Result<Response<cs::PutCacheResponse>, Status> {
        let cs::PutCacheRequest { key, output, overwrite } = request.into_inner();
        let stored = self.0.catalog.put_cached(&key, output.as_ref(), overwrite, Timestamp::now()).await;
        stored.map_err(Error::from)?;
        Ok(Response::new(cs::PutCacheResponse {}))
    }

    async fn delete(
        &self,
        request: Request<cs::DeleteCacheRequest>,
    ) -> Result<Response<cs::DeleteCacheResponse>, Status> {
        let deleted = self.0.catalog.delete_cached(&request.get_ref().key, Timestamp::now()).await;
        deleted.map_err(Error::from)?;
        Ok(Response::new(cs::DeleteCacheResponse {}))
    }

    async fn get_or_extend_reservation(
        &self,
        request: Request<cs::GetOrExtendReservationRequest>,
    ) -> Result<Response<cs::GetOrExtendReservationResponse>, Status> {
        let held = self.0.catalog.reserve_cached(request.get_ref(), Timestamp::now()).await;
        let reservation = Some(held.map_err(Error::from)?);
        Ok(Response::new(cs::GetOrExtendReservationResponse { reservation }))
    }

    async fn release_reservation(
        &self,
        request: Request<cs::ReleaseReservationRequest>,
    ) -> Result<Response<cs::ReleaseReservationResponse>, Status> {
        let cs::ReleaseReservationRequest { key, owner_id } = request.get_ref();
        self.0.catalog.release_cached(key, owner_id).await.map_err(Error::from)?;
        Ok(Response::new(cs::ReleaseReservationResponse {}))
    }
}
