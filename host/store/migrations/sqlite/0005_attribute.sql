-- Matchable attributes: settings of a project, a project and domain, or a workflow. An empty domain or workflow
-- stands for all.

create table attribute (
    project text not null,
    domain text not null,
    workflow text not null,
    kind integer not null,
    updated_at integer not null,
    attributes blob not null,
    primary key (project, domain, workflow, kind)
) without rowid;
