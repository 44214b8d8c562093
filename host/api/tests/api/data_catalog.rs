//! The services by which engines outside share the cache: the sequences of Flyte's engine, and that every way to name
//! an entry means the same one.

use std::collections::BTreeMap;

use catalog::{Catalog, Lookup, TaskKey, task_key};
use model::Timestamp;
use proto::datacatalog as dc;
use proto::datacatalog::data_catalog_client::DataCatalogClient;
use proto::flyteidl::cacheservice as cs;
use proto::flyteidl::cacheservice::cache_service_client::CacheServiceClient;
use proto::flyteidl::core::*;
use tonic::Code;
use tonic::transport::Channel;

use crate::api::world::{World, code, integer, literals, text, variables, world};

/// What an engine outside is: clients of both services. And the catalog as this host's own engine has it.
struct Outside {
    datasets: DataCatalogClient<Channel>,
    cache: CacheServiceClient<Channel>,
    inside: Catalog,
    _world: World,
}

async fn outside() -> Outside {
    let world = world().await;
    Outside {
        datasets: DataCatalogClient::new(world.channel.clone()),
        cache: CacheServiceClient::new(world.channel.clone()),
        inside: Catalog::new(world.store.clone(), world.blob.clone()),
        _world: world,
    }
}

fn key(x: i64) -> TaskKey {
    let template = TaskTemplate {
        id: Some(task_id("v1")),
        metadata: Some(TaskMetadata { discovery_version: "1".to_owned(), ..TaskMetadata::default() }),
        interface: Some(TypedInterface {
            inputs: Some(variables(&[("x", SimpleType::Integer)])),
            outputs: Some(variables(&[("o0", SimpleType::Integer)])),
        }),
        ..TaskTemplate::default()
    };
    task_key(&template, &literals(&[("x", integer(x))])).unwrap()
}

fn task_id(version: &str) -> Identifier {
    Identifier {
        resource_type: ResourceType::Task.into(),
        project: "p".to_owned(),
        domain: "d".to_owned(),
        name: "t".to_owned(),
        version: version.to_owned(),
        ..Identifier::default()
    }
}

fn source(execution: &str) -> TaskExecutionIdentifier {
    TaskExecutionIdentifier {
        task_id: Some(task_id("v1")),
        node_execution_id: Some(NodeExecutionIdentifier {
            node_id: "n0".to_owned(),
            execution_id: Some(WorkflowExecutionIdentifier {
                project: "p".to_owned(),
                domain: "d".to_owned(),
                name: execution.to_owned(),
                ..WorkflowExecutionIdentifier::default()
            }),
        }),
        retry_attempt: 2,
    }
}

fn dataset_id(key: &TaskKey) -> dc::DatasetId {
    let id = &key.dataset;
    dc::DatasetId {
        project: id.project.clone(),
        domain: id.domain.clone(),
        name: id.name.clone(),
        version: id.version.clone(),
        ..dc::DatasetId::default()
    }
}

fn metadata(entries: &[(&str, &str)]) -> dc::Metadata {
    let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    dc::Metadata { key_map: entries.collect() }
}

/// What Flyte's engine notes with an artifact.
fn exec_metadata(execution: &str) -> dc::Metadata {
    metadata(&[
        ("exec-project", "p"),
        ("exec-domain", "d"),
        ("execution-name", execution),
        ("exec-node", "n0"),
        ("exec-attempt", "2"),
    ])
}

fn data(o0: i64) -> Vec<dc::ArtifactData> {
    vec![dc::ArtifactData { name: "o0".to_owned(), value: Some(integer(o0)) }]
}

fn artifact(key: &TaskKey, id: &str, o0: i64) -> dc::Artifact {
    dc::Artifact {
        id: id.to_owned(),
        dataset: Some(dataset_id(key)),
        data: data(o0),
        metadata: Some(exec_metadata("e1")),
        ..dc::Artifact::default()
    }
}

fn outputs(o0: i64) -> LiteralMap {
    literals(&[("o0", integer(o0))])
}

