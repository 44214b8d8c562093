//! Serves `datacatalog.DataCatalog`, by which engines outside share the cache: datasets, artifacts, tags, reservations.

use std::sync::Arc;

use catalog::Handle;
use model::Timestamp;
use proto::datacatalog as dc;
use proto::datacatalog::data_catalog_server::DataCatalog;
use tonic::{Request, Response, Status};

use crate::{Error, context::Context, error::Result};

/// The service.
pub(crate) struct Datasets(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl DataCatalog for Datasets {
    async fn create_dataset(
        &self,
        request: Request<dc::CreateDatasetRequest>,
    ) -> Result<Response<dc::CreateDatasetResponse>, Status> {
        let dataset = request.into_inner().dataset;
        self.0.catalog.create_dataset(dataset.as_ref(), Timestamp::now()).await.map_err(Error::from)?;
        Ok(Response::new(dc::CreateDatasetResponse {}))
    }

    async fn get_dataset(
        &self,
        request: Request<dc::GetDatasetRequest>,
    ) -> Result<Response<dc::GetDatasetResponse>, Status> {
        let id = request.into_inner().dataset;
        let dataset = self.0.catalog.get_dataset(id.as_ref()).await.map_err(Error::from)?;
        Ok(Response::new(dc::GetDatasetResponse { dataset: Some(dataset) }))
    }

    async fn create_artifact(
        &self,
        request: Request<dc::CreateArtifactRequest>,
    ) -> Result<Response<dc::CreateArtifactResponse>, Status> {
        let artifact = request.into_inner().artifact;
        self.0.catalog.create_artifact(artifact.as_ref(), Timestamp::now()).await.map_err(Error::from)?;
        Ok(Response::new(dc::CreateArtifactResponse {}))
    }

    async fn get_artifact(
        &self,
        request: Request<dc::GetArtifactRequest>,
    ) -> Result<Response<dc::GetArtifactResponse>, Status> {
        use dc::get_artifact_request::QueryHandle;
        let request = request.into_inner();
        let handle = match &request.query_handle {
            Some(QueryHandle::ArtifactId(id)) => Handle::Id(id),
            Some(QueryHandle::TagName(name)) => Handle::Tag(name),
            None => return Err(Error::Missing("artifact_id or tag_name").into()),
        };
        let found = self.0.catalog.get_artifact(request.dataset.as_ref(), handle).await;
        Ok(Response::new(dc::GetArtifactResponse { artifact: Some(found.map_err(Error::from)?) }))
    }

    async fn add_tag(
        &self,
        request: Request<dc::AddTagRequest>,
    ) -> Result<Response<dc::AddTagResponse>, Status> {
        let tag = request.into_inner().tag;
        self.0.catalog.add_tag(tag.as_ref(), Timestamp::now()).await.map_err(Error::from)?;
        Ok(Response::new(dc::AddTagResponse {}))
    }

    async fn list_artifacts(
        &self,
        request: Request<dc::ListArtifactsRequest>,
    ) -> Result<Response<dc::ListArtifactsResponse>, Status> {
        let listed = self.0.catalog.list_artifacts(request.get_ref()).await;
        Ok(Response::new(listed.map_err(Error::from)?))
    }

    async fn list_datasets(
        &self,
        request: Request<dc::ListDatasetsRequest>,
    ) -> Result<Response<dc::ListDatasetsResponse>, Status> {
        let listed = self.0.catalog.list_datasets(request.get_ref()).await;
        Ok(Response::new(listed.map_err(Error::from)?))
    }

    async fn update_artifact(
        &self,
        request: Request<dc::UpdateArtifactRequest>,
    ) -> Result<Response<dc::UpdateArtifactResponse>, Status> {
        use dc::update_artifact_request::QueryHandle;
        let request = request.into_inner();
        let handle = match &request.query_handle {
            Some(QueryHandle::ArtifactId(id)) => Handle::Id(id),
            Some(QueryHandle::TagName(name)) => Handle::Tag(name),
            None => return Err(Error::Missing("artifact_id or tag_name").into()),
        };
        let (dataset, metadata) = (request.dataset.as_ref(), request.metadata.as_ref());
        let catalog = &self.0.catalog;
        let updated =
            catalog.update_artifact(dataset, handle, &request.data, metadata, Timestamp::now()).await;
        Ok(Response::new(dc::UpdateArtifactResponse { artifact_id: updated.map_err(Error::from)? }))
    }

    async fn get_or_extend_reservation(
        &self,
        request: Request<dc::GetOrExtendReservationRequest>,
    ) -> Result<Response<dc::GetOrExtendReservationResponse>, Status> {
        let held = self.0.catalog.get_or_extend_reservation(request.get_ref(), Timestamp::now()).await;
        let reservation = Some(held.map_err(Error::from)?);
        Ok(Response::new(dc::GetOrExtendReservationResponse { reservation }))
    }

    async fn release_reservation(
        &self,
        request: Request<dc::ReleaseReservationRequest>,
    ) -> Result<Response<dc::ReleaseReservationResponse>, Status> {
        self.0.catalog.release_reservation(request.get_ref()).await.map_err(Error::from)?;
        Ok(Response::new(dc::ReleaseReservationResponse {}))
    }
}
