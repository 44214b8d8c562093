"""Assertions on what a client read; imports nothing, so that modules of tasks may import it."""

import sys

NODE_PHASES = [
    "UNDEFINED", "QUEUED", "RUNNING", "SUCCEEDED", "FAILING", "FAILED", "ABORTED", "SKIPPED", "TIMED_OUT",
    "DYNAMIC_RUNNING", "RECOVERED",
]
TASK_PHASES = [
    "UNDEFINED", "QUEUED", "RUNNING", "SUCCEEDED", "ABORTED", "FAILED", "INITIALIZING", "WAITING_FOR_RESOURCES",
    "RETRYABLE_FAILED",
]
CACHE = ["DISABLED", "MISS", "HIT", "POPULATED", "LOOKUP_FAILURE", "PUT_FAILURE", "SKIPPED", "EVICTED"]


def check(condition, message=""):
    """Ends the case with a message when the condition does not hold."""
    if not condition:
        frame = sys._getframe(1)
        raise AssertionError(f"line {frame.f_lineno}: {message}")


def phases(nodes):
    """Phases by id, of a dict of node executions."""
    return {id: NODE_PHASES[node.closure.phase] for id, node in nodes.items()}


def children(node):
    """Child nodes of a node, without start and end, by id."""
    found = node.subworkflow_node_executions.items()
    return {id: child for id, child in found if child.metadata.spec_node_id not in ("start-node", "end-node")}


def elements(node):
    """The external resources of the one attempt of an array node."""
    check(len(node.task_executions) == 1, f"an array has one attempt: {node.task_executions}")
    return list(node.task_executions[0].closure.metadata.external_resources)


def element_phases(node):
    """Phases of the elements of an array node, in their order."""
    return [TASK_PHASES[element.phase] for element in elements(node)]


def cache_status(node):
    """What the cache did for a node."""
    metadata = node.closure.task_node_metadata
    return CACHE[metadata.cache_status] if metadata is not None else "DISABLED"
