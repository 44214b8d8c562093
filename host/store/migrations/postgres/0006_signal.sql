-- What a gate node waits for. An empty value is not yet set.

create table signal (
    execution_id bigint not null,
    signal_id text collate "C" not null,
    node_id text collate "C" not null,
    set_by text collate "C" not null,
    created_at bigint not null,
    updated_at bigint not null,
    type bytea not null,
    value bytea not null,
    primary key (execution_id, signal_id)
);

-- Whether the wish to abort asks for a phase that does not wait for the clean-up; and the matchable attributes that
-- held at launch.
alter table execution add column abort_forced bigint not null default 0;
alter table execution add column settings bytea not null default '';

-- The children of one node among many.
drop index execution_parent;
create index execution_parent on execution (parent_id, parent_node, id) where parent_id is not null;
-- Executions that ended and still have something to clean up.
create index execution_debt on execution (created_at, id) where live = 1 and phase in (4, 6, 7, 8);
