"""A workflow whose tasks pass every type that flytekit can pass."""

import enum
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Dict, List, NamedTuple, Optional, Union

import pandas as pd
from flytekit import Deck, StructuredDataset, current_context, kwtypes, task, workflow
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Inner:
    a: int
    b: List[float] = field(default_factory=list)


@dataclass
class Outer:
    name: str
    inner: Inner
    lookup: Dict[str, int] = field(default_factory=dict)


class NotSerialisable:
    """Only pickle can carry this."""

    def __init__(self, value: int):
        self.value = value


Pair = NamedTuple("Pair", left=int, right=str)


@task
def primitives(i: int, f: float, s: str, b: bool, d: datetime, t: timedelta) -> str:
    return f"{i} {f} {s} {b} {d.isoformat()} {t.total_seconds()}"


@task
def containers(items: List[int], table: Dict[str, List[float]]) -> Dict[str, float]:
    return {key: float(sum(values) + sum(items)) for key, values in table.items()}


@task
def make_dataclass(n: int) -> Outer:
    return Outer(name="outer", inner=Inner(a=n, b=[1.5, 2.5]), lookup={"x": n})


@task
def use_attribute(a: int, b: List[float], x: int) -> float:
    return float(a + sum(b) + x)


@task
def colour(c: Colour) -> Colour:
    return Colour.BLUE if c == Colour.RED else Colour.RED


@task
def union(value: Union[int, str]) -> Union[int, str]:
    return f"was {value}" if isinstance(value, int) else len(value)


@task
def optional(value: Optional[int] = None) -> int:
    return -1 if value is None else value


@task
def write_file(text: str) -> FlyteFile:
    path = os.path.join(current_context().working_directory, "note.txt")
    with open(path, "w") as out:
        out.write(text)
    return FlyteFile(path)


@task
def read_file(file: FlyteFile) -> str:
    with open(file) as source:
        return source.read()


@task
def write_directory(n: int) -> FlyteDirectory:
    path = os.path.join(current_context().working_directory, "many")
    os.makedirs(os.path.join(path, "deep"))
    for i in range(n):
        with open(os.path.join(path, "deep" if i % 2 else "", f"{i}.txt"), "w") as out:
            out.write(str(i))
    return FlyteDirectory(path)


@task
def read_directory(directory: FlyteDirectory) -> int:
    total = 0
    for root, _, files in os.walk(directory.download()):
        for name in files:
            with open(os.path.join(root, name)) as source:
                total += int(source.read())
    return total


@task
def make_frame(n: int) -> pd.DataFrame:
    return pd.DataFrame({"x": list(range(n)), "y": [str(i) for i in range(n)]})


@task
def typed_frame(frame: pd.DataFrame) -> Annotated[StructuredDataset, kwtypes(x=int)]:
    return StructuredDataset(dataframe=frame)


@task
def sum_frame(frame: StructuredDataset) -> int:
    return int(frame.open(pd.DataFrame).all()["x"].sum())


@task
def make_pickle(n: int) -> NotSerialisable:
    return NotSerialisable(n)


@task
def read_pickle(thing: NotSerialisable) -> int:
    return thing.value


@task
def pair() -> Pair:
    return Pair(left=1, right="two")


@task(enable_deck=True)
def with_deck() -> str:
    Deck("mine", "<h1>a deck of cards</h1>")
    return "decked"


Everything = NamedTuple(
    "Everything",
    text=str,
    sums=Dict[str, float],
    attribute=float,
    shade=Colour,
    one_of=Union[int, str],
    absent=int,
    present=int,
    file=FlyteFile,
    file_text=str,
    directory_sum=int,
    frame_sum=int,
    pickled=int,
    right=str,
    outer=Outer,
    deck=str,
)


@workflow
def everything(
    n: int = 5, day: datetime = datetime(2026, 1, 2, 3, 4, 5), shade: Colour = Colour.RED
) -> Everything:
    text = primitives(i=n, f=0.5, s="späß", b=True, d=day, t=timedelta(seconds=90))
    sums = containers(items=[1, 2, 3], table={"a": [1.0], "b": []})
    outer = make_dataclass(n=n)
    attribute = use_attribute(a=outer.inner.a, b=outer.inner.b, x=outer.lookup["x"])
    file = write_file(text="hello file")
    frame = make_frame(n=n)
    both = pair()
    return Everything(
        text=text,
        sums=sums,
        attribute=attribute,
        shade=colour(c=shade),
        one_of=union(value=n),
        absent=optional(),
        present=optional(value=n),
        file=file,
        file_text=read_file(file=file),
        directory_sum=read_directory(directory=write_directory(n=n)),
        frame_sum=sum_frame(frame=typed_frame(frame=frame)),
        pickled=read_pickle(thing=make_pickle(n=n)),
        right=both.right,
        outer=outer,
        deck=with_deck(),
    )
