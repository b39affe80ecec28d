"""Tables on the adult census: is what is drawn of use, and what is filled near the truth?

    TAUT_DATA=… python benchmarks/tables.py [--epochs N | --minutes N] [--rows N] [--seed 0] [--ctgan PYTHON]

*Of use*: a classifier of income (scikit-learn's HistGradientBoosting at its defaults) learns from a table that the model
drew, as long as the training table, and is tested on the real test table, beside one that learns from the real training table;
AUROC. Rows that equal a training row are counted. With --ctgan, an interpreter that has the ctgan package, its TVAE at its
defaults learns for the same time from the same rows, a missing category being one of its own. *Filled*: a tenth of the known
cells of the test table are hidden at random; of numbers the root mean squared error in standard deviations, of categories the
share of wrong ones, beside mean and mode, and beside scikit-learn's IterativeImputer on the numbers and one-hot categories. The
model has seen no row of the test table.
"""

from __future__ import annotations

import argparse
import gzip
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - it makes the next line possible
from sklearn.impute import IterativeImputer
from sklearn.metrics import roc_auc_score

import taut

NAMES = (
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship", "race", "sex",
    "capital_gain", "capital_loss", "hours_per_week", "native_country", "income",
)  # fmt: skip
HIDDEN = 0.1


def adult(part: str) -> pl.DataFrame:
    """The training or the test table, as it is published."""
    text = gzip.decompress((Path(os.environ["TAUT_DATA"]) / "tabular" / f"adult.{part}.gz").read_bytes()).decode()
    lines = [line for line in text.splitlines() if line.count(",") == 14 and line[:1].isdecimal()]  # no line of names
    rows = [[cell.strip().rstrip(".") for cell in line.split(",")] for line in lines]
    frame = pl.DataFrame(rows, schema=NAMES, orient="row").with_columns(pl.all().replace("?", None))
    numbers = [name for name in NAMES if frame[name].drop_nulls().str.contains(r"^-?\d+$").all()]
    return frame.with_columns(pl.col(numbers).cast(pl.Int64))


def useful(train: pl.DataFrame, test: pl.DataFrame, like: pl.DataFrame) -> float:
    """AUROC on the test table of a classifier that learned from the other."""
    x, y = coded(train.drop("income"), like.drop("income")), (train["income"] == ">50K").to_numpy()
    model = HistGradientBoostingClassifier(random_state=0).fit(x, y)
    chance = model.predict_proba(coded(test.drop("income"), like.drop("income")))[:, 1]
    return float(roc_auc_score((test["income"] == ">50K").to_numpy(), chance))


def coded(frame: pl.DataFrame, like: pl.DataFrame) -> np.ndarray:
    """Categories as their place in those of another table; missing and unknown ones NaN."""
    columns = []
    for column in frame:
        if column.dtype == pl.String:
            names = like[column.name].drop_nulls().unique().sort().to_list()
            places = {name: float(i) for i, name in enumerate(names)}
            columns.append([places.get(cell, np.nan) for cell in column])
        else:
            columns.append(column.cast(pl.Float64).fill_null(np.nan).to_list())
    return np.array(columns).T


def errors(filled: np.ndarray, truth: np.ndarray, hidden: np.ndarray, named: np.ndarray, std: np.ndarray) -> str:
    """The two errors of cells that were hidden, (N, D) each."""
    wrong = (np.round(filled) != truth)[hidden & named].mean()
    off = (((filled - truth) / std) ** 2)[hidden & ~named].mean() ** 0.5
    return f"{off:.3f} | {wrong:.1%}"


def linear(train: np.ndarray, holes: np.ndarray, named: np.ndarray) -> np.ndarray:
    """IterativeImputer's filling of columns in standard units, kept within the range that the training table has (without
    which its rounds run away), categories by the largest of their zeros and ones."""
    levels = [int(np.nanmax(train[:, i])) + 1 if named[i] else 0 for i in range(len(named))]

    def spread(x: np.ndarray) -> np.ndarray:
        parts = []
        for i, count in enumerate(levels):
            known = np.isnan(x[:, i : i + 1])
            parts.append(np.where(known, np.nan, x[:, i : i + 1] == np.arange(count)) if count else x[:, i : i + 1])
        return np.concatenate(parts, 1)

    seen = spread(train)
    mean, std = np.nanmean(seen, 0), np.nanstd(seen, 0)
    unit = (seen - mean) / std
    imputer = IterativeImputer(random_state=0, min_value=np.nanmin(unit, 0), max_value=np.nanmax(unit, 0))
    found = mean + std * imputer.fit(unit).transform((spread(holes) - mean) / std)
    filled, place = holes.copy(), 0
    for i, count in enumerate(levels):
        some = found[:, place : place + max(1, count)]
        filled[:, i] = some.argmax(1) if count else some[:, 0]
        place += max(1, count)
    return np.where(np.isnan(holes), filled, holes)


