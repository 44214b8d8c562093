//! The S3 side of the handle, against the embedded endpoint: each tests the other.

use std::time::Duration;

use blob::Error;

use super::world::{noise, r, world};

#[tokio::test]
async fn both_sides_see_the_same_objects() {
    let world = world().await;
    let remote = world.remote("miniostorage");
    for (key, n_bytes) in [("a/empty", 0), ("a/b c/ü+=&.bin", 10), ("a/large", 3_000_000)] {
        remote.put(&r(key), noise(n_bytes)).await.unwrap();
        assert_eq!(world.blob.get(&r(key)).await.unwrap(), noise(n_bytes), "{key}");
        assert_eq!(remote.get(&r(key)).await.unwrap(), noise(n_bytes), "{key}");
        let (seen, own) = (remote.head(&r(key)).await.unwrap(), world.blob.head(&r(key)).await.unwrap());
        let (seen, own) = (seen.unwrap(), own.unwrap());
        assert_eq!((seen.size, &seen.etag), (own.size, &own.etag));
        assert_eq!(seen.last_modified.as_second(), own.last_modified.as_second());
    }
    assert_eq!(remote.list(&r("a")).await.unwrap(), world.blob.list(&r("a")).await.unwrap());
    assert_eq!(remote.get_range(&r("a/large"), 5..9).await.unwrap(), noise(3_000_000).slice(5..9));
    remote.copy(&r("a/large"), &r("b/copy")).await.unwrap();
    assert_eq!(world.blob.get(&r("b/copy")).await.unwrap(), noise(3_000_000));
    remote.delete(&r("a/large")).await.unwrap();
    remote.delete(&r("a/large")).await.unwrap();
    assert!(remote.get(&r("a/large")).await.unwrap_err().is_not_found());
    assert_eq!(remote.head(&r("a/large")).await.unwrap(), None);
    assert!(matches!(remote.get_limited(&r("b/copy"), 10).await, Err(Error::TooLarge { .. })));
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn long_listings_come_in_pages() {
    let world = world().await;
    for idx in 0..1_050 {
        world.blob.put(&r(&format!("many/{idx:05}")), "x".into()).await.unwrap();
    }
    assert_eq!(world.remote("miniostorage").list(&r("many")).await.unwrap().len(), 1_050);
}

#[tokio::test]
async fn wrong_secret_is_permanent() {
    let world = world().await;
    let error = world.remote("wrong").put(&r("a"), "x".into()).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    assert_eq!(world.blob.head(&r("a")).await.unwrap(), None);
}

#[tokio::test]
async fn store_signed_urls_work() {
    let world = world().await;
    let remote = world.remote("miniostorage");
    let md5 = hex::decode("25f9e794323b453885f5181f1b624d0b").unwrap();
    let put = remote.sign_put(&r("up/x=y"), Duration::from_secs(60), Some(&md5)).await.unwrap();
    assert_eq!(put.headers["Content-MD5"], "JfnnlDI7RTiF9RgfG2JNCw==");
    let client = reqwest::Client::new();
    let send = |body: &'static str| {
        client.put(&put.url).header("Content-MD5", &put.headers["Content-MD5"]).body(body).send()
    };
    assert_eq!(send("wrong").await.unwrap().status(), 400);
    assert_eq!(client.put(&put.url).body("123456789").send().await.unwrap().status(), 403);
    assert_eq!(send("123456789").await.unwrap().status(), 200);
    let get = remote.sign_get(&r("up/x=y"), Duration::from_secs(60)).await.unwrap();
    let answer = client.get(&get.url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "123456789"));
    assert_eq!(client.put(&get.url).body("x").send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn clients_are_sent_on_to_the_store() {
    let world = world().await;
    let (remote, address) = world.served_remote("miniostorage").await;
    remote.put(&r("out/x y.pb"), noise(1_000)).await.unwrap();
    let signed = remote.sign_download(&r("out/x y.pb"), Duration::from_secs(60)).unwrap();
    assert!(signed.url.starts_with(&address) && !signed.url.contains('?'), "{}", signed.url);
    let answer = reqwest::get(&signed.url).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.bytes().await.unwrap()), (200, noise(1_000)));
    let other = signed.url.replace("x%20y.pb", "x.pb");
    assert_ne!(other, signed.url);
    assert_eq!(reqwest::get(other).await.unwrap().status(), 403);
}
