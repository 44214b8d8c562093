"""Odd but legal programs: the server's outcome is that of flytekit's own local run, or what is written beside them."""

import enum
import functools
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

from checks import check, phases
from flytekit import LaunchPlan, conditional, current_context, dynamic, map_task, task, workflow
from flytekit.core.node_creation import create_node
from flytekit.core.workflow import ImperativeWorkflow
from flytekit.types.file import FlyteFile


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    name: str = "ä b"
    good: bool = True
    more: List[int] = field(default_factory=lambda: [1, 2])
    table: Dict[str, int] = field(default_factory=lambda: {"k ä": 7})
    colour: Colour = Colour.RED
    either: Union[int, str] = 3
    absent: Optional[float] = None


Pair = NamedTuple("Pair", left=int, sécond=str)


@task
def inc(a: int) -> int:
    return a + 1


@task
def say(word: str) -> str:
    return word


@task
def pair(a: int) -> Pair:
    return Pair(a, f"of {a}")


@task
def silent(a: int):
    print(a)


@task
def point(x: int) -> Point:
    return Point(x)


@task
def points(n: int) -> List[Point]:
    return [Point(i) for i in range(n)]


@task
def shifted(p: Point, by: int) -> Point:
    return Point(p.x + by, p.name)


@task
def join(a: int, b: str) -> str:
    return f"{a}{b}"


@task
def odd_only(a: int) -> Optional[int]:
    return a if a % 2 else None


@task
def lookup(key: str, table: Dict[str, int], more: List[int]) -> int:
    return table[key] + sum(more)


@task
def write(n: int) -> FlyteFile:
    path = os.path.join(current_context().working_directory, f"file ü #{n} &+%.txt")
    with open(path, "w") as out:
        out.write(f"file {n}")
    return FlyteFile(path)


@task
def read(file: FlyteFile) -> str:
    with open(file) as source:
        return source.read()


@task
def same_point(p: Point) -> Point:
    return p


@task
def scalars(f: float, d: datetime, t: timedelta, c: Colour, u: Union[int, str], s: str) -> Tuple[float, datetime, timedelta, Colour, str, str]:
    return f, d, t, c, f"{type(u).__name__} {u}", s


@task
def größe(wört: str) -> str:
    return wört[::-1]


@task
def note(at: str, what: str):
    with open(at, "a") as out:
        out.write(what + "\n")


@task
def needs_what_is_not_there(a: int) -> int:
    import there_is_no_such_module  # noqa: F401

    return a


@task
def gives_something_else(a: int) -> int:
    return "text"


@task
def gives_nothing(a: int) -> int:
    return None


@task
def fails_oddly(a: int) -> int:
    if a:
        raise ValueError("geht nicht 🦀 \x00 <b>&amp;")
    return a


@task
def fails_at_length(a: int) -> int:
    if a:
        raise ValueError("y" * 300_000)
    return a


@workflow
def twice(a: int) -> int:
    return inc(a=inc(a=a))


@workflow
def on_a_field(x: int) -> str:
    p = point(x=x)
    return conditional("field").if_(p.good.is_true()).then(say(word="good")).else_().then(say(word="bad"))


@workflow
def on_an_item(p: Point) -> str:
    return conditional("item").if_(p.table["k ä"] > 6).then(say(word="large")).else_().then(say(word="small"))


@workflow
def several_outputs(a: int) -> Tuple[int, str]:
    left, right = conditional("several").if_(a == 1).then(pair(a=a)).else_().then(pair(a=100))
    return inc(a=left), say(word=right)


@workflow
def nobody_looks(a: int) -> int:
    conditional("unused").if_(a == 1).then(say(word="a")).else_().then(say(word="b"))
    conditional("silent").if_(a == 1).then(silent(a=a)).else_().then(silent(a=0))
    return inc(a=a)


@workflow
def refuses(a: int) -> int:
    return conditional("refuses").if_(a == 1).then(inc(a=a)).else_().fail("läuft nicht: ✓")


