-- Matchable attributes: settings of a project, a project and domain, or a workflow. An empty domain or workflow
-- stands for all.

create table attribute (
    project text collate "C" not null,
    domain text collate "C" not null,
    workflow text collate "C" not null,
    kind bigint not null,
    updated_at bigint not null,
    attributes bytea not null,
    primary key (project, domain, workflow, kind)
);