impl Outside {
    async fn create_dataset(&self, key: &TaskKey) -> Result<(), tonic::Status> {
        let dataset = dc::Dataset {
            id: Some(dataset_id(key)),
            metadata: Some(metadata(&[("task-version", "v1")])),
            ..dc::Dataset::default()
        };
        let request = dc::CreateDatasetRequest { dataset: Some(dataset) };
        self.datasets.clone().create_dataset(request).await.map(drop)
    }

    async fn create_artifact(&self, artifact: dc::Artifact) -> Result<(), tonic::Status> {
        let request = dc::CreateArtifactRequest { artifact: Some(artifact) };
        self.datasets.clone().create_artifact(request).await.map(drop)
    }

    async fn add_tag(&self, key: &TaskKey, artifact_id: &str) -> Result<(), tonic::Status> {
        let tag = dc::Tag {
            name: key.tag.clone(),
            artifact_id: artifact_id.to_owned(),
            dataset: Some(dataset_id(key)),
        };
        self.datasets.clone().add_tag(dc::AddTagRequest { tag: Some(tag) }).await.map(drop)
    }

    async fn by_tag(&self, key: &TaskKey) -> Result<dc::Artifact, tonic::Status> {
        let request = dc::GetArtifactRequest {
            dataset: Some(dataset_id(key)),
            query_handle: Some(dc::get_artifact_request::QueryHandle::TagName(key.tag.clone())),
        };
        let reply = self.datasets.clone().get_artifact(request).await?;
        Ok(reply.into_inner().artifact.unwrap())
    }

    async fn cached(&self, key: &TaskKey) -> Result<cs::CachedOutput, tonic::Status> {
        let request = cs::GetCacheRequest { key: key.cache_key().to_owned() };
        Ok(self.cache.clone().get(request).await?.into_inner().output.unwrap())
    }

    async fn put_cached(&self, key: &str, o0: i64, overwrite: bool) -> Result<(), tonic::Status> {
        let values = exec_metadata("e1").key_map;
        let output = cs::CachedOutput {
            output: Some(cs::cached_output::Output::OutputLiterals(outputs(o0))),
            metadata: Some(cs::Metadata {
                source_identifier: Some(task_id("v1")),
                key_map: Some(cs::KeyMapMetadata { values }),
                ..cs::Metadata::default()
            }),
        };
        let request = cs::PutCacheRequest { key: key.to_owned(), output: Some(output), overwrite };
        self.cache.clone().put(request).await.map(drop)
    }

    async fn inside(&self, key: &TaskKey) -> Option<(LiteralMap, TaskExecutionIdentifier)> {
        match self.inside.lookup(key, None, Timestamp::now()).await.unwrap() {
            Lookup::Hit(hit) => {
                let Some(catalog_metadata::SourceExecution::SourceTaskExecution(source)) =
                    hit.metadata.source_execution
                else {
                    panic!("no source");
                };
                Some((hit.outputs, source))
            }
            Lookup::Miss(_) => None,
        }
    }

    async fn put_inside(&self, key: &TaskKey, o0: i64) {
        let now = Timestamp::now();
        self.inside.put(key, &source("e1"), &outputs(o0), false, now).await.unwrap();
    }
}

#[tokio::test]
async fn flytes_engine_stores_and_finds() {
    let o = outside().await;
    let key = key(1);
    let request = dc::GetDatasetRequest { dataset: Some(dataset_id(&key)) };
    assert_eq!(code(o.datasets.clone().get_dataset(request.clone()).await), Code::NotFound);
    assert_eq!(code(o.create_artifact(artifact(&key, "a1", 7)).await), Code::NotFound, "no dataset yet");
    o.create_dataset(&key).await.unwrap();
    assert_eq!(code(o.create_dataset(&key).await), Code::AlreadyExists);
    let dataset = o.datasets.clone().get_dataset(request).await.unwrap().into_inner().dataset.unwrap();
    assert_eq!(dataset.metadata, Some(metadata(&[("task-version", "v1")])));
    assert_eq!(code(o.by_tag(&key).await), Code::NotFound);
    assert_eq!(code(o.add_tag(&key, "a1").await), Code::NotFound);
    o.create_artifact(artifact(&key, "a1", 7)).await.unwrap();
    assert_eq!(code(o.create_artifact(artifact(&key, "a1", 7)).await), Code::AlreadyExists);
    o.add_tag(&key, "a1").await.unwrap();
    assert_eq!(code(o.add_tag(&key, "a1").await), Code::AlreadyExists);
    let found = o.by_tag(&key).await.unwrap();
    assert_eq!((found.id.as_str(), found.data.clone()), ("a1", data(7)));
    assert_eq!(found.metadata, Some(exec_metadata("e1")));
    assert_eq!((found.tags[0].name.clone(), found.tags[0].artifact_id.clone()), (key.tag.clone(), found.id));
    assert!(found.created_at.is_some());
}

