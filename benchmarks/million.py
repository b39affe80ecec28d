"""A table of a million rows by the command line: train for a pass, score and fill a part of it.

    TAUT_DATA=… python -m benchmarks.million [--rows 1000000]

The rows are those of adult, over and over, with whole numbers moved by one up or down at random, so that few are equal; a
fiftieth of the cells is missing besides. For each command the time and the largest memory of its process are told.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.tables import adult


def table(rows: int, seed: int = 0) -> pl.DataFrame:
    """So many rows like those of adult."""
    rng, base = np.random.default_rng(seed), adult("data")
    some = base[rng.integers(len(base), size=rows)]
    columns = []
    for column in some:
        if column.dtype.is_integer():
            column = (column + pl.Series(rng.integers(-1, 2, rows))).clip(0)
        columns.append(
            pl.select(pl.when(pl.Series(rng.random(rows) > 0.02)).then(column).alias(column.name)).to_series()
        )
    return pl.DataFrame(columns)


def told(*words: str) -> None:
    """Carry out a command, and say what it took."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "taut", *words])
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"taut {words[0]} ended with status {os.waitstatus_to_exitcode(status)}")
    print(f"taut {words[0]}: {time.perf_counter() - began:.0f} s, {used.ru_maxrss / 1024:,.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        whole, part, run = (str(Path(folder) / name) for name in ("whole.csv", "part.csv", "run"))
        frame = table(rows)
        frame.write_csv(whole)
        frame[: rows // 10].write_csv(part)
        print(f"{rows:,} rows, {Path(whole).stat().st_size / 2**20:.0f} MiB as CSV", flush=True)
        told("train", whole, "--training.epochs", "1", "--out", run, "--quiet")
        told("score", run, part, "-o", str(Path(folder) / "scores.csv"))
        told("impute", run, part, "-o", str(Path(folder) / "filled.csv"))


if __name__ == "__main__":
    main()
