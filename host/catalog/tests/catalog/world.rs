//! Makes a catalog of its own for each test.

use blob::Blob;
use catalog::{Catalog, Config};
use model::Timestamp;
use store::Store;
use tempfile::TempDir;

/// Some time.
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const HOUR: i64 = 3_600 * SECOND;

/// A catalog on a fresh database and an empty object directory.
pub(crate) struct World {
    pub(crate) catalog: Catalog,
    pub(crate) store: Store,
    pub(crate) blob: Blob,
    dir: TempDir,
}

pub(crate) async fn world() -> World {
    world_with(|_| {}).await
}

pub(crate) async fn world_with(settings: impl Fn(&mut Config)) -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&store::Config::sqlite(dir.path().join("pinion.db"))).await.unwrap();
    let blob = Blob::new(blob::Config::local(dir.path().join("objects"))).unwrap();
    let mut config = Config::default();
    settings(&mut config);
    config.validate().unwrap();
    let catalog = Catalog::with_config(config, store.clone(), blob.clone());
    World { catalog, store, blob, dir }
}

impl World {
    /// How many objects the catalog keeps.
    pub(crate) async fn n_objects(&self) -> usize {
        let prefix = self.blob.reference("metadata/catalog").unwrap();
        self.blob.list(&prefix).await.unwrap().len()
    }

    /// The directory of the database and the objects.
    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }
}