#[tokio::test]
async fn every_way_to_name_an_entry_finds_it() {
    let o = outside().await;
    // Stored as Flyte's engine does through `datacatalog`.
    let one = key(1);
    o.create_dataset(&one).await.unwrap();
    o.create_artifact(artifact(&one, "a1", 1)).await.unwrap();
    o.add_tag(&one, "a1").await.unwrap();
    // Stored through the cache service, and by this host's own engine.
    let (two, three) = (key(2), key(3));
    o.put_cached(two.cache_key(), 2, false).await.unwrap();
    o.put_inside(&three, 3).await;
    for (key, o0) in [(one, 1), (two, 2), (three, 3)] {
        assert_eq!(o.by_tag(&key).await.unwrap().data, data(o0));
        let cached = o.cached(&key).await.unwrap();
        assert_eq!(cached.output, Some(cs::cached_output::Output::OutputLiterals(outputs(o0))));
        let from = cached.metadata.unwrap();
        assert_eq!(from.source_identifier, Some(task_id("v1")));
        assert_eq!(from.key_map.unwrap().values.get("execution-name").map(String::as_str), Some("e1"));
        assert_eq!(o.inside(&key).await, Some((outputs(o0), source("e1"))), "{o0}");
    }
}

#[tokio::test]
async fn flytes_engine_overwrites() {
    let o = outside().await;
    let key = key(1);
    let update = |handle| dc::UpdateArtifactRequest {
        dataset: Some(dataset_id(&key)),
        query_handle: Some(handle),
        data: data(9),
        metadata: Some(exec_metadata("e2")),
    };
    use dc::update_artifact_request::QueryHandle;
    let by_tag = update(QueryHandle::TagName(key.tag.clone()));
    assert_eq!(code(o.datasets.clone().update_artifact(by_tag.clone()).await), Code::NotFound);
    o.put_inside(&key, 7).await;
    let id = o.by_tag(&key).await.unwrap().id;
    let updated = o.datasets.clone().update_artifact(by_tag).await.unwrap().into_inner();
    assert_eq!(updated.artifact_id, id);
    assert_eq!(o.inside(&key).await, Some((outputs(9), source("e2"))));
    let by_id = update(QueryHandle::ArtifactId(id.clone()));
    assert_eq!(o.datasets.clone().update_artifact(by_id).await.unwrap().into_inner().artifact_id, id);
    let mut empty = update(QueryHandle::ArtifactId(id));
    empty.data.clear();
    assert_eq!(code(o.datasets.clone().update_artifact(empty).await), Code::InvalidArgument);
}

