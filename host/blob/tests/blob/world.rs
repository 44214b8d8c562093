//! Starts an object store in a temporary directory, with both routers on their own ports.

use std::path::PathBuf;

use axum::Router;
use blob::{Blob, Config, DataReference, S3Config};
use tokio::net::TcpListener;

/// A store and its two servers, gone with the value.
pub struct World {
    pub blob: Blob,
    /// URL of the embedded S3 endpoint.
    pub s3: String,
    pub dir: PathBuf,
    _tmp: tempfile::TempDir,
}

pub async fn world() -> World {
    world_with(|_| {}).await
}

pub async fn world_with(adjust: impl FnOnce(&mut Config)) -> World {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("store");
    let (public, s3) = (listener().await, listener().await);
    let mut config = Config { public_url: url(&public), ..Config::local(&dir) };
    adjust(&mut config);
    let blob = Blob::new(config).unwrap();
    let s3_url = url(&s3);
    spawn(public, blob.signed_routes());
    spawn(s3, blob.s3_routes());
    World { blob, s3: s3_url, dir, _tmp: tmp }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn url(listener: &TcpListener) -> String {
    format!("http://{}", listener.local_addr().unwrap())
}

fn spawn(listener: TcpListener, router: Router) {
    use axum::serve::ListenerExt as _;
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
}

impl World {
    /// A handle on the same objects that goes through the S3 endpoint.
    pub fn remote(&self, secret_key: &str) -> Blob {
        self.remote_at(secret_key, Config::default().public_url)
    }

    /// As [`World::remote`], with a host that serves its URLs, and where that is.
    pub async fn served_remote(&self, secret_key: &str) -> (Blob, String) {
        let public = listener().await;
        let address = url(&public);
        let blob = self.remote_at(secret_key, address.clone());
        spawn(public, blob.signed_routes());
        (blob, address)
    }

    fn remote_at(&self, secret_key: &str, public_url: String) -> Blob {
        let s3 = S3Config {
            endpoint: self.s3.clone(),
            access_key: "minio".into(),
            secret_key: secret_key.into(),
            region: "us-east-1".into(),
            ..S3Config::default()
        };
        Blob::new(Config { s3: Some(s3), public_url, ..Config::default() }).unwrap()
    }

    /// Names of what lies in the directory of temporary files.
    pub fn leftovers(&self) -> Vec<String> {
        let Ok(listing) = std::fs::read_dir(self.dir.parent().unwrap().join(".tmp")) else {
            return Vec::new();
        };
        let names = listing.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "multipart").collect()
    }
}

/// An object of the default bucket.
pub fn r(key: &str) -> DataReference {
    DataReference::parse(format!("s3://my-s3-bucket/{key}")).unwrap()
}

/// Bytes that no compression or repetition hides an error in.
pub fn noise(n_bytes: usize) -> bytes::Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(n_bytes + 8);
    while noise.len() < n_bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        noise.extend_from_slice(&(state >> 11).to_le_bytes()[..6]);
    }
    noise.truncate(n_bytes);
    noise.into()
}
