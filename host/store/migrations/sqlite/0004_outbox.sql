-- Events to hand out. Their order is that of `seq`, which no later row gets again.
create table outbox (
    seq integer primary key autoincrement,
    execution_id integer not null,
    kind integer not null,
    phase integer not null,
    occurred_at integer not null,
    event_id text not null,
    message blob not null
);

-- How far each reader of the outbox has come. `tx` is 0.
create table outbox_cursor (
    sink text not null primary key,
    tx integer not null,
    seq integer not null,
    updated_at integer not null
) without rowid;

-- The host that hands events out: one row. Its epoch grows with each take-over.
create table outbox_lease (
    name text not null primary key,
    host text not null,
    epoch integer not null,
    expires_at integer not null
) without rowid;

-- What was sent to whom, is to be sent, or could not be: state 0 waits, 1 is sent, 2 failed.
create table delivery (
    id integer primary key autoincrement,
    delivery_key text not null,
    kind integer not null,
    channel text not null,
    recipient text not null,
    project text not null,
    domain text not null,
    execution text not null,
    event_id text not null,
    phase text not null,
    state integer not null,
    attempts integer not null,
    created_at integer not null,
    due_at integer,
    ended_at integer,
    last_error text not null,
    payload blob not null
);
create unique index delivery_once on delivery (delivery_key);
create index delivery_due on delivery (due_at, id) where state = 0;
create index delivery_state on delivery (state, id);
create index delivery_created on delivery (created_at);
