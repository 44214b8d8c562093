"""Engines outside use the catalog and the cache by the stubs that flyteidl brings, and meet what our own engine made.

With `reserve` as argument it only makes reservations and leaves them; with `crashed` it looks at them after a crash.
"""

import sys
import time
from datetime import timedelta

from admin_calls import EXISTS, INVALID, NOT_FOUND, channel, refused
from catalog_wf import keep
from common import DOMAIN, PROJECT, check, phase, remote, version, wait
from flyteidl.cacheservice import cacheservice_pb2 as cs
from flyteidl.cacheservice import cacheservice_pb2_grpc
from flyteidl.core import catalog_pb2, identifier_pb2, literals_pb2
from flyteidl.datacatalog import datacatalog_pb2 as dc
from flyteidl.datacatalog import datacatalog_pb2_grpc

catalog = datacatalog_pb2_grpc.DataCatalogStub(channel)
cache = cacheservice_pb2_grpc.CacheServiceStub(channel)
HEARTBEAT = timedelta(seconds=1)


def literal(value):
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(integer=value)))


def dataset(name, of="1-a-b"):
    return dc.DatasetID(project=PROJECT, domain=DOMAIN, name=name, version=of)


def reserve(name, tag, owner):
    """Who holds the reservation of an entry after asking for it."""
    request = dc.GetOrExtendReservationRequest(
        reservation_id=dc.ReservationID(dataset_id=dataset(name), tag_name=tag), owner_id=owner)
    request.heartbeat_interval.FromTimedelta(HEARTBEAT)
    return catalog.GetOrExtendReservation(request).reservation.owner_id


def reserve_key(key, owner):
    request = cs.GetOrExtendReservationRequest(key=key, owner_id=owner)
    request.heartbeat_interval.FromTimedelta(HEARTBEAT)
    return cache.GetOrExtendReservation(request).reservation.owner_id


def release(name, tag, owner):
    catalog.ReleaseReservation(dc.ReleaseReservationRequest(
        reservation_id=dc.ReservationID(dataset_id=dataset(name), tag_name=tag), owner_id=owner))


def becomes(owner, ask, seconds=15):
    """Seconds until the reservation is given to an owner."""
    start = time.monotonic()
    while ask(owner) != owner:
        check(time.monotonic() - start < seconds, f"{owner} never gets it")
        time.sleep(0.2)
    return time.monotonic() - start


def reservations():
    name = "flyte_task-" + version()
    catalog.CreateDataset(dc.CreateDatasetRequest(dataset=dc.Dataset(id=dataset(name))))
    check(reserve(name, "t", "first") == "first")
    check(reserve(name, "t", "second") == "first", "one at a time")
    for _ in range(5):
        time.sleep(0.8)
        check(reserve(name, "t", "first") == "first", "who says that he lives keeps it")
    check(becomes("second", lambda owner: reserve(name, "t", owner)) > 1, "who is silent loses it, not at once")
    release(name, "t", "first")
    check(reserve(name, "t", "third") == "second", "only the owner releases")
    release(name, "t", "second")
    check(reserve(name, "t", "third") == "third", "a release counts at once")
    key = version()
    check((reserve_key(key, "a"), reserve_key(key, "b")) == ("a", "a"))
    cache.ReleaseReservation(cs.ReleaseReservationRequest(key=key, owner_id="a"))
    check(reserve_key(key, "b") == "b")


