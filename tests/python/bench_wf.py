"""Workflows of real Python tasks for the bench: chains, and a task that needs pandas and scikit-learn."""

from flytekit import task, workflow


@task
def step(x: int) -> int:
    return x + 1


@task
def learn(seed: int) -> float:
    import pandas as pd
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    wine = load_wine(as_frame=True)
    table = pd.DataFrame(StandardScaler().fit_transform(wine.data)).sample(frac=0.9, random_state=seed)
    target = wine.target[table.index]
    return float(LogisticRegression(max_iter=200).fit(table, target).score(table, target))


@workflow
def chain40(x: int = 0) -> int:
    for _ in range(40):
        x = step(x=x)
    return x


@workflow
def chain4(x: int = 0) -> int:
    for _ in range(4):
        x = step(x=x)
    return x


@workflow
def wine(seed: int = 1) -> float:
    return learn(seed=seed)
