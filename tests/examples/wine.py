"""Trains several classifiers on scikit-learn's wine data at the same time and keeps the best one.

Run it against Pinion as against any Flyte: `pyflyte run --remote --wait wine.py training`
"""

from dataclasses import dataclass, field
from typing import Dict, List, NamedTuple

import pandas as pd
from flytekit import Resources, task, workflow
from flytekit.types.file import FlyteFile


@dataclass
class Candidate:
    """One model to try."""

    name: str
    params: Dict[str, float] = field(default_factory=dict)


@dataclass
class Score:
    """How well a candidate did on data it had not seen."""

    name: str
    accuracy: float
    f1: float


Split = NamedTuple("Split", train=pd.DataFrame, test=pd.DataFrame)
Best = NamedTuple("Best", score=Score, model=FlyteFile, table=pd.DataFrame)

SMALL = Resources(cpu="500m", mem="300Mi")


@task(requests=SMALL)
def load() -> pd.DataFrame:
    """Reads the data set that scikit-learn carries."""
    from sklearn.datasets import load_wine

    frame = load_wine(as_frame=True).frame
    print(f"{len(frame)} wines, {frame.shape[1] - 1} measurements each")
    return frame


@task(requests=SMALL)
def split(frame: pd.DataFrame, test_share: float) -> Split:
    """Keeps a share of the wines back for the exam."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(frame, test_size=test_share, random_state=7, stratify=frame["target"])
    return Split(train=train.reset_index(drop=True), test=test.reset_index(drop=True))


@task(requests=SMALL, retries=2)
def train(candidate: Candidate, data: pd.DataFrame) -> FlyteFile:
    """Fits one candidate and stores it as a file."""
    import joblib
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    p = candidate.params
    if candidate.name.startswith("forest"):
        model = RandomForestClassifier(n_estimators=int(p["trees"]), max_depth=int(p["depth"]), random_state=0)
    elif candidate.name.startswith("boost"):
        model = GradientBoostingClassifier(n_estimators=int(p["trees"]), learning_rate=p["rate"], random_state=0)
    else:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=p["c"], max_iter=1000))
    model.fit(data.drop(columns="target"), data["target"])
    path = f"{candidate.name}.joblib"
    joblib.dump(model, path)
    print(f"trained {candidate.name} on {len(data)} wines")
    return FlyteFile(path)


@task(requests=SMALL)
def evaluate(name: str, model: FlyteFile, data: pd.DataFrame) -> Score:
    """Examines one model."""
    import joblib
    from sklearn.metrics import accuracy_score, f1_score

    fitted = joblib.load(model.download())
    guess = fitted.predict(data.drop(columns="target"))
    return Score(
        name=name,
        accuracy=float(accuracy_score(data["target"], guess)),
        f1=float(f1_score(data["target"], guess, average="macro")),
    )


@task(requests=SMALL)
def choose(scores: List[Score], models: List[FlyteFile]) -> Best:
    """Picks the model with the best F1 score."""
    table = pd.DataFrame([{"model": s.name, "accuracy": s.accuracy, "f1": s.f1} for s in scores])
    table = table.sort_values("f1", ascending=False).reset_index(drop=True)
    print(table.to_string())
    best = max(range(len(scores)), key=lambda i: scores[i].f1)
    return Best(score=scores[best], model=models[best], table=table)


CANDIDATES: List[Candidate] = [
    Candidate("forest-small", {"trees": 20, "depth": 3}),
    Candidate("forest-large", {"trees": 200, "depth": 8}),
    Candidate("boost-slow", {"trees": 60, "rate": 0.05}),
    Candidate("boost-fast", {"trees": 60, "rate": 0.3}),
    Candidate("logistic-loose", {"c": 10.0}),
    Candidate("logistic-tight", {"c": 0.01}),
]


@workflow
def training(test_share: float = 0.3) -> Best:
    """Load, split, train all candidates in parallel, examine them, choose."""
    data = split(frame=load(), test_share=test_share)
    models = []
    scores = []
    for candidate in CANDIDATES:
        model = train(candidate=candidate, data=data.train)
        models.append(model)
        scores.append(evaluate(name=candidate.name, model=model, data=data.test))
    return choose(scores=scores, models=models)