twice_plan = LaunchPlan.get_or_create(twice, "same.twice")


@dynamic
def chooses(a: int) -> int:
    x = inc(a=a)
    return conditional("inside").if_(x == 3).then(inc(a=x)).else_().then(twice(a=x))


@workflow
def every_arm(a: int) -> int:
    return (
        conditional("arms").if_(a == 0).then(twice_plan(a=a)).elif_(a == 1).then(twice(a=a)).elif_(a < 4).then(chooses(a=a))
        .else_().then(refuses(a=a))
    )


@workflow
def branch_after_branch(a: int) -> int:
    x = conditional("c1").if_(a > 0).then(inc(a=a)).else_().then(inc(a=0))
    y = conditional("c2").if_(x > 2).then(inc(a=x)).else_().then(twice(a=x))
    return conditional("c3").if_((x > 1) | (y > 100)).then(inc(a=y)).else_().fail("neither")


@workflow
def maps_dataclasses(n: int, by: int) -> List[Point]:
    return map_task(functools.partial(shifted, by=by))(p=points(n=n))


@workflow
def maps_to_nothing(xs: List[int]) -> List[Optional[int]]:
    return map_task(odd_only)(a=xs)


@workflow
def maps_two_lists(xs: List[int], words: List[str]) -> List[str]:
    return map_task(join)(a=xs, b=words)


@workflow
def maps_with_constants(keys: List[str], more: List[int]) -> List[int]:
    return map_task(functools.partial(lookup, table={"a": 1, "b": 2}, more=more))(key=keys)


@workflow
def maps_files(ns: List[int]) -> List[str]:
    return map_task(read)(file=map_task(write)(n=ns))


@workflow
def maps_promises(a: int) -> int:
    x = inc(a=a)
    return inc(a=map_task(inc)(a=[x, 5, inc(a=x)])[2])


@dynamic
def maps_in_a_dynamic(xss: List[List[int]]) -> List[List[int]]:
    return [map_task(inc)(a=xs) for xs in xss]


@workflow
def maps_of_maps(xss: List[List[int]]) -> List[List[int]]:
    return maps_in_a_dynamic(xss=xss)


@workflow
def reaches_too_far(n: int) -> int:
    return inc(a=points(n=n)[1].x)


@workflow
def reaches(n: int) -> int:
    return inc(a=points(n=n)[1].table["k ä"])


@workflow
def passes_point(p: Point) -> Point:
    return same_point(p=p)


@workflow
def passes_scalars(
    f: float, d: datetime, t: timedelta, u: Union[int, str], c: Colour = Colour.BLUE, s: str = 'ß "\\\n\t'
) -> Tuple[float, datetime, timedelta, Colour, str, str]:
    return scalars(f=f, d=d, t=t, c=c, u=u, s=s)


@workflow
def wörter(wört: str) -> Pair:
    return Pair(inc(a=1), größe(wört=wört))


@workflow
def in_order(at: str):
    first, second, third = (create_node(note, at=at, what=what) for what in ("first", "second", "third"))
    third >> second
    second >> first


@workflow
def ordered_as_a_whole(at: str):
    below, before = create_node(in_order, at=at), create_node(note, at=at, what="before")
    before >> below


def imperative() -> ImperativeWorkflow:
    made = ImperativeWorkflow(name="constructs_same.imperative")
    made.add_workflow_input("x", int)
    first = made.add_entity(inc, a=made.inputs["x"])
    second = made.add_entity(twice, a=first.outputs["o0"])
    made.add_workflow_output("last", second.outputs["o0"], python_type=int)
    made.add_workflow_output("both", [first.outputs["o0"], second.outputs["o0"]], python_type=List[int])
    return made