#[tokio::test]
async fn lists_have_pages_and_filters() {
    use dc::single_property_filter::PropertyFilter;
    let o = outside().await;
    let keys: Vec<TaskKey> = (0..5).map(key).collect();
    for (n, key) in keys.iter().enumerate() {
        o.put_inside(key, n as i64).await;
    }
    let list = async |filters: Vec<PropertyFilter>, limit, token: &str, sort_order| {
        let filters = filters
            .into_iter()
            .map(|filter| dc::SinglePropertyFilter { property_filter: Some(filter), operator: 0 });
        let request = dc::ListArtifactsRequest {
            dataset: Some(dataset_id(&keys[0])),
            filter: Some(dc::FilterExpression { filters: filters.collect() }),
            pagination: Some(dc::PaginationOptions {
                limit,
                token: token.to_owned(),
                sort_key: 0,
                sort_order,
            }),
        };
        o.datasets.clone().list_artifacts(request).await.map(tonic::Response::into_inner)
    };
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = list(Vec::new(), 2, &token, 1).await.unwrap();
        seen.extend(page.artifacts.into_iter().map(|artifact| artifact.data));
        token = page.next_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, (0..5).map(data).collect::<Vec<_>>(), "oldest first");
    let newest = list(Vec::new(), 1, "", 0).await.unwrap();
    assert_eq!(newest.artifacts[0].data, data(4));
    let tag = |name: &str| {
        let property = dc::tag_property_filter::Property::TagName(name.to_owned());
        PropertyFilter::TagFilter(dc::TagPropertyFilter { property: Some(property) })
    };
    let tagged = list(vec![tag(&keys[3].tag)], 10, "", 0).await.unwrap();
    assert_eq!(tagged.artifacts.iter().map(|it| it.data.clone()).collect::<Vec<_>>(), [data(3)]);
    assert_eq!(code(list(Vec::new(), 1, "x", 0).await), Code::InvalidArgument);
    let project = dc::dataset_property_filter::Property::Project("p".to_owned());
    let of_dataset = PropertyFilter::DatasetFilter(dc::DatasetPropertyFilter { property: Some(project) });
    assert_eq!(code(list(vec![of_dataset.clone()], 1, "", 0).await), Code::InvalidArgument);
    let filters = vec![dc::SinglePropertyFilter { property_filter: Some(of_dataset), operator: 0 }];
    let request =
        dc::ListDatasetsRequest { filter: Some(dc::FilterExpression { filters }), pagination: None };
    let datasets = o.datasets.clone().list_datasets(request).await.unwrap().into_inner();
    assert_eq!((datasets.datasets.len(), datasets.next_token.as_str()), (1, ""));
}

#[tokio::test]
async fn partitions_must_fit_and_filter() {
    use dc::single_property_filter::PropertyFilter;
    let o = outside().await;
    let id = dc::DatasetId {
        project: "p".to_owned(),
        domain: "d".to_owned(),
        name: "own".to_owned(),
        version: "1".to_owned(),
        ..dc::DatasetId::default()
    };
    let dataset = |keys: &[&str]| dc::Dataset {
        id: Some(id.clone()),
        partition_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..dc::Dataset::default()
    };
    let create = async |dataset| {
        let request = dc::CreateDatasetRequest { dataset: Some(dataset) };
        o.datasets.clone().create_dataset(request).await
    };
    assert_eq!(code(create(dataset(&["day", "day"])).await), Code::InvalidArgument);
    create(dataset(&["day", "hour"])).await.unwrap();
    let artifact = |name: &str, partitions: &[(&str, &str)]| dc::Artifact {
        id: name.to_owned(),
        dataset: Some(id.clone()),
        data: data(1),
        partitions: partitions
            .iter()
            .map(|(key, value)| dc::Partition { key: (*key).to_owned(), value: (*value).to_owned() })
            .collect(),
        ..dc::Artifact::default()
    };
    for wrong in [&[][..], &[("day", "1")], &[("day", "1"), ("month", "2")], &[("day", "1"), ("hour", "")]] {
        assert_eq!(code(o.create_artifact(artifact("a", wrong)).await), Code::InvalidArgument, "{wrong:?}");
    }
    o.create_artifact(artifact("a", &[("day", "1"), ("hour", "2")])).await.unwrap();
    o.create_artifact(artifact("b", &[("hour", "2"), ("day", "3")])).await.unwrap();
    let filter = |key: &str, value: &str| {
        let pair = dc::KeyValuePair { key: key.to_owned(), value: value.to_owned() };
        let property = Some(dc::partition_property_filter::Property::KeyVal(pair));
        let filter = PropertyFilter::PartitionFilter(dc::PartitionPropertyFilter { property });
        dc::SinglePropertyFilter { property_filter: Some(filter), operator: 0 }
    };
    let list = async |filters| {
        let request = dc::ListArtifactsRequest {
            dataset: Some(id.clone()),
            filter: Some(dc::FilterExpression { filters }),
            pagination: None,
        };
        let listed = o.datasets.clone().list_artifacts(request).await.unwrap().into_inner();
        listed.artifacts.into_iter().map(|artifact| artifact.id).collect::<Vec<_>>()
    };
    assert_eq!(list(vec![filter("hour", "2")]).await, ["b", "a"]);
    assert_eq!(list(vec![filter("hour", "2"), filter("day", "3")]).await, ["b"]);
    assert!(list(vec![filter("hour", "3")]).await.is_empty());
}