def data_catalog():
    name, tag = "flyte_task-" + version(), "flyte_cached-x"
    wanted = dc.Dataset(id=dataset(name), metadata=dc.Metadata(key_map={"task-version": "v1"}))
    catalog.CreateDataset(dc.CreateDatasetRequest(dataset=wanted))
    refused(EXISTS, catalog.CreateDataset, dc.CreateDatasetRequest(dataset=wanted))
    found = catalog.GetDataset(dc.GetDatasetRequest(dataset=dataset(name))).dataset
    check(found.metadata.key_map["task-version"] == "v1", found)
    by_tag = dc.GetArtifactRequest(dataset=dataset(name), tag_name=tag)
    refused(NOT_FOUND, catalog.GetArtifact, by_tag)
    artifact = dc.Artifact(id=version(), dataset=dataset(name), data=[dc.ArtifactData(name="o0", value=literal(7))])
    catalog.CreateArtifact(dc.CreateArtifactRequest(artifact=artifact))
    catalog.AddTag(dc.AddTagRequest(tag=dc.Tag(name=tag, artifact_id=artifact.id, dataset=dataset(name))))
    got = catalog.GetArtifact(by_tag).artifact
    check((got.id, got.data[0].value.scalar.primitive.integer) == (artifact.id, 7), got)
    catalog.UpdateArtifact(dc.UpdateArtifactRequest(
        dataset=dataset(name), artifact_id=artifact.id, data=[dc.ArtifactData(name="o0", value=literal(8))]))
    check(catalog.GetArtifact(by_tag).artifact.data[0].value.scalar.primitive.integer == 8)
    listed = catalog.ListArtifacts(dc.ListArtifactsRequest(
        dataset=dataset(name), pagination=dc.PaginationOptions(limit=10))).artifacts
    check([one.id for one in listed] == [artifact.id], listed)
    refused(INVALID, catalog.CreateDataset, dc.CreateDatasetRequest())


def cache_service():
    key = version()
    refused(NOT_FOUND, cache.Get, cs.GetCacheRequest(key=key))
    outputs = literals_pb2.LiteralMap(literals={"o0": literal(3)})
    source = identifier_pb2.Identifier(
        resource_type=identifier_pb2.TASK, project=PROJECT, domain=DOMAIN, name="t", version="v1")
    put = cs.PutCacheRequest(key=key, output=cs.CachedOutput(
        output_literals=outputs, metadata=cs.Metadata(source_identifier=source)))
    cache.Put(put)
    check(cache.Get(cs.GetCacheRequest(key=key)).output.output_literals == outputs)
    refused(EXISTS, cache.Put, put)
    put.overwrite = True
    put.output.output_literals.literals["o0"].CopyFrom(literal(4))
    cache.Put(put)
    found = cache.Get(cs.GetCacheRequest(key=key)).output.output_literals
    check(found.literals["o0"].scalar.primitive.integer == 4, found)
    cache.Delete(cs.DeleteCacheRequest(key=key))
    refused(NOT_FOUND, cache.Get, cs.GetCacheRequest(key=key))


def our_own_engine():
    """What a task cached is an artifact for others; what others change, a task finds."""
    client, salt = remote(), version()
    client.fast_register_workflow(keep, version=salt)
    plan = client.fetch_launch_plan(name="catalog_wf.keep", version=salt)

    def run():
        made = wait(client, client.execute(plan, inputs={"x": 1, "salt": salt}))
        check(phase(made) == "SUCCEEDED", made.closure.error)
        node = next(n for name, n in made.node_executions.items() if not name.endswith("-node"))
        return made, node.closure.task_node_metadata

    first, metadata = run()
    key = metadata.catalog_key
    check(catalog_pb2.CatalogCacheStatus.Name(metadata.cache_status) == "CACHE_POPULATED", metadata)
    there = dc.DatasetID(project=PROJECT, domain=DOMAIN, name=key.dataset_id.name, version=key.dataset_id.version)
    found = catalog.GetArtifact(dc.GetArtifactRequest(dataset=there, tag_name=key.artifact_tag.name)).artifact
    check(found.data[0].value.scalar.primitive.integer == 2, found)
    catalog.UpdateArtifact(dc.UpdateArtifactRequest(
        dataset=there, tag_name=key.artifact_tag.name, data=[dc.ArtifactData(name="o0", value=literal(40))]))
    second, metadata = run()
    check(catalog_pb2.CatalogCacheStatus.Name(metadata.cache_status) == "CACHE_HIT", metadata)
    check(second.outputs["o0"] == 40, second.outputs)
    print(f"HIT {second.id.name} OF {first.id.name}")


asked = sys.argv[1:]
if asked == ["reserve"]:
    catalog.CreateDataset(dc.CreateDatasetRequest(dataset=dc.Dataset(id=dataset("crash"))))
    check((reserve("crash", "t", "gone"), reserve_key("crash", "gone")) == ("gone", "gone"))
elif asked == ["crashed"]:
    becomes("next", lambda owner: reserve("crash", "t", owner))
    becomes("next", lambda owner: reserve_key("crash", owner))
else:
    data_catalog()
    cache_service()
    reservations()
    our_own_engine()
print("SCENARIO OK")
