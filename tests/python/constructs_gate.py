"""Gates: approvals, inputs of people, sleep; time-outs and rejections."""

from datetime import timedelta
from typing import List, Tuple

from checks import check, children, phases
from flytekit import approve, conditional, dynamic, sleep, task, wait_for_input, workflow

HOUR = timedelta(hours=1)


@task
def inc(a: int) -> int:
    return a + 1


@task
def tell(a: int, text: str, more: List[int]) -> str:
    return f"{a} {text} {more}"


@workflow
def asks(a: int) -> str:
    ok = approve(inc(a=a), "is-it-good", timeout=HOUR)
    text = wait_for_input("a-text", timeout=HOUR, expected_type=str)
    more = wait_for_input("numbers", timeout=HOUR, expected_type=List[int])
    return tell(a=ok, text=text, more=more)


@workflow
def may_be_rejected(a: int) -> int:
    return inc(a=approve(inc(a=a), "verdict", timeout=HOUR))


@workflow
def impatient(a: int) -> int:
    return inc(a=approve(inc(a=a), "too-late", timeout=timedelta(seconds=1)))


@workflow
def impatient_input() -> int:
    return inc(a=wait_for_input("never", timeout=timedelta(seconds=1), expected_type=int))


@workflow
def naps(a: int) -> int:
    x = inc(a=a)
    nap = sleep(timedelta(seconds=1))
    y = inc(a=x)
    x >> nap
    nap >> y
    return y


@workflow
def gate_in_a_sub(a: int) -> int:
    return conditional("big").if_(a > 1).then(may_be_rejected(a=a)).else_().then(inc(a=a))


@dynamic
def gate_in_a_dynamic(a: int) -> int:
    return inc(a=approve(inc(a=a), "inside", timeout=HOUR))


@workflow
def inside(a: int) -> Tuple[int, int]:
    return gate_in_a_sub(a=a), gate_in_a_dynamic(a=a)


ENTITIES = [asks, may_be_rejected, impatient, impatient_input, naps, inside]


def signals(w, execution):
    return {signal.id.signal_id: signal for signal in w.client.list_signals(execution.id.name)}


def case_people_are_asked(w):
    execution = w.run(asks, a=1)
    w.until("three questions", lambda: set(signals(w, execution)) == {"is-it-good", "a-text", "numbers"})
    w.until_node(execution, "n1", "RUNNING")
    try:
        w.client.set_input("a-text", execution.id.name, 7, python_type=int)
        raise AssertionError("a number is no text")
    except Exception as error:
        check("AssertionError" not in type(error).__name__, error)
    w.client.set_input("a-text", execution.id.name, "hello", python_type=str)
    w.client.set_input("numbers", execution.id.name, [1, 2], python_type=List[int])
    w.client.approve("is-it-good", execution.id.name)
    ended = w.end(execution)
    check(ended.outputs["o0"] == "2 hello [1, 2]", ended.outputs)
    check(set(phases(ended.node_executions).values()) == {"SUCCEEDED"}, phases(ended.node_executions))
    check(signals(w, execution)["a-text"].value.scalar.primitive.string_value == "hello")


def case_a_rejection_fails(w):
    execution = w.run(may_be_rejected, a=1)
    w.until("the question", lambda: "verdict" in signals(w, execution))
    w.client.reject("verdict", execution.id.name)
    ended = w.end(execution, "FAILED")
    check(ended.closure.error.kind == 1, ended.closure.error)
    check("eject" in ended.closure.error.code + ended.closure.error.message, ended.closure.error)
    check(phases(ended.node_executions)["n1"] == "FAILED", phases(ended.node_executions))


def case_nobody_answers(w):
    runs = [w.run(impatient, a=1), w.run(impatient_input)]
    for run, node in zip(runs, ("n1", "n0")):
        ended = w.end(run, "FAILED")
        check(phases(ended.node_executions)[node] in ("FAILED", "TIMED_OUT"), phases(ended.node_executions))


def case_sleep_takes_its_time(w):
    ended = w.result(naps, a=1)
    check(ended.outputs["o0"] == 3)
    node = next(node for node in ended.node_executions.values() if node.metadata.spec_node_id == "n1")
    check(timedelta(seconds=0.9) < node.closure.duration < timedelta(seconds=30), node.closure.duration)


def case_a_waiting_execution_can_be_ended(w):
    execution = w.run(may_be_rejected, a=1)
    w.until("the question", lambda: "verdict" in signals(w, execution))
    w.client.terminate(execution, "nobody cares")
    ended = w.end(execution, "ABORTED", 30)
    check(phases(ended.node_executions)["n1"] == "ABORTED", phases(ended.node_executions))


def case_gates_inside_other_nodes(w):
    execution = w.run(inside, a=2)
    w.until("both questions", lambda: set(signals(w, execution)) == {"verdict", "inside"})
    w.client.approve("inside", execution.id.name)
    w.client.approve("verdict", execution.id.name)
    ended = w.end(execution)
    check((ended.outputs["o0"], ended.outputs["o1"]) == (4, 4), ended.outputs)
    check(len(children(ended.node_executions["n1"])) == 3)
