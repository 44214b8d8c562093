//! Local objects through the handle.

use std::time::Instant;

use blob::Error;

use super::world::{noise, r, world, world_with};

#[tokio::test]
async fn objects_are_plain_files() {
    let world = world().await;
    for n_bytes in [0, 1, 70_000] {
        world.blob.put(&r("a/b c/ü.bin"), noise(n_bytes)).await.unwrap();
        assert_eq!(std::fs::read(world.dir.join("my-s3-bucket/a/b c/ü.bin")).unwrap(), noise(n_bytes));
        assert_eq!(world.blob.get(&r("a/b c/ü.bin")).await.unwrap(), noise(n_bytes));
    }
    // And the other way round.
    std::fs::write(world.dir.join("my-s3-bucket/a/direct"), "x").unwrap();
    assert_eq!(world.blob.get(&r("a/direct")).await.unwrap(), "x");
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn missing_object_is_told_apart() {
    let world = world().await;
    world.blob.put(&r("dir/file"), "x".into()).await.unwrap();
    for key in ["none", "dir", "dir/file/below", "none/none"] {
        assert!(world.blob.get(&r(key)).await.unwrap_err().is_not_found(), "{key}");
        assert_eq!(world.blob.head(&r(key)).await.unwrap(), None, "{key}");
        world.blob.delete(&r(key)).await.unwrap();
    }
    assert_eq!(world.blob.get(&r("dir/file")).await.unwrap(), "x");
}

#[tokio::test]
async fn limits_and_ranges_hold() {
    let world = world().await;
    world.blob.put(&r("a"), noise(100_000)).await.unwrap();
    let error = world.blob.get_limited(&r("a"), 99_999).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { size: 100_000, max: 99_999, .. }), "{error}");
    assert_eq!(world.blob.get_limited(&r("a"), 100_000).await.unwrap().len(), 100_000);
    assert_eq!(world.blob.get_range(&r("a"), 10..20).await.unwrap(), noise(100_000).slice(10..20));
    assert_eq!(world.blob.get_range(&r("a"), 99_990..200_000).await.unwrap().len(), 10);
    assert!(matches!(world.blob.get_range(&r("a"), 100_001..100_002).await, Err(Error::OutOfRange { .. })));
}

