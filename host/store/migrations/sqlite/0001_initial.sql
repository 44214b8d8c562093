-- Times are microseconds since the Unix epoch, truth values 0 and 1, protobuf messages blobs.
-- An index ends with the row's id, which is not written down.
-- Blobs stand last in a row, so that the columns before them are read without their overflow pages.

create table project (
    id text not null primary key,
    name text not null,
    description text not null,
    state integer not null,
    created_at integer not null,
    labels blob not null
) without rowid;

-- Tasks (kind 1) and workflows (kind 2).
create table entity (
    id integer primary key,
    kind integer not null,
    project text not null,
    domain text not null,
    name text not null,
    version text not null,
    task_type text not null,
    short_description text not null,
    created_at integer not null,
    digest blob not null,
    interface blob not null,
    closure blob not null,
    description blob
);
create unique index entity_version on entity (kind, project, domain, name, version);
create index entity_name_created on entity (kind, project, domain, name, created_at);
create index entity_created on entity (kind, project, domain, created_at);

create table launch_plan (
    id integer primary key,
    project text not null,
    domain text not null,
    name text not null,
    version text not null,
    workflow_project text not null,
    workflow_domain text not null,
    workflow_name text not null,
    workflow_version text not null,
    state integer not null,
    schedule_type text not null,
    created_at integer not null,
    updated_at integer not null,
    digest blob not null,
    spec blob not null,
    closure blob not null
);
create unique index launch_plan_version on launch_plan (project, domain, name, version);
create unique index launch_plan_active on launch_plan (project, domain, name) where state = 1;
create index launch_plan_name_created on launch_plan (project, domain, name, created_at);
create index launch_plan_created on launch_plan (project, domain, created_at);

-- One row for each name; `registered` is 0 while only metadata is known.
create table named_entity (
    kind integer not null,
    project text not null,
    domain text not null,
    name text not null,
    description text not null default '',
    state integer not null default 0,
    registered integer not null default 0,
    primary key (kind, project, domain, name)
) without rowid;

create table execution (
    id integer primary key,
    project text not null,
    domain text not null,
    name text not null,
    launch_plan_project text,
    launch_plan_domain text,
    launch_plan_name text,
    launch_plan_version text,
    task_project text,
    task_domain text,
    task_name text,
    task_version text,
    workflow_project text not null,
    workflow_domain text not null,
    workflow_name text not null,
    workflow_version text not null,
    phase integer not null,
    mode integer not null,
    principal text not null,
    cluster text not null,
    nesting integer not null,
    source_project text,
    source_domain text,
    source_name text,
    parent_id integer,
    parent_node text,
    inputs_uri text not null,
    user_inputs_uri text not null,
    outputs_uri text not null,
    error_kind text not null,
    error_code text not null,
    abort_cause text not null,
    aborted_by text,
    state integer not null,
    created_at integer not null,
    updated_at integer not null,
    started_at integer,
    duration integer,
    live integer not null,
    owner_epoch integer not null default 0,
    owner_host text not null default '',
    error blob not null,
    spec blob not null
);
create unique index execution_name on execution (project, domain, name);
-- With the name, so that a search in names reads no rows.
create index execution_created on execution (project, domain, state, created_at, id, name);
create index execution_updated on execution (project, domain, state, updated_at);
create index execution_started on execution (project, domain, state, started_at);
create index execution_duration on execution (project, domain, state, duration);
create index execution_user on execution (project, domain, state, principal, created_at);
create index execution_phase on execution (project, domain, state, phase, created_at);
create index execution_workflow on execution (project, domain, state, workflow_name, phase, created_at);
create index execution_launch_plan on execution (project, domain, state, launch_plan_name, phase, created_at)
    where launch_plan_name is not null;
create index execution_task on execution (project, domain, state, task_name, phase, created_at)
    where task_name is not null;
create index execution_parent on execution (parent_id) where parent_id is not null;
create index execution_live on execution (owner_epoch, id) where live = 1;

-- Labels, and tags as keys without value. Scope and time are those of the execution, for the order of lists.
create table execution_tag (
    execution_id integer not null,
    key text not null,
    value text not null,
    project text not null,
    domain text not null,
    created_at integer not null,
    primary key (execution_id, key)
) without rowid;
create index execution_tag_key on execution_tag (project, domain, key, created_at, execution_id);
create index execution_tag_value on execution_tag (project, domain, key, value, created_at, execution_id);

create table node_execution (
    execution_id integer not null,
    node_id text not null,
    spec_node_id text not null,
    node_name text not null,
    parent_id text not null,
    retry_group text not null,
    phase integer not null,
    engine_phase integer not null,
    attempt integer not null,
    system_failures integer not null,
    flags integer not null,
    created_at integer not null,
    updated_at integer not null,
    queued_at integer,
    started_at integer,
    attempt_started_at integer,
    duration integer,
    error_kind text not null,
    error_code text not null,
    cache_status text not null,
    input_uri text not null,
    output_uri text not null,
    deck_uri text not null,
    error blob not null,
    extra blob not null,
    primary key (execution_id, node_id)
) without rowid;
create index node_execution_parent on node_execution (execution_id, parent_id, created_at);

create table task_execution (
    execution_id integer not null,
    node_id text not null,
    attempt integer not null,
    task_project text not null,
    task_domain text not null,
    task_name text not null,
    task_version text not null,
    task_type text not null,
    phase integer not null,
    phase_version integer not null,
    plugin_phase integer not null,
    open integer not null,
    state_version integer not null,
    wake_at integer,
    created_at integer not null,
    updated_at integer not null,
    started_at integer,
    duration integer,
    output_uri text not null,
    reason text not null,
    plugin text not null,
    closure blob not null,
    plugin_state blob not null,
    intent blob not null,
    objects blob not null
);
create unique index task_execution_attempt on task_execution (execution_id, node_id, attempt);

-- A running host. An execution's `owner_epoch` is 0 or the epoch of a row here.
create table lease (
    epoch integer not null primary key,
    host text not null unique,
    expires_at integer not null
);

create table counter (
    name text not null primary key,
    value integer not null
) without rowid;
insert into counter (name, value) values ('lease', 0);

-- Places in resource pools: held, or waiting in the order of `seq`.
create table resource_token (
    seq integer primary key,
    namespace text not null,
    token text not null,
    project text not null,
    domain text not null,
    execution text not null,
    held integer not null,
    project_limit integer not null,
    domain_limit integer not null,
    created_at integer not null,
    asked_at integer not null
);
create unique index resource_token_name on resource_token (namespace, token);
create index resource_token_line on resource_token (namespace, held, seq);
