//! Serves `flyteidl.service.IdentityService`: without authentication, nobody in particular.

use proto::flyteidl::service::{UserInfoRequest, UserInfoResponse, identity_service_server::IdentityService};
use tonic::{Request, Response, Status};

/// The service.
pub(crate) struct Identity;

#[tonic::async_trait]
impl IdentityService for Identity {
    async fn user_info(
        &self,
        _request: Request<UserInfoRequest>,
    ) -> Result<Response<UserInfoResponse>, Status> {
        Ok(Response::new(UserInfoResponse::default()))
    }
}
