-- A task at a cache version and interface, or whatever an engine outside names: the home of cached outputs.
create table catalog_dataset (
    id integer primary key,
    project text not null,
    domain text not null,
    name text not null,
    version text not null,
    org text not null,
    uuid text not null,
    created_at integer not null,
    message blob not null
);
create unique index catalog_dataset_name on catalog_dataset (project, domain, name, version, org);
create index catalog_dataset_created on catalog_dataset (created_at);

-- The outputs of one task execution. One that is evicted stays for a while without its outputs, for lineage and to
-- tell why nothing is found.
create table catalog_artifact (
    id integer primary key,
    dataset_id integer not null,
    artifact_id text not null,
    created_at integer not null,
    updated_at integer not null,
    evicted_at integer,
    task_version text not null,
    source_project text not null,
    source_domain text not null,
    source_execution text not null,
    source_node text not null,
    source_attempt integer not null,
    outputs_uri text not null,
    outputs_size integer not null,
    fields blob not null,
    message blob not null,
    outputs blob not null
);
create unique index catalog_artifact_name on catalog_artifact (dataset_id, artifact_id);
create index catalog_artifact_id on catalog_artifact (artifact_id);
create index catalog_artifact_created on catalog_artifact (dataset_id, created_at);
create index catalog_artifact_age on catalog_artifact (created_at);
create index catalog_artifact_evicted on catalog_artifact (evicted_at) where evicted_at is not null;
create index catalog_artifact_source
    on catalog_artifact (source_project, source_domain, source_execution, source_node);

-- What finds an artifact. The key is made of dataset and tag; where the cache service has a key for the same, it is
-- that.
create table catalog_tag (
    key text not null primary key,
    dataset_id integer not null,
    artifact_id text not null,
    name text not null,
    created_at integer not null
) without rowid;
create index catalog_tag_artifact on catalog_tag (dataset_id, artifact_id);

create table catalog_partition (
    dataset_id integer not null,
    artifact_id text not null,
    key text not null,
    value text not null,
    primary key (dataset_id, artifact_id, key)
) without rowid;

-- The nodes that took an artifact instead of computing it.
create table catalog_use (
    dataset_id integer not null,
    artifact_id text not null,
    project text not null,
    domain text not null,
    execution text not null,
    node_id text not null,
    used_at integer not null,
    primary key (dataset_id, artifact_id, project, domain, execution, node_id)
) without rowid;
create index catalog_use_node on catalog_use (project, domain, execution, node_id);

-- Who computes what is not cached yet.
create table catalog_reservation (
    key text not null primary key,
    owner text not null,
    heartbeat integer not null,
    expires_at integer not null
) without rowid;
create index catalog_reservation_expiry on catalog_reservation (expires_at);

-- The executions to wake when a reservation is released.
create table catalog_waiter (
    key text not null,
    execution_id integer not null,
    created_at integer not null,
    primary key (key, execution_id)
) without rowid;
