"""Branches: every comparison, conjunctions, nesting, failing arms."""

from datetime import datetime, timedelta
from typing import List, Optional

from checks import check, children, phases
from flytekit import conditional, task, workflow


@task
def say(word: str) -> str:
    return word


@task
def inc(a: int) -> int:
    return a + 1


@task
def flag(b: bool) -> bool:
    return b


@task
def breaks(a: int) -> int:
    if a >= 0:
        raise ValueError(f"broken at {a}")
    return a


@workflow
def compares(a: int, f: float, s: str, b: bool, d: datetime, e: datetime, t: timedelta, u: timedelta) -> List[str]:
    lt = conditional("lt").if_(a < 3).then(say(word="lt")).elif_(a == 3).then(say(word="eq")).else_().then(say(word="gt"))
    le = conditional("le").if_(f <= 1.5).then(say(word="le")).else_().then(say(word="gt"))
    ne = conditional("ne").if_(s != "x").then(say(word="ne")).else_().then(say(word="eq"))
    both = conditional("and").if_((a >= 3) & (s == "x")).then(say(word="both")).else_().then(say(word="not both"))
    one = conditional("or").if_((a > 3) | (f > 1.5)).then(say(word="one")).else_().then(say(word="none"))
    deep = conditional("deep").if_(((a > 0) & (a < 10)) & ((f < 0.0) | (s == "x"))).then(say(word="in")).else_().then(say(word="out"))
    flagged = flag(b=b)
    true = conditional("bool").if_(flagged.is_true()).then(say(word="true")).else_().then(say(word="false"))
    time = conditional("time").if_(d < e).then(say(word="before")).else_().then(say(word="after"))
    span = conditional("span").if_(t >= u).then(say(word="long")).else_().then(say(word="short"))
    return [lt, le, ne, both, one, deep, true, time, span]


@workflow
def inner(a: int) -> int:
    return conditional("inner").if_(a > 10).then(inc(a=a)).else_().then(inc(a=0))


@workflow
def nested(a: int) -> int:
    before = inc(a=a)
    return (
        conditional("outer")
        .if_(before == 2)
        .then(conditional("second").if_(a == 1).then(inc(a=before)).else_().fail("impossible"))
        .elif_(before > 10)
        .then(inner(a=before))
        .else_()
        .fail("nothing for this number")
    )


@workflow
def after_a_branch(a: int) -> int:
    chosen = conditional("choose").if_(a == 1).then(breaks(a=a)).else_().then(inc(a=a))
    return inc(a=chosen)


@workflow
def optional(a: Optional[int] = None) -> str:
    return conditional("none").if_(a.is_none()).then(say(word="absent")).else_().then(say(word="present"))


ENTITIES = [compares, nested, after_a_branch, optional]


def case_every_comparison_holds(w):
    day = datetime(2025, 5, 6, 7, 8, 9, 1)
    same = dict(a=3, f=1.5, s="x", b=True, d=day, e=day + timedelta(microseconds=1), t=timedelta(seconds=1), u=timedelta(seconds=1))
    other = dict(a=11, f=2.5, s="y", b=False, d=day, e=day, t=timedelta(seconds=1), u=timedelta(seconds=1, microseconds=1))
    runs = [w.run(compares, **same), w.run(compares, **other)]
    out = w.end(runs[0]).outputs["o0"]
    check(out == ["eq", "le", "eq", "both", "none", "in", "true", "before", "long"], out)
    out = w.end(runs[1]).outputs["o0"]
    check(out == ["gt", "gt", "ne", "not both", "one", "out", "false", "after", "short"], out)


def case_branches_nest(w):
    runs = [w.run(nested, a=1), w.run(nested, a=20), w.run(nested, a=5)]
    first = w.end(runs[0])
    check(first.outputs["o0"] == 3, first.outputs)
    outer = first.node_executions["n1"]
    arms = {node.metadata.spec_node_id: node for node in children(outer).values()}
    check(phases(arms).get("n1-n0") == "SUCCEEDED", phases(arms))
    check(all(phase in ("SUCCEEDED", "SKIPPED") for phase in phases(arms).values()), phases(arms))
    check(all(id.startswith("n1-0-") or len(id) == 14 for id in children(outer)), list(children(outer)))
    second = w.end(runs[1])
    check(second.outputs["o0"] == 22, second.outputs)
    third = w.end(runs[2], "FAILED")
    error = third.closure.error
    check("nothing for this number" in error.message and error.kind == 1, error)
    check(phases(third.node_executions)["n1"] == "FAILED", phases(third.node_executions))


def case_a_failing_arm_fails_the_branch(w):
    runs = [w.run(after_a_branch, a=1), w.run(after_a_branch, a=2)]
    failed = w.end(runs[0], "FAILED")
    check("broken at 1" in failed.closure.error.message, failed.closure.error)
    found = phases(failed.node_executions)
    check(found["n0"] == "FAILED" and found.get("n1", "SKIPPED") == "SKIPPED", found)
    check(w.end(runs[1]).outputs["o0"] == 4)


def case_absence_is_a_condition(w):
    runs = [w.run(optional), w.run(optional, a=1)]
    check([w.end(run).outputs["o0"] for run in runs] == ["absent", "present"])
