//! Plays a cluster: objects come to life at once, or when the test says so, and leave outputs behind.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use blob::{Blob, DataReference};
use cluster::{ApplyOutcome, Cluster, Error, Event, LogChunk, Object, ObjectRef};
use prost::Message;
use serde_json::json;
use tokio::sync::broadcast;

use crate::flow;

pub struct FakeCluster {
    blob: Blob,
    objects: Mutex<BTreeMap<String, Object>>,
    /// How often each object was created.
    pub created: Mutex<HashMap<String, u32>>,
    /// How often each object was deleted while it was there.
    pub deleted: Mutex<HashMap<String, u32>>,
    events: broadcast::Sender<Arc<Event>>,
    /// Whether objects run and succeed as soon as they are created.
    pub lively: AtomicBool,
    /// How many applies fail, as if the cluster were away.
    pub outages: AtomicU32,
}

impl FakeCluster {
    pub fn new(blob: Blob) -> Self {
        Self {
            blob,
            objects: Mutex::default(),
            created: Mutex::default(),
            deleted: Mutex::default(),
            events: broadcast::channel(4096).0,
            lively: AtomicBool::new(true),
            outages: AtomicU32::new(0),
        }
    }

    fn reference(name: &str) -> ObjectRef {
        ObjectRef {
            cluster: "main".into(),
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: "p-d".into(),
            name: name.into(),
        }
    }

    fn tell(&self, name: &str, object: Object, deleted: bool) {
        let event = Event { object_ref: Self::reference(name), object: Arc::new(object), deleted };
        let _ = self.events.send(Arc::new(event));
    }

    /// Tells of more changes than anyone can keep.
    pub fn flood(&self) {
        for _ in 0..5000 {
            self.tell("another", json!({}), false);
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    pub fn created_times(&self, name: &str) -> u32 {
        self.created.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    /// Changes the phase of an object; a success leaves outputs.
    pub async fn set_phase(&self, name: &str, phase: &str) {
        let found = self.objects.lock().unwrap().get(name).cloned();
        let Some(mut object) = found else { return };
        if phase == "Succeeded" {
            let prefix = object.pointer("/metadata/annotations/output").unwrap().as_str().unwrap().to_owned();
            let uri = DataReference::parse(format!("{prefix}/outputs.pb")).unwrap();
            self.blob.put(&uri, flow::map(&[("o0", 7)]).encode_to_vec().into()).await.unwrap();
        }
        object["status"] = json!({ "phase": phase });
        self.objects.lock().unwrap().insert(name.to_owned(), object.clone());
        self.tell(name, object, false);
    }

    /// Removes an object as somebody else would.
    pub fn remove(&self, name: &str) {
        let removed = self.objects.lock().unwrap().remove(name);
        if let Some(object) = removed {
            *self.deleted.lock().unwrap().entry(name.to_owned()).or_default() += 1;
            self.tell(name, object, true);
        }
    }
}

#[async_trait]
impl Cluster for FakeCluster {
    fn name(&self) -> &str {
        "main"
    }

    async fn apply(&self, object: Object) -> Result<ApplyOutcome, Error> {
        if self.outages.try_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(Error::NotRunning { cluster: "main".into() });
        }
        let name = ObjectRef::of("main", &object)?.name;
        if self.objects.lock().unwrap().contains_key(&name) {
            return Ok(ApplyOutcome::Existed);
        }
        self.objects.lock().unwrap().insert(name.clone(), object.clone());
        *self.created.lock().unwrap().entry(name.clone()).or_default() += 1;
        self.tell(&name, object, false);
        if self.lively.load(Ordering::SeqCst) {
            self.set_phase(&name, "Running").await;
            self.set_phase(&name, "Succeeded").await;
        }
        Ok(ApplyOutcome::Created)
    }

    async fn get(&self, object_ref: &ObjectRef) -> Result<Option<Object>, Error> {
        Ok(self.objects.lock().unwrap().get(&object_ref.name).cloned())
    }

    async fn delete(&self, object_ref: &ObjectRef) -> Result<(), Error> {
        self.remove(&object_ref.name);
        Ok(())
    }

    fn watch(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    async fn logs(&self, object_ref: &ObjectRef, _: &str, _: u64) -> Result<LogChunk, Error> {
        Err(Error::NotFound(object_ref.clone()))
    }

    async fn shutdown(&self, _: Duration) {}
}