#[tokio::test]
async fn a_reservation_is_one_for_all() {
    let o = outside().await;
    let key = key(1);
    let reservation_id =
        Some(dc::ReservationId { dataset_id: Some(dataset_id(&key)), tag_name: key.tag.clone() });
    let by_tag = async |owner: &str, seconds: i64| {
        let request = dc::GetOrExtendReservationRequest {
            reservation_id: reservation_id.clone(),
            owner_id: owner.to_owned(),
            heartbeat_interval: Some(prost_types::Duration { seconds, nanos: 0 }),
        };
        let reply = o.datasets.clone().get_or_extend_reservation(request).await.unwrap();
        reply.into_inner().reservation.unwrap()
    };
    let by_key = async |owner: &str| {
        let request = cs::GetOrExtendReservationRequest {
            key: key.cache_key().to_owned(),
            owner_id: owner.to_owned(),
            heartbeat_interval: None,
        };
        let reply = o.cache.clone().get_or_extend_reservation(request).await.unwrap();
        reply.into_inner().reservation.unwrap().owner_id
    };
    let taken = by_tag("a", 3_600).await;
    assert_eq!(taken.owner_id, "a");
    assert_eq!(taken.heartbeat_interval.unwrap().seconds, 10, "not longer than allowed");
    let left = Timestamp::from_proto(&taken.expires_at.unwrap()).since(Timestamp::now());
    assert!((20_000_000..=30_000_000).contains(&left), "{left}");
    assert_eq!(by_key("b").await, "a");
    let inside = o.inside.reserve(&key, "c", 1_000_000, Timestamp::now(), None).await.unwrap();
    assert!(matches!(inside, catalog::Reservation::Held { owner, .. } if owner == "a"));
    let release = |owner: &str| dc::ReleaseReservationRequest {
        reservation_id: reservation_id.clone(),
        owner_id: owner.to_owned(),
    };
    o.datasets.clone().release_reservation(release("b")).await.unwrap();
    assert_eq!(by_key("b").await, "a", "only the owner releases");
    o.datasets.clone().release_reservation(release("a")).await.unwrap();
    assert_eq!(by_key("b").await, "b");
    let release = cs::ReleaseReservationRequest { key: key.cache_key().to_owned(), owner_id: "b".to_owned() };
    o.cache.clone().release_reservation(release).await.unwrap();
    assert_eq!(by_tag("a", 1).await.owner_id, "a");
}

#[tokio::test]
async fn the_cache_service_puts_replaces_and_deletes() {
    let o = outside().await;
    let key = key(1);
    assert_eq!(code(o.cached(&key).await), Code::NotFound);
    o.put_cached(key.cache_key(), 1, false).await.unwrap();
    assert_eq!(code(o.put_cached(key.cache_key(), 1, false).await), Code::AlreadyExists);
    assert_eq!(code(o.put_cached(key.cache_key(), 2, false).await), Code::AlreadyExists);
    o.put_cached(key.cache_key(), 3, true).await.unwrap();
    assert_eq!(o.inside(&key).await.unwrap().0, outputs(3));
    let delete = cs::DeleteCacheRequest { key: key.cache_key().to_owned() };
    o.cache.clone().delete(delete.clone()).await.unwrap();
    o.cache.clone().delete(delete).await.unwrap();
    assert_eq!(code(o.cached(&key).await), Code::NotFound);
    assert_eq!(o.inside(&key).await, None);
    o.put_cached(key.cache_key(), 4, false).await.unwrap();
    assert_eq!(o.inside(&key).await.unwrap().0, outputs(4));
}

