//! Where clients put their files and how they get data back.

use proto::flyteidl::service::*;
use tonic::Code;

use super::world::*;

fn upload(filename: &str, root: &str, md5: &[u8]) -> CreateUploadLocationRequest {
    CreateUploadLocationRequest {
        project: PROJECT.to_owned(),
        domain: DOMAIN.to_owned(),
        filename: filename.to_owned(),
        filename_root: root.to_owned(),
        content_md5: md5.to_vec(),
        add_content_md5_metadata: true,
        ..CreateUploadLocationRequest::default()
    }
}

const MD5: [u8; 16] =
    [0x4c, 0x6b, 0x29, 0x91, 0x22, 0x23, 0x4a, 0xe4, 0x57, 0x95, 0x56, 0x6a, 0x16, 0x70, 0xc8, 0xeb];

async fn locate(world: &World, request: CreateUploadLocationRequest) -> CreateUploadLocationResponse {
    world.data_proxy.clone().create_upload_location(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn native_url_depends_on_the_request_alone() {
    let world = world().await;
    let first = locate(&world, upload("fast.tar.gz", "", &MD5)).await;
    let second = locate(&world, upload("fast.tar.gz", "", &MD5)).await;
    assert_eq!(first.native_url, second.native_url);
    assert!(first.native_url.starts_with("s3://my-s3-bucket/"), "{}", first.native_url);
    assert!(
        first.native_url.ends_with("/flytesnacks/development/JRVSTEJCENFOIV4VKZVBM4GI5M======/fast.tar.gz"),
        "{}",
        first.native_url
    );
    assert!(first.signed_url.starts_with("http://"));
    assert!(first.expires_at.is_some());
}

#[tokio::test]
async fn no_filename_gives_a_new_one_each_time() {
    let world = world().await;
    let first = locate(&world, upload("", "00000", &[])).await;
    let second = locate(&world, upload("", "00000", &[])).await;
    assert_ne!(first.native_url, second.native_url);
    assert!(first.native_url.contains("/00000/"));
}

#[tokio::test]
async fn uploads_arrive_and_are_not_replaced_by_others() {
    let world = world().await;
    let content = b"hello";
    let md5 =
        [0x5d, 0x41, 0x40, 0x2a, 0xbc, 0x4b, 0x2a, 0x76, 0xb9, 0x71, 0x9d, 0x91, 0x10, 0x17, 0xc5, 0x92];
    let at = locate(&world, upload("f.txt", "root", &md5)).await;
    let reply = reqwest::Client::new()
        .put(&at.signed_url)
        .header("Content-MD5", "XUFAKrxLKna5cZ2REBfFkg==")
        .body(content.to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status().as_u16(), 200);
    let again = locate(&world, upload("f.txt", "root", &md5)).await;
    assert_eq!(again.native_url, at.native_url);
    let mut data_proxy = world.data_proxy.clone();
    for other in [&MD5[..], &[]] {
        let taken = data_proxy.create_upload_location(upload("f.txt", "root", other)).await;
        assert_eq!(code(taken), Code::AlreadyExists);
    }
    #[allow(deprecated, reason = "old clients still call it")]
    let reply = {
        let request = CreateDownloadLocationRequest { native_url: at.native_url, expires_in: None };
        data_proxy.create_download_location(request).await.unwrap().into_inner()
    };
    assert_eq!(reqwest::get(&reply.signed_url).await.unwrap().bytes().await.unwrap().as_ref(), content);
}

#[tokio::test]
async fn broken_uploads_are_invalid_arguments() {
    let world = world().await;
    let hours = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let base = || upload("f", "", &MD5);
    for (what, request) in [
        ("neither root nor md5", upload("f", "", &[])),
        ("short md5", upload("f", "", &[1, 2])),
        ("no project", CreateUploadLocationRequest { project: String::new(), ..base() }),
        ("no domain", CreateUploadLocationRequest { domain: String::new(), ..base() }),
        ("traversal", upload("../../f", "", &MD5)),
        ("traversal by root", upload("f", "..", &[])),
        ("too long", CreateUploadLocationRequest { expires_in: hours(7_200), ..base() }),
        ("past", CreateUploadLocationRequest { expires_in: hours(-1), ..base() }),
    ] {
        let reply = world.data_proxy.clone().create_upload_location(request).await;
        assert_eq!(code(reply), Code::InvalidArgument, "{what}");
    }
    let short = CreateUploadLocationRequest { expires_in: hours(60), ..base() };
    world.data_proxy.clone().create_upload_location(short).await.unwrap();
}

#[tokio::test]
async fn decks_of_unknown_nodes_are_invalid_arguments() {
    let world = world().await;
    world.register("v1").await;
    let name = world.start("").await;
    let request = |execution: &str, artifact_type| {
        let node = proto::flyteidl::core::NodeExecutionIdentifier {
            node_id: "n0".to_owned(),
            execution_id: Some(execution_id(execution)),
        };
        CreateDownloadLinkRequest {
            artifact_type,
            source: Some(create_download_link_request::Source::NodeExecutionId(node)),
            ..CreateDownloadLinkRequest::default()
        }
    };
    for request in
        [request(&name, 1), request("nobody", 1), request(&name, 0), CreateDownloadLinkRequest::default()]
    {
        let reply = world.data_proxy.clone().create_download_link(request).await;
        assert_eq!(code(reply), Code::InvalidArgument);
    }
}
