-- Fields beside the template of a TaskSpec or WorkflowSpec that this host does not know, as they arrived.
alter table entity add column spec_rest bytea;
