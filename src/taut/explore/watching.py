"""A training as columns of numbers, read from the journal that a run writes, finished or not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["columns", "read_from"]

NUMBERS = ("step", "epoch", "seconds", "beta", "distortion", "rate", "elbo", "active_units", "information")
TRAIN = ("distortion", "rate", "examples_per_second")
MOST = 2**22  # bytes at a time


def read_from(path: Path, offset: int) -> tuple[list[dict[str, Any]], int, bool]:
    """The rows of a journal that end after a place in it.

    A run that goes on from a checkpoint cuts its journal back; then all of it is read anew. A line that is being written
    is left for the next time.

    Args:
        path: of the journal.
        offset: bytes that are known.

    Returns:
        The rows, how many bytes are known now, and whether they were read anew.
    """
    try:
        size = path.stat().st_size
        again = size < offset
        with path.open("rb") as file:
            file.seek(0 if again else offset)
            content = file.read(MOST)
    except OSError:
        return [], 0, offset > 0
    start = 0 if again else offset
    whole = content.rfind(b"\n") + 1
    rows = []
    for line in content[:whole].splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows, start + whole, again


def columns(rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The columns (T,) of the validations among a journal's rows, nan for what is not there, with ``kl`` (T, G) of each latent
    dimension (of all layers, top first) and ``layer`` (G,), which layer it is of; and of the training rows, ``train_…``.
    """
    valid = [row for row in rows if row.get("split") == "valid"]
    train = [row for row in rows if row.get("split") == "train"]
    found = {name: _column(valid, name) for name in NUMBERS}
    found |= {f"train_{name}": _column(train, name) for name in ("step", *TRAIN)}
    layers = [row.get("kl") or [] for row in valid]
    wide = layers[-1] if layers else []
    width = sum(len(part) for part in wide)
    flat = [[value for part in parts for value in part] for parts in layers]
    even = [row if len(row) == width else [np.nan] * width for row in flat]
    found["kl"] = np.array(even, dtype=np.float32).reshape(len(valid), width)
    found["layer"] = np.array([i for i, part in enumerate(wide) for _ in part], dtype=np.int32)
    return found


def _column(rows: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], dtype=np.float64)
