"""Calls of the admin service without any client library, as flytectl makes them: messages and a channel."""

import os
import time

import grpc
from common import DOMAIN, PROJECT, check
from flyteidl.admin import common_pb2, execution_pb2, launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.admin import description_entity_pb2 as description_pb2
from flyteidl.core import identifier_pb2, interface_pb2, literals_pb2, tasks_pb2, types_pb2
from flyteidl.core import workflow_pb2 as nodes_pb2
from flyteidl.core.execution_pb2 import WorkflowExecution
from flyteidl.service import admin_pb2_grpc
from google.protobuf import struct_pb2

TASK, WORKFLOW, LAUNCH_PLAN = identifier_pb2.TASK, identifier_pb2.WORKFLOW, identifier_pb2.LAUNCH_PLAN
NOT_FOUND, INVALID = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT
EXISTS, PRECONDITION = grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.FAILED_PRECONDITION
NEWEST = common_pb2.Sort(key="created_at", direction=common_pb2.Sort.DESCENDING)
OLDEST = common_pb2.Sort(key="created_at", direction=common_pb2.Sort.ASCENDING)

channel = grpc.insecure_channel(os.environ["FLYTE_PLATFORM_URL"])
admin = admin_pb2_grpc.AdminServiceStub(channel)


def refused(code, call, request):
    """The call must be refused with a code; its text is returned."""
    try:
        call(request)
    except grpc.RpcError as error:
        check(error.code() == code, f"{error.code()} instead of {code}: {error.details()}")
        return error.details()
    raise AssertionError(f"was not refused: {request}")


def variables(*names):
    integer = interface_pb2.Variable(type=types_pb2.LiteralType(simple=types_pb2.INTEGER))
    return interface_pb2.VariableMap(variables={name: integer for name in names})


class Place:
    """A project, and a version under which things are registered in it."""

    def __init__(self, project=PROJECT, version="v1"):
        self.project, self.version = project, version

    def named(self, name=""):
        return common_pb2.NamedEntityIdentifier(project=self.project, domain=DOMAIN, name=name)

    def id(self, kind, name):
        return identifier_pb2.Identifier(
            resource_type=kind, project=self.project, domain=DOMAIN, name=name, version=self.version)

    def execution(self, name):
        return identifier_pb2.WorkflowExecutionIdentifier(project=self.project, domain=DOMAIN, name=name)

    def task(self, name, outputs=("x",), sleep_ms=0):
        """A task that copies `x`. It fails if it has more outputs than inputs."""
        custom = struct_pb2.Struct()
        custom.update({"sleep-ms": sleep_ms})
        template = tasks_pb2.TaskTemplate(
            id=self.id(TASK, name), type="echo", custom=custom,
            metadata=tasks_pb2.TaskMetadata(runtime=tasks_pb2.RuntimeMetadata(version="1")),
            interface=interface_pb2.TypedInterface(inputs=variables("x"), outputs=variables(*outputs)))
        description = description_pb2.DescriptionEntity(short_description=f"about {name}")
        spec = task_pb2.TaskSpec(template=template, description=description)
        return task_pb2.TaskCreateRequest(id=self.id(TASK, name), spec=spec)

    def node(self, name, task, source=""):
        promise = types_pb2.OutputReference(node_id=source, var="x")
        binding = literals_pb2.Binding(var="x", binding=literals_pb2.BindingData(promise=promise))
        return nodes_pb2.Node(
            id=name, metadata=nodes_pb2.NodeMetadata(name=task), inputs=[binding],
            task_node=nodes_pb2.TaskNode(reference_id=self.id(TASK, task)))

    def workflow(self, name, *nodes):
        template = nodes_pb2.WorkflowTemplate(
            id=self.id(WORKFLOW, name), nodes=nodes,
            interface=interface_pb2.TypedInterface(inputs=variables("x")))
        return workflow_pb2.WorkflowCreateRequest(
            id=self.id(WORKFLOW, name), spec=workflow_pb2.WorkflowSpec(template=template))

    def plan(self, name):
        spec = launch_plan_pb2.LaunchPlanSpec(workflow_id=self.id(WORKFLOW, name))
        return launch_plan_pb2.LaunchPlanCreateRequest(id=self.id(LAUNCH_PLAN, name), spec=spec)

    def start(self, plan, name=""):
        primitive = literals_pb2.Primitive(integer=5)
        literal = literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=primitive))
        return admin.CreateExecution(execution_pb2.ExecutionCreateRequest(
            project=self.project, domain=DOMAIN, name=name,
            spec=execution_pb2.ExecutionSpec(launch_plan=self.id(LAUNCH_PLAN, plan)),
            inputs=literals_pb2.LiteralMap(literals={"x": literal}))).id.name

    def get(self, name):
        return admin.GetExecution(execution_pb2.WorkflowExecutionGetRequest(id=self.execution(name)))

    def until(self, name, wanted):
        """Waits until an execution is in a phase."""
        end = time.monotonic() + 60
        while True:
            now = WorkflowExecution.Phase.Name(self.get(name).closure.phase)
            if now == wanted:
                return
            over = now in ("SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT") or time.monotonic() > end
            check(not over, f"{name} is {now}: {self.get(name)}")
            time.sleep(0.05)
