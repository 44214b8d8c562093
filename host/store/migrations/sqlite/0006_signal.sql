-- What a gate node waits for. An empty value is not yet set.

create table signal (
    execution_id integer not null,
    signal_id text not null,
    node_id text not null,
    set_by text not null,
    created_at integer not null,
    updated_at integer not null,
    type blob not null,
    value blob not null,
    primary key (execution_id, signal_id)
) without rowid;

-- Whether the wish to abort asks for a phase that does not wait for the clean-up; and the matchable attributes that
-- held at launch.
alter table execution add column abort_forced integer not null default 0;
alter table execution add column settings blob not null default x'';

-- The children of one node among many.
drop index execution_parent;
create index execution_parent on execution (parent_id, parent_node) where parent_id is not null;
-- Executions that ended and still have something to clean up.
create index execution_debt on execution (created_at) where live = 1 and phase in (4, 6, 7, 8);
