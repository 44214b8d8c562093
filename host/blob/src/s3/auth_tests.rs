//! Checks signatures against the worked examples of the AWS documentation.

use http::Request;

use super::*;

/// 2013-05-24T00:00:00Z, the time of the examples.
const NOW: i64 = 1_369_353_600;

fn keys() -> Keys {
    Keys {
        access_key: "AKIAIOSFODNN7EXAMPLE".into(),
        secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        allow_anonymous: false,
    }
}

fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn ranged_get(signature: &str) -> Parts {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature={signature}"
    );
    parts(
        "GET",
        "/test.txt",
        &[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY),
            ("x-amz-date", "20130524T000000Z"),
            ("authorization", &authorization),
        ],
    )
}

const RANGED: &str = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";

fn code(result: Result<Payload, S3Error>) -> &'static str {
    result.map_or_else(|error| error.code, |_| "ok")
}

#[test]
fn documented_header_signature_is_accepted() {
    assert_eq!(code(authenticate(&keys(), &ranged_get(RANGED), NOW)), "ok");
}

#[test]
fn documented_presigned_url_is_accepted_until_it_expires() {
    let uri = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F\
               us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&\
               X-Amz-SignedHeaders=host&X-Amz-Signature=\
               aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let get = parts("GET", uri, &[("host", "examplebucket.s3.amazonaws.com")]);
    assert_eq!(code(authenticate(&keys(), &get, NOW + 86_400)), "ok");
    assert_eq!(code(authenticate(&keys(), &get, NOW + 86_401)), "AccessDenied");
    let put = parts("PUT", uri, &[("host", "examplebucket.s3.amazonaws.com")]);
    assert_eq!(code(authenticate(&keys(), &put, NOW)), "SignatureDoesNotMatch");
}

#[test]
fn every_deviation_has_its_code() {
    assert_eq!(code(authenticate(&keys(), &ranged_get(&"0".repeat(64)), NOW)), "SignatureDoesNotMatch");
    assert_eq!(code(authenticate(&keys(), &ranged_get("xyz"), NOW)), "SignatureDoesNotMatch");
    assert_eq!(code(authenticate(&keys(), &ranged_get(RANGED), NOW + 901)), "RequestTimeTooSkewed");
    assert_eq!(code(authenticate(&keys(), &ranged_get(RANGED), NOW - 901)), "RequestTimeTooSkewed");
    let other = Keys { access_key: "other".into(), ..keys() };
    assert_eq!(code(authenticate(&other, &ranged_get(RANGED), NOW)), "InvalidAccessKeyId");
    let other = Keys { secret_key: "other".into(), ..keys() };
    assert_eq!(code(authenticate(&other, &ranged_get(RANGED), NOW)), "SignatureDoesNotMatch");
    let mut added = ranged_get(RANGED);
    added.headers.insert("x-amz-copy-source", "b/k".parse().unwrap());
    assert_eq!(code(authenticate(&keys(), &added, NOW)), "AccessDenied");
    let bearer = parts("GET", "/b", &[("authorization", "Bearer x")]);
    assert_eq!(code(authenticate(&keys(), &bearer, NOW)), "AuthorizationHeaderMalformed");
}

#[test]
fn unsigned_request_needs_permission() {
    let request = parts("GET", "/b/k", &[]);
    assert_eq!(code(authenticate(&keys(), &request, NOW)), "AccessDenied");
    let open = Keys { allow_anonymous: true, ..keys() };
    assert_eq!(code(authenticate(&open, &request, NOW)), "ok");
    assert_eq!(code(authenticate(&open, &ranged_get(&"0".repeat(64)), NOW)), "SignatureDoesNotMatch");
}

#[test]
fn documented_chunk_signatures_are_accepted() {
    let authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
        SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
        x-amz-decoded-content-length;x-amz-storage-class,\
        Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
    let put = parts(
        "PUT",
        "/examplebucket/chunkObject.txt",
        &[
            ("host", "s3.amazonaws.com"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("authorization", authorization),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("content-length", "66824"),
        ],
    );
    let Ok(Payload::Chunked(Some(mut chain))) = authenticate(&keys(), &put, NOW) else {
        panic!("the seed signature was refused");
    };
    for (n_bytes, signature) in [
        (65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ] {
        let mut content = Sha256::new();
        content.update(vec![b'a'; n_bytes]);
        chain.check_chunk(content.clone(), signature).unwrap();
        assert!(chain.check_chunk(content, signature).is_err(), "a chunk can't be repeated");
    }
}
