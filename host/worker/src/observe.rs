//! Brings changes of objects to the attempts that made them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster::{Cluster, Event};
use proto::pinion::plugin::v1::{ObjectRef, ObservedObject, observed_object::Observed};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::clusters::{from_cluster, key_of};
use crate::mailbox::{AttemptKey, Mailbox};
use crate::metric;
use crate::registry::Registry;

/// A change of an object. An object that went between two looks is seen first as it was last, then as gone: its end may
/// have been a success.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    pub(crate) object: ObservedObject,
    pub(crate) gone: bool,
}

/// Whom changes of an object are brought to, by the object's key.
type Table = HashMap<String, (Arc<Mailbox>, AttemptKey)>;

/// Which attempt made which object. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    table: Arc<Mutex<Table>>,
}

impl Routes {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings changes of the object to the attempt from now on.
    pub(crate) fn add(&self, object: &ObjectRef, mailbox: &Arc<Mailbox>, attempt: AttemptKey) {
        self.lock().insert(key_of(object), (mailbox.clone(), attempt));
    }

    /// Forgets objects.
    pub(crate) fn remove<'a>(&self, objects: impl IntoIterator<Item = &'a ObjectRef>) {
        let mut table = self.lock();
        for object in objects {
            table.remove(&key_of(object));
        }
    }

    fn deliver(&self, event: &Event) {
        let object_ref = from_cluster(&event.object_ref);
        let key = key_of(&object_ref);
        let Some((mailbox, attempt)) = self.lock().get(&key).cloned() else { return };
        let json = event.object.to_string().into_bytes();
        let object = ObservedObject {
            object: Some(object_ref),
            observed: Some(Observed::Json(json)),
            events: Vec::new(),
        };
        mailbox.leave(|mail| {
            mail.attempts
                .entry(attempt)
                .or_default()
                .observed
                .insert(key, Sighting { object, gone: event.deleted });
        });
    }
}

/// Delivers a cluster's changes until it has no more.
pub(crate) async fn follow(
    cluster: Arc<dyn Cluster>,
    mut events: Receiver<Arc<Event>>,
    routes: Routes,
    registry: Registry,
) {
    loop {
        match events.recv().await {
            Ok(event) => routes.deliver(&event),
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(
                    cluster = cluster.name(),
                    missed,
                    "changes of objects were missed, reading them again"
                );
                metrics::counter!(metric::WATCH_LAGGED).increment(1);
                registry.each(|mailbox| mailbox.leave(|mail| mail.lagged = true));
            }
            Err(RecvError::Closed) => return,
        }
    }
}
