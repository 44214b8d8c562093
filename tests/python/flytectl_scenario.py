"""Does what flytectl does: get, create, update and delete, registration of files, attributes, by the same calls."""

import base64
import hashlib
import os
import urllib.request

from admin_calls import (
    EXISTS,
    INVALID,
    LAUNCH_PLAN,
    NEWEST,
    NOT_FOUND,
    OLDEST,
    PRECONDITION,
    TASK,
    WORKFLOW,
    Place,
    admin,
    channel,
    refused,
)
from common import DOMAIN, PROJECT, check
from flyteidl.admin import (
    common_pb2,
    event_pb2,
    execution_pb2,
    launch_plan_pb2,
    matchable_resource_pb2 as R,
    node_execution_pb2,
    project_attributes_pb2,
    project_domain_attributes_pb2,
    project_pb2,
    signal_pb2,
    task_execution_pb2,
    version_pb2,
    workflow_attributes_pb2,
)
from flyteidl.admin import description_entity_pb2 as description_pb2
from flyteidl.core import identifier_pb2, literals_pb2
from flyteidl.core.execution_pb2 import NodeExecution, WorkflowExecution
from flyteidl.event import event_pb2 as events
from flyteidl.service import dataproxy_pb2, dataproxy_pb2_grpc, identity_pb2, identity_pb2_grpc, signal_pb2_grpc

proxy = dataproxy_pb2_grpc.DataProxyServiceStub(channel)
signals = signal_pb2_grpc.SignalServiceStub(channel)
identity = identity_pb2_grpc.IdentityServiceStub(channel)

project, version = "p" + os.urandom(4).hex(), "v" + os.urandom(4).hex()
place = Place(project, version)
Project = project_pb2.Project


def pages(call, field, **request):
    """Everything of a list, as flytectl pages through it."""
    token, found = "", []
    while True:
        reply = call(common_pb2.ResourceListRequest(limit=2, token=token, sort_by=NEWEST, **request))
        found.extend(getattr(reply, field))
        token = reply.token
        if not token:
            return found


# version, create project, get project, update project
check(admin.GetVersion(version_pb2.GetVersionRequest()).control_plane_version.Version, "a version")
domains = [domain.id for domain in admin.GetDomains(project_pb2.GetDomainRequest()).domains]
check(DOMAIN in domains, domains)
register = project_pb2.ProjectRegisterRequest(project=Project(
    id=project, name="A project", description="of flytectl", labels=common_pb2.Labels(values={"team": "one"})))
admin.RegisterProject(register)
refused(EXISTS, admin.RegisterProject, register)
listed = admin.ListProjects(project_pb2.ProjectListRequest(filters=f"eq(identifier,{project})")).projects
check([(p.id, p.name, p.labels.values["team"]) for p in listed] == [(project, "A project", "one")], listed)
admin.UpdateProject(Project(id=project, description="changed", labels=common_pb2.Labels(values={"team": "two"})))
found = admin.GetProject(project_pb2.ProjectGetRequest(id=project))
check((found.name, found.description, found.labels.values["team"]) == ("A project", "changed", "two"), found)
refused(NOT_FOUND, admin.UpdateProject, Project(id="nobody"))
refused(NOT_FOUND, admin.GetProject, project_pb2.ProjectGetRequest(id="nobody"))
refused(INVALID, admin.RegisterProject, project_pb2.ProjectRegisterRequest(project=Project(id="A b")))

# register files: the code bundle first, then tasks, workflows, launch plans; the second time all is there
bundle = b"not even a tarball" * 100
md5 = hashlib.md5(bundle).digest()
location = proxy.CreateUploadLocation(dataproxy_pb2.CreateUploadLocationRequest(
    project=project, domain=DOMAIN, filename="bundle.tar.gz", content_md5=md5))
headers = {"Content-MD5": base64.b64encode(md5).decode(), **dict(location.headers)}
put = urllib.request.Request(location.signed_url, data=bundle, method="PUT", headers=headers)
with urllib.request.urlopen(put) as answer:
    check(answer.status == 200, answer.status)
requests = [
    (admin.CreateTask, place.task("copy")),
    (admin.CreateTask, place.task("sleep", sleep_ms=600_000)),
    (admin.CreateTask, place.task("broken", outputs=("x", "y"))),
    (admin.CreateWorkflow, place.workflow("good", place.node("n0", "copy"), place.node("n1", "copy", "n0"))),
    (admin.CreateWorkflow, place.workflow("slow", place.node("n0", "sleep"))),
    (admin.CreateWorkflow, place.workflow("bad", place.node("n0", "copy"), place.node("n1", "broken", "n0"))),
    (admin.CreateLaunchPlan, place.plan("good")),
    (admin.CreateLaunchPlan, place.plan("slow")),
    (admin.CreateLaunchPlan, place.plan("bad")),
]
for call, request in requests:
    call(request)
