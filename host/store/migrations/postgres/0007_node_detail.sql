-- What the engine settled about a node before it began: the arm of a branch, the size of an array; 0 without.
alter table node_execution add column detail bigint not null default 0;