#[tokio::test]
async fn key_cannot_be_object_and_directory() {
    let world = world().await;
    world.blob.put(&r("a/b"), "x".into()).await.unwrap();
    assert!(matches!(world.blob.put(&r("a"), "y".into()).await, Err(Error::KeyConflict { .. })));
    assert!(matches!(world.blob.put(&r("a/b/c"), "y".into()).await, Err(Error::KeyConflict { .. })));
    assert!(matches!(world.blob.put(&r("a/b/c/d/e"), "y".into()).await, Err(Error::KeyConflict { .. })));
    // The directory of a deleted object is not in the way.
    world.blob.delete(&r("a/b")).await.unwrap();
    world.blob.put(&r("a"), "y".into()).await.unwrap();
    world.blob.delete(&r("a")).await.unwrap();
    std::fs::create_dir_all(world.dir.join("my-s3-bucket/a/empty/tree")).unwrap();
    world.blob.put(&r("a"), "y".into()).await.unwrap();
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn bad_keys_reach_no_file() {
    let world = world().await;
    for key in ["", "a/", "a//b", "/a", "/etc/passwd"] {
        let Ok(r) = blob::DataReference::parse(format!("s3://my-s3-bucket/{key}")) else { continue };
        assert!(matches!(world.blob.put(&r, "x".into()).await, Err(Error::InvalidKey { .. })), "{key}");
        assert!(matches!(world.blob.get(&r).await, Err(Error::InvalidKey { .. })), "{key}");
    }
    let foreign = blob::DataReference::parse("gs://b/k").unwrap();
    assert!(matches!(world.blob.get(&foreign).await, Err(Error::ForeignScheme { .. })));
}

#[tokio::test]
async fn tag_follows_the_content() {
    let world = world().await;
    world.blob.put(&r("a"), "x".into()).await.unwrap();
    let first = world.blob.head(&r("a")).await.unwrap().unwrap();
    assert_eq!(world.blob.head(&r("a")).await.unwrap().unwrap(), first);
    // Keeps the old file alive, as a reader does, so that its number is not used again at once.
    let _open = std::fs::File::open(world.dir.join("my-s3-bucket/a")).unwrap();
    world.blob.put(&r("a"), "y".into()).await.unwrap();
    assert_ne!(world.blob.head(&r("a")).await.unwrap().unwrap().etag, first.etag);
}

#[tokio::test]
async fn listing_stays_below_the_prefix() {
    let world = world().await;
    for key in ["a/1", "a/b/2", "a.txt", "ab/3", "a-b/4"] {
        world.blob.put(&r(key), noise(key.len())).await.unwrap();
    }
    let keys = |listed: Vec<(blob::DataReference, u64)>| {
        listed.into_iter().map(|(r, size)| format!("{} {size}", r.key())).collect::<Vec<_>>()
    };
    for prefix in ["a", "a/"] {
        assert_eq!(keys(world.blob.list(&r(prefix)).await.unwrap()), ["a/1 3", "a/b/2 5"]);
    }
    let all = keys(world.blob.list(&r("")).await.unwrap());
    assert_eq!(all, ["a-b/4 5", "a.txt 5", "a/1 3", "a/b/2 5", "ab/3 4"]);
    assert!(world.blob.list(&r("none")).await.unwrap().is_empty());
}

#[tokio::test]
async fn copy_is_a_new_file() {
    let world = world().await;
    world.blob.put(&r("a"), noise(300_000)).await.unwrap();
    world.blob.copy(&r("a"), &r("deep/b")).await.unwrap();
    world.blob.put(&r("a"), "x".into()).await.unwrap();
    assert_eq!(world.blob.get(&r("deep/b")).await.unwrap(), noise(300_000));
    assert!(world.blob.copy(&r("none"), &r("c")).await.unwrap_err().is_not_found());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writes_and_deletes_of_neighbours_do_not_collide() {
    let world = world_with(|_| {}).await;
    let writer = |n: usize| {
        let blob = world.blob.clone();
        tokio::spawn(async move {
            for round in 0..200 {
                let key = r(&format!("x/y/z{n}"));
                blob.put(&key, noise(round)).await.unwrap();
                assert_eq!(blob.get(&key).await.unwrap().len(), round);
                blob.delete(&key).await.unwrap();
            }
        })
    };
    for task in [writer(0), writer(1), writer(2)] {
        task.await.unwrap();
    }
    assert!(!world.dir.join("my-s3-bucket/x").exists(), "empty directories are removed");
}

#[tokio::test]
async fn synchronous_writes_work() {
    let world = world_with(|config| config.local.sync = true).await;
    world.blob.put(&r("a/b"), "x".into()).await.unwrap();
    assert_eq!(world.blob.get(&r("a/b")).await.unwrap(), "x");
}

#[tokio::test]
async fn md5_of_content_is_computed() {
    let world = world().await;
    world.blob.put(&r("a"), "123456789".into()).await.unwrap();
    let md5 = world.blob.content_md5(&r("a")).await.unwrap();
    assert_eq!(md5[..4], [0x25, 0xf9, 0xe7, 0x94]);
}

/// Prints what small objects cost, against the bare system calls; run it alone with `--nocapture`.
#[tokio::test]
async fn small_objects_are_cheap() {
    let world = world().await;
    let n_rounds = 2_000_u32;
    for n_bytes in [200, 16 * 1024, 60 * 1024] {
        let body = noise(n_bytes);
        let key = |round: u32| r(&format!("m/{n_bytes}/{}/{round}", round % 20));
        let start = Instant::now();
        for round in 0..n_rounds {
            world.blob.put(&key(round), body.clone()).await.unwrap();
        }
        let put = start.elapsed() / n_rounds;
        let start = Instant::now();
        for round in 0..n_rounds {
            world.blob.get(&key(round)).await.unwrap();
        }
        let get = start.elapsed() / n_rounds;
        let (from, to) = (world.dir.join("t"), world.dir.join("my-s3-bucket/m"));
        let start = Instant::now();
        for round in 0..n_rounds {
            std::fs::write(&from, &body).unwrap();
            std::fs::rename(&from, to.join(format!("floor-{round}"))).unwrap();
        }
        let floor = start.elapsed() / n_rounds;
        println!("{n_bytes} bytes: put {put:?} (write and rename alone {floor:?}), get {get:?}");
        std::fs::remove_dir_all(to).unwrap();
    }
}