for call, request in requests:
    refused(EXISTS, call, request)
check("register a new version" in refused(INVALID, admin.CreateTask, place.task("copy", sleep_ms=1)))

# get task, workflow, launchplan: pages, filters, one version
everything = place.named()
check([t.id.name for t in pages(admin.ListTasks, "tasks", id=everything)] == ["broken", "sleep", "copy"])
listed = pages(admin.ListTasks, "tasks", id=everything, filters="contains(name,o)")
check([t.id.name for t in listed] == ["broken", "copy"], listed)
task = admin.GetTask(common_pb2.ObjectGetRequest(id=place.id(TASK, "copy")))
check(task.closure.compiled_task.template.type == "echo", task)
check(len(pages(admin.ListWorkflows, "workflows", id=everything)) == 3)
names = admin.ListNamedEntities(common_pb2.NamedEntityListRequest(
    resource_type=WORKFLOW, project=project, domain=DOMAIN, limit=100,
    sort_by=common_pb2.Sort(key="name", direction=common_pb2.Sort.ASCENDING))).entities
check([entity.id.name for entity in names] == ["bad", "good", "slow"], names)
got = admin.GetWorkflow(common_pb2.ObjectGetRequest(id=place.id(WORKFLOW, "good")))
check(len(got.closure.compiled_workflow.primary.template.nodes) == 4, got)
refused(NOT_FOUND, admin.GetWorkflow, common_pb2.ObjectGetRequest(id=place.id(WORKFLOW, "none")))
check(len(pages(admin.ListLaunchPlans, "launch_plans", id=place.named("good"))) == 1)
ids = admin.ListTaskIds(common_pb2.NamedEntityIdentifierListRequest(project=project, domain=DOMAIN, limit=10))
check(sorted(entity.name for entity in ids.entities) == ["broken", "copy", "sleep"], ids)
described = admin.GetDescriptionEntity(common_pb2.ObjectGetRequest(id=place.id(TASK, "copy")))
check(described.short_description == "about copy", described)
described = admin.ListDescriptionEntities(description_pb2.DescriptionEntityListRequest(
    resource_type=TASK, id=place.named("copy"), limit=10)).descriptionEntities
check([entity.short_description for entity in described] == ["about copy"], described)

# update workflow-meta, task-meta, launchplan
for kind, name in ((TASK, "copy"), (WORKFLOW, "good"), (LAUNCH_PLAN, "good")):
    metadata = common_pb2.NamedEntityMetadata(description="said so", state=common_pb2.NAMED_ENTITY_ARCHIVED)
    named = place.named(name)
    admin.UpdateNamedEntity(common_pb2.NamedEntityUpdateRequest(resource_type=kind, id=named, metadata=metadata))
    entity = admin.GetNamedEntity(common_pb2.NamedEntityGetRequest(resource_type=kind, id=named))
    check(entity.metadata == metadata, entity)
refused(NOT_FOUND, admin.UpdateNamedEntity, common_pb2.NamedEntityUpdateRequest(
    resource_type=TASK, id=place.named("none"), metadata=common_pb2.NamedEntityMetadata(description="x")))
active = launch_plan_pb2.ActiveLaunchPlanRequest(id=place.named("good"))
refused(NOT_FOUND, admin.GetActiveLaunchPlan, active)
plan = place.id(LAUNCH_PLAN, "good")
admin.UpdateLaunchPlan(launch_plan_pb2.LaunchPlanUpdateRequest(id=plan, state=launch_plan_pb2.ACTIVE))
check(admin.GetActiveLaunchPlan(active).id.version == version)
listed = admin.ListActiveLaunchPlans(launch_plan_pb2.ActiveLaunchPlanListRequest(
    project=project, domain=DOMAIN, limit=10)).launch_plans
check([plan.id.name for plan in listed] == ["good"], listed)
admin.UpdateLaunchPlan(launch_plan_pb2.LaunchPlanUpdateRequest(id=plan, state=launch_plan_pb2.INACTIVE))
refused(NOT_FOUND, admin.GetActiveLaunchPlan, active)

