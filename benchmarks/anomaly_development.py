"""Sets on which the defaults of tables and of their scores were chosen, so that those of `benchmarks/anomaly.py` stay unseen.

    TAUT_DATA=… python benchmarks/anomaly_development.py [--seeds 1] [--sets NAME …] [--options '{"model": …}']

Each is at most 1,500 rows of a published table in which one class is made rare, or of a table with planted anomalies of
the four kinds of Han et al. (2022, ADBench): *local* (a component five times as wide), *global* (uniform over the range),
*cluster* (a component far off) and *dependency* (each column drawn by itself, so that only their dependence is broken). A
detector sees the rows without their labels, all of them, and scores them; AUROC, and the ELBO of the model on test rows.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture

import taut

ROWS = 1500


def rare(x: np.ndarray, y: np.ndarray, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """At most ROWS rows of which a share has y."""
    random = np.random.RandomState(seed)
    usual, odd = random.permutation(np.flatnonzero(~y)), random.permutation(np.flatnonzero(y))
    usual = usual[: round(ROWS * (1 - share))]
    odd = odd[: max(5, round(len(usual) * share / (1 - share)))]
    rows = random.permutation(np.concatenate([usual, odd]))
    return x[rows].astype(np.float64), y[rows]


def planted(x: np.ndarray, kind: str, share: float = 0.08, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A table drawn from a mixture that was fitted to x, with anomalies of a kind."""
    random = np.random.RandomState(seed)
    mixture = GaussianMixture(3, reg_covar=1e-3, random_state=seed).fit((x - x.mean(0)) / x.std(0))
    usual = mixture.sample(1000)[0]
    n = round(1000 * share / (1 - share))
    if kind == "local":
        mixture.covariances_ *= 5
        odd = mixture.sample(n)[0]
    elif kind == "cluster":
        mixture.means_ *= 5
        mixture.weights_ = np.eye(3)[0]
        odd = mixture.sample(n)[0]
    elif kind == "global":
        odd = random.uniform(1.1 * usual.min(0), 1.1 * usual.max(0), (n, usual.shape[1]))
    else:
        odd = np.column_stack([random.permutation(column)[:n] for column in usual.T])
    rows = random.permutation(len(usual) + n)
    return np.concatenate([usual, odd])[rows], (np.arange(len(usual) + n) >= len(usual))[rows]


def pixels(name: str) -> tuple[np.ndarray, np.ndarray]:
    """10,000 pictures (N, 28, 28) and their labels."""
    folder = Path(os.environ["TAUT_DATA"]) / name
    images, labels = (next(folder.glob(f"t10k-{what}*.gz")) for what in ("images", "labels"))
    read = lambda path, skip: np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)[skip:]  # noqa: E731
    return read(images, 16).reshape(-1, 28, 28), read(labels, 8)


def coded(frame: pl.DataFrame) -> np.ndarray:
    """Texts as numbers by their order."""
    return frame.with_columns(pl.col(pl.String).rank("dense") - 1).cast(pl.Float64).to_numpy()


def sets() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, rows, and which of them are odd."""
    cancer, wine, digits = datasets.load_breast_cancer(), datasets.load_wine(), datasets.load_digits()
    yield "cancer", *rare(cancer.data, cancer.target == 0, 0.05)
    yield "wine", *rare(wine.data, wine.target == 0, 0.08)
    for digit in (0, 8):
        yield f"digits-{digit}", *rare(digits.data, digits.target == digit, 0.05)
    folder = Path(os.environ["TAUT_DATA"]) / "tabular"
    penguins = pl.read_csv(folder / "penguins.csv", null_values=["NA", ""]).drop_nulls()
    body = penguins.select(pl.col(pl.Float64, pl.Int64).exclude("year"))
    yield "penguins", *rare(body.to_numpy(), (penguins["species"] == "Chinstrap").to_numpy(), 0.08)
    text = gzip.decompress((folder / "adult.data.gz").read_bytes()).decode().replace(", ", ",")
    adult = pl.read_csv(text.encode(), has_header=False, null_values="?").drop_nulls()
    numbers = coded(adult)
    yield "adult", *rare(numbers[:, :-1], numbers[:, -1] == 1, 0.05)
    yield "adult-numbers", *rare(numbers[:, [0, 4, 10, 11, 12]], numbers[:, -1] == 1, 0.05)
    for name, odd in (("mnist", 0), ("mnist", 7), ("fashion_mnist", 8), ("fashion_mnist", 1)):
        images, labels = pixels(name)
        few = PCA(20, random_state=0).fit_transform(images.reshape(len(images), -1) / 255.0)
        yield f"{name}-{odd}", *rare(few, labels == odd, 0.04)
    images, labels = pixels("mnist")  # whole numbers, many of them at their ends
    coarse = images.reshape(-1, 4, 7, 4, 7).mean((2, 4)).round()
    yield "coarse-1", *rare(coarse.reshape(len(coarse), -1), labels == 1, 0.04)
    yield "coarse-6", *rare(coarse.reshape(len(coarse), -1), labels == 6, 0.04)
    for kind in ("local", "global", "cluster", "dependency"):
        yield f"planted-{kind}", *planted(wine.data if kind == "cluster" else datasets.load_diabetes().data, kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sets", nargs="*", default=[])
    parser.add_argument("--options", type=json.loads, default={}, help="of the training, JSON")
    args = parser.parse_args()
    options = {"data": {"support": "columns"}, **args.options}
    rows = []
    print("| set | rows | columns | odd | isolation forest | taut | its ELBO |\n|---|---|---|---|---|---|---|")
    for name, x, y in sets():
        if args.sets and name not in args.sets:
            continue
        began = time.monotonic()
        forest, ours, bounds = [], [], []
        for seed in range(args.seeds):
            forest.append(roc_auc_score(y, -IsolationForest(random_state=seed).fit(x).score_samples(x)))
            run = taut.train(x, seed=seed, **options)
            ours.append(roc_auc_score(y, run.score(x, seed=seed).score))
            bounds.append(run.summary["elbo"])
        rows.append([statistics.mean(values) for values in (forest, ours, bounds)])
        found = f"{rows[-1][0]:.3f} | {rows[-1][1]:.3f} | {rows[-1][2]:.2f}"
        print(f"| {name} | {len(x):,} | {x.shape[1]} | {y.mean():.1%} | {found} |  <!-- {time.monotonic() - began:.0f} s -->",
              flush=True)  # fmt: skip
    means = [statistics.mean(values) for values in zip(*rows, strict=True)]
    print(f"| mean | | | | {means[0]:.3f} | {means[1]:.3f} | {means[2]:.2f} |")


if __name__ == "__main__":
    main()
