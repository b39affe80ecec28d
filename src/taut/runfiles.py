"""The files of a run beside its weights: what they are called, what is in them, and how they are read again.

    RUN/config.yaml             the resolved configuration
        data.json               how the data were read and split, and their hash
        model.safetensors       the weights
        metrics.jsonl           a line for each validation, for training and for validation data
        summary.json            the bounds on the test split
        evaluations/            what was measured of each example, kept so that it need not be measured again
        figures/  report.html   to look at
        profile/                where the time went, if that was asked for
        checkpoint.safetensors  while training only: everything needed to go on

Nothing in a run is ever unpickled, and class paths outside the package are imported only if trusted by name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from taut.config import parse, read_yaml, to_tree, write_yaml
from taut.data import Data, Dataset, Reading, open_data
from taut.data.named import FOLDERS
from taut.errors import InputError
from taut.experiment import Experiment
from taut.training.checkpoint import write_atomically

__all__ = ["CONFIG", "DATA", "METRICS", "PROFILE", "SUMMARY", "facts_of", "finite", "made", "read_head", "read_json",
           "same_data", "write_head", "write_json"]  # fmt: skip

CONFIG, DATA, METRICS, SUMMARY = "config.yaml", "data.json", "metrics.jsonl", "summary.json"
PROFILE = "profile"  # folder of what taut train --profile found


def made(folder: Path) -> None:
    """Make a folder with its parents, where it is not there yet.

    Raises:
        InputError: where something else has its name, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # a ValueError where the name has a zero byte
        reason = "a file has its name" if os.path.isfile(folder) else getattr(error, "strerror", None) or error
        raise InputError(str(folder)[:200], f"cannot be made ({reason})", "name another folder") from None


def write_head(folder: Path, experiment: Experiment, reading: Reading, facts: dict[str, Any]) -> None:
    """What is known before training: configuration and reading."""
    said = f"# {reading.name}: {facts['description']}\n"
    write_atomically(folder / CONFIG, (said + write_yaml(to_tree(experiment))).encode())
    root = experiment.data.root or os.environ.get("TAUT_DATA")
    where = {"root": str(Path(root).resolve())} if root and reading.name in FOLDERS else {}
    write_json(folder / DATA, {"reading": reading.to_dict(), **facts, **where})


def read_head(folder: Path, trust: Iterable[str] = ()) -> tuple[Experiment, Reading, dict[str, Any]]:
    """What :func:`write_head` wrote."""
    for name in (CONFIG, DATA):
        if not (folder / name).is_file():
            raise InputError(str(folder), f"is no run folder ({name} is missing)", "give one that `taut train` made")
    tree, facts = read_yaml(folder / CONFIG), read_json(folder / DATA)
    try:
        experiment = parse(Experiment, tree, trust=trust)
    except InputError as error:
        raise InputError(str(folder / CONFIG), str(error)) from None
    try:
        reading = Reading.from_dict(facts.pop("reading"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(str(folder / DATA), f"is damaged ({error})", "restore it from a copy") from None
    return experiment, reading, facts


def same_data(spec: Data, facts: dict[str, Any], root: str | None = None) -> Dataset:
    """The data of a run, found again and checked by their hash.

    Args:
        spec: how they were read.
        facts: of :func:`facts_of`.
        root: where named data lie; as when the run was trained, if left open and nothing else says so.

    Raises:
        InputError: where they are gone or have changed.
    """
    here = spec.root or os.environ.get("TAUT_DATA")
    if root is None and not (here and Path(here).is_dir()) and isinstance(facts.get("root"), str):
        root = facts["root"]
    spec = spec if root is None else replace(spec, root=root)
    try:
        data = open_data(spec)
    except InputError as error:
        mend = "put the data back where they were, or name other data"
        raise InputError("data", f"of the run are not to be had ({error})", mend) from None
    if data.hash != facts.get("hash"):
        raise InputError(
            "data", f"{spec.source} has changed since the run was trained (hash {data.hash}, then {facts.get('hash')})",
            "put the old data back, or name other data",
        )  # fmt: skip
    return data


def facts_of(data: Dataset) -> dict[str, Any]:
    """What a run keeps of its data besides the reading."""
    return {
        "description": data.describe(),
        "notes": data.notes(),
        "hash": data.hash,
        "label_names": data.label_names,
        "factor_names": data.factor_names,
        "record": data.record,
    }


def write_json(path: Path, content: Any) -> None:
    """JSON, indented, atomically; what is no number is written as null."""
    write_atomically(path, json.dumps(finite(content), indent=1, ensure_ascii=False).encode())


def read_json(path: Path) -> Any:
    """The JSON in a file.

    Raises:
        InputError: where it is missing or damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(
            str(path), "is missing", "give a finished run, or finish it with taut train --resume"
        ) from None
    except (OSError, ValueError, RecursionError):
        raise InputError(str(path), "is damaged", "restore it from a copy") from None


def finite(content: Any) -> Any:
    """The same content with null for every number that JSON does not have."""
    if isinstance(content, float) and not np.isfinite(content):
        return None
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    return [finite(value) for value in content] if isinstance(content, (list, tuple)) else content
