//! Says which version runs.

use proto::flyteidl::admin::{GetVersionResponse, Version};

use crate::context::Context;

pub(super) fn get(cx: &Context) -> GetVersionResponse {
    let info = &cx.version;
    GetVersionResponse {
        control_plane_version: Some(Version {
            build: info.build.clone(),
            version: info.version.clone(),
            build_time: info.build_time.clone(),
        }),
    }
}