#[tokio::test]
async fn the_cache_service_takes_keys_of_any_form() {
    let o = outside().await;
    for key in ["k", "a/b c:d", &"x".repeat(1_000)] {
        o.put_cached(key, 1, false).await.unwrap();
        let request = cs::GetCacheRequest { key: key.to_owned() };
        let output = o.cache.clone().get(request).await.unwrap().into_inner().output.unwrap();
        assert_eq!(output.output, Some(cs::cached_output::Output::OutputLiterals(outputs(1))));
        assert_eq!(output.metadata.unwrap().source_identifier, Some(task_id("v1")));
    }
    for key in ["", &"x".repeat(1_025)] {
        assert_eq!(code(o.put_cached(key, 1, false).await), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn outputs_by_reference_are_left_where_they_are() {
    let o = outside().await;
    let key = key(1);
    let reference = o._world.blob.reference("elsewhere/outputs.pb").unwrap();
    let bytes = prost::Message::encode_to_vec(&outputs(5));
    o._world.blob.put(&reference, bytes.into()).await.unwrap();
    let output = cs::CachedOutput {
        output: Some(cs::cached_output::Output::OutputUri(reference.as_str().to_owned())),
        metadata: Some(cs::Metadata { source_identifier: Some(task_id("v1")), ..cs::Metadata::default() }),
    };
    let request = cs::PutCacheRequest {
        key: key.cache_key().to_owned(),
        output: Some(output.clone()),
        overwrite: false,
    };
    o.cache.clone().put(request).await.unwrap();
    assert_eq!(o.cached(&key).await.unwrap().output, output.output);
    assert_eq!(o.by_tag(&key).await.unwrap().data, data(5));
    assert_eq!(o.inside(&key).await.unwrap().0, outputs(5));
    let delete = cs::DeleteCacheRequest { key: key.cache_key().to_owned() };
    o.cache.clone().delete(delete).await.unwrap();
    assert!(o._world.blob.head(&reference).await.unwrap().is_some(), "it is not the cache's");
}

#[tokio::test]
async fn incomplete_requests_are_refused() {
    let o = outside().await;
    let key = key(1);
    for part in ["project", "domain", "name", "version"] {
        let mut id = dataset_id(&key);
        match part {
            "project" => id.project.clear(),
            "domain" => id.domain.clear(),
            "name" => id.name.clear(),
            _ => id.version.clear(),
        }
        let request = dc::GetDatasetRequest { dataset: Some(id) };
        let refused = o.datasets.clone().get_dataset(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(part), "{}", refused.message());
    }
    o.create_dataset(&key).await.unwrap();
    let nameless = dc::Artifact { id: String::new(), ..artifact(&key, "", 1) };
    assert_eq!(code(o.create_artifact(nameless).await), Code::InvalidArgument);
    let empty = dc::Artifact { data: Vec::new(), ..artifact(&key, "a", 1) };
    assert_eq!(code(o.create_artifact(empty).await), Code::InvalidArgument);
    let get = dc::GetArtifactRequest { dataset: Some(dataset_id(&key)), query_handle: None };
    assert_eq!(code(o.datasets.clone().get_artifact(get).await), Code::InvalidArgument);
    let put = cs::PutCacheRequest { key: "k".to_owned(), output: None, overwrite: false };
    assert_eq!(code(o.cache.clone().put(put).await), Code::InvalidArgument);
    let large = literals(&[("o0", text(&"x".repeat(100_000)))]);
    let now = Timestamp::now();
    o.inside.put(&key, &source("e1"), &large, false, now).await.unwrap();
    let found = o.by_tag(&key).await.unwrap();
    let read: BTreeMap<_, _> = found.data.into_iter().map(|it| (it.name, it.value.unwrap())).collect();
    assert_eq!(read, large.literals, "large outputs come along");
}
