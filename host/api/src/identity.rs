//! Serves `flyteidl.service.IdentityService`: whom this host takes the caller for; without authentication, nobody in
//! particular.

use proto::flyteidl::service::{UserInfoRequest, UserInfoResponse, identity_service_server::IdentityService};
use tonic::{Request, Response, Status};

use crate::http::caller;

/// The service.
pub(crate) struct Identity;

#[tonic::async_trait]
impl IdentityService for Identity {
    async fn user_info(
        &self,
        request: Request<UserInfoRequest>,
    ) -> Result<Response<UserInfoResponse>, Status> {
        let subject = caller(&request);
        let preferred_username = subject.clone();
        Ok(Response::new(UserInfoResponse { subject, preferred_username, ..UserInfoResponse::default() }))
    }
}