# update, get and delete each kind of attribute at each level
M = R.MatchingAttributes
spec = R.TaskResourceSpec(cpu="4", memory="8Gi")
override = R.PluginOverride(
    task_type="echo", plugin_id=["nowhere"], missing_plugin_behavior=R.PluginOverride.USE_DEFAULT)
kinds = {
    R.TASK_RESOURCE: M(task_resource_attributes=R.TaskResourceAttributes(defaults=spec, limits=spec)),
    R.CLUSTER_RESOURCE: M(cluster_resource_attributes=R.ClusterResourceAttributes(attributes={"k": "v"})),
    R.EXECUTION_QUEUE: M(execution_queue_attributes=R.ExecutionQueueAttributes(tags=["fast"])),
    R.EXECUTION_CLUSTER_LABEL: M(execution_cluster_label=R.ExecutionClusterLabel(value="gpu")),
    R.PLUGIN_OVERRIDE: M(plugin_overrides=R.PluginOverrides(overrides=[override])),
    R.WORKFLOW_EXECUTION_CONFIG: M(workflow_execution_config=R.WorkflowExecutionConfig(max_parallelism=7)),
}
W, D, P = workflow_attributes_pb2, project_domain_attributes_pb2, project_attributes_pb2


def of_domain(attributes):
    return D.ProjectDomainAttributesUpdateRequest(attributes=D.ProjectDomainAttributes(
        project=project, domain=DOMAIN, matching_attributes=attributes))


for kind, attributes in kinds.items():
    here = {"project": project, "domain": DOMAIN}
    of_workflow = W.WorkflowAttributes(workflow="good", matching_attributes=attributes, **here)
    of_project = P.ProjectAttributes(project=project, matching_attributes=attributes)
    levels = [
        (admin.UpdateWorkflowAttributes, admin.GetWorkflowAttributes, admin.DeleteWorkflowAttributes,
         W.WorkflowAttributesUpdateRequest(attributes=of_workflow),
         W.WorkflowAttributesGetRequest(workflow="good", resource_type=kind, **here),
         W.WorkflowAttributesDeleteRequest(workflow="good", resource_type=kind, **here)),
        (admin.UpdateProjectDomainAttributes, admin.GetProjectDomainAttributes, admin.DeleteProjectDomainAttributes,
         of_domain(attributes),
         D.ProjectDomainAttributesGetRequest(resource_type=kind, **here),
         D.ProjectDomainAttributesDeleteRequest(resource_type=kind, **here)),
        (admin.UpdateProjectAttributes, admin.GetProjectAttributes, admin.DeleteProjectAttributes,
         P.ProjectAttributesUpdateRequest(attributes=of_project),
         P.ProjectAttributesGetRequest(project=project, resource_type=kind),
         P.ProjectAttributesDeleteRequest(project=project, resource_type=kind)),
    ]
    for change, get, delete, update, getting, deleting in levels:
        # The execution config of a project is the platform's where nothing is set.
        is_filled = get == admin.GetProjectAttributes and kind == R.WORKFLOW_EXECUTION_CONFIG
        if not is_filled:
            refused(NOT_FOUND, get, getting)
        change(update)
        found = get(getting).attributes.matching_attributes
        check(found == attributes, f"{found} is not {attributes}")
        listed = admin.ListMatchableAttributes(R.ListMatchableAttributesRequest(resource_type=kind)).configurations
        check([one.project for one in listed if one.project == project] == [project], listed)
        delete(deleting)
        if not is_filled:
            refused(NOT_FOUND, get, getting)
        refused(NOT_FOUND, delete, deleting)

# create execution, and what attributes do to it
for kind in (R.WORKFLOW_EXECUTION_CONFIG, R.PLUGIN_OVERRIDE):
    admin.UpdateProjectDomainAttributes(of_domain(kinds[kind]))
good = place.start("good", "my-good")
place.until(good, "SUCCEEDED")
spec = place.get(good).spec
check(spec.max_parallelism == 7 and spec.labels.values["team"] == "two", spec)

# get execution --details
nodes = admin.ListNodeExecutions(node_execution_pb2.NodeExecutionListRequest(
    workflow_execution_id=place.execution(good), limit=100, sort_by=OLDEST)).node_executions
check(nodes[0].id.node_id == "start-node", nodes)
check(sorted(n.id.node_id for n in nodes) == ["end-node", "n0", "n1", "start-node"], nodes)
for n in nodes:
    tasks = admin.ListTaskExecutions(task_execution_pb2.TaskExecutionListRequest(
        node_execution_id=n.id, limit=100)).task_executions
    check(len(tasks) == (n.id.node_id in ("n0", "n1")), tasks)
    data = admin.GetNodeExecutionData(node_execution_pb2.NodeExecutionGetDataRequest(id=n.id))
    check(data.flyte_urls.inputs.startswith("flyte://v1/"), data)
