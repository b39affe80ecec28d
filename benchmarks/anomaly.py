"""Anomaly detection on tables: one default for all sets, beside an isolation forest and PyOD's VAE.

    TAUT_DATA=… python benchmarks/anomaly.py [--seeds 5] [--sets NAME …] [--pyod PYTHON]

Each set is an array X with labels y, 1 for an anomaly. A detector sees X alone, all of it, scores the same rows, and is told
nothing of y; what is measured is the area under the ROC curve, the mean over seeds. taut is `taut.train` by columns with the
options of DEFAULT and `Run.score`; the isolation forest and PyOD's VAE are at their own defaults, the latter on columns in
standard units, in the interpreter that --pyod names, if one is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

import taut

DEFAULT = {"data": {"support": "columns"}}
PYOD = """
import sys, numpy as np, random, torch
from pyod.models.vae import VAE
x, out, seed = np.load(sys.argv[1]), sys.argv[2], int(sys.argv[3])
random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
detector = VAE(random_state=seed, verbose=0)
detector.fit(x)
np.save(out, detector.decision_scores_)
"""


def by_taut(x: np.ndarray, seed: int) -> np.ndarray:
    """The score of each row under a model of all of them."""
    return taut.train(x, seed=seed, **DEFAULT).score(x, seed=seed).score


def by_forest(x: np.ndarray, seed: int) -> np.ndarray:
    """scikit-learn's isolation forest."""
    return -IsolationForest(random_state=seed).fit(x).score_samples(x)


def by_pyod(python: str, x: np.ndarray, seed: int) -> np.ndarray:
    """PyOD's VAE, in another interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        there, back = Path(folder) / "x.npy", Path(folder) / "scores.npy"
        np.save(there, x)
        subprocess.run([python, "-c", PYOD, str(there), str(back), str(seed)], check=True, capture_output=True)
        return np.load(back)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", nargs="*", default=[])
    parser.add_argument("--pyod", metavar="PYTHON", help="an interpreter that has pyod")
    parser.add_argument(
        "--out", type=Path, help="a file for all numbers, JSON; those that it has are not measured again"
    )
    args = parser.parse_args()
    folder = Path(os.environ["TAUT_DATA"]) / "adbench"
    detectors = {"taut": by_taut, "isolation forest": by_forest}
    if args.pyod:
        detectors["PyOD's VAE"] = lambda x, seed: by_pyod(args.pyod, x, seed)
    found: dict[str, dict[str, dict[str, float]]] = {}
    if args.out and args.out.exists():
        found = json.loads(args.out.read_text())
    paths = [path for path in sorted(folder.glob("*.npz")) if not args.sets or path.stem in args.sets]
    for seed in range(args.seeds):  # a seed of all sets first, so that what is stopped early is still a comparison
        for path, (name, detect) in itertools.product(paths, detectors.items()):
            numbers = found.setdefault(path.stem, {}).setdefault(name, {})
            if str(seed) in numbers:
                continue
            stored, began = np.load(path), time.monotonic()
            numbers[str(seed)] = float(roc_auc_score(stored["y"], detect(stored["X"].astype(np.float64), seed)))
            print(
                f"{path.stem}, seed {seed}, {name}: {numbers[str(seed)]:.3f} ({time.monotonic() - began:.0f} s)",
                flush=True,
            )
            if args.out:
                args.out.write_text(json.dumps(found, indent=1))
    print("\n| set | rows | anomalies | " + " | ".join(detectors) + " |")
    print("|---" * (3 + len(detectors)) + "|")
    for path in paths:
        y = np.load(path)["y"]
        each = [list(found[path.stem][name].values()) for name in detectors]
        shown = " | ".join(f"{statistics.mean(v):.3f} ± {statistics.pstdev(v):.3f}" for v in each)
        print(f"| {path.stem} | {len(y):,} | {y.mean():.1%} | {shown} |")
    means = [statistics.mean(statistics.mean(found[path.stem][name].values()) for path in paths) for name in detectors]
    print("| mean | | | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")


if __name__ == "__main__":
    main()