TVAE = """
import sys, time, numpy as np, pandas as pd, torch
torch.set_num_threads(1)
torch.manual_seed(int(sys.argv[5])); np.random.seed(int(sys.argv[5]))
from ctgan import TVAE
import ctgan.synthesizers.tvae as module
frame = pd.read_csv(sys.argv[1], keep_default_na=False)
named = [name for name in frame if frame[name].dtype.kind not in 'iuf']
seconds, began = float(sys.argv[3]), time.monotonic()
class Enough(Exception): pass
model = TVAE(enable_gpu=False) if 'enable_gpu' in TVAE.__init__.__code__.co_varnames else TVAE(cuda=False)
def epochs(n):  # as many as fit: the last one is whole
    for i in range(n):
        if time.monotonic() - began > seconds: return
        model.done = i + 1
        yield i
module.tqdm = lambda it, **k: Bar(it)
class Bar:
    def __init__(self, it): self.it = it
    def __iter__(self): return epochs(len(self.it))
    def set_description(self, *a): pass
model.fit(frame, named)
print(model.done)
model.sample(int(sys.argv[4])).to_csv(sys.argv[2], index=False)
"""


def by_tvae(python: str, train: pl.DataFrame, seconds: float, seed: int) -> tuple[pl.DataFrame, int]:
    """Rows of ctgan's TVAE after so many seconds, and its epochs."""
    with tempfile.TemporaryDirectory() as folder:
        there, back = Path(folder) / "train.csv", Path(folder) / "drawn.csv"
        train.with_columns(pl.col(pl.String).fill_null("?")).write_csv(there)
        words = [python, "-W", "ignore", "-c", TVAE, str(there), str(back), str(seconds), str(train.height), str(seed)]
        said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        drawn = pl.read_csv(back, null_values="?", infer_schema_length=None)
        return drawn.select(pl.col(name).cast(kind) for name, kind in train.schema.items()), int(said.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--ctgan", metavar="PYTHON", help="an interpreter that has ctgan")
    parser.add_argument("--rows", type=int, help="of the training table; all if left open")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train, test = adult("data").head(args.rows or 10**9), adult("test")
    began = time.monotonic()
    run = taut.train(train, epochs=args.epochs, minutes=args.minutes, seed=args.seed)
    spent = time.monotonic() - began
    drawn = run.frame(run.sample(train.height, seed=args.seed))
    known = set(train.rows())
    print(f"ELBO {run.summary['elbo']:.2f} nats a row, {run.summary['active_units']} latents active\n")
    print("| learned from | AUROC on the real test table |\n|---|---|")
    print(f"| {train.height:,} real rows | {useful(train, test, train):.4f} |")
    drawn_by = {f"taut, {spent:.0f} s": drawn}
    if args.ctgan:
        rows, epochs = by_tvae(args.ctgan, train, 60 * args.minutes if args.minutes else spent, args.seed)
        drawn_by[f"ctgan's TVAE, the same time, {epochs} epochs"] = rows
    for name, rows in drawn_by.items():
        copies = sum(row in known for row in rows.rows())
        print(f"| {rows.height:,} rows of {name}; {copies:,} equal a training row | {useful(rows, test, train):.4f} |")
    print()

    truth, seen = coded(test, train), coded(train, train)
    hidden = (np.random.RandomState(args.seed).rand(*truth.shape) < HIDDEN) & ~np.isnan(truth)
    named = np.array([train[name].dtype == pl.String for name in NAMES])
    std, holes = np.nanstd(seen, 0), np.where(hidden, np.nan, truth)
    gaps = test.with_columns(
        pl.when(pl.Series(hidden[:, i])).then(None).otherwise(pl.col(name)).alias(name) for i, name in enumerate(NAMES)
    )
    modes = [np.bincount(seen[~np.isnan(seen[:, i]), i].astype(int)).argmax() if named[i] else np.nanmean(seen[:, i])
             for i in range(len(NAMES))]  # fmt: skip
    ours = coded(run.frame(run.impute(gaps, seed=args.seed)[0]), train)
    print("| filled by | numbers: RMSE, deviations | categories: wrong |\n|---|---|---|")
    print(f"| mean, mode | {errors(np.where(hidden, modes, truth), truth, hidden, named, std)} |")
    print(f"| IterativeImputer | {errors(linear(seen, holes, named), truth, hidden, named, std)} |")
    print(f"| taut | {errors(ours, truth, hidden, named, std)} |")


if __name__ == "__main__":
    main()
