//! URLs that the host signs for local objects.

use std::time::Duration;

use blob::Error;
use config::Size;
use reqwest::Client;

use super::world::{noise, r, world, world_with};

const MINUTE: Duration = Duration::from_secs(60);
/// Of "123456789".
const MD5: &str = "JfnnlDI7RTiF9RgfG2JNCw==";

fn md5() -> Vec<u8> {
    hex::decode("25f9e794323b453885f5181f1b624d0b").unwrap()
}

#[tokio::test]
async fn upload_is_answered_with_exactly_200() {
    let world = world().await;
    let r = r("flytesnacks/development/JRVSTEJCEI2IV34VKZVBM4WI54======/fast x.tar.gz");
    let signed = world.blob.sign_put(&r, MINUTE, Some(&md5())).await.unwrap();
    assert!(signed.url.contains("%3D%3D%3D/fast%20x.tar.gz?"), "{}", signed.url);
    let put =
        |body: &'static str| Client::new().put(&signed.url).header("Content-MD5", MD5).body(body).send();
    assert_eq!(put("other").await.unwrap().status(), 400);
    assert_eq!(world.blob.head(&r).await.unwrap(), None);
    assert_eq!(put("123456789").await.unwrap().status(), 200);
    assert_eq!(world.blob.get(&r).await.unwrap(), "123456789");
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn digest_binds_even_without_the_header() {
    let world = world().await;
    let signed = world.blob.sign_put(&r("a"), MINUTE, Some(&md5())).await.unwrap();
    assert_eq!(Client::new().put(&signed.url).body("other").send().await.unwrap().status(), 400);
    let free = world.blob.sign_put(&r("a"), MINUTE, None).await.unwrap();
    let put = |md5: &'static str| Client::new().put(&free.url).header("Content-MD5", md5).body("x").send();
    assert_eq!(put(MD5).await.unwrap().status(), 400);
    assert_eq!(put("nonsense").await.unwrap().status(), 400);
    assert_eq!(Client::new().put(&free.url).body("x").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn large_uploads_stream() {
    let world = world().await;
    let signed = world.blob.sign_put(&r("big"), MINUTE, None).await.unwrap();
    let answer = Client::new().put(&signed.url).body(noise(20 << 20)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let signed = world.blob.sign_get(&r("big"), MINUTE).await.unwrap();
    let body = Client::new().get(&signed.url).send().await.unwrap().bytes().await.unwrap();
    assert!(body == noise(20 << 20));
}

#[tokio::test]
async fn upload_limit_holds() {
    let world = world_with(|config| config.max_upload_size = Size::from_bytes(10)).await;
    let signed = world.blob.sign_put(&r("a"), MINUTE, None).await.unwrap();
    assert_eq!(Client::new().put(&signed.url).body("12345678901").send().await.unwrap().status(), 413);
    assert_eq!(Client::new().put(&signed.url).body("1234567890").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn decks_open_in_a_sandbox() {
    let world = world().await;
    world.blob.put(&r("deck.html"), "<html>".into()).await.unwrap();
    let signed = world.blob.sign_get(&r("deck.html"), MINUTE).await.unwrap();
    let answer = Client::new().get(&signed.url).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    let policy = answer.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("sandbox") && !policy.contains("same-origin"), "{policy}");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn ranges_and_conditions_are_served() {
    let world = world().await;
    world.blob.put(&r("a.txt"), "0123456789".into()).await.unwrap();
    let signed = world.blob.sign_get(&r("a.txt"), MINUTE).await.unwrap();
    let get = |name: &'static str, value: &str| Client::new().get(&signed.url).header(name, value).send();
    let part = get("Range", "bytes=-3").await.unwrap();
    assert_eq!(
        (part.status().as_u16(), part.headers()["content-range"].to_str().unwrap()),
        (206, "bytes 7-9/10")
    );
    assert_eq!(part.text().await.unwrap(), "789");
    let beyond = get("Range", "bytes=10-").await.unwrap();
    assert_eq!(
        (beyond.status().as_u16(), beyond.headers()["content-range"].to_str().unwrap()),
        (416, "bytes */10")
    );
    let whole = Client::new().head(&signed.url).send().await.unwrap();
    assert_eq!(whole.headers()["content-length"], "10");
    let etag = whole.headers()["etag"].to_str().unwrap();
    assert_eq!(get("If-None-Match", etag).await.unwrap().status(), 304);
    assert_eq!(get("If-Match", "\"other\"").await.unwrap().status(), 412);
}

#[tokio::test]
async fn url_permits_nothing_else() {
    let world = world().await;
    world.blob.put(&r("a"), "x".into()).await.unwrap();
    world.blob.put(&r("b"), "secret".into()).await.unwrap();
    let signed = world.blob.sign_get(&r("a"), MINUTE).await.unwrap();
    let client = Client::new();
    assert_eq!(client.get(&signed.url).send().await.unwrap().status(), 200);
    assert_eq!(client.get(signed.url.replace("/a", "/b")).send().await.unwrap().status(), 403);
    let unsigned = format!("{}/data/{}/a", world.blob.config().public_url, r("a").bucket());
    assert_eq!(client.get(unsigned).send().await.unwrap().status(), 403);
    assert_eq!(client.put(&signed.url).body("y").send().await.unwrap().status(), 403);
    assert_eq!(client.delete(&signed.url).send().await.unwrap().status(), 405);
    let gone = world.blob.sign_get(&r("none"), MINUTE).await.unwrap();
    assert_eq!(client.get(&gone.url).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn long_expiry_is_refused() {
    let world = world().await;
    let error = world.blob.sign_get(&r("a"), Duration::from_secs(3601)).await.unwrap_err();
    assert!(matches!(error, Error::ExpiryTooLong { asked_secs: 3601, max_secs: 3600 }), "{error}");
}
