-- The schedule of each launch plan that is active and has one.
create table schedule (
    id integer primary key,
    project text not null,
    domain text not null,
    name text not null,
    version text not null,
    expression text not null,
    timezone text not null,
    kickoff text not null,
    catch_up text not null,
    -- Ticks at a fixed rate are counted from here.
    anchor integer not null,
    -- No tick up to this time is fired.
    not_before integer not null,
    -- The tick to fire next; null while nobody has worked it out, or when there is none.
    next_at integer,
    -- When to look next; null: not until something changes.
    due_at integer,
    last_at integer,
    last_execution text not null,
    tries integer not null,
    error text not null,
    error_at integer,
    n_fired integer not null,
    n_failed integer not null,
    n_skipped integer not null,
    paused_at integer,
    paused_by text not null,
    revision integer not null,
    created_at integer not null,
    updated_at integer not null
);
create unique index schedule_name on schedule (project, domain, name);
create index schedule_due on schedule (due_at) where due_at is not null;

-- One row, for all schedules.
create table schedule_gate (
    id integer not null primary key,
    paused_at integer,
    paused_by text not null,
    not_before integer not null
);
insert into schedule_gate (id, paused_at, paused_by, not_before) values (1, null, '', 0);

-- Which host does what only one host should.
create table leader (
    role text not null primary key,
    host text not null,
    expires_at integer not null
) without rowid;

create table backfill (
    id text not null primary key,
    project text not null,
    domain text not null,
    name text not null,
    version text not null,
    expression text not null,
    timezone text not null,
    kickoff text not null,
    from_at integer not null,
    to_at integer not null,
    parallelism integer not null,
    backward integer not null,
    keep_going integer not null,
    forced integer not null,
    principal text not null,
    state integer not null,
    cancelled_at integer,
    cancelled_by text not null,
    abort_running integer not null,
    created_at integer not null,
    updated_at integer not null,
    ended_at integer
) without rowid;
create index backfill_created on backfill (created_at, id);
create index backfill_name on backfill (project, domain, name, created_at);
create index backfill_live on backfill (id) where state in (1, 2);

-- The ticks of a backfill, in the order in which they are run.
create table backfill_tick (
    backfill_id text not null,
    seq integer not null,
    scheduled_at integer not null,
    state integer not null,
    execution text not null,
    execution_id integer,
    due_at integer not null,
    tries integer not null,
    error text not null,
    updated_at integer not null,
    primary key (backfill_id, seq)
) without rowid;
create index backfill_tick_state on backfill_tick (backfill_id, state, seq);
create index backfill_tick_time on backfill_tick (backfill_id, scheduled_at);