made = imperative()
DAY = datetime(1969, 2, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
NEVER = datetime(2222, 1, 1, tzinfo=timezone.utc)

#: Workflow and inputs; the outcome is that of a local run.
SAME = [
    (several_outputs, dict(a=1)), (several_outputs, dict(a=2)), (nobody_looks, dict(a=1)), (refuses, dict(a=2)),
    *[(every_arm, dict(a=a)) for a in range(5)], (branch_after_branch, dict(a=4)), (branch_after_branch, dict(a=0)),
    (maps_dataclasses, dict(n=2, by=10)), (maps_to_nothing, dict(xs=[1, 2])), (maps_to_nothing, dict(xs=[])),
    (maps_two_lists, dict(xs=[1, 2], words=["a", "b"])), (maps_two_lists, dict(xs=[1, 2], words=["a"])),
    (maps_with_constants, dict(keys=["a", "b"], more=[10])), (maps_with_constants, dict(keys=["a", "z"], more=[])),
    (maps_files, dict(ns=[1, 2])), (maps_promises, dict(a=1)), (maps_of_maps, dict(xss=[[1], [], [2, 3]])),
    (reaches, dict(n=2)), (reaches_too_far, dict(n=1)),
    (passes_point, dict(p=Point(5, more=[], either="s", absent=0.0, colour=Colour.BLUE))),
    (passes_scalars, dict(f=float("inf"), d=DAY, t=timedelta(days=-3, microseconds=1), u=1)),
    (passes_scalars, dict(f=-0.0, d=NEVER, t=timedelta(days=9000), u="1", c=Colour.RED, s="")),
    (wörter, dict(wört="äöü 🦀")), (made, dict(x=1)),
]

#: Programs that flytekit can't run itself, with what comes out.
BEYOND = [
    (on_a_field, dict(x=1), "good"), (on_an_item, dict(p=Point(1)), "large"), (on_an_item, dict(p=Point(1, table={"k ä": 6})), "small"),
]

#: Tasks that go wrong, and words of the error.
WRONG = [
    (needs_what_is_not_there, "there_is_no_such_module"), (gives_something_else, "Failed to convert outputs"),
    (gives_nothing, "cannot be None"), (fails_oddly, "geht nicht 🦀"), (fails_at_length, "yyyy"),
]

ENTITIES = [twice_plan, *dict.fromkeys(row[0] for row in [*SAME, *BEYOND, *WRONG]), ordered_as_a_whole]


def local(entity, inputs):
    """What a local run gives, one value for each output; `None` when it fails."""
    try:
        value = entity(**inputs)
    except Exception:  # noqa: BLE001
        return None
    return list(value) if len(entity.python_interface.outputs) > 1 else [value]


def case_the_outcome_is_that_of_a_local_run(w):
    runs = [(w.run(entity, **inputs), entity, inputs) for entity, inputs in SAME]
    for run, entity, inputs in runs:
        here = local(entity, inputs)
        execution = w.end(run, "FAILED" if here is None else "SUCCEEDED")
        if here is not None:
            there = [execution.outputs.get(name, kind) for name, kind in entity.python_interface.outputs.items()]
            check(there == here, f"{entity.name} {inputs}: here {here}, there {there}")


def case_what_is_only_possible_here(w):
    runs = [(w.run(entity, **inputs), entity.name, wanted) for entity, inputs, wanted in BEYOND]
    for run, name, wanted in runs:
        check((out := w.end(run).outputs["o0"]) == wanted, f"{name}: {out}")


def case_errors_are_shown(w):
    runs = [(w.run(entity, a=3), words) for entity, words in WRONG]
    for run, words in runs:
        error = w.end(run, "FAILED").closure.error
        check(words in error.message and len(error.message) <= 100 << 10, f"{words}: {error.message[:2000]}")


def case_order_is_kept(w):
    execution = w.result(ordered_as_a_whole, at=w.file("order"))
    check(w.lines(w.file("order")) == ["before", "third", "second", "first"], w.lines(w.file("order")))
    check(set(phases(execution.node_executions).values()) == {"SUCCEEDED"}, phases(execution.node_executions))