metrics = execution_pb2.WorkflowExecutionGetMetricsRequest(id=place.execution(good), depth=-1)


def whole(span):
    """Length in microseconds; in a chain of nodes the parts sum to it."""
    length = span.end_time.ToMicroseconds() - span.start_time.ToMicroseconds()
    if span.spans:
        parts = sum(whole(part) for part in span.spans)
        check(parts == length, f"{parts} is not {length}: {span}")
    return length


check(whole(admin.GetExecutionMetrics(metrics).span) > 0)

# get execution, with filters
listed = pages(admin.ListExecutions, "executions", id=everything, filters="eq(phase,SUCCEEDED)")
check([e.id.name for e in listed] == [good], listed)

# create execution --relaunch, --recover
again = admin.RelaunchExecution(execution_pb2.ExecutionRelaunchRequest(
    id=place.execution(good), name="again")).id.name
place.until(again, "SUCCEEDED")
check(place.get(again).spec.metadata.reference_execution.name == good, place.get(again))
bad = place.start("bad")
place.until(bad, "FAILED")
recovered = admin.RecoverExecution(execution_pb2.ExecutionRecoverRequest(
    id=place.execution(bad), name="recovered")).id.name
place.until(recovered, "FAILED")
metadata = place.get(recovered).spec.metadata
check((metadata.mode, metadata.reference_execution.name) == (execution_pb2.ExecutionMetadata.RECOVERED, bad), metadata)
n0 = admin.GetNodeExecution(node_execution_pb2.NodeExecutionGetRequest(
    id=identifier_pb2.NodeExecutionIdentifier(node_id="n0", execution_id=place.execution(recovered))))
check(NodeExecution.Phase.Name(n0.closure.phase) == "RECOVERED", n0)
refused(NOT_FOUND, admin.RecoverExecution, execution_pb2.ExecutionRecoverRequest(id=place.execution("nobody")))

# update execution: archive and bring back
for state in (execution_pb2.EXECUTION_ARCHIVED, execution_pb2.EXECUTION_ACTIVE):
    admin.UpdateExecution(execution_pb2.ExecutionUpdateRequest(id=place.execution(good), state=state))
    check(place.get(good).closure.state_change_details.state == state, place.get(good))
    listed = [e.id.name for e in pages(admin.ListExecutions, "executions", id=everything)]
    check((good in listed) == (state == execution_pb2.EXECUTION_ACTIVE), listed)

# delete execution
slow = place.start("slow")
place.until(slow, "RUNNING")
terminate = execution_pb2.ExecutionTerminateRequest(id=place.execution(slow), cause="enough")
admin.TerminateExecution(terminate)
place.until(slow, "ABORTED")
check(place.get(slow).closure.abort_metadata.cause == "enough", place.get(slow))
refused(PRECONDITION, admin.TerminateExecution, terminate)
refused(NOT_FOUND, admin.TerminateExecution, execution_pb2.ExecutionTerminateRequest(id=place.execution("nobody")))

# Signals of nodes that are not there yet, who we are, and events that only the engine of an execution may send.
yes = literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(boolean=True)))
refused(INVALID, signals.SetSignal, signal_pb2.SignalSetRequest(
    id=identifier_pb2.SignalIdentifier(signal_id="later", execution_id=place.execution(good)), value=yes))
listed = signals.ListSignals(signal_pb2.SignalListRequest(workflow_execution_id=place.execution(good), limit=10))
check(not listed.signals, listed)
check(identity.UserInfo(identity_pb2.UserInfoRequest()).subject == "", "nobody without authentication")
event = events.WorkflowExecutionEvent(
    execution_id=place.execution(good), phase=WorkflowExecution.FAILED, occurred_at=place.get(good).closure.created_at)
refused(PRECONDITION, admin.CreateWorkflowEvent, event_pb2.WorkflowExecutionEventRequest(event=event))

# An archived project takes nothing new and is hidden, until it is active again.
admin.UpdateProject(Project(id=project, state=Project.ARCHIVED))
refused(INVALID, admin.CreateTask, place.task("late"))
listed = [p.id for p in admin.ListProjects(project_pb2.ProjectListRequest()).projects]
check(project not in listed and PROJECT in listed, listed)
admin.UpdateProject(Project(id=project, state=Project.ACTIVE))
admin.CreateTask(place.task("late"))

print("SCENARIO OK")
