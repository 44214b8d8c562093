//! The embedded S3 endpoint, byte by byte: what no client library shows.

use reqwest::{Client, Method, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{World, noise, r, world, world_with};

async fn open_world() -> World {
    world_with(|config| config.local.allow_anonymous = true).await
}

async fn call(
    world: &World,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<String>,
) -> Response {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = Client::new().request(method, format!("{}{path}", world.s3)).body(body.into());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// Sends a path as it is: a client library resolves dot segments before it sends.
async fn raw_call(world: &World, method: &str, path: &str) -> String {
    let address = world.s3.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn outcome(response: Response) -> String {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    format!("{status} {}", code.map_or("", |(code, _)| code)).trim().to_owned()
}

#[tokio::test]
async fn anonymous_requests_are_refused_by_default() {
    let world = world().await;
    for (method, path) in [("GET", "/"), ("GET", "/my-s3-bucket"), ("PUT", "/my-s3-bucket/a"), ("HEAD", "/x")]
    {
        let response = call(&world, method, path, &[], "").await;
        assert_eq!(response.status(), 403, "{method} {path}");
    }
}

#[tokio::test]
async fn buckets_answer_as_clients_expect() {
    let world = open_world().await;
    assert_eq!(outcome(call(&world, "HEAD", "/my-s3-bucket", &[], "").await).await, "200");
    assert_eq!(outcome(call(&world, "HEAD", "/other", &[], "").await).await, "404");
    assert_eq!(outcome(call(&world, "GET", "/other?list-type=2", &[], "").await).await, "404 NoSuchBucket");
    assert_eq!(outcome(call(&world, "PUT", "/other/key", &[], "x").await).await, "404 NoSuchBucket");
    assert_eq!(outcome(call(&world, "PUT", "/other", &[], "").await).await, "200");
    assert_eq!(outcome(call(&world, "PUT", "/my-s3-bucket", &[], "").await).await, "200");
    assert_eq!(outcome(call(&world, "PUT", "/..", &[], "").await).await, "405 MethodNotAllowed");
    assert_eq!(outcome(call(&world, "PUT", "/a%2Fb", &[], "").await).await, "404 NoSuchBucket");
    assert_eq!(outcome(call(&world, "PUT", "/.tmp", &[], "").await).await, "400 InvalidBucketName");
    let buckets = call(&world, "GET", "/", &[], "").await.text().await.unwrap();
    assert!(buckets.contains("<Name>my-s3-bucket</Name>") && buckets.contains("<Name>other</Name>"));
    let location = call(&world, "GET", "/my-s3-bucket?location", &[], "").await.text().await.unwrap();
    assert!(location.contains("<LocationConstraint"), "{location}");
    assert_eq!(outcome(call(&world, "GET", "/my-s3-bucket?acl", &[], "").await).await, "501 NotImplemented");
    assert_eq!(outcome(call(&world, "DELETE", "/other", &[], "").await).await, "204");
    assert_eq!(outcome(call(&world, "DELETE", "/my-s3-bucket", &[], "").await).await, "409 BucketNotEmpty");
}

#[tokio::test]
async fn traversal_is_refused_in_every_spelling() {
    let world = open_world().await;
    std::fs::write(world.dir.parent().unwrap().join("outside"), "secret").unwrap();
    world.blob.put(&r("in/side"), "x".into()).await.unwrap();
    for path in [
        "/my-s3-bucket/%2e%2e/%2e%2e/outside",
        "/my-s3-bucket/in/%2e%2e/%2e%2e/%2e%2e/outside",
        "/my-s3-bucket/..%2f..%2foutside",
        "/my-s3-bucket/%252e%252e/outside",
        "/my-s3-bucket/%2e%252e/outside",
        "/my-s3-bucket/in%2f%2e%2e%2f%2e%2e%2foutside",
        "/my-s3-bucket//etc/passwd",
        "/my-s3-bucket/%2fetc%2fpasswd",
        "/my-s3-bucket/in//side",
        "/my-s3-bucket/in%00side",
        "/my-s3-bucket/./in/%2e/side",
        "/%2e%2e/outside",
        "/..%2foutside",
        "/%2etmp/x",
    ] {
        for method in ["GET", "PUT", "DELETE", "HEAD"] {
            let answer = raw_call(&world, method, path).await;
            let status = answer.split(' ').nth(1).unwrap();
            assert!(matches!(status, "400" | "404" | "405" | "409"), "{method} {path}: {answer}");
            assert!(!answer.contains("secret"), "{method} {path}");
        }
        let copy = path.strip_prefix('/').unwrap();
        let headers = [("x-amz-copy-source", copy)];
        let response = call(&world, "PUT", "/my-s3-bucket/copied", &headers, "").await;
        assert!(response.status().is_client_error(), "copy of {path}");
    }
    for prefix in ["../", "..", "%2E%2E/", "in/../../", "/", "a//"] {
        let listing =
            call(&world, "GET", &format!("/my-s3-bucket?list-type=2&prefix={prefix}"), &[], "").await;
        assert!(!listing.text().await.unwrap().contains("<Key>"), "{prefix}");
    }
    assert_eq!(world.blob.get(&r("in/side")).await.unwrap(), "x");
    assert_eq!(std::fs::read_to_string(world.dir.parent().unwrap().join("outside")).unwrap(), "secret");
}

#[tokio::test]
async fn directory_markers_are_directories() {
    let world = open_world().await;
    assert_eq!(outcome(call(&world, "HEAD", "/my-s3-bucket/d/", &[], "").await).await, "404");
    assert_eq!(outcome(call(&world, "PUT", "/my-s3-bucket/d/", &[], "x").await).await, "400 InvalidArgument");
    assert_eq!(outcome(call(&world, "PUT", "/my-s3-bucket/d/", &[], "").await).await, "200");
    assert_eq!(outcome(call(&world, "HEAD", "/my-s3-bucket/d/", &[], "").await).await, "200");
    assert_eq!(
        outcome(call(&world, "PUT", "/my-s3-bucket/d", &[], "x").await).await,
        "200",
        "not in use yet"
    );
    assert_eq!(outcome(call(&world, "PUT", "/my-s3-bucket/d/", &[], "").await).await, "409 KeyConflict");
    assert_eq!(outcome(call(&world, "DELETE", "/my-s3-bucket/d/", &[], "").await).await, "204");
    assert_eq!(world.blob.list(&r("")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn digests_are_checked() {
    let world = open_world().await;
    for (name, right, wrong) in [
        ("Content-MD5", "JfnnlDI7RTiF9RgfG2JNCw==", "1B2M2Y8AsgTpgAmY7PhCfg=="),
        ("x-amz-checksum-crc32", "y/Q5Jg==", "AAAAAA=="),
        ("x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=", "AAAA"),
    ] {
        let put = |value| call(&world, "PUT", "/my-s3-bucket/a", &[], "").then_put(&world, name, value);
        assert_eq!(put(wrong).await, "400 BadDigest", "{name}");
        assert_eq!(put(right).await, "200", "{name}");
    }
    let hash = [("x-amz-content-sha256", "0000000000000000000000000000000000000000000000000000000000000000")];
    let response = call(&world, "PUT", "/my-s3-bucket/a", &hash, "x").await;
    assert_eq!(outcome(response).await, "400 XAmzContentSHA256Mismatch");
    assert_eq!(world.blob.get(&r("a")).await.unwrap(), "123456789");
}

/// Sends the content of the digest tests with one header.
trait ThenPut {
    async fn then_put(self, world: &World, name: &str, value: &str) -> String;
}

impl<F: Future<Output = Response>> ThenPut for F {
    async fn then_put(self, world: &World, name: &str, value: &str) -> String {
        outcome(call(world, "PUT", "/my-s3-bucket/a", &[(name, value)], "123456789").await).await
    }
}

#[tokio::test]
async fn chunked_bodies_are_decoded() {
    let world = open_world().await;
    let headers = [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "9"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ];
    let body = |crc: &str| format!("4\r\n1234\r\n5\r\n56789\r\n0\r\nx-amz-checksum-crc32:{crc}\r\n\r\n");
    let put = |crc: &str| call(&world, "PUT", "/my-s3-bucket/a", &headers, body(crc));
    assert_eq!(outcome(put("AAAAAA==").await).await, "400 BadDigest");
    assert_eq!(world.blob.head(&r("a")).await.unwrap(), None);
    assert_eq!(outcome(put("y/Q5Jg==").await).await, "200");
    assert_eq!(world.blob.get(&r("a")).await.unwrap(), "123456789");
}

#[tokio::test]
async fn conditional_writes_hold() {
    let world = open_world().await;
    let put = |headers: &'static [(&'static str, &'static str)]| {
        call(&world, "PUT", "/my-s3-bucket/a", headers, "x")
    };
    assert_eq!(outcome(put(&[("If-Match", "\"e\"")]).await).await, "404 NoSuchKey");
    assert_eq!(outcome(put(&[("If-None-Match", "*")]).await).await, "200");
    assert_eq!(outcome(put(&[("If-None-Match", "*")]).await).await, "412 PreconditionFailed");
    assert_eq!(outcome(put(&[("If-Match", "\"e\"")]).await).await, "412 PreconditionFailed");
    let etag = world.blob.head(&r("a")).await.unwrap().unwrap().etag;
    let quoted = format!("\"{etag}\"");
    let response = call(&world, "PUT", "/my-s3-bucket/a", &[("If-Match", &quoted)], "yy").await;
    assert_eq!(outcome(response).await, "200");
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn reads_are_conditional_and_partial() {
    let world = open_world().await;
    world.blob.put(&r("a"), "0123456789".into()).await.unwrap();
    let etag = world.blob.head(&r("a")).await.unwrap().unwrap().etag;
    let quoted = format!("\"{etag}\"");
    let get = |name: &'static str, value: String| {
        let world = &world;
        async move { call(world, "GET", "/my-s3-bucket/a", &[(name, &value)], "").await }
    };
    assert_eq!(get("If-None-Match", quoted.clone()).await.status(), 304);
    assert_eq!(get("If-Match", quoted.clone()).await.status(), 200);
    assert_eq!(outcome(get("If-Match", "\"x\"".into()).await).await, "412 PreconditionFailed");
    assert_eq!(get("Range", "bytes=2-4".into()).await.text().await.unwrap(), "234");
    assert_eq!(outcome(get("Range", "bytes=99-".into()).await).await, "416 InvalidRange");
    assert_eq!(outcome(call(&world, "GET", "/my-s3-bucket/b", &[], "").await).await, "404 NoSuchKey");
    let head = call(&world, "HEAD", "/my-s3-bucket/a", &[], "").await;
    assert_eq!(head.headers()["content-length"], "10");
    assert_eq!(head.headers()["etag"].to_str().unwrap(), quoted);
}

#[tokio::test]
async fn multipart_goes_through_its_steps() {
    let world = open_world().await;
    let text = call(&world, "POST", "/my-s3-bucket/big?uploads", &[], "").await.text().await.unwrap();
    let id = text.split("<UploadId>").nth(1).unwrap().split('<').next().unwrap();
    let part = |number: usize, body: String| {
        let (world, path) = (&world, format!("/my-s3-bucket/big?partNumber={number}&uploadId={id}"));
        async move {
            let response = call(world, "PUT", &path, &[], body).await;
            response.headers()["etag"].to_str().unwrap().to_owned()
        }
    };
    let first = part(1, "a".repeat(100_000)).await;
    let replaced = part(2, "x".repeat(10)).await;
    let second = part(2, "b".repeat(50)).await;
    let listing = call(&world, "GET", &format!("/my-s3-bucket/big?uploadId={id}"), &[], "").await;
    assert_eq!(listing.text().await.unwrap().matches("<Part>").count(), 2);
    let complete = |parts: Vec<(usize, String)>| {
        let (world, path) = (&world, format!("/my-s3-bucket/big?uploadId={id}"));
        let parts: String = parts
            .iter()
            .map(|(number, etag)| {
                format!(
                    "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>",
                    etag.replace('"', "&quot;")
                )
            })
            .collect();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        async move { outcome(call(world, "POST", &path, &[], body).await).await }
    };
    assert_eq!(complete(vec![]).await, "400 MalformedXML");
    assert_eq!(complete(vec![(2, second.clone()), (1, first.clone())]).await, "400 InvalidPartOrder");
    assert_eq!(complete(vec![(1, first.clone()), (2, replaced)]).await, "400 InvalidPart");
    assert_eq!(complete(vec![(1, first.clone()), (3, second.clone())]).await, "400 InvalidPart");
    assert_eq!(world.blob.head(&r("big")).await.unwrap(), None, "nothing unfinished is visible");
    assert_eq!(complete(vec![(1, first.clone()), (2, second.clone())]).await, "200");
    assert_eq!(world.blob.get(&r("big")).await.unwrap(), "a".repeat(100_000) + &"b".repeat(50));
    assert_eq!(complete(vec![(1, first), (2, second)]).await, "404 NoSuchUpload");
}

#[tokio::test]
async fn multipart_upload_belongs_to_its_object() {
    let world = open_world().await;
    let text = call(&world, "POST", "/my-s3-bucket/big?uploads", &[], "").await.text().await.unwrap();
    let id = text.split("<UploadId>").nth(1).unwrap().split('<').next().unwrap();
    for (path, expected) in [
        (format!("/my-s3-bucket/other?partNumber=1&uploadId={id}"), "404 NoSuchUpload"),
        (
            "/my-s3-bucket/big?partNumber=1&uploadId=..%2F..%2Fstore%2Fmy-s3-bucket".to_owned(),
            "404 NoSuchUpload",
        ),
        (format!("/my-s3-bucket/big?partNumber=0&uploadId={id}"), "400 InvalidArgument"),
        (format!("/my-s3-bucket/big?partNumber=10001&uploadId={id}"), "400 InvalidArgument"),
    ] {
        assert_eq!(outcome(call(&world, "PUT", &path, &[], "x").await).await, expected, "{path}");
    }
    let abort = format!("/my-s3-bucket/big?uploadId={id}");
    assert_eq!(outcome(call(&world, "DELETE", &abort, &[], "").await).await, "204");
    assert_eq!(outcome(call(&world, "DELETE", &abort, &[], "").await).await, "404 NoSuchUpload");
}

#[tokio::test]
async fn many_objects_are_deleted_at_once() {
    let world = open_world().await;
    for key in ["a", "b&c", "d/e"] {
        world.blob.put(&r(key), noise(3)).await.unwrap();
    }
    let body = "<Delete><Object><Key>a</Key></Object><Object><Key>b&amp;c</Key></Object>\
                <Object><Key>none</Key></Object><Object><Key>../x</Key></Object></Delete>";
    let text = call(&world, "POST", "/my-s3-bucket?delete", &[], body).await.text().await.unwrap();
    assert_eq!(text.matches("<Deleted>").count(), 3, "{text}");
    assert_eq!(text.matches("<Error>").count(), 1, "{text}");
    assert_eq!(world.blob.list(&r("")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn first_version_of_listing_pages_by_marker() {
    let world = open_world().await;
    for key in ["a/1", "a/2", "b", "c/1"] {
        world.blob.put(&r(key), noise(1)).await.unwrap();
    }
    let (mut marker, mut seen) = (String::new(), Vec::new());
    loop {
        let path = format!("/my-s3-bucket?delimiter=/&max-keys=1&marker={marker}");
        let text = call(&world, "GET", &path, &[], "").await.text().await.unwrap();
        let text = text.replace("<Prefix></Prefix>", "");
        for tag in ["<Key>", "<Prefix>"] {
            seen.extend(text.split(tag).skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()));
        }
        let Some((_, next)) = text.split_once("<NextMarker>") else { break };
        marker = next.split('<').next().unwrap().to_owned();
    }
    assert_eq!(seen, ["a/", "b", "c/"]);
}
